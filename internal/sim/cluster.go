// Package sim runs whole clusters in a bubble of fake time: real
// hashicorp/raft, the real core of the daemon, real agents, over a network and a
// world that are simulated and full of faults. A run is judged by package
// oracle, from the world's record.
//
// Raft in a bubble is not step-for-step repeatable: a seed gives the same
// schedule of faults, not the same interleaving. A failing seed fails often, not
// always.
package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/daemon"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

// bubbleStart is when time begins in every bubble.
var bubbleStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// host is one node's machine: what survives a crash, and the process if it runs.
type host struct {
	id    string
	addr  raft.ServerAddress
	site  string
	disk  *disk
	label string      // of the disk
	lost  atomic.Bool // its disk is gone, and the machine came back with an empty one
	off   atomic.Bool // nobody starts it
	// lies is how the node, which is stolen, answers agents; nil: as it should.
	lies     atomic.Pointer[func(ctx context.Context, core *daemon.Core, a fence.Ask) (fence.Answer, error)]
	snaps    raft.SnapshotStore
	starts   uint64
	gate     *consensus.Gatekeeper // what it knows of the others; it outlives processes, as its file does
	own      *failover.Settings    // of its own file; nil: it is everybody's
	said     atomic.Bool           // its gate says that the primary is to be left
	turning  sync.Mutex            // guards turned
	turned   uint64                // the index of what its gate says
	features int                   // the feature level that its version understands

	mu      sync.Mutex
	core    *daemon.Core
	node    *consensus.Node
	handle  *handle
	trans   *transport
	cancel  context.CancelFunc
	done    chan struct{}
	boot    string // of the process
	booting bool   // a process is being made
}

func (h *host) live() *daemon.Core {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.core
}

// cluster is all hosts and what is between them.
type cluster struct {
	net      *network
	world    *world
	hosts    map[string]*host
	names    []string
	settings failover.Settings
	timers   consensus.Timers
	log      *slog.Logger
	fatal    func(error)
	ctx      context.Context        // of the whole run
	over     atomic.Bool            // nothing is started any more
	together bool                   // nodes probe at the same moments instead of one after another
	sees     []failover.SignalState // component and kind of what every node probes
	seam     seam                   // nil but where a test aims at points

	rules oracle.Rules // by which the run is judged

	mu     sync.Mutex
	rng    *rand.Rand   // for what is made later
	ending []func()     // of the faults that have not ended
	cells  map[cell]int // faults by the phase in which they were played

	applying    sync.Mutex
	seen        uint64          // newest index that any node has applied
	preparation uint64          // the newest
	burning     map[uint64]bool // tokens: whether they only burn earlier ones
}

// simTimers are those of the default profile, but for the commit time-out: the
// idle exchange is most of a run's work.
var simTimers = consensus.Timers{
	Heartbeat: 500 * time.Millisecond, Election: 500 * time.Millisecond, LeaderLease: 400 * time.Millisecond, Commit: 100 * time.Millisecond,
}

func dur(d time.Duration) failover.Duration { return failover.Duration(d) }

