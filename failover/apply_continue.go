package failover

import (
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
	if e.Kind != Failover || e.State != ExecAborted || e.To != s.Active || s.Epoch != e.Epoch+1 {
		return nil
	}
	return e
}

// reopen carries on an execution that was ended behind the fence, with the plan that it had (rule E8). What is done stays done, what has
// failed is asked about again, and what was approved for a step that has not come to pass is asked for again: the world has gone on.
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
	case m.Why == "":
		return nil, refuse("why", "carrying on an execution that was ended needs a reason (--why)")
	}
	e := old.clone() // finished ones never change
	e.State, e.Undo, e.Withdrawn, e.FinishedAt, e.Outcome = ExecRunning, false, false, time.Time{}, ""
	for _, st := range e.Plan.Steps {
		// What the end has cut short is begun anew: a check, which changes nothing, and a switch that was not seen to move the clients.
		rec := e.Steps[st.ID]
		if rec != nil && (rec.State == StepFailed && (st.Kind == KindCheck || st.Action == "") || rec.State == StepUnproven && st.Kind == KindSwitch) {
			rec.State = StepPending
		}
	}
	e.Approvals = slices.DeleteFunc(e.Approvals, func(a Approval) bool { return a.Step != "" && !e.Step(a.Step).Passed() })
	s.History = slices.Delete(slices.Clone(s.History), len(s.History)-1, len(s.History))
	s.Execution = e
	s.event(m, c, "execution %d is carried on behind the fence: %s stays fenced, and what its plan has left for %s is done", e.ID, e.From, e.To)
	return e.ID, nil
}
