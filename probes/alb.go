package probes

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/failoverd/failoverd/failover"
)

// ALBConfig looks at the targets of a load balancer as the load balancer itself sees
// them, through the API of Elastic Load Balancing. It is a signal of the control
// plane: whether clients are served is told by http and websocket, which ask for
// themselves, so that this one never makes a region down.
type ALBConfig struct {
	// TargetGroup is the group's name, which is unique in a region. An ARN ends in
	// an ID that AWS makes up, so that none could stand for two regions.
	TargetGroup string `toml:"target_group" json:"target_group"`
	// MinHealthy is how many targets must be healthy. Zero: 1.
	MinHealthy int `toml:"min_healthy" json:"min_healthy,omitempty"`
	// Slow is the time after which an answer counts as slow. Zero: never.
	Slow failover.Duration `toml:"slow" json:"slow,omitempty"`
}

// ALBCheckConfig asserts that targets are healthy, not only launched.
type ALBCheckConfig struct {
	ALBConfig
	// For is how long it is asked again before it has failed. Zero: 2 minutes.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

// groupName is what AWS allows: "a maximum of 32 characters … alphanumeric characters
// or hyphens, … must not begin or end with a hyphen" (API_CreateTargetGroup).
var groupName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$`)

// Validate reports the first wrong parameter.
func (c *ALBConfig) Validate() error {
	switch {
	case c.TargetGroup == "":
		return badParam("target_group", "is missing")
	case strings.HasPrefix(c.TargetGroup, "arn:"):
		return badParam("target_group", "%q is an ARN, which names one region: write the group's name, %q, as it is in both", c.TargetGroup, nameInARN(c.TargetGroup))
	case !groupName.MatchString(c.TargetGroup):
		return badParam("target_group", "%q is not the name of a target group (up to 32 letters, digits and -)", c.TargetGroup)
	case c.MinHealthy < 0:
		return badParam("min_healthy", "%d is negative", c.MinHealthy)
	}
	return notNegative("slow", c.Slow)
}

// nameInARN is NAME of arn:…:targetgroup/NAME/ID.
func nameInARN(arn string) string {
	if parts := strings.Split(arn, "/"); len(parts) > 1 {
		return parts[1]
	}
	return ""
}

// Validate reports the first wrong parameter.
func (c *ALBCheckConfig) Validate() error {
	if err := c.ALBConfig.Validate(); err != nil {
		return err
	}
	return notNegative("within", c.For)
}

// Within implements CheckConfig.
func (c *ALBCheckConfig) Within() time.Duration { return within(c.For) }

// ControlPlane says that the signal never makes a region down.
func (c *ALBConfig) ControlPlane() {}

func (c *ALBConfig) need() int { return max(1, c.MinHealthy) }

type albProbe struct {
	cfg    *ALBConfig
	deps   Deps
	client *elb.Client
	arn    string // found once; a group that is made anew under its name is found again
}

// New implements Config.
func (c *ALBConfig) New(d Deps) (Probe, error) { return c.probe(d) }

func (c *ALBConfig) probe(d Deps) (*albProbe, error) {
	if d.Cloud == nil {
		return nil, fmt.Errorf("target group %s: there are no AWS clients", c.TargetGroup)
	}
	return &albProbe{cfg: c, deps: d, client: d.Cloud.ELB(string(d.Region))}, nil
}

// Probe implements Probe.
func (p *albProbe) Probe(ctx context.Context) failover.Observation {
	o := p.deps.observation("alb", p.cfg.TargetGroup)
	ctx, cancel := p.deps.within(ctx)
	defer cancel()
	r := p.look(ctx)
	r.latency = time.Since(o.At)
	return r.slower(p.cfg.Slow.D()).finish(o)
}

func onceELB(o *elb.Options) { o.RetryMaxAttempts = 1 }

func (p *albProbe) look(ctx context.Context) result {
	if err := p.deps.Cloud.Credentials(ctx); err != nil {
		return awsError("credentials", err)
	}
	if p.arn == "" {
		out, err := p.client.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{p.cfg.TargetGroup}}, onceELB)
		if err != nil {
			return p.failed("DescribeTargetGroups", err)
		}
		if len(out.TargetGroups) != 1 {
			return result{outcome: failover.Misconfigured, reason: failover.ReasonConfig, detail: fmt.Sprintf("%d target groups in %s are called %s", len(out.TargetGroups), p.deps.Region, p.cfg.TargetGroup)}
		}
		p.arn = aws.ToString(out.TargetGroups[0].TargetGroupArn)
	}
	out, err := p.client.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: &p.arn}, onceELB)
	if err != nil {
		return p.failed("DescribeTargetHealth", err)
	}
	return p.judge(out.TargetHealthDescriptions)
}

// failed sorts an error. A group that is gone may have been made anew, with an ARN of
// its own.
func (p *albProbe) failed(call string, err error) result {
	r := awsError(call, err)
	if _, gone := errors.AsType[*types.TargetGroupNotFoundException](err); gone {
		p.arn = ""
		r.detail = fmt.Sprintf("there is no target group %s in %s: write the name of the one behind the load balancer", p.cfg.TargetGroup, p.deps.Region)
	}
	return r
}

// judge counts what may be sent requests. A target that has only been registered is
// not healthy yet, and one that drains is not any more.
func (p *albProbe) judge(targets []types.TargetHealthDescription) result {
	healthy := 0
	var ill []string
	for _, t := range targets {
		if t.TargetHealth == nil || t.Target == nil {
			continue
		}
		if t.TargetHealth.State == types.TargetHealthStateEnumHealthy {
			healthy++
			continue
		}
		ill = append(ill, targetSays(t))
	}
	detail := fmt.Sprintf("%d of %d targets of %s in %s are healthy", healthy, len(targets), p.cfg.TargetGroup, p.deps.Region)
	if len(ill) > 0 {
		detail += ": " + few(ill)
	}
	if healthy < p.cfg.need() {
		return result{outcome: failover.Failed, reason: failover.ReasonContent, detail: fmt.Sprintf("%s; %d must be", detail, p.cfg.need())}
	}
	return result{outcome: failover.OK, detail: detail}
}

// targetSays is a target that is not healthy, with the API's reason.
func targetSays(t types.TargetHealthDescription) string {
	s := fmt.Sprintf("%s:%d is %s", aws.ToString(t.Target.Id), aws.ToInt32(t.Target.Port), t.TargetHealth.State)
	if t.TargetHealth.Reason != "" {
		s += fmt.Sprintf(" (%s: %s)", t.TargetHealth.Reason, aws.ToString(t.TargetHealth.Description))
	}
	return s
}

type albCheck struct{ probe *albProbe }

// NewCheck implements CheckConfig.
func (c *ALBCheckConfig) NewCheck(d Deps) (Check, error) {
	p, err := c.probe(d)
	if err != nil {
		return nil, err
	}
	return albCheck{p}, nil
}

// Check implements Check.
func (c albCheck) Check(ctx context.Context) Finding { return findingOfAPI(c.probe.Probe(ctx)) }
