package probes

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/failoverd/failoverd/failover"
)

// AWSAPIConfig looks at a region's control plane by calls that change nothing.
// Whatever it sees never makes a region down: control planes fail while what they
// have launched serves on (AWS, 7 December 2021), and the other way round.
type AWSAPIConfig struct {
	// Services are the control planes to ask: "ecs", "sts". Empty: both. One that
	// does not answer is enough.
	Services []string `toml:"services" json:"services,omitempty"`
	// Slow is the time after which an answer counts as slow. Zero: never.
	Slow failover.Duration `toml:"slow" json:"slow,omitempty"`
}

var awsServices = []string{"ecs", "sts"}

// Validate reports the first wrong parameter.
func (c *AWSAPIConfig) Validate() error {
	for i, s := range c.Services {
		if !slices.Contains(awsServices, s) {
			return badParam("services", "%q is not one of %s", s, strings.Join(awsServices, ", "))
		}
		if slices.Contains(c.Services[:i], s) {
			return badParam("services", "%q is listed twice", s)
		}
	}
	return notNegative("slow", c.Slow)
}

// ControlPlane says that the signal never makes a region down.
func (c *AWSAPIConfig) ControlPlane() {}

// New implements Config.
func (c *AWSAPIConfig) New(d Deps) (Probe, error) {
	if d.Cloud == nil {
		return nil, errors.New("there are no AWS clients")
	}
	region := string(d.Region)
	calls := map[string]func(context.Context) error{
		"ecs": func(ctx context.Context) error {
			_, err := d.Cloud.ECS(region).DescribeClusters(ctx, &ecs.DescribeClustersInput{}, func(o *ecs.Options) { o.RetryMaxAttempts = 1 })
			return err
		},
		"sts": func(ctx context.Context) error {
			_, err := d.Cloud.STS(region).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, func(o *sts.Options) { o.RetryMaxAttempts = 1 })
			return err
		},
	}
	p := &awsAPI{cfg: c, deps: d, calls: map[string]func(context.Context) error{}}
	services := c.Services
	if len(services) == 0 {
		services = awsServices
	}
	for _, s := range services {
		p.calls[s] = calls[s]
	}
	return p, nil
}

type awsAPI struct {
	cfg   *AWSAPIConfig
	deps  Deps
	calls map[string]func(context.Context) error
}

// Probe implements Probe.
func (p *awsAPI) Probe(ctx context.Context) failover.Observation {
	o := p.deps.observation("aws_api", "control plane of "+string(p.deps.Region))
	ctx, cancel := p.deps.within(ctx)
	defer cancel()
	if err := p.deps.Cloud.Credentials(ctx); err != nil {
		return awsError("credentials", err).finish(o)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	worst := result{outcome: failover.OK}
	for name, call := range p.calls {
		wg.Go(func() {
			begin := time.Now()
			r := result{outcome: failover.OK}
			if err := call(ctx); err != nil {
				r = awsError(name, err)
			}
			r.latency = time.Since(begin)
			r = r.slower(p.cfg.Slow.D())
			mu.Lock()
			defer mu.Unlock()
			if rank(r.outcome) > rank(worst.outcome) || r.outcome == worst.outcome && r.latency > worst.latency {
				worst = r
			}
		})
	}
	wg.Wait()
	return worst.finish(o)
}
