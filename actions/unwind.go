package actions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// unwind ends an aborted execution whose steps are all resolved: in reverse
// order it undoes what was done, if asked, and closes.
func (x *Executor) unwind(ctx context.Context, e *failover.Execution) {
	if x.burnLeft(ctx, e) {
		return
	}
	if e.Undo && !e.BeyondReturn() {
		for i := len(e.Plan.Steps) - 1; i >= 0; i-- {
			st := e.Plan.Steps[i]
			if !x.toUndo(st, e.Step(st.ID)) {
				continue
			}
			x.launch(ctx, st, func(ctx context.Context) { x.undo(ctx, e.ID, st) })
			return // one at a time, in reverse order
		}
	}
	if x.stands(ctx, e) {
		return
	}
	var left []string
	for _, st := range e.Plan.Steps {
		if rec := e.Step(st.ID); st.Action != "" && st.Kind != failover.KindCheck && rec.State != failover.StepPending && rec.State != failover.StepUndone {
			left = append(left, fmt.Sprintf("%s is %s", st.ID, rec.State))
		}
	}
	state, outcome := failover.ExecAborted, "ended by a person"
	if e.Kind == failover.Preparation {
		state, outcome = failover.ExecAborted, "taken back"
	}
	if e.Undo && len(left) == 0 {
		state, outcome = failover.ExecUndone, "every step was undone"
	}
	if len(left) > 0 {
		outcome += "; what stands: " + strings.Join(left, ", ")
	}
	if s := x.journal.State(); s.Level() >= 3 && state == failover.ExecAborted && !e.Undo && e.Kind != failover.Preparation && s.Active == e.To && s.Epoch > e.Epoch {
		outcome += fmt.Sprintf("; %s stays fenced, and `failoverd continue --why …` carries the plan on in %s", e.From, e.To)
	}
	x.close(ctx, failover.FinishExecution{Execution: e.ID, State: state, Outcome: outcome})
}

// stands asks about the first step that could not be put back, and reports
// whether there is one: what an abort leaves changed, such as a region that is told
// to run nothing, is never left in silence (L1). What a preparation could not
// put back costs money and nothing else; its outcome names it.
func (x *Executor) stands(ctx context.Context, e *failover.Execution) bool {
	if !e.Undo || e.Kind == failover.Preparation || x.journal.State().Level() < 2 {
		return false // an older version takes "try again" for "never done": it does not ask
	}
	blind := x.blindStops(ctx, e)
	for _, st := range e.Plan.Steps {
		rec := e.Step(st.ID)
		if rec.State != failover.StepFailed && rec.State != failover.StepUnclear || rec.Undoing() == nil {
			continue
		}
		x.ask(ctx, e.ID, "failed", st.ID, fmt.Sprintf("Step %s could not be put back: %s. What it changed in %s still stands.", st.ID, rec.Detail, st.Region),
			"failoverd retry "+string(st.ID), "failoverd skip "+string(st.ID)+" --why …")
		return true
	}
	return blind
}

// toUndo reports whether a step is to be undone now: it can be, and the log has what it was
// before. What was started in a region that is active by now stays.
func (x *Executor) toUndo(st failover.Step, rec failover.StepRecord) bool {
	if s := x.journal.State(); s.Level() >= 3 && st.Kind == failover.KindStart && st.Region == s.Active {
		return false // the log refuses it
	}
	return undoable(st, rec) && x.known(st, rec)
}

// undoable reports whether a step changed something that can be put back. A
// failed undo is tried again when a person says so: then the step is done again.
func undoable(st failover.Step, rec failover.StepRecord) bool {
	if st.Action == "" || st.Kind == failover.KindCheck {
		return false
	}
	first := rec.First()
	if first == nil || first.Already {
		return false
	}
	if rec.Undoing() != nil && rec.State != failover.StepDone {
		return false
	}
	switch rec.State {
	case failover.StepDone, failover.StepUnproven, failover.StepFailed, failover.StepUnclear:
		return true
	case failover.StepSkipped:
		return st.OnError == "continue" // the plan went on without it, and it may have taken effect all the same
	}
	return false
}

// undo puts the previous values of a step's first attempt back: they are the
// true ones, later attempts may have read our own half-done change (rule E2).
func (x *Executor) undo(ctx context.Context, exec uint64, st failover.Step) {
	e := x.open(exec)
	if e == nil {
		return
	}
	rec := e.Step(st.ID)
	if e.State != failover.ExecAborting || !x.toUndo(st, rec) {
		return // undone, or wanted after all, since it was looked at
	}
	action, err := x.world.Action(st)
	if err != nil {
		// Said in the journal, so that the execution can end.
		r := &run{x: x, e: e, st: st}
		if res, ok := r.intendUndo(ctx, rec, time.Now()); ok {
			x.finish(ctx, e, st, res.Index, failover.StepFailed, "cannot be undone: "+err.Error())
		}
		return
	}
	r := &run{x: x, e: e, st: st, action: action, deadline: time.Now().Add(st.Timeout.D())}
	// The world is looked at before anything is written over it. What is there now
	// has to be read; whether all that was stopped is over may be unknown.
	for len(r.look(ctx).Previous) == 0 && !r.late() {
		if !x.sleep(ctx, x.opts.Poll) {
			return
		}
	}
	why := r.overtaken(rec)
	if len(r.last.Previous) == 0 {
		why = "it could not be read, so nothing was put back: " + r.last.Detail
	}
	if why != "" {
		if res, ok := r.intendUndo(ctx, rec, time.Now()); ok {
			x.finish(ctx, e, st, res.Index, failover.StepFailed, why)
		}
		return
	}
	if r.putBack(ctx, rec) {
		r.finishUndo(ctx, false)
	}
}

