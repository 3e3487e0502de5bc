package config

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
	"github.com/failoverd/failoverd/probes"
)

func (v *validator) components() {
	if len(v.c.Component) == 0 {
		v.bad("component", "describe at least what is seen and what is critical", "is empty: there is nothing to protect")
	}
	for _, id := range v.c.ComponentNames() {
		p, path := v.c.Component[id], "component."+string(id)
		if !name.MatchString(string(id)) {
			v.bad(path, nameHint, "%q cannot be a component's name", id)
		}
		if id == failover.TrafficComponent {
			v.bad(path, "call it something else", "%q is the name under which the clients' switches are known", id)
		}
		if id == failover.LateWrite {
			v.bad(path, "call it something else", "%q is the name under which `failoverd release` knows writes that may still land", id)
		}
		if p.Strategy != "" {
			v.oneOf(path+".strategy", p.Strategy, "backup-restore", "pilot-light", "warm-standby", "active-active")
		}
		v.after(path+".after", p.After)
		v.fence(path, p)
		if p.See.Timing != (Timing{}) {
			v.timing(path+".see", v.c.timing(p.See.Timing))
		}
		for _, k := range kindsOf[probes.Config](p.See.Kinds) {
			validateKind(v, path+".see."+k.Name, k.Config, probes.Config.Validate)
		}
		if s := p.See.SQS; s != nil && s.Wait > 0 && v.c.AWS.Timeout > 0 && s.LongPoll() >= v.c.AWS.Timeout.D() {
			v.bad(path+".see.sqs.wait", "make aws.timeout longer or the wait shorter", "a long poll of %s does not fit into aws.timeout, %s", s.LongPoll(), v.c.AWS.Timeout)
		}
		if p.See.Mongo != nil {
			v.regions(path+".see.mongo.members", p.See.Mongo.Regions())
		}
		if p.See.MySQL != nil {
			v.regions(path+".see.mysql.servers", p.See.MySQL.Regions())
			v.canary(path+".see.mysql", p.See.MySQL)
		}
		if p.Start != nil {
			v.oneAction(path+".start", p.Start.Kinds, p.Start.Common, actions.RoleStart, true)
			v.prepare(path+".start.prepare", p)
			if m := p.Start.MongoPromote; m != nil {
				v.regions(path+".start.mongo_promote.members", slices.Sorted(maps.Keys(m.Members)))
				for _, r := range v.c.Regions() {
					if len(m.Members) > 0 && len(m.Members[r]) == 0 {
						v.bad(path+".start.mongo_promote.members", "list those of both regions", "names none in %s", r)
					}
				}
			}
		}
		v.checks(path+".check", p.Check)
		v.counted(path, p)
	}
	v.cycles()
}

// counted holds what one component may count: of each there is one number in the price.
func (v *validator) counted(path string, p *Part) {
	if p.Start != nil && p.Start.MariaDBRestore != nil && len(p.Start.MariaDBRestore.AtRisk) > 0 && p.See.SQS != nil && len(p.See.SQS.Waiting) > 0 {
		v.bad(path+".see.sqs.waiting", "see the queue in a component of its own", "is counted for the price as start.mariadb_restore.at_risk is, and a component has one count")
	}
}

