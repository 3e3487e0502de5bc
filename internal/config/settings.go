package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
	"github.com/failoverd/failoverd/probes"
)

// Regions are the two regions of the service, primary first.
func (c *Config) Regions() []failover.Region { return []failover.Region{c.Primary, c.Secondary} }

// Settings are what the cluster replicates. Equal files give equal settings.
func (c *Config) Settings() failover.Settings {
	s := failover.Settings{
		Service: c.Service, Primary: c.Primary, Secondary: c.Secondary,
		Policy: failover.Policy{
			Mode: c.Policy.Mode, Hold: c.Policy.Hold, VoteTTL: c.Policy.VoteTTL,
			Ask:      failover.AskPolicy{Wait: c.Policy.Ask.Wait, Then: c.Policy.Ask.Then},
			Cooldown: c.Policy.Cooldown, MaxPerDay: c.Policy.MaxPerDay, Lease: c.LeaseTerms(),
			PrepareAfter: c.Policy.PrepareAfter, MaxLoss: maps.Clone(c.Policy.MaxLoss), MaxShrink: c.Policy.MaxShrink,
			TwoNodes: c.Policy.TwoNodes,
		},
		Nodes: map[failover.NodeID]failover.NodeSpec{},
		Traffic: failover.TrafficSpec{
			After: slices.Clone(c.Traffic.After), Switch: c.actionSpecs(c.Traffic.Switch.Kinds, c.Traffic.Switch.Common),
			Checks: c.checkSpecs(c.Traffic.Check),
		},
	}
	for id, n := range c.Nodes {
		s.Nodes[id] = failover.NodeSpec{Vantage: n.Region, Address: n.Address}
	}
	for _, name := range c.ComponentNames() {
		s.Components = append(s.Components, c.componentSpec(name, c.Component[name]))
	}
	return s
}

// Runbook is the plan that leaves a region as commands for a person. It needs
// nothing but the file, which does not say where the service is.
func (c *Config) Runbook(leave failover.Region) (string, error) {
	settings := c.Settings()
	p, err := plan.Derive(&settings, leave)
	if err != nil {
		return "", err
	}
	return actions.Runbook(&settings, &p)
}

// HealthChecks are the Route 53 health checks that the switches need, for the
// records of the primary region; none if no switch needs one.
func (c *Config) HealthChecks() []actions.HealthCheck {
	o := actions.HealthCheckOptions{Service: c.Service, From: c.Primary, To: c.Secondary, Endpoints: c.AWS.Endpoints}
	if g := c.Traffic.Switch.Gate; g != nil {
		filled := fill(*g, c.Secondary, "")
		o.Gate = &filled
	}
	if b := c.Traffic.Switch.S3Object; b != nil {
		filled := fill(*b, c.Secondary, "")
		o.Object = &filled
	}
	return actions.HealthChecks(o)
}

// Records are the weighted records that hang on the health checks: those that a
// switch moves, or those of the names that clients use.
func (c *Config) Records() actions.Route53WeightsConfig {
	if w := c.Traffic.Switch.Route53Weights; w != nil {
		return *w
	}
	return actions.Route53WeightsConfig{Zone: c.Traffic.Zone, Names: c.Traffic.Names}
}

// ResolversFollow is how long the check after the switch waits for resolvers to
// follow; zero if there is none.
func (c *Config) ResolversFollow() time.Duration {
	if d := c.Traffic.Check.DNSAnswer; d != nil {
		return d.Within()
	}
	return 0
}

// HealthCheckScript is a shell script that makes them.
func (c *Config) HealthCheckScript() (string, error) {
	return actions.HealthCheckScript(c.Service, c.Primary, c.HealthChecks())
}

// PlanText is the plan of a kind that leaves the primary region, for a person.
func (c *Config) PlanText(kind failover.ExecKind) (string, error) {
	settings := c.Settings()
	p, err := plan.DeriveKind(&settings, c.Primary, kind)
	if err != nil {
		return "", err
	}
	return plan.Render(&p, actions.NeedsOf(&p)), nil
}

