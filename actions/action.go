// Package actions holds what failoverd does to the world: one file per action
// kind, the table of kinds (kinds.go) and the executor that runs a plan.
//
// An action never decides anything. It is told the region, the parameters and
// the attempt, and it is judged by what the world does: Inspect is the only
// thing that the executor believes.
package actions

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/restore"
)

// EffectState is how much of an action's effect the world shows.
type EffectState uint8

// The states of an effect. The zero value is Unknown: the world did not say.
const (
	Unknown EffectState = iota
	Absent
	Partial
	Present
)

var effectNames = [...]string{"unknown", "absent", "partial", "present"}

func (s EffectState) String() string {
	if int(s) < len(effectNames) {
		return effectNames[s]
	}
	return fmt.Sprintf("invalid(%d)", uint8(s))
}

// Effect is what Inspect saw.
type Effect struct {
	State  EffectState
	Detail string // one line for a person: counts, tokens, answers
	// Inventory is how many objects the action's selector matched; zero for an
	// action that names its one object.
	Inventory int
	// Token is the fencing token found at the resource, or zero when the
	// resource holds none or cannot hold one.
	Token uint64
	// Previous holds what Undo would need to put back, and the exact token that
	// Do replaces. It is committed in StepStarted before the first change
	// (rule E2), so it must be complete.
	Previous json.RawMessage
	// Recalled says that Previous is Deps.Recall's: the resource itself could not be
	// read. State comes from elsewhere then, or is Unknown.
	Recalled bool
	// Ending says of a stop that all it asks for stands, and that what still runs needs
	// only time: to ask again would change nothing.
	Ending bool
	// Over says why what Do has begun has ended without its effect; "" while it goes on. Waiting for it any longer is
	// in vain, and another attempt may be made at once. Only an action of which a repetition does no harm says so.
	Over string
	// Lacks says what would keep Do from being whole, although the world could be read;
	// "" if nothing would. Readiness tells of it.
	Lacks string
	// Advice is what a person could change on a quiet day so that this loses less; "" if nothing. A survey shows it, and nobody who has to
	// decide now.
	Advice string
	// Unmendable says of a Guard's Absent that nothing can be done about it but by a person, who is told.
	Unmendable bool
	// Renew says of a Guard that something keeps a rival from rising which ends by itself or may have been forgotten: the hold has it done anew
	// (Renewer), and nothing is violated.
	Renew bool
}

// stands is the token that was read at the resource; zero: none was.
func (e Effect) stands() uint64 {
	if e.Recalled {
		return 0
	}
	return e.Token
}

// Rememberer is an Action whose resource can be written although it cannot be read,
// because a write names exactly what it replaces: one that rests on something old is
// refused. What Inspect reads of it while all is well is kept in the log, and given
// to a later one as Deps.Recall.
type Rememberer interface {
	Action
	Remembers()
}

// Attempt identifies one try of one step. Its token was never used before: it
// is the raft index of the committed StepStarted (rule E4).
type Attempt struct {
	Execution uint64
	Step      failover.StepID
	Number    int // 1 for the first try
	Epoch     uint64
	Token     uint64
	// Previous is what was committed before the change: Effect.Previous of the
	// first attempt's Inspect.
	Previous json.RawMessage
	// Deadline is when the attempt's calls must have been sent. It is checked
	// again in the last client layer before signing (rule E2).
	Deadline time.Time
	// Near is the region that is entered, or active: what the attempt needs beside its
	// resource is asked there. Empty: anywhere.
	Near failover.Region
	// Progress tells a person how far the work is. It never blocks and may be nil.
	Progress func(line string)
}

// Report calls Progress if there is one.
func (a Attempt) Report(format string, args ...any) {
	if a.Progress != nil {
		a.Progress(fmt.Sprintf(format, args...))
	}
}