// fence checks how a component is stopped and what its agents do.
func (v *validator) fence(path string, p *Part) {
	if v.broken[path+".agent"] {
		return // everything below depends on it
	}
	if p.Stop != nil {
		set := kindsOf[actions.Config](p.Stop.Kinds)
		if len(set) == 0 && !p.Agent {
			v.bad(path+".stop", "the kinds are "+strings.Join(kindNames(actions.Kinds{}), ", "), "names no kind")
		}
		v.actions(path+".stop", set, p.Stop.Common, actions.RoleStop)
		if p.Stop.ASG != nil && p.Start != nil && p.Start.ASG != nil {
			for _, group := range p.Start.ASG.Groups() {
				if !slices.Contains(p.Stop.ASG.Groups(), group) {
					v.bad(path+".stop.asg", "list it in alternatives of the stop as well",
						"leaves %q out, in which %s.start.asg starts instances: they would run on in the region that is left", group, path)
				}
			}
		}
		for _, class := range p.Stop.Proof {
			v.oneOf(path+".stop.proof", string(class), string(failover.Confirmed), string(failover.Lease), string(failover.Resource), string(failover.Attested))
		}
		if len(p.Stop.Proof) == 0 {
			v.missing(path + ".stop.proof")
		}
		if !p.Agent && slices.Contains(p.Stop.Proof, failover.Lease) {
			v.bad(path+".stop.proof", "run its processes under `failoverd agent` and set agent = true, or take \"lease\" out",
				"\"lease\" proves nothing for a component without agents")
		}
	}
	if !p.Agent {
		for _, key := range []string{"arming", "on_isolation"} {
			if v.pos.has(path + "." + key) {
				v.bad(path+"."+key, "set agent = true or take it out", "has no meaning without agents")
			}
		}
		return
	}
	if p.Stop == nil {
		v.bad(path+".stop.proof", "say what proves that its processes have stopped", "is missing")
	}
	if p.Arming == "" {
		v.missing(path + ".arming")
	} else {
		v.oneOf(path+".arming", string(p.Arming), string(failover.ArmObserve), string(failover.ArmAdvisory), string(failover.ArmEnforced))
	}
	if p.OnIsolation == "" {
		v.missing(path + ".on_isolation")
	} else {
		v.oneOf(path+".on_isolation", p.OnIsolation, "stop", "keep")
	}
}

// prepare holds what may begin before the fence: it must be undoable, need no
// person, and be unable to work in two regions (rule E7).
func (v *validator) prepare(path string, p *Part) {
	if !p.Start.Prepare {
		return
	}
	switch {
	case v.c.Policy.PrepareAfter == 0:
		v.bad(path, "set policy.prepare_after, or take it out", "has no effect: policy.prepare_after is 0")
	case p.Start.Irreversible:
		v.bad(path, "take irreversible or prepare out", "a step that cannot be undone is not begun on a suspicion")
	case p.Start.MariaDBRestore != nil:
		v.bad(path, "take prepare out", "a restore replaces what is there, once in each epoch, and the epoch has not advanced yet")
	case p.Start.MongoPromote != nil:
		v.bad(path, "take prepare out", "a promotion is not taken back, and loses what is written where the region still works")
	case p.Start.Ask || p.Start.Approval != nil:
		v.bad(path, "take ask or prepare out", "a step that asks a person is not begun on a suspicion")
	case p.Stop != nil && (!p.Agent || p.Arming != failover.ArmEnforced):
		v.bad(path, "run its processes under `failoverd agent` with arming = \"enforced\", or take it out",
			"a critical component that does not run under an enforced lease would work in two regions")
	}
}

func (v *validator) oneAction(path string, kinds actions.Kinds, common Common, role actions.Role, needed bool) {
	set := kindsOf[actions.Config](kinds)
	switch {
	case len(set) > 1:
		v.bad(path, "keep one; put the other into a component of its own", "has more than one kind: %s and %s", set[0].Name, set[1].Name)
	case len(set) == 0 && needed:
		v.bad(path, "the kinds are "+strings.Join(kindNames(actions.Kinds{}), ", "), "names no kind")
	}
	v.actions(path, set, common, role)
}

func (v *validator) actions(path string, set []kind[actions.Config], common Common, role actions.Role) {
	for _, k := range set {
		validateKind(v, path+"."+k.Name, k.Config, func(c actions.Config) error { return c.Validate(role) })
	}
	if common.Timeout < 0 {
		v.bad(path+".timeout", "", "%s is negative", common.Timeout)
	}
	if common.Retries < 0 {
		v.bad(path+".retries", "0 tries as often as the time-out allows", "%d is negative", common.Retries)
	}
	v.looks(path+".require", common.Require)
	v.looks(path+".verify", common.Verify)
	if common.OnError != "" {
		v.oneOf(path+".on_error", common.OnError, "halt", "continue")
	}
}

