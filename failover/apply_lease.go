package failover

import (
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
// day for one that would not. A crashed agent says no goodbye.
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
		if s.Freeze == nil && m.At.Sub(a.LastAsked) > limit {
			delete(s.Agents, id)
			s.event(m, c, "agent %s of %s in %s was not heard for %s and is forgotten", id, a.Component, a.Region, m.At.Sub(a.LastAsked).Round(time.Second))
		}
	}
}

// answer grants or refuses one request. Whether a grant is valid is decided
// here, in log order: a grant that stands before the freeze in the log was
// asked for before the freeze was applied, so the wait covers it (rule G3).
func (s *State) answer(m Meta, c Round, r LeaseRequest) Grant {
	g := Grant{Epoch: s.Epoch}
	if s.Settings == nil {
		g.Sentence = "the cluster has no configuration yet"
		return g
	}
	spec := s.Settings.Component(r.Component)
	if spec == nil || !spec.Agent {
		g.Sentence = "component " + string(r.Component) + " is not configured to run under a lease (agent = true)"
		return g
	}
	g.Terms, g.Arming, g.OnIsol = s.Settings.Policy.Lease, spec.Arming, spec.OnIsolation
	if s.Settings.Policy.Mode == ModeObserve {
		g.Arming = ArmObserve // a cluster that only observes stops nothing, on any rung
	}
	if limit := longestLease * s.Settings.Policy.Lease.Length; r.Lease > limit {
		g.Sentence = "the agent asks for a lease of " + r.Lease.String() + ": more than " + limit.String() + " is a mistake in its configuration"
		return g
	}
	// Only an agent that stops its workers, and is told to, makes the end of its
	// lease worth anything; it is told with a refusal as much as with a grant.
	bound := g.Arming == ArmEnforced && g.OnIsol == "stop" && r.Enforced
	a := s.Agents[r.Agent]
	if a == nil {
		a = &AgentRecord{Region: r.Region, Component: r.Component, Enforced: bound}
		s.Agents[r.Agent] = a
		s.event(m, c, "agent %s of %s in %s asks for a lease for the first time", r.Agent, r.Component, r.Region)
	}
	if a.Region != r.Region || a.Component != r.Component {
		g.Sentence = "agent " + string(r.Agent) + " is known for " + string(a.Component) + " in " + string(a.Region) + ": an agent's name is never reused"
		return g
	}
	a.LastAsked = m.At
	a.Enforced = a.Enforced && bound
	if r.SeenEpoch > s.Epoch {
		// T4: somebody knows more than this log. Granting would be a rollback.
		g.Sentence = "the agent has seen a later epoch than this cluster's log"
		s.event(m, c, "agent %s has seen epoch %d, the log stands at %d: no lease is granted to it", r.Agent, r.SeenEpoch, s.Epoch)
		return g
	}
	if r.Running {
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
	case s.Freeze != nil && s.Freeze.Region == r.Region && s.Freeze.Provisional:
		// Hearing an agent lifts a provisional freeze (rule G3). This request is
		// granted: it stands after the lift in the log.
		s.event(m, c, "provisional freeze %d lifted: agent %s was heard", s.Freeze.ID, r.Agent)
		s.Freeze = nil
	case s.Freeze != nil && s.Freeze.Region == r.Region:
		g.Freeze, g.Sentence = s.Freeze.ID, "the lease of "+string(r.Region)+" is frozen"
		return g
	}
	a.MaxLease = max(a.MaxLease, r.Lease, s.Settings.Policy.Lease.Length)
	// The agent says how it behaves now, not how it is configured: one that has
	// not yet heard that it is enforced would not stop its workers.
	a.Enforced = bound
	a.Granted, a.StoppedFor = m.Index, 0
	g.Granted, g.Sentence = true, "granted"
	return g
}

