package failover

import "slices"

// This file holds what the attempts of a step say.

// Passed reports whether a step no longer stands in the way of those after it.
func (r StepRecord) Passed() bool {
	return r.State == StepDone || r.State == StepSkipped || r.State == StepUnproven
}

// Reached reports whether a step has done what it is for, or a person has passed
// it over: the word of Step.AfterOne.
func (r StepRecord) Reached() bool { return r.State == StepDone || r.State == StepSkipped }

// Last returns the newest attempt, or nil.
func (r StepRecord) Last() *AttemptRecord {
	if len(r.Attempts) == 0 {
		return nil
	}
	return &r.Attempts[len(r.Attempts)-1]
}

// First returns the oldest forward attempt that recorded previous values, or
// nil: they are the true ones, later attempts may have read our own half-done
// change. An attempt that was made blind recorded none. What was undone before
// an execution adopted the step is over: attempts after it count.
func (r StepRecord) First() *AttemptRecord {
	var first *AttemptRecord
	for i := range r.Attempts {
		a := &r.Attempts[i]
		switch {
		case a.Undo && a.Outcome == StepUndone:
			first = nil
		case first == nil && !a.Undo && !a.Burn && len(a.Previous) > 0:
			first = a
		}
	}
	return first
}

// Blind reports whether the step was tried before its resource could be read. What
// later attempts read may be its own effect: nobody knows what it was before.
func (r StepRecord) Blind() bool {
	blind := false
	for _, a := range r.Attempts {
		switch {
		case a.Undo && a.Outcome == StepUndone:
			blind = false
		case a.Undo || a.Burn || blind:
		case len(a.Previous) > 0:
			return false
		default:
			blind = !a.Until.IsZero() // without, it was begun in the log and nowhere else
		}
	}
	return blind
}

// LeftBlind reports whether a step that was tried before its resource could be read has
// ended, and no undo of it has begun: what stands of it in the world, the log alone
// does not say.
func (r StepRecord) LeftBlind() bool {
	switch r.State {
	case StepDone, StepUnproven, StepFailed, StepUnclear:
		return r.Blind() && r.Undoing() == nil
	}
	return false
}

// Undoing returns the newest attempt that did more than burn a token, if it is an
// undo; nil otherwise.
func (r StepRecord) Undoing() *AttemptRecord {
	for i := range slices.Backward(r.Attempts) {
		if a := &r.Attempts[i]; !a.Burn {
			if a.Undo {
				return a
			}
			return nil
		}
	}
	return nil
}

// Consumed reports whether no attempt's token can still take effect at a
// resource that checks tokens: the newest attempt was seen to land, or nothing
// was ever tried (rule E4).
func (r StepRecord) Consumed() bool {
	last := r.Last()
	return last == nil || last.Outcome == StepDone || last.Outcome == StepUndone || last.Outcome == StepSkipped
}

// Burning reports whether a token is being burnt.
func (r StepRecord) Burning() bool {
	last := r.Last()
	return last != nil && last.Burn && last.FinishedAt.IsZero()
}
