package awsfake

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/failoverd/failoverd/lab/alb"
	"github.com/failoverd/failoverd/lab/faults"
)

// cloudWatchPath is where operations are in Smithy's RPC v2 protocol, which the SDK speaks to CloudWatch, in CBOR.
// https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html
const cloudWatchPath = "/service/GraniteServiceVersion20100801/operation/"

// CloudWatchOptions set CloudWatch up. Durations are already divided by the time factor.
type CloudWatchOptions struct {
	// Minute is how long a minute lasts: the period of load balancers' metrics, a whole number of seconds.
	Minute time.Duration
	// Late is how long after its end a minute can be read.
	Late time.Duration
	// Balancers are Application Load Balancers by the value of their dimension LoadBalancer, "app/name/id".
	Balancers map[string]func() alb.Counts
	// Sources report other metrics, at the end of each minute.
	Sources []func() []Point
	// Alarms watch them.
	Alarms []Alarm
	// Faults of the services "metric" and "alarm" distort what it knows; nil: none. Their target is the metric's or alarm's name.
	Faults *faults.Set
}

// Point is what one metric with one dimension was in a minute.
type Point struct {
	Metric
	Value float64
}

// Metric names a metric with one dimension, or with several, whose names and values then stand in the order of the names, behind
// commas.
type Metric struct{ Space, Name, Dimension, Of string }

// CloudWatch knows metrics, one sample a minute, and the alarms that watch them. It is safe for concurrent use.
type CloudWatch struct {
	opt CloudWatchOptions

	mu     sync.Mutex
	points map[Metric]map[time.Time]float64 // by the begin of the minute
	alarms map[string]*alarmState
}

// NewCloudWatch makes one; Run fills it.
func NewCloudWatch(opt CloudWatchOptions) *CloudWatch {
	c := &CloudWatch{opt: opt, points: map[Metric]map[time.Time]float64{}, alarms: map[string]*alarmState{}}
	for _, a := range opt.Alarms {
		c.alarms[a.Name] = &alarmState{Alarm: a, value: alarmUnknown, reason: "Unchecked: Initial alarm creation", since: time.Now()}
	}
	return c
}

// distorted is the fault that hits a metric or an alarm.
func (c *CloudWatch) distorted(kind, name string) faults.Mode {
	if c.opt.Faults == nil {
		return ""
	}
	f, _ := c.opt.Faults.Match(kind, "", name)
	return f.Mode
}

// Run looks at what reports at the end of each minute until ctx ends, and at the alarms. A load balancer's metric has a data point
// only where it is not zero.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
func (c *CloudWatch) Run(ctx context.Context) {
	last := map[string]alb.Counts{}
	for name, count := range c.opt.Balancers {
		last[name] = count()
	}
	for {
		begin := time.Now().Truncate(c.opt.Minute)
		t := time.NewTimer(time.Until(begin.Add(c.opt.Minute)))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		for name, count := range c.opt.Balancers {
			now, was := count(), last[name]
			last[name] = now
			for metric, n := range map[string]float64{"RequestCount": float64(now.Requests - was.Requests), "HTTPCode_ELB_503_Count": float64(now.Refused - was.Refused), "ActiveConnectionCount": float64(now.Open)} {
				if n != 0 {
					c.put(Point{Metric{"AWS/ApplicationELB", metric, "LoadBalancer", name}, n}, begin)
				}
			}
		}
		for _, report := range c.opt.Sources {
			for _, p := range report() {
				c.put(p, begin)
			}
		}
		c.evaluate(time.Now())
	}
}

func (c *CloudWatch) put(p Point, begin time.Time) {
	if c.distorted("metric", p.Name) == faults.Hang { // what reports it has stopped
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.points[p.Metric] == nil {
		c.points[p.Metric] = map[time.Time]float64{}
	}
	c.points[p.Metric][begin] = p.Value
}

// read gives the data points of a metric between two moments that can be read by now.
func (c *CloudWatch) read(m Metric, start, end, now time.Time) map[time.Time]float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[time.Time]float64{}
	for begin, n := range c.points[m] {
		if !begin.Before(start) && begin.Before(end) && now.Sub(begin) >= c.opt.Minute+c.opt.Late {
			out[begin] = n
		}
	}
	return out
}

