package actions

import (
	"context"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// This file holds how a started step ends that nobody goes on with: its leader has
// died in an execution that starts nothing new, or the execution is being aborted.

// until is when no call of an attempt can be sent any more. For one of this tenure it is told
// by this node's monotonic clock, whatever its wall clock does. That of an earlier leader was
// named by another wall clock, which may have been hours ahead, or behind; but the intent was
// committed before this tenure, and its calls follow within a time-out. The other node's file
// may have named a longer one.
func (x *Executor) until(a failover.AttemptRecord) time.Time {
	x.mu.Lock()
	own, ok := x.named[a.Token]
	x.mu.Unlock()
	if ok {
		return own
	}
	if a.Until.IsZero() || a.Term == x.journal.State().LeaderTerm {
		return a.Until
	}
	earliest, latest := x.started.Add(x.opts.CallTimeout), x.started.Add(6*x.opts.CallTimeout)
	switch {
	case a.Until.Before(earliest):
		return earliest
	case a.Until.After(latest):
		return latest
	}
	return a.Until
}

// settle resolves a step that an earlier leader left started, in an execution
// that starts nothing new (rule E6).
func (x *Executor) settle(ctx context.Context, exec uint64, st failover.Step) {
	e := x.open(exec)
	if e == nil {
		return
	}
	rec := e.Step(st.ID)
	last := rec.Last()
	if last == nil || rec.State != failover.StepRunning && rec.State != failover.StepUndoing {
		return // resolved since it was looked at: an undo would be made again
	}
	if st.Action == "" || st.Kind == failover.KindCheck {
		// Nothing in the world depends on it. A fence that did not advance the
		// epoch has not happened.
		outcome := failover.StepFailed
		if st.Kind == failover.KindFence && x.journal.State().Epoch > e.Epoch {
			outcome = failover.StepDone
		}
		if e.State == failover.ExecAborting || outcome == failover.StepDone {
			x.finish(ctx, e, st, last.Token, outcome, "ended because the execution was "+string(e.State))
		}
		return
	}
	action, err := x.world.Action(st)
	if err != nil {
		x.finish(ctx, e, st, last.Token, failover.StepUnclear, err.Error())
		return
	}
	r := &run{x: x, e: e, st: st, action: action, token: last.Token, already: last.Already, deadline: time.Now()}
	if last.Undo {
		// Its calls must have aged out before the world's word counts.
		if x.sleep(ctx, max(0, time.Until(ages(action, x.until(*last))))) {
			r.deadline = time.Now().Add(st.Timeout.D())
			r.finishUndo(ctx, true)
		}
		return
	}
	if e.State != failover.ExecHeld || r.awaitHeld(ctx) {
		r.resolve(ctx)
	}
}

// awaitHeld gives a step that an earlier leader started in an execution that is held
// now the time that it would have had under that leader. It returns true when that
// is over without the effect; otherwise the step is done, or no longer held.
func (r *run) awaitHeld(ctx context.Context) bool {
	r.found, r.deadline = "found done by an earlier leader: ", time.Now().Add(r.st.Timeout.D())
	for {
		if e := r.x.open(r.e.ID); e == nil || e.State != failover.ExecHeld {
			return false
		}
		if r.finishIfPresent(ctx) {
			return false
		}
		if r.late() {
			return true
		}
		if !r.x.sleep(ctx, r.x.opts.Poll) {
			return false
		}
	}
}
