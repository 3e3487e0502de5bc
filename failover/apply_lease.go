package failover

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// This file holds the lease protocol's side of the log (rules G1 to G8).

func (c Round) apply(s *State, m Meta) (any, error) {
	if len(c.Requests) > 0 {
		s.forgetAgents(m, c)
	}
	grants := make([]Grant, len(c.Requests))
	for i, r := range c.Requests {
		grants[i] = s.answer(m, c, r)
	}
	return grants, nil
}

// longestLease bounds what an agent may ask for, in configured leases: a wrong
// number on one host must not stretch the wait of all.
const longestLease = 10

// forgetAgents drops agents that were not heard for so long that they cannot
// hold anything any more: ten leases for one that stops its workers by itself, a
// day for one that would not, and never before the longest lease that it may hold is
// over (a pause hands out one as long as itself). A crashed agent says no goodbye.
func (s *State) forgetAgents(m Meta, c Round) {
	if s.Settings == nil {
		return
	}
	ids := slices.Sorted(maps.Keys(s.Agents))
	for _, id := range ids {
		a := s.Agents[id]
		if !slices.ContainsFunc(c.Requests, func(r LeaseRequest) bool { return r.Region == a.Region }) {
			continue // its region is silent as a whole: silence says nothing about it (G4)
		}
		limit := 24 * time.Hour
		if a.Enforced {
			limit = min(limit, 10*max(a.MaxLease, s.Settings.Policy.Lease.Length).D())
		}
		// Its worker may have started with its grant, after it was heard last.
		works := a.Running
		silent := m.At.Sub(a.LastAsked)
		if s.Level() >= 3 {
			limit = max(limit, s.Settings.Policy.Lease.Wait(a.MaxLease.D()))
			works = works || a.Granted != 0
			silent = s.silence(c, id)
		}
		if !a.Enforced && works && a.Region == s.Active && s.Level() >= 2 {
			// It would not have stopped its workers, so its silence shows nothing: only
			// a person can say that they are gone (AcceptInventory).
			continue
		}
		if s.Freeze == nil && silent > limit {
			delete(s.Agents, id)
			if works && a.Region == s.Active && s.Level() >= 2 {
				// It said no goodbye: until another takes its place, what the agents
				// report is the word of fewer than there were.
				s.Vanished = added(s.Vanished, a.Component, 1)
			}
			s.event(m, c, "agent %s of %s in %s was not heard for %s and is forgotten", id, a.Component, a.Region, silent.Round(time.Second))
		}
	}
}

// silence adds up for how long an agent was not heard, as the leaders measured it,
// each on its own monotonic clock and within its own tenure: what the wall clocks of two
// of them differ by proves nothing (S1). Of one report at most two leases count: the
// leader reports every lease while the region speaks, and what is longer was
// the silence of the region.
func (s *State) silence(c Round, id AgentID) time.Duration {
	a := s.Agents[id]
	if slices.ContainsFunc(c.Requests, func(r LeaseRequest) bool { return r.Agent == id }) {
		return 0 // it is heard just now
	}
	for _, quiet := range c.Silent {
		if quiet.Agent == id && quiet.For > 0 {
			a.Silent += min(quiet.For, 2*s.Settings.Policy.Lease.Length)
			break
		}
	}
	return a.Silent.D()
}

