package failover_test

import (
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// endedBehindTheFence is following, with a check that has failed, ended by a person: the record has moved the clients, the object was not seen to.
func endedBehindTheFence(t *testing.T) (c *cluster, exec uint64) {
	t.Helper()
	c, token := following(t)
	e := c.s.Execution
	for id, rec := range e.Steps {
		if k := e.Plan.Step(id).Kind; k == failover.KindCheck {
			rec.State = []failover.StepState{failover.StepFailed, failover.StepDone}[len(id)%2] // either is looked at anew
		} else if k == failover.KindStable {
			delete(e.Steps, id)
		}
	}
	e.Approvals = []failover.Approval{{By: "uid 1"}, {Step: object, By: "uid 1"}, {Step: "switch-route53_weights", By: "uid 1"}}
	c.must(failover.Abort{Execution: e.ID})
	c.finish(object, token, failover.StepUnproven)
	burn := c.must(failover.StepStarted{Execution: e.ID, Step: object, Epoch: 2, PlanHash: e.PlanHash, Burn: true, Until: c.now.Add(time.Second)}).Index
	c.must(failover.StepFinished{Execution: e.ID, Step: object, Token: burn, Outcome: failover.StepDone, Stands: burn})
	c.must(failover.FinishExecution{Execution: e.ID, State: failover.ExecAborted, Outcome: "ended"})
	return c, e.ID
}

// An execution that was ended behind the fence is no dead end: what is done stays done, the rest of its plan is carried out, and its clients
// are held once, whether it ended once or twice.
func TestAnEndedExecutionIsCarriedOn(t *testing.T) {
	c, exec := endedBehindTheFence(t)
	if can := c.s.Continuable(); can == nil || can.ID != exec {
		t.Fatalf("%+v", can)
	}
	for i := range c.s.Holds {
		if h := &c.s.Holds[i]; h.Component == failover.TrafficComponent {
			h.Applied = []time.Time{c.now, c.now, c.now}
		}
	}
	before := len(c.s.History)
	c.now = c.now.Add(time.Hour)
	c.must(failover.Continue{Execution: exec, Ended: true})
	e := c.s.Execution
	if e == nil || e.ID != exec || e.State != failover.ExecRunning || !e.FinishedAt.IsZero() || e.Outcome != "" || len(c.s.History) != before-1 || c.s.Continuable() != nil {
		t.Fatalf("%+v", e)
	}
	for _, st := range e.Plan.Steps {
		want := failover.StepDone
		switch {
		case st.ID == object || st.Kind == failover.KindCheck || st.Kind == failover.KindStable:
			want = failover.StepPending
		case st.Kind == failover.KindStop:
			want = failover.StepUnproven
		}
		if got := e.Step(st.ID).State; got != want {
			t.Errorf("%s is %s, want %s", st.ID, got, want)
		}
	}
	if !e.Approved("") || !e.Approved("switch-route53_weights") || e.Approved(object) {
		t.Errorf("approved: %+v", e.Approvals)
	}
	c.refused("no-return", failover.Abort{Execution: exec, Undo: true})
	c.refused("execution-open", failover.Continue{Execution: exec, Ended: true}) // pressed twice
	token := c.send(object)
	c.must(failover.StepFinished{Execution: exec, Step: object, Token: token, Outcome: failover.StepDone, Stands: token})
	for _, st := range e.Plan.Steps {
		if st.Kind == failover.KindCheck || st.Kind == failover.KindStable {
			c.finish(st.ID, c.start(st.ID), failover.StepDone)
		}
	}
	c.close()
	held := map[failover.StepID]int{}
	for _, h := range c.s.Holds {
		if h.Component == failover.TrafficComponent {
			held[h.Step.ID]++
			if n := len(h.Applied); h.Step.ID == "switch-route53_weights" && n != 3 {
				t.Errorf("it has forgotten how often it was applied: %d", n)
			}
		}
	}
	if len(held) != 2 || held[object] != 1 || held["switch-route53_weights"] != 1 || len(c.s.Late) != 0 || len(c.s.History) != before {
		t.Errorf("held: %v, late: %+v", held, c.s.Late)
	}
}

// Nothing else comes back: what was ended in front of the fence, is stable or undone, has been followed by another execution, or whose
// region is active in another epoch.
func TestNothingElseIsCarriedOn(t *testing.T) {
	for name, tt := range map[string]struct {
		guard string
		make  func(c *cluster, exec uint64)
	}{
		"stable":            {"state", func(c *cluster, _ uint64) { c.s.History[0].State = failover.ExecStable }},
		"undone":            {"state", func(c *cluster, _ uint64) { c.s.History[0].State = failover.ExecUndone }},
		"another epoch":     {"state", func(c *cluster, _ uint64) { c.s.Epoch++ }},
		"before the fence":  {"state", func(c *cluster, _ uint64) { c.s.Epoch-- }},
		"the region active": {"state", func(c *cluster, _ uint64) { c.s.Active = east1 }},
		"another is newer":  {"no-execution", func(c *cluster, exec uint64) { c.s.History = append(c.s.History, &failover.Execution{ID: exec + 1}) }},
		"a request":         {"requested", func(c *cluster, _ uint64) { c.s.Request = &failover.Request{ID: 1} }},
		"a preparation":     {"execution-open", func(c *cluster, _ uint64) { c.s.Preparation = &failover.Execution{ID: 1} }},
		"a released hold":   {"fence", func(c *cluster, _ uint64) { c.must(failover.ReleaseHold{Component: "workers"}) }},
		"seen running": {"fence", func(c *cluster, _ uint64) {
			c.must(failover.NoteHold{Hold: c.s.Holds[0].ID, Status: failover.HoldViolated, Detail: "2 of 2 run"})
		}},
		"another pair": {"config", func(c *cluster, _ uint64) {
			s := *c.s.Settings
			s.Primary, s.Secondary = east2, "us-west-2"
			c.s.Settings = &s
		}},
		"a pause":         {"pause", func(c *cluster, _ uint64) { c.must(failover.PauseAutomation{For: dur("2h")}) }},
		"an older member": {"features", func(c *cluster, _ uint64) { c.s.Features = 2 }},
	} {
		t.Run(name, func(t *testing.T) {
			c, exec := endedBehindTheFence(t)
			c.refused("no-execution", failover.Continue{Execution: exec + 1, Ended: true})
			c.refused("no-execution", failover.Continue{Execution: exec}) // the end of a hold, late
			tt.make(c, exec)
			c.refused(tt.guard, failover.Continue{Execution: exec, Ended: true})
			if c.s.Execution != nil {
				t.Errorf("%+v", c.s.Execution)
			}
		})
	}
	c, exec := endedBehindTheFence(t)
	res := c.s.Apply(failover.Meta{Index: c.s.Index + 1, Term: c.term, ProposedTerm: c.term, At: c.now, Node: c.node, By: "uid 1"}, failover.Continue{Execution: exec, Ended: true})
	if res.Err == nil || c.s.Execution != nil {
		t.Errorf("without a reason: %v", res.Err)
	}
}

// Of two writes at once to one switch, the second is refused by the resource, and nobody would know: its step, and what replaces a late token
// of it, write in turn.
func TestACarriedOnSwitchAndItsLateTokenWriteInTurn(t *testing.T) {
	c, exec := endedBehindTheFence(t)
	step := *c.s.History[0].Plan.Step(object)
	c.s.Late = []failover.LateToken{{ID: 5, Step: step, Token: 1, Until: c.now.Add(10 * time.Second)}}
	c.must(failover.Continue{Execution: exec, Ended: true})
	start := failover.StepStarted{Execution: exec, Step: object, Epoch: 2, PlanHash: c.s.Execution.PlanHash, Until: c.now.Add(30 * time.Second)}
	c.refused("in-flight", start)
	c.now = c.now.Add(11 * time.Second)
	token := c.must(start).Index
	burn := failover.BurnToken{ID: 5, Epoch: 2, Until: c.now.Add(time.Minute)}
	c.refused("in-flight", burn)
	c.must(failover.StepFinished{Execution: exec, Step: object, Token: token, Outcome: failover.StepDone, Stands: token})
	c.must(burn)
}

// What a person has vouched for, or was settled, before an execution is carried on is not open again when it ends a second time.
func TestASettledLateWriteStaysSettled(t *testing.T) {
	c, exec := endedBehindTheFence(t)
	rec := c.s.History[0].Steps[object]
	rec.Attempts[len(rec.Attempts)-1].Stands = 0 // as of one that was handed over, and vouched for since
	c.must(failover.Continue{Execution: exec, Ended: true})
	c.must(failover.Abort{Execution: exec})
	c.must(failover.FinishExecution{Execution: exec, State: failover.ExecAborted, Outcome: "ended again"})
	if len(c.s.Late) != 0 {
		t.Errorf("%+v", c.s.Late)
	}
}

// How long a step usually takes is not learned from the days that lay between its failure and the person who had it tried again.
func TestTheDaysBetweenAreNotLearned(t *testing.T) {
	c := current(t)
	c, exec := c.opened()
	c.finish(plan.FreezeID, c.start(plan.FreezeID), failover.StepFailed)
	c.now = c.now.Add(48 * time.Hour)
	c.must(failover.Retry{Execution: exec, Step: plan.FreezeID})
	token := c.start(plan.FreezeID)
	c.now = c.now.Add(30 * time.Second)
	c.finish(plan.FreezeID, token, failover.StepDone)
	if got, _ := c.s.Usual(plan.FreezeID); got.D() != 30*time.Second {
		t.Errorf("it usually takes %s", got)
	}
}

// Who carries an execution on asks for what is left of it: somebody else approves that, also where automation had begun it. Whoever asked
// for it in the first place approves it as little as before.
func TestWhoCarriesOnDoesNotApprove(t *testing.T) {
	for name, auto := range map[string]bool{"begun by automation": true, "asked for by uid 7": false} {
		t.Run(name, func(t *testing.T) {
			c, exec := endedBehindTheFence(t)
			c.s.History[0].Auto, c.s.History[0].By = auto, "uid 7"
			s := *c.s.Settings
			s.Policy.TwoNodes = true
			c.s.Settings = &s
			order := failover.Continue{Execution: exec, Ended: true}
			c.node = "use2a"
			if err := c.apply(order, "uid 8").Err; err == nil {
				t.Fatal("one node suffices")
			}
			c.node = "third"
			if err := c.apply(order, "uid 9").Err; err != nil {
				t.Fatal(err)
			}
			s.Policy.TwoNodes = false
			ask := c.must(failover.Ask{Execution: exec, Kind: "approval", Step: object, Text: "move them?"}).Index
			for _, by := range []string{"uid 8", "uid 9"} {
				c.refusedBy("same-person", by, failover.Approve{Execution: exec, Nonce: ask})
			}
			if err := c.apply(failover.Approve{Execution: exec, Nonce: ask}, "uid 7").Err; (err == nil) != auto {
				t.Errorf("uid 7 approves: %v", err)
			}
			if !auto {
				if err := c.apply(failover.Approve{Execution: exec, Nonce: ask}, "uid 6").Err; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A region that fails after it was entered is not well because a plan has ended: its incident stands until it is well.
func TestAnIncidentOfTheEnteredRegionOutlivesThePlan(t *testing.T) {
	c, exec := endedBehindTheFence(t)
	c.must(failover.Continue{Execution: exec, Ended: true})
	token := c.send(object)
	c.must(failover.StepFinished{Execution: exec, Step: object, Token: token, Outcome: failover.StepDone, Stands: token})
	for _, st := range c.s.Execution.Plan.Steps {
		if st.Kind == failover.KindCheck || st.Kind == failover.KindStable {
			c.finish(st.ID, c.start(st.ID), failover.StepDone)
		}
	}
	c.s.Incident = &failover.Incident{ID: c.s.Index, Region: c.s.Active}
	c.close()
	if c.s.Execution != nil || c.s.Incident == nil || c.s.Incident.Region != east2 {
		t.Errorf("execution %+v, incident %+v", c.s.Execution, c.s.Incident)
	}
}
