package failover_test

import (
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// S1: nothing critical starts, and the epoch does not advance, without accepted
// evidence.
func TestEpochNeedsEvidence(t *testing.T) {
	c, exec := opened(t)
	if g := c.ask("w1", east1); !g.Granted {
		t.Fatalf("not granted before the freeze: %s", g.Sentence)
	}
	freeze := c.frozen(exec)
	c.start(plan.FenceID)
	adv := failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: freeze}
	c.refused("evidence", adv)
	c.refused("wait", failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Lease, Epoch: 1, Freeze: freeze, Waited: dur("75s")})
	c.refused("freeze", failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Lease, Epoch: 1, Freeze: freeze - 1, Waited: dur("10m")})
	c.refused("epoch", failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Lease, Epoch: 2, Freeze: freeze, Waited: dur("10m")})
	c.refused("component", failover.RecordEvidence{Execution: exec, Component: "api", Class: failover.Lease, Epoch: 1, Freeze: freeze, Waited: dur("10m")})
	c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Lease, Epoch: 1, Freeze: freeze, Waited: failover.Duration(c.s.FreezeWait(east1))})
	c.refused("freeze", failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: freeze + 1})
	c.refused("region", failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: third, Freeze: freeze})
	c.refused("epoch", failover.AdvanceEpoch{Execution: exec, Epoch: 3, Region: east2, Freeze: freeze})
	c.must(adv)
	if c.s.Active != east2 || c.s.Epoch != 2 || c.s.Traffic != east1 {
		t.Fatalf("active %s, epoch %d, traffic %s", c.s.Active, c.s.Epoch, c.s.Traffic)
	}
	if g := c.ask("w1", east1); g.Granted || !g.Gone {
		t.Fatalf("the old region got a lease: %+v", g)
	}
	if g := c.ask("w9", east2); !g.Granted || g.Epoch != 2 {
		t.Fatalf("the new region got no lease: %+v", g)
	}
}

// G3, G7: no grant after the freeze; hearing an agent lifts a provisional one
// and no other; lifting voids the evidence.
func TestFreeze(t *testing.T) {
	c := newCluster(t)
	c.must(failover.FreezeLease{Region: east1, Epoch: 1, Provisional: true})
	if g := c.ask("w1", east1); !g.Granted {
		t.Fatalf("an agent that is heard lifts a provisional freeze: %+v", g)
	}
	if c.s.Freeze != nil {
		t.Fatal("the provisional freeze still stands")
	}
	c, exec := opened(t)
	freeze := c.frozen(exec)
	if g := c.ask("w1", east1); g.Granted || g.Freeze != freeze {
		t.Fatalf("granted during a firm freeze: %+v", g)
	}
	c.must(failover.AgentStopped{Agent: "w1", Freeze: freeze, Epoch: 1})
	c.refused("freeze", failover.AgentStopped{Agent: "w1", Freeze: freeze + 1, Epoch: 1})
	c.refused("execution-open", failover.LiftFreeze{Freeze: freeze, Reason: "no"})
	c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze})
	c.must(failover.Abort{Execution: exec})
	c.must(failover.FinishExecution{Execution: exec, State: failover.ExecAborted, Outcome: "stopped"})
	if c.s.Freeze != nil || c.s.History[0].Evidence[0].Void == "" {
		t.Fatal("ending an execution lifts its freeze and voids its evidence")
	}
	if g := c.ask("w1", east1); !g.Granted {
		t.Fatalf("not granted after the freeze was lifted: %+v", g)
	}
}

// G3: a provisional freeze that is adopted keeps its ID, so that its wait goes on.
func TestProvisionalFreezeIsAdopted(t *testing.T) {
	c := newCluster(t)
	first := c.must(failover.FreezeLease{Region: east1, Epoch: 1, Provisional: true}).Value.(uint64)
	inc := c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")}).Index
	p, _ := plan.Derive(c.s.Settings, east1)
	exec := c.must(failover.StartExecution{Kind: failover.Failover, Incident: inc, Epoch: 1, Plan: p}).Index
	if got := c.frozen(exec); got != first {
		t.Fatalf("adopted as %d, was %d", got, first)
	}
	if c.s.Freeze.Provisional {
		t.Fatal("still provisional")
	}
}

