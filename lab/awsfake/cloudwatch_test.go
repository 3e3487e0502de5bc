package awsfake

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/failoverd/failoverd/lab/alb"
	"github.com/failoverd/failoverd/lab/faults"
)

// A minute can be read some time after its end; what was zero in it has no data point, and a name that nobody has is no error.
func TestLoadBalancerMetrics(t *testing.T) {
	var requests, open, looks atomic.Int64
	const minute, late = time.Second, 300 * time.Millisecond
	s := &Server{Metrics: NewCloudWatch(CloudWatchOptions{Minute: minute, Late: late, Balancers: map[string]func() alb.Counts{
		"app/api/1": func() alb.Counts {
			defer looks.Add(1)
			return alb.Counts{Requests: requests.Load(), Open: open.Load()}
		},
	}})}
	url := serve(t, s, s.Metrics.Run)
	c, ctx := cloudwatch.New(cloudwatch.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: creds, RetryMaxAttempts: 1}), context.Background()
	read := func(lb, metric string, period int32) (times []time.Time, values []float64, err error) {
		now := time.Now()
		out, err := c.GetMetricData(ctx, &cloudwatch.GetMetricDataInput{
			StartTime: aws.Time(now.Add(-time.Hour)), EndTime: &now,
			MetricDataQueries: []types.MetricDataQuery{{Id: aws.String("m"), MetricStat: &types.MetricStat{
				Metric: &types.Metric{Namespace: aws.String("AWS/ApplicationELB"), MetricName: &metric, Dimensions: []types.Dimension{{Name: aws.String("LoadBalancer"), Value: &lb}}},
				Period: &period, Stat: aws.String("Sum"),
			}}},
		})
		if err != nil {
			return nil, nil, err
		}
		return out.MetricDataResults[0].Timestamps, out.MetricDataResults[0].Values, nil
	}
	// It looks once when it begins, and at the end of each minute: what comes right after that is the next one's.
	eventually(t, "the end of a minute", func() bool { return looks.Load() >= 2 })
	began := time.Now()
	requests.Add(7)
	open.Store(3)
	var at []time.Time
	var sums []float64
	eventually(t, "a data point", func() bool {
		var err error
		at, sums, err = read("app/api/1", "RequestCount", 1)
		if err != nil {
			t.Fatal(err)
		}
		return len(at) > 0
	})
	if len(at) != 1 || sums[0] != 7 || !at[0].Equal(began.Truncate(minute).UTC()) || time.Since(at[0]) < minute+late {
		t.Errorf("%v: %v, %s after it began", at, sums, time.Since(at[0]))
	}
	if _, n, err := read("app/api/1", "HTTPCode_ELB_503_Count", 1); err != nil || len(n) != 0 {
		t.Errorf("a metric that is zero: %v, %v", n, err)
	}
	if _, n, err := read("app/other/1", "RequestCount", 1); err != nil || len(n) != 0 {
		t.Errorf("another load balancer: %v, %v", n, err)
	}
	if _, n, err := read("app/api/1", "ActiveConnectionCount", 1); err != nil || len(n) == 0 || n[len(n)-1] != 3 {
		t.Errorf("connections: %v, %v", n, err)
	}
	if _, _, err := read("app/api/1", "RequestCount", 0); err == nil || !strings.Contains(err.Error(), "ValidationError") {
		t.Errorf("a period of 0 s: %v", err)
	}
	s.Faults.Add(faults.Fault{Service: "cloudwatch", Mode: faults.Throttle})
	if _, _, err := read("app/api/1", "RequestCount", 1); err == nil || !strings.Contains(err.Error(), "ThrottlingException") {
		t.Errorf("throttled: %v", err)
	}
}
