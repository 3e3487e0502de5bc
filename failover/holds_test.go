package failover_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// left is a cluster whose active region is the second one.
func left(t *testing.T) (*cluster, failover.StandingHold) {
	t.Helper()
	c, exec := current(t).opened()
	freeze := c.frozen(exec)
	tok := c.start(plan.FenceID)
	c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze})
	c.must(failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: freeze})
	c.finish(plan.FenceID, tok, failover.StepDone)
	if len(c.s.Holds) != 1 {
		t.Fatalf("%d standing holds", len(c.s.Holds))
	}
	return c, c.s.Holds[0]
}

// What the evidence showed when a region was left is known when it is entered again: that the processes ended, or only
// that they were cut off.
func TestHoldsKnowWhetherItHasEnded(t *testing.T) {
	for _, tt := range []struct {
		class failover.EvidenceClass
		proof []failover.EvidenceClass
		want  bool
	}{
		{failover.Confirmed, []failover.EvidenceClass{failover.Confirmed}, true},
		{failover.Resource, []failover.EvidenceClass{failover.Confirmed, failover.Resource}, false},
	} {
		c, exec := current(t).opened()
		c.s.Execution.Plan.Fenced[0].Proof = tt.proof
		freeze := c.frozen(exec)
		c.start(plan.FenceID)
		c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: tt.class, Epoch: 1, Freeze: freeze})
		c.must(failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: freeze})
		if h := c.s.Holds[0]; h.Ended != tt.want {
			t.Errorf("left by %s: %+v", tt.class, h)
		}
	}
}

// S8: what is being stopped again in a region is not stopped in the active one.
func TestNoEpochWhileAHoldIsApplied(t *testing.T) {
	c, exec := current(t).opened()
	freeze := c.frozen(exec)
	c.start(plan.FenceID)
	c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze})
	c.s.Holds = []failover.StandingHold{{
		ID: 7, Component: "workers", Step: failover.Step{Kind: failover.KindStop, Region: east2}, Running: &failover.AttemptRecord{Number: 1, Until: c.now.Add(10 * time.Second)},
	}}
	next := failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: freeze}
	c.refused("in-flight", next)
	c.now = c.now.Add(10 * time.Second)
	c.refused("in-flight", next) // what was signed in time is accepted for five minutes more
	c.now = c.now.Add(5 * time.Minute)
	c.must(next)
}

func TestStandingHold(t *testing.T) {
	c, h := left(t)
	if h.Component != "workers" || h.Step.Region != east1 || h.Status != failover.HoldUnseen {
		t.Fatalf("%+v", h)
	}
	start := failover.ReapplyStarted{Hold: h.ID, Epoch: 2, Until: c.now.Add(10 * time.Second)}
	stale := start
	stale.Epoch = 1
	c.refused("epoch", stale)
	c.refused("hold", failover.ReapplyStarted{Hold: 1, Epoch: 2})
	c.refused("hold", failover.NoteHold{Hold: 1, Status: failover.HoldKept})
	c.refused("status", failover.NoteHold{Hold: h.ID, Status: "fine"})
	c.must(failover.NoteHold{Hold: h.ID, Status: failover.HoldViolated, Detail: "3 tasks run"})
	tok := c.must(start).Index
	c.refused("in-flight", start)
	c.refused("in-flight", failover.ReleaseHold{Component: "workers"})
	c.refused("token", failover.ReapplyFinished{Hold: h.ID, Token: tok + 1, Outcome: failover.StepDone})
	c.refused("outcome", failover.ReapplyFinished{Hold: h.ID, Token: tok, Outcome: failover.StepUndone})
	c.must(failover.ReapplyFinished{Hold: h.ID, Token: tok, Outcome: failover.StepDone, Detail: "stopped"})
	c.must(failover.ReleaseHold{Component: "workers"})
	c.refused("hold", failover.ReleaseHold{Component: "workers"})
}

