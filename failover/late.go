package failover

import (
	"fmt"
	"slices"
	"time"
)

// This file holds the writes that may still land after nobody looks after their step any more: of a switch that was handed over, of an
// attempt of a standing hold, of an execution that `failoverd recover` ended. While there is one, no region is left (rule E4): it could land
// when another one is active.

// LateToken is a write that may still land at a resource that checks tokens, although no execution looks after it.
type LateToken struct {
	ID   uint64 `json:"id"` // index of the entry that left it, plus its place
	Step Step   `json:"step"`
	// Token is the newest that may land. One that is read there, and is as new, ends it: the resource refuses all that is older.
	Token uint64    `json:"token"`
	Since time.Time `json:"since"`
	Why   string    `json:"why"` // what left it
	// Until is when the call is over that was to burn it; zero: none was made.
	Until time.Time `json:"until,omitzero"`
}

type (
	// BurnToken is the intent to replace a late token by its own index (rule E2). The result's value is the token.
	BurnToken struct {
		ID    uint64    `json:"id"`
		Epoch uint64    `json:"epoch"`
		Until time.Time `json:"until"`
	}
	// SettleToken says what token stands at the resource of a late one: as new, or newer.
	SettleToken struct {
		ID     uint64 `json:"id"`
		Stands uint64 `json:"stands"`
	}
)

// Name implements Command.
func (BurnToken) Name() string { return "burn-token" }

// Name implements Command.
func (SettleToken) Name() string { return "settle-token" }

// LeaderOnly implements Command.
func (BurnToken) LeaderOnly() bool { return true }

// LeaderOnly implements Command.
func (SettleToken) LeaderOnly() bool { return true }

// LateToken is the newest token of the step's attempts that was sent and not seen to land, nor an as new one at its resource; zero: there is
// none. Unlike Consumed it does not take a step that is done for one whose token has landed: what it wants may have come from elsewhere.
func (r StepRecord) LateToken() uint64 {
	open := uint64(0)
	for _, a := range r.Attempts {
		if !a.Until.IsZero() { // without, it was begun in the log and nowhere else
			open = a.Token
		}
		if a.Vowed || a.Stands > 0 && a.Stands >= open {
			open = 0
		}
	}
	return open
}

// leaveLate keeps what may still land of an execution that ends.
func (s *State) leaveLate(index uint64, at time.Time, e *Execution, why string) {
	if s.Level() < 3 {
		return
	}
	for _, st := range e.Plan.Steps {
		if token := e.Step(st.ID).LateToken(); st.Tokens && token > 0 {
			s.leave(index, at, st, token, why)
		}
	}
}

// leave keeps one token. A newer one of the same step takes an older one's place: it names what the older would replace, or comes after it.
func (s *State) leave(index uint64, at time.Time, st Step, token uint64, why string) {
	s.Late = slices.DeleteFunc(s.Late, func(o LateToken) bool { return o.Step.Fingerprint() == st.Fingerprint() && o.Token <= token })
	id := index<<8 | 128 // apart from the holds of the same entry
	for slices.ContainsFunc(s.Late, func(o LateToken) bool { return o.ID == id }) {
		id++
	}
	s.Late = append(s.Late, LateToken{ID: id, Step: st, Token: token, Since: at, Why: why})
}

func (s *State) lateToken(id uint64) (*LateToken, error) {
	for i := range s.Late {
		if s.Late[i].ID == id {
			return &s.Late[i], nil
		}
	}
	return nil, refuse("token", "no write with the number %d may still land", id)
}

// Replacing is until when a call may be under way that replaces a late token of the step; writing, one of a standing hold of it. Of two at
// once, each names the token that was there before: the one that comes second is refused, and is not known to be.
func (s *State) Replacing(st Step) (until time.Time) {
	for _, o := range s.Late {
		if o.Step.Fingerprint() == st.Fingerprint() && o.Until.After(until) {
			until = o.Until
		}
	}
	return until
}

func (s *State) writing(st Step) (until time.Time) {
	for _, h := range s.Holds {
		if h.Running != nil && h.Step.Fingerprint() == st.Fingerprint() && h.Running.Until.After(until) {
			until = h.Running.Until
		}
	}
	return until
}

// stepping is the same of a step of the open execution.
func (s *State) stepping(st Step) (until time.Time) {
	if s.Execution == nil {
		return until
	}
	for _, other := range s.Execution.Plan.Steps {
		rec := s.Execution.Step(other.ID)
		if (rec.State == StepRunning || rec.State == StepUndoing || rec.Burning()) && rec.Last() != nil && other.Fingerprint() == st.Fingerprint() {
			until = later(until, rec.Last().Until)
		}
	}
	return until
}

func (c BurnToken) apply(s *State, m Meta) (any, error) {
	o, err := s.lateToken(c.ID)
	switch {
	case err != nil:
		return nil, err
	case c.Epoch != s.Epoch:
		return nil, refuse("epoch", "it was meant for epoch %d; it is %d", c.Epoch, s.Epoch)
	case m.At.Before(o.Until):
		return nil, refuse("in-flight", "an earlier attempt may still be under way until %s", o.Until.Format(time.RFC3339))
	case s.Level() >= 3 && m.At.Before(s.writing(o.Step)):
		return nil, refuse("in-flight", "a standing hold writes there until %s", s.writing(o.Step).Format(time.RFC3339))
	case m.At.Before(s.stepping(o.Step)):
		return nil, refuse("in-flight", "execution %d writes there until %s", s.Execution.ID, s.stepping(o.Step).Format(time.RFC3339))
	}
	s.event(m, c, "token %d of %s in %s is being replaced by %d, so that it cannot land late", o.Token, o.Step.Action, o.Step.Region, m.Index)
	o.Token, o.Until = m.Index, c.Until
	return m.Index, nil
}

func (c SettleToken) apply(s *State, m Meta) (any, error) {
	o, err := s.lateToken(c.ID)
	switch {
	case err != nil:
		return nil, err
	case c.Stands < o.Token:
		return nil, refuse("token", "token %d stands at %s in %s, and %d may still land", c.Stands, o.Step.Action, o.Step.Region, o.Token)
	}
	s.event(m, c, "token %d stands at %s in %s: nothing older can land there any more", c.Stands, o.Step.Action, o.Step.Region)
	s.Late = slices.DeleteFunc(slices.Clone(s.Late), func(o LateToken) bool { return o.ID == c.ID })
	if e := s.Execution; e != nil && len(s.Late) == 0 && e.Question != nil && e.Question.Kind == LateWrite {
		e.Question = nil
	}
	return nil, nil
}

// LateWrite is the kind of a question about a write that may still land: the epoch waits for it.
const LateWrite = "late-write"

// LateWrites says which write may still land after the active region was left; "" if none can. It goes on being read and replaced until
// one as new is seen.
func (s *State) LateWrites() string {
	if len(s.Late) == 0 {
		return ""
	}
	o, more := s.Late[0], ""
	if n := len(s.Late) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more)", n)
	}
	return fmt.Sprintf("a write of %s in %s with token %d may still land%s, %s, also when another region is active; it is looked for, and replaced as soon as its resource can be written to (`failoverd release late-write --why …` if you know that it cannot land)", o.Step.Action, o.Step.Region, o.Token, more, o.Why)
}
