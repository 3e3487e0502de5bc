package plan_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

var update = flag.Bool("update", false, "write what came out into the testdata files")

const (
	east1 = failover.Region("us-east-1")
	east2 = failover.Region("us-east-2")
)

func act(kind string) *failover.ActionSpec {
	p := json.RawMessage(`{}`)
	return &failover.ActionSpec{Kind: kind, Version: 1, Params: map[failover.Region]json.RawMessage{east1: p, east2: p}}
}

// service has a component of every shape: in an order that is not the one that
// they start in.
func service() *failover.Settings {
	approval := act("approval")
	approval.Approval, approval.Timeout, approval.OnError = true, failover.Duration(time.Hour), "continue"
	return &failover.Settings{
		Primary: east1, Secondary: east2,
		Components: []failover.ComponentSpec{
			{
				Name: "workers", After: []failover.Component{"mongo", "api"}, Agent: true, Arming: failover.ArmEnforced, OnIsolation: "stop",
				Stop:  &failover.StopSpec{Action: act("ecs_service"), Proof: []failover.EvidenceClass{failover.Confirmed, failover.Lease}},
				Start: act("ecs_service"), Checks: []failover.ActionSpec{*act("sqs_backlog")},
			},
			{Name: "api", Start: act("ecs_service"), After: []failover.Component{"network"}},
			// Neither stopped nor started: it passes its dependencies on.
			{Name: "network", After: []failover.Component{"mongo"}},
			{Name: "mongo", Start: act("mongo_reconfig")},
			// Stopped by its agents alone.
			{
				Name: "cron", Agent: true, Arming: failover.ArmEnforced, OnIsolation: "stop",
				Stop: &failover.StopSpec{Proof: []failover.EvidenceClass{failover.Lease}},
			},
		},
		Traffic: failover.TrafficSpec{
			Switch: []failover.ActionSpec{*approval, *act("route53_weights")}, After: []failover.Component{"api", "network"},
			Checks: []failover.ActionSpec{*act("http")},
		},
	}
}

func TestDeriveAndRender(t *testing.T) {
	p, err := plan.Derive(service(), east1)
	if err != nil {
		t.Fatal(err)
	}
	got := plan.Render(&p, map[failover.StepID][]string{"start-api": {"the API in us-east-2"}})
	const file = "testdata/render.golden"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the plan differs from %s; it is\n%s", file, got)
	}
	// The order of the steps is one in which they could run.
	seen := map[failover.StepID]bool{}
	for _, st := range p.Steps {
		for _, dep := range st.After {
			if !seen[dep] {
				t.Errorf("%s comes before %s, which it waits for", st.ID, dep)
			}
		}
		if (st.Kind == failover.KindStart || st.Kind == failover.KindSwitch) && !after(&p, st, plan.FenceID) {
			t.Errorf("%s does not wait for the fence (S1, S3)", st.ID)
		}
		seen[st.ID] = true
	}
	if st := p.Step("switch-approval"); st.Timeout.D() != time.Hour || st.OnError != "continue" || !st.Approval {
		t.Errorf("what the component says about its step is lost: %+v", st)
	}
	if st := p.Step("stop-workers"); st.Region != east1 || st.Timeout.D() != 30*time.Second || st.OnError != "halt" {
		t.Errorf("%+v", st)
	}
}

// after reports whether st waits for id, directly or through others.
func after(p *failover.Plan, st failover.Step, id failover.StepID) bool {
	for _, dep := range st.After {
		if dep == id || after(p, *p.Step(dep), id) {
			return true
		}
	}
	return false
}

// The same components in any order give the same plan: it is frozen by its hash.
func TestDeriveIsIndependentOfOrder(t *testing.T) {
	a, _ := plan.Derive(service(), east1)
	s := service()
	slices.Reverse(s.Components)
	b, _ := plan.Derive(s, east1)
	if a.Hash() != b.Hash() {
		t.Errorf("plans %s and %s", a.Hash(), b.Hash())
	}
	back, err := plan.Derive(service(), east2)
	if err != nil || back.From != east2 || back.To != east1 || back.Hash() == a.Hash() {
		t.Errorf("the way back: %s → %s, %v", back.From, back.To, err)
	}
}

// A service of which nothing is started and nothing switched is only fenced.
func TestDeriveFenceOnly(t *testing.T) {
	s := &failover.Settings{Primary: east1, Secondary: east2, Components: []failover.ComponentSpec{{Name: "a", Checks: []failover.ActionSpec{*act("http")}}}}
	p, err := plan.Derive(s, east1)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, st := range p.Steps {
		ids = append(ids, string(st.ID))
	}
	if got := strings.Join(ids, " "); got != "freeze fence check-a-http stable" || !slices.Equal(p.Step("check-a-http").After, []failover.StepID{"fence"}) {
		t.Errorf("%s", got)
	}
}

