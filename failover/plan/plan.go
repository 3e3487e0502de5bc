// Package plan derives the failover plan from the components and checks and
// renders it. It is as pure as package failover: no clock, no I/O.
//
// There is no second plan language. The component is the unit of configuration
// and the graph follows from it: freeze the lease, stop what is critical, prove
// it, start in order, switch traffic, check, declare stable.
package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// Version is the version of the derivation. It is part of a plan's hash.
const Version = 1

// Default time-outs of steps whose component names none.
const (
	defaultStopTimeout   = 30 * time.Second
	defaultStartTimeout  = 5 * time.Minute
	defaultSwitchTimeout = 10 * time.Minute
	defaultCheckTimeout  = 5 * time.Minute
)

// The IDs of the internal steps.
const (
	FreezeID failover.StepID = "freeze"
	FenceID  failover.StepID = "fence"
	StableID failover.StepID = "stable"
)

// CycleError says that components wait for each other.
type CycleError struct {
	// Path is the cycle, its first component again at its end.
	Path []failover.Component
}

func (e *CycleError) Error() string {
	names := make([]string, len(e.Path))
	for i, c := range e.Path {
		names[i] = string(c)
	}
	return "components wait for each other: " + strings.Join(names, " → ")
}

// Derive makes the plan of a failover that takes the service out of region from. It fails
// when components name unknown others or wait for each other, or when a
// component has no parameters for a region.
func Derive(s *failover.Settings, from failover.Region) (failover.Plan, error) {
	return DeriveKind(s, from, failover.Failover)
}

// DeriveKind is Derive of an execution of a kind that leaves a region.
func DeriveKind(s *failover.Settings, from failover.Region, kind failover.ExecKind) (failover.Plan, error) {
	to := s.Other(from)
	if to == "" {
		return failover.Plan{}, fmt.Errorf("no plan leaves %s: the service runs in %s and %s", from, s.Primary, s.Secondary)
	}
	order, err := Order(s.Components)
	if err != nil {
		return failover.Plan{}, err
	}
	p := failover.Plan{Version: Version, Kind: kind, From: from, To: to}
	p.Steps = append(p.Steps, failover.Step{ID: FreezeID, Kind: failover.KindFreeze, Region: from})
	if err := addStops(&p, order); err != nil {
		return failover.Plan{}, err
	}
	// The fence waits for evidence, not for the stops: lease expiry may prove
	// what a dead control plane cannot.
	p.Steps = append(p.Steps, failover.Step{ID: FenceID, Kind: failover.KindFence, Region: from, After: []failover.StepID{FreezeID}, NoReturn: true})
	addOpenings(&p, order)
	if err := addStarts(&p, order); err != nil {
		return failover.Plan{}, err
	}
	if err := addTraffic(&p, s); err != nil {
		return failover.Plan{}, err
	}
	if err := addChecks(&p, order, s); err != nil {
		return failover.Plan{}, err
	}
	return p, nil
}

func addStops(p *failover.Plan, order []failover.ComponentSpec) error {
	for _, c := range order {
		if c.Stop == nil {
			continue
		}
		p.Fenced = append(p.Fenced, failover.FencedComponent{
			Component: c.Name, Proof: c.Stop.Proof, Agent: c.Agent, Arming: c.Arming, OnIsolation: c.OnIsolation,
			LongestWork: c.LongestWork,
		})
		// All levels are tried at once: whichever proves it is enough.
		for i, a := range c.Stop.Actions() {
			id := "stop-" + string(c.Name)
			if i > 0 {
				id += "-" + a.Kind
			}
			step, err := actionStep(id, failover.KindStop, a, p.From, defaultStopTimeout)
			if err != nil {
				return err
			}
			step.Component, step.After = c.Name, []failover.StepID{FreezeID}
			p.Steps = append(p.Steps, step)
		}
	}
	return nil
}

// Preparation is the part of a plan that may begin before the fence: its steps
// wait only for each other. A plan without such steps gives one without steps.
func Preparation(p *failover.Plan) failover.Plan {
	out := failover.Plan{Version: p.Version, Kind: failover.Preparation, From: p.From, To: p.To}
	for _, st := range p.Steps {
		if !st.Prepare {
			continue
		}
		var after []failover.StepID
		for _, dep := range st.After {
			if d := p.Step(dep); d != nil && d.Prepare {
				after = append(after, dep)
			}
		}
		st.After = after
		out.Steps = append(out.Steps, st)
	}
	return out
}

