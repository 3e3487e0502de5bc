package failover

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// This file holds the configuration in the log: a file is a proposal, every
// member says whether it can run it, and the leader puts it in force.

// Proposal is a configuration that is being rolled out. Everybody runs the old
// one, and stays armed with it, until it is in force.
type Proposal struct {
	ID       uint64   `json:"id"` // raft index of ProposeSettings
	Settings Settings `json:"settings"`
	Hash     string   `json:"hash"`
	Source   string   `json:"source"` // the file's text
	By       string   `json:"by"`
	Why      string   `json:"why,omitempty"`
	// Changes are what it changes in what failoverd may do, a sentence each.
	Changes []string       `json:"changes,omitempty"`
	At      time.Time      `json:"at"`
	Acks    map[NodeID]Ack `json:"acks,omitempty"`
}

// Ack is a member's answer to a proposal.
type Ack struct {
	Reason string    `json:"reason,omitempty"` // why it cannot run it; "" means that it can
	At     time.Time `json:"at"`
}

func (p *Proposal) clone() *Proposal {
	if p == nil {
		return nil
	}
	c := *p
	c.Acks = maps.Clone(p.Acks)
	return &c
}

// Waits says why a proposal is not in force: what it waits for, in a sentence;
// "" when it may come into force.
func (s *State) Waits() string {
	p := s.Proposal
	if p == nil {
		return ""
	}
	var silent, refused []string
	for _, id := range slices.Sorted(maps.Keys(s.Settings.Nodes)) {
		switch a, ok := p.Acks[id]; {
		case !ok:
			silent = append(silent, string(id))
		case a.Reason != "":
			refused = append(refused, string(id)+" ("+a.Reason+")")
		}
	}
	switch {
	case len(refused) > 0:
		return "refused by " + strings.Join(refused, ", ") + ": `failoverd config withdraw`, then apply one that every node can run"
	case s.Level() >= 3 && p.Settings.Other(s.Active) == "":
		return fmt.Sprintf("does not contain %s, which has become the active region since it was proposed: `failoverd config withdraw`", s.Active)
	case s.Level() >= 3 && s.shortens(&p.Settings) != nil: // agents have come since it was proposed
		return "is refused by who is at work: " + s.shortens(&p.Settings).Error() + "; `failoverd config withdraw` takes it back"
	case len(silent) > 0:
		return "waits for " + strings.Join(silent, ", ")
	case s.Preparation != nil && s.Level() >= 3:
		return fmt.Sprintf("waits for preparation %d to end: what it has begun is adopted or undone as it was begun; `failoverd abort` ends it", s.Preparation.ID)
	case s.Execution != nil:
		return fmt.Sprintf("waits for execution %d to end: it runs with the configuration that it began with", s.Execution.ID)
	case s.Freeze != nil:
		return fmt.Sprintf("waits for freeze %d to end", s.Freeze.ID)
	case s.Request != nil:
		return "waits for the requested " + string(s.Request.Kind)
	}
	return ""
}

// The commands of the configuration.
type (
	// ProposeSettings proposes a configuration.
	ProposeSettings struct {
		Settings Settings `json:"settings"`
		Hash     string   `json:"hash"`
		Source   string   `json:"source"`
	}
	// AckSettings is the answer of the node that proposes it.
	AckSettings struct {
		Proposal uint64 `json:"proposal"`
		Hash     string `json:"hash"`
		Reason   string `json:"reason,omitempty"` // why it cannot run it; "" means that it can
	}
	// WithdrawSettings takes a proposal back.
	WithdrawSettings struct {
		Proposal uint64 `json:"proposal"`
	}
	// ActivateSettings puts the proposal in force that every member has
	// acknowledged.
	ActivateSettings struct {
		Proposal uint64 `json:"proposal"`
	}
	// KeepSource adds the text to the configuration in force, if the log does not
	// hold it yet: the first configuration of a cluster stands in the log before
	// the feature level that knows its text.
	KeepSource struct {
		Hash   string `json:"hash"`
		Source string `json:"source"`
	}
)

// Name implements Command.
func (ProposeSettings) Name() string { return "propose-settings" }

// Name implements Command.
func (AckSettings) Name() string { return "ack-settings" }

// Name implements Command.
func (WithdrawSettings) Name() string { return "withdraw-settings" }

// Name implements Command.
func (ActivateSettings) Name() string { return "activate-settings" }

// Name implements Command.
func (KeepSource) Name() string { return "keep-source" }

// LeaderOnly implements Command.
func (ProposeSettings) LeaderOnly() bool { return false }

// LeaderOnly implements Command.
func (AckSettings) LeaderOnly() bool { return false }

// LeaderOnly implements Command.
func (WithdrawSettings) LeaderOnly() bool { return false }

// LeaderOnly implements Command.
func (ActivateSettings) LeaderOnly() bool { return true }

// LeaderOnly implements Command.
func (KeepSource) LeaderOnly() bool { return true }

