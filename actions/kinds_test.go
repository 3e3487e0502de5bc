package actions

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/internal/cloud"
)

func inspect(t *testing.T, a Action, want EffectState, detail string) Effect {
	t.Helper()
	e, err := a.Inspect(t.Context())
	if err != nil {
		t.Fatalf("inspecting: %v", err)
	}
	if e.State != want || !strings.Contains(e.Detail, detail) {
		t.Fatalf("the effect is %s %q, want %s with %q", e.State, e.Detail, want, detail)
	}
	return e
}

// stillEnds is inspect of a stop that is not over, and says whether only time is missing.
func stillEnds(t *testing.T, a Action, ending bool, detail string) {
	t.Helper()
	if e := inspect(t, a, Partial, detail); e.Ending != ending {
		t.Errorf("%q: only time is missing: %t, want %t", e.Detail, e.Ending, ending)
	}
}

func do(t *testing.T, f func(context.Context, Attempt) error, tok uint64, previous json.RawMessage) {
	t.Helper()
	if err := f(t.Context(), Attempt{Execution: 1, Number: 1, Epoch: 2, Token: tok, Previous: previous, Deadline: time.Now().Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
}

func TestECSStart(t *testing.T) {
	f := &fakeECS{desired: 1, running: 1}
	a, err := (&ECSServiceConfig{Cluster: "prod", Service: "api", Count: 3}).New(testDeps(t, f))
	if err != nil {
		t.Fatal(err)
	}
	before := inspect(t, a, Absent, "desired 1, running 1")
	do(t, a.Do, 7, before.Previous)
	inspect(t, a, Partial, "desired 3, running 1")
	f.running = 3
	inspect(t, a, Present, "")
	// An autoscaler went further: a repetition must not take capacity away.
	f.desired, f.running = 9, 9
	do(t, a.Do, 8, inspect(t, a, Present, "").Previous)
	if f.desired != 9 {
		t.Errorf("the service was scaled down to %d", f.desired)
	}
	do(t, a.Undo, 9, before.Previous)
	if f.desired != 1 {
		t.Errorf("undone, the desired count is %d", f.desired)
	}
	f.controller = "ECS"
	inspect(t, a, Absent, "desired 1")
	f.controller = "CODE_DEPLOY"
	if _, err := a.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "is deployed by CODE_DEPLOY: only services with the deployment controller ECS") {
		t.Errorf("a service of another controller gives %v", err)
	}
	f.missing = true
	if _, err := a.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "ECS says MISSING; check the names") {
		t.Errorf("a missing service gives %v", err)
	}
}