// openPrefix begins the IDs of openings, which are starts like any other but that the others wait for them.
const openPrefix = "open-"

// openings are the steps that lift what an earlier failover has left in the region that is entered.
func openings(p *failover.Plan) []failover.StepID {
	var out []failover.StepID
	for _, st := range p.Steps {
		if st.Kind == failover.KindStart && strings.HasPrefix(string(st.ID), openPrefix) {
			out = append(out, st.ID)
		}
	}
	return out
}

// addOpenings lifts in the region that is entered what stops leave in one that was left. It waits for the fence, in a
// preparation as well: until then both regions are held.
func addOpenings(p *failover.Plan, order []failover.ComponentSpec) {
	for _, c := range order {
		if c.Stop == nil {
			continue
		}
		for _, a := range c.Stop.Actions() {
			if a.Opens[p.To] == nil {
				continue
			}
			p.Steps = append(p.Steps, failover.Step{
				ID: failover.StepID(openPrefix + string(c.Name) + "-" + a.Kind), Kind: failover.KindStart, Component: c.Name, Region: p.To,
				Action: a.Kind, Version: a.Version, Params: a.Opens[p.To], After: []failover.StepID{FenceID},
				Timeout: failover.Duration(defaultStartTimeout), OnError: "halt",
			})
		}
	}
}

func addStarts(p *failover.Plan, order []failover.ComponentSpec) error {
	starts := map[failover.Component]failover.StepID{}
	late := map[failover.StepID]bool{} // not before the fence: itself, or what it comes after
	byName := map[failover.Component]failover.ComponentSpec{}
	for _, c := range order {
		byName[c.Name] = c
	}
	for _, c := range order {
		if c.Start == nil {
			continue
		}
		before := startsBefore(c, byName, starts)
		start := *c.Start
		if p.Kind == failover.Switchover && c.Brings != nil {
			dump, err := addDump(p, c.Name, c.Brings.Dump)
			if err != nil {
				return err
			}
			before, start = append(before, dump), c.Brings.Start
			start.OnError = "halt" // what was to be brought is never gone on without, unasked
		}
		step, err := actionStep("start-"+string(c.Name), failover.KindStart, start, p.To, defaultStartTimeout)
		if err != nil {
			return err
		}
		step.Component = c.Name
		step.After = slices.Concat([]failover.StepID{FenceID}, openings(p), before)
		// What waits for something that comes after the fence comes after it as well, also by way of others: with a lease, which it
		// gets with the epoch, it would work on what is not there yet. What has none may be prepared all the same, and waits for no work.
		behind := slices.ContainsFunc(before, func(id failover.StepID) bool { return late[id] })
		late[step.ID] = !step.Prepare || behind
		step.Prepare = step.Prepare && (!c.Agent || !behind)
		starts[c.Name] = step.ID
		p.Steps = append(p.Steps, step)
	}
	return nil
}

