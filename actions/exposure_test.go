package actions

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/kube"
	"github.com/failoverd/failoverd/internal/kubetest"
)

// These tests measure what docs/safety.md states of each kind that checks no token: how long a stale effect stands. The executor, the keeper, the
// log's rules and the kinds are the real ones; each kind speaks its protocol to its fake over a wire (wire_test.go), in a bubble, so that the
// times are exact.
const (
	exposureTrials = 12                     // each at another moment of the pace
	exposureCall   = 200 * time.Millisecond // what a call to a fake takes
	exposureWorld  = time.Second            // within which a fake does what it was told
	exposureLook   = 100 * time.Millisecond // how exactly is measured
)

// exposed is a kind in a world of its own, in which a stale writer has been on its way since before the region was left.
type exposed struct {
	kind   string
	stop   Config
	start  Config          // the writer's, which does it;
	undoes json.RawMessage // or it undoes a stop, and this is what had been there
	says   string          // the writer's call that is on its way
	fake   http.Handler
	settle func()      // what was asked for takes place
	stands func() bool // something of what was stopped is wanted, or runs
	never  func() bool // what may not even be seen in passing; nil: nothing
	touch  string      // of exec: the file that its world is
	stops  string      // the call of its own stop; "": it is not one that may land late
	runs   func()      // makes the world one in which there is something to stop; nil: it is
}