// settings are those of the example, with the simulated kinds.
func settings(mode failover.Mode, prepare bool) failover.Settings {
	params := map[failover.Region]json.RawMessage{east1: json.RawMessage(`{}`), east2: json.RawMessage(`{}`)}
	act := func(kind string, timeout time.Duration) failover.ActionSpec {
		return failover.ActionSpec{Kind: kind, Version: 1, Params: params, Timeout: dur(timeout)}
	}
	stop, start := act("stop", 30*time.Second), act("start", 5*time.Minute)
	start.Prepare = prepare
	flip := act("switch", 10*time.Minute)
	flip.Tokens, flip.Latched = true, true
	return failover.Settings{
		Service: "messaging", Primary: east1, Secondary: east2,
		Policy: failover.Policy{
			Mode: mode, Hold: dur(90 * time.Second), VoteTTL: dur(5 * time.Second), Cooldown: dur(time.Hour), MaxPerDay: 2, PrepareAfter: dur(30 * time.Second),
			Ask: failover.AskPolicy{Wait: dur(2 * time.Minute), Then: "hold"},
			Lease: failover.LeaseTerms{
				Length: dur(75 * time.Second), Renew: dur(5 * time.Second), RhoPPM: 10_000, Margin: dur(2 * time.Second), EffectTail: dur(3 * time.Second),
				Stop: failover.StopBudget{Grace: dur(8 * time.Second), Kill: dur(time.Second), Safety: dur(3 * time.Second)},
			},
		},
		Nodes: map[failover.NodeID]failover.NodeSpec{
			"use1a": {Vantage: east1}, "use1b": {Vantage: east1}, "use2a": {Vantage: east2}, "use2b": {Vantage: east2}, "third": {Vantage: thirdLoc},
		},
		Components: []failover.ComponentSpec{{
			Name: "workers", Agent: true, Arming: failover.ArmEnforced, OnIsolation: "stop",
			Stop:   &failover.StopSpec{Action: &stop, Proof: []failover.EvidenceClass{failover.Confirmed, failover.Lease}},
			Start:  &start,
			Checks: []failover.ActionSpec{act("check", 5*time.Minute)},
		}},
		Traffic: failover.TrafficSpec{Switch: []failover.ActionSpec{flip}, After: []failover.Component{"workers"}},
	}
}

// boot starts a host's process.
func (c *cluster) boot(ctx context.Context, h *host) error {
	h.mu.Lock()
	if h.core != nil || h.booting {
		h.mu.Unlock()
		return nil
	}
	h.booting = true
	h.starts++
	boot := consensus.NewID()
	h.handle = h.disk.open()
	onApply := func(res failover.Result, cmd failover.Command) { c.applied(h, res, cmd) }
	if c.seam != nil {
		handle := h.handle
		h.handle.store = func(ls []*raft.Log, write func() error) error { return c.seam.store(h, handle, ls, write) }
		onApply = func(res failover.Result, cmd failover.Command) {
			c.applied(h, res, cmd)
			c.seam.applied(h, handle, res, cmd)
		}
	}
	_, inmem := raft.NewInmemTransportWithTimeout(h.addr, rpcTimeout)
	h.trans = &transport{InmemTransport: inmem, net: c.net, self: h.id, greets: func(other string) error { return greet(h, c.hosts[other]) }}
	if err := h.greeter(boot, c.log); err != nil {
		h.booting = false
		h.mu.Unlock()
		return err
	}
	for _, name := range c.names {
		other := c.hosts[name]
		if other == h {
			continue
		}
		// Hosts that are down are connected when they boot.
		if other.mu.TryLock() {
			if other.trans != nil {
				h.trans.Connect(other.addr, other.trans.InmemTransport)
				other.trans.Connect(h.addr, h.trans.InmemTransport)
			}
			other.mu.Unlock()
		}
	}
	trans, handle, gate := h.trans, h.handle, h.gate
	h.mu.Unlock()
	// What is opened writes to a disk that may be slow: whoever asks for the host
	// meanwhile must not wait.
	node, eyes, peers, err := c.open(ctx, h, boot, trans, handle, onApply)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.booting = false
	if err != nil {
		h.starts-- // one that was refused is none
		return err
	}
	h.boot = boot
	h.node = node
	file, hash := c.settings, "cfg"
	if h.own != nil {
		file, hash = *h.own, "own"
	}
	h.core = daemon.NewCore(daemon.CoreConfig{
		ID: failover.NodeID(h.id), Vantage: failover.Region(h.site), Settings: file, ConfigHash: hash,
		Record:   failover.NodeRecord{Vantage: failover.Region(h.site), Version: "sim", Features: h.features, ConfigHash: hash, Disk: h.label, Starts: h.starts, Boot: boot},
		Verdicts: eyes.Verdicts, Changed: eyes.Changed(), Peers: peers, Signer: badge("node " + h.id), World: nodeWorld{c.world, h},
		Exec:  actions.Options{CallTimeout: 10 * time.Second, Poll: time.Second, Settle: 2 * time.Second},
		Fatal: c.died(h, boot), Log: c.log,
	}, node)
	c.world.note(oracle.NodeUp, h.site, h.id, "")
	hctx, cancel := context.WithCancel(ctx)
	h.cancel, h.done = cancel, make(chan struct{})
	core, done, die := h.core, h.done, c.died(h, boot)
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		wg.Go(func() { core.Run(hctx) })
		wg.Go(func() { eyes.Run(hctx) })
		wg.Go(func() { daemon.Learn(hctx, node, gate, die) })
		wg.Go(func() {
			daemon.Newcomer{Node: node, Gate: gate, Others: peers, Nodes: c.settings.Nodes, Die: die, Log: c.log}.Join(hctx)
		})
		wg.Wait()
	}()
	return nil
}

