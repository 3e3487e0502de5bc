package probes

import (
	"cmp"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// metrics is CloudWatch in one region: sums by metric and age in periods. What is
// zero is not reported.
type metrics struct {
	mu     sync.Mutex
	period time.Duration
	sums   map[string]map[int]float64 // metric → periods ago (1: the last whole one) → sum
	fails  string                     // error code
	status string                     // of the results; "": Complete
	asked  []string
}

func (m *metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	w.Header().Set("Content-Type", "application/cbor")
	if m.fails != "" {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write(cbor.Encode(cbor.Map{"__type": cbor.String("com.amazonaws.cloudwatch#" + m.fails), "message": cbor.String("no")}))
		return
	}
	body, _ := io.ReadAll(r.Body)
	v, err := cbor.Decode(body)
	if err != nil || r.URL.Path != "/service/GraniteServiceVersion20100801/operation/GetMetricData" {
		http.Error(w, "what is "+r.URL.Path, http.StatusNotFound)
		return
	}
	in := v.(cbor.Map)
	start, _ := cbor.AsTime(in["StartTime"])
	end, _ := cbor.AsTime(in["EndTime"])
	var results cbor.List
	for _, q := range in["MetricDataQueries"].(cbor.List) {
		q := q.(cbor.Map)
		stat := q["MetricStat"].(cbor.Map)
		metric := stat["Metric"].(cbor.Map)
		dim := metric["Dimensions"].(cbor.List)[0].(cbor.Map)
		m.asked = append(m.asked, string(metric["Namespace"].(cbor.String)+" "+dim["Name"].(cbor.String)+"="+dim["Value"].(cbor.String)))
		var times, values cbor.List
		for ago, n := range m.sums[string(metric["MetricName"].(cbor.String))] {
			at := time.Now().Truncate(m.period).Add(-time.Duration(ago) * m.period)
			if !at.Before(start) && at.Before(end) {
				times, values = append(times, &cbor.Tag{ID: 1, Value: cbor.Float64(at.Unix())}), append(values, cbor.Float64(n))
			}
		}
		results = append(results, cbor.Map{"Id": q["Id"], "StatusCode": cbor.String(cmp.Or(m.status, "Complete")), "Timestamps": times, "Values": values})
	}
	_, _ = w.Write(cbor.Encode(cbor.Map{"MetricDataResults": results}))
}

func TestTrafficObserved(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	// An hour: no period ends while the test runs.
	cfg := &TrafficObservedConfig{
		LoadBalancers: map[failover.Region]string{"us-east-1": "app/api/1", "us-east-2": "app/api/2"}, Period: failover.Duration(time.Hour),
	}
	there, here := &metrics{period: time.Hour}, &metrics{period: time.Hour}
	east1, east2 := httptest.NewServer(there), httptest.NewServer(here)
	defer east1.Close()
	defer east2.Close()
	c, err := cloud.Open(t.Context(), cloud.Options{Endpoints: map[string]string{"us-east-1": east1.URL, "us-east-2": east2.URL}, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	d := deps(t)
	d.Region, d.Cloud, d.Timeout = "us-east-2", c, 0
	check, err := cfg.NewCheck(d)
	if err != nil {
		t.Fatal(err)
	}
	here.sums = map[string]map[int]float64{"RequestCount": {1: 500, 2: 11_000}}
	there.sums = map[string]map[int]float64{"RequestCount": {1: 3, 2: 5}}
	verify(t, check, Fail, "no minute of app/api/2 in us-east-2 can be counted since") // these came before the switch
	check.(*trafficObserved).began = time.Now().Add(-8 * time.Hour)
	// Nothing is known yet of the newest period in the other region: its data may be on their way.
	here.sums = map[string]map[int]float64{"RequestCount": {1: 500, 2: 11_000, 3: 900, 5: 8000}, "HTTPCode_ELB_503_Count": {2: 995}, "ActiveConnectionCount": {2: 80}}
	there.sums = map[string]map[int]float64{"RequestCount": {2: 245, 3: 9000}, "HTTPCode_ELB_503_Count": {2: 100}, "ActiveConnectionCount": {2: 1104, 3: 2000}}
	verify(t, check, Pass, "97.2 % moved: 11995 requests reached us-east-2")
	verify(t, check, Pass, "345 still come to us-east-1, where 1104 connections are open")
	cfg.Ignore = 400
	verify(t, check, Pass, "100.0 % moved: 11995 requests reached us-east-2")
	cfg.Ignore = 12_000 // nobody is left there, and nobody is here: a quiet night
	verify(t, check, Pass, "100.0 % moved")
	here.sums["RequestCount"][2], there.sums["RequestCount"][2] = 11_000, 14_000
	verify(t, check, Fail, "0.0 % moved")
	there.sums["RequestCount"][2] = 245
	cfg.Moved, cfg.Ignore = 98, 0
	verify(t, check, Fail, "; 98 % must have moved")
	// Nothing is reported of what is zero; what is late looks the same, so that it must have had its time.
	there.sums = nil
	verify(t, check, Pass, "100.0 % moved: 8000 requests reached us-east-2")
	there.status = "Forbidden"
	verify(t, check, Unknown, "CloudWatch answers, but not with the metric: Forbidden for requests")
	// A region that answers could be asked; one that does not is why clients were moved.
	there.fails = "AccessDeniedException"
	verify(t, check, Unknown, "what still comes to us-east-1 is not to be seen (GetMetricData was answered with AccessDeniedException)")
	there.fails = "ThrottlingException"
	verify(t, check, Unknown, "ThrottlingException")
	east1.Close()
	verify(t, check, Pass, "500 requests reached us-east-2") // nothing else to wait for
	verify(t, check, Pass, "what still comes to us-east-1 is not to be seen")
	here.fails = "AccessDeniedException"
	verify(t, check, Unknown, "GetMetricData in us-east-2")
	if here.asked[0] != "AWS/ApplicationELB LoadBalancer=app/api/2" {
		t.Errorf("asked for %v", here.asked)
	}
	d.Region = "eu-west-1"
	if _, err := cfg.NewCheck(d); err == nil {
		t.Error("a region without a load balancer is accepted")
	}
	for _, bad := range []TrafficObservedConfig{
		{LoadBalancers: map[failover.Region]string{"us-east-1": "app/api/1"}},
		{LoadBalancers: map[failover.Region]string{"us-east-1": "app/api/1", "us-east-2": "net/api/2"}},
		{LoadBalancers: cfg.LoadBalancers, Moved: 101}, {LoadBalancers: cfg.LoadBalancers, Period: failover.Duration(time.Millisecond)},
	} {
		if bad.Validate() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}
