package failover

import (
	"fmt"
	"time"
)

// RehearsalLife is how long a passed rehearsal counts.
const RehearsalLife = 30 * 24 * time.Hour

// FenceArmed says why the fence of a component does not hold by itself at the
// given time: "" means that its leases would stop it, and were rehearsed. It is
// a row of the readiness report and a metric.
func (s *State) FenceArmed(c ComponentSpec, now time.Time) string {
	f := FencedComponent{Component: c.Name, Proof: c.Stop.Proof, Agent: c.Agent, Arming: c.Arming, OnIsolation: c.OnIsolation}
	switch {
	case s.Settings.Policy.Mode == ModeObserve:
		return "the mode is observe: nothing is ever stopped"
	case !c.Agent:
		return "it runs under no lease: only its control plane, or a person, can prove that it has stopped"
	case c.Arming != ArmEnforced:
		return fmt.Sprintf("its arming is %s: agents would not stop it", c.Arming)
	case c.OnIsolation != "stop":
		return "on_isolation is \"keep\": it goes on running when it is cut off"
	case !f.LeaseProves():
		return "its proof does not accept lease expiry"
	}
	ids := s.AgentIDs(s.Active, c.Name)
	if len(ids) == 0 {
		return "no agent of it is known in " + string(s.Active)
	}
	recent := attestWindow * s.Settings.Policy.Lease.Renew.D()
	for _, id := range ids {
		a := s.Agents[id]
		switch {
		case now.Sub(a.LastAsked) > recent:
			return fmt.Sprintf("agent %s was not heard for %s", id, now.Sub(a.LastAsked).Round(time.Second))
		case !a.Enforced:
			return fmt.Sprintf("agent %s says that it would not stop its workers: see its log", id)
		case a.Rehearsed == nil:
			return fmt.Sprintf("agent %s has never rehearsed: `failoverd fence rehearse %s`", id, c.Name)
		case !a.Rehearsed.Passed:
			return fmt.Sprintf("agent %s failed its rehearsal: %s", id, a.Rehearsed.Detail)
		case now.Sub(a.Rehearsed.At) > RehearsalLife:
			return fmt.Sprintf("agent %s rehearsed last on %s: `failoverd fence rehearse %s`", id, a.Rehearsed.At.Format(time.DateOnly), c.Name)
		}
	}
	if gone := s.Vanished[c.Name]; s.Settings.Policy.Shrunk(len(ids)+gone, len(ids)) {
		return fmt.Sprintf("%d of %d agents vanished without a goodbye: `failoverd inventory accept %s --why …` if that is right", gone, gone+len(ids), c.Name)
	}
	return ""
}
