package failover

import "slices"

// This file holds when an execution is no longer needed (rule G8).

// Withdrawable reports whether the execution may be taken back without a person when
// the region that it leaves is well again (rule G8): no person has asked for it,
// approved anything of it or holds it, and nothing irreversible has begun. That the
// epoch has advanced, the caller knows.
func (e *Execution) Withdrawable() bool {
	suspends := e.Question != nil && e.Question.Step == suspended
	if !e.Auto || e.State != ExecRunning && (e.State != ExecHeld || !suspends) ||
		slices.ContainsFunc(e.Approvals, func(a Approval) bool { return a.By != byPolicy }) {
		return false
	}
	return !slices.ContainsFunc(e.Plan.Steps, func(st Step) bool {
		return st.NoReturn && st.Kind != KindFence && e.Step(st.ID).State != StepPending
	})
}

// Back says, for whoever has to answer the open question, that the region which was to
// be left is not seen failing any more; "" while it is, or was left.
func (s *State) Back() string {
	e := s.Execution
	if e == nil || e.Question == nil || e.State == ExecAborting || e.Epoch != s.Epoch || s.Suspicion != nil {
		return ""
	}
	return string(e.From) + " is not seen failing any more: `failoverd abort --undo` takes back what was done"
}