// crash ends a host's process; its disk stays.
func (c *cluster) crash(h *host) {
	h.mu.Lock()
	if h.core == nil {
		h.mu.Unlock()
		return
	}
	node, trans, cancel, done, disk := h.node, h.trans, h.cancel, h.done, h.handle
	h.core, h.node, h.trans = nil, nil, nil
	h.mu.Unlock()
	c.world.note(oracle.NodeDown, h.site, h.id, "")
	for _, name := range c.names {
		if other := c.hosts[name]; other != h {
			other.mu.Lock()
			if other.trans != nil {
				other.trans.Disconnect(h.addr)
			}
			other.mu.Unlock()
		}
	}
	disk.dead.Store(true)
	cancel()
	trans.DisconnectAll()
	c.net.unpause(h.id)
	// A crash waits for nobody; what hangs ends with the fault that made it hang.
	c.world.wg.Go(func() {
		_ = node.Close()
		<-done
	})
}

// leader is the host that leads, or nil.
func (c *cluster) leader() *host {
	for _, name := range c.names {
		if core := c.hosts[name].live(); core != nil && core.Leads() {
			return c.hosts[name]
		}
	}
	return nil
}

// newest is the newest state that any live node has applied.
func (c *cluster) newest() *failover.State {
	var best *failover.State
	for _, name := range c.names {
		if core := c.hosts[name].live(); core != nil {
			if s := core.Node().State(); best == nil || s.Index > best.Index {
				best = s
			}
		}
	}
	return best
}

// nodeWorld is the world as one node reaches it.
type nodeWorld struct {
	*world
	host *host
}

func (n nodeWorld) Action(st failover.Step) (actions.Action, error) {
	epoch := uint64(0)
	if core := n.host.live(); core != nil {
		epoch = core.Node().State().Epoch
	}
	return n.world.Action(n.host.id, st, epoch)
}

// newCluster makes everything and starts nothing.
func newCluster(ctx context.Context, rng *rand.Rand, mode failover.Mode, prepare bool, log *slog.Logger, fatal func(error)) *cluster {
	return clusterThatSees(newClusterOf(ctx, rng, settings(mode, prepare), log, fatal))
}

// severalSwitches adds the gate and the object to the one switch of settings.
func severalSwitches(s failover.Settings) failover.Settings {
	object, gate := s.Traffic.Switch[0], s.Traffic.Switch[0]
	object.Kind = "s3_object"
	gate.Kind, gate.Tokens, gate.Latched = "gate", false, false
	s.Traffic.Switch = []failover.ActionSpec{gate, object, s.Traffic.Switch[0]}
	return s
}

