package failover

import (
	"slices"
	"strings"
	"time"
)

// This file holds the journal: executions, steps, questions and answers (rules
// E1 to E8).

// running returns the open execution if it has the given ID.
func (s *State) running(id uint64) (*Execution, error) {
	if s.Execution == nil {
		return nil, refuse("no-execution", "no execution is running (asked for %d)", id)
	}
	if s.Execution.ID != id {
		return nil, refuse("execution", "execution %d is running, not %d", s.Execution.ID, id)
	}
	return s.Execution, nil
}

// open is running, also for a preparation.
func (s *State) open(id uint64) (*Execution, error) {
	if s.Preparation != nil && s.Preparation.ID == id {
		return s.Preparation, nil
	}
	return s.running(id)
}

func (c RequestExecution) apply(s *State, m Meta) (any, error) {
	switch {
	case s.Settings == nil:
		return nil, refuse("not-configured", "the cluster has no configuration yet")
	case c.Kind != Failover && s.Level() < 3:
		return nil, refuse("kind", "%q is not a kind of execution; failover is", c.Kind)
	case !c.Kind.Leaves():
		return nil, refuse("kind", "%q is not a kind of execution; failover and switchover are", c.Kind)
	case s.Execution != nil:
		return nil, refuse("execution-open", "execution %d (%s) is not finished: `failoverd status` shows it, `failoverd abort` ends it", s.Execution.ID, s.Execution.State)
	case s.Request != nil:
		return nil, refuse("requested", "request %d by %s waits for the leader", s.Request.ID, s.Request.By)
	case m.Why == "":
		return nil, refuse("why", "a %s needs a reason, such as --why \"us-east-1 control plane lost\"", c.Kind)
	case s.Active != s.Settings.Primary && s.Level() < 3:
		return nil, refuse(GuardDirection, "%s is active: the way back is a failback, which this version does not carry out", s.Active)
	}
	for _, o := range c.Overrides {
		if can := s.overridable(); !slices.Contains(can, o) && s.Level() >= 2 {
			return nil, refuse("override", "%q cannot be overridden; these can: %s", o, strings.Join(can, ", "))
		}
	}
	if guard, reason := s.HandGuard(m.At, c.Kind, c.Overrides); guard != "" {
		return nil, refuse(guard, "%s", reason)
	}
	s.Refused = nil
	s.Request = &Request{ID: m.Index, Kind: c.Kind, By: m.By, With: s.firstHalf(m, c), Why: m.Why, Overrides: c.Overrides}
	through := ""
	if s.Level() >= 3 {
		s.Request.Node, through = m.Node, " through node "+string(m.Node)
	}
	s.event(m, c, "%s requested%s", c.Kind, through)
	return m.Index, nil
}