// voidContradicted takes evidence back when an agent of the component is heard
// with running workers (rule G7). What the leases prove it cannot contradict.
func (s *State) voidContradicted(m Meta, c Round, r LeaseRequest) {
	e := s.Execution
	if e == nil || r.Region != e.From || s.Active != e.From {
		return
	}
	// If it had reported before, this is a late request; it reports again with
	// its next one.
	s.Agents[r.Agent].StoppedFor = 0
	for i := range e.Evidence {
		ev := &e.Evidence[i]
		if ev.Component == r.Component && ev.Void == "" && (ev.Class == Attested || ev.Class == Confirmed) {
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

func (c RecordEvidence) apply(s *State, m Meta) (any, error) {
	e, err := s.running(c.Execution)
	if err != nil {
		return nil, err
	}
	f := fenced(e, c.Component)
	switch {
	case f == nil:
		return nil, refuse("component", "%s is not a fenced component of execution %d", c.Component, c.Execution)
	case c.Epoch != s.Epoch || c.Epoch != e.Epoch:
		return nil, refuse("epoch", "evidence for epoch %d: it is %d", c.Epoch, s.Epoch)
	case s.Freeze == nil || s.Freeze.ID != c.Freeze || s.Freeze.Provisional:
		return nil, refuse("freeze", "evidence for freeze %d, which is not in force", c.Freeze)
	}
	switch c.Class {
	case Lease:
		if err := s.leaseEvidence(e, *f, c); err != nil {
			return nil, err
		}
	case Confirmed, Resource:
	case Attested:
		return nil, refuse("attest", "an attestation is a person's command, not a leader's")
	default:
		return nil, refuse("class", "%q is not a class of evidence", c.Class)
	}
	s.addEvidence(m, c, e, Evidence{
		Component: c.Component, Class: c.Class, Epoch: c.Epoch, Freeze: c.Freeze, Detail: c.Detail,
		By: "node " + string(m.Node), At: m.At,
	})
	return nil, nil
}

// leaseEvidence checks what Apply can check of rule G3: the wait that the
// leader measured against the largest lease and the weakest mode of any agent.
func (s *State) leaseEvidence(e *Execution, f FencedComponent, c RecordEvidence) error {
	if err := s.contained(); err != nil { // T4
		return err
	}
	if !f.LeaseProves() {
		return refuse("proof", "lease expiry proves nothing for %s: it needs agent = true, arming = \"enforced\", on_isolation = \"stop\" and \"lease\" in its proof", f.Component)
	}
	for _, id := range s.AgentIDs(e.From, f.Component) {
		if !s.Agents[id].Enforced {
			return refuse("mode", "lease expiry proves nothing for %s: agent %s would not have stopped its workers when it was heard last", f.Component, id)
		}
	}
	if need := s.FreezeWait(e.From); c.Waited.D() < need {
		return refuse("wait", "waited %s since freeze %d; %s are needed", c.Waited, c.Freeze, need)
	}
	return nil
}

func (s *State) addEvidence(m Meta, c Command, e *Execution, ev Evidence) {
	for i := range e.Evidence {
		old := &e.Evidence[i]
		if old.Component == ev.Component && old.Class == ev.Class && old.Freeze == ev.Freeze && old.Void == "" {
			return // known
		}
	}
	e.Evidence = append(e.Evidence, ev)
	if q := e.Question; q != nil && q.Kind == "evidence" && len(e.Unproven(ev.Freeze)) == 0 {
		e.Question = nil
	}
	s.event(m, c, "%s has stopped: %s: %s", ev.Component, ev.Class, ev.Detail)
}

func (c VoidEvidence) apply(s *State, m Meta) (any, error) {
	e, err := s.running(c.Execution)
	if err != nil {
		return nil, err
	}
	for i := range e.Evidence {
		ev := &e.Evidence[i]
		if ev.Component == c.Component && ev.Class == c.Class && ev.Void == "" {
			ev.Void = c.Reason
			s.event(m, c, "evidence void: %s of %s: %s", c.Class, c.Component, c.Reason)
		}
	}
	return nil, nil
}

// attestWindow is how recently an agent must have asked for its voice to stand
// against a person's: three renewals.
const attestWindow = 3

func (c Attest) apply(s *State, m Meta) (any, error) {
	e, err := s.running(c.Execution)
	if err != nil {
		return nil, err
	}
	if fenced(e, c.Component) == nil {
		return nil, refuse("component", "%s is not a fenced component of execution %d; these are: %s", c.Component, e.ID, fencedNames(e))
	}
	if c.Epoch != s.Epoch || c.Epoch != e.Epoch {
		return nil, refuse("epoch", "the attestation is for epoch %d, but it is %d: look again before you attest", c.Epoch, s.Epoch)
	}
	if s.Freeze == nil || s.Freeze.Provisional || s.Freeze.Region != e.From {
		return nil, refuse("freeze", "the lease of %s is not frozen yet: attest when the execution asks for it", e.From)
	}
	if m.Why == "" {
		return nil, refuse("why", "an attestation needs what you saw, such as --why \"instances terminated, seen in the console\"")
	}
	recent := attestWindow * s.Settings.Policy.Lease.Renew.D()
	for _, id := range s.AgentIDs(e.From, c.Component) {
		a := s.Agents[id]
		if a.StoppedFor != s.Freeze.ID && m.At.Sub(a.LastAsked) < recent {
			return nil, refuse("agent-alive", "agent %s of %s asked for a lease %s ago: its workers may be running; stop it, or wait for its report", id, c.Component, m.At.Sub(a.LastAsked).Round(100*time.Millisecond))
		}
	}
	s.addEvidence(m, c, e, Evidence{
		Component: c.Component, Class: Attested, Epoch: c.Epoch, Freeze: s.Freeze.ID, Detail: m.Why, By: m.By, At: m.At,
	})
	return nil, nil
}

func (c AdvanceEpoch) apply(s *State, m Meta) (any, error) {
	e, err := s.running(c.Execution)
	if err != nil {
		return nil, err
	}
	switch {
	case e.State != ExecRunning:
		return nil, refuse("state", "execution %d is %s", e.ID, e.State)
	case c.Epoch != s.Epoch+1 || e.Epoch != s.Epoch:
		return nil, refuse("epoch", "cannot advance from epoch %d to %d", s.Epoch, c.Epoch)
	case c.Region != e.To:
		return nil, refuse("region", "execution %d goes to %s, not to %s", e.ID, e.To, c.Region)
	case s.Freeze == nil || s.Freeze.ID != c.Freeze || s.Freeze.Provisional || s.Freeze.Execution != e.ID:
		return nil, refuse("freeze", "freeze %d is not in force for execution %d", c.Freeze, e.ID)
	}
	if err := s.contained(); err != nil { // T4
		return nil, err
	}
	if missing := e.Unproven(c.Freeze); len(missing) > 0 {
		return nil, refuse("evidence", "%s is not proven to have stopped in %s: nothing may start in %s", missing[0].Component, e.From, e.To)
	}
	for _, st := range e.Plan.Steps {
		if st.Kind == KindStop && e.Step(st.ID).State == StepRunning {
			return nil, refuse("in-flight", "step %s is still in flight", st.ID)
		}
	}
	s.Epoch, s.Active, s.Freeze = c.Epoch, c.Region, nil
	for _, id := range s.AgentIDs(e.From, "") {
		// Whatever they held has provably ended; what they ask now is refused.
		delete(s.Agents, id)
	}
	s.Suspicion = nil
	s.event(m, c, "epoch %d: %s is active, %s is fenced", s.Epoch, s.Active, e.From)
	return nil, nil
}

func fenced(e *Execution, c Component) *FencedComponent {
	for i := range e.Plan.Fenced {
		if e.Plan.Fenced[i].Component == c {
			return &e.Plan.Fenced[i]
		}
	}
	return nil
}

func fencedNames(e *Execution) string {
	out := ""
	for i, f := range e.Plan.Fenced {
		if i > 0 {
			out += ", "
		}
		out += string(f.Component)
	}
	return out
}
