package actions

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// This file holds the way back from a stop that was tried blind: its calls were sent
// while the region could not be read, so that no values from before it are in the log.
// When the region can be read again, and the execution is taken back, there are three
// cases. What the first attempt that could read has put into the log before its own call
// shows no trace of a stop: then those are the true values, and they are put back. The
// world itself shows no trace of one, and no call can land any more: then there is nothing
// to put back. Otherwise nobody knows, and a person is asked; the world is looked at again
// all the while.

// Untouchable is an Action that can tell from what Inspect has read whether anything of
// what Do does stands there, if only a part of it. That the effect is Absent says less: half
// a stop is absent, too.
type Untouchable interface {
	Action
	// Untouched reports whether previous, an Effect.Previous of this action, shows nothing
	// that Do would set. Whatever leaves a doubt is touched.
	Untouched(previous json.RawMessage) bool
}

// untouched reports whether what was read shows no trace of the action.
func untouched(a Action, previous json.RawMessage) bool {
	u, ok := a.(Untouchable)
	return ok && len(previous) > 0 && u.Untouched(previous)
}

// allOn reports whether previous is of things that can be on or off, some, and all on.
func allOn(previous json.RawMessage) bool {
	var was map[string]bool
	if json.Unmarshal(previous, &was) != nil {
		return false
	}
	for _, on := range was {
		if !on {
			return false
		}
	}
	return len(was) > 0
}

// known reports whether the values that an undo would put back are those from before the
// step. After a blind attempt they are if they show no trace of a stop: no call of it had
// landed when they were read.
func (x *Executor) known(st failover.Step, rec failover.StepRecord) bool {
	first := rec.First()
	if first == nil || !rec.Blind() {
		return first != nil
	}
	if x.journal.State().Level() < 3 {
		return false
	}
	action, err := x.world.Action(st)
	return err == nil && action != nil && untouched(action, first.Previous)
}

// lookAgainEvery is how often the world is looked at while a person is asked about a
// blind stop.
const lookAgainEvery = 30 * time.Second

// blindStops looks at what was tried blind and cannot be put back, and reports whether
// there is any. The execution does not end while there is.
func (x *Executor) blindStops(ctx context.Context, e *failover.Execution) bool {
	if x.journal.State().Level() < 3 {
		return false // a node of an older version would not understand the end of it
	}
	any := false
	for _, st := range e.Plan.Steps {
		if !x.standsBlind(e, st) {
			continue
		}
		any = true
		if e.Question != nil && time.Now().Before(x.nextLook[st.ID]) {
			continue
		}
		x.nextLook[st.ID] = time.Now().Add(lookAgainEvery)
		x.launch(ctx, st, func(ctx context.Context) { x.lookAgain(ctx, e.ID, st) })
	}
	return any
}

// standsBlind reports whether a step was tried blind, is not put back, and nobody knows
// what to put back.
func (x *Executor) standsBlind(e *failover.Execution, st failover.Step) bool {
	rec := e.Step(st.ID)
	return e.State == failover.ExecAborting && e.Undo && rec.LeftBlind() && !x.known(st, rec)
}

// lookAgain ends a blind stop of which the world shows no trace, and asks a person about
// any other.
func (x *Executor) lookAgain(ctx context.Context, exec uint64, st failover.Step) {
	e := x.open(exec)
	if e == nil || !x.standsBlind(e, st) {
		return
	}
	action, err := x.world.Action(st)
	if err != nil {
		x.askToPutBack(ctx, e, st, "it cannot be looked at: "+err.Error())
		return
	}
	rec := e.Step(st.ID)
	r := &run{x: x, e: e, st: st, action: action, token: rec.Last().Token}
	clean := func() bool {
		eff := r.look(ctx)
		return eff.State == Absent && !eff.Recalled && untouched(action, eff.Previous)
	}
	// A call that is under way may still land, and what it finds is then gone (rule E3).
	var until time.Time
	for _, a := range rec.Attempts {
		if at := ages(action, x.until(a)); !r.tokens() && at.After(until) {
			until = at
		}
	}
	switch {
	case !clean():
		if ctx.Err() == nil {
			x.askToPutBack(ctx, e, st, r.last.Detail)
		}
	case time.Now().Before(until):
		x.say(st.ID, "no trace of the stop is seen; waiting until "+until.UTC().Format(time.TimeOnly)+"Z: until then a call that is under way may still land")
		x.sleep(ctx, x.opts.Poll)
	case x.sleep(ctx, x.opts.Settle) && clean():
		x.finish(ctx, e, st, r.token, failover.StepUndone, "there is nothing to put back: no trace of the stop is seen, and no call of it can land any more: "+r.last.Detail)
	}
}

// askToPutBack asks a person to undo a blind stop by hand.
func (x *Executor) askToPutBack(ctx context.Context, e *failover.Execution, st failover.Step, seen string) {
	text := fmt.Sprintf("Step %s was carried out before %s could be read, so what it was in %s before is not known. Put it back by hand: it is looked at every %s, and the execution goes on by itself when no trace of the stop is seen any more. If it is to stay as it is, skip the step. Until then no lease is granted there. Last seen: %s.",
		st.ID, st.Component, st.Region, lookAgainEvery, seen)
	commands, see := wayBack(x.journal.State().Settings, e, st)
	if len(commands) > 0 {
		text += " It is put back when: " + see + "."
	}
	x.ask(ctx, e.ID, "failed", st.ID, text, append(commands, "failoverd skip "+string(st.ID)+" --why …")...)
}

// backByHand is the configuration of a stop that no start of the component takes back: a
// person makes its undo.
type backByHand interface {
	backByHand(region failover.Region) (do []string, see string)
}

// wayBack are the commands with which a person puts back what a step has stopped, and how
// that is seen: those of the stop's own undo, or else the component is started as the
// configuration starts it in that region. None, if the configuration does not say how it is
// started, or the kind does not.
func wayBack(s *failover.Settings, e *failover.Execution, st failover.Step) (commands []string, see string) {
	if c, err := Decode(st.Action, st.Version, st.Params); err == nil {
		if h, ok := c.(backByHand); ok {
			return h.backByHand(st.Region)
		}
	}
	back, err := plan.Derive(s, e.To)
	if err != nil {
		return nil, "" // it cannot be said, and what is asked stands without it
	}
	for _, start := range back.Steps {
		if start.Kind != failover.KindStart || start.Component != st.Component || start.Region != st.Region || start.Action == "" || opening(start) {
			continue
		}
		c, err := Decode(start.Action, start.Version, start.Params)
		if err != nil {
			continue
		}
		if h, ok := c.(byHand); ok {
			commands, see = h.byHand(st.Region, []failover.Region{s.Primary, s.Secondary})
			for i := range commands {
				commands[i] = strings.ReplaceAll(commands[i], "{service}", s.Service)
			}
			return commands, see
		}
	}
	return nil, ""
}
