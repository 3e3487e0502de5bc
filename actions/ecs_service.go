package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/applicationautoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/failoverd/failoverd/internal/cloud"
)

// ECSServiceConfig sets the desired count of an ECS service.
type ECSServiceConfig struct {
	Cluster string `toml:"cluster" json:"cluster"`
	Service string `toml:"service" json:"service"`
	// Count is the number of tasks. Zero stops the service; more starts it and
	// never scales it down.
	Count int `toml:"count" json:"count"`
	// MinRunning is the share of Count, in percent, of which the tasks must run for a start to be done; ECS goes on with the others. Zero
	// means 100.
	MinRunning int `toml:"min_running" json:"min_running,omitempty"`
}

// Validate implements Config.
func (c *ECSServiceConfig) Validate(role Role) error {
	switch {
	case role == RoleSwitch:
		return badParam("service", "cannot move clients; a switch needs a kind such as route53_weights")
	case c.Cluster == "":
		return badParam("cluster", "is missing")
	case c.Service == "":
		return badParam("service", "is missing")
	case c.Count < 0:
		return badParam("count", "%d is negative", c.Count)
	case role == RoleStart && c.Count == 0:
		return badParam("count", "is 0, which starts nothing; give the number of tasks that carry the whole load")
	case c.MinRunning < 0 || c.MinRunning > 100:
		return badParam("min_running", "%d is not a share in percent", c.MinRunning)
	case role == RoleStop && c.MinRunning != 0:
		return badParam("min_running", "is %d, and a stop is done when no task runs", c.MinRunning)
	case role == RoleStop && c.Count != 0:
		return badParam("count", "is %d, which leaves tasks running; a stop needs 0", c.Count)
	}
	return nil
}

// Version implements Config.
func (c *ECSServiceConfig) Version() int { return 1 }

// Timeout implements Config.
func (c *ECSServiceConfig) Timeout() time.Duration {
	if c.Count == 0 {
		return time.Minute
	}
	return 10 * time.Minute
}

// ecsService changes one number, the desired count, and believes the others. A
// service's autoscaler would change it again, so that it is suspended first
// (ecs_scaling.go).
type ecsService struct {
	cfg    *ECSServiceConfig
	region string
	client *ecs.Client
	scaler *applicationautoscaling.Client
}

// New implements Config.
func (c *ECSServiceConfig) New(d Deps) (Action, error) {
	if d.Cloud == nil {
		return nil, errors.New("there are no AWS clients")
	}
	return &ecsService{cfg: c, region: string(d.Region), client: d.Cloud.ECS(string(d.Region)), scaler: d.Cloud.AppAutoScaling(string(d.Region))}, nil
}

// Idempotent says that Do is absolute: repeated, it changes nothing.
func (s *ecsService) Idempotent() {}

// Ages implements Aging: AWS accepts a signed request for five minutes.
func (s *ecsService) Ages() time.Duration { return cloud.SignatureLife }

// ecsPrevious is what Undo puts back.
type ecsPrevious struct {
	Desired int32     `json:"desired"`
	Scaling *ecsScale `json:"scaling,omitempty"` // nil: the service has no autoscaler, or it could not be asked
	Unasked bool      `json:"unasked,omitempty"` // it could not be asked
}

// Inspect implements Action.
func (s *ecsService) Inspect(ctx context.Context) (Effect, error) {
	svc, err := s.describe(ctx)
	if err != nil {
		return Effect{}, err
	}
	scale, serr := s.scaling(ctx)
	previous, err := json.Marshal(ecsPrevious{Desired: svc.DesiredCount, Scaling: scale, Unasked: serr != nil})
	if err != nil {
		return Effect{}, err
	}
	e := Effect{
		Previous: previous,
		Detail:   fmt.Sprintf("%s in %s: desired %d, running %d, pending %d", s.cfg.Service, s.region, svc.DesiredCount, svc.RunningCount, svc.PendingCount),
	}
	if serr != nil {
		e.Detail += "; whether it has an autoscaler is not known: " + serr.Error()
	}
	if s.cfg.Count > 0 {
		need := int32(share(s.cfg.Count, s.cfg.MinRunning))
		switch {
		case svc.DesiredCount < int32(s.cfg.Count):
			e.State = Absent
		case svc.RunningCount < need:
			e.State = Partial
			e.Detail += fmt.Sprintf(", want %d", need) + lastEvent(svc)
		case scale != nil && *scale != s.leaves(*scale):
			e.State = Partial // the tasks run, for as long as it lets them
		default:
			e.State = Present
			if svc.RunningCount < int32(s.cfg.Count) {
				e.Detail += fmt.Sprintf(", of which %d are enough", need) + lastEvent(svc)
			}
		}
		if e.State == Partial && scale != nil && *scale != s.leaves(*scale) {
			e.Over = fmt.Sprintf("its autoscaler may take tasks away, or adds none: %s; it should have at least min %d, and nothing suspended", scale, s.cfg.Count)
			e.Detail += ", but " + e.Over
		}
		return e, nil
	}
	if svc.DesiredCount > 0 {
		e.State = Absent
		if scale != nil && *scale == s.leaves(*scale) {
			e.Detail += "; its autoscaler rests: " + scale.String()
		}
		return e, nil
	}
	if svc.RunningCount > 0 || svc.PendingCount > 0 {
		e.State = Partial
	}
	// The counts are a summary. What must have stopped is the tasks.
	alive, cutOff, err := s.alive(ctx)
	switch {
	case err != nil:
		return Effect{}, err
	case cutOff != "":
		e.State = Unknown
		e.Detail += ", but " + cutOff
	case alive != "":
		e.State, e.Ending = Partial, serr == nil && !scale.wakes()
		e.Detail += ", but " + alive
	case e.State == Partial:
	case scale.wakes():
		e.State, e.Over = Partial, "its autoscaler would start it again: "+scale.String()
		e.Detail += ", but " + e.Over
	default:
		e.State = Present
	}
	return e, nil
}