// exposures are all of them, each time anew.
func exposures(t *testing.T) []exposed {
	t.Helper()
	tasks := &fakeECS{desired: 1, running: 1, target: &ecsScale{Min: 1, Max: 4}}
	group := &fakeASG{min: 1, desired: 1, max: 4, instances: serving(1)}
	boxes := newEC2("stopped", "running")
	maps := &fakeLambda{states: map[string]string{"a": "Disabled", "b": "Enabled"}, timeout: 40, changed: time.Now()}
	rules, schedules := newClocks(), newClocks()
	rules.rules["default/hourly"]["State"], schedules.schedules["default/nightly"]["State"] = "DISABLED", "DISABLED"
	pods := fakeDeployment(1)
	acls, hook := cutOff(), &fakeHook{state: "present"}
	at := hookAt(t, "http://fake.example.net")
	at.IdempotentCall = true
	file := filepath.Join(t.TempDir(), "runs")
	cluster, web := kube.Access{EKS: "prod", Server: "https://eks.example.net"}, []string{"web"} // the client is replaced
	run := failover.Duration(20 * time.Second)
	return []exposed{
		{
			kind: "ecs_service", stop: &ECSServiceConfig{Cluster: "prod", Service: "api"}, start: &ECSServiceConfig{Cluster: "prod", Service: "api", Count: 3},
			says: "UpdateService", fake: tasks,
			stops:  "UpdateService",
			settle: func() { tasks.mu.Lock(); defer tasks.mu.Unlock(); tasks.running = tasks.desired },
			stands: func() bool { tasks.mu.Lock(); defer tasks.mu.Unlock(); return tasks.desired+tasks.running > 0 },
		},
		{
			kind: "asg", stop: &ASGConfig{Group: "queue"}, start: &ASGConfig{Group: "queue", Count: 2},
			says: "Action=UpdateAutoScalingGroup", fake: group,
			stops: "Action=UpdateAutoScalingGroup",
			settle: func() {
				group.mu.Lock()
				defer group.mu.Unlock()
				if n := group.desired; n < len(group.instances) || !slices.Contains(group.suspended, "Launch") {
					group.instances = serving(n)
				}
			},
			stands: func() bool {
				group.mu.Lock()
				defer group.mu.Unlock()
				return group.min+group.desired+len(group.instances) > 0
			},
			never: func() bool { group.mu.Lock(); defer group.mu.Unlock(); return len(group.instances) > 0 }, // Launch is suspended
		},
		{
			kind: "ec2_instances", stop: &EC2InstancesConfig{Tags: map[string]string{"role": "queue"}}, start: &EC2InstancesConfig{Tags: map[string]string{"role": "queue"}, Running: true},
			says: "Action=StartInstances", fake: boxes, settle: boxes.settle,
			stops: "Action=StopInstances",
			stands: func() bool {
				boxes.mu.Lock()
				defer boxes.mu.Unlock()
				return strings.Join(boxes.states, " ") != "stopped stopped"
			},
		},
		{
			kind: "lambda_event_source", stop: &LambdaEventSourceConfig{Functions: []string{"handler"}}, start: &LambdaEventSourceConfig{Functions: []string{"handler"}, Enabled: true},
			says: http.MethodPut, fake: maps,
			stops: http.MethodPut,
			settle: func() {
				maps.mu.Lock()
				defer maps.mu.Unlock()
				for id, s := range maps.states {
					if to, ok := map[string]string{"Enabling": "Enabled", "Disabling": "Disabled"}[s]; ok {
						maps.states[id], maps.changed = to, time.Now()
					}
				}
			},
			stands: func() bool {
				maps.mu.Lock()
				defer maps.mu.Unlock()
				return maps.states["a"] != "Disabled" || maps.states["b"] != "Disabled"
			},
		},
		{
			kind: "schedule(rule)", stop: &ScheduleConfig{Rules: []string{"hourly"}, LongestRun: run, Settle: run}, start: &ScheduleConfig{Rules: []string{"hourly"}, Enabled: true},
			says: "EnableRule", fake: rules, settle: func() {},
			stops: "DisableRule", runs: func() { rules.rules["default/hourly"]["State"] = "ENABLED" },
			stands: func() bool {
				rules.mu.Lock()
				defer rules.mu.Unlock()
				return rules.rules["default/hourly"]["State"] != "DISABLED"
			},
		},
		{
			kind: "schedule(scheduler)", stop: &ScheduleConfig{Schedules: []string{"nightly"}, LongestRun: run, Settle: run}, start: &ScheduleConfig{Schedules: []string{"nightly"}, Enabled: true},
			says: "PUT /schedules/nightly", fake: schedules, settle: func() {},
			stops: "PUT /schedules/nightly", runs: func() { schedules.schedules["default/nightly"]["State"] = "ENABLED" },
			stands: func() bool {
				schedules.mu.Lock()
				defer schedules.mu.Unlock()
				return schedules.schedules["default/nightly"]["State"] != "DISABLED"
			},
		},
		{
			kind: "kubernetes", stop: &KubernetesConfig{Access: cluster, Namespace: "x", Deployments: web}, start: &KubernetesConfig{Access: cluster, Namespace: "x", Deployments: web, Count: 3},
			says: http.MethodPatch, fake: pods, settle: pods.Settle,
			stops:  http.MethodPatch,
			stands: func() bool { return wantsPods(pods) },
		},
		{
			kind: "nacl", stop: &NACLConfig{Subnets: fenced(), ACL: map[failover.Region]string{"us-east-2": "acl-deny"}}, undoes: json.RawMessage(`{"subnet-a":"acl-a","subnet-b":"acl-b"}`),
			says: "Action=ReplaceNetworkAclAssociation", fake: acls, settle: func() {},
			stands: func() bool {
				acls.mu.Lock()
				defer acls.mu.Unlock()
				return acls.has["subnet-a"] != "acl-deny" || acls.has["subnet-b"] != "acl-deny"
			},
		},
		{
			kind: "http_call", stop: at, undoes: json.RawMessage(`{"state":"absent"}`), says: "/undo", fake: hook, settle: func() {},
			stops: "/do", runs: func() { hook.state = "absent" },
			stands: func() bool { hook.mu.Lock(); defer hook.mu.Unlock(); return hook.state != "present" },
		},
		{
			kind: "exec", stop: &ExecConfig{Command: "/bin/rm", Args: []string{"-f", file}, Inspect: []string{"/usr/bin/test", "!", "-e", file}}, touch: file, settle: func() {},
			stands: func() bool { _, err := os.Stat(file); return err == nil },
		},
	}
}

func wantsPods(s *kubetest.Server) bool {
	for _, n := range s.Pods("x", "web") {
		if n > 0 {
			return true
		}
	}
	return false
}