// LeaseTerms are the numbers of the lease protocol.
func (c *Config) LeaseTerms() failover.LeaseTerms {
	l := c.Lease
	return failover.LeaseTerms{
		Length: l.Length, Renew: l.Renew, RhoPPM: int(l.ClockError), Margin: l.Margin, EffectTail: l.EffectTail,
		Stop: failover.StopBudget{Watchdog: l.Stop.Watchdog, Grace: l.Stop.Grace, Kill: l.Stop.Kill, Safety: l.Stop.Safety},
	}
}

// ComponentNames are the components' names, sorted.
func (c *Config) ComponentNames() []failover.Component {
	return slices.Sorted(maps.Keys(c.Component))
}

func (c *Config) componentSpec(name failover.Component, p *Part) failover.ComponentSpec {
	spec := failover.ComponentSpec{
		Name: name, After: slices.Clone(p.After), Agent: p.Agent, Arming: p.Arming, OnIsolation: p.OnIsolation,
		Checks: c.checkSpecs(p.Check), LongestWork: p.LongestWork,
	}
	if p.Stop != nil {
		spec.Stop = &failover.StopSpec{Proof: slices.Clone(p.Stop.Proof)}
		if a := c.actionSpecs(p.Stop.Kinds, p.Stop.Common); len(a) > 0 {
			spec.Stop.Action, spec.Stop.Also = &a[0], a[1:]
		}
	}
	if p.Start != nil {
		if a := c.actionSpecs(p.Start.Kinds, p.Start.Common); len(a) == 1 {
			spec.Start = &a[0]
			spec.Start.Prepare = p.Start.Prepare
			spec.Brings = c.bringSpec(p.Start)
		}
	}
	return spec
}

// bringSpec is what a start does in a switchover; nil where that is nothing else.
func (c *Config) bringSpec(p *Start) *failover.BringSpec {
	for _, k := range kindsOf[actions.Config](p.Kinds) {
		b, ok := k.Config.(interface {
			Bringing() (dump, start actions.Config)
		})
		if !ok {
			continue
		}
		if dump, start := b.Bringing(); dump != nil {
			// What is asked and checked around the start is asked and checked once, around it.
			return &failover.BringSpec{
				Dump:  c.actionSpec(kind[actions.Config]{Name: actions.KindName(dump), Config: dump}, Common{Timeout: p.Timeout}),
				Start: c.actionSpec(kind[actions.Config]{Name: k.Name, Config: start}, p.Common),
			}
		}
	}
	return nil
}

func (c *Config) actionSpecs(kinds actions.Kinds, common Common) []failover.ActionSpec {
	var out []failover.ActionSpec
	for _, k := range kindsOf[actions.Config](kinds) {
		out = append(out, c.actionSpec(k, common))
	}
	return out
}

// actionSpec is one kind with what is said of every kind beside it.
func (c *Config) actionSpec(k kind[actions.Config], common Common) failover.ActionSpec {
	spec := failover.ActionSpec{
		Kind: k.Name, Version: k.Config.Version(), Params: params(c, k.Config),
		Timeout: common.Timeout, Approval: common.Ask, Irreversible: common.Irreversible, OnError: common.OnError,
		Retries: common.Retries, Require: c.checkParams(common.Require), Verify: c.checkParams(common.Verify),
	}
	if _, ok := k.Config.(interface{ HoldsToken() }); ok {
		spec.Tokens = true
	}
	if _, ok := k.Config.(interface{ Latches() }); ok {
		spec.Latched = true
	}
	if _, ok := k.Config.(interface{ Stands() }); ok {
		spec.Stands = true
	}
	if o, ok := k.Config.(actions.Overriding); ok {
		spec.Overrides = o.Overrides()
	}
	if _, ok := k.Config.(actions.Keyed); ok {
		spec.Keys = true
	}
	if l, ok := k.Config.(interface{ Lasting() (asks bool) }); ok { // its own default, which the plan's words only add to
		spec.Irreversible = true
		spec.Approval = spec.Approval || l.Lasting()
	}
	if e, ok := k.Config.(interface{ Evidence() failover.EvidenceClass }); ok {
		spec.Proves = e.Evidence()
	}
	if o, ok := k.Config.(interface {
		Opening(failover.Region) actions.Config
	}); ok {
		spec.Opens = map[failover.Region]json.RawMessage{}
		for _, r := range c.Regions() {
			if open := o.Opening(r); open != nil {
				spec.Opens[r] = params(c, open)[r]
			}
		}
	}
	if spec.Timeout == 0 {
		spec.Timeout = failover.Duration(k.Config.Timeout())
	}
	if t, ok := k.Config.(interface{ Tries() int }); ok && spec.Retries == 0 {
		spec.Retries = t.Tries()
	}
	return spec
}