// S1: what was only cut off in a region may run on behind the fence. Its network is not opened until something else has
// shown that it has ended, or a person says so.
func TestWhatIsOnlyCutOffIsNotLetLoose(t *testing.T) {
	c := current(t)
	objects := func() bool {
		t.Helper()
		guard, why := c.s.AutoGuard(c.now)
		if hand, _ := c.s.HandGuard(c.now, failover.Failover, nil); hand != guard {
			t.Errorf("to a person the guard %q objects, to automation %q", hand, guard)
		}
		if guard != "" && (guard != failover.GuardFenced || !strings.Contains(why, "workers is cut off in us-east-2 by nacl") || !strings.Contains(why, "`failoverd ended workers --why …`")) {
			t.Errorf("guard %q: %s", guard, why)
		}
		if hand, why := c.s.HandGuard(c.now, failover.Failover, []string{failover.GuardFenced}); hand != "" {
			t.Errorf("in spite of it: %q: %s", hand, why)
		}
		return guard != ""
	}
	opens := map[failover.Region]json.RawMessage{east2: json.RawMessage("{}")}
	part := c.s.Settings.Component("workers")
	part.Stop.Also = []failover.ActionSpec{{Kind: "nacl", Proves: failover.Resource, Opens: opens}}
	hold := func(id uint64, kind string, region failover.Region, proves failover.EvidenceClass, status failover.HoldStatus) failover.StandingHold {
		return failover.StandingHold{ID: id, Component: "workers", Status: status, Step: failover.Step{Kind: failover.KindStop, Action: kind, Region: region, Proves: proves}}
	}
	ended := func(h failover.StandingHold) failover.StandingHold { h.Ended = true; return h }
	for _, tt := range []struct {
		name  string
		holds []failover.StandingHold
		want  bool
	}{
		{"never left", nil, false},
		{"cut off alone", []failover.StandingHold{hold(1, "nacl", east2, failover.Resource, failover.HoldKept)}, true},
		{"cut off, as it seems", []failover.StandingHold{hold(1, "nacl", east2, failover.Resource, failover.HoldUnseen)}, true},
		{"stopped as well", []failover.StandingHold{hold(1, "nacl", east2, failover.Resource, failover.HoldKept), hold(2, "ecs_service", east2, "", failover.HoldKept)}, false},
		{"stopped as well, which nobody has seen", []failover.StandingHold{hold(1, "nacl", east2, failover.Resource, failover.HoldKept), hold(2, "ecs_service", east2, "", failover.HoldUnseen)}, true},
		{"running again", []failover.StandingHold{hold(1, "nacl", east2, failover.Resource, failover.HoldKept), hold(2, "ecs_service", east2, "", failover.HoldViolated)}, true},
		{"stopped elsewhere", []failover.StandingHold{hold(1, "nacl", east2, failover.Resource, failover.HoldKept), hold(2, "ecs_service", east1, "", failover.HoldKept)}, true},
		{"two fences", []failover.StandingHold{hold(1, "nacl", east2, failover.Resource, failover.HoldKept), hold(2, "exec", east2, failover.Resource, failover.HoldKept)}, true},
		{"shown to have ended when it was left", []failover.StandingHold{ended(hold(1, "nacl", east2, failover.Resource, failover.HoldUnseen))}, false},
		{"cut off where we are", []failover.StandingHold{hold(1, "nacl", east1, failover.Resource, failover.HoldKept)}, false},
		{"by something that the plan does not lift", []failover.StandingHold{hold(1, "exec", east2, failover.Resource, failover.HoldKept)}, false},
	} {
		if c.s.Holds = tt.holds; objects() != tt.want {
			t.Errorf("%s: objects: %t", tt.name, !tt.want)
		}
	}
	// A stop whose word does not count for the component does not show that it has ended.
	both := []failover.StandingHold{hold(1, "nacl", east2, failover.Resource, failover.HoldKept), hold(2, "ecs_service", east2, "", failover.HoldKept)}
	proof := part.Stop.Proof
	if c.s.Holds, part.Stop.Proof = both, []failover.EvidenceClass{failover.Lease, failover.Resource}; !objects() {
		t.Error("a stop that proves nothing here shows that it has ended")
	}
	part.Stop.Proof = proof
	// What was cut off under another name is opened all the same.
	part.Name = "queue-workers"
	if c.s.Holds = both[:1]; !objects() {
		t.Error("nobody minds what was cut off under a name that it has no more")
	}
	part.Name = "workers"
	// While a member may be of a version that knows no such guard, nobody is: all have to agree on what is refused.
	c.s.Holds, c.s.Features = []failover.StandingHold{hold(1, "nacl", east2, failover.Resource, failover.HoldKept)}, 2
	if objects() {
		t.Error("it objects below its feature level")
	}
	c.s.Features = failover.Features
	if part.Stop.Also = nil; failover.LevelOf(failover.ProposeSettings{Settings: *c.s.Settings}) != 2 {
		t.Error("every configuration is of the newest level")
	}
	part.Stop.Also = []failover.ActionSpec{{Kind: "nacl", Proves: failover.Resource, Opens: opens}}
	if failover.LevelOf(failover.ProposeSettings{Settings: *c.s.Settings}) != 3 {
		t.Error("a member of an older version could be told to open something")
	}
	// A person who has seen the end of it says so, and it stays held.
	c.s.Holds = slices.Clone(both[:1])
	said := failover.ReleaseHold{Component: "workers", Ended: true}
	if failover.LevelOf(said) != 3 || failover.LevelOf(failover.ReleaseHold{Component: "workers"}) != 2 {
		t.Error("a member of an older version would take that word for another one")
	}
	c.must(said)
	if text := c.s.Events[len(c.s.Events)-1].Text; objects() || len(c.s.Holds) != 1 || !c.s.Holds[0].Ended || !strings.Contains(text, "it stays cut off") {
		t.Errorf("ended: %s, %+v", text, c.s.Holds)
	}
	c.refused("hold", said)
	// Until something of it is seen running again.
	c.s.Holds = append(c.s.Holds, hold(2, "ecs_service", east2, "", failover.HoldUnseen))
	c.must(failover.NoteHold{Hold: 2, Status: failover.HoldKept})
	if objects() {
		t.Error("what was seen stopped")
	}
	c.must(failover.NoteHold{Hold: 2, Status: failover.HoldViolated, Detail: "3 tasks run"})
	if !objects() {
		t.Error("what runs again counts as ended, since it had once")
	}
	c.refused("hold", said) // nor is anybody believed who says so
	c.must(failover.ReleaseHold{Component: "workers"})
	if text := c.s.Events[len(c.s.Events)-1].Text; len(c.s.Holds) != 0 || !strings.Contains(text, "what was only cut off there works again when the network is opened") {
		t.Errorf("released: %s", text)
	}
	if !slices.Contains(failover.Overridable(), failover.GuardFenced) {
		t.Error("a person cannot say that it has ended")
	}
}