// overtaken says what somebody else has set since the step did what it did, as of
// the last look; "" if nobody has, or a person has said that it is put back all
// the same.
func (r *run) overtaken(rec failover.StepRecord) string {
	w, ok := r.action.(Witness)
	first := rec.First()
	if !ok || first == nil || len(r.last.Previous) == 0 || r.last.Recalled || slices.ContainsFunc(rec.Attempts, func(a failover.AttemptRecord) bool {
		return a.Undo && a.Outcome == failover.StepFailed
	}) {
		return ""
	}
	if why := w.Overtaken(r.last, first.Previous); why != "" {
		return "somebody has changed it since, so nothing was put back: " + why
	}
	return ""
}

// intendUndo journals the intent of an undo.
func (r *run) intendUndo(ctx context.Context, rec failover.StepRecord, until time.Time) (failover.Result, bool) {
	return r.x.propose(ctx, failover.StepStarted{
		Execution: r.e.ID, Step: r.st.ID, Epoch: r.x.journal.State().Epoch, PlanHash: r.e.PlanHash, Undo: true,
		Previous: rec.First().Previous, Until: until,
	}, "")
}

// putBack makes one attempt of an undo, with an intent and a token of its own.
func (r *run) putBack(ctx context.Context, rec failover.StepRecord) bool {
	x := r.x
	until := time.Now().Add(x.opts.CallTimeout)
	res, ok := r.intendUndo(ctx, rec, until)
	if !ok || x.journal.Prove(ctx) != nil {
		return false // the next leader goes on
	}
	r.token = res.Index
	a := r.newAttempt(len(rec.Attempts)+1, x.journal.State().Epoch, rec.First().Previous, until)
	cctx, cancel := acting(ctx, a, until)
	r.undoErr = r.action.Undo(cctx, a)
	cancel()
	if r.undoErr != nil {
		x.log.Warn("an undo reported an error; the world decides", "step", r.st.ID, "error", r.undoErr)
	}
	return true
}

// finishUndo waits until the effect is gone and closes the undo by what the
// world shows. A stop that was put back is watched until none of its calls can
// land any more: one that came late would stop the region that stayed active
// (rule E5). With again, the undo was begun by an earlier leader, and is made
// again unless it is seen. So is one whose call can land no more and has not: once,
// and as often as its time allows if it was refused. An instance that is still
// stopping cannot be started.
func (r *run) finishUndo(ctx context.Context, again bool) {
	watch := time.Time{}
	if r.st.Kind == failover.KindStop && !r.tokens() {
		for _, a := range r.record().Attempts {
			if until := ages(r.action, r.x.until(a)); !a.Undo && until.After(watch) {
				watch = until
			}
		}
	}
	back := false     // the world was as before at the last look
	repeated := false // what came to nothing was made again
	for {
		eff := r.look(ctx)
		first := r.record().First()
		switch {
		case first == nil:
			return // resolved by somebody else
		case restored(r.action, eff, first.Previous):
			back = true
			if time.Now().Before(watch) {
				r.x.say(r.st.ID, "put back; watched until "+watch.UTC().Format(time.TimeOnly)+"Z: a call that is under way may still land")
				break
			}
			r.x.finishAs(ctx, failover.StepFinished{Execution: r.e.ID, Step: r.st.ID, Token: r.token, Outcome: failover.StepUndone, Detail: "put back: " + eff.Detail, Stands: eff.stands()})
			return
		case r.told(eff) && (back || again || (!repeated || r.undoErr != nil && (r.tokens() || r.idempotent())) && r.fruitless()):
			// A late call came in between, the leader that began the undo died before
			// its call was sent, it was refused, or it came to nothing.
			if why := r.overtaken(r.record()); why != "" {
				r.x.finish(ctx, r.e, r.st, r.token, failover.StepFailed, why)
				return
			}
			r.x.log.Warn("an undo is made again", "step", r.st.ID, "seen", eff.Detail)
			longer := back || again || !repeated
			repeated = repeated || !back && !again
			back, again = false, false
			if !r.putBack(ctx, r.record()) {
				return
			}
			if longer { // it has as long as the one before; what is refused over and over, as long as one
				r.deadline = time.Now().Add(r.st.Timeout.D())
			}
		case !time.Now().Before(r.deadline) && !time.Now().Before(watch):
			r.x.finish(ctx, r.e, r.st, r.token, failover.StepFailed, "the undo was not seen to take effect: "+eff.Detail)
			return
		}
		if !r.x.sleep(ctx, r.x.opts.Poll) {
			return
		}
	}
}

