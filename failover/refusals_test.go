package failover_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// scene is a cluster in which something is refused.
type scene struct {
	*cluster
	exec, freeze uint64
}

// The situations that commands meet.
func empty(t *testing.T) scene {
	return scene{cluster: &cluster{t: t, s: &failover.State{Term: 1, Agents: map[failover.AgentID]*failover.AgentRecord{}}, term: 1, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}}
}

func idle(t *testing.T) scene { return scene{cluster: newCluster(t)} }

func incident(t *testing.T) scene {
	c := newCluster(t)
	return scene{cluster: c, exec: c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")}).Index}
}

func running(t *testing.T) scene {
	c, exec := opened(t)
	return scene{cluster: c, exec: exec}
}

func frozen(t *testing.T) scene {
	s := running(t)
	s.freeze = s.cluster.frozen(s.exec)
	return s
}

func failedStop(t *testing.T) scene {
	s := frozen(t)
	s.finish("stop-workers", s.start("stop-workers"), failover.StepFailed)
	return s
}

// TestRefusals holds every precondition that no scenario meets: each command is
// refused by its guard and changes nothing.
func TestRefusals(t *testing.T) {
	other := settings()
	other.Service = "other"
	moved := settings()
	moved.Primary, moved.Secondary = third, east2
	for _, c := range []struct {
		name  string
		in    func(*testing.T) scene
		guard string
		cmd   func(scene) failover.Command
	}{
		{"configure during an execution", running, "execution-open", func(scene) failover.Command { return failover.Configure{Settings: settings()} }},
		{"another service", idle, "service", func(scene) failover.Command { return failover.Configure{Settings: other} }},
		{"without the active region", idle, "active-region", func(scene) failover.Command { return failover.Configure{Settings: moved} }},
		{"incident without configuration", empty, "not-configured", func(scene) failover.Command { return failover.OpenIncident{Region: east1} }},
		{"second incident", incident, "incident-open", func(scene) failover.Command { return failover.OpenIncident{Region: east1} }},
		{"refusal of no incident", idle, "no-incident", func(scene) failover.Command { return failover.RefuseIncident{Incident: 1} }},
		{"closing another incident", incident, "no-incident", func(s scene) failover.Command { return failover.CloseIncident{Incident: s.exec + 1} }},
		{"closing with an execution", running, "execution-open", func(s scene) failover.Command { return failover.CloseIncident{Incident: s.s.Incident.ID} }},
		{"pause without length", idle, "pause", func(scene) failover.Command { return failover.PauseAutomation{} }},
		{"resume without pause", idle, "pause", func(scene) failover.Command { return failover.ResumeAutomation{} }},
		{"message without key", idle, "message", func(scene) failover.Command { return failover.SaveMessage{} }},
		{"request without configuration", empty, "not-configured", func(scene) failover.Command { return failover.RequestExecution{Kind: failover.Failover} }},
		{"unknown kind", idle, "kind", func(scene) failover.Command { return failover.RequestExecution{Kind: "drill"} }},
		{"request during an execution", running, "execution-open", func(scene) failover.Command { return failover.RequestExecution{Kind: failover.Failover} }},
		{"second request", requested, "requested", func(scene) failover.Command { return failover.RequestExecution{Kind: failover.Failover} }},
		{"request to go back", moved2, "direction", func(scene) failover.Command { return failover.RequestExecution{Kind: failover.Failover} }},
		{"request in a pause", paused, "pause", func(scene) failover.Command { return failover.RequestExecution{Kind: failover.Failover} }},
		{"start without configuration", empty, "not-configured", func(scene) failover.Command { return failover.StartExecution{} }},
		{"start during an execution", running, "execution-open", func(scene) failover.Command { return failover.StartExecution{} }},
		{"start in another epoch", incident, "epoch", func(scene) failover.Command { return failover.StartExecution{Epoch: 2} }},
		{"start out of the other region", incident, "not-active", func(scene) failover.Command {
			return failover.StartExecution{Epoch: 1, Plan: failover.Plan{From: east2}}
		}},
		{"start without steps", incident, "plan", func(scene) failover.Command {
			return failover.StartExecution{Epoch: 1, Plan: failover.Plan{From: east1}}
		}},
		{"start of an unknown request", idle, "request", func(s scene) failover.Command {
			return failover.StartExecution{Epoch: 1, Plan: start2(s.cluster), Request: 7}
		}},
		{"start for another incident", incident, "no-incident", func(s scene) failover.Command {
			return failover.StartExecution{Epoch: 1, Plan: start2(s.cluster), Incident: s.exec + 1}
		}},
		{"ask without execution", idle, "no-execution", func(scene) failover.Command { return failover.Ask{Execution: 1} }},
		{"ask twice", asked, "asked", func(s scene) failover.Command { return failover.Ask{Execution: s.exec} }},
		{"expiry without execution", idle, "no-execution", func(scene) failover.Command { return failover.AskExpired{Execution: 1} }},
		{"expiry of no question", running, "nonce", func(s scene) failover.Command { return failover.AskExpired{Execution: s.exec} }},
		{"expiry of a question without limit", asked, "nonce", func(s scene) failover.Command {
			return failover.AskExpired{Execution: s.exec, Nonce: s.s.Execution.Question.Nonce}
		}},
		{"approve nothing", idle, "no-execution", func(scene) failover.Command { return failover.Approve{} }},
		{"hold nothing", idle, "no-execution", func(scene) failover.Command { return failover.Hold{} }},
		{"hold twice", held, "state", func(s scene) failover.Command { return failover.Hold{Execution: s.exec} }},
		{"continue nothing", idle, "no-execution", func(scene) failover.Command { return failover.Continue{} }},
		{"continue what runs", running, "state", func(s scene) failover.Command { return failover.Continue{Execution: s.exec} }},
		{"continue past an approval", heldByApproval, "question", func(s scene) failover.Command { return failover.Continue{Execution: s.exec} }},
		{"abort nothing", idle, "no-execution", func(scene) failover.Command { return failover.Abort{} }},
		{"step without execution", idle, "no-execution", func(scene) failover.Command { return failover.StepStarted{} }},
		{"unknown step", running, "step", func(s scene) failover.Command { return failover.StepStarted{Execution: s.exec, Step: "x"} }},
		{"undo without abort", failedStop, "state", func(s scene) failover.Command {
			return failover.StepStarted{Execution: s.exec, Step: "stop-workers", Epoch: 1, PlanHash: s.s.Execution.PlanHash, Undo: true}
		}},
		{"undo of what never began", aborting, "state", func(s scene) failover.Command {
			return failover.StepStarted{Execution: s.exec, Step: "start-api", Epoch: 1, PlanHash: s.s.Execution.PlanHash, Undo: true}
		}},
		{"start before approval", approvalStep, "approval", func(s scene) failover.Command {
			return failover.StepStarted{Execution: s.exec, Step: "stop-workers", Epoch: 1, PlanHash: s.s.Execution.PlanHash}
		}},
		{"start before the fence", unfencedPlan, "fence", func(s scene) failover.Command {
			return failover.StepStarted{Execution: s.exec, Step: "start-api", Epoch: 1, PlanHash: s.s.Execution.PlanHash}
		}},
		{"finish without execution", idle, "no-execution", func(scene) failover.Command { return failover.StepFinished{} }},
		{"finish of what never began", frozen, "state", func(s scene) failover.Command {
			return failover.StepFinished{Execution: s.exec, Step: "stop-workers"}
		}},
		{"undone without undo", stopRunning, "outcome", func(s scene) failover.Command {
			return failover.StepFinished{Execution: s.exec, Step: "stop-workers", Token: s.freeze, Outcome: failover.StepUndone}
		}},
		{"strange outcome", stopRunning, "outcome", func(s scene) failover.Command {
			return failover.StepFinished{Execution: s.exec, Step: "stop-workers", Token: s.freeze, Outcome: "well"}
		}},
		{"retry without execution", idle, "no-execution", func(scene) failover.Command { return failover.Retry{} }},
		{"retry of a pending step", running, "state", func(s scene) failover.Command { return failover.Retry{Execution: s.exec, Step: "start-api"} }},
		{"skip without execution", idle, "no-execution", func(scene) failover.Command { return failover.Skip{} }},
		{"skip of an unknown step", running, "step", func(s scene) failover.Command { return failover.Skip{Execution: s.exec, Step: "x"} }},
		{"skip of the freeze", running, "fence", func(s scene) failover.Command { return failover.Skip{Execution: s.exec, Step: plan.FreezeID} }},
		{"skip in flight", stopRunning, "in-flight", func(s scene) failover.Command { return failover.Skip{Execution: s.exec, Step: "stop-workers"} }},
		{"skip of what was skipped", skipped, "state", func(s scene) failover.Command { return failover.Skip{Execution: s.exec, Step: "start-api"} }},
		{"traffic without execution", idle, "no-execution", func(scene) failover.Command { return failover.SetTraffic{} }},
		{"stable without execution", idle, "no-execution", func(scene) failover.Command { return failover.DeclareStable{} }},
		{"stable too early", frozen, "order", func(s scene) failover.Command { return failover.DeclareStable{Execution: s.exec} }},
		{"stable in flight", stopRunning, "in-flight", func(s scene) failover.Command { return failover.DeclareStable{Execution: s.exec} }},
		{"end without execution", idle, "no-execution", func(scene) failover.Command { return failover.FinishExecution{} }},
		{"end in no final state", running, "state", func(s scene) failover.Command {
			return failover.FinishExecution{Execution: s.exec, State: failover.ExecHeld}
		}},
		{"stable with steps left", running, "order", func(s scene) failover.Command {
			return failover.FinishExecution{Execution: s.exec, State: failover.ExecStable}
		}},
		{"aborted while running", running, "state", func(s scene) failover.Command {
			return failover.FinishExecution{Execution: s.exec, State: failover.ExecAborted}
		}},
		{"report of a stranger", frozen, "unknown-agent", func(s scene) failover.Command { return failover.AgentStopped{Agent: "x", Freeze: s.freeze} }},
		{"report in another epoch", frozenWithAgent, "epoch", func(s scene) failover.Command {
			return failover.AgentStopped{Agent: "w1", Freeze: s.freeze, Epoch: 2}
		}},
		{"freeze without configuration", empty, "not-configured", func(scene) failover.Command { return failover.FreezeLease{} }},
		{"freeze of the other region", idle, "epoch", func(scene) failover.Command { return failover.FreezeLease{Region: east2, Epoch: 1} }},
		{"provisional during a freeze", frozen, "frozen", func(scene) failover.Command {
			return failover.FreezeLease{Region: east1, Epoch: 1, Provisional: true}
		}},
		{"firm without execution", idle, "execution", func(scene) failover.Command { return failover.FreezeLease{Region: east1, Epoch: 1} }},
		{"lift of another freeze", frozen, "freeze", func(s scene) failover.Command { return failover.LiftFreeze{Freeze: s.freeze + 1} }},
		{"evidence without execution", idle, "no-execution", func(scene) failover.Command { return failover.RecordEvidence{} }},
		{"attestation by a leader", frozen, "attest", func(s scene) failover.Command {
			return failover.RecordEvidence{Execution: s.exec, Component: "workers", Epoch: 1, Freeze: s.freeze, Class: failover.Attested}
		}},
		{"strange evidence", frozen, "class", func(s scene) failover.Command {
			return failover.RecordEvidence{Execution: s.exec, Component: "workers", Epoch: 1, Freeze: s.freeze, Class: "rumour"}
		}},
		{"lease of an advisory component", advisory, "proof", func(s scene) failover.Command {
			return failover.RecordEvidence{Execution: s.exec, Component: "workers", Epoch: 1, Freeze: s.freeze, Class: failover.Lease, Waited: dur("1h")}
		}},
		{"voiding without execution", idle, "no-execution", func(scene) failover.Command { return failover.VoidEvidence{} }},
		{"attest without execution", idle, "no-execution", func(scene) failover.Command { return failover.Attest{} }},
		{"attest what is not fenced", frozen, "component", func(s scene) failover.Command {
			return failover.Attest{Execution: s.exec, Component: "api", Epoch: 1}
		}},
		{"advance without execution", idle, "no-execution", func(scene) failover.Command { return failover.AdvanceEpoch{} }},
		{"advance while held", held, "state", func(s scene) failover.Command { return failover.AdvanceEpoch{Execution: s.exec} }},
		{"advance with a stop in flight", stopRunningConfirmed, "in-flight", func(s scene) failover.Command {
			return failover.AdvanceEpoch{Execution: s.exec, Epoch: 2, Region: east2, Freeze: s.s.Freeze.ID}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := c.in(t)
			s.refused(c.guard, c.cmd(s))
		})
	}
}

func requested(t *testing.T) scene {
	s := idle(t)
	s.must(failover.RequestExecution{Kind: failover.Failover})
	return s
}

func paused(t *testing.T) scene {
	s := idle(t)
	s.must(failover.PauseAutomation{For: dur("1h")})
	return s
}

// moved2 is a cluster whose service has moved to the secondary.
func moved2(t *testing.T) scene {
	s := frozen(t)
	s.start(plan.FenceID)
	s.must(failover.RecordEvidence{Execution: s.exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: s.freeze})
	s.must(failover.AdvanceEpoch{Execution: s.exec, Epoch: 2, Region: east2, Freeze: s.freeze})
	s.finish(plan.FenceID, s.s.Execution.Step(plan.FenceID).Last().Token, failover.StepDone)
	s.must(failover.Abort{Execution: s.exec})
	s.must(failover.FinishExecution{Execution: s.exec, State: failover.ExecAborted})
	return s
}

func asked(t *testing.T) scene {
	s := running(t)
	s.must(failover.Ask{Execution: s.exec, Kind: "evidence", Text: "?", Ways: []string{"failoverd abort"}})
	return s
}

func held(t *testing.T) scene {
	s := running(t)
	s.must(failover.Hold{Execution: s.exec})
	return s
}

func heldByApproval(t *testing.T) scene {
	s := running(t)
	s.must(failover.Ask{Execution: s.exec, Kind: "approval", Text: "?", Deadline: s.now})
	s.must(failover.AskExpired{Execution: s.exec, Nonce: s.s.Execution.Question.Nonce})
	return s
}

func aborting(t *testing.T) scene {
	s := failedStop(t)
	s.must(failover.Abort{Execution: s.exec, Undo: true})
	s.must(failover.Abort{Execution: s.exec, Undo: true}) // said twice
	return s
}

// withPlan is a running execution of a changed plan.
func withPlan(t *testing.T, change func(*failover.Plan)) scene {
	c := newCluster(t)
	inc := c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")}).Index
	p := start2(c)
	change(&p)
	return scene{cluster: c, exec: c.must(failover.StartExecution{Kind: failover.Failover, Incident: inc, Epoch: 1, Plan: p}).Index}
}

func approvalStep(t *testing.T) scene {
	s := withPlan(t, func(p *failover.Plan) { p.Step("stop-workers").Approval = true })
	s.cluster.frozen(s.exec)
	return s
}

// unfencedPlan is a plan in which a start does not wait for the fence: Apply
// does not rely on the derivation (S1).
func unfencedPlan(t *testing.T) scene {
	return withPlan(t, func(p *failover.Plan) { p.Step("start-api").After = nil })
}

// stopRunning has the stop's token in freeze.
func stopRunning(t *testing.T) scene {
	s := frozen(t)
	s.freeze = s.start("stop-workers")
	return s
}

func stopRunningConfirmed(t *testing.T) scene {
	s := stopRunning(t)
	s.must(failover.RecordEvidence{Execution: s.exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: s.s.Freeze.ID})
	return s
}

func skipped(t *testing.T) scene {
	s := frozen(t)
	s.must(failover.Skip{Execution: s.exec, Step: "start-api"})
	return s
}

func frozenWithAgent(t *testing.T) scene {
	s := frozen(t)
	s.ask("w1", east1)
	return s
}

func advisory(t *testing.T) scene {
	s := withPlan(t, func(p *failover.Plan) { p.Fenced[0].Arming = failover.ArmAdvisory })
	s.freeze = s.cluster.frozen(s.exec)
	return s
}

// Words without which a person cannot act are refused.
func TestReasonsAreNeeded(t *testing.T) {
	for name, cmd := range map[string]func(scene) failover.Command{
		"failover": func(scene) failover.Command { return failover.RequestExecution{Kind: failover.Failover} },
		"pause":    func(scene) failover.Command { return failover.PauseAutomation{For: dur("1h")} },
		"skip":     func(s scene) failover.Command { return failover.Skip{Execution: s.exec, Step: "start-api"} },
		"attest": func(s scene) failover.Command {
			return failover.Attest{Execution: s.exec, Component: "workers", Epoch: 1}
		},
	} {
		s := idle(t)
		if name == "skip" || name == "attest" {
			s = frozen(t)
		}
		res := s.s.Apply(failover.Meta{Index: s.s.Index + 1, Term: 1, At: s.now, By: "uid 1"}, cmd(s))
		if res.Err == nil || !strings.Contains(res.Err.Error(), "reason") && !strings.Contains(res.Err.Error(), "--why") {
			t.Errorf("%s without a reason: %v", name, res.Err)
		}
	}
}

// A held, failed or skipped step, and what a person may do then.
func TestPersonGoesOn(t *testing.T) {
	s := failedStop(t)
	s.must(failover.Ask{Execution: s.exec, Kind: "failed", Step: "stop-workers", Text: "?"})
	s.must(failover.Hold{Execution: s.exec})
	s.must(failover.Retry{Execution: s.exec, Step: "stop-workers"})
	if e := s.s.Execution; e.State != failover.ExecRunning || e.Question != nil || e.Step("stop-workers").State != failover.StepPending {
		t.Fatalf("after retry: %s, question %v", e.State, e.Question)
	}
	s.finish("stop-workers", s.start("stop-workers"), failover.StepUnclear)
	s.must(failover.Skip{Execution: s.exec, Step: "stop-workers"})
	if rec := s.s.Execution.Step("stop-workers"); rec.State != failover.StepSkipped || !rec.Passed() || len(rec.Attempts) != 2 {
		t.Fatalf("after skip: %+v", rec)
	}
	s.must(failover.Hold{Execution: s.exec})
	s.must(failover.Continue{Execution: s.exec})
	if s.s.Execution.State != failover.ExecRunning {
		t.Fatal("continue ends a hold")
	}
}

// A person judges the checks; everything else has passed.
func TestDeclareStable(t *testing.T) {
	s := moved(t)
	s.start("check-workers-sqs_backlog") // a check may be in flight
	s.must(failover.DeclareStable{Execution: s.exec})
	if s.s.Execution != nil || s.s.History[0].State != failover.ExecStable || s.s.CooldownUntil.IsZero() || s.s.Traffic != east2 {
		t.Fatal("a stable execution is closed and starts the cool-down")
	}
	if guard, _ := s.s.AutoGuard(s.now); guard != "direction" {
		t.Errorf("guard %q on the way back", guard)
	}
	s.s.Active = east1 // as after a failback
	if guard, why := s.s.AutoGuard(s.now); guard != "cooldown" || !strings.Contains(why, "failoverd failover") {
		t.Errorf("guard %q (%s) in the cool-down", guard, why)
	}
	if guard, _ := s.s.AutoGuard(s.now.Add(time.Hour)); guard != "" {
		t.Errorf("guard %q after the cool-down", guard)
	}
}

// moved is an execution with everything done but its checks.
func moved(t *testing.T) scene {
	s := frozen(t)
	for _, st := range s.s.Execution.Plan.Steps[1:] {
		if st.Kind == failover.KindCheck || st.Kind == failover.KindStable {
			break
		}
		tok := s.start(st.ID)
		switch st.Kind {
		case failover.KindFence:
			s.must(failover.RecordEvidence{Execution: s.exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: s.freeze})
			s.must(failover.RecordEvidence{Execution: s.exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: s.freeze}) // known
			s.must(failover.AdvanceEpoch{Execution: s.exec, Epoch: 2, Region: east2, Freeze: s.freeze})
		case failover.KindSwitch:
			s.must(failover.SetTraffic{Execution: s.exec, Region: east2})
		}
		s.finish(st.ID, tok, failover.StepDone)
	}
	return s
}

// A failover that a person asked for closes an incident that a guard had kept
// waiting, once the service has left the region.
func TestRequestedFailoverClosesTheIncident(t *testing.T) {
	c := newCluster(t)
	inc := c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")}).Index
	c.must(failover.RefuseIncident{Incident: inc, Guard: "mode", Reason: "because"})
	n := len(c.s.Events)
	c.must(failover.RefuseIncident{Incident: inc, Guard: "mode", Reason: "because"})
	if len(c.s.Events) != n {
		t.Error("the same refusal was noted twice")
	}
	c.must(failover.RequestExecution{Kind: failover.Failover})
	exec := c.must(failover.StartExecution{Kind: failover.Failover, Request: c.s.Request.ID, Epoch: 1, Plan: start2(c)}).Index
	freeze := c.frozen(exec)
	for _, st := range c.s.Execution.Plan.Steps[1:] {
		tok := c.start(st.ID)
		if st.Kind == failover.KindFence {
			c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze})
			c.must(failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: freeze})
		}
		c.finish(st.ID, tok, failover.StepDone)
	}
	c.must(failover.FinishExecution{Execution: exec, State: failover.ExecStable, Outcome: "done"})
	if c.s.Incident != nil {
		t.Fatalf("incident %d of %s is still open, %s is active", c.s.Incident.ID, c.s.Incident.Region, c.s.Active)
	}
}