// P4: what keeps coming back is not stopped for ever without a person.
func TestStandingHoldIsLimited(t *testing.T) {
	c, h := left(t)
	apply := func() failover.ReapplyStarted {
		return failover.ReapplyStarted{Hold: h.ID, Epoch: 2, Until: c.now.Add(time.Second)}
	}
	for range failover.ReapplyPerHour {
		tok := c.must(apply()).Index
		c.must(failover.ReapplyFinished{Hold: h.ID, Token: tok, Outcome: failover.StepDone})
		c.now = c.now.Add(time.Minute)
	}
	c.refused("rate", apply())
	c.now = c.now.Add(time.Hour)
	c.must(apply())
}

// Learned times flag a step, and give a new estimate.
func TestUsualTimes(t *testing.T) {
	s := failover.NewState()
	s.Durations = map[failover.StepID][]failover.Duration{"start-api": nil}
	for i := range 20 {
		s.Durations["start-api"] = append(s.Durations["start-api"], failover.Duration(time.Duration(i+1)*time.Second))
	}
	if p95, n := s.Usual("start-api"); p95 != dur("19s") || n != 20 {
		t.Errorf("p95 %s of %d", p95, n)
	}
	if p95, n := s.Usual("other"); p95 != 0 || n != 0 {
		t.Errorf("p95 %s of %d", p95, n)
	}
	st := failover.Step{ID: "start-api", Timeout: dur("5m")}
	if got := s.Remaining(st, dur("12s")); got != dur("8s") {
		t.Errorf("remaining %s", got)
	}
	if got := s.Remaining(st, dur("1m")); got != dur("4m") {
		t.Errorf("remaining %s", got)
	}
	c, exec := current(t).opened()
	tok := c.start(plan.FreezeID)
	c.refused("state", failover.NoteStuck{Execution: exec, Step: plan.FreezeID, Token: tok + 1, Text: "stuck?"})
	c.must(failover.NoteStuck{Execution: exec, Step: plan.FreezeID, Token: tok, Text: "stuck?"})
	c.now = c.now.Add(7 * time.Second)
	c.finish(plan.FreezeID, tok, failover.StepDone)
	if p95, n := c.s.Usual(plan.FreezeID); p95 != dur("7s") || n != 1 {
		t.Errorf("learned p95 %s of %d", p95, n)
	}
}

