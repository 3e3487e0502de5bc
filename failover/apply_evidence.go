package failover

import (
	"slices"
	"time"
)

// This file holds what proves that a component has stopped (rule G7), and the
// new epoch that follows from it (invariant S1).

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
		if err := s.seenEvidence(e, c); err != nil {
			return nil, err
		}
	case Attested:
		return nil, refuse("attest", "an attestation is a person's command, not a leader's")
	default:
		return nil, refuse("class", "%q is not a class of evidence", c.Class)
	}
	s.addEvidence(m, c, e, Evidence{
		Component: c.Component, Class: c.Class, Epoch: c.Epoch, Freeze: c.Freeze, Detail: c.Detail,
		Source: c.Source, By: "node " + string(m.Node), At: m.At,
	})
	return nil, nil
}

// AgentsSource is the source of evidence that rests on the agents' reports; any
// other source is the ID of the stop step that was seen to have taken effect.
const AgentsSource = "agents"

// seenEvidence checks what Apply can check of evidence that somebody saw: the
// agents' reports against the records of them, a stop against the plan.
func (s *State) seenEvidence(e *Execution, c RecordEvidence) error {
	if c.Source == AgentsSource {
		return s.AgentsProve(e.From, c.Component)
	}
	st := e.Plan.Step(StepID(c.Source))
	switch {
	case c.Source == "":
		return nil // recorded by a version that did not name its source
	case st == nil || st.Kind != KindStop || st.Component != c.Component:
		return refuse("source", "%s is not a stop of %s in the plan", c.Source, c.Component)
	case st.Evidence() != c.Class:
		return refuse("class", "%s gives evidence of class %s, not %s", c.Source, st.Evidence(), c.Class)
	}
	return nil
}

// AgentsProve says why the agents' reports do not prove that component c has
// stopped in region r under the freeze in force; nil means that they do. Every
// agent that may hold or ask for a lease must have reported, and not too many
// may have vanished (rule G7).
func (s *State) AgentsProve(r Region, c Component) error {
	ids := s.AgentIDs(r, c)
	if len(ids) == 0 {
		return refuse("agents", "no agent of %s in %s is known: nobody has reported", c, r)
	}
	for _, id := range ids {
		if s.Freeze == nil || s.Agents[id].StoppedFor != s.Freeze.ID {
			return refuse("agents", "agent %s has not reported that its workers are dead", id)
		}
	}
	if gone := s.Vanished[c]; s.Settings.Policy.Shrunk(len(ids)+gone, len(ids)) {
		return refuse("inventory", "%d of %d agents of %s vanished without a goodbye: what the others report does not speak for them", gone, gone+len(ids), c)
	}
	return nil
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
		a := s.Agents[id]
		if s.Level() >= 3 && a.Granted == 0 && a.Running && a.StoppedFor != c.Freeze {
			return refuse("mode", "lease expiry proves nothing for %s: agent %s never had a lease, and said that its workers run", f.Component, id)
		}
		if !a.Enforced {
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
		if old.Component == ev.Component && old.Class == ev.Class && old.Source == ev.Source && old.Freeze == ev.Freeze && old.Void == "" {
			return // known
		}
	}
	before := len(e.Unproven(ev.Freeze))
	e.Evidence = append(e.Evidence, ev)
	// The question names what was not proven when it was put: the leader puts it anew.
	left := len(e.Unproven(ev.Freeze))
	if q := e.Question; q != nil && q.Kind == "evidence" && (left == 0 || left < before && s.Level() >= 3) {
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
		if ev.Component == c.Component && ev.Class == c.Class && ev.Void == "" && (c.Source == "" || ev.Source == c.Source) {
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
	// Any agent of the region that still asks shows that the region is not as
	// dead as the person believes.
	whose := Component("")
	if s.Level() < 2 {
		whose = c.Component // as earlier versions did
	}
	for _, id := range s.AgentIDs(e.From, whose) {
		a := s.Agents[id]
		if a.StoppedFor != s.Freeze.ID && m.At.Sub(a.LastAsked) < recent {
			return nil, refuse("agent-alive", "agent %s of %s asked for a lease %s ago: its workers may be running; stop it, or wait for its report", id, a.Component, m.At.Sub(a.LastAsked).Round(100*time.Millisecond))
		}
	}
	if err := s.seconded(e, c.Component, m); err != nil {
		return nil, err
	}
	s.addEvidence(m, c, e, Evidence{
		Component: c.Component, Class: Attested, Epoch: c.Epoch, Freeze: s.Freeze.ID, Detail: m.Why, Source: m.By, By: m.By, At: m.At,
	})
	return nil, nil
}

// seconded refuses a word that would stand alone. Whoever attests is who their node
// says they are, and one node that lies must not make two regions work at once: an
// agent that was heard with a lease speaks against it until that lease is over, and
// where no lease speaks at all, the word does not come through the node that asked for
// the failover, unless every order comes through two.
func (s *State) seconded(e *Execution, component Component, m Meta) error {
	if s.Level() < 3 {
		return nil
	}
	ids := s.AgentIDs(e.From, component)
	for _, id := range ids {
		left := s.FreezeWait(e.From) - m.At.Sub(s.Freeze.At)
		if s.Agents[id].StoppedFor != s.Freeze.ID && left > 0 {
			return refuse("lease-valid", "agent %s of %s may hold a lease for another %s: its workers may be running where you cannot see them; attest again then", id, component, left.Round(100*time.Millisecond))
		}
	}
	if len(ids) == 0 && e.AskedThrough != "" && m.Node == e.AskedThrough && !s.wantsTwo() {
		return refuse("second-node", "node %s asked for this failover, and no agent of %s is known that could speak against it: attest through another node, so that no node can move a region alone", m.Node, component)
	}
	return nil
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
		switch rec := e.Step(st.ID); {
		case st.Kind == KindStop && rec.State == StepRunning, rec.State == StepUndoing:
			return nil, refuse("in-flight", "step %s is still in flight", st.ID)
		}
	}
	if reason := s.LateWrites(); reason != "" && !slices.Contains(e.Overrides, GuardLate) {
		return nil, refuse(GuardLate, "%s", reason)
	}
	if why := s.StopsUnderWay(e.To, "", m.At); why != "" {
		return nil, refuse("in-flight", "%s", why)
	}
	s.Epoch, s.Active, s.Freeze = c.Epoch, c.Region, nil
	for _, id := range s.AgentIDs(e.From, "") {
		// Whatever they held has provably ended; what they ask now is refused.
		delete(s.Agents, id)
	}
	s.Suspicion, s.Vanished, s.Loss, s.AtRisk = nil, nil, nil, nil
	if q := e.Question; q != nil && q.Kind == LateWrite {
		e.Question = nil
	}
	s.event(m, c, "epoch %d: %s is active, %s is fenced", s.Epoch, s.Active, e.From)
	if s.Level() >= 2 {
		s.makeHolds(m, c, e)
	}
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