// G4: the wait covers the longest lease that any agent may hold, and an agent
// that would not stop makes lease expiry worthless.
func TestEvidenceCoversEveryAgent(t *testing.T) {
	c := newCluster(t)
	c.must(failover.Round{Requests: []failover.LeaseRequest{{Agent: "w1", Region: east1, Component: "workers", Lease: dur("200s"), Enforced: true}}})
	if got := c.s.FreezeWait(east1); got < 200*time.Second {
		t.Fatalf("the wait is %s although an agent holds 200 s", got)
	}
	c.must(failover.Round{Requests: []failover.LeaseRequest{{Agent: "w2", Region: east1, Component: "workers", Lease: dur("75s")}}})
	inc := c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")}).Index
	p, _ := plan.Derive(c.s.Settings, east1)
	exec := c.must(failover.StartExecution{Kind: failover.Failover, Incident: inc, Epoch: 1, Plan: p}).Index
	freeze := c.frozen(exec)
	c.refused("mode", failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Lease, Epoch: 1, Freeze: freeze, Waited: dur("1h")})
}

// G7: a person's word is refused while an agent still asks, bound to the epoch,
// and voided by an agent that is heard with running workers afterwards.
func TestAttest(t *testing.T) {
	c, exec := opened(t)
	c.refused("freeze", failover.Attest{Execution: exec, Component: "workers", Epoch: 1})
	c.frozen(exec)
	c.ask("w1", east1)
	c.refused("agent-alive", failover.Attest{Execution: exec, Component: "workers", Epoch: 1})
	c.now = c.now.Add(time.Minute)
	c.refused("epoch", failover.Attest{Execution: exec, Component: "workers", Epoch: 2})
	c.must(failover.Attest{Execution: exec, Component: "workers", Epoch: 1})
	if len(c.s.Execution.Unproven(c.s.Freeze.ID)) != 0 {
		t.Fatal("the attestation does not count")
	}
	c.ask("w1", east1)
	if len(c.s.Execution.Unproven(c.s.Freeze.ID)) != 1 {
		t.Fatal("an agent with running workers did not void the attestation")
	}
}

// S10: one node's word, whoever it says has given it, does not make two regions work
// at once: it stands only when no lease can be valid, or beside another node's.
func TestAttestIsNeverAlone(t *testing.T) {
	s := settings()
	s.Components = append(s.Components, failover.ComponentSpec{
		Name: "functions", Stop: &failover.StopSpec{Proof: []failover.EvidenceClass{failover.Confirmed}},
	})
	c := current(t)
	c.must(failover.Configure{Settings: s, Hash: "h2"})
	c.ask("w1", east1)
	c.node = "use2b"
	req := c.must(failover.RequestExecution{Kind: failover.Failover}).Index
	exec := c.must(failover.StartExecution{Kind: failover.Failover, Request: req, Epoch: 1, Plan: c.plan()}).Index
	c.frozen(exec)
	frozen := c.now
	workers := failover.Attest{Execution: exec, Component: "workers", Epoch: 1}
	functions := failover.Attest{Execution: exec, Component: "functions", Epoch: 1}
	wait := c.s.FreezeWait(east1)
	c.now = frozen.Add(wait - time.Second)
	c.refused("lease-valid", workers)
	c.refused("second-node", functions)
	c.now = frozen.Add(wait)
	c.must(workers)
	c.node = "third"
	c.must(functions)
}

// What a quorum has seen, one node may attest: nobody asked for it alone.
func TestAttestOfWhatTheQuorumBegan(t *testing.T) {
	c, exec := current(t).opened()
	c.frozen(exec)
	c.must(failover.Attest{Execution: exec, Component: "workers", Epoch: 1})
}

// E1: a leader-only command counts only in its proposer's term.
func TestLeaderOnlyCommandOfAnotherTerm(t *testing.T) {
	c := newCluster(t)
	res := c.s.Apply(failover.Meta{Index: c.s.Index + 1, Term: 2, ProposedTerm: 1, At: c.now}, failover.FreezeLease{Region: east1, Epoch: 1, Provisional: true})
	if ref, ok := res.Err.(*failover.Refusal); !ok || ref.Guard != "term" || c.s.Freeze != nil {
		t.Fatalf("got %v, freeze %v", res.Err, c.s.Freeze)
	}
}