// Every condition has its row, and no row is without words.
func TestConditionsTable(t *testing.T) {
	for _, i := range failover.Conditions {
		if i.Meaning == "" || i.Needs == "" || i.Allows == "" || i.Code.Info() != i {
			t.Errorf("%+v", i)
		}
		if moves := strings.Contains(i.Allows, "failover"); moves != (i.Code == failover.RegionDown) {
			t.Errorf("%s allows %q: only region-down moves a region", i.Code, i.Allows)
		}
	}
	if failover.Condition("mars").Meaning() != "" {
		t.Error("an unknown condition means something")
	}
}

// The newest sample counts from when the region went dark, also when a vantage
// could not look for a while and the hold began anew: one more hold is allowed
// for. It does not count when the region was seen alive since, from outside or
// within, or when it was dark for longer: it may be cut off and written to.
func TestLossCountsFromTheFailure(t *testing.T) {
	for name, tc := range map[string]struct {
		between failover.NoteSuspicion
		lasts   time.Duration
		guard   string
	}{
		"a vantage is blind for a while": {failover.NoteSuspicion{Region: east1, Condition: failover.NoAutonomy}, 30 * time.Second, ""},
		"a node has no opinion":          {failover.NoteSuspicion{Region: east1, Condition: failover.Disagreement}, 30 * time.Second, ""},
		"seen alive in between":          {failover.NoteSuspicion{Region: east1, Condition: failover.Disagreement, Alive: true}, 30 * time.Second, failover.GuardLoss},
		"seen alive from within":         {failover.NoteSuspicion{Region: east1, Condition: failover.Partitioned}, 30 * time.Second, failover.GuardLoss},
		"blind for an hour":              {failover.NoteSuspicion{Region: east1, Condition: failover.NoAutonomy}, time.Hour, failover.GuardLoss},
	} {
		c := current(t)
		s := settings()
		s.Policy.MaxLoss = map[string]failover.Duration{"mongo": dur("60s")}
		c.must(failover.Configure{Settings: s, Hash: "h2"})
		c.must(failover.RecordLoss{Samples: map[string]failover.LossSample{"mongo": {Behind: dur("1s")}}})
		c.now = c.now.Add(10 * time.Second)
		c.must(failover.NoteSuspicion{Region: east1, Condition: failover.RegionDown})
		c.now = c.now.Add(2 * time.Minute)
		c.must(tc.between)
		c.now = c.now.Add(tc.lasts)
		c.must(failover.NoteSuspicion{Region: east1, Condition: failover.RegionDown})
		c.now = c.now.Add(91 * time.Second)
		c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")})
		if guard, reason := c.s.AutoGuard(c.now); guard != tc.guard {
			t.Errorf("%s: guard %q (%s), want %q", name, guard, reason, tc.guard)
		}
	}
}

