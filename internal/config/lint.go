package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
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
	v.lintApproval(&p)
	v.lintChecks(&p)
	v.lintCuts()
	v.lintData()
}

// lintData warns of a forced reconfiguration that no person decides, and refuses a probe that would take a set that is well for
// down in both regions: its members close a connection that speaks plain text to them.
func (v *validator) lintData() {
	for _, name := range v.c.ComponentNames() {
		s, see := v.c.Component[name].Start, v.c.Component[name].See.Mongo
		if limit := v.c.Policy.MaxLoss[string(name)]; s != nil && s.MariaDBRestore != nil && limit > 0 && s.MariaDBRestore.Oldest() > limit.D() {
			v.warn("policy.max_loss."+string(name), "set max_age of the restore to it, or allow as much",
				"%s is less than max_age of the restore, %s: when the newest backup turns out to be damaged, an older one is restored that max_loss does not allow", limit, s.MariaDBRestore.Oldest())
		}
		// A sample is a bound: it holds all that may have been written since the newest look, which is a vote old.
		if limit, least := v.c.Policy.MaxLoss[string(name)], v.c.LookAge(name)+ballotInterval; see != nil && limit > 0 && limit.D() < least {
			v.warn("policy.max_loss."+string(name), "look more often (component."+string(name)+".see.interval, timeout), or allow as much",
				"%s is less than what a sample of a set that is well may say, %s: interval and timeout of its probe, and a vote; automation would refuse a failover that loses nothing", limit, least)
		}
		if s == nil || s.MongoPromote == nil {
			continue
		}
		if see != nil && s.MongoPromote.TLS && !see.TLS {
			v.bad("component."+string(name)+".see.mongo", "write tls = true (and ca_file) there; the promotion takes both from it",
				"the promotion speaks TLS to the members, and the probe would speak plain text to them: it would see them down")
		}
		if s.MongoPromote.Unattended && !s.Ask {
			v.warn("component."+string(name)+".start.mongo_promote.unattended", "take it out, or be sure that everybody who writes is fenced by a lease",
				"a replica set that has lost its majority is reconfigured by force without a person: MongoDB's manual warns against that in scripts, and what was acknowledged last may be lost")
		}
	}
}

// lintCuts refuses a fence that would cut off a node: it could neither decide nor act
// any more, and the way back would lie through what was cut.
func (v *validator) lintCuts() {
	for _, name := range v.c.ComponentNames() {
		part, path := v.c.Component[name], "component."+string(name)+".stop.nacl"
		if part.Stop == nil || part.Stop.NACL == nil {
			continue
		}
		for _, id := range slices.Sorted(maps.Keys(v.c.Nodes)) {
			n := v.c.Nodes[id]
			host, _, _ := net.SplitHostPort(n.Address)
			a, err := netip.ParseAddr(host)
			if a = a.Unmap(); err != nil || !a.Is4() { // a subnet's IPv6 block is not in the configuration
				what := "a name"
				if err == nil {
					what = "an IPv6 address"
				}
				v.warn(path, "write the node's IPv4 address in [nodes], or see to it yourself", "whether node %s (%s) lies in one of the subnets that are cut off cannot be told from %s", id, host, what)
				continue
			}
			if subnet := part.Stop.NACL.Cuts(n.Region, a); subnet != "" {
				v.bad(path+".subnets", "move the node into a subnet of its own, or leave this one out", "node %s (%s) lies in %s: the fence would cut off a node that has to decide and to act", id, a, subnet)
			}
		}
		if part.Agent {
			v.warn(path, "leave a way for them (a subnet of their own), or count on the lease alone", "cuts off the agents of %s in those subnets as well: they stop their workers when the lease ends, and cannot report that they have", name)
		}
	}
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
	before := beforeSwitch(p)
	for _, st := range p.Steps {
		// An opening is a start as well, of a component that may have none of its own.
		if part := v.c.Component[st.Component]; st.Kind == failover.KindStart && part.Start != nil && part.Start.Prepare && !st.Prepare {
			v.warn(pathOf(st)+".prepare", "leave it out, or prepare all that it comes after, where that can be", "%s is not prepared: it comes after a start that is not, and would work on what is not there yet", st.ID)
		}
	}
	for _, name := range v.c.ComponentNames() {
		part := v.c.Component[name]
		if part.Strategy != "backup-restore" && part.Strategy != "warm-standby" || part.Start == nil || before[failover.Component(name)] {
			continue
		}
		v.warn("traffic.after", fmt.Sprintf("add %q, unless clients may be served without it", name), "clients arrive before %s is %s in %s: what they write meanwhile may be lost", name, map[string]string{"backup-restore": "restored", "warm-standby": "ready"}[part.Strategy], p.To)
	}
}

// lintApproval warns of what nothing takes back and nobody is asked about: in mode
// "supervised" a person lets every execution begin.
func (v *validator) lintApproval(p *failover.Plan) {
	if v.c.Policy.Mode != failover.ModeAutomatic {
		return
	}
	asked := map[failover.StepID]bool{}
	for _, st := range p.Steps { // each comes after those that it waits for
		before := func(id failover.StepID) bool { return asked[id] }
		asked[st.ID] = st.Approval || st.Action == actions.ApprovalKind || slices.ContainsFunc(st.After, before) || len(st.AfterOne) > 0 && !slices.ContainsFunc(st.AfterOne, func(id failover.StepID) bool { return !asked[id] })
		if unattended := st.Action == "mongo_promote"; st.NoReturn && st.Kind != failover.KindFence && !asked[st.ID] && !unattended { // of that lintData warns
			v.warn(strings.Join(strings.Split(pathOf(st), ".")[:3], "."), "write ask = true there, or let it come after a step that asks", "%s cannot be undone, and in mode \"automatic\" nobody is asked before it: the way back is a failback", st.ID)
		}
	}
}

// beforeSwitch are the components whose start the clients' switch waits for, also by way of another one's.
func beforeSwitch(p *failover.Plan) map[failover.Component]bool {
	steps, out := map[failover.StepID]failover.Step{}, map[failover.Component]bool{}
	var open []failover.StepID
	for _, st := range p.Steps {
		if steps[st.ID] = st; st.Kind == failover.KindSwitch {
			open = append(open, st.ID)
		}
	}
	for seen := map[failover.StepID]bool{}; len(open) > 0; {
		st := steps[open[0]]
		if open = open[1:]; seen[st.ID] {
			continue
		}
		seen[st.ID] = true
		out[st.Component] = out[st.Component] || st.Kind == failover.KindStart
		open = append(open, st.After...)
	}
	return out
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