// S1, S3, S4: starts and switches come after the fence, and a finished step is
// not started again.
func TestOrderOfSteps(t *testing.T) {
	c, exec := opened(t)
	h := c.s.Execution.PlanHash
	for _, id := range []failover.StepID{"start-api", "start-workers", "switch-route53_weights", "check-workers-sqs_backlog", plan.StableID} {
		c.refused("order", failover.StepStarted{Execution: exec, Step: id, Epoch: 1, PlanHash: h})
	}
	c.refused("plan", failover.StepStarted{Execution: exec, Step: plan.FreezeID, Epoch: 1, PlanHash: "other"})
	c.refused("epoch", failover.StepStarted{Execution: exec, Step: plan.FreezeID, Epoch: 2, PlanHash: h})
	c.frozen(exec)
	c.refused("state", failover.StepStarted{Execution: exec, Step: plan.FreezeID, Epoch: 1, PlanHash: h})
	c.refused("fence", failover.Skip{Execution: exec, Step: plan.FenceID})
	c.refused("fence", failover.SetTraffic{Execution: exec, Region: east2})
	tok := c.start("stop-workers")
	c.refused("token", failover.StepFinished{Execution: exec, Step: "stop-workers", Token: tok + 1, Outcome: failover.StepDone})
	c.refused("in-flight", failover.FinishExecution{Execution: exec, State: failover.ExecAborted})
}

// E6: an abort waits for what has started; undo is possible before the epoch
// advances and refused after it.
func TestAbort(t *testing.T) {
	c, exec := opened(t)
	c.frozen(exec)
	tok := c.start("stop-workers")
	c.must(failover.Abort{Execution: exec, Undo: true})
	c.refused("state", failover.StepStarted{Execution: exec, Step: plan.FenceID, Epoch: 1, PlanHash: c.s.Execution.PlanHash})
	c.refused("in-flight", failover.FinishExecution{Execution: exec, State: failover.ExecUndone})
	c.finish("stop-workers", tok, failover.StepDone) // accepted after an abort
	undo := c.must(failover.StepStarted{Execution: exec, Step: "stop-workers", Epoch: 1, PlanHash: c.s.Execution.PlanHash, Undo: true}).Index
	c.refused("outcome", failover.StepFinished{Execution: exec, Step: "stop-workers", Token: undo, Outcome: failover.StepDone})
	c.finish("stop-workers", undo, failover.StepUndone)
	c.must(failover.FinishExecution{Execution: exec, State: failover.ExecUndone, Outcome: "undone"})
	if c.s.Freeze != nil || !c.s.CooldownUntil.IsZero() {
		t.Fatal("an undone execution leaves no freeze behind and starts no cool-down")
	}
	if c.s.Incident == nil || c.s.Incident.Execution != exec {
		t.Fatal("the incident of an execution that a person ended stays open: automation does not begin again")
	}

	c, exec = opened(t)
	freeze := c.frozen(exec)
	fence := c.start(plan.FenceID)
	c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze})
	c.must(failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: freeze})
	c.finish(plan.FenceID, fence, failover.StepDone)
	c.refused("no-return", failover.Abort{Execution: exec, Undo: true})
}

// The guards of an automatic execution.
func TestGuards(t *testing.T) {
	start := func(c *cluster) failover.StartExecution {
		inc := c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")}).Index
		p, _ := plan.Derive(c.s.Settings, east1)
		return failover.StartExecution{Kind: failover.Failover, Incident: inc, Epoch: 1, Plan: p}
	}
	c := newCluster(t)
	c.must(failover.PauseAutomation{For: dur("2h")})
	c.refused("pause", start(c))
	c.now = c.now.Add(3 * time.Hour)
	c.must(failover.StartExecution{Kind: failover.Failover, Incident: c.s.Incident.ID, Epoch: 1, Plan: start2(c)})

	for mode, guard := range map[failover.Mode]string{failover.ModeObserve: "mode", failover.ModeSupervised: "mode"} {
		c := newCluster(t)
		s := settings()
		s.Policy.Mode = mode
		c.must(failover.Configure{Settings: s, Hash: "h2"})
		c.refused(guard, start(c))
	}
	c = newCluster(t)
	s := settings()
	s.Policy.MaxPerDay = 0
	c.must(failover.Configure{Settings: s, Hash: "h2"})
	c.refused("max-per-day", start(c))
}

