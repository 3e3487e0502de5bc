package probes

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// fakeELB answers the two reads of Elastic Load Balancing in its Query protocol:
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetHealth.html
type fakeELB struct {
	mu      sync.Mutex
	id      string   // of the group; made anew, it has another one
	targets []string // state, or state:reason:description
	fail    string   // an error code; "hang"
	calls   []string
	done    chan struct{}
}

func (f *fakeELB) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	op := r.FormValue("Action")
	f.calls = append(f.calls, op)
	answer := func(status int, format string, args ...any) {
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, format, args...)
	}
	failed := func(status int, code string) {
		answer(status, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>no</Message></Error></ErrorResponse>`, code)
	}
	arn := "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/api/" + f.id
	switch {
	case f.fail == "hang":
		f.mu.Unlock()
		<-f.done
		f.mu.Lock()
	case f.fail == "ServiceUnavailable":
		failed(http.StatusServiceUnavailable, f.fail)
	case f.fail != "":
		failed(http.StatusBadRequest, f.fail)
	case op == "DescribeTargetGroups" && r.FormValue("Names.member.1") == "api":
		answer(http.StatusOK, `<DescribeTargetGroupsResponse><DescribeTargetGroupsResult><TargetGroups><member><TargetGroupArn>%s</TargetGroupArn></member></TargetGroups></DescribeTargetGroupsResult></DescribeTargetGroupsResponse>`, arn)
	case op == "DescribeTargetHealth" && r.FormValue("TargetGroupArn") == arn:
		var b strings.Builder
		for i, t := range f.targets {
			parts := append(strings.SplitN(t, ":", 3), "", "")
			_, _ = fmt.Fprintf(&b, `<member><Target><Id>10.0.0.%d</Id><Port>8080</Port></Target><TargetHealth><State>%s</State><Reason>%s</Reason><Description>%s</Description></TargetHealth></member>`, i+1, parts[0], parts[1], parts[2])
		}
		answer(http.StatusOK, `<DescribeTargetHealthResponse><DescribeTargetHealthResult><TargetHealthDescriptions>%s</TargetHealthDescriptions></DescribeTargetHealthResult></DescribeTargetHealthResponse>`, &b)
	default:
		failed(http.StatusBadRequest, "TargetGroupNotFound")
	}
}

func (f *fakeELB) set(id, fail string, targets ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.id, f.fail, f.targets = id, fail, targets
}

func elbDeps(t *testing.T, f *fakeELB) Deps {
	t.Helper()
	d := sqsDeps(t, &fakeSQS{})
	f.id, f.done = "1", make(chan struct{})
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(f.done) })
	c, err := cloud.Open(t.Context(), cloud.Options{Endpoints: map[string]string{"us-east-1": srv.URL}, Timeout: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	d.Cloud = c
	return d
}

// Only what the load balancer calls healthy counts, and what is not healthy is named
// with its reason.
func TestALB(t *testing.T) {
	f := &fakeELB{}
	d := elbDeps(t, f)
	d.Timeout = time.Second
	const ill = "unhealthy:Target.ResponseCodeMismatch:Health checks failed with these codes: [503]"
	c := &ALBConfig{TargetGroup: "api", MinHealthy: 2}
	for _, tt := range []struct {
		targets []string
		fail    string
		outcome failover.Outcome
		reason  failover.ReasonCode
		detail  string
		check   Status
	}{
		{[]string{"healthy", "healthy"}, "", failover.OK, "", "2 of 2 targets of api in us-east-1 are healthy", Pass},
		{[]string{"healthy", "healthy", ill}, "", failover.OK, "", "2 of 3 targets of api in us-east-1 are healthy: 10.0.0.3:8080 is unhealthy (Target.ResponseCodeMismatch: Health", Pass},
		{[]string{"healthy", ill}, "", failover.Failed, failover.ReasonContent, "codes: [503]); 2 must be", Fail},
		{[]string{"healthy", "initial:Elb.InitialHealthChecking:Initial health checks in progress"}, "", failover.Failed, failover.ReasonContent, "is initial (Elb.InitialHealthChecking", Fail},
		{[]string{"healthy", "draining:Target.DeregistrationInProgress:Target deregistration is in progress"}, "", failover.Failed, failover.ReasonContent, "is draining", Fail},
		{[]string{"unused:Target.NotInUse:x", "unavailable:Target.HealthCheckDisabled:x"}, "", failover.Failed, failover.ReasonContent, "0 of 2 targets", Fail},
		{nil, "", failover.Failed, failover.ReasonContent, "0 of 0 targets of api in us-east-1 are healthy; 2 must be", Fail},
		{[]string{ill, ill, ill, ill, ill, ill}, "", failover.Failed, failover.ReasonContent, "and 2 more", Fail},
		{nil, "Throttling", failover.Slow, failover.ReasonThrottled, "Throttling", Unknown},
		{nil, "ServiceUnavailable", failover.Failed, failover.ReasonServerError, "ServiceUnavailable", Unknown},
		{nil, "AccessDenied", failover.Misconfigured, failover.ReasonAuth, "AccessDenied", Unknown},
		{nil, "hang", failover.Failed, failover.ReasonTimeout, "DescribeTargetGroups: did not answer in time", Unknown},
	} {
		f.set("1", tt.fail, tt.targets...)
		expect(t, look(t, c, d), tt.outcome, tt.reason, tt.detail)
		check, err := (&ALBCheckConfig{ALBConfig: *c}).NewCheck(d)
		if err != nil {
			t.Fatal(err)
		}
		verify(t, check, tt.check, tt.detail)
	}
	// A slow answer tells as much.
	slow, err := (&ALBCheckConfig{ALBConfig: ALBConfig{TargetGroup: "api", Slow: 1}}).NewCheck(d)
	if err != nil {
		t.Fatal(err)
	}
	f.set("1", "", "healthy")
	verify(t, slow, Pass, "slow is 1ns")
	expect(t, look(t, &ALBConfig{TargetGroup: "api"}, d), failover.OK, "", "1 of 1")
	f.set("1", "")
	expect(t, look(t, &ALBConfig{TargetGroup: "api"}, d), failover.Failed, failover.ReasonContent, "0 of 0 targets of api in us-east-1 are healthy; 1 must be")
	expect(t, look(t, &ALBConfig{TargetGroup: "other"}, d), failover.Misconfigured, failover.ReasonConfig, "there is no target group other in us-east-1")
	if s := (Spec{Kind: "alb", Config: c}); s.Plane() != failover.PlaneControl {
		t.Error("it is no signal of the control plane")
	}
}

// The group's ARN is looked up once, and again when the group was made anew.
func TestALBFindsTheGroupAgain(t *testing.T) {
	f := &fakeELB{}
	d := elbDeps(t, f)
	p, err := (&ALBConfig{TargetGroup: "api"}).New(d)
	if err != nil {
		t.Fatal(err)
	}
	f.set("1", "", "healthy")
	for range 2 {
		expect(t, p.Probe(t.Context()), failover.OK, "", "1 of 1")
	}
	if got := strings.Join(f.calls, " "); got != "DescribeTargetGroups DescribeTargetHealth DescribeTargetHealth" {
		t.Errorf("two probes called %s", got)
	}
	f.set("2", "", "healthy")
	expect(t, p.Probe(t.Context()), failover.Misconfigured, failover.ReasonConfig, "no target group api")
	expect(t, p.Probe(t.Context()), failover.OK, "", "1 of 1")
}

func TestALBValidate(t *testing.T) {
	for want, c := range map[string]ALBCheckConfig{
		"target_group: is missing":                        {},
		`write the group's name, "api", as it is in both`: {ALBConfig: ALBConfig{TargetGroup: "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/api/73e2"}},
		`"-api" is not the name`:                          {ALBConfig: ALBConfig{TargetGroup: "-api"}},
		"min_healthy: -1 is negative":                     {ALBConfig: ALBConfig{TargetGroup: "api", MinHealthy: -1}},
		"slow: -1ns is negative":                          {ALBConfig: ALBConfig{TargetGroup: "api", Slow: -1}},
		"within: -1ns is negative":                        {ALBConfig: ALBConfig{TargetGroup: "api"}, For: -1},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := (&ALBConfig{TargetGroup: "api"}).New(Deps{}); err == nil || !strings.Contains(err.Error(), "no AWS clients") {
		t.Errorf("without clients: %v", err)
	}
}