// Where a share is enough, one task that finds no place holds nothing up, and is told of; all are asked for all the same.
func TestECSStartWithAShare(t *testing.T) {
	f := &fakeECS{desired: 0}
	a, err := (&ECSServiceConfig{Cluster: "prod", Service: "api", Count: 12, MinRunning: 75}).New(testDeps(t, f))
	if err != nil {
		t.Fatal(err)
	}
	do(t, a.Do, 7, inspect(t, a, Absent, "desired 0").Previous)
	if f.desired != 12 {
		t.Errorf("%d tasks are wanted, not all 12", f.desired)
	}
	f.running = 8
	inspect(t, a, Partial, "running 8, pending 0, want 9")
	f.running = 9
	inspect(t, a, Present, "running 9, pending 0, of which 9 are enough")
	f.running = 12
	if e := inspect(t, a, Present, "running 12"); strings.Contains(e.Detail, "enough") {
		t.Error(e.Detail)
	}
	for role, c := range map[Role]ECSServiceConfig{RoleStart: {Cluster: "prod", Service: "api", Count: 3, MinRunning: 101}, RoleStop: {Cluster: "prod", Service: "api", MinRunning: 50}} {
		if err := c.Validate(role); err == nil || !strings.Contains(err.Error(), "min_running") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestECSStopBelievesTheTasks(t *testing.T) {
	f := &fakeECS{desired: 3, running: 3, tasks: map[string]string{}}
	a, err := (&ECSServiceConfig{Cluster: "prod", Service: "workers"}).New(testDeps(t, f))
	if err != nil {
		t.Fatal(err)
	}
	before := inspect(t, a, Absent, "desired 3")
	do(t, a.Do, 7, before.Previous)
	inspect(t, a, Partial, "running 3")
	f.running, f.tasks["arn:1"] = 0, "DEACTIVATING"
	stillEnds(t, a, true, "task arn:1 is DEACTIVATING")
	for _, n := range strings.Fields("2 3 4 5 6 7") { // each of several is told of
		f.tasks["arn:"+n] = "RUNNING"
	}
	stillEnds(t, a, true, "and 2 more")
	for n := range f.tasks {
		f.tasks[n] = "STOPPED"
	}
	f.tasks["arn:3"], f.tasks["arn:6"] = "RUNNING", "STOPPING"
	if e := inspect(t, a, Partial, ""); !strings.Contains(e.Detail, "task arn:3 is RUNNING") || !strings.Contains(e.Detail, "task arn:6 is STOPPING") || strings.Contains(e.Detail, "more") {
		t.Errorf("%s", e.Detail)
	}
	f.tasks["arn:3"], f.tasks["arn:6"] = "STOPPED", "STOPPED"
	inspect(t, a, Present, "desired 0, running 0")
	do(t, a.Undo, 8, before.Previous)
	inspect(t, a, Absent, "desired 3")
}

// The autoscaler is told to rest before the count is changed, and is put back as it
// was; one that cannot be asked stops no stop.
func TestECSAutoscaler(t *testing.T) {
	f := &fakeECS{desired: 3, running: 3, tasks: map[string]string{}, target: &ecsScale{Min: 2, Max: 8, Scheduled: true}}
	stop, err := (&ECSServiceConfig{Cluster: "prod", Service: "workers"}).New(testDeps(t, f))
	if err != nil {
		t.Fatal(err)
	}
	before := inspect(t, stop, Absent, "desired 3")
	do(t, stop.Do, 7, before.Previous)
	if got := strings.Join(f.order, " "); got != "RegisterScalableTarget UpdateService" || *f.target != (ecsScale{Min: 0, Max: 8, In: true, Out: true, Scheduled: true}) {
		t.Errorf("%s, target %s", got, f.target)
	}
	f.running = 0
	inspect(t, stop, Present, "")
	f.target.Out, f.target.Min = false, 1 // somebody woke it
	stillEnds(t, stop, false, "its autoscaler would start it again: min 1")
	do(t, stop.Undo, 8, before.Previous)
	if now := inspect(t, stop, Absent, "desired 3"); *f.target != (ecsScale{Min: 2, Max: 8, Scheduled: true}) || !stop.(Restorer).Restored(now, before.Previous) {
		t.Errorf("undone, the target is %s", f.target)
	}
	f.scalerDown = true
	do(t, stop.Do, 9, inspect(t, stop, Absent, "whether it has an autoscaler is not known").Previous)
	if f.desired != 0 {
		t.Error("not stopped because its autoscaler could not be asked")
	}
	// What was recorded cannot be read: that is said, and stops no stop.
	f.scalerDown, f.desired = false, 3
	var said []string
	err = stop.Do(t.Context(), Attempt{Token: 12, Previous: json.RawMessage(`{"desired":"many"}`), Progress: func(line string) { said = append(said, line) }})
	if err != nil || f.desired != 0 || !strings.Contains(strings.Join(said, "\n"), "cannot be read") {
		t.Errorf("%v, desired %d, said %q", err, f.desired, said)
	}
	// A start wakes it, with room for what is wanted.
	f.scalerDown, f.target = false, &ecsScale{Min: 0, Max: 2, In: true, Out: true, Scheduled: true}
	start, _ := (&ECSServiceConfig{Cluster: "prod", Service: "workers", Count: 4}).New(testDeps(t, f))
	before = inspect(t, start, Absent, "")
	do(t, start.Do, 10, before.Previous)
	if f.desired != 4 || *f.target != (ecsScale{Min: 4, Max: 4}) {
		t.Errorf("desired %d, target %s", f.desired, f.target)
	}
	do(t, start.Undo, 11, before.Previous)
	if f.desired != 0 || !f.target.Out {
		t.Errorf("undone: desired %d, target %s", f.desired, f.target)
	}
}

// What ECS says of a task on an instance that is cut off is what it heard last.
func TestECSDisconnectedInstance(t *testing.T) {
	f := &fakeECS{tasks: map[string]string{"arn:1": "DEACTIVATING"}, instances: map[string]string{"arn:1": "arn:i"}, cutOff: map[string]bool{"arn:i": true}}
	a, err := (&ECSServiceConfig{Cluster: "prod", Service: "workers"}).New(testDeps(t, f))
	if err != nil {
		t.Fatal(err)
	}
	inspect(t, a, Unknown, "container instance arn:i is not connected to ECS: task arn:1 runs on there")
	f.cutOff["arn:i"] = false
	inspect(t, a, Partial, "task arn:1 is DEACTIVATING")
}

func weight(n int) *int { return &n }

// zone has a plain weighted group, one of aliases with health checks, and their
// targets.
func zone() *fakeZone {
	alias := func(id string, w int) record {
		r := record{Name: "ws.example.net", Type: "A", SetID: "ws " + id, Weight: weight(w), Check: "hc-1"}
		r.Alias = &struct {
			Zone     string `xml:"HostedZoneId"`
			Name     string `xml:"DNSName"`
			Evaluate bool   `xml:"EvaluateTargetHealth"`
		}{"ZELB", "lb." + id + ".example.net", true}
		return r
	}
	return newZone(
		record{Name: "api.example.net", Type: "A", SetID: "us-east-1", Weight: weight(255), TTL: weight(60), Values: values("10.1.0.1", "10.1.0.2")},
		record{Name: "api.example.net", Type: "A", SetID: "us-east-2", Weight: weight(0), TTL: weight(60), Values: values("10.2.0.1")},
		alias("us-east-1", 255), alias("us-east-2", 0),
		record{Name: "lb.us-east-1.example.net", Type: "A", TTL: weight(60), Values: values("10.1.0.9")},
		record{Name: "lb.us-east-2.example.net", Type: "A", TTL: weight(60), Values: values("10.2.0.9")},
		record{Name: "ns1.example.net", Type: "A", TTL: weight(60), Values: values("127.0.0.1")},
	)
}

func weights(t *testing.T, z *fakeZone) *route53Weights {
	t.Helper()
	d := testDeps(t, z)
	server := z.serveDNS(t)
	d.Resolvers = []string{server}
	a, err := (&Route53WeightsConfig{Zone: "Z1", Names: []string{"api.example.net", "ws.example.net"}, Token: "_failoverd.example.net"}).New(d)
	if err != nil {
		t.Fatal(err)
	}
	w := a.(*route53Weights)
	w.dns.Port = server[strings.LastIndex(server, ":")+1:]
	return w
}

func TestWeights(t *testing.T) {
	z := zone()
	w := weights(t, z)
	before := inspect(t, w, Absent, "api.example.net A us-east-1 has 255, not 0")
	if before.Token != 0 {
		t.Errorf("a zone without a token shows token %d", before.Token)
	}
	z.hold = z.records // the name server is not there yet
	do(t, w.Do, 41, before.Previous)
	pending := inspect(t, w, Partial, "the records are right (change C1 is PENDING), but not every name server answers so: ns1.example.net")
	if pending.Token != 41 || z.batches != 1 {
		t.Errorf("token %d after %d batches", pending.Token, z.batches)
	}
	z.hold = nil
	after := inspect(t, w, Present, "send clients to us-east-2, and so do 8 answers")
	if alias := z.records["ws.example.net. A ws us-east-2"]; alias.Alias == nil || !alias.Alias.Evaluate || alias.Check != "hc-1" {
		t.Errorf("the alias was not kept whole: %s", alias.text())
	}
	// Done twice equals done once, with a new token.
	do(t, w.Do, 42, after.Previous)
	if e := inspect(t, w, Present, ""); e.Token != 42 {
		t.Errorf("the token is %d", e.Token)
	}
	// Undo puts the first attempt's values back and burns all tokens before it.
	do(t, w.Undo, 43, before.Previous)
	if e := inspect(t, w, Absent, "us-east-2 has 0, not 255"); e.Token != 43 {
		t.Errorf("undone, the token is %d", e.Token)
	}
}

// The name servers of a private zone answer nobody outside: it is said, and never taken for moved.
func TestAPrivateZoneProvesNothing(t *testing.T) {
	z := zone()
	z.private = true
	w := weights(t, z)
	before := inspect(t, w, Absent, "")
	do(t, w.Do, 41, before.Previous)
	inspect(t, w, Unknown, "zone Z1 is a private one")
}

func TestAStaleWriterChangesNothing(t *testing.T) {
	z := zone()
	w := weights(t, z)
	before := inspect(t, w, Absent, "")
	do(t, w.Do, 50, before.Previous)
	do(t, w.Undo, 51, before.Previous)
	// A batch of the first attempt, held up somewhere, arrives now.
	err := w.Do(t.Context(), Attempt{Token: 50, Epoch: 2, Previous: before.Previous, Deadline: time.Now().Add(time.Minute)})
	if !errors.Is(err, ErrStaleToken) {
		t.Errorf("the stale batch gives %v", err)
	}
	// So does one that names the current token but carries an older one.
	now := inspect(t, w, Absent, "")
	if err := w.Do(t.Context(), Attempt{Token: 49, Previous: now.Previous}); !errors.Is(err, ErrStaleToken) {
		t.Errorf("an older token gives %v", err)
	}
	inspect(t, w, Absent, "")
}

func TestALostReplyIsReadFromTheToken(t *testing.T) {
	z := zone()
	w := weights(t, z)
	before := inspect(t, w, Absent, "")
	z.loseReply = true
	if err := w.Do(t.Context(), Attempt{Token: 60, Previous: before.Previous}); err == nil {
		t.Fatal("the lost reply gives no error")
	}
	if e := inspect(t, w, Present, ""); e.Token != 60 {
		t.Errorf("the token is %d", e.Token)
	}
}

func TestWeightsRefuse(t *testing.T) {
	late := Attempt{Token: 70, Deadline: time.Now().Add(-time.Second)}
	z := zone()
	w := weights(t, z)
	late.Previous = inspect(t, w, Absent, "").Previous
	var deadline *cloud.EffectDeadlineError
	if err := w.Do(t.Context(), late); !errors.As(err, &deadline) || z.batches != 0 {
		t.Errorf("after its deadline Do gives %v and %d batches", err, z.batches)
	}
	z.records["_failoverd.example.net. TXT "] = record{Name: "_failoverd.example.net.", Type: "TXT", TTL: weight(60), Values: values(`"v=spf1 -all"`)}
	if _, err := w.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "is no token of failoverd") {
		t.Errorf("a foreign TXT record gives %v", err)
	}
	delete(z.records, "_failoverd.example.net. TXT ")
	delete(z.records, "api.example.net. A us-east-2")
	if _, err := w.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "no weighted record for us-east-2") {
		t.Errorf("a missing record gives %v", err)
	}
}