// told reports whether what was seen says that a step is not put back. Of a stop this can be known while it is not known whether all that it has
// stopped has ended: functions that are cut off from their queue run on for a quarter of an hour.
func (r *run) told(eff Effect) bool {
	_, compares := r.action.(Restorer)
	return eff.State != Unknown || r.st.Kind == failover.KindStop && compares && r.idempotent() && len(eff.Previous) > 0 && !eff.Recalled
}

// fruitless reports whether the newest undo has had its time and was not seen:
// its call may not be sent any more, and what is absolute or carries a token may
// be repeated whatever has become of it. What is neither must have aged out.
func (r *run) fruitless() bool {
	last := r.record().Last()
	if last == nil || !last.Undo || !time.Now().Before(r.deadline) {
		return false
	}
	until := r.x.until(*last)
	if !r.tokens() && !r.idempotent() {
		until = ages(r.action, until)
	}
	return time.Now().After(until)
}

// burnLeft makes sure that no token of the execution can still take effect
// before it closes (rule E4): a batch whose fate is unknown is refused by the
// resource once a token of our own stands there. It returns true while it works
// on one, or waits for a person because it cannot.
func (x *Executor) burnLeft(ctx context.Context, e *failover.Execution) bool {
	for _, st := range e.Plan.Steps {
		rec := e.Step(st.ID)
		if !st.Tokens || rec.Consumed() || e.State != failover.ExecAborting && e.HandedOver(st) {
			continue // an aborted execution hands nothing over
		}
		x.launch(ctx, st, func(ctx context.Context) { x.burn(ctx, e.ID, st) })
		return true
	}
	return false
}

func (x *Executor) burn(ctx context.Context, exec uint64, st failover.Step) {
	e := x.open(exec)
	if e == nil {
		return
	}
	action, err := x.world.Action(st)
	if err != nil {
		x.cannotBurn(ctx, e, st, err)
		return
	}
	b, ok := action.(Burner)
	if !ok {
		x.cannotBurn(ctx, e, st, fmt.Errorf("%s cannot replace its token alone", st.Action))
		return
	}
	until := time.Now().Add(x.opts.CallTimeout)
	rec := e.Step(st.ID)
	token := uint64(0)
	if rec.Burning() {
		token = rec.Last().Token // of an earlier leader: the world shows whether it landed
	} else {
		if time.Now().Before(x.journal.State().Replacing(st)) {
			return // the keeper replaces an older one right now: the next look goes on, and not as fast as the log can refuse
		}
		res, ok := x.propose(ctx, failover.StepStarted{
			Execution: e.ID, Step: st.ID, Epoch: x.journal.State().Epoch, PlanHash: e.PlanHash, Burn: true, Until: until,
		}, "")
		if !ok || x.journal.Prove(ctx) != nil {
			return // the next leader, or the next look, goes on
		}
		token = res.Index
		a := Attempt{Execution: e.ID, Step: st.ID, Near: e.To, Number: len(rec.Attempts) + 1, Epoch: x.journal.State().Epoch, Token: token, Deadline: until}
		cctx, cancel := acting(ctx, a, until)
		err = b.Burn(cctx, a)
		cancel()
	}
	r := &run{x: x, e: e, st: st, action: action, token: token}
	eff := r.look(ctx)
	switch {
	case eff.stands() >= token: // read at the resource, whatever else could not be seen
		x.finishAs(ctx, failover.StepFinished{Execution: e.ID, Step: st.ID, Token: token, Outcome: failover.StepDone, Detail: fmt.Sprintf("token %d stands at the resource: nothing older can take effect", eff.Token), Stands: eff.stands()})
	case ctx.Err() != nil:
	default:
		if err == nil {
			err = errors.New(eff.Detail)
		}
		x.finish(ctx, e, st, token, failover.StepFailed, fmt.Sprintf("the token was not seen at the resource: %v", err))
		x.cannotBurn(ctx, e, st, err)
		x.sleep(ctx, x.opts.Poll)
	}
}

// cannotBurn asks a person: the resource cannot be reached, and a batch that was
// sent may still take effect there.
func (x *Executor) cannotBurn(ctx context.Context, e *failover.Execution, st failover.Step, err error) {
	x.ask(ctx, e.ID, "token", st.ID,
		fmt.Sprintf("An attempt of step %s may still take effect, and it cannot be ruled out: %v. It is tried again. If you know that it cannot take effect any more, skip the step.", st.ID, err),
		"failoverd skip "+string(st.ID)+" --why …")
}