// answer grants or refuses one request. Whether a grant is valid is decided
// here, in log order: a grant that stands before the freeze in the log was
// asked for before the freeze was applied, so the wait covers it (rule G3).
func (s *State) answer(m Meta, c Round, r LeaseRequest) Grant {
	g := Grant{Epoch: s.Epoch, Index: m.Index}
	if s.Settings == nil {
		g.Sentence = "the cluster has no configuration yet"
		return g
	}
	spec := s.Settings.Component(r.Component)
	if spec == nil || !spec.Agent {
		if a := s.Agents[r.Agent]; s.Level() >= 3 && a != nil && a.Region == r.Region && a.Component == r.Component {
			s.heard(m, c, r, a) // what is refused is still heard
		}
		g.Sentence = "component " + string(r.Component) + " is not configured to run under a lease (agent = true)"
		return g
	}
	g.Terms, g.Arming, g.OnIsol = s.Settings.Policy.Lease, spec.Arming, spec.OnIsolation
	if s.Paused(m.At) && s.Level() >= 2 {
		// A pause hands out a lease as long as the pause, so that nothing stops
		// while it lasts; until it has run out, lease expiry is no evidence.
		g.Terms.Length += Duration(s.Pause.Until.Sub(m.At))
	}
	if s.Settings.Policy.Mode == ModeObserve {
		g.Arming = ArmObserve // a cluster that only observes stops nothing, on any rung
	}
	limit := longestLease * s.Settings.Policy.Lease.Length
	tooLong := "the agent asks for a lease of " + r.Lease.String() + ": more than " + limit.String() + " is a mistake in its configuration"
	if r.Lease > limit && s.Level() < 3 {
		g.Sentence = tooLong
		return g
	}
	// Only an agent that stops its workers, and is told to, makes the end of its
	// lease worth anything; it is told with a refusal as much as with a grant.
	bound := g.Arming == ArmEnforced && g.OnIsol == "stop" && r.Enforced
	a := s.Agents[r.Agent]
	if a == nil {
		a = &AgentRecord{Region: r.Region, Component: r.Component, Enforced: bound}
		s.Agents[r.Agent] = a
		if r.Region == s.Active && s.Vanished[r.Component] > 0 {
			s.Vanished = added(s.Vanished, r.Component, -1)
		}
		s.event(m, c, "agent %s of %s in %s asks for a lease for the first time", r.Agent, r.Component, r.Region)
	}
	if a.Region != r.Region || a.Component != r.Component {
		g.Sentence = "agent " + string(r.Agent) + " is known for " + string(a.Component) + " in " + string(a.Region) + ": an agent's name is never reused"
		return g
	}
	s.heard(m, c, r, a)
	a.Enforced = a.Enforced && bound
	a.holds(r.Holding)
	s.noteAgent(m, c, r, a)
	if h := s.Rehearsal; h != nil && h.Component == r.Component && (a.Rehearsed == nil || a.Rehearsed.ID != h.ID) {
		g.Rehearse = h.ID
	}
	if r.Lease > limit {
		if s.Freeze != nil && s.Freeze.Region == r.Region && !s.Freeze.Provisional {
			g.Freeze = s.Freeze.ID // it has to report like every other one
		}
		g.Sentence = tooLong
		return g
	}
	if r.SeenEpoch > s.Epoch {
		// T4: somebody knows more than this log. Granting would be a rollback.
		g.Sentence = "the agent has seen a later epoch than this cluster's log"
		s.event(m, c, "agent %s has seen epoch %d, the log stands at %d: no lease is granted to it", r.Agent, r.SeenEpoch, s.Epoch)
		return g
	}
	if r.Running && s.Level() < 3 {
		s.voidContradicted(m, c, r)
	}
	if err := s.contained(); err != nil { // T4
		g.Sentence = err.Error()
		return g
	}
	switch {
	case r.Region != s.Active:
		g.Gone, g.Sentence = true, string(s.Active)+" is the active region"
		return g
	case !r.Running && s.early(r.Component) != "":
		g.Sentence = "the lease of " + string(r.Component) + " in " + string(r.Region) + " waits for step " + string(s.early(r.Component))
		if s.Execution == nil {
			g.Sentence += fmt.Sprintf(" of execution %d, which was ended behind its fence (`failoverd continue --why …`, and `failoverd skip` for what was done by hand)", s.enteredBy().ID)
		}
		return g
	case s.Freeze != nil && s.Freeze.Region == r.Region && s.Freeze.Provisional:
		// Hearing an agent lifts a provisional freeze (rule G3). This request is
		// granted: it stands after the lift in the log.
		s.event(m, c, "provisional freeze %d lifted: agent %s was heard", s.Freeze.ID, r.Agent)
		s.Freeze = nil
	case s.Freeze != nil && s.Freeze.Region == r.Region:
		g.Freeze, g.Sentence = s.Freeze.ID, "the lease of "+string(r.Region)+" is frozen"
		return g
	}
	a.granted(max(r.Lease, g.Terms.Length), m.Index)
	// The agent says how it behaves now, not how it is configured: one that has
	// not yet heard that it is enforced would not stop its workers.
	a.Enforced = bound
	a.Granted, a.StoppedFor = m.Index, 0
	g.Granted, g.Sentence = true, "granted"
	return g
}