func (c StartExecution) apply(s *State, m Meta) (any, error) {
	switch {
	case s.Settings == nil:
		return nil, refuse("not-configured", "the cluster has no configuration yet")
	case s.Execution != nil:
		return nil, refuse("execution-open", "execution %d is not finished", s.Execution.ID)
	case c.Epoch != s.Epoch:
		return nil, refuse("epoch", "the plan was made for epoch %d; it is %d", c.Epoch, s.Epoch)
	case c.Plan.From != s.Active:
		return nil, refuse("not-active", "the plan leaves %s, but %s is active", c.Plan.From, s.Active)
	case len(c.Plan.Steps) == 0:
		return nil, refuse("plan", "the plan has no steps")
	case c.Kind == Switchover && (c.Incident != 0 || c.Plan.Kind != Switchover):
		// Its plan asks the region that is left, which an incident says is down.
		return nil, refuse("kind", "a switchover is what a person asks for, by a plan of its own")
	}
	e := &Execution{
		ID: m.Index, Kind: c.Kind, From: c.Plan.From, To: c.Plan.To, Epoch: s.Epoch,
		State: ExecRunning, Steps: map[StepID]*StepRecord{}, StartedAt: m.At,
	}
	if c.Incident != 0 {
		if err := s.startAutomatic(m, c, e); err != nil {
			return nil, err
		}
	} else {
		if s.Request == nil || s.Request.ID != c.Request {
			return nil, refuse("request", "request %d is not pending", c.Request)
		}
		if c.Kind != s.Request.Kind && s.Level() >= 3 {
			return nil, refuse("kind", "request %d is for a %s, and this is a %s", c.Request, s.Request.Kind, c.Kind)
		}
		if guard, reason := s.HandGuard(m.At, c.Kind, s.Request.Overrides); guard != "" {
			return nil, refuse(guard, "%s", reason)
		}
		if s.Level() >= 3 {
			e.Overrides = s.Request.Overrides
		}
		e.By, e.With, e.Why, e.AskedThrough = s.Request.By, s.Request.With, s.Request.Why, s.Request.Node
	}
	plan := c.Plan
	e.Plan, e.PlanHash = &plan, plan.Hash()
	if s.Level() >= 3 {
		e.Loss = map[string]LossSample{}
		for store := range s.Loss {
			sample, _, atMost, _ := s.LossOf(store, m.At)
			sample.Behind = atMost
			e.Loss[store] = sample
		}
	}
	if err := s.adopt(m, c, e); err != nil {
		return nil, err
	}
	if c.Incident != 0 {
		s.Incident.Execution, s.Incident.Refusal = m.Index, ""
		s.AutoRuns = append(s.AutoRuns, m.At)
	} else {
		s.Request = nil
	}
	s.Execution = e
	s.event(m, c, "execution %d: %s from %s to %s, plan %s, %d steps", e.ID, e.Kind, e.From, e.To, e.PlanHash, len(plan.Steps))
	if c.Approval {
		e.State = ExecAwaiting
		does := "Fail over"
		if e.Kind == Switchover && s.Level() >= 3 {
			does = "Switch over"
		}
		s.ask(m, e, Question{Kind: "approval",
			Text: does + " from " + string(e.From) + " to " + string(e.To) + "?",
			Ways: []string{"failoverd approve", "failoverd abort"}, Default: s.Settings.Policy.Ask.Then,
			Deadline: m.At.Add(s.Settings.Policy.Ask.Wait.D())})
	}
	return e.ID, nil
}

// startAutomatic checks the guards of an execution that no person asked for.
// The leader has checked them too; here they cannot be raced.
func (s *State) startAutomatic(m Meta, c StartExecution, e *Execution) error {
	if s.Incident == nil || s.Incident.ID != c.Incident || s.Incident.Execution != 0 {
		return refuse("no-incident", "incident %d is not open, or has its execution already", c.Incident)
	}
	if guard, reason := s.AutoGuard(m.At); guard != "" {
		return refuse(guard, "%s", reason)
	}
	if s.Settings.Policy.Mode == ModeSupervised && !c.Approval {
		return refuse("mode", "the mode is supervised: a person must be asked")
	}
	e.Incident, e.Auto, e.By = c.Incident, true, "failoverd"
	e.Why = "incident: " + string(s.Incident.Condition)
	return nil
}

// ask puts a question; its nonce is the entry's index.
func (s *State) ask(m Meta, e *Execution, q Question) {
	q.Nonce = m.Index
	e.Question = &q
	s.event(m, Ask{}, "%s (%s)", q.Text, strings.Join(q.Ways, " | "))
}

func (c Ask) apply(s *State, m Meta) (any, error) {
	e, err := s.running(c.Execution)
	if err != nil {
		return nil, err
	}
	if c.Kind == LateWrite && len(s.Late) == 0 && s.Level() >= 3 {
		return nil, refuse(LateWrite, "nothing may land late any more")
	}
	if !e.MayAsk(c.Kind) {
		return nil, refuse("asked", "execution %d waits for an answer already", e.ID)
	}
	if n := len(e.Step(c.Step).Allowed); c.Kind == "approval" && s.Level() >= 3 && c.Allowed != n {
		return nil, refuse("allowed", "the question about step %s names %d allowances, and it has %d: it is asked anew", c.Step, c.Allowed, n)
	}
	s.ask(m, e, Question{Kind: c.Kind, Step: c.Step, Text: c.Text, Ways: c.Ways, Deadline: c.Deadline, Default: c.Default})
	return m.Index, nil
}