func start2(c *cluster) failover.Plan {
	p, err := plan.Derive(c.s.Settings, east1)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// S6, D3: an incident is judged again from the frozen votes.
func TestOpenIncidentJudgesAgain(t *testing.T) {
	c := newCluster(t)
	c.refused("hold", failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("89s")})
	c.refused("not-active", failover.OpenIncident{Region: east2, Votes: downVotes(), Held: dur("90s")})
	c.refused("verdict-quorum", failover.OpenIncident{Region: east1, Votes: downVotes()[:2], Held: dur("90s")})
	stale := downVotes()
	stale[2].Age = dur("6s")
	c.refused("verdict-quorum", failover.OpenIncident{Region: east1, Votes: stale, Held: dur("90s")})
	forged := downVotes()
	forged[2].Node = "stranger"
	c.refused("verdict-quorum", failover.OpenIncident{Region: east1, Votes: forged, Held: dur("90s")})
	second := downVotes()[:2] // one node plays a second vantage
	second[0].Vantage = third
	c.refused("verdict-quorum", failover.OpenIncident{Region: east1, Votes: second, Held: dur("90s")})
	moved := downVotes()
	moved[0].Vantage, moved[1].Vantage = third, third
	c.refused("verdict-quorum", failover.OpenIncident{Region: east1, Votes: moved, Held: dur("90s")})
}

// Supervised: a question with a nonce, the right person, and a time limit.
func TestApproval(t *testing.T) {
	sup := func(then string) (*cluster, *failover.Execution) {
		c := newCluster(t)
		s := settings()
		s.Policy.Mode, s.Policy.Ask.Then = failover.ModeSupervised, then
		c.must(failover.Configure{Settings: s, Hash: "h2"})
		inc := c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")}).Index
		p, _ := plan.Derive(c.s.Settings, east1)
		c.must(failover.StartExecution{Kind: failover.Failover, Incident: inc, Epoch: 1, Plan: p, Approval: true})
		return c, c.s.Execution
	}
	c, e := sup("hold")
	c.refused("state", failover.StepStarted{Execution: e.ID, Step: plan.FreezeID, Epoch: 1, PlanHash: e.PlanHash})
	c.refused("nonce", failover.Approve{Execution: e.ID, Nonce: e.Question.Nonce + 1})
	c.refused("execution", failover.Approve{Execution: e.ID + 1, Nonce: e.Question.Nonce})
	c.refused("deadline", failover.AskExpired{Execution: e.ID, Nonce: e.Question.Nonce})
	c.must(failover.Approve{Execution: e.ID, Nonce: e.Question.Nonce})
	c.refused("no-question", failover.Approve{Execution: e.ID}) // the button pressed twice
	c.frozen(e.ID)

	c, e = sup("hold")
	c.now = c.now.Add(16 * time.Minute)
	c.must(failover.AskExpired{Execution: e.ID, Nonce: e.Question.Nonce})
	if e := c.s.Execution; e.State != failover.ExecAwaiting || e.Question == nil {
		t.Fatalf("held without an answer: %s", e.State)
	}
	c, e = sup("proceed")
	c.now = c.now.Add(16 * time.Minute)
	c.must(failover.AskExpired{Execution: e.ID, Nonce: e.Question.Nonce})
	if c.s.Execution.State != failover.ExecRunning {
		t.Fatal("the stated default is to proceed")
	}

	c = newCluster(t)
	c.apply(failover.RequestExecution{Kind: failover.Failover}, "uid 7")
	p, _ := plan.Derive(c.s.Settings, east1)
	c.must(failover.StartExecution{Kind: failover.Failover, Request: c.s.Request.ID, Epoch: 1, Plan: p, Approval: true})
	c.refusedBy("same-person", "uid 7", failover.Approve{Execution: c.s.Execution.ID})
	if res := c.apply(failover.Approve{Execution: c.s.Execution.ID}, "uid 8"); res.Err != nil {
		t.Fatal(res.Err)
	}
}

// The same command, sent again because its outcome was unknown, counts once.
func TestRepeatedCommand(t *testing.T) {
	c := newCluster(t)
	for range 2 {
		c.s.Apply(failover.Meta{Index: c.s.Index + 1, Term: 1, At: c.now, ID: "x", By: "uid 1", Why: "w"}, failover.PauseAutomation{For: dur("1h")})
		c.now = c.now.Add(time.Minute)
	}
	n := 0
	for _, ev := range c.s.Events {
		if ev.Kind == "pause" {
			n++
		}
	}
	if n != 1 {
		t.Fatalf("the pause counted %d times", n)
	}
}