// What an agent may be told besides "granted".
func TestGrantRefusals(t *testing.T) {
	ask := func(s scene, r failover.LeaseRequest) failover.Grant {
		return s.must(failover.Round{Requests: []failover.LeaseRequest{r}}).Value.([]failover.Grant)[0]
	}
	s := idle(t)
	s.ask("w1", east1)
	for name, r := range map[string]failover.LeaseRequest{
		"is not configured to run under a lease": {Agent: "w2", Region: east1, Component: "api"},
		"never reused":                           {Agent: "w1", Region: east2, Component: "workers"},
		"later epoch":                            {Agent: "w1", Region: east1, Component: "workers", SeenEpoch: 2},
		"is the active region":                   {Agent: "w3", Region: east2, Component: "workers"},
	} {
		if g := ask(s, r); g.Granted || !strings.Contains(g.Sentence, name) {
			t.Errorf("%+v: granted %t, %q", r, g.Granted, g.Sentence)
		}
	}
	s.must(failover.AgentLeft{Agent: "w3"})
	s.must(failover.AgentLeft{Agent: "w3"}) // said twice
	if len(s.s.AgentIDs(east2, "")) != 0 {
		t.Error("an agent that left is still known")
	}
	s = scene{cluster: empty(t).cluster}
	if g := ask(s, failover.LeaseRequest{Agent: "w1", Region: east1, Component: "workers"}); g.Granted || s.s.FreezeWait(east1) != 0 {
		t.Errorf("granted without a configuration: %+v", g)
	}
}

