package actions

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// A step that acts in us-east-2 calls nothing but us-east-2: not the region that is
// left, and nothing global. What needs the one or the other says so (needs.go).
func TestStepsTouchTheirRegionOnly(t *testing.T) {
	z := trafficZone()
	z.answer("us-east-2")
	halt := newEC2("running")
	halt.quick = true // an undo has to wait until what it starts has stopped
	for _, tt := range []struct {
		name string
		fake http.Handler
		cfg  Config
	}{
		{"ecs_service start", &fakeECS{}, &ECSServiceConfig{Cluster: "prod", Service: "api", Count: 2}},
		{"ecs_service stop", &fakeECS{tasks: map[string]string{}, target: &ecsScale{Min: 1, Max: 2}}, &ECSServiceConfig{Cluster: "prod", Service: "api"}},
		{"asg start", &fakeASG{max: 4, suspended: []string{"Launch"}}, &ASGConfig{Group: "queue", Count: 2}},
		{"asg stop", &fakeASG{min: 1, desired: 1, max: 4, instances: serving(1)}, &ASGConfig{Group: "queue"}},
		{"ec2_instances start", newEC2("stopped"), &EC2InstancesConfig{Tags: map[string]string{"role": "queue"}, Running: true}},
		{"ec2_instances stop", halt, &EC2InstancesConfig{Tags: map[string]string{"role": "queue"}}},
		{"lambda_event_source start", &fakeLambda{states: map[string]string{"a": "Disabled", "b": "Disabled"}}, &LambdaEventSourceConfig{Functions: []string{"handler"}, Enabled: true}},
		{"lambda_event_source stop", &fakeLambda{states: map[string]string{"a": "Enabled", "b": "Enabled"}}, &LambdaEventSourceConfig{Functions: []string{"handler"}}},
		{"nacl", newACLs(), &NACLConfig{Subnets: fenced(), ACL: map[failover.Region]string{"us-east-2": "acl-deny"}, Open: map[failover.Region]string{"us-east-2": "acl-a"}}},
		{"s3_object", &fakeObject{}, &S3ObjectConfig{Bucket: "bucket", Key: "key", Region: "us-east-2", Names: []string{"api.example.net"}, SameAs: "api.us-east-2.example.net"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
			var here atomic.Int64
			own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				here.Add(1)
				tt.fake.ServeHTTP(w, r)
			}))
			defer own.Close()
			other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				t.Errorf("%s %s was sent to another host than that of us-east-2", r.Method, r.URL)
			}))
			defer other.Close()
			c, err := cloud.Open(t.Context(), cloud.Options{Endpoints: map[string]string{"us-east-1": other.URL, "global": other.URL, "us-east-2": own.URL}, Timeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			d := Deps{Region: "us-east-2", Regions: []failover.Region{"us-east-1", "us-east-2"}, Node: "n1", Cloud: c, Log: slog.New(slog.DiscardHandler)}
			port := located(t, &d, z)
			a, err := tt.cfg.New(d)
			if err != nil {
				t.Fatal(err)
			}
			if o, ok := a.(*s3Object); ok {
				o.places.dns.Port = port
			}
			before, err := a.Inspect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for n, f := range []func() error{
				func() error { return a.Do(t.Context(), attempt(7, before)) },
				func() error { _, err := a.Inspect(t.Context()); return err },
				func() error { return a.Undo(t.Context(), attempt(8, before)) },
			} {
				if err := f(); err != nil {
					t.Errorf("call %d: %v", n, err)
				}
			}
			if here.Load() < 4 {
				t.Errorf("only %d calls reached us-east-2", here.Load())
			}
			// What is said of it is true.
			for _, n := range Needs(failover.Step{ID: "x", Kind: failover.KindStart, Region: "us-east-2", Action: kindOf(tt.cfg), Version: 1, Params: params(t, tt.cfg)}) {
				if n.Region != "us-east-2" && n.Region != "" {
					t.Errorf("it says that it needs %s", n)
				}
			}
		})
	}
}

func attempt(token uint64, e Effect) Attempt {
	return Attempt{Execution: 1, Number: 1, Epoch: 2, Token: token, Previous: e.Previous, Deadline: time.Now().Add(time.Minute)}
}

// kindOf is the name of a configuration's kind.
func kindOf(c Config) string {
	switch c.(type) {
	case *ECSServiceConfig:
		return "ecs_service"
	case *ASGConfig:
		return "asg"
	case *NACLConfig:
		return "nacl"
	case *EC2InstancesConfig:
		return "ec2_instances"
	case *LambdaEventSourceConfig:
		return "lambda_event_source"
	case *S3ObjectConfig:
		return "s3_object"
	}
	panic(fmt.Sprintf("no name for %T", c))
}

func params(t *testing.T, c Config) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