// call answers GetMetricData and DescribeAlarms.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
func (c *CloudWatch) call(op string, body []byte) (cbor.Map, error) {
	v, err := cbor.Decode(body)
	in, ok := v.(cbor.Map)
	switch {
	case err != nil || !ok:
		return nil, badRequest("SerializationException", "no CBOR map: %v", err)
	case op == "DescribeAlarms":
		return c.describeAlarms(in)
	case op != "GetMetricData":
		return nil, badRequest("UnknownOperationException", "the lab's CloudWatch has no %s", op)
	}
	start, err := cbor.AsTime(in["StartTime"])
	if err != nil {
		return nil, badRequest("ValidationError", "The parameter StartTime is required.")
	}
	end, err := cbor.AsTime(in["EndTime"])
	if err != nil {
		return nil, badRequest("ValidationError", "The parameter EndTime is required.")
	}
	if !start.Before(end) {
		return nil, badRequest("ValidationError", "The parameter StartTime must be less than the parameter EndTime.")
	}
	queries, _ := in["MetricDataQueries"].(cbor.List)
	if len(queries) == 0 {
		return nil, badRequest("ValidationError", "The parameter MetricDataQueries is required.")
	}
	results := cbor.List{}
	for i, q := range queries {
		r, err := c.query(q, start, end)
		if err != nil {
			err.Message = fmt.Sprintf("MetricDataQueries[%d]: %s", i, err.Message)
			return nil, err
		}
		results = append(results, r)
	}
	return cbor.Map{"MetricDataResults": results, "Messages": cbor.List{}}, nil
}

func (c *CloudWatch) query(v cbor.Value, start, end time.Time) (cbor.Map, *Error) {
	q, _ := v.(cbor.Map)
	stat, _ := q["MetricStat"].(cbor.Map)
	metric, _ := stat["Metric"].(cbor.Map)
	id, _ := q["Id"].(cbor.String)
	name, _ := metric["MetricName"].(cbor.String)
	space, _ := metric["Namespace"].(cbor.String)
	how, _ := stat["Stat"].(cbor.String)
	seconds, err := cbor.AsInt32(stat["Period"])
	period := time.Duration(seconds) * time.Second
	switch {
	case id == "" || name == "" || space == "":
		return nil, badRequest("ValidationError", "Id, Namespace and MetricName are required.")
	case err != nil || period <= 0 || period%c.opt.Minute != 0:
		return nil, badRequest("ValidationError", "Period must be a multiple of %s for a metric of regular resolution.", c.opt.Minute)
	case folds[string(how)] == nil:
		return nil, badRequest("ValidationError", "The value %s for parameter Stat is not supported.", how)
	}
	// A metric is what its name and exactly its dimensions say; what nobody reports has no points, and is no error.
	m := Metric{Space: string(space), Name: string(name)}
	values := map[string]string{}
	dims, _ := metric["Dimensions"].(cbor.List)
	for _, v := range dims {
		d, _ := v.(cbor.Map)
		of, _ := d["Value"].(cbor.String)
		dimension, _ := d["Name"].(cbor.String)
		values[string(dimension)] = string(of)
	}
	names := slices.Sorted(maps.Keys(values))
	m.Dimension = strings.Join(names, ",")
	for i, n := range names {
		names[i] = values[n]
	}
	m.Of = strings.Join(names, ",")
	samples := map[time.Time][]float64{}
	for begin, n := range c.read(m, start, end, time.Now()) {
		samples[begin.Truncate(period)] = append(samples[begin.Truncate(period)], n)
	}
	var at []time.Time
	for begin := range samples {
		at = append(at, begin)
	}
	slices.SortFunc(at, func(a, b time.Time) int { return b.Compare(a) }) // ScanBy is TimestampDescending
	times, counts := cbor.List{}, cbor.List{}
	for _, begin := range at {
		times, counts = append(times, &cbor.Tag{ID: 1, Value: cbor.Float64(epochSeconds(begin))}), append(counts, cbor.Float64(folds[string(how)](samples[begin])))
	}
	return cbor.Map{"Id": id, "Label": name, "StatusCode": cbor.String("Complete"), "Timestamps": times, "Values": counts}, nil
}

// folds are the statistics: one minute is one sample.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html
var folds = map[string]func([]float64) float64{
	"Sum":         sum,
	"Average":     func(v []float64) float64 { return sum(v) / float64(len(v)) },
	"Minimum":     slices.Min[[]float64],
	"Maximum":     slices.Max[[]float64],
	"SampleCount": func(v []float64) float64 { return float64(len(v)) },
}

func sum(v []float64) (n float64) {
	for _, x := range v {
		n += x
	}
	return n
}

// writeCBOR writes an answer of Smithy's RPC v2 protocol.
func writeCBOR(w http.ResponseWriter, status int, v cbor.Map) {
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	w.Header().Set("Content-Type", "application/cbor")
	w.WriteHeader(status)
	_, _ = w.Write(cbor.Encode(v))
}

func cloudWatchOp(r *http.Request) string { return strings.TrimPrefix(r.URL.Path, cloudWatchPath) }