// Lifting a freeze takes back what agents promised for it; contrary
// observations take evidence back.
func TestEvidenceIsTakenBack(t *testing.T) {
	s := frozenWithAgent(t)
	s.must(failover.AgentStopped{Agent: "w1", Freeze: s.freeze, Epoch: 1})
	s.must(failover.Ask{Execution: s.exec, Kind: "evidence", Text: "?"})
	s.must(failover.RecordEvidence{Execution: s.exec, Component: "workers", Class: failover.Resource, Epoch: 1, Freeze: s.freeze})
	if s.s.Execution.Question == nil {
		t.Fatal("evidence of a class that the proof does not accept closed the question")
	}
	s.must(failover.RecordEvidence{Execution: s.exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: s.freeze})
	if s.s.Execution.Question != nil {
		t.Fatal("the question for evidence stays open although it is there")
	}
	s.must(failover.VoidEvidence{Execution: s.exec, Component: "workers", Class: failover.Confirmed, Reason: "seen running"})
	if len(s.s.Execution.Unproven(s.freeze)) != 1 {
		t.Fatal("void evidence still counts")
	}
	s.must(failover.Abort{Execution: s.exec})
	s.must(failover.LiftFreeze{Freeze: s.freeze, Reason: "person"})
	if s.s.Agents["w1"].StoppedFor != 0 {
		t.Fatal("an agent's report outlives the freeze that it was made for")
	}
}

