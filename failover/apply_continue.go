package failover

import (
	"fmt"
	"slices"
	"time"
)

// This file holds how an execution goes on that was held, or ended behind the fence.

func (c Continue) apply(s *State, m Meta) (any, error) {
	if c.Ended {
		return s.reopen(c, m)
	}
	e, err := s.running(c.Execution)
	if err != nil {
		return nil, err
	}
	if e.State != ExecHeld {
		return nil, refuse("state", "execution %d is %s, not held", e.ID, e.State)
	}
	if e.Question != nil && e.Question.Kind == "approval" {
		return nil, refuse("question", "execution %d waits for an approval: `failoverd approve`", e.ID)
	}
	e.State = ExecRunning
	s.event(m, c, "execution %d goes on", e.ID)
	return nil, nil
}

// Continuable returns the execution that was ended behind the fence and can be carried on: the newest one, whose region is the active
// one in the epoch that it has begun. Nil: there is none. The region that it left is fenced, and what it should have started in the
// other one nobody else would start: without it the plan's end would be a person's, step by step.
func (s *State) Continuable() *Execution {
	if s.Execution != nil || len(s.History) == 0 || s.Level() < 3 {
		return nil
	}
	e := s.History[len(s.History)-1]
	if !e.Kind.Leaves() || e.State != ExecAborted || e.Undo || e.To != s.Active || s.Epoch != e.Epoch+1 {
		return nil
	}
	return e
}

// reopen carries on an execution that was ended behind the fence, with the plan that it had (rule E8). What is done stays done, what has
// failed is asked about again, and what was approved for a step that has not come to pass, or allowed to it, counts no more: the world has gone on.
func (s *State) reopen(c Continue, m Meta) (any, error) {
	old := s.Continuable()
	switch {
	case s.Execution != nil:
		return nil, refuse("execution-open", "execution %d is not finished", s.Execution.ID)
	case len(s.History) == 0 || s.History[len(s.History)-1].ID != c.Execution:
		return nil, refuse("no-execution", "no execution is running (asked for %d)", c.Execution)
	case old == nil:
		e := s.History[len(s.History)-1]
		return nil, refuse("state", "execution %d is %s in epoch %d, and %s is active in epoch %d: only one that was ended behind the fence, and whose epoch stands, can be carried on", e.ID, e.State, e.Epoch, s.Active, s.Epoch)
	case s.Request != nil:
		return nil, refuse("requested", "request %d by %s waits for the leader", s.Request.ID, s.Request.By)
	case s.Preparation != nil:
		return nil, refuse("execution-open", "preparation %d is not finished", s.Preparation.ID)
	case s.Settings.Other(old.To) != old.From:
		return nil, refuse("config", "execution %d leaves %s for %s, and the configuration has %s and %s by now: what is left of its plan is a person's", old.ID, old.From, old.To, s.Settings.Primary, s.Settings.Secondary)
	case s.Paused(m.At):
		return nil, refuse(GuardPause, "%s; `failoverd resume` ends the pause", s.pausedSentence())
	case s.unheld(old) != "":
		return nil, refuse("fence", "%s", s.unheld(old))
	case m.Why == "":
		return nil, refuse("why", "carrying on an execution that was ended needs a reason (--why)")
	}
	e := old.clone() // finished ones never change
	e.State, e.Undo, e.Withdrawn, e.FinishedAt, e.Outcome = ExecRunning, false, false, time.Time{}, ""
	for _, by := range []string{m.By, s.firstHalf(m, c)} {
		if by != "" && !slices.Contains(e.CarriedBy, by) {
			e.CarriedBy = append(e.CarriedBy, by)
		}
	}
	for _, st := range e.Plan.Steps {
		rec := e.Steps[st.ID]
		if rec == nil {
			continue
		}
		// A check says nothing of a world that has gone on, and what the end has cut short is begun anew.
		if st.Kind == KindCheck && (rec.State == StepDone || rec.State == StepFailed) || rec.State == StepFailed && st.Action == "" ||
			rec.State == StepUnproven && st.Kind == KindSwitch {
			rec.State = StepPending
		}
		// What may land of it stands in Late, or was settled there, or a person has vouched for it.
		if token := rec.LateToken(); token > 0 {
			for i := range rec.Attempts {
				rec.Attempts[i].Vowed = rec.Attempts[i].Vowed || rec.Attempts[i].Token == token
			}
		}
	}
	// Nor is what was allowed: he who allows it again sees what it would cost now.
	for _, rec := range e.Steps {
		if !rec.Passed() {
			rec.Allowed = nil
		}
	}
	e.Approvals = slices.DeleteFunc(e.Approvals, func(a Approval) bool { return a.Step != "" && !e.Step(a.Step).Passed() })
	s.History = slices.Delete(slices.Clone(s.History), len(s.History)-1, len(s.History))
	s.Execution = e
	s.Inventory = nil // what was counted since is of the way back
	s.event(m, c, "execution %d is carried on behind the fence: %s stays fenced, and what its plan has left for %s is done", e.ID, e.From, e.To)
	return e.ID, nil
}

// unheld says what of an ended execution's fence is kept no more: the proof of its stops is as old as the fence, and only the standing holds
// have kept them true since. "" if all is kept.
func (s *State) unheld(e *Execution) string {
	for _, st := range e.Plan.Steps {
		if st.Kind != KindStop || e.Step(st.ID).State == StepSkipped {
			continue
		}
		i := slices.IndexFunc(s.Holds, func(h StandingHold) bool {
			return h.Step.Kind == KindStop && h.Step.ID == st.ID && h.Step.Region == e.From
		})
		switch {
		case i < 0:
			return fmt.Sprintf("the standing hold of %s in %s was released: it may run there, and nothing would stop it; what is left of the plan is a person's", st.Component, e.From)
		case s.Holds[i].Status == HoldViolated:
			return fmt.Sprintf("%s is seen running in %s: %s; when it is seen to have stopped, try again", st.Component, e.From, s.Holds[i].Detail)
		}
	}
	return ""
}
