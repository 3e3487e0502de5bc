package actions

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/kube"
)

// subjects are all kinds whose world can be put into every mood, each time anew. The zone is what name servers say.
func subjects(t *testing.T, z *fakeZone) []subject {
	t.Helper()
	ecsUp, ecsDown := &fakeECS{desired: 1, running: 1, target: &ecsScale{Min: 1, Max: 2, In: true, Out: true}}, &fakeECS{desired: 3, running: 3, tasks: map[string]string{}, target: &ecsScale{Min: 1, Max: 4}}
	up, down := &fakeASG{max: 4, suspended: []string{"AddToLoadBalancer", "AlarmNotification", "Launch"}}, &fakeASG{min: 1, desired: 2, max: 4, instances: serving(2), suspended: []string{"AZRebalance"}}
	elsewhere := fakeASGs{{min: 2, desired: 2, max: 4, full: true, room: 1, instances: serving(1), failure: noCapacity}, {name: "queue-b", max: 4, suspended: []string{"AddToLoadBalancer", "Launch"}}}
	both := fakeASGs{{min: 1, desired: 2, max: 4, instances: serving(2)}, {name: "queue-b", desired: 1, max: 4, instances: serving(1), suspended: []string{"AZRebalance"}}}
	boot, halt := newEC2("stopped", "stopped"), newEC2("running", "running")
	on, off := &fakeLambda{states: map[string]string{"a": "Disabled", "b": "Disabled"}}, &fakeLambda{states: map[string]string{"a": "Enabled", "b": "Enabled"}}
	clocks, noClocks := newClocks(), newClocks()
	clocks.rules["default/hourly"]["State"], clocks.schedules["default/nightly"]["State"] = "DISABLED", "DISABLED"
	hourly, nightly := []string{"hourly"}, []string{"nightly"}
	names := []string{"api.example.net"}
	podsUp, podsDown := fakeCluster(t, 1, map[string]any{"mine": "yes", pausedReplicas: "0"}), fakeCluster(t, 2, map[string]any{"mine": "yes"})
	pods := KubernetesConfig{Access: kube.Access{EKS: "prod", Server: "https://eks.example.net"}, Namespace: "x", Deployments: []string{"web", "api"}} // the client is replaced
	morePods := pods
	morePods.Count = 3
	acls, closed, hook, o, prog := newACLs(), cutOff(), &fakeHook{state: "absent"}, &fakeObject{}, &fakeCommand{}
	cut := &NACLConfig{Subnets: fenced(), ACL: map[failover.Region]string{"us-east-2": "acl-deny"}, Open: map[failover.Region]string{"us-east-2": "acl-a"}, Settle: 1}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	service := func(f *fakeECS) func() any {
		return func() any { f.mu.Lock(); defer f.mu.Unlock(); return []any{f.desired, f.running, *f.target} }
	}
	group := func(f *fakeASG) func() any {
		return func() any {
			f.mu.Lock()
			defer f.mu.Unlock()
			return []any{f.min, f.desired, f.max, slices.Clone(f.suspended), slices.Clone(f.instances)}
		}
	}
	groups := func(f fakeASGs) func() any {
		return func() (out any) {
			var all []any
			for _, one := range f {
				all = append(all, group(one)())
			}
			return all
		}
	}
	boxes := func(f *fakeEC2) func() any {
		return func() any { f.mu.Lock(); defer f.mu.Unlock(); return slices.Clone(f.states) }
	}
	mappings := func(f *fakeLambda) func() any {
		return func() any { f.mu.Lock(); defer f.mu.Unlock(); return maps.Clone(f.states) }
	}
	subnets := func(f *fakeACLs) func() any {
		return func() any { f.mu.Lock(); defer f.mu.Unlock(); return maps.Clone(f.has) }
	}
	still := func() {}
	return []subject{
		{"kubernetes start", podsUp, &morePods, podsUp.Settle, func() any { return inCluster(podsUp) }, false},
		{"kubernetes stop", podsDown, &pods, podsDown.Settle, func() any { return inCluster(podsDown) }, false},
		{"schedule start", clocks, &ScheduleConfig{Rules: hourly, Schedules: nightly, Enabled: true}, still, clocks.states, false},
		{"schedule stop", noClocks, &ScheduleConfig{Rules: hourly, Schedules: nightly, LongestRun: 1, Settle: 1}, still, noClocks.states, false},
		{"ecs_service start", ecsUp, &ECSServiceConfig{Cluster: "prod", Service: "api", Count: 3}, ecsUp.settle, service(ecsUp), false},
		{"ecs_service stop", ecsDown, &ECSServiceConfig{Cluster: "prod", Service: "workers"}, ecsDown.settle, service(ecsDown), false},
		{"asg start", up, &ASGConfig{Group: "queue", Count: 2}, up.settle, group(up), false},
		{"asg stop", down, &ASGConfig{Group: "queue"}, down.settle, group(down), false},
		{"asg start elsewhere", elsewhere, &ASGConfig{Group: "queue", Count: 2, Alternatives: []string{"queue-b"}, Patience: 1}, elsewhere.settle, groups(elsewhere), false},
		{"asg stop of both", both, &ASGConfig{Group: "queue", Alternatives: []string{"queue-b"}}, both.settle, groups(both), false},
		{"ec2_instances start", boot, &EC2InstancesConfig{Tags: map[string]string{"role": "queue"}, Running: true}, boot.settle, boxes(boot), false},
		{"ec2_instances stop", halt, &EC2InstancesConfig{IDs: map[failover.Region][]string{"us-east-2": {"i-1", "i-2"}}}, halt.settle, boxes(halt), false},
		{"nacl", acls, cut, still, subnets(acls), false},
		{"nacl opening", closed, cut.Opening("us-east-2"), still, subnets(closed), false},
		{"http_call", hook, &HTTPCallConfig{IdempotentCall: true}, still, func() any { hook.mu.Lock(); defer hook.mu.Unlock(); return hook.state }, false},
		{"exec", prog, &ExecConfig{Command: self, Args: []string{"do"}, Inspect: []string{self, "inspect"}, Undo: []string{self, "undo"}}, still, func() any { prog.mu.Lock(); defer prog.mu.Unlock(); return prog.does }, false},
		{"lambda_event_source start", on, &LambdaEventSourceConfig{Functions: []string{"handler"}, Enabled: true}, on.settle, mappings(on), false},
		{"lambda_event_source stop", off, &LambdaEventSourceConfig{Functions: []string{"handler"}}, off.settle, mappings(off), false},
		{"s3_object", o, &S3ObjectConfig{Bucket: "bucket", Key: "key", Region: "us-east-2", Names: names, SameAs: "api.us-east-2.example.net"}, func() { z.answer(o.names()) }, func() any { return o.names() }, true},
		{"route53_weights", z, &Route53WeightsConfig{Zone: "Z1", Names: append([]string{"ws.example.net"}, names...), Token: "_failoverd.example.net"}, still, z.weighted, true},
	}
}

