package actions

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// unwind ends an aborted execution whose steps are all resolved: in reverse
// order it undoes what was done, if asked, and closes.
func (x *Executor) unwind(ctx context.Context, e *failover.Execution) {
	if e.Undo && !e.BeyondReturn() {
		for i := len(e.Plan.Steps) - 1; i >= 0; i-- {
			st := e.Plan.Steps[i]
			if !undoable(st, e.Step(st.ID)) {
				continue
			}
			x.launch(ctx, st, func(ctx context.Context) { x.undo(ctx, e.ID, st) })
			return // one at a time, in reverse order
		}
	}
	var left []string
	for _, st := range e.Plan.Steps {
		if rec := e.Step(st.ID); st.Action != "" && st.Kind != failover.KindCheck && rec.State != failover.StepPending && rec.State != failover.StepUndone {
			left = append(left, fmt.Sprintf("%s is %s", st.ID, rec.State))
		}
	}
	state, outcome := failover.ExecAborted, "ended by a person"
	if e.Undo && len(left) == 0 {
		state, outcome = failover.ExecUndone, "every step was undone"
	}
	if len(left) > 0 {
		outcome += "; what stands: " + strings.Join(left, ", ")
	}
	x.propose(ctx, failover.FinishExecution{Execution: e.ID, State: state, Outcome: outcome}, "")
}

// undoable reports whether a step changed something that can be put back. A
// failed undo is not tried again: the outcome names it.
func undoable(st failover.Step, rec failover.StepRecord) bool {
	if st.Action == "" || st.Kind == failover.KindCheck {
		return false
	}
	first := rec.First()
	if first == nil || first.Already {
		return false
	}
	if last := rec.Last(); last.Undo {
		return false
	}
	switch rec.State {
	case failover.StepDone, failover.StepUnproven, failover.StepFailed, failover.StepUnclear:
		return true
	}
	return false
}

// undo puts the previous values of a step's first attempt back: they are the
// true ones, later attempts may have read our own half-done change (rule E2).
func (x *Executor) undo(ctx context.Context, exec uint64, st failover.Step) {
	e := x.journal.State().Execution
	if e == nil || e.ID != exec {
		return
	}
	rec := e.Step(st.ID)
	action, err := x.world.Action(st)
	if err != nil {
		// Said in the journal, so that the execution can end.
		if res, ok := x.propose(ctx, failover.StepStarted{
			Execution: e.ID, Step: st.ID, Epoch: x.journal.State().Epoch, PlanHash: e.PlanHash, Undo: true, Previous: rec.First().Previous,
		}, ""); ok {
			x.finish(ctx, e, st, res.Index, failover.StepFailed, "cannot be undone: "+err.Error())
		}
		return
	}
	until := time.Now().Add(x.opts.CallTimeout)
	res, ok := x.propose(ctx, failover.StepStarted{
		Execution: e.ID, Step: st.ID, Epoch: x.journal.State().Epoch, PlanHash: e.PlanHash, Undo: true,
		Previous: rec.First().Previous, Until: until.UTC(),
	}, "")
	if !ok {
		return
	}
	r := &run{x: x, e: e, st: st, action: action, token: res.Index, deadline: time.Now().Add(st.Timeout.D())}
	if err := x.journal.Prove(ctx); err != nil {
		return // the next leader goes on
	}
	a := r.newAttempt(len(rec.Attempts)+1, x.journal.State().Epoch, rec.First().Previous, until)
	cctx, cancel := context.WithDeadline(cloud.WithEffectDeadline(ctx, until), until)
	r.lastErr = action.Undo(cctx, a)
	cancel()
	if r.lastErr != nil {
		x.log.Warn("an undo reported an error; the world decides", "step", st.ID, "error", r.lastErr)
	}
	r.finishUndo(ctx)
}

// finishUndo waits until the effect is gone and closes the undo by what the
// world shows.
func (r *run) finishUndo(ctx context.Context) {
	for {
		eff := r.look(ctx)
		switch {
		case eff.State == Absent || eff.State == Partial:
			r.x.finish(ctx, r.e, r.st, r.token, failover.StepUndone, "put back: "+eff.Detail)
			return
		case !time.Now().Before(r.deadline):
			r.x.propose(ctx, failover.StepFinished{
				Execution: r.e.ID, Step: r.st.ID, Token: r.token, Outcome: failover.StepFailed,
				Detail: "the undo was not seen to take effect: " + eff.Detail,
			}, "")
			return
		}
		if !r.x.sleep(ctx, r.x.opts.Poll) {
			return
		}
	}
}
