package probes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/failoverd/failoverd/failover"
)

// ECSConfig looks at whether the tasks of a service run, are healthy and belong to
// the deployment that is wanted. It is a signal of the control plane, which tells
// only what ECS makes of its tasks: it never makes a region down.
type ECSConfig struct {
	// Cluster and Service are names, which are the same in both regions.
	Cluster string `toml:"cluster" json:"cluster"`
	Service string `toml:"service" json:"service"`
	// Count is how many tasks must run and be healthy. Zero: as many as the service
	// wants itself.
	Count int `toml:"count" json:"count,omitempty"`
	// HealthCheck says that the task definition has a health check, so that only
	// tasks that are HEALTHY count. Without it UNKNOWN counts as well: ECS says that
	// of a task without a health check, and of one whose checks have not begun.
	HealthCheck bool `toml:"health_check" json:"health_check,omitempty"`
	// Slow is the time after which an answer counts as slow. Zero: never.
	Slow failover.Duration `toml:"slow" json:"slow,omitempty"`
}

// ECSCheckConfig asserts that tasks run and are healthy, and that the deployment has
// come to its end.
type ECSCheckConfig struct {
	ECSConfig
	// For is how long it is asked again before it has failed. Zero: 2 minutes.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

// Validate reports the first wrong parameter.
func (c *ECSConfig) Validate() error {
	switch {
	case c.Cluster == "":
		return badParam("cluster", "is missing")
	case c.Service == "":
		return badParam("service", "is missing")
	case c.Count < 0:
		return badParam("count", "%d is negative", c.Count)
	}
	if err := validNames("cluster", []string{c.Cluster}); err != nil {
		return err
	}
	if err := validNames("service", []string{c.Service}); err != nil {
		return err
	}
	return notNegative("slow", c.Slow)
}

// Validate reports the first wrong parameter.
func (c *ECSCheckConfig) Validate() error {
	if err := c.ECSConfig.Validate(); err != nil {
		return err
	}
	return notNegative("within", c.For)
}

// Within implements CheckConfig.
func (c *ECSCheckConfig) Within() time.Duration { return within(c.For) }

// ControlPlane says that the signal never makes a region down.
func (c *ECSConfig) ControlPlane() {}

// New implements Config.
func (c *ECSConfig) New(d Deps) (Probe, error) { return c.probe(d) }

func (c *ECSConfig) probe(d Deps) (*ecsProbe, error) {
	if d.Cloud == nil {
		return nil, fmt.Errorf("service %s: there are no AWS clients", c.Service)
	}
	return &ecsProbe{cfg: c, deps: d, client: d.Cloud.ECS(string(d.Region))}, nil
}

// NewCheck implements CheckConfig.
func (c *ECSCheckConfig) NewCheck(d Deps) (Check, error) {
	p, err := c.probe(d)
	if err != nil {
		return nil, err
	}
	return ecsCheck{p}, nil
}

type ecsProbe struct {
	cfg    *ECSConfig
	deps   Deps
	client *ecs.Client
}

func onceECS(o *ecs.Options) { o.RetryMaxAttempts = 1 }

// Probe implements Probe. What is still starting is degraded and not down: a region
// that is being entered looks like that for minutes.
func (p *ecsProbe) Probe(ctx context.Context) failover.Observation {
	o := p.deps.observation("ecs", p.cfg.Cluster+"/"+p.cfg.Service)
	ctx, cancel := p.deps.within(ctx)
	defer cancel()
	r := p.look(ctx)
	r.latency = time.Since(o.At)
	return r.slower(p.cfg.Slow.D()).finish(o)
}

func (p *ecsProbe) look(ctx context.Context) result {
	if err := p.deps.Cloud.Credentials(ctx); err != nil {
		return awsError("credentials", err)
	}
	out, err := p.client.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: &p.cfg.Cluster, Services: []string{p.cfg.Service}}, onceECS)
	if err != nil {
		return awsError("DescribeServices", err)
	}
	if len(out.Services) != 1 {
		// One that is not there is no error of the call, but a "failure" with the reason MISSING.
		return ours("there is no service %s in cluster %s in %s: check the names, and that it was created there", p.cfg.Service, p.cfg.Cluster, p.deps.Region)
	}
	svc := out.Services[0]
	if c := svc.DeploymentController; c != nil && c.Type != types.DeploymentControllerTypeEcs {
		return ours("service %s in %s is deployed by %s, whose task sets are not looked at: only services with the deployment controller ECS are", p.cfg.Service, p.deps.Region, c.Type)
	}
	healthy, ill, err := p.tasks(ctx)
	if err != nil {
		return awsError("DescribeTasks", err)
	}
	return p.judge(svc, healthy, ill)
}

// ours is a mistake of the configuration, or of what it names.
func ours(format string, args ...any) result {
	return result{outcome: failover.Misconfigured, reason: failover.ReasonConfig, detail: fmt.Sprintf(format, args...)}
}

