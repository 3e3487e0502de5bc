package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// lint looks at the plan that leaves the primary region as a whole: what is right
// for each step by itself may still not work in the night.
func (v *validator) lint() {
	s := v.c.Settings()
	p, err := plan.Derive(&s, s.Primary)
	if err != nil {
		return // a cycle or a missing component, which has been reported
	}
	v.lintNeeds(&p)
	v.lintOrder(&p)
	v.lintChecks(&p)
}

// lintNeeds refuses a plan that needs the region that it leaves.
func (v *validator) lintNeeds(p *failover.Plan) {
	moves, latent := 0, ""
	for _, st := range p.Steps {
		if st.Kind != failover.KindStart && st.Kind != failover.KindSwitch {
			continue // what is tried in the region being left may fail: evidence decides
		}
		leans := false
		for _, n := range actions.Needs(st) {
			if n.Region != p.From {
				continue
			}
			leans = true
			if n.Latent {
				latent = fmt.Sprintf("step %s needs %s, the region that is left", st.ID, n)
				continue
			}
			v.bad(pathOf(st), "use one in "+string(p.To), "step %s needs %s, the region that is left: it would wait for what has failed", st.ID, n)
		}
		if st.Kind == failover.KindSwitch && st.Action != actions.ApprovalKind && !leans {
			moves++
		}
	}
	if latent != "" && moves == 0 {
		v.warn("traffic.switch", "add gate and s3_object, which need no control plane", "%s, and nothing else moves the clients: a failover may stand there for hours", latent)
	}
}

// lintOrder warns of clients that arrive before the data.
func (v *validator) lintOrder(p *failover.Plan) {
	for _, name := range v.c.ComponentNames() {
		part := v.c.Component[name]
		if part.Strategy != "backup-restore" && part.Strategy != "warm-standby" || part.Start == nil || slices.Contains(v.c.Traffic.After, name) {
			continue
		}
		v.warn("traffic.after", fmt.Sprintf("add %q, unless clients may be served without it", name), "clients arrive before %s is %s in %s: what they write meanwhile may be lost", name, map[string]string{"backup-restore": "restored", "warm-standby": "ready"}[part.Strategy], p.To)
	}
}

// lintChecks warns of a switch that nothing looks at.
func (v *validator) lintChecks(p *failover.Plan) {
	if !slices.ContainsFunc(p.Steps, func(st failover.Step) bool { return st.Kind == failover.KindCheck }) {
		v.warn("traffic.check", "dns_answer and a check of each component are a beginning", "nothing is checked after the switch: the service would be declared stable unseen")
	}
}

// pathOf is where a step comes from in the file.
func pathOf(st failover.Step) string {
	if st.Kind == failover.KindSwitch {
		return "traffic.switch." + st.Action
	}
	return strings.Join([]string{"component", string(st.Component), string(st.Kind), st.Action}, ".")
}