// early is the step that is to start a component in the region that is being entered, while it has not begun; "" if none has
// to. The region may never have been stopped: it was dark when it was left, and comes back with all that it had. What works there
// before its turn works on data that nobody has brought yet (E1).
func (s *State) early(c Component) StepID {
	e := s.enteredBy()
	if s.Level() < 3 || e == nil {
		return ""
	}
	starts := 0
	for _, st := range e.Plan.Steps {
		if st.Kind != KindStart || st.Component != c {
			continue
		}
		if rec := e.Steps[st.ID]; rec == nil || len(rec.Attempts) == 0 && rec.State != StepSkipped {
			return st.ID
		}
		starts++
	}
	if starts > 0 {
		return ""
	}
	return s.comesAfter(e, c, map[Component]bool{})
}

// enteredBy is the execution by whose plan the active region is being entered: the open one, or one that was ended behind its fence and can be carried on.
// To end it starts nothing: what it has not brought yet is as old as before. Nil: there is none.
func (s *State) enteredBy() *Execution {
	if e := s.Execution; e != nil && e.To == s.Active && s.Epoch != e.Epoch {
		return e
	}
	if n := len(s.History); n > 0 {
		e := s.History[n-1]
		if e.Kind.Leaves() && e.State == ExecAborted && !e.Undo && e.To == s.Active && s.Epoch == e.Epoch+1 && s.Settings.Other(e.To) == e.From && !s.released(e) {
			return e
		}
	}
	return nil
}

// released reports whether a person has given up what keeps a stop of an ended execution true, and with it to carry that on.
func (s *State) released(e *Execution) bool {
	return slices.ContainsFunc(e.Plan.Steps, func(st Step) bool {
		return st.Kind == KindStop && e.Step(st.ID).State != StepSkipped && !slices.ContainsFunc(s.Holds, func(h StandingHold) bool {
			return h.Step.Kind == KindStop && h.Step.ID == st.ID && h.Step.Region == e.From
		})
	})
}

// comesAfter is a step, not passed yet, that starts what a component without a start of its own comes after: its lease is its start. "" if none has to.
func (s *State) comesAfter(e *Execution, c Component, seen map[Component]bool) StepID {
	spec := s.Settings.Component(c)
	if spec == nil || seen[c] {
		return ""
	}
	seen[c] = true
	for _, dep := range spec.After {
		starts := 0
		for _, st := range e.Plan.Steps {
			if st.Kind != KindStart || st.Component != dep {
				continue
			}
			if starts++; !e.Step(st.ID).Passed() {
				return st.ID
			}
		}
		if starts > 0 {
			continue
		}
		if step := s.comesAfter(e, dep, seen); step != "" {
			return step
		}
	}
	return ""
}

// heard notes what an agent says of its workers, whatever becomes of its request: also
// the word of one that is refused stands against a person's (rule G7).
func (s *State) heard(m Meta, c Round, r LeaseRequest, a *AgentRecord) {
	a.LastAsked, a.Running, a.Silent = m.At, r.Running, 0
	if s.Level() < 3 {
		return
	}
	a.Asks = r.Lease
	if r.Running {
		s.voidContradicted(m, c, r)
	}
}

