package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// act carries out a step with an action: Inspect → StepStarted committed →
// leadership proven → Do → Inspect → StepFinished committed (rule E2).
func (x *Executor) act(ctx context.Context, e *failover.Execution, st failover.Step) {
	action, err := x.world.Action(st)
	if err != nil {
		if token, ok := x.begin(ctx, e, st); ok {
			x.fail(ctx, e, st, token, err.Error())
		}
		return
	}
	if action == nil {
		x.passApproval(ctx, e, st)
		return
	}
	run := &run{x: x, e: e, st: st, action: action, deadline: time.Now().Add(st.Timeout.D())}
	if rec := e.Step(st.ID); rec.State == failover.StepRunning {
		run.token = rec.Last().Token
		if done := run.takeOver(ctx, rec, "found done by an earlier leader", "was started by a leader that died"); done {
			if ctx.Err() != nil {
				run.cancelled()
			}
			return
		}
	}
	run.loop(ctx)
}

// passApproval carries out a step that changes nothing and is passed by a
// person (ApprovalKind).
func (x *Executor) passApproval(ctx context.Context, e *failover.Execution, st failover.Step) {
	if !e.Approved(st.ID) {
		x.ask(ctx, e.ID, "approval", st.ID, fmt.Sprintf("Step %s waits for you. Go on?", st.ID), "failoverd approve", "failoverd abort")
		return
	}
	if token, ok := x.begin(ctx, e, st); ok {
		x.finish(ctx, e, st, token, failover.StepDone, "approved")
	}
}

// run is one step being carried out by this leader.
type run struct {
	x        *Executor
	e        *failover.Execution
	st       failover.Step
	action   Action
	deadline time.Time
	token    uint64 // of the attempt in flight; zero: none yet
	asked    bool   // whether that attempt came as far as Do
	found    string // how the effect of the open attempt came to be seen; empty: it was asked for, and came
	already  bool   // the effect had been there before the open attempt, which asked for nothing
	last     Effect
	lastErr  error
	undoErr  error // what the newest undo of this leader said
}

// look inspects the world once, within its own time-out.
func (r *run) look(ctx context.Context) Effect {
	cctx, cancel := context.WithTimeout(ctx, r.x.opts.CallTimeout)
	defer cancel()
	eff, err := seen(cctx, r.action, r.record())
	if err != nil {
		eff = Effect{State: Unknown, Detail: err.Error()}
	}
	r.last, r.lastErr = eff, err
	r.x.say(r.st.ID, eff.Detail)
	return eff
}

// takeOver resolves an attempt of which it is not known whether it took effect:
// that of an earlier leader, or our own one that reported an error (rule E3). It
// returns true when the step is resolved; otherwise a new attempt may be made.
// found and was say for a person what is known of it.
func (r *run) takeOver(ctx context.Context, rec failover.StepRecord, found, was string) bool {
	prev := rec.Last()
	r.found, r.already = "", false
	if r.look(ctx).State == Present {
		// Its checks have to pass all the same.
		r.found, r.already = found+": ", prev.Already
		return r.awaitPresent(ctx)
	}
	if _, checks := r.action.(TokenChecker); checks || r.idempotent() {
		// The next attempt's write burns every earlier token, or is absolute: a
		// late repetition changes nothing.
		return false
	}
	// Neither: believe Absent only when the earlier calls cannot land any more,
	// seen twice.
	if !r.x.sleep(ctx, max(0, time.Until(ages(r.action, r.x.until(*prev))))) {
		return true
	}
	first := r.look(ctx)
	if !r.x.sleep(ctx, r.x.opts.Settle) {
		return true
	}
	second := r.look(ctx)
	switch {
	case second.State == Present:
		r.found = found + ": "
		return r.awaitPresent(ctx)
	case first.State == Absent && second.State == Absent:
		return false
	}
	r.x.finish(ctx, r.e, r.st, r.token, failover.StepUnclear, second.Detail)
	r.x.ask(ctx, r.e.ID, "unknown", r.st.ID,
		fmt.Sprintf("Step %s %s, and the world does not say whether it took effect: %s", r.st.ID, was, second.Detail),
		"failoverd retry "+string(r.st.ID), "failoverd skip "+string(r.st.ID)+" --why …", "failoverd abort")
	return true
}