// severalSwitches is an execution with a gate, an object and a record, past its
// starts.
func severalSwitches(t *testing.T) (*cluster, *failover.Execution) {
	t.Helper()
	e := &failover.Execution{ID: 1, State: failover.ExecRunning, From: east1, To: east2, Epoch: 1, Steps: map[failover.StepID]*failover.StepRecord{}, Plan: &failover.Plan{From: east1, To: east2, Steps: []failover.Step{
		{ID: "gate", Kind: failover.KindSwitch, Action: "gate", Region: east2},
		{ID: "object", Kind: failover.KindSwitch, Action: "s3_object", Region: east2, Tokens: true, Latched: true},
		{ID: "record", Kind: failover.KindSwitch, Action: "route53_weights", Region: east2, Tokens: true, Latched: true},
		{ID: "look", Kind: failover.KindCheck, Action: "http", AfterOne: []failover.StepID{"gate", "object", "record"}},
		{ID: "stable", Kind: failover.KindStable, After: []failover.StepID{"look"}, AfterOne: []failover.StepID{"object", "record"}},
	}}}
	c := current(t)
	c.s.Execution, c.s.Active, c.s.Epoch = e, east2, 2
	return c, e
}

func as(state failover.StepState) *failover.StepRecord {
	return &failover.StepRecord{State: state, Attempts: []failover.AttemptRecord{{Token: 7, Outcome: state}}}
}

// Of several ways to the same end one must have been gone; one that was not seen
// to take effect is none.
func TestReached(t *testing.T) {
	_, e := severalSwitches(t)
	look, stable := *e.Plan.Step("look"), *e.Plan.Step("stable")
	if e.WaitsFor(look) != "gate" || e.WaitsFor(stable) != "look" {
		t.Errorf("they wait for %q and %q", e.WaitsFor(look), e.WaitsFor(stable))
	}
	e.Steps["record"] = as(failover.StepUnproven)
	if e.WaitsFor(look) != "gate" {
		t.Error("a switch that was not seen to take effect lets the check begin")
	}
	e.Steps["gate"], e.Steps["look"] = as(failover.StepDone), as(failover.StepDone)
	if e.WaitsFor(look) != "" || e.WaitsFor(stable) != "object" || !e.Moved("object") || e.Moved("gate") {
		t.Errorf("they wait for %q and %q", e.WaitsFor(look), e.WaitsFor(stable))
	}
	e.Steps["object"] = as(failover.StepSkipped)
	if e.WaitsFor(stable) != "" {
		t.Error("a person's word does not count")
	}
}

// What was not seen to take effect goes on as a standing hold, and ends with the
// region that it sends clients to.
func TestTrafficHolds(t *testing.T) {
	c, e := severalSwitches(t)
	e.Steps["gate"], e.Steps["look"], e.Steps["object"] = as(failover.StepDone), as(failover.StepDone), as(failover.StepDone)
	e.Steps["record"] = as(failover.StepUnproven)
	finish := failover.FinishExecution{Execution: 1, State: failover.ExecStable}
	e.Steps["stable"] = as(failover.StepRunning)
	c.refused("in-flight", finish)
	e.Steps["stable"] = as(failover.StepDone)
	c.must(finish)
	if len(c.s.Holds) != 2 || c.s.Holds[0].Step.ID != "object" || c.s.Holds[0].Status != failover.HoldKept || c.s.Holds[1].Status != failover.HoldUnseen {
		t.Fatalf("%+v", c.s.Holds)
	}
	h := c.s.Holds[1]
	start := failover.ReapplyStarted{Hold: h.ID, Epoch: 2, Until: c.now.Add(10 * time.Second)}
	tok := c.must(start).Index
	c.must(failover.ReapplyFinished{Hold: h.ID, Token: tok, Outcome: failover.StepDone})
	if h := c.s.Holds[1]; h.Wants() != "clients stay in us-east-2 by route53_weights" {
		t.Errorf("it wants that %s", h.Wants())
	}
	// The service is elsewhere: nobody is held in the region that it has left.
	c.s.Active = east1
	c.now = c.now.Add(time.Minute)
	start.Until = c.now.Add(time.Second)
	c.refused("active-region", start)
	c.s.Active = east2
	c.must(failover.ReleaseHold{Component: failover.TrafficComponent})
	if len(c.s.Holds) != 0 {
		t.Errorf("released, %+v are left", c.s.Holds)
	}
}

