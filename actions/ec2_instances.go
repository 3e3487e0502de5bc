package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// EC2InstancesConfig stops or starts EC2 instances that belong to no Auto Scaling
// group: by their ids, or by their tags.
type EC2InstancesConfig struct {
	// IDs are the instances by region.
	IDs map[failover.Region][]string `toml:"ids" json:"ids,omitempty"`
	// Tags select instances that have all of them. None never means every instance.
	Tags map[string]string `toml:"tags" json:"tags,omitempty"`
	// Running is false for a stop and true for a start.
	Running bool `toml:"running" json:"running"`
	// MinHealthy is the share of the instances, in percent, that must run and pass
	// their status checks for a start to count as done. Zero means 100.
	MinHealthy int `toml:"min_healthy" json:"min_healthy,omitempty"`
}

// Validate implements Config.
func (c *EC2InstancesConfig) Validate(role Role) error {
	switch {
	case role == RoleSwitch:
		return badParam("ids", "cannot move clients; a switch needs a kind such as route53_weights")
	case len(c.IDs) == 0 && len(c.Tags) == 0:
		return badParam("ids", "is missing, and so is tags; an empty selector never means every instance")
	case len(c.IDs) > 0 && len(c.Tags) > 0:
		return badParam("tags", "stands beside ids; give the one or the other")
	case c.MinHealthy < 0 || c.MinHealthy > 100:
		return badParam("min_healthy", "%d is not a share in percent", c.MinHealthy)
	case role == RoleStart && !c.Running:
		return badParam("running", "is false, which starts nothing")
	case role == RoleStop && c.Running:
		return badParam("running", "is true, which stops nothing")
	case role == RoleStop && c.MinHealthy != 0:
		return badParam("min_healthy", "has no meaning in a stop, which is done when all have stopped")
	}
	for _, r := range slices.Sorted(maps.Keys(c.IDs)) {
		ids := c.IDs[r]
		if len(ids) == 0 {
			return badParam("ids", "has no instance of %s", r)
		}
		for i, id := range ids {
			if !strings.HasPrefix(id, "i-") || slices.Contains(ids[:i], id) {
				return badParam("ids", "%q of %s is no instance id (i-…) or is listed twice", id, r)
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(c.Tags)) {
		if v := c.Tags[k]; k == "" || v == "" || strings.ContainsAny(k+v, "*?") {
			return badParam("tags", "%q = %q is empty or holds a wildcard", k, v)
		}
	}
	return nil
}

// Version implements Config.
func (c *EC2InstancesConfig) Version() int { return 1 }

// Timeout implements Config. An instance that does not shut down in time is
// ended by EC2 after some minutes; the first status checks take a few.
func (c *EC2InstancesConfig) Timeout() time.Duration { return 10 * time.Minute }

// selector is how a person reads the selector.
func (c *EC2InstancesConfig) selector(region string) string {
	if len(c.Tags) == 0 {
		return strings.Join(c.IDs[failover.Region(region)], ", ")
	}
	var out []string
	for _, k := range slices.Sorted(maps.Keys(c.Tags)) {
		out = append(out, k+"="+c.Tags[k])
	}
	return strings.Join(out, ", ")
}

// New implements Config.
func (c *EC2InstancesConfig) New(d Deps) (Action, error) {
	if d.Cloud == nil {
		return nil, errors.New("there are no AWS clients")
	}
	if len(c.Tags) == 0 && len(c.IDs[d.Region]) == 0 {
		return nil, badParam("ids", "has no instance of %s", d.Region)
	}
	return &ec2Instances{cfg: c, region: string(d.Region), client: d.Cloud.EC2(string(d.Region))}, nil
}

// ec2Instances believes the state of each instance. The calls succeed long before:
// an instance is stopping for minutes, and one that starts may end for lack of
// capacity.
type ec2Instances struct {
	cfg    *EC2InstancesConfig
	region string
	client *ec2.Client
}

// Idempotent says that Do is absolute.
func (x *ec2Instances) Idempotent() {}

// Ages implements Aging: AWS accepts a signed request for five minutes.
func (x *ec2Instances) Ages() time.Duration { return cloud.SignatureLife }

// groupTag is how EC2 Auto Scaling marks the instances of a group.
const groupTag = "aws:autoscaling:groupName"

// list finds the instances that the selector means. It refuses members of an Auto
// Scaling group: a member that is stopped counts as unhealthy there, and is
// replaced by one that runs (EC2 Auto Scaling user guide, health checks).
func (x *ec2Instances) list(ctx context.Context) ([]types.Instance, error) {
	in := &ec2.DescribeInstancesInput{InstanceIds: x.cfg.IDs[failover.Region(x.region)]}
	for _, k := range slices.Sorted(maps.Keys(x.cfg.Tags)) {
		in.Filters = append(in.Filters, types.Filter{Name: aws.String("tag:" + k), Values: []string{x.cfg.Tags[k]}})
	}
	if len(in.InstanceIds) == 0 && len(in.Filters) == 0 {
		return nil, errors.New("the selector is empty: that would be every instance, and nothing is done")
	}
	selector := x.cfg.selector(x.region)
	var out []types.Instance
	for pages := ec2.NewDescribeInstancesPaginator(x.client, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("describing the instances %s in %s: %w", selector, x.region, err)
		}
		for _, r := range page.Reservations {
			for _, i := range r.Instances {
				// One that was terminated is listed for about an hour. By its tags it is
				// none of them any more.
				if len(x.cfg.Tags) == 0 || stateOf(i) != types.InstanceStateNameTerminated {
					out = append(out, i)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b types.Instance) int { return strings.Compare(idOf(a), idOf(b)) })
	for _, i := range out {
		for _, t := range i.Tags {
			if aws.ToString(t.Key) == groupTag {
				return nil, fmt.Errorf("%s in %s belongs to the Auto Scaling group %s, which would replace it: nothing is done; use asg for that group",
					idOf(i), x.region, aws.ToString(t.Value))
			}
		}
	}
	if len(out) == 0 {
		// That nothing is found proves nothing about what runs.
		return nil, fmt.Errorf("no instance in %s is %s: check the selector, and that the instances exist there", x.region, selector)
	}
	return out, nil
}

func idOf(i types.Instance) string { return aws.ToString(i.InstanceId) }

func stateOf(i types.Instance) types.InstanceStateName {
	if i.State == nil {
		return ""
	}
	return i.State.Name
}

// Inspect implements Action.
func (x *ec2Instances) Inspect(ctx context.Context) (Effect, error) {
	all, err := x.list(ctx)
	if err != nil {
		return Effect{}, err
	}
	was := map[string]types.InstanceStateName{}
	counts := map[types.InstanceStateName]int{}
	for _, i := range all {
		was[idOf(i)] = stateOf(i)
		counts[stateOf(i)]++
	}
	previous, err := json.Marshal(was)
	if err != nil {
		return Effect{}, err
	}
	var says []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		says = append(says, fmt.Sprintf("%d %s", counts[name], name))
	}
	e := Effect{Previous: previous, Inventory: len(all), Detail: fmt.Sprintf("instances %s in %s: %s", x.cfg.selector(x.region), x.region, strings.Join(says, ", "))}
	if x.cfg.Running {
		return x.started(ctx, all, e)
	}
	// Stopping is not stopped: what runs in it runs until it is.
	var left []string
	for _, i := range all {
		switch stateOf(i) {
		case types.InstanceStateNameStopped, types.InstanceStateNameTerminated:
		default:
			left = append(left, fmt.Sprintf("%s is %s", idOf(i), stateOf(i)))
		}
	}
	switch {
	case len(left) == 0:
		e.State = Present
	case counts[types.InstanceStateNameRunning]+counts[types.InstanceStateNamePending] > 0:
		e.State = Absent
	default:
		e.State, e.Ending = Partial, true
	}
	if len(left) > 0 && len(left) < len(all) {
		e.Detail += ": " + strings.Join(left, ", ")
	}
	return e, nil
}

// started counts what runs and passes both status checks, and says of each other
// one what it lacks.
func (x *ec2Instances) started(ctx context.Context, all []types.Instance, e Effect) (Effect, error) {
	var ids []string
	asked := 0
	for _, i := range all {
		switch stateOf(i) {
		case types.InstanceStateNameRunning:
			ids = append(ids, idOf(i))
			asked++
		case types.InstanceStateNamePending:
			asked++
		}
	}
	checks, err := x.checks(ctx, ids)
	if err != nil {
		return e, err
	}
	serving := 0
	var lacking []string
	for _, i := range all {
		switch check := checks[idOf(i)]; {
		case check == "ok":
			serving++
		case check != "":
			lacking = append(lacking, fmt.Sprintf("%s: status checks %s", idOf(i), check))
		case stateOf(i) != types.InstanceStateNamePending:
			line := fmt.Sprintf("%s is %s", idOf(i), stateOf(i))
			// Why it went down again, if it was not asked to (StateReason).
			if why := i.StateReason; why != nil && strings.HasPrefix(aws.ToString(why.Code), "Server.") {
				line += ", " + reason(aws.ToString(why.Code)+": "+aws.ToString(why.Message))
			}
			lacking = append(lacking, line)
		}
	}
	need := share(len(all), x.cfg.MinHealthy)
	e.Detail += fmt.Sprintf("; %d run and pass their status checks of %d", serving, need)
	if len(lacking) > 0 {
		e.Detail += ": " + strings.Join(lacking, ", ")
	}
	switch {
	case serving >= need:
		e.State = Present
	case asked < need:
		e.State = Absent
	default:
		e.State = Partial
	}
	return e, nil
}

// checks are the status checks of running instances: "ok", or what they say.
func (x *ec2Instances) checks(ctx context.Context, ids []string) (map[string]string, error) {
	out := map[string]string{}
	if len(ids) == 0 {
		return out, nil // an empty list would mean all of them
	}
	for _, id := range ids {
		out[id] = "not known yet"
	}
	for pages := ec2.NewDescribeInstanceStatusPaginator(x.client, &ec2.DescribeInstanceStatusInput{InstanceIds: ids}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("describing the status of %s in %s: %w", strings.Join(ids, ", "), x.region, err)
		}
		for _, s := range page.InstanceStatuses {
			system, instance := types.SummaryStatusNotApplicable, types.SummaryStatusNotApplicable
			if s.SystemStatus != nil {
				system = s.SystemStatus.Status
			}
			if s.InstanceStatus != nil {
				instance = s.InstanceStatus.Status
			}
			if out[aws.ToString(s.InstanceId)] = "ok"; system != types.SummaryStatusOk || instance != types.SummaryStatusOk {
				out[aws.ToString(s.InstanceId)] = fmt.Sprintf("system %s, instance %s", system, instance)
			}
		}
	}
	return out, nil
}

// share is how many of n are percent of them, at least one. Zero means 100.
func share(n, percent int) int {
	if percent == 0 {
		percent = 100
	}
	return max(1, (n*percent+99)/100)
}

// Do implements Action.
func (x *ec2Instances) Do(ctx context.Context, a Attempt) error {
	all, err := x.list(ctx)
	if err != nil {
		return err
	}
	want := map[string]bool{}
	for _, i := range all {
		want[idOf(i)] = x.cfg.Running
	}
	return x.set(ctx, a, all, want)
}

// Undo implements Action: those that ran are started, those that did not are
// stopped, and no other is touched.
func (x *ec2Instances) Undo(ctx context.Context, a Attempt) error {
	var was map[string]types.InstanceStateName
	if err := json.Unmarshal(a.Previous, &was); err != nil {
		return fmt.Errorf("reading the previous states: %w", err)
	}
	all, err := x.list(ctx)
	if err != nil {
		return err
	}
	want := map[string]bool{}
	for id, state := range was {
		switch ends(state) {
		case types.InstanceStateNameRunning:
			want[id] = true
		case types.InstanceStateNameStopped:
			want[id] = false
		}
	}
	return x.set(ctx, a, all, want)
}

// ends is the state in which one that passes ends.
func ends(s types.InstanceStateName) types.InstanceStateName {
	switch s {
	case types.InstanceStateNamePending:
		return types.InstanceStateNameRunning
	case types.InstanceStateNameStopping:
		return types.InstanceStateNameStopped
	case types.InstanceStateNameShuttingDown:
		return types.InstanceStateNameTerminated
	}
	return s
}

// set starts and stops what is not as it should be. Only a stopped instance can be
// started, and only a pending or running one stopped (IncorrectInstanceState).
func (x *ec2Instances) set(ctx context.Context, a Attempt, all []types.Instance, want map[string]bool) error {
	var start, stop []string
	var errs []error
	for _, i := range all {
		on, named := want[idOf(i)]
		switch state := stateOf(i); {
		case !named:
		case on && state == types.InstanceStateNameStopped:
			start = append(start, idOf(i))
		case on && state == types.InstanceStateNameStopping:
			errs = append(errs, fmt.Errorf("%s in %s is still stopping, and is tried again: an instance is started once it has stopped", idOf(i), x.region))
		case on && ends(state) == types.InstanceStateNameTerminated:
			errs = append(errs, fmt.Errorf("%s in %s is %s: it has to be launched anew, and its id written into the configuration", idOf(i), x.region, state))
		case !on && ends(state) == types.InstanceStateNameRunning:
			stop = append(stop, idOf(i))
		}
	}
	return errors.Join(append(errs,
		x.each(ctx, a, "starting", start, func(ids []string) error {
			_, err := x.client.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: ids})
			return err
		}),
		// Not by force: what is in hand has the time of a shutdown.
		x.each(ctx, a, "stopping", stop, func(ids []string) error {
			_, err := x.client.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: ids})
			return err
		}))...)
}

