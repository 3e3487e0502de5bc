// Package config reads the configuration file into typed values.
//
// It is strict: an unknown key, a missing safety setting and a number that
// cannot work are refused, all of them at once, each with its line. The result
// never changes after Load and may be shared between goroutines.
package config

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/probes"
)

// Config is the whole file. It is identical on every node.
type Config struct {
	Service   string                       `toml:"service"`
	Primary   failover.Region              `toml:"primary"`
	Secondary failover.Region              `toml:"secondary"`
	Policy    Policy                       `toml:"policy"`
	Lease     Lease                        `toml:"lease"`
	Raft      Raft                         `toml:"raft"`
	Nodes     map[failover.NodeID]Node     `toml:"nodes"`
	Local     Local                        `toml:"node"`
	TLS       TLS                          `toml:"tls"`
	SelfCheck SelfCheck                    `toml:"self_check"`
	Probes    Probes                       `toml:"probes"`
	AWS       AWS                          `toml:"aws"`
	Component map[failover.Component]*Part `toml:"component"`
	Traffic   Traffic                      `toml:"traffic"`
	Slack     *Slack                       `toml:"slack"` // nil: nobody is told by Slack

	// Warnings are advice that does not stop anything.
	Warnings Errors
	// Source is the file's text.
	Source string
}

// Policy is [policy]. Every key must be written unless it says otherwise.
type Policy struct {
	Mode      failover.Mode     `toml:"mode"`
	Hold      failover.Duration `toml:"hold"`
	VoteTTL   failover.Duration `toml:"vote_ttl"`
	Ask       Ask               `toml:"ask"`
	Cooldown  failover.Duration `toml:"cooldown"`
	MaxPerDay int               `toml:"max_per_day"`
	// PrepareAfter is how long the vantages must agree before steps marked prepare
	// begin and people are told. It may be left out.
	PrepareAfter failover.Duration `toml:"prepare_after"`
	// MaxLoss is the largest loss of data per component that automation accepts.
	MaxLoss map[string]failover.Duration `toml:"max_loss"`
	// MaxShrink is the share of an inventory, in percent, that may be missing. It
	// may be left out.
	MaxShrink int `toml:"max_shrink"`
	// TwoNodes wants orders that make something happen through two nodes. It may be
	// left out.
	TwoNodes bool `toml:"two_nodes"`
}

// Ask is what happens to a question that nobody answers.
type Ask struct {
	Wait failover.Duration `toml:"wait"`
	Then string            `toml:"then"` // "hold" or "proceed"
}

// Lease is [lease]. Every key must be written.
type Lease struct {
	Length     failover.Duration `toml:"length"`
	Renew      failover.Duration `toml:"renew"`
	ClockError PPM               `toml:"clock_error"` // bound on any clock's rate error
	Margin     failover.Duration `toml:"margin"`
	EffectTail failover.Duration `toml:"effect_tail"`
	Stop       StopBudget        `toml:"stop"`
}

// StopBudget is how long stopping a worker takes.
type StopBudget struct {
	// Watchdog is that of agents that run a systemd unit; see failover.StopBudget.
	// It may be left out.
	Watchdog failover.Duration `toml:"watchdog"`
	Grace    failover.Duration `toml:"grace"`
	Kill     failover.Duration `toml:"kill"`
	Safety   failover.Duration `toml:"safety"`
}

// Raft is [raft]: a profile, and timers of one's own in place of the profile's.
type Raft struct {
	Profile     string            `toml:"profile"` // "default" or "fast"; see profiles
	Heartbeat   failover.Duration `toml:"heartbeat"`
	Election    failover.Duration `toml:"election"`
	LeaderLease failover.Duration `toml:"leader_lease"`
	Commit      failover.Duration `toml:"commit"`
}

// Node is one voter of the cluster.
type Node struct {
	Region  failover.Region `toml:"region"` // its vantage
	Address string          `toml:"address"`
}