// withDatabase adds the database that the workers wait for: a failover restores it.
func withDatabase(s failover.Settings) failover.Settings {
	start := failover.ActionSpec{Kind: restoreKind, Version: 1, Params: s.Traffic.Switch[0].Params, Timeout: dur(10 * time.Minute), Tokens: true, Overrides: []string{"small"}}
	s.Components = append([]failover.ComponentSpec{{Name: "mariadb", Start: &start}}, s.Components...)
	workers := &s.Components[1]
	workers.After = append(workers.After, "mariadb")
	return s
}

func clusterThatSees(c *cluster) *cluster {
	for _, kind := range []string{"http", "mongo", "sqs"} {
		c.sees = append(c.sees, failover.SignalState{Component: "workers", Kind: kind})
	}
	return c
}

// newClusterOf is newCluster with settings of its own; its nodes see nothing yet.
func newClusterOf(ctx context.Context, rng *rand.Rand, settings failover.Settings, log *slog.Logger, fatal func(error)) *cluster {
	// Each draws under a lock of its own, hence from a source of its own.
	own := func() *rand.Rand { return rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64())) } //nolint:gosec // a seed gives the schedule again
	c := &cluster{rng: own(), timers: simTimers, ctx: ctx, cells: map[cell]int{}, burning: map[uint64]bool{}, net: newNetwork(own()), hosts: map[string]*host{}, settings: settings, log: log, fatal: fatal}
	c.world = &world{
		rng: own(), net: c.net, desired: map[string]int{east1: fleetSize, east2: 0}, since: map[string]time.Time{}, fleet: map[string][]*task{}, levers: map[string]*lever{}, data: map[string]*database{},
		dead: map[string]bool{}, sights: newSights(), stuck: map[string]chan struct{}{}, aimed: map[string]bool{}, struck: map[string]int{}, parks: map[string]chan struct{}{}, late: 500 * time.Millisecond, ctx: ctx, terms: c.settings.Policy.Lease, ask: c.ask, log: log,
	}
	for id, spec := range c.settings.Nodes {
		if spec.Address == "" {
			spec.Address = string(id)
			c.settings.Nodes[id] = spec
		}
		c.addHost(string(id), spec)
	}
	// A machine that nobody has told of the cluster, for a node that takes another's place.
	c.addHost(spareNode, failover.NodeSpec{Vantage: east2, Address: spareNode + ":7700"})
	c.hosts[spareNode].off.Store(true)
	slices.Sort(c.names)
	if slices.ContainsFunc(settings.Traffic.Switch, func(a failover.ActionSpec) bool { return a.Kind == "gate" }) {
		c.world.flipped = c.flipped
	}
	return c
}

// flipped reports whether two living nodes say that the primary is to be left.
func (c *cluster) flipped() bool {
	n := 0
	for _, name := range c.names {
		h := c.hosts[name]
		core := h.live()
		if core == nil {
			continue
		}
		s := core.Node().State()
		c.turn(h, s.Index, string(s.Traffic))
		if h.said.Load() {
			n++
		}
	}
	return n >= 2
}

// chance is a source of its own for one part of the cluster.
func (c *cluster) chance() *rand.Rand {
	c.mu.Lock()
	defer c.mu.Unlock()
	return rand.New(rand.NewPCG(c.rng.Uint64(), c.rng.Uint64())) //nolint:gosec // a seed gives the schedule again
}

// diverged names two nodes with different states at the same index, or "".
func (c *cluster) diverged() string {
	byIndex := map[uint64]string{}
	who := map[uint64]string{}
	for _, name := range c.names {
		core := c.hosts[name].live()
		if core == nil {
			continue
		}
		s := core.Node().State()
		b, err := s.Marshal()
		if err != nil {
			return name + ": " + err.Error()
		}
		if old, ok := byIndex[s.Index]; ok && old != string(b) {
			return fmt.Sprintf("%s and %s differ at index %d", who[s.Index], name, s.Index)
		}
		byIndex[s.Index], who[s.Index] = string(b), name
	}
	return ""
}