// lastEvent tells why tasks do not start, as far as ECS says.
func lastEvent(svc *types.Service) string {
	if len(svc.Events) == 0 {
		return ""
	}
	return "; ECS says: " + aws.ToString(svc.Events[0].Message)
}

func (s *ecsService) describe(ctx context.Context) (*types.Service, error) {
	out, err := s.client.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: &s.cfg.Cluster, Services: []string{s.cfg.Service}})
	if err != nil {
		return nil, fmt.Errorf("describing service %s of cluster %s in %s: %w", s.cfg.Service, s.cfg.Cluster, s.region, err)
	}
	for _, f := range out.Failures {
		return nil, fmt.Errorf("service %s of cluster %s in %s: ECS says %s; check the names, and that the service exists there",
			s.cfg.Service, s.cfg.Cluster, s.region, aws.ToString(f.Reason))
	}
	if len(out.Services) != 1 {
		return nil, fmt.Errorf("service %s of cluster %s in %s: ECS describes %d services", s.cfg.Service, s.cfg.Cluster, s.region, len(out.Services))
	}
	svc := &out.Services[0]
	// CodeDeploy and third parties run a service's tasks in task sets of their own, which
	// they replace while they deploy: its count is not ours to judge (DeploymentController).
	if c := svc.DeploymentController; c != nil && c.Type != types.DeploymentControllerTypeEcs {
		return nil, fmt.Errorf("service %s of cluster %s in %s is deployed by %s: only services with the deployment controller ECS are counted; use exec with commands of that controller",
			s.cfg.Service, s.cfg.Cluster, s.region, c.Type)
	}
	if s.cfg.Count > 0 && aws.ToString(svc.Status) != "ACTIVE" {
		return nil, fmt.Errorf("service %s of cluster %s in %s is %s: it has to be created again before it can be started",
			s.cfg.Service, s.cfg.Cluster, s.region, aws.ToString(svc.Status))
	}
	return svc, nil
}

// alive says which tasks still run. A task that was told to stop is listed
// under STOPPED long before it has stopped, and for ever if its instance is cut
// off: only its last status counts. cutOff names those whose container instance is
// not connected: what ECS says of them is what it heard last, and they run on
// (ContainerInstance, agentConnected).
func (s *ecsService) alive(ctx context.Context) (alive, cutOff string, err error) {
	var running, apart []string
	for _, desired := range []types.DesiredStatus{types.DesiredStatusRunning, types.DesiredStatusStopped} {
		in := &ecs.ListTasksInput{Cluster: &s.cfg.Cluster, ServiceName: &s.cfg.Service, DesiredStatus: desired}
		for pages := ecs.NewListTasksPaginator(s.client, in); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return "", "", fmt.Errorf("listing tasks of service %s in %s: %w", s.cfg.Service, s.region, err)
			}
			if len(page.TaskArns) == 0 {
				continue
			}
			out, err := s.client.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &s.cfg.Cluster, Tasks: page.TaskArns})
			if err != nil {
				return "", "", fmt.Errorf("describing tasks of service %s in %s: %w", s.cfg.Service, s.region, err)
			}
			for _, f := range out.Failures { // not known to have stopped
				running = append(running, fmt.Sprintf("task %s cannot be described (%s)", aws.ToString(f.Arn), aws.ToString(f.Reason)))
			}
			for _, t := range out.Tasks {
				if status := aws.ToString(t.LastStatus); status != "STOPPED" {
					running = append(running, fmt.Sprintf("task %s is %s", aws.ToString(t.TaskArn), status))
					off, err := s.disconnected(ctx, t)
					if err != nil {
						return "", "", err
					}
					if off != "" {
						apart = append(apart, off)
					}
				}
			}
		}
	}
	return named(running), named(apart), nil
}