func (c *Config) checkParams(kinds probes.CheckKinds) []failover.CheckParams {
	var out []failover.CheckParams
	for _, k := range kindsOf[probes.CheckConfig](kinds) {
		out = append(out, failover.CheckParams{Kind: k.Name, Version: probes.CheckVersion, Params: params(c, k.Config)})
	}
	return out
}

func (c *Config) checkSpecs(kinds probes.CheckKinds) []failover.ActionSpec {
	var out []failover.ActionSpec
	for _, k := range kindsOf[probes.CheckConfig](kinds) {
		out = append(out, failover.ActionSpec{
			Kind: k.Name, Version: probes.CheckVersion, Params: params(c, k.Config), Timeout: failover.Duration(k.Config.Within()),
		})
	}
	return out
}

// params resolves a kind's configuration for both regions. {node} stays: who
// leads when the step runs is not known yet.
func params[C any](c *Config, cfg C) map[failover.Region]json.RawMessage {
	out := map[failover.Region]json.RawMessage{}
	for _, r := range c.Regions() {
		b, err := json.Marshal(fill(cfg, r, ""))
		if err != nil {
			panic("config: a kind's parameters cannot be marshalled: " + err.Error()) // plain values only
		}
		out[r] = b
	}
	return out
}

// FillNode replaces {node} in parameters that a plan holds.
func FillNode(params json.RawMessage, node failover.NodeID) json.RawMessage {
	return json.RawMessage(strings.ReplaceAll(string(params), "{node}", string(node)))
}