// Idempotent is an Action whose Do, repeated at any time while its epoch
// stands, changes nothing.
type Idempotent interface{ Idempotent() }

func (r *run) tokens() bool {
	_, ok := r.action.(TokenChecker)
	return ok
}

func (r *run) idempotent() bool {
	_, ok := r.action.(Idempotent)
	return ok
}

// loop tries until the effect is there, the time is over or nobody wants it any
// more.
func (r *run) loop(ctx context.Context) {
	pause := r.x.opts.Poll
	for {
		if r.stale(ctx) {
			return
		}
		if err := r.attempt(ctx); err != nil {
			r.x.log.Warn("an attempt failed", "step", r.st.ID, "token", r.token, "error", err)
			// An error does not mean that nothing happened: the world decides.
			if rec := r.record(); r.asked && rec.State == failover.StepRunning && ctx.Err() == nil &&
				r.takeOver(ctx, rec, "done, although the call failed ("+err.Error()+")", "failed ("+err.Error()+")") {
				if ctx.Err() != nil {
					r.cancelled()
				}
				return
			}
			r.lastErr = err
			r.x.say(r.st.ID, err.Error()) // until the next look: why it waits
			if _, asks := errors.AsType[askError](err); asks && r.asked && ctx.Err() == nil && r.record().State == failover.StepRunning {
				r.x.fail(ctx, r.e, r.st, r.token, err.Error())
				return
			}
		} else if r.awaitPresent(ctx) {
			return
		}
		if ctx.Err() != nil {
			r.cancelled()
			return
		}
		spent := r.spent(r.record())
		switch {
		case r.late() && !spent && r.follows():
			r.goOn(ctx)
			pause = followPace
		case r.late() || spent:
			r.timedOut(ctx)
			return
		}
		if !r.x.sleep(ctx, pause) {
			r.cancelled()
			return
		}
		pause = min(2*pause, max(pause, 10*r.x.opts.Poll))
	}
}

// stale ends the step when the execution no longer wants it.
func (r *run) stale(ctx context.Context) bool {
	if !r.x.stopped(r.e.ID) {
		// A person may have skipped it while it went on.
		return r.record().State == failover.StepSkipped
	}
	if r.token != 0 {
		r.resolve(ctx)
	}
	return true
}

// attempt makes one try: intent, proof, effect. An error means that the effect
// may or may not have been asked for.
func (r *run) attempt(ctx context.Context) error {
	r.asked = false
	eff := r.look(ctx)
	if ctx.Err() != nil { // no intent that nobody would stay to resolve
		return fmt.Errorf("ended before anything was done: %w", ctx.Err())
	}
	already := eff.State == Present && r.token == 0
	state := r.x.journal.State()
	rec := failover.StepRecord{}
	if e := state.Open(r.e.ID); e != nil {
		rec = e.Step(r.st.ID)
	}
	if eff.State == Present && rec.State == failover.StepRunning {
		// The attempt that is open has come true after all, seen now that the world
		// can be read again: nothing is sent a second time.
		if !r.already {
			r.found = "found done by an earlier attempt: "
		}
		return nil
	}
	if r.spent(rec) {
		return errSpent
	}
	if why := r.distrusted(state, eff); why != "" {
		return fmt.Errorf("nothing was changed: %s", why)
	}
	if why := r.unmet(ctx, r.st.Require); why != "" && !already {
		return fmt.Errorf("nothing was changed: what the step requires is not so: %s", why)
	}
	previous := eff.Previous
	if len(previous) == 0 && r.st.Kind != failover.KindStop {
		// Without the previous values in the log a crash would lose them (rule
		// E2). A stop in a dying region is tried blind all the same.
		r.unread(ctx, state)
		return fmt.Errorf("the world could not be read, so nothing was changed: %s", eff.Detail)
	}
	if already {
		return r.noteAlready(ctx, state.Epoch, previous)
	}
	until := time.Now().Add(r.x.opts.CallTimeout)
	res, ok := r.x.propose(ctx, failover.StepStarted{
		Execution: r.e.ID, Step: r.st.ID, Epoch: state.Epoch, PlanHash: r.e.PlanHash,
		Previous: previous, Until: until,
	}, "")
	if !ok {
		return fmt.Errorf("the intent was not committed: nothing was done")
	}
	r.token = res.Index
	// Leadership, then hold, abort and epoch once more, right before the effect.
	if err := r.x.journal.Prove(ctx); err != nil {
		return fmt.Errorf("%w: %w", errNotLeading, err)
	}
	now := r.x.journal.State()
	if e := now.Open(r.e.ID); e == nil || e.State != failover.ExecRunning || now.Epoch != state.Epoch {
		return fmt.Errorf("the execution changed right before the effect: nothing was done")
	}
	a := r.newAttempt(len(rec.Attempts)+1, now.Epoch, previous, until)
	cctx, cancel := acting(ctx, a, until)
	defer cancel()
	r.asked = true
	if _, ok := r.action.(LogFlip); ok {
		if err := r.x.flip(cctx, r.e); err != nil {
			return fmt.Errorf("the flip was not committed: %w", err)
		}
	}
	r.found, r.already = "", false
	return r.action.Do(cctx, a)
}