// What was made to lead in the region that was entered is looked after as long as that region is active, and once.
func TestWhatWasMadeToLeadIsLookedAfter(t *testing.T) {
	begun := func() *cluster {
		c, _ := left(t)
		c.s.Execution.Plan.Step("start-api").Stands = true
		return c
	}
	c := begun()
	of := func() (out []failover.StandingHold) {
		for _, h := range c.s.Holds {
			if h.Step.Kind == failover.KindStart {
				out = append(out, h)
			}
		}
		return out
	}
	c.finish("start-api", c.start("start-api"), failover.StepFailed)
	if got := of(); len(got) != 0 {
		t.Fatalf("a start that failed is looked after: %+v", got)
	}
	c.must(failover.Skip{Execution: c.s.Execution.ID, Step: "start-api"}) // the leader: it may fail
	if got := of(); len(got) != 1 {
		t.Fatalf("what may take effect all the same is not looked after: %+v", got)
	}
	c = begun()
	c.must(failover.Skip{Execution: c.s.Execution.ID, Step: "start-api"}) // the leader, before anything was tried
	if got := of(); len(got) != 0 {
		t.Fatalf("a start that was passed over is looked after: %+v", got)
	}
	c = begun()
	if res := c.apply(failover.Skip{Execution: c.s.Execution.ID, Step: "start-api"}, "uid 1"); res.Err != nil { // somebody has done it by hand
		t.Fatal(res.Err)
	}
	if got := of(); len(got) != 1 {
		t.Errorf("what a person has made to lead is not looked after: %+v", got)
	}
	// Also somebody who was faster than the fence.
	c, exec := current(t).opened()
	c.s.Execution.Plan.Step("start-api").Stands = true
	c.must(failover.Skip{Execution: exec, Step: "start-api"})
	if got := of(); len(got) != 0 {
		t.Errorf("before the region is left: %+v", got)
	}
	freeze := c.frozen(exec)
	c.start(plan.FenceID)
	c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze})
	c.must(failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: freeze})
	ids := map[uint64]bool{}
	for _, h := range c.s.Holds {
		ids[h.ID] = true
	}
	if got := of(); len(got) != 1 || len(ids) != len(c.s.Holds) {
		t.Errorf("skipped before the region was left: %+v", c.s.Holds)
	}
	c = begun()
	tok := c.start("start-api")
	c.must(failover.Hold{Execution: c.s.Execution.ID}) // what is under way comes to its end all the same
	c.finish("start-api", tok, failover.StepDone)
	c.s.Execution.State, c.s.Execution.Question = failover.ExecRunning, nil
	got := of()
	if len(got) != 1 || got[0].Component != "api" || got[0].Step.Region != east2 || got[0].Status != failover.HoldUnseen || got[0].Wants() != "api is led by us-east-2 alone" {
		t.Fatalf("%+v", got)
	}
	c.must(failover.ReapplyStarted{Hold: got[0].ID, Epoch: 2, Until: c.now.Add(time.Second)})
	c.s.Active = east1
	c.now = c.now.Add(time.Minute)
	c.refused("active-region", failover.ReapplyStarted{Hold: got[0].ID, Epoch: 2, Until: c.now.Add(time.Second)})
	c.s.Active = east2
	c.finish("start-workers", c.start("start-workers"), failover.StepDone)
	if got := of(); len(got) != 1 {
		t.Errorf("%d are looked after, want the one that stands", len(got))
	}
	c.must(failover.ReleaseHold{Component: "api"})
	if got := of(); len(got) != 0 {
		t.Errorf("released, and still looked after: %+v", got)
	}
	if last := c.s.Events[len(c.s.Events)-1].Text; !strings.Contains(last, "whether us-east-2 leads it alone") || strings.Contains(last, "may start again") {
		t.Errorf("it says %q", last)
	}
	// An older node would keep no such hold: its state would be another one.
	s := settings()
	s.Components[0].Start.Stands = true
	if l := failover.LevelOf(failover.ProposeSettings{Settings: s}); l != 3 {
		t.Errorf("the configuration is of level %d, want 3", l)
	}
}
