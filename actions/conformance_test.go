package actions

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/kube"
)

// moody is a fake between moods.
type moody struct {
	fake http.Handler
	mood atomic.Value // "", "throttle", "error", "hang", "lose the reply"
	gone chan struct{}
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch m.mood.Load() {
	case "throttle":
		w.Header().Set("X-Amzn-Errortype", "ThrottlingException")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"__type":"ThrottlingException","message":"Rate exceeded"}`))
	case "error":
		w.WriteHeader(http.StatusServiceUnavailable)
	case "hang":
		select {
		case <-m.gone:
		case <-r.Context().Done():
		}
	case "lose the reply":
		m.fake.ServeHTTP(discard{}, r)
		if h, ok := w.(http.Hijacker); ok {
			if c, _, err := h.Hijack(); err == nil {
				_ = c.Close()
			}
		}
	default:
		m.fake.ServeHTTP(w, r)
	}
}

// discard is a reply that nobody gets.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// subject is one kind in one role, with a world that it can change.
type subject struct {
	name   string
	fake   http.Handler
	cfg    Config
	settle func() // what was asked for takes place
	tokens bool
}

func subjects(z *fakeZone) []subject {
	ecsUp, ecsDown := &fakeECS{desired: 1, running: 1}, &fakeECS{desired: 3, running: 3, tasks: map[string]string{}, target: &ecsScale{Min: 1, Max: 4}}
	up, down := &fakeASG{max: 4, suspended: []string{"Launch"}}, &fakeASG{min: 1, desired: 2, max: 4, instances: serving(2)}
	boot, halt := newEC2("stopped", "stopped"), newEC2("running", "running")
	on, off := &fakeLambda{states: map[string]string{"a": "Disabled", "b": "Disabled"}}, &fakeLambda{states: map[string]string{"a": "Enabled", "b": "Enabled"}}
	clocks := newClocks()
	clocks.rules["default/hourly"]["State"], clocks.schedules["default/nightly"]["State"] = "DISABLED", "DISABLED"
	names := []string{"api.example.net"}
	podsUp, podsDown := fakeDeployment(1), fakeDeployment(2)
	cluster := kube.Access{EKS: "prod", Server: "https://eks.example.net"} // the client is replaced
	web := []string{"web"}
	return []subject{
		{"kubernetes start", podsUp, &KubernetesConfig{Access: cluster, Namespace: "x", Deployments: web, Count: 3}, podsUp.Settle, false},
		{"kubernetes stop", podsDown, &KubernetesConfig{Access: cluster, Namespace: "x", Deployments: web}, podsDown.Settle, false},
		{"schedule start", clocks, &ScheduleConfig{Rules: []string{"hourly"}, Schedules: []string{"nightly"}, Enabled: true}, func() {}, false},
		{"ecs_service start", ecsUp, &ECSServiceConfig{Cluster: "prod", Service: "api", Count: 3}, func() { ecsUp.mu.Lock(); ecsUp.running = ecsUp.desired; ecsUp.mu.Unlock() }, false},
		{"ecs_service stop", ecsDown, &ECSServiceConfig{Cluster: "prod", Service: "workers"}, func() { ecsDown.mu.Lock(); ecsDown.running = ecsDown.desired; ecsDown.mu.Unlock() }, false},
		{"asg start", up, &ASGConfig{Group: "queue", Count: 2}, func() { up.mu.Lock(); up.instances = serving(up.desired); up.mu.Unlock() }, false},
		{"asg stop", down, &ASGConfig{Group: "queue"}, func() { down.mu.Lock(); down.instances = serving(down.desired); down.mu.Unlock() }, false},
		{"ec2_instances start", boot, &EC2InstancesConfig{Tags: map[string]string{"role": "queue"}, Running: true}, func() { boot.settle() }, false},
		{"ec2_instances stop", halt, &EC2InstancesConfig{IDs: map[failover.Region][]string{"us-east-2": {"i-1", "i-2"}}}, func() { halt.settle() }, false},
		{"nacl", newACLs(), &NACLConfig{Subnets: fenced(), ACL: map[failover.Region]string{"us-east-2": "acl-deny"}, Open: map[failover.Region]string{"us-east-2": "acl-a"}, Settle: 1}, func() {}, false},
		{"nacl opening", cutOff(), (&NACLConfig{Subnets: fenced(), ACL: map[failover.Region]string{"us-east-2": "acl-deny"}, Open: map[failover.Region]string{"us-east-2": "acl-a"}}).Opening("us-east-2"), func() {}, false},
		{"http_call", &fakeHook{state: "absent"}, &HTTPCallConfig{IdempotentCall: true}, func() {}, false},
		{"lambda_event_source start", on, &LambdaEventSourceConfig{Functions: []string{"handler"}, Enabled: true}, func() { on.settle() }, false},
		{"lambda_event_source stop", off, &LambdaEventSourceConfig{Functions: []string{"handler"}}, func() { off.settle() }, false},
		{"s3_object", &fakeObject{}, &S3ObjectConfig{Bucket: "bucket", Key: "key", Region: "us-east-2", Names: names, SameAs: "api.us-east-2.example.net"}, func() { z.answer("us-east-2") }, true},
		{"route53_weights", z, &Route53WeightsConfig{Zone: "Z1", Names: append([]string{"ws.example.net"}, names...), Token: "_failoverd.example.net"}, func() {}, true},
	}
}

// settle lets every mapping arrive.
func (f *fakeLambda) settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, s := range f.states {
		f.states[id] = map[string]string{"Enabling": "Enabled", "Disabling": "Disabled"}[s]
		if f.states[id] == "" {
			f.states[id] = s
		}
	}
	f.changed = time.Now().Add(-time.Hour) // no invocation is left
}

// TestConformance holds every kind that calls an API to what the executor builds on.
func TestConformance(t *testing.T) {
	zones := map[string]*fakeZone{}
	for i, s := range subjects(trafficZone()) {
		zones[s.name] = trafficZone()
		s = subjects(zones[s.name])[i] // a world of its own
		t.Run(s.name, func(t *testing.T) {
			m := &moody{fake: s.fake, gone: make(chan struct{})}
			m.mood.Store("")
			d := testDeps(t, m)
			defer close(m.gone)
			port := located(t, &d, zones[s.name])
			if c, ok := s.cfg.(*HTTPCallConfig); ok { // its address is its own
				srv := httptest.NewServer(m)
				t.Cleanup(srv.Close) // after what hangs was let go
				at := hookAt(t, srv.URL)
				at.IdempotentCall, s.cfg = c.IdempotentCall, at
			}
			a, err := s.cfg.New(d)
			if err != nil {
				t.Fatal(err)
			}
			switch k := a.(type) {
			case *s3Object:
				k.places.dns.Port = port
			case *route53Weights:
				k.dns.Port = port
			case *kubernetes:
				srv := httptest.NewServer(m)
				t.Cleanup(srv.Close)
				if k.client, err = kube.New(&rest.Config{Host: srv.URL}); err != nil {
					t.Fatal(err)
				}
			}
			if _, ok := a.(Restorer); !ok {
				t.Fatal("it cannot tell whether it was put back")
			}
			before, err := a.Inspect(t.Context())
			if err != nil || before.State == Present || before.State == Unknown || len(before.Previous) == 0 {
				t.Fatalf("before: %+v, %v", before, err)
			}
			token := uint64(10)
			next := func(e Effect) Attempt { token++; return attempt(token, e) }

			// Bad moods: an error, promptly, and nothing happened.
			for _, mood := range []string{"throttle", "error", "hang"} {
				m.mood.Store(mood)
				for what, call := range map[string]func(context.Context) error{
					"Inspect": func(ctx context.Context) error { _, err := a.Inspect(ctx); return err },
					"Do":      func(ctx context.Context) error { return a.Do(ctx, next(before)) },
				} {
					ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
					began := time.Now()
					if err := call(ctx); err == nil {
						t.Errorf("%s while the API is in the mood %q gives no error", what, mood)
					}
					cancel()
					if took := time.Since(began); took > 1500*time.Millisecond {
						t.Errorf("%s while the API is in the mood %q took %s", what, mood, took)
					}
				}
			}
			m.mood.Store("")
			if now, err := a.Inspect(t.Context()); err != nil || now.State != before.State || !a.(Restorer).Restored(now, before.Previous) {
				t.Errorf("after calls that came to nothing: %+v, %v; it was %+v", now, err, before)
			}
			// Too late: nothing is sent.
			late := next(before)
			late.Deadline = time.Now().Add(-time.Second)
			var refused *cloud.EffectDeadlineError
			if err := a.Do(cloud.WithEffectDeadline(t.Context(), late.Deadline), late); !errors.As(err, &refused) {
				t.Errorf("after its deadline Do gives %v", err)
			}
			// The reply is lost: an error, and the world shows what happened.
			m.mood.Store("lose the reply")
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			if err := a.Do(ctx, next(before)); err == nil {
				t.Error("the reply was lost, and Do is content")
			}
			cancel()
			m.mood.Store("")
			now, err := a.Inspect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if s.tokens == (now.Token == 0) {
				t.Errorf("the world shows token %d", now.Token)
			}
			// Done twice equals done once.
			for range 2 {
				if now, err = a.Inspect(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := a.Do(t.Context(), next(now)); err != nil {
					t.Fatal(err)
				}
				s.settle()
			}
			done, err := a.Inspect(t.Context())
			if err != nil || done.State != Present {
				t.Fatalf("done: %+v, %v", done, err)
			}
			if err := a.Do(t.Context(), next(done)); err != nil {
				t.Fatal(err)
			}
			if again, err := a.Inspect(t.Context()); err != nil || again.State != Present || !a.(Restorer).Restored(again, done.Previous) {
				t.Errorf("done again: %+v, %v; it was %+v", again, err, done)
			}
			// Undo puts back what was recorded before the first change.
			if err := a.Undo(t.Context(), next(before)); err != nil {
				t.Fatal(err)
			}
			s.settle()
			if back, err := a.Inspect(t.Context()); err != nil || !a.(Restorer).Restored(back, before.Previous) {
				t.Errorf("undone: %+v, %v; it was %+v", back, err, before)
			}
			_, idempotent := a.(Idempotent)
			if _, checks := a.(TokenChecker); checks != s.tokens || !checks && !idempotent {
				t.Errorf("checks tokens: %t, idempotent: %t", checks, idempotent)
			}
			// A cancelled call leaves nothing behind.
			m.mood.Store("hang")
			goroutines := runtime.NumGoroutine()
			for range 5 {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(20*time.Millisecond, cancel)
				_, _ = a.Inspect(ctx)
			}
			for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines+8; <-time.After(20 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d goroutines after five cancelled calls, %d before", runtime.NumGoroutine(), goroutines)
				}
			}
		})
	}
	// No kind is forgotten: those that call an API are all here.
	tested := map[string]bool{}
	for _, s := range subjects(trafficZone()) {
		kind, _, _ := strings.Cut(s.name, " ")
		tested[kind] = true
	}
	for f := range reflect.TypeFor[Kinds]().Fields() {
		kind := f.Tag.Get("toml")
		if kind != "gate" && kind != "exec" && kind != "approval" && kind != "mariadb_restore" && kind != "mongo_promote" && !tested[kind] { // they call no API or more than one, and have tests of their own
			t.Errorf("%s is not tested", kind)
		}
	}
}