// granted remembers a grant of the given length.
func (a *AgentRecord) granted(length Duration, index uint64) {
	a.seedLengths()
	a.Lengths = slices.DeleteFunc(a.Lengths, func(l GrantedLength) bool { return l.Length == length })
	a.Lengths = append(a.Lengths, GrantedLength{Length: length, Index: index})
	slices.SortFunc(a.Lengths, func(x, y GrantedLength) int { return cmp.Compare(y.Length, x.Length) })
	const keep = 8
	if len(a.Lengths) > keep {
		// Too many to tell apart: what is left out is taken for as long as the next
		// longer one.
		last := &a.Lengths[keep-1]
		for _, l := range a.Lengths[keep:] {
			last.Index = max(last.Index, l.Index)
		}
		a.Lengths = a.Lengths[:keep]
	}
	a.MaxLease = a.Lengths[0].Length
}

// holds drops the lengths of grants that the agent has replaced: it says that it
// holds a later one, and never goes back to an earlier one (fence.Holder). Only
// this makes a lease shorter in the log (rule G4).
func (a *AgentRecord) holds(index uint64) {
	if index == 0 {
		return
	}
	a.seedLengths()
	kept := slices.DeleteFunc(slices.Clone(a.Lengths), func(l GrantedLength) bool { return l.Index < index })
	if len(kept) > 0 { // an index that was never granted proves nothing
		a.Lengths, a.MaxLease = kept, kept[0].Length
	}
}

// seedLengths takes over what a snapshot of an earlier version knew.
func (a *AgentRecord) seedLengths() {
	if len(a.Lengths) == 0 && a.MaxLease > 0 {
		a.Lengths = []GrantedLength{{Length: a.MaxLease, Index: a.Granted}}
	}
}

// noteAgent records what an agent says of itself beside its request.
func (s *State) noteAgent(m Meta, c Round, r LeaseRequest, a *AgentRecord) {
	if r.WouldHave > a.WouldHave {
		s.event(m, c, "agent %s of %s in %s would have stopped its workers (%d times so far): its rung is %s", r.Agent, r.Component, r.Region, r.WouldHave, s.Settings.Component(r.Component).Arming)
	}
	a.WouldHave = r.WouldHave
	if h := r.Rehearsed; h != nil && (a.Rehearsed == nil || a.Rehearsed.ID != h.ID) {
		a.Rehearsed = &RehearsalResult{ID: h.ID, Passed: h.Passed, Detail: h.Detail, At: m.At}
		verdict := "passed"
		if !h.Passed {
			verdict = "FAILED"
		}
		s.event(m, c, "rehearsal %d %s: agent %s of %s in %s: %s", h.ID, verdict, r.Agent, r.Component, r.Region, h.Detail)
	}
}

