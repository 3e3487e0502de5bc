// Package cloud holds the AWS clients: one per region and service, each with its
// own connections and its own retry budget, so that a dead region exhausts
// nothing that a live one needs.
//
// It is the only place that loads credentials. Nothing here calls an AWS API by
// itself, and no client ever follows a proxy setting of the environment: the
// recovery path must not depend on something that nobody wrote into the
// configuration.
package cloud

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/applicationautoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// GlobalRegion is the region that signs calls of the global services. Their
// endpoint override is found under the name "global".
const GlobalRegion = "us-east-1"

const globalEndpoint = "global"

// Options are the parts of the configuration that clients need.
type Options struct {
	// Endpoints override where the calls go, by region or "global". A region
	// without an entry uses the endpoint that AWS documents.
	Endpoints map[string]string
	// Timeout bounds one attempt of one call, from dialling to the last byte.
	// Zero means 5 s. A long poll must fit into it.
	Timeout time.Duration
	// Roles are taken on with the credentials of this host.
	Roles Roles
}

// Clients hands out clients. It is safe for concurrent use.
type Clients struct {
	base      aws.Config
	endpoints map[string]string
	timeout   time.Duration

	mu   sync.Mutex
	made map[string]any // by service and region; clients live as long as the process
}

// Open reads the default credential chain's sources (environment, shared files,
// container and instance role) and calls nothing. Whether they yield
// credentials is told by Credentials.
func Open(ctx context.Context, o Options) (*Clients, error) {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	base, err := awsconfig.LoadDefaultConfig(ctx,
		awsconfig.WithRegion(GlobalRegion),
		awsconfig.WithHTTPClient(httpClient(o.Timeout)),
		awsconfig.WithAPIOptions(apiOptions()),
	)
	if err != nil {
		return nil, fmt.Errorf("reading the AWS configuration of this host (AWS_* variables, ~/.aws): %w", err)
	}
	c := &Clients{base: base, endpoints: o.Endpoints, timeout: o.Timeout, made: map[string]any{}}
	if o.Roles.Observe != "" || o.Roles.Act != "" {
		own := &Clients{base: base, endpoints: o.Endpoints, timeout: o.Timeout, made: map[string]any{}}
		c.base.Credentials = &assumed{roles: o.Roles, own: base.Credentials, sts: own.STS, patience: o.Timeout / 5, sessions: map[string]*aws.CredentialsCache{}, silent: map[string]bool{}}
	}
	return c, nil
}

// Timeout is the bound on one attempt of one call.
func (c *Clients) Timeout() time.Duration { return c.timeout }

// CredentialsError says that no source of the default chain gave credentials.
type CredentialsError struct{ Err error }

func (e *CredentialsError) Error() string {
	return fmt.Sprintf("no AWS credentials: tried the environment, the shared files, the container role and the instance role: %v; "+
		"give the host an instance role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", e.Err)
}

func (e *CredentialsError) Unwrap() error { return e.Err }

// Credentials checks that the chain yields credentials. The result is cached by
// the chain, so it may be asked often. The error is a *CredentialsError, unless
// ctx ended first.
func (c *Clients) Credentials(ctx context.Context) error {
	if _, err := c.base.Credentials.Retrieve(ctx); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("asking for AWS credentials: %w", ctx.Err())
		}
		return &CredentialsError{Err: err}
	}
	return nil
}

// SQS returns the client of a region.
func (c *Clients) SQS(region string) *sqs.Client {
	return client(c, "sqs", region, func(cfg aws.Config, endpoint *string) *sqs.Client {
		return sqs.NewFromConfig(cfg, func(o *sqs.Options) { o.BaseEndpoint = endpoint })
	})
}

// ECS returns the client of a region.
func (c *Clients) ECS(region string) *ecs.Client {
	return client(c, "ecs", region, func(cfg aws.Config, endpoint *string) *ecs.Client {
		return ecs.NewFromConfig(cfg, func(o *ecs.Options) { o.BaseEndpoint = endpoint })
	})
}

// AutoScaling returns the client of a region.
func (c *Clients) AutoScaling(region string) *autoscaling.Client {
	return client(c, "autoscaling", region, func(cfg aws.Config, endpoint *string) *autoscaling.Client {
		return autoscaling.NewFromConfig(cfg, func(o *autoscaling.Options) { o.BaseEndpoint = endpoint })
	})
}

// EC2 returns the client of a region.
func (c *Clients) EC2(region string) *ec2.Client {
	return client(c, "ec2", region, func(cfg aws.Config, endpoint *string) *ec2.Client {
		return ec2.NewFromConfig(cfg, func(o *ec2.Options) { o.BaseEndpoint = endpoint })
	})
}

// ECR returns the client of the registry in a region.
func (c *Clients) ECR(region string) *ecr.Client {
	return client(c, "ecr", region, func(cfg aws.Config, endpoint *string) *ecr.Client {
		return ecr.NewFromConfig(cfg, func(o *ecr.Options) { o.BaseEndpoint = endpoint })
	})
}

// SecretsManager returns the client of a region.
func (c *Clients) SecretsManager(region string) *secretsmanager.Client {
	return client(c, "secretsmanager", region, func(cfg aws.Config, endpoint *string) *secretsmanager.Client {
		return secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) { o.BaseEndpoint = endpoint })
	})
}