// byPolicy approves what nobody has answered in time.
const byPolicy = "policy"

func (c AskExpired) apply(s *State, m Meta) (any, error) {
	e, err := s.running(c.Execution)
	if err != nil {
		return nil, err
	}
	q := e.Question
	if q == nil || q.Nonce != c.Nonce || q.Deadline.IsZero() {
		return nil, refuse("nonce", "question %d is not open", c.Nonce)
	}
	if m.At.Before(q.Deadline) {
		return nil, refuse("deadline", "question %d may be answered until %s", c.Nonce, q.Deadline.Format(time.RFC3339))
	}
	if why := s.unwanted(e, m.At); q.Default == "proceed" && why != "" {
		// It is looked at again: a vantage may have been blind for a moment.
		q.Deadline = m.At.Add(max(s.Settings.Policy.Hold.D(), time.Minute))
		if q.Postponed != why {
			q.Postponed = why
			s.event(m, c, "nobody answered in time, and the policy does not proceed as long as %s: %s", why, strings.Join(q.Ways, " | "))
		}
		return nil, nil
	}
	if q.Default == "proceed" {
		e.Approvals = append(e.Approvals, Approval{Nonce: q.Nonce, Step: q.Step, By: byPolicy, Why: "nobody answered in time", At: m.At})
		e.Question = nil
		if e.State == ExecAwaiting {
			e.State = ExecRunning
		}
		s.event(m, c, "nobody answered in time; the policy proceeds")
		return nil, nil
	}
	q.Deadline = time.Time{} // it stays open, without a time limit
	if e.State == ExecRunning {
		e.State = ExecHeld
	}
	s.event(m, c, "nobody answered in time; the policy holds: %s", strings.Join(q.Ways, " | "))
	return nil, nil
}

func (c Approve) apply(s *State, m Meta) (any, error) {
	e, err := s.running(c.Execution)
	if err != nil {
		return nil, err
	}
	q := e.Question
	switch {
	case q == nil || q.Kind != "approval":
		return nil, refuse("no-question", "execution %d does not wait for an approval", e.ID)
	case c.Nonce != 0 && c.Nonce != q.Nonce:
		return nil, refuse("nonce", "this answers question %d, but %d is open: the button or command is stale", c.Nonce, q.Nonce)
	case !e.Auto && !m.leads() && (m.By == e.By || m.By == e.With):
		return nil, refuse("same-person", "%s asked for this execution; somebody else must approve it", m.By)
	case !m.leads() && slices.Contains(e.CarriedBy, m.By):
		return nil, refuse("same-person", "%s has carried this execution on; somebody else must approve what is left of it", m.By)
	case !m.leads() && e.Step(q.Step).allowedBy(m.By):
		return nil, refuse("same-person", "%s has allowed step %s what it refused; somebody else must approve it", m.By, q.Step)
	}
	e.Approvals = append(e.Approvals, Approval{Nonce: q.Nonce, Step: q.Step, By: m.By, Why: m.Why, At: m.At})
	e.Question = nil
	if e.State == ExecAwaiting || e.State == ExecHeld {
		e.State = ExecRunning
	}
	s.event(m, c, "execution %d approved", e.ID)
	return nil, nil
}

func (c Hold) apply(s *State, m Meta) (any, error) {
	e, err := s.running(c.Execution)
	if err != nil {
		return nil, err
	}
	if e.State != ExecRunning {
		return nil, refuse("state", "execution %d is %s", e.ID, e.State)
	}
	e.State = ExecHeld
	s.event(m, c, "execution %d held: nothing new starts; `failoverd approve` goes on, `failoverd abort` ends it", e.ID)
	return nil, nil
}