// tasks counts the tasks that run and are healthy, and names some that are not. A
// service's own runningCount says neither.
func (p *ecsProbe) tasks(ctx context.Context) (healthy int, ill []string, err error) {
	in := &ecs.ListTasksInput{Cluster: &p.cfg.Cluster, ServiceName: &p.cfg.Service, DesiredStatus: types.DesiredStatusRunning}
	for pages := ecs.NewListTasksPaginator(p.client, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx, onceECS)
		if err != nil {
			return 0, nil, err
		}
		if len(page.TaskArns) == 0 {
			continue
		}
		out, err := p.client.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &p.cfg.Cluster, Tasks: page.TaskArns}, onceECS)
		if err != nil {
			return 0, nil, err
		}
		for _, t := range out.Tasks { // a task that is gone meanwhile is among the failures, and counts for nothing
			id := aws.ToString(t.TaskArn)
			id = id[strings.LastIndexByte(id, '/')+1:]
			switch status := aws.ToString(t.LastStatus); {
			case status != "RUNNING":
				ill = append(ill, "task "+id+" is "+status)
			case t.HealthStatus == types.HealthStatusUnhealthy, p.cfg.HealthCheck && t.HealthStatus != types.HealthStatusHealthy:
				ill = append(ill, "task "+id+" is RUNNING and "+string(t.HealthStatus))
			default:
				healthy++
			}
		}
	}
	return healthy, ill, nil
}

// judge compares what is there with what is wanted.
func (p *ecsProbe) judge(svc types.Service, healthy int, ill []string) result {
	need := p.cfg.Count
	if need == 0 {
		need = int(svc.DesiredCount)
	}
	detail := fmt.Sprintf("%d of %d tasks of %s in %s run and are healthy", healthy, need, p.cfg.Service, p.deps.Region)
	if len(ill) > 0 {
		detail += ": " + few(ill)
	}
	bad := func(o failover.Outcome, format string, args ...any) result {
		return result{outcome: o, reason: failover.ReasonContent, detail: detail + "; " + fmt.Sprintf(format, args...)}
	}
	rolled, why := rollout(svc)
	switch {
	case aws.ToString(svc.Status) != "ACTIVE":
		return bad(failover.Failed, "the service is %s: it has to be created again", aws.ToString(svc.Status))
	case int(svc.DesiredCount) < need:
		return bad(failover.Failed, "the service wants only %d itself: somebody or an autoscaler set that", svc.DesiredCount)
	case rolled == failover.Failed:
		return bad(failover.Failed, "its deployment is stuck: %s", why)
	case healthy < need:
		if says := obstacle(svc.Events); says != "" {
			return bad(failover.Failed, "it is stuck: ECS says: %s", says)
		}
		return bad(failover.Slow, "they are still starting%s", why)
	case rolled == failover.Slow:
		return bad(failover.Slow, "its deployment goes on%s", why)
	}
	return result{outcome: failover.OK, detail: detail}
}

// rollout says how far the deployment that is wanted has come: OK when it is the only
// one and has come to its end, Slow while it goes on, Failed when it does not. One that
// the circuit breaker gave up launches nothing any more; without a circuit breaker it
// goes on for ever, and counts its failures in a row until the first success.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html
func rollout(svc types.Service) (state failover.Outcome, why string) {
	i := slices.IndexFunc(svc.Deployments, func(d types.Deployment) bool { return aws.ToString(d.Status) == "PRIMARY" })
	if i < 0 {
		return failover.Slow, ": it has no primary deployment"
	}
	switch d := svc.Deployments[i]; {
	case d.RolloutState == types.DeploymentRolloutStateFailed:
		return failover.Failed, "it was given up: " + aws.ToString(d.RolloutStateReason)
	case d.FailedTasks > 0 && d.RunningCount == 0:
		return failover.Failed, fmt.Sprintf("%d tasks in a row have failed%s", d.FailedTasks, told(obstacle(svc.Events)))
	case d.RolloutState == types.DeploymentRolloutStateInProgress: // empty behind a Classic Load Balancer: the counts decide
		return failover.Slow, fmt.Sprintf(" (%d of %d run, %d are pending)", d.RunningCount, d.DesiredCount, d.PendingCount)
	case len(svc.Deployments) > 1:
		return failover.Slow, " (tasks of an earlier one are left)"
	}
	return failover.OK, ""
}

func told(s string) string {
	if s == "" {
		return ""
	}
	return "; ECS says: " + s
}

// obstacle is the newest event, since the service was last steady, that tells of
// tasks which could not be placed, started or kept healthy. Events are newest first.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
func obstacle(events []types.ServiceEvent) string {
	for _, e := range events {
		m := aws.ToString(e.Message)
		if strings.Contains(m, "has reached a steady state") {
			return ""
		}
		for _, sign := range []string{"unable to", "is unhealthy in", "failed container health checks", "failed to", "operations are being throttled"} {
			if strings.Contains(m, sign) {
				return m
			}
		}
	}
	return ""
}

type ecsCheck struct{ probe *ecsProbe }

// Check implements Check. Whether it is stuck or still starting, it has not passed.
func (c ecsCheck) Check(ctx context.Context) Finding { return findingOfAPI(c.probe.Probe(ctx)) }