// each makes one call for all, and one for each if AWS refuses that: one instance
// that cannot be started makes the whole request fail.
func (x *ec2Instances) each(ctx context.Context, a Attempt, what string, ids []string, call func([]string) error) error {
	if len(ids) == 0 {
		return nil
	}
	a.Report("%s %s in %s", what, strings.Join(ids, ", "), x.region)
	err := call(ids)
	if err == nil {
		return nil
	}
	if len(ids) == 1 || ctx.Err() != nil || !refused(err) {
		return fmt.Errorf("%s %s in %s: %w", what, strings.Join(ids, ", "), x.region, explained(err))
	}
	a.Report("%s them one by one in %s, because together they are refused: %v", what, x.region, err)
	var errs []error
	for _, id := range ids {
		if err := call([]string{id}); err != nil {
			errs = append(errs, fmt.Errorf("%s %s in %s: %w", what, id, x.region, explained(err)))
		}
	}
	return errors.Join(errs...)
}

// Untouched implements Untouchable: every instance that there still is runs.
func (x *ec2Instances) Untouched(previous json.RawMessage) bool {
	var was map[string]types.InstanceStateName
	if x.cfg.Running || json.Unmarshal(previous, &was) != nil {
		return false
	}
	running := 0
	for _, state := range was {
		switch state {
		case types.InstanceStateNameRunning:
			running++
		case types.InstanceStateNameTerminated:
		default:
			return false
		}
	}
	return running > 0
}

// Restored implements Restorer.
func (x *ec2Instances) Restored(now Effect, previous json.RawMessage) bool {
	var was, is map[string]types.InstanceStateName
	if json.Unmarshal(previous, &was) != nil || json.Unmarshal(now.Previous, &is) != nil {
		return false
	}
	for id, state := range was {
		if goal := ends(state); goal != types.InstanceStateNameTerminated && is[id] != goal {
			return false
		}
	}
	return true
}