// looks are checks that are made anew each time: one that must watch for a while
// never comes to a result there.
func (v *validator) looks(path string, kinds probes.CheckKinds) {
	v.checks(path, kinds)
	if kinds.TrafficObserved != nil {
		v.bad(path+".traffic_observed", "put it under [traffic] check", "has to watch for some minutes, and here each look begins anew")
	}
	if kinds.CloudWatchLogs != nil {
		v.bad(path+".cloudwatch_logs", "put it under check", "counts what is logged since the clients have moved, and here none have")
	}
	if q := kinds.SQSBacklog; q != nil && q.DrainedWithin != 0 {
		v.bad(path+".sqs_backlog.drained_within", "leave it out, or put the check under check", "has to watch the queue for a while, and here each look begins anew")
	}
}

func (v *validator) checks(path string, kinds probes.CheckKinds) {
	for _, k := range kindsOf[probes.CheckConfig](kinds) {
		validateKind(v, path+"."+k.Name, k.Config, probes.CheckConfig.Validate)
		if m, ok := k.Config.(*probes.MySQLCheckConfig); ok {
			v.regions(path+"."+k.Name+".servers", m.Regions())
			if m.Write && v.pos.has(path+"."+k.Name+".table") { // a restored table may be read, and what see names is told there
				v.canary(path+"."+k.Name, &m.MySQLConfig)
			}
			for _, r := range v.c.Regions() {
				if len(m.Servers) > 0 && len(m.Servers[r]) == 0 {
					v.bad(path+"."+k.Name+".servers", "list those of both regions", "names none in %s, and either may be entered", r)
				}
			}
		}
		if _, placed := k.Config.(probes.Placed); placed {
			v.warn(path+"."+k.Name, "put it under see, where `failoverd readiness` tells of it in time",
				"passes only when the node that leads is in the other region: with one of the two dark it never does, and the plan waits for a person")
		}
	}
}

// canary refuses a table in a database that is restored, whoever restores it. Server names do not tell which servers are the same, and
// that of a database is by another server's setting the same in capitals.
func (v *validator) canary(path string, c *probes.MySQLConfig) {
	database, _, _ := strings.Cut(cmp.Or(c.Table, probes.MySQLTable), ".")
	for _, name := range v.c.ComponentNames() {
		p := v.c.Component[name]
		if p.Start == nil || p.Start.MariaDBRestore == nil {
			continue
		}
		for _, restored := range p.Start.MariaDBRestore.Databases {
			if strings.EqualFold(restored, database) {
				v.bad(path+".table", "name a table in a database of its own, such as "+probes.MySQLTable,
					"lies in %s, which component.%s.start.mariadb_restore replaces: what is written to it would look like rows written since the failover began, and the table goes away with the database", restored, name)
			}
		}
	}
}

// paramError is how a kind names the parameter that is wrong.
type paramError interface {
	Field() string
	Message() string
}

// validateKind checks a kind as it will be used: filled in for both regions and
// for a node.
func validateKind[C any](v *validator, path string, cfg C, validate func(C) error) {
	node := failover.NodeID("node")
	if ids := slices.Sorted(maps.Keys(v.c.Nodes)); len(ids) > 0 {
		node = ids[0]
	}
	for _, r := range v.c.Regions() {
		filled := fill(cfg, r, node)
		if err := validate(filled); err != nil {
			var pe paramError
			if errors.As(err, &pe) {
				v.bad(path+"."+pe.Field(), "", "%s", pe.Message())
			} else {
				v.bad(path, "", "%v", err)
			}
			return
		}
		// Arguments of commands may hold braces of their own.
		if s := strayPlaceholder(filled); s != "" && !strings.HasSuffix(path, ".exec") {
			v.bad(path, "only {region} and {node} are filled in", "%s stands for nothing", s)
			return
		}
	}
}