// Hash identifies what the file says of the cluster: all of it but what each node
// has on its own machine. Comments and order do not matter.
func (c *Config) Hash() string {
	whole := struct {
		Settings  failover.Settings
		Probes    []probes.Spec
		Resolvers []string
		SelfCheck SelfCheck
		Raft      Raft
		AWS       failover.Duration
		Roles     Roles
		Slack     *Slack
	}{c.Settings(), c.ProbeSpecs("{node}"), c.Probes.Resolvers, c.SelfCheck, c.Raft, c.AWS.Timeout, c.AWS.Roles, nil}
	if c.Slack != nil {
		whole.Slack = &Slack{Channel: c.Slack.Channel, Team: c.Slack.Team, Approvers: c.Slack.Approvers}
	}
	b, err := json.Marshal(whole)
	if err != nil {
		panic("config: a configuration cannot be marshalled: " + err.Error()) // plain values only
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// WithLocal returns the configuration of the cluster with what the node's own
// file says of its machine: [node], [tls], the endpoints of [aws] and where the
// tokens of [slack] are.
func (c *Config) WithLocal(own *Config) *Config {
	out := *c
	out.Local, out.TLS, out.AWS.Endpoints = own.Local, own.TLS, own.AWS.Endpoints
	if c.Slack != nil && own.Slack != nil {
		slack := *c.Slack
		slack.BotTokenFile, slack.AppTokenFile, slack.APIURL = own.Slack.BotTokenFile, own.Slack.AppTokenFile, own.Slack.APIURL
		out.Slack = &slack
	}
	return &out
}

// ProbeSpecs are the signals that a node watches: every way in which every
// component is seen, in both regions. They are sorted by component, kind and
// region.
func (c *Config) ProbeSpecs(node failover.NodeID) []probes.Spec {
	var out []probes.Spec
	at := c.Nodes[node] // none for a stranger, for whom every signal stands
	for _, name := range c.ComponentNames() {
		see := c.Component[name].See
		t := c.timing(see.Timing)
		for _, k := range kindsOf[probes.Config](see.Kinds) {
			for _, r := range c.Regions() {
				if m, ok := k.Config.(*probes.MongoConfig); ok && len(m.Members[r]) == 0 {
					continue
				}
				if s, ok := k.Config.(probes.Placed); ok && at.Region != "" && !s.SeenFrom(at.Region, r) {
					continue
				}
				out = append(out, probes.Spec{
					Component: name, Region: r, Kind: k.Name, Config: fill(k.Config, r, node), Interval: t.Interval.D(),
					Timeout: probes.TimeoutFor(k.Config, t.Timeout.D()), Window: t.Window, Down: t.Down,
				})
			}
		}
	}
	return out
}

// LookAge is how old the newest look of a node at a component may be while its probes work.
func (c *Config) LookAge(name failover.Component) time.Duration {
	t := c.timing(c.Component[name].See.Timing)
	age := t.Interval.D() + t.Timeout.D()
	for _, k := range kindsOf[probes.Config](c.Component[name].See.Kinds) {
		age = max(age, t.Interval.D()+probes.TimeoutFor(k.Config, t.Timeout.D()))
	}
	return age
}

// timing completes a component's timing with the file's defaults.
func (c *Config) timing(t Timing) Timing {
	d := c.Probes.Timing
	if t.Interval != 0 {
		d.Interval = t.Interval
	}
	if t.Timeout != 0 {
		d.Timeout = t.Timeout
	}
	if t.Window != 0 {
		d.Window = t.Window
	}
	if t.Down != 0 {
		d.Down = t.Down
	}
	return d
}

// UsesAWS reports whether any kind that is set calls an AWS API, so that
// credentials are needed.
func (c *Config) UsesAWS() bool {
	if len(c.permissions()) > 0 {
		return true
	}
	// Some calls need credentials and no permission.
	signs := func(kinds actions.Kinds) bool { return kinds.Kubernetes != nil && kinds.Kubernetes.EKS != "" }
	for _, p := range c.Component {
		if p.See.AWSAPI != nil || p.Check.Pods != nil && p.Check.Pods.EKS != "" || p.Stop != nil && signs(p.Stop.Kinds) || p.Start != nil && signs(p.Start.Kinds) {
			return true
		}
	}
	return false
}

// ThisNode is what one node needs to know of itself.
type ThisNode struct {
	ID      failover.NodeID
	Vantage failover.Region
	Address string // host:port of its mTLS port
	// Index is the node's place among all nodes by name; it staggers probes.
	Index int
	Local
	TLS TLS
}

// ForNode resolves the node's own settings.
func (c *Config) ForNode(id failover.NodeID) (ThisNode, error) {
	n, ok := c.Nodes[id]
	if !ok {
		names := slices.Sorted(maps.Keys(c.Nodes))
		if id == "" {
			return ThisNode{}, fmt.Errorf("this node has no name: set FAILOVERD_NODE or --node to one of %v", names)
		}
		return ThisNode{}, fmt.Errorf("node %q is not in [nodes]: set FAILOVERD_NODE or --node to one of %v", id, names)
	}
	return ThisNode{
		ID: id, Vantage: n.Region, Address: n.Address, Index: slices.Index(slices.Sorted(maps.Keys(c.Nodes)), id),
		Local: fill(c.Local, n.Region, id), TLS: fill(c.TLS, n.Region, id),
	}, nil
}