func TestExec(t *testing.T) {
	dir := t.TempDir()
	mark := filepath.Join(dir, "mark")
	script := func(name, body string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c := &ExecConfig{
		Command: script("do", `echo "$FAILOVERD_REGION $FAILOVERD_TOKEN $1 $EXTRA" > `+mark), Args: []string{"now"},
		Inspect: []string{script("look", "test -e "+mark)}, Undo: []string{script("undo", "rm "+mark)}, Env: map[string]string{"EXTRA": "more"},
	}
	if err := c.Validate(RoleStart); err != nil {
		t.Fatal(err)
	}
	a, err := c.New(Deps{Region: "us-east-2", Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	inspect(t, a, Absent, "absent")
	do(t, a.Do, 9, nil)
	inspect(t, a, Present, "present")
	if b, _ := os.ReadFile(mark); string(b) != "us-east-2 9 now more\n" {
		t.Errorf("the command saw %q", b)
	}
	do(t, a.Undo, 10, nil)
	inspect(t, a, Absent, "")
	broken := &execAction{cfg: &ExecConfig{Command: script("broken", "echo no such thing >&2; exit 7"), Inspect: []string{script("odd", "exit 3")}}}
	if err := broken.Do(t.Context(), Attempt{}); err == nil || !strings.Contains(err.Error(), "exit status 7; it said: no such thing") {
		t.Errorf("a failing command gives %v", err)
	}
	if _, err := broken.Inspect(t.Context()); err == nil {
		t.Error("an odd exit status is taken for an answer")
	}
	// The whole group dies with the context.
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	hanging := &execAction{cfg: &ExecConfig{Command: script("hang", "sleep 60 & wait")}}
	begin := time.Now()
	if err := hanging.Do(ctx, Attempt{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 5*time.Second {
		t.Errorf("a hanging command gives %v after %s", err, time.Since(begin))
	}
}

func TestBuild(t *testing.T) {
	d := testDeps(t, &fakeECS{})
	for _, tt := range []struct {
		kind    string
		version int
		params  string
		want    string
	}{
		{"ecs_service", 1, `{"cluster":"prod","service":"api","count":2}`, ""},
		{"approval", 1, `{"message":"look"}`, ""},
		{"ecs_service", 1, `{"cluster":"prod","servce":"api"}`, `unknown field "servce"`},
		{"ecs_service", 2, `{}`, `action kind "ecs_service" version 2 is unknown to this node, which has version 1`},
		{"warp", 1, `{}`, `action kind "warp" is unknown to this node; the kinds are ecs_service, `},
		{"route53_weights", 1, `{"zone":"Z","names":["a"],"token":"a"}`, `token: "a" is also a name that clients use`},
	} {
		_, err := Build(tt.kind, tt.version, json.RawMessage(tt.params), d)
		if (tt.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s %s: got %v, want %q", tt.kind, tt.params, err, tt.want)
		}
	}
}

// Weights that are all zero make Route 53 answer with every record: clients in
// both regions. Neither a move nor its undo may leave them so.
func TestClientsAreNeverSentEverywhere(t *testing.T) {
	z := zone()
	w := weights(t, z)
	api := z.records["api.example.net. A us-east-1"]
	api.Weight = weight(0)
	z.records["api.example.net. A us-east-1"] = api
	before := inspect(t, w, Partial, "api.example.net A us-east-2 has 0")
	if err := w.Undo(t.Context(), Attempt{Token: 9, Previous: before.Previous}); err == nil || z.batches != 0 {
		t.Errorf("an undo to all weights zero gives %v after %d batches", err, z.batches)
	}
	do(t, w.Do, 10, before.Previous)
	sum := map[string]int{}
	for _, r := range z.records {
		if r.Weight != nil {
			sum[r.Name+r.Type] += *r.Weight
		}
	}
	for name, total := range sum {
		if total == 0 {
			t.Errorf("%s sends clients everywhere", name)
		}
	}
}

// A selector that names nothing selects nothing, and no action is made of it.
func TestEmptySelector(t *testing.T) {
	f := &fakeECS{desired: 3, running: 3}
	d := testDeps(t, f)
	for _, c := range []struct{ kind, params string }{
		{"ecs_service", `{"cluster":"prod","service":"","count":0}`},
		{"ecs_service", `{"cluster":"","service":"workers","count":0}`},
		{"route53_weights", `{"zone":"Z1","names":[],"token":"t.example.net"}`},
		{"route53_weights", `{"zone":"Z1","names":[""],"token":"t.example.net"}`},
	} {
		a, err := Build(c.kind, 1, json.RawMessage(c.params), d)
		if err == nil {
			err = a.Do(t.Context(), Attempt{Token: 1, Previous: json.RawMessage(`{"desired":3}`), Deadline: time.Now().Add(time.Minute)})
			t.Errorf("%s %s is an action: %v, desired %d", c.kind, c.params, err, f.desired)
		}
	}
}

// Every kind can say how its change is made by hand.
func TestEveryKindHasItsCommands(t *testing.T) {
	for f := range reflect.TypeFor[Kinds]().Fields() {
		if _, ok := reflect.New(f.Type.Elem()).Interface().(byHand); !ok {
			t.Errorf("%s has no commands for the runbook", f.Tag.Get("toml"))
		}
	}
}