// begin lets the stale writer begin; its call lands when land is called.
func (x exposed) begin(t *testing.T) (land func()) {
	t.Helper()
	if x.touch != "" { // its process was paused, and is killed only when its leader goes on
		return func() {
			if err := os.WriteFile(x.touch, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	w, a := &wire{fake: x.fake, takes: exposureCall}, Attempt{Execution: 1, Step: "stale", Number: 1, Epoch: 1, Token: 1, Previous: x.undoes}
	if x.start == nil {
		old := wired(t, x.stop, w)
		return writer(t, w, x.says, func(ctx context.Context) error { return old.Undo(ctx, a) })
	}
	old := wired(t, x.start, w)
	eff, err := old.Inspect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a.Previous = eff.Previous
	return writer(t, w, x.says, func(ctx context.Context) error { return old.Do(ctx, a) })
}

// lives lets a world go on until ctx ends.
func (x exposed) lives(ctx context.Context) {
	for ctx.Err() == nil {
		x.settle()
		select {
		case <-ctx.Done():
		case <-time.After(exposureWorld):
		}
	}
}

// S2: a stale writer of each kind is paused between its check and its call, a new leader leaves the region, and then the call lands. The standing
// hold takes back what it has brought about within its pace and the two calls that a look and a stop may take. The figures stand in
// docs/safety.md.
func TestExposureOfEachKind(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	opts := Options{}.withDefaults()
	bound := opts.HoldEvery() + 2*opts.CallTimeout + exposureWorld
	trials := exposureTrials
	if testing.Short() {
		trials = 2
	}
	for n, kind := range kindsOf(t) {
		t.Run(kind, func(t *testing.T) {
			var all []time.Duration
			for i := range trials {
				inStage(t, func(s *failover.Settings) { s.Components[1].Stop.Action.Timeout = failover.Duration(5 * time.Minute) }, func(st *stage) {
					x := exposures(t)[n]
					took := x.late(st, opts, opts.HoldEvery()*time.Duration(i)/time.Duration(trials))
					if all = append(all, took); took > bound {
						t.Errorf("a late %s stood for %s; the bound is %s", kind, took, bound)
					}
				})
			}
			logExposure(t, kind, "late-start", all, bound)
		})
	}
}

// late plays one trial, and returns for how long the late call's effect stood.
func (x exposed) late(st *stage, opts Options, phase time.Duration) time.Duration {
	t := st.t
	land := x.begin(t)
	st.own["stop-workers"] = wired(t, x.stop, &wire{fake: x.fake, takes: exposureCall})
	l := st.elect(nil)
	world, keeper := make(chan struct{}), make(chan struct{})
	go func() { defer close(world); x.lives(l.ctx) }()
	st.waitFor("the end", 30*time.Minute, ended)
	go func() {
		defer close(keeper)
		NewKeeper(l, st, opts, opts.HoldEvery(), slog.New(slog.DiscardHandler)).Run(l.ctx)
	}()
	defer func() { l.cancel(); <-keeper; <-world }()
	s := st.waitFor("a hold that is kept", 30*time.Minute, func(s *failover.State) bool {
		return len(s.Holds) > 0 && s.Holds[0].Step.ID == "stop-workers" && s.Holds[0].Status == failover.HoldKept
	})
	if s.Active != "east2" || s.History[0].State != failover.ExecStable || x.stands() {
		t.Fatalf("the region was not left: %s is active, %s, %t", s.Active, s.History[0].State, x.stands())
	}
	time.Sleep(opts.HoldEvery() + phase)
	landed := time.Now()
	if land(); !x.stands() {
		t.Fatal("the late call came to nothing")
	}
	for x.stands() {
		if time.Since(landed) > time.Hour {
			t.Fatalf("it stands: %+v", st.state().Holds)
		}
		if x.never != nil && x.never() {
			t.Fatal("it runs")
		}
		time.Sleep(exposureLook)
	}
	return time.Since(landed)
}

// logExposure says in one line what was measured.
func logExposure(t *testing.T, kind, effect string, all []time.Duration, bound time.Duration) {
	t.Helper()
	slices.Sort(all)
	t.Logf("exposure: kind=%s effect=%s trials=%d p50_s=%.1f max_s=%.1f bound_s=%.0f", kind, effect, len(all), all[len(all)/2].Seconds(), all[len(all)-1].Seconds(), bound.Seconds())
}

func kindsOf(t *testing.T) (out []string) {
	t.Helper()
	for _, x := range exposures(t) {
		out = append(out, x.kind)
	}
	return out
}