// Local is [node]: what each node has on its own machine. {node} is filled in
// by ForNode.
type Local struct {
	Data   string `toml:"data"`   // directory of the log
	Socket string `toml:"socket"` // path of the admin socket
	Web    string `toml:"web"`    // host:port of metrics and status; "" for none
	Gate   string `toml:"gate"`   // host:port that serves the gate alone, for health checks from outside; "" for none
}

// TLS is [tls]: paths of the certificates. {node} is filled in by ForNode.
type TLS struct {
	CA   string `toml:"ca"`
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
}

// SelfCheck is [self_check]: references that share no fate with either region.
type SelfCheck struct {
	URLs     []string          `toml:"urls"`
	Interval failover.Duration `toml:"interval"`
	Timeout  failover.Duration `toml:"timeout"`
}

// Timing is how a signal is watched. Zero values take the file's defaults.
type Timing struct {
	Interval failover.Duration `toml:"interval"`
	Timeout  failover.Duration `toml:"timeout"`
	Window   int               `toml:"window"`
	Down     int               `toml:"down"`
}

// Probes is [probes]: the defaults of every signal.
type Probes struct {
	Timing
	Resolvers []string `toml:"resolvers"` // ip:port; empty: the host's own
}

// AWS is [aws].
type AWS struct {
	Timeout   failover.Duration `toml:"timeout"` // of one attempt of one call
	Endpoints map[string]string `toml:"endpoints"`
	Roles     Roles             `toml:"roles"`
}

// Roles are the IAM roles that a node takes on: one to look, one to act.
type Roles struct {
	Observe string `toml:"observe"` // ARN; "": the node's own credentials
	Act     string `toml:"act"`     // ARN; "": as it looks
}

// Part is one component.
type Part struct {
	Strategy    string               `toml:"strategy"`
	After       []failover.Component `toml:"after"`
	Agent       bool                 `toml:"agent"`
	Arming      failover.Arming      `toml:"arming"`
	OnIsolation string               `toml:"on_isolation"`
	// LongestWork is how long a piece of work may go on after the component was
	// told to stop, where no lease bounds it.
	LongestWork failover.Duration `toml:"longest_work"`
	See         See               `toml:"see"`
	Stop        *Stop             `toml:"stop"`
	Start       *Start            `toml:"start"`
	Check       probes.CheckKinds `toml:"check"`
}

// See is how a component is seen: each kind is one signal.
type See struct {
	probes.Kinds
	Timing
}

// Common are the keys that every action may have beside its kind.
type Common struct {
	Timeout failover.Duration `toml:"timeout"`
	// Ask asks a person before the step starts.
	Ask bool `toml:"ask"`
	// OnError is "halt" (default) or "continue".
	OnError string `toml:"on_error"`
	// Irreversible marks a step that cannot be undone.
	Irreversible bool `toml:"irreversible"`
	// Retries bounds how often the action is tried again. Zero: as often as the
	// time-out allows.
	Retries int `toml:"retries"`
	// Require are checks that must pass before the action is tried, Verify are
	// checks that must pass after it.
	Require probes.CheckKinds `toml:"require"`
	Verify  probes.CheckKinds `toml:"verify"`
}

// Stop is how a component is stopped: its levels, all tried at once, and what
// proves it.
type Stop struct {
	actions.Kinds
	Common
	Proof []failover.EvidenceClass `toml:"proof"`
}

// Start is how a component is started: one kind.
type Start struct {
	actions.Kinds
	Common
	// Prepare lets it begin before the fence, while the failure is only suspected.
	Prepare bool `toml:"prepare"`
}

// Traffic is how clients are moved.
type Traffic struct {
	After []failover.Component `toml:"after"`
	// What switches take that do not say it themselves: actions.Shared.
	Zone   string            `toml:"zone"`
	Names  []string          `toml:"names"`
	SameAs string            `toml:"same_as"`
	Switch Switch            `toml:"switch"`
	Check  probes.CheckKinds `toml:"check"`
}