func (c Abort) apply(s *State, m Meta) (any, error) {
	if p := s.Preparation; p != nil && p.ID == c.Execution {
		if p.State == ExecRunning {
			s.takeBack(m, c, "")
		}
		return nil, nil
	}
	e, err := s.running(c.Execution)
	if err != nil {
		return nil, err
	}
	if e.State == ExecAborting && e.Undo == c.Undo {
		return nil, nil
	}
	if c.Undo && (e.BeyondReturn() || s.Level() >= 3 && s.Epoch > e.Epoch) {
		return nil, refuse("no-return", "the epoch has advanced: %s is fenced and %s is active; going back is a failback, not an undo (`failoverd abort` without --undo stops here)", e.From, e.To)
	}
	e.State, e.Undo, e.Question = ExecAborting, c.Undo, nil
	e.Withdrawn = s.Level() >= 3 && m.leads()
	s.event(m, c, "execution %d aborting (undo: %t): what has started is awaited", e.ID, c.Undo)
	return nil, nil
}

func (c StepStarted) apply(s *State, m Meta) (any, error) {
	e, err := s.open(c.Execution)
	if err != nil {
		return nil, err
	}
	st := e.Plan.Step(c.Step)
	switch {
	case st == nil:
		return nil, refuse("step", "the plan has no step %q", c.Step)
	case c.PlanHash != e.PlanHash:
		return nil, refuse("plan", "step %s belongs to plan %s; execution %d runs plan %s", c.Step, c.PlanHash, e.ID, e.PlanHash)
	case c.Epoch != s.Epoch:
		return nil, refuse("epoch", "step %s was meant for epoch %d; it is %d", c.Step, c.Epoch, s.Epoch)
	case st.Tokens && m.At.Before(s.Replacing(*st)):
		return nil, refuse("in-flight", "a late token of step %s is being replaced until %s: both at once would refuse each other", c.Step, s.Replacing(*st).Format(time.RFC3339))
	}
	rec := e.Steps[c.Step]
	switch {
	case c.Burn:
		if rec == nil || rec.Consumed() || rec.State == StepRunning || rec.State == StepUndoing || rec.State == StepDone {
			return nil, refuse("state", "step %s has no token to burn", c.Step)
		}
	case c.Undo:
		// An undo that a preparation had begun is finished by the execution that
		// adopted the step (rule E7), and is made again there if it came to nothing.
		adopted := s.Level() >= 3 && e.State == ExecRunning && rec != nil && rec.State == StepUndoing
		if (e.State != ExecAborting || !e.Undo) && !adopted || e.BeyondReturn() {
			return nil, refuse("state", "execution %d does not undo", e.ID)
		}
		if s.Level() >= 3 && st.Kind == KindStart && st.Region == s.Active {
			return nil, refuse("active-region", "step %s started what is in %s, the active region: it is not undone", c.Step, st.Region)
		}
		if rec == nil || rec.First() == nil || rec.State == StepRunning || rec.State == StepUndone {
			return nil, refuse("state", "step %s has nothing to undo", c.Step)
		}
	default:
		if err := s.mayStart(e, st, rec); err != nil {
			return nil, err
		}
	}
	if rec == nil {
		rec = &StepRecord{}
		e.Steps[c.Step] = rec
	}
	switch {
	case c.Burn: // the step stays what it is
	case c.Undo:
		rec.State, rec.Slow = StepUndoing, ""
	default:
		rec.State, rec.Slow = StepRunning, ""
	}
	rec.Attempts = append(rec.Attempts, AttemptRecord{
		Number: len(rec.Attempts) + 1, Token: m.Index, Epoch: c.Epoch, Node: m.Node, Term: m.Term,
		Undo: c.Undo, Burn: c.Burn, Previous: c.Previous, Until: c.Until, StartedAt: m.At, Already: c.Already,
	})
	s.event(m, c, "step %s started (attempt %d, token %d)", c.Step, len(rec.Attempts), m.Index)
	return m.Index, nil
}

// mayStart holds the order of the plan and the safety of starts (S1, S3).
func (s *State) mayStart(e *Execution, st *Step, rec *StepRecord) error {
	if e.State != ExecRunning {
		return refuse("state", "execution %d is %s: nothing new starts", e.ID, e.State)
	}
	if st.Approval && !e.Approved(st.ID) {
		return refuse("approval", "step %s waits for an approval", st.ID)
	}
	if dep := e.WaitsFor(*st); dep != "" {
		return refuse("order", "step %s comes after %s, which is %s", st.ID, dep, e.Step(dep).State)
	}
	if e.Kind == Preparation {
		if err := s.mayPrepare(*st); err != nil {
			return err
		}
	} else if (st.Kind == KindStart || st.Kind == KindSwitch) && s.Active != e.To {
		return refuse("fence", "step %s acts in %s, but %s is the active region: the fence comes first", st.ID, e.To, s.Active)
	}
	if rec == nil {
		return nil
	}
	switch rec.State {
	case StepPending:
		return nil
	case StepRunning:
		// A new leader tries again after inspecting: only in a later term, or
		// when the earlier attempt cannot be in flight any more.
		return nil
	default:
		return refuse("state", "step %s is %s", st.ID, rec.State)
	}
}