// manyNames is how many of several things a sentence names.
const manyNames = 5

// named are the first of several things, and how many more there are.
func named(all []string) string {
	if more := len(all) - manyNames; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:manyNames], ", "), more)
	}
	return strings.Join(all, ", ")
}

// Do implements Action. A start never scales down: a run that is repeated after
// an autoscaler has acted must not take capacity away.
func (s *ecsService) Do(ctx context.Context, a Attempt) error {
	var p ecsPrevious
	if s.cfg.Count == 0 {
		if err := json.Unmarshal(a.Previous, &p); err != nil && len(a.Previous) > 0 { // empty: a stop is tried blind
			a.Report("what was recorded before the stop cannot be read (%v); the service is stopped all the same, its autoscaler is left as it is", err)
		}
		var awake error
		if p.Scaling != nil {
			// It is told to rest before the count is changed, or it changes it again.
			if awake = s.scale(ctx, a, p.Scaling.asleep()); awake != nil {
				a.Report("%v; the service is stopped all the same", awake)
			}
		}
		return errors.Join(awake, s.set(ctx, a, 0))
	}
	if err := json.Unmarshal(a.Previous, &p); err != nil {
		return fmt.Errorf("reading the previous count: %w", err)
	}
	count := max(int32(s.cfg.Count), p.Desired)
	var asleep error
	if p.Scaling != nil {
		if asleep = s.scale(ctx, a, p.Scaling.awake(count)); asleep != nil { // until it is woken the step is not done, and the tasks boot meanwhile
			a.Report("%v; the tasks are asked for all the same", asleep)
		}
	}
	return errors.Join(asleep, s.set(ctx, a, count))
}

// Undo implements Action.
func (s *ecsService) Undo(ctx context.Context, a Attempt) error {
	var p ecsPrevious
	if err := json.Unmarshal(a.Previous, &p); err != nil {
		return fmt.Errorf("reading the previous count: %w", err)
	}
	err := s.set(ctx, a, p.Desired)
	switch {
	case err != nil || p.Scaling == nil && !p.Unasked:
		return err
	case p.Unasked:
		if now, err := s.scaling(ctx); err == nil && (now == nil || *now != s.leaves(*now)) {
			return nil
		}
		return fmt.Errorf("what the autoscaler of %s in %s was like is not in the log, since it could not be asked: look at it, and set it by hand if it rests or has another minimum", s.cfg.Service, s.region)
	}
	return s.scale(ctx, a, *p.Scaling)
}

// Restored implements Restorer: the desired count is what it was, and so is the autoscaler. One that could not be asked then may have been
// changed by a later attempt: as such an attempt leaves it, nobody knows what it was.
func (s *ecsService) Restored(now Effect, previous json.RawMessage) bool {
	var was, is ecsPrevious
	if json.Unmarshal(previous, &was) != nil || json.Unmarshal(now.Previous, &is) != nil || was.Desired != is.Desired {
		return false
	}
	if was.Unasked {
		return is.Scaling == nil || *is.Scaling != s.leaves(*is.Scaling)
	}
	return was.Scaling == nil || is.Scaling != nil && *was.Scaling == *is.Scaling
}

// leaves is how Do leaves an autoscaler.
func (s *ecsService) leaves(t ecsScale) ecsScale {
	if s.cfg.Count == 0 {
		return t.asleep()
	}
	return t.awake(int32(s.cfg.Count)) //nolint:gosec // validated
}

// Untouched implements Untouchable: tasks are wanted, and no autoscaler rests as a stop
// lays it to rest.
func (s *ecsService) Untouched(previous json.RawMessage) bool {
	var was ecsPrevious
	if s.cfg.Count > 0 || json.Unmarshal(previous, &was) != nil {
		return false
	}
	return was.Desired > 0 && !was.Unasked && (was.Scaling == nil || *was.Scaling != was.Scaling.asleep())
}

// Overtaken implements Witness.
func (s *ecsService) Overtaken(now Effect, previous json.RawMessage) string {
	var was, is ecsPrevious
	if json.Unmarshal(previous, &was) != nil || json.Unmarshal(now.Previous, &is) != nil {
		return ""
	}
	return overtakenCount(s.cfg.Count, int(was.Desired), int(is.Desired), was.Scaling != nil)
}

func (s *ecsService) set(ctx context.Context, a Attempt, count int32) error {
	a.Report("setting the desired count of %s in %s to %d", s.cfg.Service, s.region, count)
	_, err := s.client.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: &s.cfg.Cluster, Service: &s.cfg.Service, DesiredCount: &count})
	if err != nil {
		return fmt.Errorf("setting the desired count of %s in %s to %d: %w", s.cfg.Service, s.region, count, err)
	}
	return nil
}