// TestConformance holds every kind that can be put into every mood to what the executor builds on.
func TestConformance(t *testing.T) {
	for i, s := range subjects(t, trafficZone()) {
		t.Run(s.name, func(t *testing.T) {
			s := conform(t, i)
			m, a := s.moody, s.action()
			_, command := a.(*execAction) // of what it does nothing is known but whether it is done
			if _, ok := a.(Restorer); !ok && !command {
				t.Fatal("it cannot tell whether it was put back")
			}
			before, err := a.Inspect(t.Context())
			if err != nil || before.State == Present || before.State == Unknown || len(before.Previous) == 0 {
				t.Fatalf("before: %+v, %v", before, err)
			}

			was := s.is()
			// Bad moods: an error, promptly, and nothing happened.
			for _, mood := range []string{throttles, errs, hangs} {
				m.feels(mood)
				for what, call := range map[string]func(context.Context) error{
					"Inspect": func(ctx context.Context) error { _, err := a.Inspect(ctx); return err },
					"Do":      func(ctx context.Context) error { return a.Do(ctx, s.next(before)) },
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
			m.feels("")
			if now, err := a.Inspect(t.Context()); err != nil || now.State != before.State || !restored(a, now, before.Previous) {
				t.Errorf("after calls that came to nothing: %+v, %v; it was %+v", now, err, before)
			}
			s.same("after calls that came to nothing", was)
			// Too late: nothing is sent.
			late := s.next(before)
			late.Deadline = time.Now().Add(-time.Second)
			var refused *cloud.EffectDeadlineError
			if err := a.Do(cloud.WithEffectDeadline(t.Context(), late.Deadline), late); !errors.As(err, &refused) {
				t.Errorf("after its deadline Do gives %v", err)
			}
			// The reply is lost: an error, and the world shows what happened.
			m.feels(loses)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			if err := a.Do(ctx, s.next(before)); err == nil {
				t.Error("the reply was lost, and Do is content")
			}
			cancel()
			m.feels("")
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
				if err := a.Do(t.Context(), s.next(now)); err != nil {
					t.Fatal(err)
				}
				s.passes()
			}
			done, err := a.Inspect(t.Context())
			if err != nil || done.State != Present {
				t.Fatalf("done: %+v, %v", done, err)
			}
			end := s.is()
			if err := a.Do(t.Context(), s.next(done)); err != nil {
				t.Fatal(err)
			}
			if again, err := a.Inspect(t.Context()); err != nil || again.State != Present || !command && !restored(a, again, done.Previous) {
				t.Errorf("done again: %+v, %v; it was %+v", again, err, done)
			}
			s.same("done again", end)
			// Undo puts back what was recorded before the first change.
			if err := a.Undo(t.Context(), s.next(before)); err != nil {
				t.Fatal(err)
			}
			s.passes()
			if back, err := a.Inspect(t.Context()); err != nil || !restored(a, back, before.Previous) {
				t.Errorf("undone: %+v, %v; it was %+v", back, err, before)
			}
			s.same("undone", was)
			_, idempotent := a.(Idempotent)
			if _, checks := a.(TokenChecker); checks != s.tokens || !checks && !idempotent && !command {
				t.Errorf("checks tokens: %t, idempotent: %t", checks, idempotent)
			}
		})
	}
}
