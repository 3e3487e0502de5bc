package failover

import "slices"

func (c Skip) apply(s *State, m Meta) (any, error) {
	e, err := s.running(c.Execution)
	if err != nil {
		return nil, err
	}
	st := e.Plan.Step(c.Step)
	switch {
	case st == nil:
		return nil, refuse("step", "the plan has no step %q", c.Step)
	case st.Kind == KindFence || st.Kind == KindFreeze:
		return nil, refuse("fence", "%s cannot be skipped: it is what keeps two regions from running at once; prove that the components have stopped, or attest it (`failoverd attest COMPONENT --why …`)", c.Step)
	case m.Why == "":
		return nil, refuse("why", "skipping a step needs a reason (--why)")
	}
	if rec := e.Steps[c.Step]; rec != nil {
		// A switch that another one was faster than is tried without end; what it
		// asked for is wanted, and may land.
		follows := s.Level() >= 3 && rec.State == StepRunning && st.Kind == KindSwitch && e.Moved(st.ID)
		if (rec.State == StepRunning || rec.State == StepUndoing) && !follows {
			return nil, refuse("in-flight", "step %s is in flight: hold the execution and wait for it", c.Step)
		}
		// What nobody knows how to put back, a person does.
		byHand := s.Level() >= 3 && e.State == ExecAborting && rec.State != StepSkipped && rec.Blind()
		if rec.Passed() && !byHand && !(rec.State == StepSkipped && st.Tokens && !rec.Consumed()) {
			return nil, refuse("state", "step %s is %s", c.Step, rec.State)
		}
		if st.Tokens && !rec.Consumed() && (e.State == ExecAborting || rec.State == StepSkipped || follows) {
			// The person takes it upon himself that the late effect cannot come.
			rec.Last().Outcome = StepSkipped
			// Of one that follows he was not asked that: it goes on being looked for.
			rec.Last().Vowed = s.Level() >= 3 && !follows
		}
	} else {
		e.Steps[c.Step] = &StepRecord{}
	}
	e.Steps[c.Step].State, e.Steps[c.Step].Detail = StepSkipped, "skipped by "+m.By+": "+m.Why
	s.answered(e, c.Step)
	s.event(m, c, "step %s skipped", c.Step)
	// Somebody has done it by hand; or it may fail, and has, and what was tried may take effect all the same.
	tried := slices.ContainsFunc(e.Steps[c.Step].Attempts, func(a AttemptRecord) bool { return !a.Undo && !a.Burn })
	if !m.leads() || s.Level() < 3 || tried {
		s.holdStart(m, c, c.Step, e, 0)
	}
	return nil, nil
}
