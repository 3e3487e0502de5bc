package failover

import (
	"slices"
	"strings"
	"time"
)

// This file holds how a step is tried again, and what a person lets it do in spite of the configuration that its plan was made with.

// Allowance is a person's word for one step of one execution, given while its plan is under way: its later attempts do what they refused before,
// whoever leads. It is no configuration: it ends with the execution.
type Allowance struct {
	// Overrides are the refusals that are lifted, as Step.Overrides names them.
	Overrides []string `json:"overrides,omitempty"`
	// Key names what is worked from, where the step has a choice (Step.Keys); empty: nothing is said of it.
	Key  string    `json:"key,omitempty"`
	By   string    `json:"by"`
	With string    `json:"with,omitempty"` // as in Request
	Why  string    `json:"why"`
	At   time.Time `json:"at"`
}

// Text says what is allowed.
func (a Allowance) Text() string {
	var out []string
	if len(a.Overrides) > 0 {
		out = append(out, strings.Join(a.Overrides, ", "))
	}
	if a.Key != "" {
		out = append(out, "key "+a.Key)
	}
	return strings.Join(out, "; ")
}

// Lifted are the refusals that people have lifted for the step, each once.
func (r StepRecord) Lifted() []string {
	var out []string
	for _, a := range r.Allowed {
		out = append(out, a.Overrides...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Key is what the step was told last to work from; empty: nothing was said of it.
func (r StepRecord) Key() string {
	for _, a := range slices.Backward(r.Allowed) {
		if a.Key != "" {
			return a.Key
		}
	}
	return ""
}

// allowedBy reports whether somebody has given the step an allowance, or one half of it.
func (r StepRecord) allowedBy(who string) bool {
	return slices.ContainsFunc(r.Allowed, func(a Allowance) bool { return a.By == who || a.With == who })
}

// allows reports whether the command is more than to try again.
func (c Retry) allows() bool { return len(c.Allow) > 0 || c.Key != "" }

func (c Retry) apply(s *State, m Meta) (any, error) {
	e, err := s.running(c.Execution)
	if err != nil {
		return nil, err
	}
	rec := e.Steps[c.Step]
	if c.allows() {
		if err := c.mayAllow(e, m); err != nil {
			return nil, err
		}
		switch e.Step(c.Step).State {
		case StepRunning:
			// It is refused again and again until its time is over: its next attempt goes by what is allowed now.
			s.allow(c, m, e, rec, "; this counts from its next attempt on, and changes nothing of one that goes on")
			return nil, nil
		case StepPending:
			// The question whether to begin it has told what it would refuse: it is asked anew, with what is allowed.
			if rec == nil {
				rec = &StepRecord{State: StepPending}
				e.Steps[c.Step] = rec
			}
			s.allow(c, m, e, rec, "")
			if q := e.Question; q != nil && q.Kind == "approval" && q.Step == c.Step {
				e.Question = nil
			}
			return nil, nil
		}
	}
	if rec == nil || (rec.State != StepFailed && rec.State != StepUnclear) {
		return nil, refuse("state", "step %s is %s: only a failed or unclear step can be tried again", c.Step, e.Step(c.Step).State)
	}
	if e.State == ExecAborting && s.Level() >= 3 && rec.Undoing() == nil {
		return nil, refuse("aborting", "execution %d is being ended: step %s is not tried again, it is put back if that was asked for", e.ID, c.Step)
	}
	if c.allows() {
		s.allow(c, m, e, rec, "")
	}
	// What an undo left changed stands, and is to be put back once more. An execution
	// that goes forward does the step anew instead: nobody knows how much of it stands.
	rec.State = StepPending
	if e.State == ExecAborting && s.Level() >= 3 || rec.Last().Undo && s.Level() == 2 {
		rec.State = StepDone
	}
	held := e.State == ExecHeld
	s.answered(e, c.Step)
	if held && c.allows() { // nobody who holds it has allowed this
		e.State = ExecHeld
		s.event(m, c, "step %s will be tried again once execution %d goes on: it is held, and `failoverd continue` ends that", c.Step, e.ID)
		return nil, nil
	}
	s.event(m, c, "step %s will be tried again", c.Step)
	return nil, nil
}

// mayAllow refuses an allowance that the step does not know, or that comes when nothing of it would count.
func (c Retry) mayAllow(e *Execution, m Meta) error {
	st := e.Plan.Step(c.Step)
	switch {
	case st == nil:
		return refuse("step", "the plan has no step %q", c.Step)
	case len(c.Allow) > 0 && len(st.Overrides) == 0:
		return refuse("override", "step %s refuses nothing that could be allowed, or its plan was made by a version that knew of no allowances: `failoverd retry %s` alone tries it again", c.Step, c.Step)
	case c.Key != "" && !st.Keys:
		return refuse("override", "step %s takes no key: `failoverd retry %s` alone tries it again", c.Step, c.Step)
	}
	for _, name := range c.Allow {
		if !slices.Contains(st.Overrides, name) {
			return refuse("override", "%q is nothing that step %s can be allowed; these are: %s", name, c.Step, strings.Join(st.Overrides, ", "))
		}
	}
	switch {
	case m.Why == "":
		return refuse("why", "to allow what step %s refuses needs a reason (--why)", c.Step)
	case e.State == ExecAborting:
		return refuse("aborting", "execution %d is being ended: nothing is allowed to step %s any more", e.ID, c.Step)
	case !slices.Contains([]StepState{StepPending, StepRunning, StepFailed, StepUnclear}, e.Step(c.Step).State):
		return refuse("state", "step %s is %s: only one that is still to be done can be allowed something", c.Step, e.Step(c.Step).State)
	case e.Step(c.Step).State == StepRunning && st.Approval:
		return refuse("in-flight", "step %s is under way by an approval that was given without this: once it has failed (it has %s, and then asks), it can be allowed, and the approval is asked for again", c.Step, st.Timeout)
	}
	return nil
}

// allow records what a person allows; from says from when on it counts, "" at once. What was approved before was approved without it: it is asked for again.
func (s *State) allow(c Retry, m Meta, e *Execution, rec *StepRecord, from string) {
	names := slices.Compact(slices.Sorted(slices.Values(c.Allow)))
	a := Allowance{Overrides: names, Key: c.Key, By: m.By, With: s.firstHalf(m, c), Why: m.Why, At: m.At}
	rec.Allowed = append(rec.Allowed, a)
	again := ""
	if e.Plan.Step(c.Step).Approval {
		e.Approvals = slices.DeleteFunc(e.Approvals, func(a Approval) bool { return a.Step == c.Step })
		again = "; its approval is asked for again"
	}
	s.event(m, c, "step %s is allowed, for this execution: %s%s%s", c.Step, a.Text(), again, from)
}

// answered closes a question about a step and lets the execution go on.
func (s *State) answered(e *Execution, id StepID) {
	if e.Question != nil && e.Question.Step == id {
		e.Question = nil
		if e.State == ExecHeld {
			e.State = ExecRunning
		}
	}
}