// Switch holds one or more kinds. They are tried side by side.
type Switch struct {
	actions.Kinds
	Common
}

// share gives the switches what [traffic] says for all of them.
func (t *Traffic) share() {
	for _, k := range kindsOf[actions.Config](t.Switch.Kinds) {
		if c, ok := k.Config.(actions.Inheritor); ok {
			c.Inherit(actions.Shared{Zone: t.Zone, Names: t.Names, SameAs: t.SameAs})
		}
	}
}

// share gives a promotion what the probe says of the members, and the write behind it what the promotion says.
func (p *Part) share() {
	if p.Start == nil || p.Start.MongoPromote == nil {
		return
	}
	m := p.Start.MongoPromote
	if see := p.See.Mongo; see != nil {
		m.ReplicaSet = cmp.Or(m.ReplicaSet, see.ReplicaSet)
		if len(m.Members) == 0 {
			m.Members = see.Members
		}
		m.TLS, m.CAFile = m.TLS || see.TLS, cmp.Or(m.CAFile, see.CAFile)
		if m.Username == "" && m.PasswordFile == "" {
			m.Username, m.PasswordFile = see.Username, see.PasswordFile
		}
	}
	for _, kinds := range []probes.CheckKinds{p.Start.Require, p.Start.Verify, p.Check} {
		w := kinds.MongoWrite
		if w == nil {
			continue
		}
		w.ReplicaSet = cmp.Or(w.ReplicaSet, m.ReplicaSet)
		if len(w.Members) == 0 {
			w.Members = m.Members
		}
		w.TLS, w.CAFile = w.TLS || m.TLS, cmp.Or(w.CAFile, m.CAFile)
		if w.Username == "" && w.PasswordFile == "" {
			w.Username, w.PasswordFile = m.Username, m.PasswordFile
		}
	}
}

// shareServers gives the checks of MariaDB what the probe says of the servers.
func (p *Part) shareServers() {
	if p.See.MySQL == nil {
		return
	}
	all := []probes.CheckKinds{p.Check}
	if p.Start != nil {
		all = append(all, p.Start.Require, p.Start.Verify)
	}
	for _, kinds := range all {
		if kinds.MySQL != nil {
			kinds.MySQL.Inherit(p.See.MySQL)
		}
	}
}

// Load reads and checks a file. The error is of type Errors unless the file
// cannot be read.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return Parse(filepath.Base(path), data)
}

// Parse checks a file's content. The name is used in messages.
func Parse(name string, data []byte) (*Config, error) {
	d := &decoder{file: name}
	tree := d.parse(data)
	if tree == nil {
		return nil, d.errors
	}
	c := defaults()
	d.table("", tree, reflect.ValueOf(c).Elem())
	// What could not be decoded stands at its zero value; complaining about
	// that as well would hide the mistake.
	c.Raft.complete(d.pos.has)
	c.Traffic.share()
	for _, p := range c.Component {
		p.share()
		p.shareServers()
	}
	v := &validator{decoder: d, c: c, broken: d.errors.paths()}
	v.all()
	if len(d.errors) > 0 {
		return nil, d.errors.sorted()
	}
	c.Warnings, c.Source = v.warnings.sorted(), string(data)
	return c, nil
}

// defaults are the settings that may be left out. None of them decides what
// failoverd may do.
func defaults() *Config {
	const ms, s = failover.Duration(1e6), failover.Duration(1e9)
	return &Config{
		Policy:    Policy{PrepareAfter: 30 * s, MaxShrink: failover.DefaultMaxShrink},
		Raft:      Raft{Profile: "default"},
		Local:     Local{Data: "/var/lib/failoverd", Socket: "/run/failoverd/admin.sock", Web: "127.0.0.1:7780"},
		SelfCheck: SelfCheck{Interval: 2 * s, Timeout: s},
		Probes:    Probes{Timing: Timing{Interval: s, Timeout: s, Window: 5, Down: 3}},
		AWS:       AWS{Timeout: 5 * s},
	}
}
