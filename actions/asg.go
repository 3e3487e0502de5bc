package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// ASGConfig sets the size of an EC2 Auto Scaling group.
type ASGConfig struct {
	Group string `toml:"group" json:"group"`
	// Count is the number of instances. Zero stops the group; more starts it and
	// never scales it down.
	Count int `toml:"count" json:"count"`
	// MinHealthy is the share of Count, in percent, that must be in service for a
	// start to count as done. Zero means 100.
	MinHealthy int `toml:"min_healthy" json:"min_healthy,omitempty"`
	// RaiseMax lets a start raise the group's maximum size to Count.
	RaiseMax bool `toml:"raise_max" json:"raise_max,omitempty"`
	// Alternatives are further groups, in the order in which they are asked for what Group
	// cannot launch because AWS lacks capacity: of other instance types, or in other zones.
	// A stop stops them all.
	Alternatives []string `toml:"alternatives" json:"alternatives,omitempty"`
	// Patience is for how long launches of a group must have failed for lack of capacity
	// before the next one is asked. Zero means a minute.
	Patience failover.Duration `toml:"patience" json:"patience,omitempty"`
}

// Validate implements Config.
func (c *ASGConfig) Validate(role Role) error {
	switch {
	case role == RoleSwitch:
		return badParam("group", "cannot move clients; a switch needs a kind such as route53_weights")
	case c.Group == "":
		return badParam("group", "is missing")
	case c.Count < 0:
		return badParam("count", "%d is negative", c.Count)
	case c.MinHealthy < 0 || c.MinHealthy > 100:
		return badParam("min_healthy", "%d is not a share in percent", c.MinHealthy)
	case role == RoleStart && c.Count == 0:
		return badParam("count", "is 0, which starts nothing; give the number of instances that carry the whole load")
	case role == RoleStop && c.Count != 0:
		return badParam("count", "is %d, which leaves instances running; a stop needs 0", c.Count)
	}
	return c.validAlternatives()
}

// Version implements Config.
func (c *ASGConfig) Version() int { return 1 }

// Timeout implements Config.
func (c *ASGConfig) Timeout() time.Duration {
	if c.Count == 0 {
		return 3 * time.Minute
	}
	return 10*time.Minute + time.Duration(len(c.Alternatives))*c.patience()
}

// need is how many instances must be in service.
func (c *ASGConfig) need() int { return share(c.Count, c.MinHealthy) }

// returning are the processes that would bring instances back, or keep a group busy,
// while it is being emptied. Terminate is not among them: without it a desired
// capacity of 0 ends nothing. The list is never empty, which would mean all of
// them, Terminate too (API reference, SuspendProcesses).
var returning = []string{"Launch", "HealthCheck", "ReplaceUnhealthy", "AZRebalance", "AlarmNotification", "ScheduledActions", "InstanceRefresh"}

// needed are the processes without which a start comes to nothing.
var needed = []string{"Launch", "AddToLoadBalancer"}

// asg believes the instances: the API accepts any size, and says in the scaling
// activities that it could not launch.
type asg struct {
	cfg    *ASGConfig
	region string
	client *autoscaling.Client
}

// New implements Config.
func (c *ASGConfig) New(d Deps) (Action, error) {
	if d.Cloud == nil {
		return nil, errors.New("there are no AWS clients")
	}
	if len(c.Alternatives) > 0 {
		return c.withAlternatives(d), nil
	}
	return c.group(d, c.Group), nil
}

// group is one of the groups.
func (c *ASGConfig) group(d Deps, name string) *asg {
	own := *c
	own.Group, own.Alternatives = name, nil
	return &asg{cfg: &own, region: string(d.Region), client: d.Cloud.AutoScaling(string(d.Region))}
}

// Idempotent says that Do is absolute.
func (g *asg) Idempotent() {}

// Ages implements Aging: AWS accepts a signed request for five minutes.
func (g *asg) Ages() time.Duration { return cloud.SignatureLife }

// asgPrevious is what Undo puts back.
type asgPrevious struct {
	Min       int32    `json:"min"`
	Max       int32    `json:"max"`
	Desired   int32    `json:"desired"`
	Suspended []string `json:"suspended,omitempty"` // processes that were suspended before us
	Protected []string `json:"protected,omitempty"` // instances that were protected from scale-in
	Exposed   []string `json:"exposed,omitempty"`   // of a stop: those in service that were not
}

// errNoGroup is of a group that AWS has been asked for, and does not have.
var errNoGroup = errors.New("check the name")

