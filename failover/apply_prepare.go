package failover

import (
	"bytes"
	"fmt"
	"time"
)

// This file holds the preparation (rule E7): what is cheap and undoable begins
// while a failure is only suspected, under an ID of its own. A failover that
// starts adopts it; otherwise it undoes itself.

type (
	// StartPreparation begins the steps marked prepare.
	StartPreparation struct {
		Epoch uint64 `json:"epoch"`
		Plan  Plan   `json:"plan"`
	}
	// EndPreparation lets a preparation undo itself, because the suspicion has
	// passed.
	EndPreparation struct {
		Preparation uint64 `json:"preparation"`
		Reason      string `json:"reason"`
	}
)

func (c StartPreparation) apply(s *State, m Meta) (any, error) {
	switch {
	case s.Settings == nil:
		return nil, refuse("not-configured", "the cluster has no configuration yet")
	case s.Execution != nil || s.Preparation != nil:
		return nil, refuse("execution-open", "an execution or a preparation is not finished")
	case c.Epoch != s.Epoch || c.Plan.From != s.Active:
		return nil, refuse("epoch", "the preparation was made to leave %s in epoch %d; %s is active in epoch %d", c.Plan.From, c.Epoch, s.Active, s.Epoch)
	case len(c.Plan.Steps) == 0:
		return nil, refuse("plan", "there is nothing to prepare")
	}
	for _, st := range c.Plan.Steps {
		if err := s.mayPrepare(st); err != nil {
			return nil, err
		}
	}
	if guard, reason := s.AutoGuard(m.At); guard != "" {
		return nil, refuse(guard, "%s", reason)
	}
	since := suspectedSince(s)
	if since.IsZero() || since.Equal(s.PreparedFor) {
		return nil, refuse("suspicion", "there is one preparation per suspicion, and none without")
	}
	s.PreparedFor = since
	plan := c.Plan
	s.Preparation = &Execution{
		ID: m.Index, Kind: Preparation, From: plan.From, To: plan.To, Plan: &plan, PlanHash: plan.Hash(), Epoch: s.Epoch,
		Auto: true, By: "failoverd", Why: "the failure of " + string(plan.From) + " is suspected", State: ExecRunning,
		Steps: map[StepID]*StepRecord{}, StartedAt: m.At,
	}
	s.event(m, c, "preparation %d: %d steps for leaving %s begin; they are undone if the suspicion passes", m.Index, len(plan.Steps), plan.From)
	return m.Index, nil
}

// suspectedSince is when the suspicion began; zero: there is none.
func suspectedSince(s *State) time.Time {
	if s.Suspicion == nil || s.Suspicion.Region != s.Active {
		return time.Time{}
	}
	return s.Suspicion.Since
}

// mayPrepare holds what a preparation may do at all: start, in the region that
// would be entered, what can be undone and cannot work before it has a lease.
func (s *State) mayPrepare(st Step) error {
	c := s.Settings.Component(st.Component)
	switch {
	case st.Kind != KindStart || !st.Prepare || st.NoReturn || st.Approval:
		return refuse("prepare", "step %s may not be prepared: only a start that is marked prepare, can be undone and needs no approval may", st.ID)
	case c == nil || c.Stop != nil && (!c.Agent || c.Arming != ArmEnforced):
		return refuse("prepare", "step %s may not be prepared: %s is critical and does not run under an enforced lease, so it would work in two regions", st.ID, st.Component)
	}
	return nil
}

func (c EndPreparation) apply(s *State, m Meta) (any, error) {
	p := s.Preparation
	switch {
	case p == nil || p.ID != c.Preparation:
		return nil, refuse("preparation", "preparation %d is not open", c.Preparation)
	case s.Incident != nil:
		return nil, refuse("incident-open", "incident %d is open: the preparation waits for its execution", s.Incident.ID)
	case p.State != ExecRunning:
		return nil, refuse("state", "preparation %d is %s", p.ID, p.State)
	}
	s.takeBack(m, c, ": "+c.Reason)
	return nil, nil
}

// takeBack ends the preparation. What it started is undone, but for what it started
// in the region that is active by now.
func (s *State) takeBack(m Meta, c Command, why string) {
	p := s.Preparation
	p.State, p.Undo = ExecAborting, true
	if s.Level() >= 3 && p.To == s.Active {
		p.Undo = false
		s.event(m, c, "preparation %d ends, and what it started stands: %s is active%s", p.ID, p.To, why)
		return
	}
	s.event(m, c, "preparation %d is taken back%s", p.ID, why)
}

// keepPreparation ends the undoing of a preparation at the moment when an
// incident opens: an undo that has not begun is cancelled.
func (s *State) keepPreparation(m Meta, c Command) {
	if p := s.Preparation; p != nil && p.State == ExecAborting {
		p.State, p.Undo = ExecRunning, false
		s.event(m, c, "preparation %d is kept: the incident has opened", p.ID)
	}
}

// adopt moves the preparation's steps into an execution. What was done stays
// done; what runs is inspected by the execution before it goes on; an undo that
// has begun is finished first (rule E7).
func (s *State) adopt(m Meta, c Command, e *Execution) error {
	p := s.Preparation
	if p == nil {
		return nil
	}
	if reason := s.Misfit(e.Plan); reason != "" {
		return refuse(GuardPreparation, "%s", reason)
	}
	adopted := 0
	for _, st := range p.Plan.Steps {
		rec := p.Steps[st.ID]
		if rec == nil {
			continue
		}
		switch rec.State {
		case StepDone, StepRunning, StepUndoing:
			adopted++
		default:
			rec.State = StepPending
		}
		e.Steps[st.ID] = rec
	}
	s.Preparation = nil
	s.event(m, c, "execution %d adopts %d prepared steps of preparation %d", e.ID, adopted, p.ID)
	return nil
}

// Misfit says which step the open preparation has begun that is not part of a
// plan: no execution of that plan can adopt it. "" while all of it fits.
func (s *State) Misfit(plan *Plan) string {
	p := s.Preparation
	if p == nil {
		return ""
	}
	for _, st := range p.Plan.Steps {
		same := plan.Step(st.ID)
		if rec := p.Steps[st.ID]; rec != nil && len(rec.Attempts) > 0 && (same == nil || !sameAction(*same, st)) {
			return fmt.Sprintf("step %s of preparation %d is not part of the plan as it is now: the preparation is undone first", st.ID, p.ID)
		}
	}
	return ""
}

// sameAction reports whether two steps do the same thing.
func sameAction(a, b Step) bool {
	return a.Action == b.Action && a.Version == b.Version && a.Region == b.Region && bytes.Equal(a.Params, b.Params)
}