// ServiceQuotas returns the client of a region.
func (c *Clients) ServiceQuotas(region string) *servicequotas.Client {
	return client(c, "servicequotas", region, func(cfg aws.Config, endpoint *string) *servicequotas.Client {
		return servicequotas.NewFromConfig(cfg, func(o *servicequotas.Options) { o.BaseEndpoint = endpoint })
	})
}

// ELB returns the client of Elastic Load Balancing (version 2) in a region.
func (c *Clients) ELB(region string) *elasticloadbalancingv2.Client {
	return client(c, "elb", region, func(cfg aws.Config, endpoint *string) *elasticloadbalancingv2.Client {
		return elasticloadbalancingv2.NewFromConfig(cfg, func(o *elasticloadbalancingv2.Options) { o.BaseEndpoint = endpoint })
	})
}

// Lambda returns the client of a region.
func (c *Clients) Lambda(region string) *lambda.Client {
	return client(c, "lambda", region, func(cfg aws.Config, endpoint *string) *lambda.Client {
		return lambda.NewFromConfig(cfg, func(o *lambda.Options) { o.BaseEndpoint = endpoint })
	})
}

// EventBridge returns the client of a region.
func (c *Clients) EventBridge(region string) *eventbridge.Client {
	return client(c, "eventbridge", region, func(cfg aws.Config, endpoint *string) *eventbridge.Client {
		return eventbridge.NewFromConfig(cfg, func(o *eventbridge.Options) { o.BaseEndpoint = endpoint })
	})
}

// Scheduler returns the client of EventBridge Scheduler in a region.
func (c *Clients) Scheduler(region string) *scheduler.Client {
	return client(c, "scheduler", region, func(cfg aws.Config, endpoint *string) *scheduler.Client {
		return scheduler.NewFromConfig(cfg, func(o *scheduler.Options) { o.BaseEndpoint = endpoint })
	})
}

// CloudWatch returns the client of a region.
func (c *Clients) CloudWatch(region string) *cloudwatch.Client {
	return client(c, "cloudwatch", region, func(cfg aws.Config, endpoint *string) *cloudwatch.Client {
		return cloudwatch.NewFromConfig(cfg, func(o *cloudwatch.Options) { o.BaseEndpoint = endpoint })
	})
}

// Logs returns the client of CloudWatch Logs in a region.
func (c *Clients) Logs(region string) *cloudwatchlogs.Client {
	return client(c, "logs", region, func(cfg aws.Config, endpoint *string) *cloudwatchlogs.Client {
		return cloudwatchlogs.NewFromConfig(cfg, func(o *cloudwatchlogs.Options) { o.BaseEndpoint = endpoint })
	})
}

// AppAutoScaling returns the client of Application Auto Scaling in a region.
func (c *Clients) AppAutoScaling(region string) *applicationautoscaling.Client {
	return client(c, "applicationautoscaling", region, func(cfg aws.Config, endpoint *string) *applicationautoscaling.Client {
		return applicationautoscaling.NewFromConfig(cfg, func(o *applicationautoscaling.Options) { o.BaseEndpoint = endpoint })
	})
}

// S3 returns the client of a region. With an endpoint of one's own, buckets stand
// in the path, since nobody resolves names below it.
func (c *Clients) S3(region string) *s3.Client {
	return client(c, "s3", region, func(cfg aws.Config, endpoint *string) *s3.Client {
		return s3.NewFromConfig(cfg, func(o *s3.Options) {
			o.BaseEndpoint, o.UsePathStyle = endpoint, endpoint != nil
			o.DisableLogOutputChecksumValidationSkipped = true // a line for each object that was stored without one
		})
	})
}

// STS returns the client of a region. It never uses the global STS endpoint,
// which lies in one region.
func (c *Clients) STS(region string) *sts.Client {
	return client(c, "sts", region, func(cfg aws.Config, endpoint *string) *sts.Client {
		return sts.NewFromConfig(cfg, func(o *sts.Options) { o.BaseEndpoint = endpoint })
	})
}

// Route53 returns the client of the global Route 53 API.
func (c *Clients) Route53() *route53.Client {
	return client(c, "route53", globalEndpoint, func(cfg aws.Config, endpoint *string) *route53.Client {
		return route53.NewFromConfig(cfg, func(o *route53.Options) { o.BaseEndpoint = endpoint })
	})
}

// client makes a client once. Each has its own retryer, since the SDK's default
// one shares a budget that a dead region would use up, and its own transport.
func client[T any](c *Clients, service, where string, build func(aws.Config, *string) T) T {
	key := service + "/" + where
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.made[key].(T); ok {
		return v
	}
	cfg := c.base.Copy()
	cfg.Region = where
	if where == globalEndpoint {
		cfg.Region = GlobalRegion
	}
	// Nil is AWS's own endpoint. It is set in any case, so that endpoints named
	// by the environment do not count.
	var endpoint *string
	if url := c.endpoints[where]; url != "" {
		endpoint = aws.String(url)
	}
	cfg.HTTPClient = httpClient(c.timeout)
	cfg.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = 3
			o.MaxBackoff = 2 * time.Second
		})
	}
	v := build(cfg, endpoint)
	c.made[key] = v
	return v
}

// httpClient dials quickly, never uses a proxy and bounds each attempt. The
// SDK's own has a 30 s dial time-out and no bound on the whole.
func httpClient(timeout time.Duration) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithTimeout(timeout).
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = min(2*time.Second, timeout) }).
		WithTransportOptions(func(t *http.Transport) {
			t.Proxy = nil
			t.TLSHandshakeTimeout = min(3*time.Second, timeout)
			t.IdleConnTimeout = 30 * time.Second
		})
}