func (g *asg) describe(ctx context.Context) (*types.AutoScalingGroup, asgPrevious, error) {
	out, err := g.client.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{g.cfg.Group}})
	if err != nil {
		return nil, asgPrevious{}, fmt.Errorf("describing the Auto Scaling group %s in %s: %w", g.cfg.Group, g.region, err)
	}
	if len(out.AutoScalingGroups) != 1 {
		return nil, asgPrevious{}, fmt.Errorf("the Auto Scaling group %s does not exist in %s: %w", g.cfg.Group, g.region, errNoGroup)
	}
	group := &out.AutoScalingGroups[0]
	p := asgPrevious{Min: aws.ToInt32(group.MinSize), Max: aws.ToInt32(group.MaxSize), Desired: aws.ToInt32(group.DesiredCapacity)}
	for _, s := range group.SuspendedProcesses {
		p.Suspended = append(p.Suspended, aws.ToString(s.ProcessName))
	}
	slices.Sort(p.Suspended)
	for _, i := range group.Instances {
		switch {
		case aws.ToBool(i.ProtectedFromScaleIn):
			p.Protected = append(p.Protected, aws.ToString(i.InstanceId))
		case g.cfg.Count == 0 && i.LifecycleState == types.LifecycleStateInService:
			p.Exposed = append(p.Exposed, aws.ToString(i.InstanceId))
		}
	}
	slices.Sort(p.Protected)
	slices.Sort(p.Exposed)
	return group, p, nil
}

// Inspect implements Action.
func (g *asg) Inspect(ctx context.Context) (Effect, error) {
	group, p, err := g.describe(ctx)
	if err != nil {
		return Effect{}, err
	}
	previous, err := json.Marshal(p)
	if err != nil {
		return Effect{}, err
	}
	var e Effect
	if g.cfg.Count == 0 {
		e, err = g.emptied(ctx, group, p)
	} else {
		e, err = g.filled(ctx, group, p)
	}
	e.Previous = previous
	return e, err
}

// emptied looks at what still exists: an instance that waits in a lifecycle hook
// runs, and so may one in the warm pool.
func (g *asg) emptied(ctx context.Context, group *types.AutoScalingGroup, p asgPrevious) (Effect, error) {
	e := Effect{Inventory: len(group.Instances), Detail: fmt.Sprintf("%s in %s: min %d, desired %d, %d instances", g.cfg.Group, g.region, p.Min, p.Desired, len(group.Instances))}
	var left []string
	ending := slices.Contains(p.Suspended, "Launch")
	for _, i := range group.Instances {
		line := fmt.Sprintf("%s is %s", aws.ToString(i.InstanceId), i.LifecycleState)
		if aws.ToBool(i.ProtectedFromScaleIn) {
			line += ", protected from scale-in"
			ending = false
		}
		left = append(left, line)
	}
	if group.WarmPoolConfiguration != nil {
		in := &autoscaling.DescribeWarmPoolInput{AutoScalingGroupName: &g.cfg.Group}
		for pages := autoscaling.NewDescribeWarmPoolPaginator(g.client, in); pages.HasMorePages(); { // 50 at a time
			pool, err := pages.NextPage(ctx)
			if err != nil {
				return e, fmt.Errorf("describing the warm pool of %s in %s: %w", g.cfg.Group, g.region, err)
			}
			for _, i := range pool.Instances {
				if i.LifecycleState != types.LifecycleStateWarmedStopped && i.LifecycleState != types.LifecycleStateWarmedHibernated {
					left = append(left, fmt.Sprintf("%s is %s", aws.ToString(i.InstanceId), i.LifecycleState))
				}
			}
		}
	}
	switch {
	case p.Desired > 0 || p.Min > 0:
		e.State = Absent
	case len(left) > 0:
		e.State, e.Ending = Partial, ending
		e.Detail += ": " + strings.Join(left, ", ")
	case !slices.Contains(p.Suspended, "Launch"):
		e.State, e.Over = Partial, "its process Launch is not suspended: an alarm or a schedule would launch instances again"
		e.Detail += ", but " + e.Over
	default:
		e.State = Present
	}
	return e, nil
}

// inService counts what is in service and healthy, not what was launched.
func inService(group *types.AutoScalingGroup) int {
	serving := 0
	for _, i := range group.Instances {
		if i.LifecycleState == types.LifecycleStateInService && aws.ToString(i.HealthStatus) == "Healthy" {
			serving++
		}
	}
	return serving
}