func TestDeriveErrors(t *testing.T) {
	noParams := func(a *failover.ActionSpec, r failover.Region) { delete(a.Params, r) }
	for _, c := range []struct {
		name, want string
		from       failover.Region
		change     func(*failover.Settings)
	}{
		{"region", "no plan leaves gru: the service runs in us-east-1 and us-east-2", "gru", func(*failover.Settings) {}},
		{"unknown component", `component "mongo" comes after "nothing", which does not exist`, east1, func(s *failover.Settings) {
			s.Components[3].After = []failover.Component{"nothing"}
		}},
		{"cycle", "components wait for each other: api → network → mongo → workers → api", east1, func(s *failover.Settings) {
			s.Components[0].After = []failover.Component{"api"}
			s.Components[3].After = []failover.Component{"workers"}
		}},
		{"itself", "components wait for each other: mongo → mongo", east1, func(s *failover.Settings) {
			s.Components[3].After = []failover.Component{"mongo"}
		}},
		{"traffic", `traffic waits for component "nothing", which does not exist`, east1, func(s *failover.Settings) {
			s.Traffic.After = []failover.Component{"nothing"}
		}},
		{"stop", "step stop-workers: ecs_service has no parameters for us-east-1", east1, func(s *failover.Settings) { noParams(s.Components[0].Stop.Action, east1) }},
		{"start", "step start-workers: ecs_service has no parameters for us-east-2", east1, func(s *failover.Settings) { noParams(s.Components[0].Start, east2) }},
		{"switch", "step switch-route53_weights: route53_weights has no parameters for us-east-2", east1, func(s *failover.Settings) { noParams(&s.Traffic.Switch[1], east2) }},
		{"check", "step check-workers-sqs_backlog: sqs_backlog has no parameters for us-east-2", east1, func(s *failover.Settings) { noParams(&s.Components[0].Checks[0], east2) }},
		{"traffic check", "step check-traffic-http: http has no parameters for us-east-2", east1, func(s *failover.Settings) { noParams(&s.Traffic.Checks[0], east2) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := service()
			c.change(s)
			_, err := plan.Derive(s, c.from)
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			var cycle *plan.CycleError
			if errors.As(err, &cycle) != strings.Contains(c.want, "wait for each other") {
				t.Errorf("%T", err)
			}
		})
	}
}

// The autonomy line says how far the plan runs in the worst night, and why no
// farther.
func TestAutonomy(t *testing.T) {
	const dark = "autonomy: with us-east-1 dark and its control plane dead, runs unattended "
	for _, c := range []struct {
		name, want string
		change     func(*failover.Settings)
	}{
		{"approval", "up to step switch-approval, then waits for an approval", func(*failover.Settings) {}},
		{"to the end", "to the end", func(s *failover.Settings) { s.Traffic.Switch = s.Traffic.Switch[1:] }},
		{"API only", "up to step fence, then waits for a person because: workers (API only, it runs under no lease)", func(s *failover.Settings) { s.Components[0].Agent = false }},
		{"arming", "up to step fence, then waits for a person because: workers (its arming is advisory)", func(s *failover.Settings) { s.Components[0].Arming = failover.ArmAdvisory }},
		{"keep", "up to step fence, then waits for a person because: workers (on_isolation is keep)", func(s *failover.Settings) { s.Components[0].OnIsolation = "keep" }},
		{"proof", "up to step fence, then waits for a person because: workers (its proof does not accept lease expiry)", func(s *failover.Settings) {
			s.Components[0].Stop.Proof = []failover.EvidenceClass{failover.Confirmed}
		}},
	} {
		s := service()
		c.change(s)
		p, err := plan.Derive(s, east1)
		if err != nil {
			t.Fatal(err)
		}
		if got := plan.Autonomy(&p); got != dark+c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, dark+c.want)
		}
	}
}

// Several switches are tried side by side, after a person has been asked; checks
// need one of them, the end one that outlives the nodes.
func TestSeveralSwitches(t *testing.T) {
	s := service()
	gate, object := act("gate"), act("s3_object")
	object.Latched, object.Tokens = true, true
	weights := s.Traffic.Switch[1]
	weights.Latched, weights.Tokens = true, true
	s.Traffic.Switch = []failover.ActionSpec{*gate, *object, weights, s.Traffic.Switch[0]}
	p, err := plan.Derive(s, east1)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []failover.StepID{"switch-gate", "switch-s3_object", "switch-route53_weights"} {
		if st := p.Step(id); !slices.Equal(st.After, []failover.StepID{"switch-approval"}) || len(st.AfterOne) > 0 {
			t.Errorf("%s waits for %v and one of %v", id, st.After, st.AfterOne)
		}
	}
	if st := p.Step("check-traffic-http"); len(st.AfterOne) != 3 || slices.Contains(st.After, "switch-gate") || !slices.Contains(st.After, "switch-approval") {
		t.Errorf("a check waits for %v and one of %v", st.After, st.AfterOne)
	}
	if st := p.Step(plan.StableID); !slices.Equal(st.AfterOne, []failover.StepID{"switch-s3_object", "switch-route53_weights"}) || slices.Contains(st.After, "switch-gate") {
		t.Errorf("the end waits for %v and one of %v", st.After, st.AfterOne)
	}
}