// added returns counts with n added to key; a count of zero is left out.
func added(counts map[Component]int, key Component, n int) map[Component]int {
	out := maps.Clone(counts)
	if out == nil {
		out = map[Component]int{}
	}
	if out[key] += n; out[key] <= 0 {
		delete(out, key)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// voidContradicted takes evidence back when an agent of the component is heard
// with running workers (rule G7). What the leases prove it cannot contradict, unless it
// never had one: the wait for the end of leases says nothing of workers that run without.
func (s *State) voidContradicted(m Meta, c Round, r LeaseRequest) {
	e := s.Execution
	if e == nil || r.Region != e.From || s.Active != e.From {
		return
	}
	// If it had reported before, this is a late request; it reports again with
	// its next one.
	s.Agents[r.Agent].StoppedFor = 0
	leaseless := s.Level() >= 3 && s.Agents[r.Agent].Granted == 0
	for i := range e.Evidence {
		ev := &e.Evidence[i]
		if ev.Component == r.Component && ev.Void == "" && (ev.Class == Attested || ev.Class == Confirmed || ev.Class == Lease && leaseless) {
			ev.Void = "agent " + string(r.Agent) + " reported running workers afterwards"
			s.event(m, c, "evidence void: %s of %s: %s", ev.Class, ev.Component, ev.Void)
		}
	}
}

func (c AgentStopped) apply(s *State, m Meta) (any, error) {
	a := s.Agents[c.Agent]
	switch {
	case a == nil:
		return nil, refuse("unknown-agent", "agent %s never asked for a lease", c.Agent)
	case s.Freeze == nil || s.Freeze.ID != c.Freeze || s.Freeze.Provisional:
		return nil, refuse("freeze", "agent %s reports for freeze %d, which is not in force", c.Agent, c.Freeze)
	case c.Epoch != s.Epoch:
		return nil, refuse("epoch", "agent %s reports for epoch %d; it is %d", c.Agent, c.Epoch, s.Epoch)
	}
	if a.StoppedFor != c.Freeze {
		a.StoppedFor = c.Freeze
		if s.Level() >= 3 {
			a.Reported = m.Index
		}
		s.event(m, c, "agent %s of %s in %s: workers stopped, earlier grants ignored (freeze %d)", c.Agent, a.Component, a.Region, c.Freeze)
	}
	return nil, nil
}

func (c AgentLeft) apply(s *State, m Meta) (any, error) {
	a := s.Agents[c.Agent]
	if a == nil {
		return nil, nil
	}
	delete(s.Agents, c.Agent)
	s.event(m, c, "agent %s of %s in %s has stopped its workers and ended", c.Agent, a.Component, a.Region)
	return nil, nil
}

func (c FreezeLease) apply(s *State, m Meta) (any, error) {
	switch {
	case s.Settings == nil:
		return nil, refuse("not-configured", "nothing to freeze: the cluster has no configuration")
	case c.Region != s.Active || c.Epoch != s.Epoch:
		return nil, refuse("epoch", "freeze of %s in epoch %d: %s is active in epoch %d", c.Region, c.Epoch, s.Active, s.Epoch)
	case c.Provisional && s.Freeze != nil:
		return nil, refuse("frozen", "the lease of %s is frozen already (freeze %d)", c.Region, s.Freeze.ID)
	case !c.Provisional && (s.Execution == nil || s.Execution.ID != c.Execution || s.Execution.From != c.Region):
		return nil, refuse("execution", "a firm freeze belongs to a running execution; %d is not one that leaves %s", c.Execution, c.Region)
	}
	if s.Freeze != nil {
		// Adopting keeps the ID: the wait goes on from when it was applied.
		if s.Freeze.Provisional {
			s.Freeze.Provisional, s.Freeze.Execution = false, c.Execution
			s.event(m, c, "freeze %d of %s adopted by execution %d", s.Freeze.ID, c.Region, c.Execution)
		}
		return s.Freeze.ID, nil
	}
	s.Freeze = &Freeze{ID: m.Index, Region: c.Region, Epoch: c.Epoch, Provisional: c.Provisional, Execution: c.Execution, At: m.At}
	kind := "lease frozen"
	if c.Provisional {
		kind = "lease frozen provisionally"
	}
	s.event(m, c, "%s: no grant for %s any more (freeze %d); no lease can be valid after another %s", kind, c.Region, m.Index, s.FreezeWait(c.Region).Round(10*time.Millisecond))
	return m.Index, nil
}

func (c LiftFreeze) apply(s *State, m Meta) (any, error) {
	if s.Freeze == nil || s.Freeze.ID != c.Freeze {
		return nil, refuse("freeze", "freeze %d is not in force", c.Freeze)
	}
	if !s.Freeze.Provisional && s.Execution != nil && s.Execution.State != ExecAborting {
		return nil, refuse("execution-open", "freeze %d belongs to execution %d, which is %s: abort it first", c.Freeze, s.Execution.ID, s.Execution.State)
	}
	s.liftFreeze(m, c, c.Reason)
	return nil, nil
}

// liftFreeze ends the freeze and voids its evidence (rule G7).
func (s *State) liftFreeze(m Meta, c Command, reason string) {
	f := s.Freeze
	s.Freeze = nil
	for _, a := range s.Agents {
		if a.StoppedFor == f.ID {
			a.StoppedFor = 0
		}
	}
	if e := s.Execution; e != nil {
		for i := range e.Evidence {
			if e.Evidence[i].Freeze == f.ID && e.Evidence[i].Void == "" {
				e.Evidence[i].Void = "freeze lifted: " + reason
			}
		}
	}
	s.event(m, c, "freeze %d of %s lifted: %s", f.ID, f.Region, reason)
}
