package failover

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// This file holds the standing holds: what was stopped in a region that was left
// stays stopped there, also when the region comes back with everything that was
// never stopped; clients stay where a switch has sent them, also when
// Route 53 loses an accepted change; and what leads in the region that was entered
// is alone in it, also when its rivals come back. A standing hold is not a step: it is applied
// as often as it is found violated, within a limit.

// TrafficComponent is the name under which the standing holds of switches are
// known. No component of the service may have it.
const TrafficComponent Component = "traffic"

// ReapplyPerHour is how often a standing hold may be applied again within an
// hour before a person has to look: something else keeps starting what it stops.
const ReapplyPerHour = 6

type (
	// ReapplyStarted is the intent that precedes the stop that a standing hold
	// applies again (rule E2).
	ReapplyStarted struct {
		Hold     uint64          `json:"hold"`
		Epoch    uint64          `json:"epoch"`
		Previous json.RawMessage `json:"previous,omitempty"`
		Until    time.Time       `json:"until"`
	}
	// ReapplyFinished resolves it.
	ReapplyFinished struct {
		Hold    uint64    `json:"hold"`
		Token   uint64    `json:"token"`
		Outcome StepState `json:"outcome"` // StepDone, StepFailed or StepUnclear
		Detail  string    `json:"detail"`
	}
	// NoteHold records that what is seen of a standing hold has changed.
	NoteHold struct {
		Hold   uint64     `json:"hold"`
		Status HoldStatus `json:"status"`
		Detail string     `json:"detail"`
	}
	// ReleaseHold is a person's word that a component may run again in the region
	// that was left.
	ReleaseHold struct {
		Component Component `json:"component"`
		// Ended is another word: what was only cut off there has ended. It stays held.
		Ended bool `json:"ended,omitempty"`
	}
)

// makeHolds turns the stops of an execution that has advanced the epoch into
// standing holds. Holds on the region that has become active end.
func (s *State) makeHolds(m Meta, c AdvanceEpoch, e *Execution) {
	s.Holds = slices.DeleteFunc(s.Holds, func(h StandingHold) bool { return !h.wanted(s.Active) })
	n := uint64(0)
	for _, st := range e.Plan.Steps {
		if st.Kind != KindStop || e.Step(st.ID).State == StepSkipped {
			continue
		}
		h := StandingHold{
			ID: m.Index<<8 | n, Component: st.Component, Step: st, Epoch: s.Epoch, Since: m.At, Status: HoldUnseen,
			Ended: s.Level() >= 3 && e.shownEnded(st.Component, c.Freeze),
		}
		// Whoever comes home soon must not be stopped by what this one has sent into a region that answered nothing. Where it could be read, the
		// call was answered as well, or its effect is seen soon.
		for _, a := range e.Step(st.ID).Attempts {
			if !a.Until.IsZero() && a.Outcome != StepDone && len(a.Previous) == 0 {
				s.unresolved(&h, &a)
			}
		}
		s.Holds = append(s.Holds, h)
		n++
		s.event(m, c, "standing hold: %s stays stopped in %s", st.Component, st.Region)
	}
	for _, st := range e.Plan.Steps {
		// Somebody was faster than the fence, or it was prepared.
		if rec := e.Step(st.ID); rec.State == StepSkipped || s.Level() >= 3 && rec.State == StepDone {
			s.holdStart(m, c, st.ID, e, n)
			n++
		}
	}
}

// holdTraffic turns the switches of an execution that has ended into standing
// holds, with unseen also one that could not be seen to take effect yet. first tells them from other holds of the same entry; say is
// told of each.
func (s *State) holdTraffic(index uint64, at time.Time, e *Execution, first uint64, unseen bool, say func(format string, args ...any)) {
	n := first
	for _, st := range e.Plan.Steps {
		rec := e.Step(st.ID)
		if st.Kind != KindSwitch || !st.Tokens || rec.State != StepDone && !(unseen && rec.State == StepUnproven) {
			continue
		}
		h := StandingHold{
			ID: index<<8 | n, Component: TrafficComponent, Step: st, Epoch: s.Epoch, Since: at, Status: HoldKept, Detail: rec.Detail, At: at,
		}
		if rec.State == StepUnproven {
			h.Status = HoldUnseen
		}
		if slices.ContainsFunc(s.Holds, func(o StandingHold) bool {
			return o.Component == TrafficComponent && o.Step.ID == st.ID && o.Epoch == s.Epoch
		}) {
			continue // of an execution that was ended behind the fence and carried on: it knows how often it was applied
		}
		s.Holds = append(s.Holds, h)
		n++
		say("standing hold: %s keeps clients in %s", st.Action, st.Region)
	}
}