func (g *asg) filled(ctx context.Context, group *types.AutoScalingGroup, p asgPrevious) (Effect, error) {
	serving := inService(group)
	e := Effect{Detail: fmt.Sprintf("%s in %s: desired %d, %d instances, %d in service and healthy of %d", g.cfg.Group, g.region, p.Desired, len(group.Instances), serving, g.cfg.need())}
	if int(p.Desired) < g.cfg.Count {
		e.State = Absent
		if e.Lacks = g.tooSmall(p); e.Lacks != "" {
			e.Detail += "; " + e.Lacks
		}
		return e, nil
	}
	hindered := g.hindered(p)
	if serving >= g.cfg.need() && len(hindered) == 0 {
		e.State = Present
		return e, nil
	}
	e.State = Partial
	if len(hindered) > 0 { // what serves gets no clients, or is not replaced when it fails
		e.Over = "suspended: " + strings.Join(hindered, ", ")
		e.Detail += "; " + e.Over
	}
	if serving >= g.cfg.need() {
		return e, nil
	}
	_, why := g.failed(ctx, "launches failed")
	e.Detail += why
	return e, nil
}

// tooSmall says of a group, while all is well, that a start would be refused; "" if not.
func (g *asg) tooSmall(p asgPrevious) string {
	if int(p.Max) >= g.cfg.Count || g.cfg.RaiseMax {
		return ""
	}
	return fmt.Sprintf("the maximum size %d of %s would not allow %d: raise it, or set raise_max = true", p.Max, g.cfg.Group, g.cfg.Count)
}

func (g *asg) hindered(p asgPrevious) []string { return both(p.Suspended, needed) }

// failures are why instances were not launched, in AWS's words, the newest first: only the
// scaling activities know, the call that asked for them succeeded.
func (g *asg) failures(ctx context.Context) ([]string, error) {
	out, err := g.client.DescribeScalingActivities(ctx, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: &g.cfg.Group, MaxRecords: aws.Int32(20)})
	if err != nil {
		return nil, err
	}
	var said []string
	for _, a := range out.Activities {
		if a.StatusCode != types.ScalingActivityStatusCodeFailed || time.Since(aws.ToTime(a.StartTime)) > 15*time.Minute {
			continue
		}
		if s := aws.ToString(a.StatusMessage); !slices.Contains(said, s) {
			said = append(said, s)
		}
	}
	return said, nil
}

// failed are its failures, and for a person their reasons, behind what they are of; "" if
// there are none.
func (g *asg) failed(ctx context.Context, what string) (said []string, why string) {
	said, err := g.failures(ctx)
	if err != nil {
		return nil, "; its scaling activities cannot be read: " + err.Error()
	}
	if len(said) == 0 {
		return nil, ""
	}
	var lines []string
	for _, s := range said {
		lines = append(lines, reason(s))
	}
	return said, "; " + what + ": " + strings.Join(lines, "; ")
}

// Do implements Action.
func (g *asg) Do(ctx context.Context, a Attempt) error {
	if g.cfg.Count == 0 {
		return g.empty(ctx, a)
	}
	var p asgPrevious
	if err := json.Unmarshal(a.Previous, &p); err != nil {
		return fmt.Errorf("reading the previous size: %w", err)
	}
	return g.fill(ctx, a, p, int32(g.cfg.Count)) //nolint:gosec // validated
}

// fill asks for count instances, or for as many as there are wanted already.
func (g *asg) fill(ctx context.Context, a Attempt, p asgPrevious, count int32) error {
	size := asgPrevious{Min: max(count, p.Min), Max: p.Max, Desired: max(count, p.Desired)}
	if p.Max < size.Desired {
		if !g.cfg.RaiseMax {
			return fmt.Errorf("the maximum size of %s in %s is %d, below the %d that are wanted: raise it while all is well, or set raise_max = true", g.cfg.Group, g.region, p.Max, size.Desired)
		}
		size.Max = size.Desired
	}
	if hindered := g.hindered(p); len(hindered) > 0 {
		a.Report("resuming %s of %s", strings.Join(hindered, ", "), g.cfg.Group)
		if err := g.resume(ctx, hindered); err != nil {
			return err
		}
	}
	return g.resize(ctx, a, size)
}

// empty suspends what would bring instances back before it asks for none.
func (g *asg) empty(ctx context.Context, a Attempt) error {
	a.Report("suspending the processes of %s in %s that would launch instances again", g.cfg.Group, g.region)
	if _, err := g.client.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: &g.cfg.Group, ScalingProcesses: returning}); err != nil {
		return fmt.Errorf("suspending the processes of %s in %s: %w", g.cfg.Group, g.region, err)
	}
	if _, p, err := g.describe(ctx); err == nil { // a stop is tried blind all the same
		if err := g.protect(ctx, a, p.Protected, false); err != nil {
			return err
		}
	}
	zero := aws.Int32(0)
	a.Report("setting the size of %s in %s to 0", g.cfg.Group, g.region)
	if _, err := g.client.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: &g.cfg.Group, MinSize: zero, DesiredCapacity: zero}); err != nil {
		return fmt.Errorf("setting the size of %s in %s to 0: %w", g.cfg.Group, g.region, err)
	}
	return nil
}