// What a stop leaves in a region is lifted when the region is entered: after the fence, before anything starts there or
// is sent there, and never in a preparation.
func TestOpenings(t *testing.T) {
	s := service()
	fence := act("nacl")
	fence.Proves, fence.Opens = failover.Resource, map[failover.Region]json.RawMessage{east1: json.RawMessage(`{"opens":1}`), east2: json.RawMessage(`{"opens":2}`)}
	s.Components[0].Stop.Also = []failover.ActionSpec{*fence}
	s.Components[1].Start.Prepare = true // the API
	s.Traffic.After = nil
	for from, want := range map[failover.Region]string{east1: `{"opens":2}`, east2: `{"opens":1}`} {
		p, err := plan.Derive(s, from)
		if err != nil {
			t.Fatal(err)
		}
		open := p.Step("open-workers-nacl")
		if open == nil || open.Region != s.Other(from) || string(open.Params) != want || open.Kind != failover.KindStart || open.Proves != "" || open.Prepare || !slices.Equal(open.After, []failover.StepID{plan.FenceID}) {
			t.Fatalf("leaving %s: %+v", from, open)
		}
		for _, st := range p.Steps {
			enters := st.Kind == failover.KindStart || st.Kind == failover.KindSwitch && st.Action == "approval" // the other switches wait for that
			if enters && st.ID != open.ID && !slices.Contains(st.After, open.ID) {
				t.Errorf("leaving %s: %s waits for %v", from, st.ID, st.After)
			}
		}
		if end := p.Step(plan.StableID); !slices.Contains(end.After, open.ID) {
			t.Errorf("leaving %s: the end waits for %v", from, end.After)
		}
		prepared := plan.Preparation(&p)
		if prepared.Step("start-api") == nil || prepared.Step(open.ID) != nil {
			t.Errorf("leaving %s: a preparation has %+v", from, prepared.Steps)
		}
	}
}

// S1, E1: what has a lease works as soon as the epoch gives it one. Behind a start that is not prepared it is none either, or it would
// work on what is not there yet; without a lease it waits for its step.
func TestWhatHasALeaseIsNotPreparedBehindWhatIsNot(t *testing.T) {
	prepared := func(kind string, is bool) *failover.ActionSpec {
		a := act(kind)
		a.Prepare = is
		return a
	}
	for _, tt := range []struct {
		name         string
		agent, first bool
		want         bool
	}{
		{"leased, behind one that is not prepared", true, false, false},
		{"leased, behind one that is", true, true, true},
		{"without a lease", false, false, true},
	} {
		for _, between := range []*failover.ActionSpec{nil, prepared("ecs_service", true)} { // what stands between has no lease, and is prepared or passes it on
			s := service()
			s.Components = []failover.ComponentSpec{
				{Name: "data", Start: prepared("mariadb_restore", tt.first)},
				{Name: "network", After: []failover.Component{"data"}, Start: between},
				{Name: "workers", After: []failover.Component{"network"}, Agent: tt.agent, Start: prepared("ecs_service", true)},
			}
			s.Traffic.After = []failover.Component{"workers"}
			p, err := plan.Derive(s, east1)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Step("start-workers").Prepare; got != tt.want {
				t.Errorf("%s (between: %t): prepared %t, want %t", tt.name, between != nil, got, tt.want)
			}
			if n := p.Step("start-network"); n != nil && !n.Prepare {
				t.Errorf("%s: what has no lease is not prepared", tt.name)
			}
		}
	}
}

// A promotion is looked after; the same words for a stop mean nothing.
func TestOnlyAStartStands(t *testing.T) {
	s := service()
	for i := range s.Components {
		for _, a := range []*failover.ActionSpec{s.Components[i].Start} {
			if a != nil {
				a.Stands = true
			}
		}
		if stop := s.Components[i].Stop; stop != nil && stop.Action != nil {
			stop.Action.Stands = true
		}
	}
	p, err := plan.Derive(s, east1)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range p.Steps {
		if st.Stands != (st.Kind == failover.KindStart) {
			t.Errorf("%s (%s) stands: %t", st.ID, st.Kind, st.Stands)
		}
	}
}