// T3: a disk that was set back, or replaced, is refused.
func TestRegisterNode(t *testing.T) {
	c := newCluster(t)
	reg := func(disk string, starts uint64) failover.RegisterNode {
		return failover.RegisterNode{Node: "third", Record: failover.NodeRecord{Vantage: third, Disk: disk, Starts: starts}}
	}
	c.must(reg("d1", 5))
	c.must(reg("d1", 6))
	c.refused("disk-set-back", reg("d1", 4))
	c.refused("disk-replaced", reg("d2", 1))
}

// A crashed agent says no goodbye: it is forgotten once it cannot hold anything
// any more, but never while a freeze asks what it held.
func TestForgottenAgents(t *testing.T) {
	c := newCluster(t)
	c.ask("gone", east1)
	c.now = c.now.Add(11 * 75 * time.Second)
	c.must(failover.FreezeLease{Region: east1, Epoch: 1, Provisional: true})
	// Another region's agents do not lift the freeze, and one that was never
	// granted anything is remembered like the others.
	c.ask("w1", east2)
	c.now = c.now.Add(time.Minute)
	c.ask("w3", east2)
	if c.s.Agents["w1"] == nil {
		t.Fatal("an agent that was only refused is forgotten after a minute")
	}
	if c.s.Agents["gone"] == nil {
		t.Fatal("forgotten during a freeze")
	}
	c.ask("w2", east1)
	c.ask("w2", east1)
	if c.s.Agents["gone"] != nil || c.s.Agents["w2"] == nil {
		t.Fatalf("agents: %v", c.s.AgentIDs(east1, ""))
	}
}

// A cluster in observe mode can stop nothing: its agents are told so, and the
// expiry of their leases proves nothing.
func TestObserveModeDisarmsAgents(t *testing.T) {
	c := newCluster(t)
	s := settings()
	s.Policy.Mode = failover.ModeObserve
	c.must(failover.Configure{Settings: s, Hash: "h2"})
	if g := c.ask("w1", east1); !g.Granted || g.Arming != failover.ArmObserve || c.s.Agents["w1"].Enforced {
		t.Fatalf("grant %+v, agent %+v", g, c.s.Agents["w1"])
	}
}

// G4: an agent that a refusal finds unbound makes lease expiry worthless, and a
// wrong lease on one host does not stretch the wait of all.
func TestUnboundAndGreedyAgents(t *testing.T) {
	c, exec := opened(t)
	freeze := c.frozen(exec)
	c.must(failover.Round{Requests: []failover.LeaseRequest{{Agent: "w1", Region: east1, Component: "workers", Lease: dur("75s"), Running: true}}})
	c.refused("mode", failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Lease, Epoch: 1, Freeze: freeze, Waited: dur("1h")})

	c = newCluster(t)
	wait := c.s.FreezeWait(east1)
	g := c.must(failover.Round{Requests: []failover.LeaseRequest{{Agent: "w1", Region: east1, Component: "workers", Lease: dur("3000h"), Enforced: true}}}).Value.([]failover.Grant)[0]
	if g.Granted || c.s.FreezeWait(east1) != wait {
		t.Fatalf("grant %+v, wait %s", g, c.s.FreezeWait(east1))
	}
}

// G7: what agents confirmed is contradicted by one that runs workers.
func TestConfirmedEvidenceIsContradicted(t *testing.T) {
	c, exec := opened(t)
	freeze := c.frozen(exec)
	c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze})
	c.ask("another", east1)
	c.refused("evidence", failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: freeze})
}

// T3: a disk that was set back across exactly one start has the recorded counter
// and is told by its boot.
func TestDiskSetBackByOneStart(t *testing.T) {
	c := newCluster(t)
	reg := func(starts uint64, boot string) failover.RegisterNode {
		return failover.RegisterNode{Node: "third", Record: failover.NodeRecord{Vantage: third, Disk: "d1", Starts: starts, Boot: boot}}
	}
	c.must(reg(5, "a"))
	c.must(reg(5, "a")) // the same start, proposed again
	c.refused("disk-set-back", reg(5, "b"))
}