func (v *validator) after(path string, names []failover.Component) {
	for _, n := range names {
		if _, ok := v.c.Component[n]; !ok {
			known := make([]string, 0, len(v.c.Component))
			for _, k := range v.c.ComponentNames() {
				known = append(known, string(k))
			}
			v.bad(path, didYouMean(string(n), known), "component %q does not exist", n)
		}
	}
}

func (v *validator) regions(path string, regions []failover.Region) {
	for _, r := range regions {
		if !slices.Contains(v.c.Regions(), r) {
			v.bad(path+"."+string(r), "", "%s is neither the primary %s nor the secondary %s", r, v.c.Primary, v.c.Secondary)
		}
	}
}

// cycles reports components that wait for each other. Unknown names have been
// reported already.
func (v *validator) cycles() {
	var specs []failover.ComponentSpec
	for _, n := range v.c.ComponentNames() {
		known := slices.DeleteFunc(slices.Clone(v.c.Component[n].After), func(c failover.Component) bool { return v.c.Component[c] == nil })
		specs = append(specs, failover.ComponentSpec{Name: n, After: known})
	}
	_, err := plan.Order(specs)
	if cycle, ok := errors.AsType[*plan.CycleError](err); ok {
		v.bad("component."+string(cycle.Path[0])+".after", "take one of them out", "%v", cycle)
	}
}

func (v *validator) traffic() {
	v.after("traffic.after", v.c.Traffic.After)
	set := kindsOf[actions.Config](v.c.Traffic.Switch.Kinds)
	if len(set) == 0 {
		v.bad("traffic.switch", "route53_weights is one way", "names no kind: clients would stay where they are")
	}
	v.actions("traffic.switch", set, v.c.Traffic.Switch.Common, actions.RoleSwitch)
	v.checks("traffic.check", v.c.Traffic.Check)
	v.gate()
	if !v.pos.has("traffic.after") {
		v.bad("traffic.after", "list what must have started before clients arrive; [] if nothing", "is missing")
	}
}

// gate wants what makes the gate safe: nodes that serve it, and a switch that
// outlives them.
func (v *validator) gate() {
	g := v.c.Traffic.Switch.Gate
	if g == nil {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(g.Nodes)) {
		if _, ok := v.c.Nodes[id]; !ok {
			v.bad("traffic.switch.gate.nodes."+string(id), "", "%s is not one of [nodes]", id)
		}
	}
	if v.c.Local.Gate == "" {
		v.bad("node.gate", "the address on which each node serves its gate, such as \"0.0.0.0:7781\"", "is missing: the health checks of traffic.switch.gate would find nothing")
	}
	for _, k := range kindsOf[actions.Config](v.c.Traffic.Switch.Kinds) {
		if _, ok := k.Config.(interface{ Latches() }); ok {
			return
		}
	}
	v.bad("traffic.switch", "add s3_object or route53_weights", "the gate alone moves clients only for as long as enough nodes live: a switch must follow that outlives them")
}

// signals wants two kinds for each region, since one kind that fails is a
// service that fails and not a region (rule D4).
func (v *validator) signals() {
	for _, r := range v.c.Regions() {
		var kinds []string
		for _, s := range v.c.ProbeSpecs("node") {
			if s.Region == r && s.Plane() == "" {
				kinds = append(kinds, s.Kind)
			}
		}
		slices.Sort(kinds)
		kinds = slices.Compact(kinds)
		if r != "" && len(v.c.Component) > 0 && len(kinds) < 2 {
			v.bad("component", "add a `see` of another kind", "%s is seen by %d kinds of probe %v: two kinds must be down before a region is called down",
				r, len(kinds), kinds)
		}
	}
}