func (c StepFinished) apply(s *State, m Meta) (any, error) {
	e, err := s.open(c.Execution)
	if err != nil {
		return nil, err
	}
	rec := e.Steps[c.Step]
	// What was tried blind, and is seen to have changed nothing, ends without an undo: there is nothing to put back.
	nothing := s.Level() >= 3 && c.Outcome == StepUndone && e.State == ExecAborting && e.Undo && rec != nil && rec.LeftBlind()
	if rec == nil || rec.Last() == nil || (rec.State != StepRunning && rec.State != StepUndoing && !rec.Burning() && !nothing) {
		return nil, refuse("state", "step %s is not running", c.Step)
	}
	last := rec.Last()
	if last.Token != c.Token {
		return nil, refuse("token", "step %s runs with token %d, not %d", c.Step, last.Token, c.Token)
	}
	if nothing {
		rec.State, rec.Detail = StepUndone, c.Detail
		if e.Question != nil && e.Question.Step == c.Step {
			e.Question = nil // a person was asked what to do about it
		}
		s.event(m, c, "step %s undone: %s", c.Step, c.Detail)
		return nil, nil
	}
	if last.Burn {
		if c.Outcome != StepDone && c.Outcome != StepFailed {
			return nil, refuse("outcome", "a burnt token ends done or failed, not %q", c.Outcome)
		}
		last.FinishedAt, last.Outcome, last.Detail, last.Stands = m.At, c.Outcome, c.Detail, c.Stands
		s.event(m, c, "step %s: token burnt: %s: %s", c.Step, c.Outcome, c.Detail)
		return nil, nil
	}
	switch c.Outcome {
	case StepFailed, StepUnclear:
	case StepDone, StepUnproven:
		if last.Undo {
			return nil, refuse("outcome", "an undo ends undone, failed or unclear")
		}
	case StepUndone:
		if !last.Undo {
			return nil, refuse("outcome", "step %s was not being undone", c.Step)
		}
	default:
		return nil, refuse("outcome", "a step cannot end %q", c.Outcome)
	}
	last.FinishedAt, last.Outcome, last.Detail, last.Already = m.At, c.Outcome, c.Detail, last.Already || c.Already
	last.Stands = c.Stands
	rec.State, rec.Detail, rec.Slow = c.Outcome, c.Detail, ""
	switch {
	case c.Outcome == StepUndone && e.State != ExecAborting:
		// An undo that had begun before an execution adopted the step: the step is
		// still to be done (rule E7).
		rec.State = StepPending
	case c.Outcome == StepDone && !last.Already:
		if q := e.Question; q != nil && q.Step == c.Step && q.Kind == Following {
			e.Question = nil // it has followed
		}
		s.learn(c.Step, Duration(m.At.Sub(startedAt(*rec, s.Level()))))
	}
	s.event(m, c, "step %s %s: %s", c.Step, c.Outcome, c.Detail)
	if c.Outcome == StepDone {
		s.holdStart(m, c, c.Step, e, 0)
	}
	return nil, nil
}

// startedAt is when the first attempt began that was not undone, or had ended, since.
func startedAt(rec StepRecord, level int) time.Time {
	at := rec.Last().StartedAt
	for i := len(rec.Attempts) - 1; i >= 0 && !rec.Attempts[i].Undo; i-- {
		if level >= 3 && i < len(rec.Attempts)-1 && !rec.Attempts[i].FinishedAt.IsZero() {
			break // it had failed, and a person has it tried again, perhaps days later
		}
		at = rec.Attempts[i].StartedAt
	}
	return at
}
