package failover_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

func (c *cluster) plan() failover.Plan {
	c.t.Helper()
	p, err := plan.Derive(c.s.Settings, c.s.Active)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// suspected is a cluster with a running preparation.
func suspected(t *testing.T) (*cluster, uint64) {
	t.Helper()
	c := current(t)
	c.must(failover.Configure{Settings: preparing(settings()), Hash: "h2"})
	c.must(failover.NoteSuspicion{Region: east1, Condition: failover.RegionDown, Sentence: "dark"})
	p := c.plan()
	return c, c.must(failover.StartPreparation{Epoch: 1, Plan: plan.Preparation(&p)}).Index
}

// begun starts a step of the preparation and returns its token.
func (c *cluster) begun(step failover.StepID, undo bool) uint64 {
	c.t.Helper()
	p := c.s.Preparation
	return c.must(failover.StepStarted{Execution: p.ID, Step: step, Epoch: 1, PlanHash: p.PlanHash, Undo: undo, Previous: json.RawMessage(`{"n":0}`)}).Index
}

func (c *cluster) ended(step failover.StepID, token uint64, outcome failover.StepState) {
	c.t.Helper()
	c.must(failover.StepFinished{Execution: c.s.Preparation.ID, Step: step, Token: token, Outcome: outcome, Detail: "seen"})
}

// confirmed opens the incident and starts its execution.
func (c *cluster) confirmed() *failover.Execution {
	c.t.Helper()
	inc := c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")}).Index
	c.must(failover.StartExecution{Kind: failover.Failover, Incident: inc, Epoch: 1, Plan: c.plan()})
	return c.s.Execution
}

// E7: what is done stays done, and its first values stay the true ones.
func TestPreparationIsAdopted(t *testing.T) {
	c, _ := suspected(t)
	c.ended("start-api", c.begun("start-api", false), failover.StepDone)
	token := c.begun("start-workers", false) // still running
	e := c.confirmed()
	if c.s.Preparation != nil || e.Step("start-api").State != failover.StepDone || e.Step("start-workers").Last().Token != token {
		t.Fatalf("api %s, workers %+v", e.Step("start-api").State, e.Step("start-workers"))
	}
	// The old name of the step's execution counts no more.
	c.refused("execution", failover.StepFinished{Execution: e.ID - 3, Step: "start-workers", Token: token, Outcome: failover.StepDone})
	// Undone with the execution, from the values before the preparation.
	c.must(failover.Abort{Execution: e.ID, Undo: true})
	c.finish("start-workers", token, failover.StepDone)
	if first := e.Step("start-api").First(); first == nil || string(first.Previous) != `{"n":0}` {
		t.Errorf("previous values: %+v", first)
	}
}

// E7: an undo that the execution adopted and that came to nothing is made again;
// one that fails is a step to do anew when a person says retry, never one that is
// done.
func TestAdoptedUndoThatFails(t *testing.T) {
	c, prep := suspected(t)
	for _, step := range []failover.StepID{"start-api", "start-workers"} {
		c.ended(step, c.begun(step, false), failover.StepDone)
	}
	c.must(failover.EndPreparation{Preparation: prep, Reason: "passed"})
	first := c.begun("start-workers", true)
	e := c.confirmed()
	again := failover.StepStarted{Execution: e.ID, Step: "start-workers", Epoch: 1, PlanHash: e.PlanHash, Undo: true, Previous: json.RawMessage(`{"n":0}`)}
	undo := c.must(again).Index
	c.refused("token", failover.StepFinished{Execution: e.ID, Step: "start-workers", Token: first, Outcome: failover.StepUndone})
	c.finish("start-workers", undo, failover.StepFailed)
	c.refused("state", again) // it is no undo under way any more, and the execution goes forward
	c.must(failover.Retry{Execution: e.ID, Step: "start-workers"})
	if rec := e.Step("start-workers"); rec.State != failover.StepPending {
		t.Errorf("an undo that failed, tried again: the step is %s", rec.State)
	}
}

// While an execution is being taken back nothing is tried again: a step that is
// unclear would count as never begun, and what it changed would be forgotten.
func TestRetryWhileAborting(t *testing.T) {
	c, _ := suspected(t)
	for _, step := range []failover.StepID{"start-api", "start-workers"} {
		c.ended(step, c.begun(step, false), failover.StepDone)
	}
	e := c.confirmed()
	again := func(undo bool) uint64 {
		return c.must(failover.StepStarted{Execution: e.ID, Step: "stop-workers", Epoch: 1, PlanHash: e.PlanHash, Undo: undo, Previous: json.RawMessage(`{"n":0}`)}).Index
	}
	c.frozen(e.ID)
	c.finish("stop-workers", again(false), failover.StepUnclear)
	c.must(failover.Abort{Execution: e.ID, Undo: true})
	c.refused("aborting", failover.Retry{Execution: e.ID, Step: "stop-workers"})
	// Its undo failed: that is tried again.
	c.finish("stop-workers", again(true), failover.StepUnclear)
	c.must(failover.Retry{Execution: e.ID, Step: "stop-workers"})
	if rec := e.Step("stop-workers"); rec.State != failover.StepDone || rec.Undoing() == nil {
		t.Errorf("the step is %s", rec.State)
	}
}

// E7: the suspicion turns into an incident at the moment at which it is being
// taken back. An undo that has not begun is cancelled; one that has is finished,
// and the step is done again.
func TestPreparationTakenBackAtThatMoment(t *testing.T) {
	c, prep := suspected(t)
	for _, step := range []failover.StepID{"start-api", "start-workers"} {
		c.ended(step, c.begun(step, false), failover.StepDone)
	}
	c.must(failover.EndPreparation{Preparation: prep, Reason: "passed"})
	undo := c.begun("start-workers", true)
	c.refused("state", failover.StepStarted{Execution: prep, Step: "start-workers", Epoch: 1, PlanHash: c.s.Preparation.PlanHash})
	e := c.confirmed()
	if e.Step("start-api").State != failover.StepDone {
		t.Errorf("the undo of start-api had not begun, and it is %s", e.Step("start-api").State)
	}
	if e.Step("start-workers").State != failover.StepUndoing {
		t.Errorf("the undo of start-workers has begun, and it is %s", e.Step("start-workers").State)
	}
	c.finish("start-workers", undo, failover.StepUndone)
	if rec := e.Step("start-workers"); rec.State != failover.StepPending || rec.First() != nil {
		t.Errorf("after its undo it is %s, and would be undone to %+v", rec.State, rec.First())
	}
}

// The epoch does not advance while an undo is under way.
func TestEpochWaitsForAnUndo(t *testing.T) {
	c, prep := suspected(t)
	c.ended("start-api", c.begun("start-api", false), failover.StepDone)
	c.must(failover.EndPreparation{Preparation: prep, Reason: "passed"})
	undo := c.begun("start-api", true)
	e := c.confirmed()
	freeze := c.frozen(e.ID)
	c.start(plan.FenceID)
	c.must(failover.RecordEvidence{Execution: e.ID, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze})
	advance := failover.AdvanceEpoch{Execution: e.ID, Epoch: 2, Region: east2, Freeze: freeze}
	c.refused("in-flight", advance)
	c.finish("start-api", undo, failover.StepUndone)
	c.must(advance)
}

// A preparation holds nothing back that is not lease-bound, irreversible or in
// need of a person, and there is one per suspicion.
func TestPreparationRefuses(t *testing.T) {
	begin := func(c *cluster) failover.StartPreparation {
		p := c.plan()
		return failover.StartPreparation{Epoch: 1, Plan: plan.Preparation(&p)}
	}
	for name, change := range map[string]func(*failover.Settings){
		"no agent":     func(s *failover.Settings) { s.Components[1].Agent = false },
		"advisory":     func(s *failover.Settings) { s.Components[1].Arming = failover.ArmAdvisory },
		"irreversible": func(s *failover.Settings) { s.Components[1].Start.Irreversible = true },
		"approval":     func(s *failover.Settings) { s.Components[1].Start.Approval = true },
	} {
		t.Run(name, func(t *testing.T) {
			c := current(t)
			s := preparing(settings())
			change(&s)
			c.must(failover.Configure{Settings: s, Hash: "h2"})
			c.must(failover.NoteSuspicion{Region: east1, Condition: failover.RegionDown})
			c.refused("prepare", begin(c))
		})
	}
	c := current(t)
	c.must(failover.Configure{Settings: preparing(settings()), Hash: "h2"})
	c.refused("suspicion", begin(c))
	c.must(failover.NoteSuspicion{Region: east1, Condition: failover.RegionDown})
	p := begin(c)
	id := c.must(p).Index
	c.refused("preparation", failover.Configure{Settings: settings(), Hash: "h3"})
	c.must(failover.Abort{Execution: id})
	c.must(failover.FinishExecution{Execution: id, State: failover.ExecUndone, Outcome: "nothing was done"})
	c.refused("suspicion", p) // a person has taken it back
	stop := p
	stop.Plan.Steps = []failover.Step{c.plan().Steps[1]}
	c.now = c.now.Add(time.Minute)
	c.must(failover.NoteSuspicion{Region: east1})
	c.must(failover.NoteSuspicion{Region: east1, Condition: failover.RegionDown})
	c.refused("prepare", stop) // a stop is never prepared
}

// E4: an execution closes only when no token of it can still take effect.
func TestTokensAreConsumed(t *testing.T) {
	s := settings()
	s.Traffic.Switch[0].Tokens = true
	c := current(t)
	c.must(failover.Configure{Settings: s, Hash: "h2"})
	e := c.confirmed()
	freeze := c.frozen(e.ID)
	tok := c.start(plan.FenceID)
	c.must(failover.RecordEvidence{Execution: e.ID, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze})
	c.must(failover.AdvanceEpoch{Execution: e.ID, Epoch: 2, Region: east2, Freeze: freeze})
	c.finish(plan.FenceID, tok, failover.StepDone)
	for _, st := range []failover.StepID{"start-api", "start-workers"} {
		c.finish(st, c.start(st), failover.StepDone)
	}
	const sw = failover.StepID("switch-route53_weights")
	tok = c.start(sw)
	c.must(failover.Abort{Execution: e.ID})
	end := failover.FinishExecution{Execution: e.ID, State: failover.ExecAborted, Outcome: "ended"}
	c.refused("in-flight", end)
	c.finish(sw, tok, failover.StepFailed) // "absent": it may still land
	c.refused("token", end)
	burn := failover.StepStarted{Execution: e.ID, Step: sw, Epoch: 2, PlanHash: e.PlanHash, Burn: true}
	b := c.must(burn).Index
	c.refused("token", end)
	c.finish(sw, b, failover.StepFailed)
	c.refused("token", end)
	b = c.must(burn).Index
	c.finish(sw, b, failover.StepDone)
	if e.Step(sw).State != failover.StepFailed {
		t.Errorf("the step itself is %s", e.Step(sw).State)
	}
	c.refused("state", burn)
	c.must(end)
}

// A person may take it upon himself that a late effect cannot come.
func TestTokenSkipped(t *testing.T) {
	s := settings()
	s.Traffic.Switch[0].Tokens = true
	s.Traffic.After = nil
	c := current(t)
	c.must(failover.Configure{Settings: s, Hash: "h2"})
	e := c.confirmed()
	freeze := c.frozen(e.ID)
	tok := c.start(plan.FenceID)
	c.must(failover.RecordEvidence{Execution: e.ID, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze})
	c.must(failover.AdvanceEpoch{Execution: e.ID, Epoch: 2, Region: east2, Freeze: freeze})
	c.finish(plan.FenceID, tok, failover.StepDone)
	const sw = failover.StepID("switch-route53_weights")
	c.finish(sw, c.start(sw), failover.StepUnclear)
	c.must(failover.Abort{Execution: e.ID})
	c.must(failover.Skip{Execution: e.ID, Step: sw})
	c.must(failover.FinishExecution{Execution: e.ID, State: failover.ExecAborted, Outcome: "ended"})
}

// L1: a configuration waits for a preparation; where an older version has put one
// in force, what was prepared for another plan is undone although an incident is
// open, and the execution starts without it.
func TestConfigurationDuringPreparation(t *testing.T) {
	c, prep := suspected(t)
	c.ended("start-api", c.begun("start-api", false), failover.StepDone)
	c.s.Source = "x"
	next := preparing(settings())
	other := *next.Components[0].Start
	other.Params = map[failover.Region]json.RawMessage{east1: json.RawMessage(`{"count":14}`), east2: json.RawMessage(`{"count":14}`)}
	next.Components[0].Start = &other
	id := c.must(failover.ProposeSettings{Settings: next, Hash: "h3", Source: "y"}).Index
	for n := range c.s.Settings.Nodes {
		c.node = n
		c.must(failover.AckSettings{Proposal: id, Hash: "h3"})
	}
	c.node = "use2a"
	if w := c.s.Waits(); !strings.HasPrefix(w, "waits for preparation ") {
		t.Errorf("the configuration %q", w)
	}
	c.refused("waits", failover.ActivateSettings{Proposal: id})
	c.s.Features = 2
	c.must(failover.ActivateSettings{Proposal: id})
	c.s.Features = failover.Features

	inc := c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")}).Index
	start := failover.StartExecution{Kind: failover.Failover, Incident: inc, Epoch: 1, Plan: c.plan()}
	c.refused(failover.GuardPreparation, start)
	var mem failover.Memory
	decide := func() (d failover.Decision) { // what the hold comes to
		for end := c.now.Add(2 * time.Minute); c.now.Before(end); c.now = c.now.Add(time.Second) {
			votes, plan := downVotes(), c.plan()
			for i := range votes {
				votes[i].Received = c.now
			}
			d, mem = failover.Decide(failover.Input{
				State: c.s, Now: c.now, Votes: votes, TermStart: c.now.Add(-time.Hour), Standby: failover.Standby{Checked: true}, Preparable: true, Misfit: c.s.Misfit(&plan),
			}, mem)
		}
		return d
	}
	d := decide()
	if d.TakeBack == "" || d.Start || d.Refuse == nil || d.Refuse.Guard != failover.GuardPreparation {
		t.Fatalf("taken back: %q, start %t, refusal %+v", d.TakeBack, d.Start, d.Refuse)
	}
	c.must(*d.Refuse)
	c.must(failover.Abort{Execution: prep, Undo: true})
	if d = decide(); d.TakeBack != "" || d.Start || d.Refuse != nil {
		t.Errorf("while it is undone: %+v", d)
	}
	// A person's wish waits for that, too.
	c.must(failover.RequestExecution{Kind: failover.Failover})
	if d = decide(); d.StartRequested || d.RefuseRequest != nil {
		t.Errorf("a request, while it is undone: %+v", d)
	}
	c.ended("start-api", c.begun("start-api", true), failover.StepUndone)
	c.must(failover.FinishExecution{Execution: prep, State: failover.ExecUndone, Outcome: "every step was undone"})
	if d = decide(); !d.StartRequested {
		t.Errorf("a request, when it is undone: %+v", d)
	}
	c.s.Request = nil
	if d = decide(); !d.Start {
		t.Errorf("when it is undone: %+v", d)
	}
	c.must(start)
}

// S8: a preparation ends with the generation that began it, and whoever has made
// the region active that it acted in, nothing takes back there what it started.
func TestPreparationIsNotUndoneInTheActiveRegion(t *testing.T) {
	both := func() *cluster {
		c, _ := suspected(t)
		for _, step := range []failover.StepID{"start-api", "start-workers"} {
			c.ended(step, c.begun(step, false), failover.StepDone)
		}
		return c
	}
	for _, active := range []failover.Region{east1, east2} {
		c := both()
		if err := c.s.Recover(failover.RecoverOrder{Survivor: "use2a", Active: active, At: c.now, By: "uid 0", Why: "three of five are gone"}); err != nil {
			t.Fatal(err)
		}
		if c.s.Preparation != nil {
			t.Error("a preparation is open in the new generation")
		}
		if said := c.s.Events[len(c.s.Events)-2]; said.Kind != "recover" || !strings.Contains(said.Text, "begun: start-api in us-east-2 (done), start-workers in us-east-2 (done)") {
			t.Errorf("%+v", said)
		}
	}
	for _, end := range []func(id uint64) failover.Command{
		func(id uint64) failover.Command {
			return failover.EndPreparation{Preparation: id, Reason: "passed"}
		},
		func(id uint64) failover.Command { return failover.Abort{Execution: id, Undo: true} },
	} {
		c := both()
		p := c.s.Preparation
		c.s.Active, c.s.Traffic = east2, east2 // as an older version recovered it
		c.must(end(p.ID))
		if p.State != failover.ExecAborting || p.Undo {
			t.Errorf("the preparation is %s, undo %t", p.State, p.Undo)
		}
		p.Undo = true // as an older version ended it
		c.refused("active-region", failover.StepStarted{Execution: p.ID, Step: "start-workers", Epoch: 1, PlanHash: p.PlanHash, Undo: true, Previous: json.RawMessage(`{"n":0}`)})
		c.must(failover.FinishExecution{Execution: p.ID, State: failover.ExecAborted, Outcome: "taken back"})
	}
}