func (c ProposeSettings) apply(s *State, m Meta) (any, error) {
	old := s.Settings
	switch {
	case old == nil:
		return nil, refuse("not-configured", "the cluster has no configuration yet: the first one is that of its nodes' files")
	case s.Proposal != nil:
		return nil, refuse("config-open", "configuration %s is being rolled out already, it %s; withdraw it first (`failoverd config withdraw`)", s.Proposal.Hash, s.Waits())
	case s.Change != nil:
		return nil, refuse("change-open", "the change to %s node %s is under way: apply the configuration when it has ended (`failoverd members`)", s.Change.Kind, s.Change.Node)
	case c.Settings.Service != old.Service:
		return nil, refuse("service", "the configuration is for service %q, but this cluster protects %q: a service is never renamed in place", c.Settings.Service, old.Service)
	case c.Settings.Primary == c.Settings.Secondary || c.Settings.Other(s.Active) == "":
		return nil, refuse("active-region", "the configuration does not contain %s, the active region", s.Active)
	case !maps.Equal(c.Settings.Nodes, old.Nodes):
		return nil, refuse("members", "the configuration's [nodes] differ from the members in %s: nodes come and go by `failoverd members`; write [nodes] as `failoverd config show` has them", nodeDifference(old.Nodes, c.Settings.Nodes))
	case c.Settings.Policy.Hold <= 0 || c.Settings.Policy.VoteTTL <= 0 || c.Settings.Policy.Lease.Length <= 0 || c.Settings.Policy.Lease.Renew <= 0:
		return nil, refuse("limits", "the configuration lacks a safety limit: hold, vote_ttl, lease.length and lease.renew are never zero")
	case c.Hash == s.SettingsHash:
		return nil, refuse("same", "configuration %s is in force already", c.Hash)
	}
	if err := s.shortens(&c.Settings); err != nil {
		return nil, err
	}
	s.Proposal = &Proposal{
		ID: m.Index, Settings: c.Settings, Hash: c.Hash, Source: c.Source, By: m.By, Why: m.Why, At: m.At,
		Changes: SafetyChanges(old, &c.Settings),
	}
	if s.Level() >= 3 && c.Settings.Primary != old.Primary {
		s.Proposal.Changes = append(s.Proposal.Changes, fmt.Sprintf("a failover leaves %s for %s from then on", c.Settings.Primary, c.Settings.Secondary))
	}
	what := "nothing in what failoverd may do changes"
	if len(s.Proposal.Changes) > 0 {
		what = "this changes what failoverd may do: " + strings.Join(s.Proposal.Changes, "; ")
	}
	s.event(m, c, "configuration %s proposed, %s stays in force until every node has acknowledged it; %s", c.Hash, s.SettingsHash, what)
	return m.Index, nil
}

// shortens refuses a configuration under which agents at work would get no lease, and stop their workers (S8).
func (s *State) shortens(now *Settings) error {
	for _, id := range slices.Sorted(maps.Keys(s.Agents)) {
		a, limit := s.Agents[id], longestLease*now.Policy.Lease.Length
		if s.Level() >= 3 && a.Asks > limit && a.Asks <= longestLease*s.Settings.Policy.Lease.Length {
			return refuse("lease", "agent %s of %s in %s asks for leases of %s by its own file, and would get none where lease.length is %s (at most %d times as long): its workers would stop; shorten lease.length in its file first and replace the agent, or apply a longer one", id, a.Component, a.Region, a.Asks, now.Policy.Lease.Length, longestLease)
		}
	}
	return nil
}

func nodeDifference(a, b map[NodeID]NodeSpec) string {
	all := map[NodeID]bool{}
	for id := range a {
		all[id] = true
	}
	for id := range b {
		all[id] = true
	}
	var out []string
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if a[id] != b[id] {
			out = append(out, string(id))
		}
	}
	return strings.Join(out, ", ")
}

func (c AckSettings) apply(s *State, m Meta) (any, error) {
	p := s.Proposal
	switch {
	case p == nil || p.ID != c.Proposal || p.Hash != c.Hash:
		return nil, refuse("proposal", "configuration %s is not being rolled out", c.Hash)
	case s.Settings.Nodes[m.Node] == (NodeSpec{}):
		return nil, refuse("member", "node %s is not a member", m.Node)
	}
	if old, ok := p.Acks[m.Node]; ok && old.Reason == c.Reason {
		return nil, nil
	}
	if p.Acks == nil {
		p.Acks = map[NodeID]Ack{}
	}
	p.Acks[m.Node] = Ack{Reason: c.Reason, At: m.At}
	if c.Reason != "" {
		s.event(m, c, "node %s cannot run configuration %s: %s", m.Node, c.Hash, c.Reason)
		return nil, nil
	}
	s.event(m, c, "node %s can run configuration %s", m.Node, c.Hash)
	return nil, nil
}

func (c WithdrawSettings) apply(s *State, m Meta) (any, error) {
	if s.Proposal == nil || s.Proposal.ID != c.Proposal {
		return nil, refuse("proposal", "no such configuration is being rolled out")
	}
	s.event(m, c, "configuration %s withdrawn, %s stays in force", s.Proposal.Hash, s.SettingsHash)
	s.Proposal = nil
	return nil, nil
}

