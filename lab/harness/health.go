package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/failoverd/failoverd/lab/internet"
	"github.com/failoverd/failoverd/lab/world"
)

// personKey is the access key of whoever set the service up.
const personKey = "AKIAPERSON"

// hang does what a person does once, with what `failoverd traffic health-checks` prints: makes the health checks, waits until
// they are healthy, and hangs the records of us-east-1 on them.
func (c *Cluster) hang(ctx context.Context) error {
	text, err := c.output(ctx, "--config", c.Config, "traffic", "health-checks", "--json")
	if err != nil {
		return err
	}
	var checks []struct {
		Name     string                  `json:"name"`
		Children []string                `json:"children"`
		Config   types.HealthCheckConfig `json:"config"`
	}
	if err := json.Unmarshal([]byte(text), &checks); err != nil {
		return fmt.Errorf("what failoverd traffic health-checks prints: %w", err)
	}
	client := c.route53()
	ids := map[string]string{}
	top := ""
	for _, h := range checks {
		for _, child := range h.Children {
			h.Config.ChildHealthChecks = append(h.Config.ChildHealthChecks, ids[child])
		}
		out, err := client.CreateHealthCheck(ctx, &route53.CreateHealthCheckInput{CallerReference: aws.String("lab-" + h.Name), HealthCheckConfig: &h.Config})
		if err != nil {
			return fmt.Errorf("health check %s: %w", h.Name, err)
		}
		top = aws.ToString(out.HealthCheck.Id)
		ids[h.Name] = top
	}
	if err := c.Poll(ctx, 2*time.Minute, func() (bool, string) {
		good := c.CheckHealthy(ctx, top)
		return good, "the health checks to find everything healthy"
	}); err != nil {
		return err
	}
	out, err := client.ListResourceRecordSets(ctx, &route53.ListResourceRecordSetsInput{HostedZoneId: aws.String(internet.ZoneID)})
	if err != nil {
		return err
	}
	var changes []types.Change
	for _, s := range out.ResourceRecordSets {
		if s.Weight == nil || aws.ToString(s.SetIdentifier) != world.Primary {
			continue
		}
		s.HealthCheckId = &top
		changes = append(changes, types.Change{Action: types.ChangeActionUpsert, ResourceRecordSet: &s})
	}
	_, err = client.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{HostedZoneId: aws.String(internet.ZoneID), ChangeBatch: &types.ChangeBatch{Changes: changes}})
	return err
}

// route53 is the API as a person at the third vantage reaches it.
func (c *Cluster) route53() *route53.Client {
	hc := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return c.W.Dial(ctx, world.Third, network, addr)
	}}}
	return route53.New(route53.Options{Region: "us-east-1", BaseEndpoint: aws.String(world.Route53Endpoint), HTTPClient: hc,
		Credentials: credentials.NewStaticCredentialsProvider(personKey, "secret", "")})
}

// CheckHealthy reports how a health check stands, by the checkers.
func (c *Cluster) CheckHealthy(ctx context.Context, id string) bool {
	var all map[string]bool
	err := c.W.Control(world.Net).Call(ctx, "GET", "/route53/health", nil, &all)
	return err == nil && all[id]
}

// hung says what became of the health checks: nil once the records hang on them.
func (c *Cluster) hung() error {
	select {
	case err := <-c.hanging:
		c.hanging <- err
		return err
	default:
		return errors.New("the records do not hang on the health checks yet")
	}
}
