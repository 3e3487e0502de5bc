package probes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// TrafficObservedConfig asserts that clients have really moved: that of the
// requests which load balancers count nearly all reach the region. Name servers
// say where clients should go; some keep an address whatever its TTL, and open
// connections outlive every change of the DNS.
type TrafficObservedConfig struct {
	// LoadBalancers are the Application Load Balancers that clients reach, by
	// region, as CloudWatch knows them: "app/NAME/ID", the end of the ARN.
	LoadBalancers map[failover.Region]string `toml:"load_balancers" json:"load_balancers"`
	// Moved is the share of all requests, in percent, that must reach the region.
	// Zero: 95.
	Moved int `toml:"moved" json:"moved,omitempty"`
	// Ignore is how many requests come in a period without any client, in each
	// region: two by each node's http probes for each address in each interval, and
	// those of other monitoring.
	Ignore int `toml:"ignore" json:"ignore,omitempty"`
	// Period is what requests are counted over, in whole seconds. Zero: a minute,
	// the finest that load balancers report.
	Period failover.Duration `toml:"period" json:"period,omitempty"`
	// For is how long it is asked again before it has failed. Zero: 2 minutes,
	// which is short for metrics that come some minutes late.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

// Validate reports the first wrong parameter.
func (c *TrafficObservedConfig) Validate() error {
	if len(c.LoadBalancers) < 2 {
		return badParam("load_balancers", "names %d load balancers; one of each region is needed, as us-east-1 = \"app/messaging/50dc6c495c0c9188\"", len(c.LoadBalancers))
	}
	for _, r := range slices.Sorted(maps.Keys(c.LoadBalancers)) {
		if parts := strings.Split(c.LoadBalancers[r], "/"); len(parts) != 3 || parts[0] != "app" || parts[1] == "" || parts[2] == "" {
			return badParam("load_balancers", "%s: %q is not app/NAME/ID, the end of an Application Load Balancer's ARN", r, c.LoadBalancers[r])
		}
	}
	switch {
	case c.Moved < 0 || c.Moved > 100:
		return badParam("moved", "%d is not a share in percent", c.Moved)
	case c.Ignore < 0:
		return badParam("ignore", "%d is negative", c.Ignore)
	case c.Period < 0 || c.Period.D()%time.Second != 0:
		return badParam("period", "%s is not a whole number of seconds", c.Period)
	case c.Period.D() > time.Minute && c.Period.D()%time.Minute != 0:
		return badParam("period", "%s is not a whole number of minutes, as CloudWatch wants it", c.Period)
	}
	return notNegative("within", c.For)
}

// Within implements CheckConfig.
func (c *TrafficObservedConfig) Within() time.Duration { return within(c.For) }

func (c *TrafficObservedConfig) moved() int {
	if c.Moved == 0 {
		return 95
	}
	return c.Moved
}

func (c *TrafficObservedConfig) period() time.Duration {
	if c.Period == 0 {
		return time.Minute
	}
	return c.Period.D()
}

// NewCheck implements CheckConfig.
func (c *TrafficObservedConfig) NewCheck(d Deps) (Check, error) {
	if d.Cloud == nil {
		return nil, errors.New("there are no AWS clients")
	}
	if c.LoadBalancers[d.Region] == "" {
		return nil, fmt.Errorf("load_balancers names none in %s, where clients are sent", d.Region)
	}
	return &trafficObserved{cfg: c, deps: d}, nil
}

type trafficObserved struct {
	cfg   *TrafficObservedConfig
	deps  Deps
	began time.Time // the first look: what came before says nothing of the switch
}

// counts is what a load balancer did in one period.
type counts struct{ requests, open float64 }

const (
	// looksBack is how many periods are asked for: metrics come some minutes late.
	looksBack = 8
	// looksLate is after how many periods what has not been reported was nothing.
	looksLate = 4
)

// Check implements Check. A region whose CloudWatch does not answer is not seen:
// that is said, and does not keep a service from being declared stable that was
// moved because that region failed.
func (t *trafficObserved) Check(ctx context.Context) Finding {
	ctx, cancel := t.deps.within(ctx)
	defer cancel()
	if t.began.IsZero() {
		t.began = time.Now()
	}
	end := time.Now().Truncate(t.cfg.period())
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen, failed := map[failover.Region]map[time.Time]counts{}, map[failover.Region]error{}
	for r := range t.cfg.LoadBalancers {
		wg.Go(func() {
			n, err := t.count(ctx, r, end)
			mu.Lock()
			defer mu.Unlock()
			seen[r], failed[r] = n, err
		})
	}
	wg.Wait()
	if err := failed[t.deps.Region]; err != nil {
		return Finding{Unknown, "GetMetricData in " + string(t.deps.Region) + ": " + awsError("GetMetricData", err).detail}
	}
	at, here := t.minute(seen, failed, end)
	if here.requests == 0 {
		return Finding{Fail, fmt.Sprintf("no minute of %s in %s can be counted since %sZ yet; counts come some minutes late", t.cfg.LoadBalancers[t.deps.Region], t.deps.Region, t.began.UTC().Format(time.TimeOnly))}
	}
	detail := fmt.Sprintf("%.0f requests reached %s in the %s from %sZ", here.requests, t.deps.Region, t.cfg.period(), at.UTC().Format(time.TimeOnly))
	status, clients, elsewhere := Pass, t.clients(here), 0.0
	var still, unseen []string
	for _, r := range slices.Sorted(maps.Keys(t.cfg.LoadBalancers)) {
		switch err := failed[r]; {
		case r == t.deps.Region:
		case err == nil:
			n := seen[r][at]
			elsewhere += t.clients(n)
			still = append(still, fmt.Sprintf("%.0f still come to %s, where %.0f connections are open", n.requests, r, n.open))
		default:
			unseen = append(unseen, fmt.Sprintf("what still comes to %s is not to be seen (%s)", r, awsError("GetMetricData", err).detail))
			if c := cloud.Classify(err); c == cloud.Ours || c == cloud.OtherAPI || c == cloud.Throttled || errors.Is(err, errAnswered) {
				status = Unknown // it answers, and could be asked
			}
		}
	}
	if t.cfg.Ignore > 0 {
		detail += fmt.Sprintf(", of which %d are not clients'", t.cfg.Ignore)
	}
	if len(still) > 0 {
		share := 100.0 // nobody is left there
		if elsewhere > 0 {
			share = 100 * clients / (clients + elsewhere)
		}
		detail = fmt.Sprintf("%.1f %% moved: %s; %s", share, detail, strings.Join(still, "; "))
		if status == Pass && share < float64(t.cfg.moved()) {
			status, detail = Fail, fmt.Sprintf("%s; %d %% must have moved", detail, t.cfg.moved())
		}
	}
	return Finding{status, strings.Join(append([]string{detail}, unseen...), "; ")}
}

// minute is the newest period since the first look that can be judged: in the
// region itself there was a request, and every other region that is seen has
// either counted something as well, or has had looksLate to tell of it. What is
// zero is not reported, and what is late looks the same.
func (t *trafficObserved) minute(seen map[failover.Region]map[time.Time]counts, failed map[failover.Region]error, end time.Time) (at time.Time, here counts) {
	period := t.cfg.period()
	for begin, n := range seen[t.deps.Region] {
		known := n.requests > 0 && !begin.Before(t.began) && begin.After(at)
		for r, there := range seen {
			if _, counted := there[begin]; r != t.deps.Region && failed[r] == nil && !counted {
				known = known && !begin.After(end.Add(-looksLate*period))
			}
		}
		if known {
			at, here = begin, n
		}
	}
	return at, here
}

// clients are the requests that clients made.
func (t *trafficObserved) clients(n counts) float64 { return max(0, n.requests-float64(t.cfg.Ignore)) }

// count reads what a load balancer reports. RequestCount leaves out what was
// refused before a target was chosen, which is what happens in a region whose
// targets were stopped: those are the 503 of the balancer itself. A metric is
// reported only when it is not zero.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
func (t *trafficObserved) count(ctx context.Context, r failover.Region, end time.Time) (map[time.Time]counts, error) {
	period := t.cfg.period()
	in := &cloudwatch.GetMetricDataInput{StartTime: aws.Time(end.Add(-looksBack * period)), EndTime: &end}
	for _, m := range []struct{ id, name string }{{"requests", "RequestCount"}, {"refused", "HTTPCode_ELB_503_Count"}, {"open", "ActiveConnectionCount"}} {
		in.MetricDataQueries = append(in.MetricDataQueries, types.MetricDataQuery{
			Id: aws.String(m.id),
			MetricStat: &types.MetricStat{
				Metric: &types.Metric{
					Namespace: aws.String("AWS/ApplicationELB"), MetricName: aws.String(m.name),
					Dimensions: []types.Dimension{{Name: aws.String("LoadBalancer"), Value: aws.String(t.cfg.LoadBalancers[r])}},
				},
				Period: aws.Int32(int32(period / time.Second)), Stat: aws.String("Sum"),
			},
		})
	}
	out := map[time.Time]counts{}
	err := metricData(ctx, t.deps.Cloud.CloudWatch(string(r)), in, func(m types.MetricDataResult) {
		for i := range min(len(m.Timestamps), len(m.Values)) {
			begin := m.Timestamps[i].UTC()
			n := out[begin]
			if aws.ToString(m.Id) == "open" {
				n.open += m.Values[i]
			} else {
				n.requests += m.Values[i]
			}
			out[begin] = n
		}
	})
	return out, err
}
