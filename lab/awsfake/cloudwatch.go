package awsfake

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/failoverd/failoverd/lab/alb"
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
}

// CloudWatch knows the metrics of load balancers. It is safe for concurrent use.
type CloudWatch struct {
	opt CloudWatchOptions

	mu     sync.Mutex
	points map[string]map[time.Time]float64 // "app/name/id RequestCount" → begin of the minute → sum
}

// NewCloudWatch makes one; Run fills it.
func NewCloudWatch(opt CloudWatchOptions) *CloudWatch {
	return &CloudWatch{opt: opt, points: map[string]map[time.Time]float64{}}
}

// Run looks at the load balancers at the end of each minute until ctx ends. A metric has a data point only where it is not zero.
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
			c.put(name+" RequestCount", begin, float64(now.Requests-was.Requests))
			c.put(name+" HTTPCode_ELB_503_Count", begin, float64(now.Refused-was.Refused))
			c.put(name+" ActiveConnectionCount", begin, float64(now.Open))
		}
	}
}

func (c *CloudWatch) put(metric string, begin time.Time, n float64) {
	if n == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.points[metric] == nil {
		c.points[metric] = map[time.Time]float64{}
	}
	c.points[metric][begin] = n
}

// call answers GetMetricData.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
func (c *CloudWatch) call(op string, body []byte) (cbor.Map, error) {
	v, err := cbor.Decode(body)
	in, ok := v.(cbor.Map)
	switch {
	case op != "GetMetricData":
		return nil, badRequest("UnknownOperationException", "the lab's CloudWatch has no %s", op)
	case err != nil || !ok:
		return nil, badRequest("SerializationException", "no CBOR map: %v", err)
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
	case how != "Sum":
		return nil, badRequest("ValidationError", "the lab's CloudWatch knows Sum alone, not %s", how)
	}
	// A metric is what its name and exactly its dimensions say; what nobody reports has no points, and is no error.
	balancer := ""
	if dims, _ := metric["Dimensions"].(cbor.List); len(dims) == 1 && space == "AWS/ApplicationELB" {
		d, _ := dims[0].(cbor.Map)
		if n, _ := d["Name"].(cbor.String); n == "LoadBalancer" {
			value, _ := d["Value"].(cbor.String)
			balancer = string(value)
		}
	}
	sums := map[time.Time]float64{}
	c.mu.Lock()
	for begin, n := range c.points[balancer+" "+string(name)] {
		if !begin.Before(start) && begin.Before(end) && time.Since(begin) >= c.opt.Minute+c.opt.Late {
			sums[begin.Truncate(period)] += n
		}
	}
	c.mu.Unlock()
	var at []time.Time
	for begin := range sums {
		at = append(at, begin)
	}
	slices.SortFunc(at, func(a, b time.Time) int { return b.Compare(a) }) // ScanBy is TimestampDescending
	times, values := cbor.List{}, cbor.List{}
	for _, begin := range at {
		times, values = append(times, &cbor.Tag{ID: 1, Value: cbor.Float64(epochSeconds(begin))}), append(values, cbor.Float64(sums[begin]))
	}
	return cbor.Map{"Id": id, "Label": name, "StatusCode": cbor.String("Complete"), "Timestamps": times, "Values": values}, nil
}

// writeCBOR writes an answer of Smithy's RPC v2 protocol.
func writeCBOR(w http.ResponseWriter, status int, v cbor.Map) {
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	w.Header().Set("Content-Type", "application/cbor")
	w.WriteHeader(status)
	_, _ = w.Write(cbor.Encode(v))
}

func cloudWatchOp(r *http.Request) string { return strings.TrimPrefix(r.URL.Path, cloudWatchPath) }
