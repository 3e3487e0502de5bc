package actions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// This file holds what must be so around an action, and what is usual.

// errSpent means that the step has been tried as often as it may be.
var errSpent = errors.New("the retries are used up")

// spent reports whether the step may not be tried again.
func (r *run) spent(rec failover.StepRecord) bool {
	if r.st.Retries == 0 {
		return false
	}
	tries := 0
	for i := len(rec.Attempts) - 1; i >= 0; i-- {
		a := rec.Attempts[i]
		// A person who says retry starts the count anew.
		if a.Undo || a.Outcome == failover.StepFailed || a.Outcome == failover.StepUnclear {
			break
		}
		if !a.Until.IsZero() || a.Already { // else it was begun in the log and nowhere else
			tries++
		}
	}
	return tries > r.st.Retries
}

// unmet names the first check that does not pass; "" when all do.
func (r *run) unmet(ctx context.Context, checks []failover.CheckSpec) string {
	for _, c := range checks {
		step := r.st
		step.Action, step.Version, step.Params = c.Kind, c.Version, c.Params
		check, err := r.x.world.Check(step, time.Time{})
		if err != nil {
			return fmt.Sprintf("%s: %v", c.Kind, err)
		}
		cctx, cancel := context.WithTimeout(ctx, r.x.opts.CallTimeout)
		f := check.Check(cctx)
		cancel()
		if !f.Pass {
			return fmt.Sprintf("%s does not pass: %s", c.Kind, f.Detail)
		}
	}
	return ""
}

// distrusted says why what a selector matched is too little to be believed: an
// inventory that shrank is a mistake until a person says otherwise.
func (r *run) distrusted(s *failover.State, eff Effect) string {
	want := s.Inventory[r.st.ID]
	if eff.State == Unknown || s.Settings == nil || !s.Settings.Policy.Shrunk(want, eff.Inventory) {
		return ""
	}
	return fmt.Sprintf("the inventory shrank from %d to %d: if that is right, `failoverd inventory accept %s --why …`", want, eff.Inventory, r.st.Component)
}

// stuckAfter is by how much a step must exceed what is usual before it is called
// stuck, and stuckLeast the least time in any case.
const (
	stuckAfter = 1.5
	stuckLeast = 5 * time.Second
)

// noteStuck says once per attempt that a step takes longer than earlier runs,
// with a new estimate.
func (x *Executor) noteStuck(ctx context.Context, s *failover.State, e *failover.Execution) {
	for _, st := range e.Plan.Steps {
		rec := e.Step(st.ID)
		usual, runs := s.Usual(st.ID)
		if rec.State != failover.StepRunning || rec.Slow != "" || runs == 0 {
			continue
		}
		elapsed := time.Since(rec.Last().StartedAt)
		if elapsed < stuckLeast || elapsed < time.Duration(stuckAfter*float64(usual)) {
			continue
		}
		left := s.Remaining(st, failover.Duration(elapsed))
		x.propose(ctx, failover.NoteStuck{
			Execution: e.ID, Step: st.ID, Token: rec.Last().Token,
			Text: fmt.Sprintf("stuck? it runs for %s, and 95 of 100 earlier runs (%d are known) took no longer than %s; it may take another %s",
				elapsed.Round(time.Second), runs, usual.D().Round(100*time.Millisecond), left.D().Round(time.Second)),
		}, "")
		return
	}
}