// Action changes the world. Implementations are used by one goroutine at a
// time. All methods return promptly when ctx ends.
type Action interface {
	// Inspect reads the world and changes nothing. An error means that the
	// world could not be read: the executor treats the effect as Unknown and
	// shows the error.
	Inspect(ctx context.Context) (Effect, error)
	// Do makes the change. It is absolute and idempotent: done twice it equals
	// done once. It returns when the change was asked for, not when it has
	// taken place: the executor polls Inspect until Present or its time-out.
	// An error does not mean that nothing happened.
	Do(ctx context.Context, a Attempt) error
	// Undo puts back what a.Previous recorded, carrying a's new token.
	Undo(ctx context.Context, a Attempt) error
}

// Aging is an Action whose calls may still land for a while after the attempt's
// deadline, which bounds only when they are sent: a request that was signed in
// time is accepted for as long as its signature is valid (rule E3).
type Aging interface {
	Action
	// Ages is how long after the deadline the last call may land.
	Ages() time.Duration
}

// ages is when no call of an attempt with the given deadline can land any more.
func ages(a Action, until time.Time) time.Time {
	if g, ok := a.(Aging); ok {
		return until.Add(g.Ages())
	}
	return until
}

// Ender is an Action of which something may run on in this process after Do has returned.
type Ender interface {
	Action
	// End ends that, and waits for it. What it has changed by then stays.
	End(ctx context.Context) error
}

// Restorer is an Action that knows whether the world is again as it was: that
// its effect is not there says nothing, since a change that was half made is not
// there either.
type Restorer interface {
	Action
	// Restored compares what Inspect saw with what StepStarted recorded before the
	// change.
	Restored(now Effect, previous json.RawMessage) bool
}

// restored reports whether an undo has taken effect. An action that cannot
// compare is believed when its effect is wholly absent.
func restored(a Action, now Effect, previous json.RawMessage) bool {
	if now.Recalled {
		return false // what was kept says nothing of what is
	}
	if r, ok := a.(Restorer); ok {
		return now.State != Unknown && r.Restored(now, previous)
	}
	return now.State == Absent
}

// Witness is an Action that can tell somebody else's change from its own. What
// somebody has changed since is not put back without a person.
type Witness interface {
	Action
	// Overtaken says what somebody else has set since an attempt that found previous,
	// for a person; "" while what Inspect sees now is what was there before, or what Do
	// has set, whole or in part.
	Overtaken(now Effect, previous json.RawMessage) string
}

// overtakenCount says that a count is neither what it was nor what has been set: 0
// by a stop, which has no count, and at least count by a start. What a start has
// set an autoscaler may have raised since.
func overtakenCount(count, was, is int, autoscaled bool) string {
	set := 0
	if count > 0 {
		set = max(count, was)
	}
	if is == was || is == set || count > 0 && autoscaled && is > set {
		return ""
	}
	return fmt.Sprintf("the count was %d before, was set to %d, and is %d now", was, set, is)
}

// Burner is a TokenChecker that can write a new token and nothing else, so that
// every earlier attempt is refused from then on (rule E4).
type Burner interface {
	TokenChecker
	// Burn replaces the token that stands at the resource with a's, changing
	// nothing else.
	Burn(ctx context.Context, a Attempt) error
}

// Driller is an Action that can be tried out beside what is live.
type Driller interface {
	Action
	// Drill does what Do does as far as it touches nothing live, and takes it away again, also when ctx ends. say is told how far it
	// is, and never blocks.
	Drill(ctx context.Context, say func(line string)) (Drilled, error)
}

// askError is of an attempt that has done nothing and that no repetition makes better: its step fails at once, and a person is asked.
type askError struct{ error }

func (e askError) Unwrap() error { return e.error }

// ErrNotTried is of a drill that did not come as far as trying anything, as on a node that does not reach what it would be tried out with: it says
// nothing of the start.
var ErrNotTried = restore.ErrNotTried

// Drilled is what a drill has found.
type Drilled struct {
	Took   time.Duration
	Detail string // one line for a person
}

// TokenChecker is an Action whose resource refuses a write that does not name
// the token that it replaces. For such a resource Absent can be believed at
// once, because the next attempt's write burns every earlier one (rule E3).
type TokenChecker interface {
	Action
	ChecksToken()
}