// startsBefore lists the start steps that a component waits for. A component
// without a start of its own passes its own dependencies on.
func startsBefore(c failover.ComponentSpec, byName map[failover.Component]failover.ComponentSpec, starts map[failover.Component]failover.StepID) []failover.StepID {
	var out []failover.StepID
	for _, dep := range c.After {
		if id, ok := starts[dep]; ok {
			out = append(out, id)
		} else {
			out = append(out, startsBefore(byName[dep], byName, starts)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func addTraffic(p *failover.Plan, s *failover.Settings) error {
	after := append([]failover.StepID{FenceID}, openings(p)...)
	for _, name := range s.Traffic.After {
		if s.Component(name) == nil {
			return fmt.Errorf("traffic waits for component %q, which does not exist", name)
		}
		if id := failover.StepID("start-" + string(name)); p.Step(id) != nil {
			after = append(after, id)
		}
	}
	// A person who is asked is asked first. The others are tried side by side: the
	// first that proves itself moves the clients.
	for _, asks := range []bool{true, false} {
		for _, a := range s.Traffic.Switch {
			if (a.Kind == approvalKind) != asks {
				continue
			}
			step, err := actionStep("switch-"+a.Kind, failover.KindSwitch, a, p.To, defaultSwitchTimeout)
			if err != nil {
				return err
			}
			step.After, step.Latched = slices.Clone(after), a.Latched
			p.Steps = append(p.Steps, step)
			if asks {
				after = []failover.StepID{step.ID}
			}
		}
	}
	return nil
}

// approvalKind is the kind that changes nothing and is passed by a person.
const approvalKind = "approval"

// movers are the switches that move clients, in two ways: all of them, and those
// whose effect outlives every node.
func movers(p *failover.Plan) (all, latched []failover.StepID) {
	for _, st := range p.Steps {
		if st.Kind != failover.KindSwitch || st.Action == approvalKind {
			continue
		}
		all = append(all, st.ID)
		if st.Latched {
			latched = append(latched, st.ID)
		}
	}
	return all, latched
}

func addChecks(p *failover.Plan, order []failover.ComponentSpec, s *failover.Settings) error {
	// Checks look at the finished world: after every start and every switch.
	var world, checks, moved, kept []failover.StepID
	all, latched := movers(p)
	if len(all) > 1 {
		// One of several is enough to look at the world; one that outlives the nodes
		// is needed before the end.
		moved, kept = all, all
		if len(latched) > 0 {
			kept = latched
		}
	}
	for _, st := range p.Steps {
		if st.Kind == failover.KindStart || st.Kind == failover.KindSwitch && !slices.Contains(moved, st.ID) {
			world = append(world, st.ID)
		}
	}
	if len(world) == 0 {
		world = []failover.StepID{FenceID}
	}
	add := func(prefix string, c failover.Component, specs []failover.ActionSpec) error {
		for _, a := range specs {
			step, err := actionStep("check-"+prefix+"-"+a.Kind, failover.KindCheck, a, p.To, defaultCheckTimeout)
			if err != nil {
				return err
			}
			step.Component, step.After, step.AfterOne = c, slices.Clone(world), slices.Clone(moved)
			p.Steps = append(p.Steps, step)
			checks = append(checks, step.ID)
		}
		return nil
	}
	for _, c := range order {
		if err := add(string(c.Name), c.Name, c.Checks); err != nil {
			return err
		}
	}
	if err := add("traffic", "", s.Traffic.Checks); err != nil {
		return err
	}
	p.Steps = append(p.Steps, failover.Step{ID: StableID, Kind: failover.KindStable, After: append(slices.Clone(world), checks...), AfterOne: slices.Clone(kept)})
	return nil
}

func actionStep(id string, kind failover.StepKind, a failover.ActionSpec, region failover.Region, timeout time.Duration) (failover.Step, error) {
	params, ok := a.Params[region]
	if !ok {
		return failover.Step{}, fmt.Errorf("step %s: %s has no parameters for %s", id, a.Kind, region)
	}
	if a.Timeout > 0 {
		timeout = a.Timeout.D()
	}
	onError := a.OnError
	if onError == "" {
		onError = "halt"
	}
	require, err := checkSpecs(id, a.Require, region)
	if err != nil {
		return failover.Step{}, err
	}
	verify, err := checkSpecs(id, a.Verify, region)
	if err != nil {
		return failover.Step{}, err
	}
	return failover.Step{
		ID: failover.StepID(id), Kind: kind, Region: region, Action: a.Kind, Version: a.Version, Params: params,
		Timeout: failover.Duration(timeout), OnError: onError, Approval: a.Approval,
		NoReturn: a.Irreversible, Retries: a.Retries, Tokens: a.Tokens, Prepare: a.Prepare && kind == failover.KindStart,
		Proves: a.Proves, Stands: a.Stands && kind == failover.KindStart, Overrides: a.Overrides, Keys: a.Keys, Require: require, Verify: verify,
	}, nil
}

func checkSpecs(id string, specs []failover.CheckParams, region failover.Region) ([]failover.CheckSpec, error) {
	var out []failover.CheckSpec
	for _, c := range specs {
		params, ok := c.Params[region]
		if !ok {
			return nil, fmt.Errorf("step %s: its check %s has no parameters for %s", id, c.Kind, region)
		}
		out = append(out, failover.CheckSpec{Kind: c.Kind, Version: c.Version, Params: params})
	}
	return out, nil
}

// Order sorts components so that each comes after those that it names, ties by
// name. It returns a *CycleError when that is impossible.
func Order(components []failover.ComponentSpec) ([]failover.ComponentSpec, error) {
	byName := make(map[failover.Component]failover.ComponentSpec, len(components))
	names := make([]failover.Component, 0, len(components))
	for _, c := range components {
		byName[c.Name] = c
		names = append(names, c.Name)
	}
	slices.Sort(names)
	const (
		visiting = 1
		visited  = 2
	)
	state := map[failover.Component]int{}
	var out []failover.ComponentSpec
	var path []failover.Component
	var visit func(name failover.Component) error
	visit = func(name failover.Component) error {
		switch state[name] {
		case visited:
			return nil
		case visiting:
			return &CycleError{Path: append(slices.Clone(path[slices.Index(path, name):]), name)}
		}
		c, ok := byName[name]
		if !ok {
			return fmt.Errorf("component %q comes after %q, which does not exist", path[len(path)-1], name)
		}
		state[name] = visiting
		path = append(path, name)
		deps := slices.Clone(c.After)
		slices.Sort(deps)
		for _, dep := range deps {
			if err := visit(dep); err != nil {
				return err
			}
		}
		path = path[:len(path)-1]
		state[name] = visited
		out = append(out, c)
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Render prints the plan for a person: the steps in order, what each waits for and
// needs, the point of no return, and the autonomy line.
func Render(p *failover.Plan, needs map[failover.StepID][]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "plan %s: %s from %s to %s\n\n", p.Hash(), p.Kind, p.From, p.To)
	wide := 0
	for _, st := range p.Steps {
		wide = max(wide, len(st.ID))
	}
	for i, st := range p.Steps {
		what := st.Action
		if what == "" {
			what = meaning[st.Kind]
		}
		after := ""
		if len(st.After) > 0 {
			after = "  after " + awaited(p, st)
		}
		if len(st.AfterOne) > 0 {
			after += ", and one of " + join(st.AfterOne, ", ")
		}
		fmt.Fprintf(&b, "%3d  %-*s %-28s%s\n", i+1, wide, st.ID, what, after)
		if n := needs[st.ID]; len(n) > 0 {
			fmt.Fprintf(&b, "     needs %s\n", strings.Join(n, "; "))
		}
		if st.Prepare {
			fmt.Fprintf(&b, "     (may begin before the fence, after prepare_after; undone if the suspicion passes)\n")
		}
		if st.NoReturn {
			fmt.Fprintf(&b, "     ---- point of no return: from here on, going back is a failback ----\n")
		}
	}
	fmt.Fprintf(&b, "\n%s\n", Autonomy(p))
	return b.String()
}

// awaited names what a step waits for; where that is every step of a kind, in one
// word.
func awaited(p *failover.Plan, st failover.Step) string {
	left := slices.Clone(st.After)
	var out []string
	for _, k := range []struct {
		kind failover.StepKind
		name string
	}{{failover.KindStart, "every start"}, {failover.KindCheck, "every check"}} {
		var all []failover.StepID
		for _, o := range p.Steps {
			if o.Kind == k.kind {
				all = append(all, o.ID)
			}
		}
		if len(all) > 2 && !slices.ContainsFunc(all, func(id failover.StepID) bool { return !slices.Contains(left, id) }) {
			left = slices.DeleteFunc(left, func(id failover.StepID) bool { return slices.Contains(all, id) })
			out = append(out, k.name)
		}
	}
	for _, id := range left {
		out = append(out, string(id))
	}
	return strings.Join(out, ", ")
}

func join(ids []failover.StepID, by string) string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return strings.Join(out, by)
}

var meaning = map[failover.StepKind]string{
	failover.KindFreeze: "no lease is granted any more",
	failover.KindFence:  "wait for proof, advance the epoch",
	failover.KindStable: "declare the service stable",
}
