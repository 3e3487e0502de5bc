package plan

import (
	"fmt"
	"slices"

	"github.com/failoverd/failoverd/failover"
)

// Autonomy says in one line how far the plan runs without a person when the
// region being left is dark and its control plane dead; of a switchover, what it needs of that region.
func Autonomy(p *failover.Plan) string {
	if p.Kind == failover.Switchover {
		text := "autonomy: none, it leaves a region that lives, because a person asks for it"
		for _, st := range Dumps(p) {
			text += fmt.Sprintf("; without an answer from %s step %s fails, and waits for a person", p.From, st.ID)
		}
		return text
	}
	for _, f := range p.Fenced {
		if !f.LeaseProves() {
			return fmt.Sprintf("autonomy: with %s dark and its control plane dead, runs unattended up to step %s, then waits for a person because: %s (%s)",
				p.From, FenceID, f.Component, whyNot(f))
		}
	}
	for _, st := range p.Steps {
		if st.Approval {
			return fmt.Sprintf("autonomy: with %s dark and its control plane dead, runs unattended up to step %s, then waits for an approval", p.From, st.ID)
		}
	}
	return fmt.Sprintf("autonomy: with %s dark and its control plane dead, runs unattended to the end", p.From)
}

func whyNot(f failover.FencedComponent) string {
	switch {
	case !slices.Contains(f.Proof, failover.Lease):
		return "its proof does not accept lease expiry"
	case !f.Agent:
		return "API only, it runs under no lease"
	case f.Arming != failover.ArmEnforced:
		return "its arming is " + string(f.Arming)
	default:
		return "on_isolation is " + f.OnIsolation
	}
}