// holdStart looks after what a start, or a person in its place, has brought about. It replaces what an earlier one of the same step has left.
// n tells the holds of one command apart.
func (s *State) holdStart(m Meta, c Command, step StepID, e *Execution, n uint64) {
	st := e.Plan.Step(step)
	if st == nil || !st.Stands || e.Kind == Preparation || st.Region != s.Active {
		return
	}
	s.Holds = slices.DeleteFunc(s.Holds, func(h StandingHold) bool { return h.Step.Kind == KindStart && h.Step.ID == st.ID })
	s.Holds = append(s.Holds, StandingHold{ID: m.Index<<8 | n, Component: st.Component, Step: *st, Epoch: s.Epoch, Since: m.At, Status: HoldUnseen})
	s.event(m, c, "standing hold: %s is led by %s alone", st.Component, st.Region)
}

// wanted reports whether the hold is right while a region is active: a stop
// elsewhere, a switch or a start there.
func (h *StandingHold) wanted(active Region) bool {
	return (h.Step.Kind == KindStop) == (h.Step.Region != active)
}

// Wants says what the hold keeps true.
func (h *StandingHold) Wants() string {
	switch h.Step.Kind {
	case KindStart:
		return fmt.Sprintf("%s is led by %s alone", h.Component, h.Step.Region)
	case KindSwitch:
		return fmt.Sprintf("clients stay in %s by %s", h.Step.Region, h.Step.Action)
	}
	return fmt.Sprintf("%s stays stopped in %s", h.Component, h.Step.Region)
}

// hold returns the standing hold with the given ID, or a refusal.
func (s *State) hold(id uint64) (*StandingHold, error) {
	for i := range s.Holds {
		if s.Holds[i].ID == id {
			return &s.Holds[i], nil
		}
	}
	return nil, refuse("hold", "there is no standing hold %d", id)
}

// TooOften reports whether a standing hold was applied as often as it may be
// within the hour before now.
func (h *StandingHold) TooOften(now time.Time) bool {
	n := 0
	for _, t := range h.Applied {
		if now.Sub(t) < time.Hour {
			n++
		}
	}
	return n >= ReapplyPerHour
}

func (c ReapplyStarted) apply(s *State, m Meta) (any, error) {
	h, err := s.hold(c.Hold)
	switch {
	case err != nil:
		return nil, err
	case c.Epoch != s.Epoch:
		return nil, refuse("epoch", "the stop was meant for epoch %d; it is %d", c.Epoch, s.Epoch)
	case !h.wanted(s.Active):
		return nil, refuse("active-region", "%s is the active region: nothing is held down there, and no client is held elsewhere", s.Active)
	case h.Step.Kind == KindStop && s.Entering(h.Step.Region):
		return nil, refuse("entering", "%s is about to be entered, and waits for the stops that were sent there: no more are sent", h.Step.Region)
	case h.Running != nil && m.At.Before(h.Running.Until):
		return nil, refuse("in-flight", "an earlier attempt may still be under way until %s", h.Running.Until.Format(time.RFC3339))
	case s.Level() >= 3 && m.At.Before(s.Replacing(h.Step)):
		return nil, refuse("in-flight", "an earlier write there is being replaced until %s", s.Replacing(h.Step).Format(time.RFC3339))
	case h.TooOften(m.At):
		return nil, refuse("rate", "it was seen to that %s %d times within an hour: something else keeps changing it; find out what, or end the hold with `failoverd release %s --why …`", h.Wants(), ReapplyPerHour, h.Component)
	}
	n := 1
	if h.Last != nil {
		n = h.Last.Number + 1
	}
	if h.Running != nil {
		n = h.Running.Number + 1
	}
	if h.Running != nil {
		s.unresolved(h, h.Running) // its leader has died
	}
	h.Running = &AttemptRecord{Number: n, Token: m.Index, Epoch: c.Epoch, Node: m.Node, Term: m.Term, Previous: c.Previous, Until: c.Until, StartedAt: m.At}
	if s.Level() >= 3 && h.Step.Tokens {
		s.leave(m.Index, m.At, h.Step, m.Index, "of a standing hold")
	}
	h.Applied = append(slices.DeleteFunc(slices.Clone(h.Applied), func(t time.Time) bool { return m.At.Sub(t) >= time.Hour }), m.At)
	s.event(m, c, "it was seen not to be so that %s: it is seen to again (attempt %d)", h.Wants(), n)
	return m.Index, nil
}

