package probes

import (
	"context"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/failoverd/failoverd/failover"
)

// CloudWatchMetricConfig asserts that a metric keeps within bounds since clients have
// been sent to the region. A data point that is missing is unknown, and never good:
// many metrics are reported only while something happens, and all of them stop when
// what reports them does.
type CloudWatchMetricConfig struct {
	Namespace string `toml:"namespace" json:"namespace"` // as "AWS/SQS"
	Metric    string `toml:"metric" json:"metric"`
	// Dimensions are all dimensions of the metric, by name: with one left out it is
	// another metric, which has no data.
	Dimensions map[string]string `toml:"dimensions" json:"dimensions,omitempty"`
	// Statistic is "Sum", "Average", "Minimum", "Maximum", "SampleCount", or a
	// percentile as "p99" or "p99.9".
	Statistic string `toml:"statistic" json:"statistic"`
	// Min and Max bound each data point, in the metric's own unit. At least one is
	// given.
	Min *float64 `toml:"min" json:"min,omitempty"`
	Max *float64 `toml:"max" json:"max,omitempty"`
	// Period is what one data point covers, in whole seconds, and whole minutes above
	// one; CloudWatch itself takes whole minutes, and 1, 5, 10, 20 or 30 s of a metric
	// of high resolution (API_MetricStat). Zero: a minute.
	Period failover.Duration `toml:"period" json:"period,omitempty"`
	// Window is how much must keep within the bounds, without a gap: the newest whole
	// periods in a row of which each has a data point. Zero: one period.
	Window failover.Duration `toml:"window" json:"window,omitempty"`
	// Late is how long after its end a period may have no data point yet: a window that
	// ended longer ago is no news, and counts no more. Zero: 3 minutes.
	Late failover.Duration `toml:"late" json:"late,omitempty"`
	// Settle is how long after its end a period may still change, as one does that is
	// put together from what many report; until then it is not looked at. Zero: not at
	// all, as the metrics of AWS's own services.
	Settle failover.Duration `toml:"settle" json:"settle,omitempty"`
	// For is how long it is asked again before it has failed. Zero: 2 minutes more
	// than a period, Window, Late and Settle, which it may take in any case.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

var cloudWatchStatistic = regexp.MustCompile(`^(Sum|Average|Minimum|Maximum|SampleCount|p(100|[0-9]{1,2}(\.[0-9]{1,10})?))$`)

// Validate reports the first wrong parameter.
func (c *CloudWatchMetricConfig) Validate() error {
	switch {
	case c.Namespace == "":
		return badParam("namespace", "is missing")
	case c.Metric == "":
		return badParam("metric", "is missing")
	case !cloudWatchStatistic.MatchString(c.Statistic):
		return badParam("statistic", "%q is not Sum, Average, Minimum, Maximum, SampleCount or a percentile as p99", c.Statistic)
	case len(c.Dimensions) > 30: // the most that a metric may have (API_Metric)
		return badParam("dimensions", "%d are more than the 30 that a metric may have", len(c.Dimensions))
	case c.Min == nil && c.Max == nil:
		return badParam("max", "is missing, and so is min: nothing would be asserted")
	case c.Min != nil && c.Max != nil && *c.Min > *c.Max:
		return badParam("min", "%s is above max, %s", number(*c.Min), number(*c.Max))
	case c.Period < 0 || c.Period.D()%time.Second != 0 || c.Period.D() > time.Minute && c.Period.D()%time.Minute != 0:
		return badParam("period", "%s is not a whole number of seconds up to a minute, or of minutes, as CloudWatch wants it", c.Period)
	case c.Window < 0 || c.Window.D()%c.period() != 0:
		return badParam("window", "%s is not a whole number of periods of %s", c.Window, c.period())
	case c.window()/c.period() > 60:
		return badParam("window", "%s are more than 60 periods of %s", c.Window, c.period())
	case c.late()/c.period() > 60:
		return badParam("late", "%s are more than 60 periods of %s", c.Late, c.period())
	}
	for _, name := range slices.Sorted(maps.Keys(c.Dimensions)) {
		if name == "" || c.Dimensions[name] == "" {
			return badParam("dimensions", "%q = %q: neither may be empty", name, c.Dimensions[name])
		}
	}
	if err := notNegative("late", c.Late); err != nil {
		return err
	}
	if err := notNegative("settle", c.Settle); err != nil {
		return err
	}
	if err := notNegative("within", c.For); err != nil {
		return err
	}
	if least := c.least(); c.For > 0 && c.For.D() <= least {
		return badParam("within", "%s is over before a period of %s, the window of %s and its lateness of %s may be: that takes %s", c.For, c.period(), c.window(), c.late()+c.Settle.D(), least)
	}
	return nil
}

func (c *CloudWatchMetricConfig) period() time.Duration { return orElse(c.Period, time.Minute) }
func (c *CloudWatchMetricConfig) window() time.Duration { return orElse(c.Window, c.period()) }
func (c *CloudWatchMetricConfig) late() time.Duration   { return orElse(c.Late, 3*time.Minute) }

// least is what it may take until the first window since the switch has its data: the
// period in which clients moved is not whole.
func (c *CloudWatchMetricConfig) least() time.Duration {
	return c.period() + c.window() + c.late() + c.Settle.D()
}

// orElse is a duration, or what stands for zero.
func orElse(d failover.Duration, zero time.Duration) time.Duration {
	if d == 0 {
		return zero
	}
	return d.D()
}

// Within implements CheckConfig.
func (c *CloudWatchMetricConfig) Within() time.Duration {
	if c.For > 0 {
		return c.For.D()
	}
	return c.least() + DefaultWithin
}

// NewCheck implements CheckConfig.
func (c *CloudWatchMetricConfig) NewCheck(d Deps) (Check, error) {
	if d.Cloud == nil {
		return nil, fmt.Errorf("metric %s: there are no AWS clients", c.Metric)
	}
	return &cloudWatchMetric{c, d, d.Cloud.CloudWatch(string(d.Region))}, nil
}

type cloudWatchMetric struct {
	cfg    *CloudWatchMetricConfig
	deps   Deps
	client *cloudwatch.Client
}

// number writes a bound or a value as people do.
func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// Check implements Check. It looks at the newest window that is complete, and at what
// has come since: data points come some minutes late, and one by one.
func (m *cloudWatchMetric) Check(ctx context.Context) Finding { return m.deps.ask(ctx, m.look) }

func (m *cloudWatchMetric) look(ctx context.Context) Finding {
	period, window := m.cfg.period(), m.cfg.window()
	end := time.Now().Add(-m.cfg.Settle.D()).Truncate(period).UTC()
	first := end.Add(-m.cfg.late() - window).Truncate(period)
	if moved := m.deps.Moved; first.Before(moved) { // the period in which they moved is not whole
		first = moved.Add(period - 1).Truncate(period).UTC()
	}
	what := fmt.Sprintf("%s of %s in %s over %s", m.cfg.Statistic, m.cfg.Metric, m.deps.Region, period)
	if end.Sub(first) < window {
		return Finding{Unknown, fmt.Sprintf("%s: no window of %s is over since the clients moved, at %sZ; its data may take %s", what, window, m.deps.Moved.UTC().Format(time.TimeOnly), m.cfg.least())}
	}
	values, err := m.read(ctx, first, end)
	if err != nil {
		return Finding{Unknown, what + ": " + awsError("GetMetricData", err).detail}
	}
	// Back from the newest until a whole window in a row is there.
	var outside, missing []string
	begin, row := end, time.Duration(0)
	lowest, highest := math.Inf(1), math.Inf(-1)
	for row < window && begin.After(first) {
		begin = begin.Add(-period)
		v, ok := values[begin]
		if !ok {
			row, missing = 0, append(missing, begin.Format(time.TimeOnly)+"Z")
			continue
		}
		row += period
		lowest, highest = min(lowest, v), max(highest, v)
		if m.cfg.Min != nil && v < *m.cfg.Min || m.cfg.Max != nil && v > *m.cfg.Max {
			outside = append(outside, number(v)+" at "+begin.Format(time.TimeOnly)+"Z")
		}
	}
	switch {
	case len(outside) > 0:
		return Finding{Fail, fmt.Sprintf("%s: %s; it must be %s", what, few(outside), m.bounds())}
	case row < window:
		return Finding{Unknown, fmt.Sprintf("%s has no data at %s, which is not taken for good: it may be late; else look at namespace, name and all dimensions (%s), and at what reports it", what, few(missing), m.dimensions())}
	}
	return Finding{Pass, fmt.Sprintf("%s was %s to %s from %sZ on, for %s; it must be %s", what, number(lowest), number(highest), begin.Format(time.TimeOnly), window, m.bounds())}
}

func (m *cloudWatchMetric) bounds() string {
	switch {
	case m.cfg.Min == nil:
		return number(*m.cfg.Max) + " at the most"
	case m.cfg.Max == nil:
		return number(*m.cfg.Min) + " at least"
	}
	return "from " + number(*m.cfg.Min) + " to " + number(*m.cfg.Max)
}

func (m *cloudWatchMetric) dimensions() string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(m.cfg.Dimensions)) {
		out = append(out, name+"="+m.cfg.Dimensions[name])
	}
	return strings.Join(out, ", ")
}

// read gets the data points of some periods.
func (m *cloudWatchMetric) read(ctx context.Context, begin, end time.Time) (map[time.Time]float64, error) {
	metric := &types.Metric{Namespace: &m.cfg.Namespace, MetricName: &m.cfg.Metric}
	for _, name := range slices.Sorted(maps.Keys(m.cfg.Dimensions)) {
		metric.Dimensions = append(metric.Dimensions, types.Dimension{Name: aws.String(name), Value: aws.String(m.cfg.Dimensions[name])})
	}
	in := &cloudwatch.GetMetricDataInput{StartTime: &begin, EndTime: &end, MetricDataQueries: []types.MetricDataQuery{{
		Id: aws.String("m"), MetricStat: &types.MetricStat{Metric: metric, Period: aws.Int32(int32(m.cfg.period() / time.Second)), Stat: &m.cfg.Statistic},
	}}}
	out := map[time.Time]float64{}
	err := metricData(ctx, m.client, in, func(r types.MetricDataResult) {
		for i := range min(len(r.Timestamps), len(r.Values)) {
			out[r.Timestamps[i].UTC()] = r.Values[i]
		}
	})
	return out, err
}