func (c ActivateSettings) apply(s *State, m Meta) (any, error) {
	p := s.Proposal
	if p == nil || p.ID != c.Proposal {
		return nil, refuse("proposal", "configuration %d is not being rolled out", c.Proposal)
	}
	if why := s.Waits(); why != "" {
		return nil, refuse("waits", "configuration %s is not in force yet: it %s", p.Hash, why)
	}
	settings := p.Settings
	if s.Level() >= 3 {
		s.AtRisk = nil // what is counted may be something else from now on
	}
	s.Settings, s.SettingsHash, s.Source, s.SettingsSince, s.Proposal = &settings, p.Hash, p.Source, m.At, nil
	what := ""
	if len(p.Changes) > 0 {
		what = "; it changes what failoverd may do: " + strings.Join(p.Changes, "; ")
	}
	s.event(m, c, "configuration %s in force, proposed by %s%s", p.Hash, p.By, what)
	return nil, nil
}

func (c KeepSource) apply(s *State, m Meta) (any, error) {
	if s.Settings == nil || c.Hash != s.SettingsHash || s.Source != "" {
		return nil, refuse("source", "the text of configuration %s is not wanted", c.Hash)
	}
	s.Source = c.Source
	s.event(m, c, "the text of configuration %s is in the log (%d bytes)", c.Hash, len(c.Source))
	return nil, nil
}

// SafetyChanges says, a sentence each, what a configuration changes in what
// failoverd may do. The order is fixed: policy, lease, components by name.
func SafetyChanges(old, now *Settings) []string {
	var out []string
	say := func(what string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			out = append(out, fmt.Sprintf("%s: %v → %v", what, a, b))
		}
	}
	o, n := old.Policy, now.Policy
	say("mode", o.Mode, n.Mode)
	say("hold", o.Hold, n.Hold)
	say("vote_ttl", o.VoteTTL, n.VoteTTL)
	say("ask.wait", o.Ask.Wait, n.Ask.Wait)
	say("ask.then", o.Ask.Then, n.Ask.Then)
	say("cooldown", o.Cooldown, n.Cooldown)
	say("max_per_day", o.MaxPerDay, n.MaxPerDay)
	say("two_nodes", o.TwoNodes, n.TwoNodes)
	a, b := o.Lease, n.Lease
	say("lease.length", a.Length, b.Length)
	say("lease.renew", a.Renew, b.Renew)
	say("lease.clock_error (ppm)", a.RhoPPM, b.RhoPPM)
	say("lease.margin", a.Margin, b.Margin)
	say("lease.effect_tail", a.EffectTail, b.EffectTail)
	say("lease.stop", a.Stop, b.Stop)
	if old.Primary != now.Primary || old.Secondary != now.Secondary {
		say("regions", []Region{old.Primary, old.Secondary}, []Region{now.Primary, now.Secondary})
	}
	names := map[Component]bool{}
	for _, c := range append(slices.Clone(old.Components), now.Components...) {
		names[c.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		x, y := old.Component(name), now.Component(name)
		switch {
		case x == nil:
			out = append(out, fmt.Sprintf("component %s is new", name))
		case y == nil:
			out = append(out, fmt.Sprintf("component %s is gone: nothing of it is fenced any more", name))
		default:
			out = append(out, componentChanges(name, x, y)...)
		}
	}
	if !reflect.DeepEqual(old.Traffic.After, now.Traffic.After) {
		say("traffic.after", old.Traffic.After, now.Traffic.After)
	}
	if !reflect.DeepEqual(old.Traffic.Switch, now.Traffic.Switch) {
		out = append(out, "traffic.switch: the way in which clients are moved changes")
	}
	return out
}

func componentChanges(name Component, x, y *ComponentSpec) []string {
	var out []string
	say := func(what string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			out = append(out, fmt.Sprintf("component %s, %s: %v → %v", name, what, a, b))
		}
	}
	proof := func(c *ComponentSpec) []EvidenceClass {
		if c.Stop == nil {
			return nil
		}
		return c.Stop.Proof
	}
	action := func(c *ComponentSpec) *ActionSpec {
		if c.Stop == nil {
			return nil
		}
		return c.Stop.Action
	}
	say("fenced", x.Stop != nil, y.Stop != nil)
	say("proof", proof(x), proof(y))
	say("agent", x.Agent, y.Agent)
	say("arming", x.Arming, y.Arming)
	say("on_isolation", x.OnIsolation, y.OnIsolation)
	if !reflect.DeepEqual(action(x), action(y)) {
		out = append(out, fmt.Sprintf("component %s, stop: the way in which it is stopped changes", name))
	}
	if !reflect.DeepEqual(x.Start, y.Start) {
		out = append(out, fmt.Sprintf("component %s, start: the way in which it is started changes", name))
	}
	return out
}