// noteAlready begins an attempt that asks for nothing: what it is for is so already. It
// is done once its checks pass, and is not undone.
func (r *run) noteAlready(ctx context.Context, epoch uint64, previous json.RawMessage) error {
	res, ok := r.x.propose(ctx, failover.StepStarted{
		Execution: r.e.ID, Step: r.st.ID, Epoch: epoch, PlanHash: r.e.PlanHash, Previous: previous, Already: true,
	}, "")
	if !ok {
		return fmt.Errorf("what was already so was not committed: nothing was done")
	}
	r.token, r.found, r.already = res.Index, "was already so: ", true
	return nil
}

func (r *run) newAttempt(number int, epoch uint64, previous json.RawMessage, until time.Time) Attempt {
	return Attempt{
		Execution: r.e.ID, Step: r.st.ID, Near: r.e.To, Number: number, Epoch: epoch, Token: r.token,
		Previous: previous, Deadline: until,
		Progress: func(line string) { r.x.say(r.st.ID, line) },
	}
}

// awaitPresent polls until the effect is there. It returns true when the step is
// resolved, false when another attempt should be made.
func (r *run) awaitPresent(ctx context.Context) bool {
	for {
		if st := r.record(); st.State != failover.StepRunning {
			return true // resolved: it was there already, or a person decided
		}
		if r.finishIfPresent(ctx) {
			return true
		}
		if r.last.Over != "" && r.last.State != Present && (r.tokens() || r.idempotent()) {
			r.lastErr = errors.New(r.last.Over)
			return false // tried again, as often as it may be
		}
		if r.already && r.last.State != Present && r.last.State != Unknown {
			r.found, r.already = "", false
			return false // it is so no more, and nobody has asked for it yet
		}
		if r.x.stopped(r.e.ID) {
			r.resolve(ctx)
			return true
		}
		if r.late() {
			if r.follows() {
				return false // what was accepted and lost is sent again
			}
			r.timedOut(ctx)
			return true
		}
		if !r.x.sleep(ctx, r.x.opts.Poll) {
			r.cancelled()
			return true
		}
	}
}

// finishIfPresent finishes the step if its effect is there and its checks pass.
func (r *run) finishIfPresent(ctx context.Context) bool {
	if r.look(ctx).State != Present {
		return false
	}
	why := r.unmet(ctx, r.st.Verify)
	if why == "" {
		r.done(ctx, r.found+r.last.Detail, r.already)
		return true
	}
	r.last.Detail += ", but " + why
	r.x.say(r.st.ID, r.last.Detail)
	return false
}

// late reports whether the step's time is over.
func (r *run) late() bool { return !time.Now().Before(r.deadline) }

func (r *run) record() failover.StepRecord {
	e := r.x.open(r.e.ID)
	if e == nil {
		return failover.StepRecord{State: failover.StepFailed}
	}
	return e.Step(r.st.ID)
}