func (c ReapplyFinished) apply(s *State, m Meta) (any, error) {
	h, err := s.hold(c.Hold)
	switch {
	case err != nil:
		return nil, err
	case h.Running == nil || h.Running.Token != c.Token:
		return nil, refuse("token", "the standing hold of %s is not being applied with token %d", h.Component, c.Token)
	case c.Outcome != StepDone && c.Outcome != StepFailed && c.Outcome != StepUnclear:
		return nil, refuse("outcome", "it cannot end %q", c.Outcome)
	}
	if c.Outcome != StepDone || m.Term != h.Running.Term {
		// What another leader finds stopped somebody else may have stopped.
		s.unresolved(h, h.Running)
	}
	last := *h.Running
	last.FinishedAt, last.Outcome, last.Detail = m.At, c.Outcome, c.Detail
	h.Last, h.Running = &last, nil
	s.event(m, c, "standing hold of %s in %s: %s: %s", h.Component, h.Step.Region, c.Outcome, c.Detail)
	return nil, nil
}

func (c NoteHold) apply(s *State, m Meta) (any, error) {
	h, err := s.hold(c.Hold)
	switch {
	case err != nil:
		return nil, err
	case c.Status != HoldUnseen && c.Status != HoldKept && c.Status != HoldViolated:
		return nil, refuse("status", "%q is not a status of a standing hold", c.Status)
	}
	if h.Status != c.Status {
		s.event(m, c, "standing hold of %s in %s: %s (was %s): %s", h.Component, h.Step.Region, c.Status, h.Status, c.Detail)
	}
	h.Status, h.Detail, h.At = c.Status, c.Detail, m.At
	if c.Status == HoldViolated {
		for i := range s.Holds { // what runs again has not ended, whatever was shown before
			if o := &s.Holds[i]; o.Component == h.Component && o.Step.Region == h.Step.Region {
				o.Ended = false
			}
		}
	}
	return nil, nil
}

// ended notes for the guard `fenced` what a person has seen.
func (c ReleaseHold) ended(s *State, m Meta) (any, error) {
	for _, h := range s.Holds { // what is seen running has not ended, whoever says so
		if h.Component == c.Component && h.Step.Kind == KindStop && h.Status == HoldViolated {
			return nil, refuse("hold", "%s is seen running in %s: %s; end it first", c.Component, h.Step.Region, h.Detail)
		}
	}
	next, n := slices.Clone(s.Holds), 0
	for i := range next {
		if h := &next[i]; h.Component == c.Component && h.Step.Kind == KindStop && h.Step.Proves == Resource && !h.Ended {
			h.Ended, n = true, n+1
		}
	}
	if n == 0 {
		return nil, refuse("hold", "nothing of %q is cut off in a region that was left without having been shown to have ended", c.Component)
	}
	s.Holds = next
	s.event(m, c, "what was cut off of %s has ended, by this word: it stays cut off, and the plan opens the network when the region is entered", c.Component)
	return nil, nil
}

// callLife is how long after its deadline a call that was sent may still be carried out: AWS accepts a signed request for five minutes
// after the time in its signature
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html), and nothing else that stops lasts longer.
const callLife = 5 * time.Minute

// unresolved keeps until when a call of an attempt may land of which nobody knows what has become.
func (s *State) unresolved(h *StandingHold, a *AttemptRecord) {
	if s.Level() >= 3 {
		h.Quiet = later(h.Quiet, a.Until.Add(callLife))
	}
}