// protect sets whether instances are protected from scale-in: with it, a desired capacity
// of 0 ends nothing.
func (g *asg) protect(ctx context.Context, a Attempt, ids []string, on bool) error {
	if len(ids) == 0 {
		return nil
	}
	what := "taking the scale-in protection of %s in %s away"
	if on {
		what = "protecting %s in %s from scale-in again"
	}
	what = fmt.Sprintf(what, strings.Join(ids, ", "), g.region)
	a.Report("%s", what)
	if _, err := g.client.SetInstanceProtection(ctx, &autoscaling.SetInstanceProtectionInput{AutoScalingGroupName: &g.cfg.Group, InstanceIds: ids, ProtectedFromScaleIn: &on}); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// both are what is in one list and in the other.
func both(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

func (g *asg) resume(ctx context.Context, processes []string) error {
	if len(processes) == 0 {
		return nil // an empty list would resume them all
	}
	_, err := g.client.ResumeProcesses(ctx, &autoscaling.ResumeProcessesInput{AutoScalingGroupName: &g.cfg.Group, ScalingProcesses: processes})
	if err != nil {
		return fmt.Errorf("resuming %s of %s in %s: %w", strings.Join(processes, ", "), g.cfg.Group, g.region, err)
	}
	return nil
}

func (g *asg) resize(ctx context.Context, a Attempt, p asgPrevious) error {
	a.Report("setting the size of %s in %s to min %d, max %d, desired %d", g.cfg.Group, g.region, p.Min, p.Max, p.Desired)
	_, err := g.client.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{
		AutoScalingGroupName: &g.cfg.Group, MinSize: &p.Min, MaxSize: &p.Max, DesiredCapacity: &p.Desired,
	})
	if err != nil {
		return fmt.Errorf("setting the size of %s in %s to min %d, max %d, desired %d: %w", g.cfg.Group, g.region, p.Min, p.Max, p.Desired, err)
	}
	return nil
}

// Undo implements Action: the sizes, exactly the processes that ran before, and the
// protection of those instances that have survived, as long as AWS allows it: it protects
// none but what is in service (SetInstanceProtection).
func (g *asg) Undo(ctx context.Context, a Attempt) error {
	var p asgPrevious
	if err := json.Unmarshal(a.Previous, &p); err != nil {
		return fmt.Errorf("reading the previous size: %w", err)
	}
	return g.putBack(ctx, a, p)
}

func (g *asg) putBack(ctx context.Context, a Attempt, p asgPrevious) error {
	if g.cfg.Count == 0 && len(p.Protected) > 0 {
		_, now, err := g.describe(ctx)
		if err != nil {
			return err
		}
		if err := g.protect(ctx, a, both(p.Protected, now.Exposed), true); err != nil {
			return err
		}
	}
	if err := g.resize(ctx, a, p); err != nil {
		return err
	}
	if g.cfg.Count > 0 {
		if back := g.hindered(p); len(back) > 0 { // a start has resumed what was suspended
			_, err := g.client.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: &g.cfg.Group, ScalingProcesses: back})
			if err != nil {
				return fmt.Errorf("suspending %s of %s in %s again: %w", strings.Join(back, ", "), g.cfg.Group, g.region, err)
			}
		}
		return nil
	}
	return g.resume(ctx, slices.DeleteFunc(slices.Clone(returning), func(s string) bool { return slices.Contains(p.Suspended, s) }))
}

// Restored implements Restorer. An instance that a stop has left in service is protected again.
func (g *asg) Restored(now Effect, previous json.RawMessage) bool {
	var was, is asgPrevious
	return json.Unmarshal(previous, &was) == nil && json.Unmarshal(now.Previous, &is) == nil && was.isBack(is)
}

func (was *asgPrevious) isBack(is asgPrevious) bool {
	return was.Min == is.Min && was.Max == is.Max && was.Desired == is.Desired && slices.Equal(was.Suspended, is.Suspended) &&
		len(both(was.Protected, is.Exposed)) == 0
}

// Untouched implements Untouchable: instances are wanted, and nothing that would launch
// them is suspended.
func (g *asg) Untouched(previous json.RawMessage) bool {
	var was asgPrevious
	if g.cfg.Count > 0 || json.Unmarshal(previous, &was) != nil {
		return false
	}
	return was.Desired > 0 && len(both(was.Suspended, returning)) == 0
}

// Overtaken implements Witness. A group may have scaling policies of its own.
func (g *asg) Overtaken(now Effect, previous json.RawMessage) string {
	var was, is asgPrevious
	if json.Unmarshal(previous, &was) != nil || json.Unmarshal(now.Previous, &is) != nil {
		return ""
	}
	return overtakenCount(g.cfg.Count, int(was.Desired), int(is.Desired), true)
}