func TestSmallMemories(t *testing.T) {
	c := newCluster(t)
	for i := range 40 {
		c.must(failover.SaveMessage{Key: fmt.Sprintf("%03d", i), Ref: failover.MessageRef{TS: "1"}})
	}
	if _, ok := c.s.Messages["039"]; len(c.s.Messages) != 32 || !ok {
		t.Errorf("%d messages are kept", len(c.s.Messages))
	}
	for i := range 600 {
		c.s.Apply(failover.Meta{Index: c.s.Index + 1, Term: 1, At: c.now, ID: fmt.Sprint(i), By: "uid 1"}, failover.SaveMessage{Key: "k"})
	}
	if len(c.s.Seen) != 512 || c.s.Seen[511] != "599" {
		t.Errorf("%d command IDs are kept, the last is %s", len(c.s.Seen), c.s.Seen[len(c.s.Seen)-1])
	}
	// Time never runs backward (and no event does).
	at := c.s.Time
	c.s.Apply(failover.Meta{Index: c.s.Index + 1, Term: 1, ProposedTerm: 1, At: at.Add(-time.Hour)}, failover.Lead{Node: "third"})
	if !c.s.Time.Equal(at) || c.s.Events[len(c.s.Events)-1].At.Before(at) {
		t.Errorf("time ran backward to %s", c.s.Time)
	}
}

// What was told of last is kept, however its key is written.
func TestTheOldestMessageIsForgotten(t *testing.T) {
	c := current(t)
	for i := range 32 {
		c.now = c.now.Add(time.Second)
		c.must(failover.SaveMessage{Key: fmt.Sprintf("suspicion-%020d", i), Ref: failover.MessageRef{TS: "1"}})
	}
	for i, key := range []string{"execution-1", "incident-1", "order-1"} {
		c.now = c.now.Add(time.Second)
		c.must(failover.SaveMessage{Key: key, Ref: failover.MessageRef{TS: "1"}})
		_, there := c.s.Messages[key]
		if _, gone := c.s.Messages[fmt.Sprintf("suspicion-%020d", i)]; !there || gone || len(c.s.Messages) != 32 {
			t.Errorf("%s: kept %t, the oldest %t, %d messages", key, there, gone, len(c.s.Messages))
		}
	}
}