// Entering reports whether everything is proven to have stopped in the region that is left for this one. What runs there is about to be
// wanted, and each stop that is sent there would keep the epoch for as long as it may land. While something else keeps it, stops go on.
func (s *State) Entering(r Region) bool {
	e := s.Execution
	return s.Level() >= 3 && e != nil && e.State == ExecRunning && e.To == r && e.Epoch == s.Epoch &&
		s.Freeze != nil && !s.Freeze.Provisional && s.Freeze.Execution == e.ID && len(e.Unproven(s.Freeze.ID)) == 0 &&
		(len(s.Late) == 0 || slices.Contains(e.Overrides, GuardLate))
}

// StopsUnderWay says which standing hold may still stop what is in a region: its call, or one of the step that it comes from, was sent, was not seen to take effect, and has not aged
// out. What works there afterwards would be stopped by it, and no hold starts it again (rule E5). "" if none does. Component "" is any.
func (s *State) StopsUnderWay(in Region, of Component, now time.Time) string {
	if s.Level() < 3 {
		return ""
	}
	for _, h := range s.Holds {
		if h.Step.Kind != KindStop || h.Step.Region != in || of != "" && h.Component != of {
			continue
		}
		until := h.Quiet
		if h.Running != nil {
			until = later(until, h.Running.Until.Add(callLife))
		}
		if now.Before(until) {
			return fmt.Sprintf("%s was being stopped in %s, was not seen to stop, and a call of that may still land until %s", h.Component, in, until.Format(time.RFC3339))
		}
	}
	return ""
}

func (c ReleaseHold) apply(s *State, m Meta) (any, error) {
	if m.Why == "" {
		return nil, refuse("why", "ending a standing hold needs a reason (--why): what was stopped may start again")
	}
	if c.Ended {
		return c.ended(s, m)
	}
	if c.Component == LateWrite && s.Level() >= 3 && len(s.Late) > 0 {
		for _, l := range s.Late {
			s.event(m, c, "the write of %s in %s with token %d is not looked for any more: a person vouches that it cannot land", l.Step.Action, l.Step.Region, l.Token)
		}
		s.Late = nil
		if e := s.Execution; e != nil && e.Question != nil && e.Question.Kind == LateWrite {
			e.Question = nil
		}
		return nil, nil
	}
	before := len(s.Holds)
	for i := range s.Holds {
		if h := &s.Holds[i]; h.Component == c.Component && h.Running != nil && m.At.Before(h.Running.Until) {
			return nil, refuse("in-flight", "%s is being stopped right now: try again after %s", c.Component, h.Running.Until.Format(time.RFC3339))
		}
	}
	for _, h := range s.Holds {
		if h.Component != c.Component {
			continue
		}
		if why := s.StopsUnderWay(h.Step.Region, c.Component, m.At); why != "" {
			return nil, refuse("in-flight", "%s; try again then", why)
		}
	}
	cut := ""
	for _, h := range s.Holds {
		if h.Component == c.Component && h.Step.Kind == KindStart {
			s.event(m, c, "standing hold of %s ended: nobody looks any more whether %s leads it alone", c.Component, h.Step.Region)
		}
		if h.Component == c.Component && h.Step.Proves == Resource && s.Level() >= 3 {
			cut = ", and what was only cut off there works again when the network is opened"
		}
	}
	stopped := slices.ContainsFunc(s.Holds, func(h StandingHold) bool { return h.Component == c.Component && h.Step.Kind == KindStop })
	s.Holds = slices.DeleteFunc(s.Holds, func(h StandingHold) bool { return h.Component == c.Component })
	if len(s.Holds) == before {
		return nil, refuse("hold", "there is no standing hold on %q", c.Component)
	}
	if c.Component == TrafficComponent {
		s.event(m, c, "standing hold of traffic ended: clients are not held in %s any more", s.Traffic)
		return nil, nil
	}
	if stopped {
		s.event(m, c, "standing hold of %s ended: it may start again in the region that was left; it still gets no lease there%s", c.Component, cut)
	}
	return nil, nil
}
