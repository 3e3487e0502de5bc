package failover

import "fmt"

// This file holds how an execution moves the traffic and how it ends.

// Flip is the value of an accepted SetTraffic.
type Flip struct {
	Left  Region // where the traffic goes no more
	Epoch uint64
}

func (c SetTraffic) apply(s *State, m Meta) (any, error) {
	e, err := s.running(c.Execution)
	if err != nil {
		return nil, err
	}
	if c.Region != s.Active {
		return nil, refuse("fence", "traffic cannot move to %s: %s is the active region", c.Region, s.Active)
	}
	if s.Traffic != c.Region {
		s.Traffic = c.Region
		s.event(m, c, "traffic: %s (execution %d)", c.Region, e.ID)
	}
	return Flip{Left: s.Settings.Other(c.Region), Epoch: s.Epoch}, nil
}

func (c DeclareStable) apply(s *State, m Meta) (any, error) {
	e, err := s.running(c.Execution)
	if err != nil {
		return nil, err
	}
	for _, st := range e.Plan.Steps {
		rec := e.Step(st.ID)
		switch {
		case st.Tokens && !rec.Consumed():
			return nil, refuse("token", "step %s may still take effect: its token is neither consumed nor burnt", st.ID)
		case rec.State == StepRunning || rec.State == StepUndoing:
			if st.Kind != KindCheck {
				return nil, refuse("in-flight", "step %s is in flight", st.ID)
			}
		case st.Kind == KindCheck || st.Kind == KindStable || rec.Passed():
		default:
			return nil, refuse("order", "step %s is %s: it comes before stable", st.ID, rec.State)
		}
	}
	s.finish(m, c, e, ExecStable, "declared stable by "+m.By)
	return nil, nil
}

func (c FinishExecution) apply(s *State, m Meta) (any, error) {
	e, err := s.open(c.Execution)
	if err != nil {
		return nil, err
	}
	if !c.State.Final() {
		return nil, refuse("state", "%q does not end an execution", c.State)
	}
	for _, st := range e.Plan.Steps {
		// E6: closed only when every started step is resolved.
		if rec := e.Step(st.ID); rec.State == StepRunning || rec.State == StepUndoing {
			return nil, refuse("in-flight", "step %s is in flight", st.ID)
		}
	}
	if c.State == ExecStable {
		for _, st := range e.Plan.Steps {
			if !e.Step(st.ID).Passed() {
				return nil, refuse("order", "step %s is %s", st.ID, e.Step(st.ID).State)
			}
		}
	} else if e.State != ExecAborting && e.State != ExecAwaiting {
		return nil, refuse("state", "execution %d is %s, not aborting", e.ID, e.State)
	}
	for _, st := range e.Plan.Steps {
		// E4: closed only when no token of it can still take effect; this holds for
		// actuators that were passed over, too.
		if rec := e.Step(st.ID); st.Tokens && !rec.Consumed() && !(c.State == ExecStable && e.HandedOver(st)) {
			return nil, refuse("token", "step %s may still take effect: its token is neither consumed nor burnt", st.ID)
		}
	}
	if e == s.Preparation {
		s.leaveLate(m.Index, m.At, e, fmt.Sprintf("of preparation %d", e.ID))
		s.Preparation = nil
		s.event(m, c, "preparation %d %s: %s", e.ID, c.State, c.Outcome)
		return nil, nil
	}
	s.finish(m, c, e, c.State, c.Outcome)
	return nil, nil
}

func (s *State) finish(m Meta, c Command, e *Execution, state ExecState, outcome string) {
	if s.Freeze != nil && s.Freeze.Execution == e.ID {
		s.liftFreeze(m, c, "execution "+string(state))
	}
	aborted := e.State == ExecAborting && !e.Withdrawn
	e.State, e.Outcome, e.FinishedAt, e.Question = state, outcome, m.At, nil
	s.leaveLate(m.Index, m.At, e, fmt.Sprintf("of execution %d", e.ID))
	if s.Level() >= 3 && (state == ExecStable || e.To == s.Active) {
		s.holdTraffic(m.Index, m.At, e, 0, state == ExecStable, func(format string, args ...any) { s.event(m, c, format, args...) }) // also where a person has ended it behind the fence
	}
	if state == ExecStable {
		s.Inventory, s.Readings = nil, nil // the steps have the same names in the other direction
		// Only a completed failover starts the cool-down.
		s.CooldownUntil = m.At.Add(s.Settings.Policy.Cooldown.D())
	} else if s.Level() >= 3 && e.To == s.Active {
		s.Inventory = nil // likewise: it only grows. Readings know of which step they are, and who carries on needs them
	}
	if i := s.Incident; i != nil {
		switch {
		case i.Region != s.Active || state == ExecStable && s.Level() < 3:
			s.Incident = nil // whatever started it, the service has left the region; one of the region that was entered stands
		case i.ID == e.Incident && aborted:
			// A person ended it: the incident stays open, so that automation does
			// not begin again a second later.
			i.Refusal = "its execution was aborted; `failoverd failover --why …` acts, and a whole hold of good health closes the incident"
		case i.ID == e.Incident:
			s.Incident = nil
		}
	}
	s.History = append(s.History, e)
	s.Execution = nil
	s.event(m, c, "execution %d %s: %s", e.ID, state, outcome)
}
