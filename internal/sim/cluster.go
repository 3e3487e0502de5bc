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
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
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
	"github.com/failoverd/failoverd/monitor"
)

// bubbleStart is when time begins in every bubble.
var bubbleStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// host is one node's machine: what survives a crash, and the process if it runs.
type host struct {
	id     string
	site   string
	disk   *disk
	lost   bool // its disk is gone, and the machine stays out
	snaps  raft.SnapshotStore
	starts uint64
	said   atomic.Bool // its gate says that the primary is to be left

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

	mu          sync.Mutex
	rng         *rand.Rand   // for what is made later
	ending      []func()     // of the faults that have not ended
	cells       map[cell]int // faults by the phase in which they were played
	seen        uint64       // newest index that any node has applied
	preparation uint64       // the newest
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
	addr := raft.ServerAddress(h.id)
	_, inmem := raft.NewInmemTransportWithTimeout(addr, rpcTimeout)
	h.trans = &transport{InmemTransport: inmem, net: c.net, self: h.id}
	var voters []raft.Server
	for _, name := range c.names {
		voters = append(voters, raft.Server{ID: raft.ServerID(name), Address: raft.ServerAddress(name)})
		other := c.hosts[name]
		if other == h {
			continue
		}
		// Hosts that are down are connected when they boot.
		if other.mu.TryLock() {
			if other.trans != nil {
				h.trans.Connect(raft.ServerAddress(name), other.trans.InmemTransport)
				other.trans.Connect(addr, h.trans.InmemTransport)
			}
			other.mu.Unlock()
		}
	}
	trans := h.trans
	handle := h.handle
	h.mu.Unlock()
	// What is opened writes to a disk that may be slow: whoever asks for the host
	// meanwhile must not wait.
	node, eyes, peers, err := c.open(h, boot, trans, handle, voters, onApply)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.booting = false
	if err != nil {
		return err
	}
	h.boot = boot
	h.node = node
	h.core = daemon.NewCore(daemon.CoreConfig{
		ID: failover.NodeID(h.id), Vantage: failover.Region(h.site), Settings: c.settings, ConfigHash: "cfg",
		Record:   failover.NodeRecord{Vantage: failover.Region(h.site), Version: "sim", Features: failover.Features, ConfigHash: "cfg", Disk: "disk-" + h.id, Starts: h.starts, Boot: boot},
		Verdicts: eyes.Verdicts, Changed: eyes.Changed(), Peers: peers, World: nodeWorld{c.world, h.id},
		Exec:  actions.Options{CallTimeout: 10 * time.Second, Poll: time.Second, Settle: 2 * time.Second},
		Fatal: c.died(h, boot), Log: c.log,
	}, node)
	c.world.note(oracle.NodeUp, h.site, h.id, "")
	hctx, cancel := context.WithCancel(ctx)
	h.cancel, h.done = cancel, make(chan struct{})
	core, done := h.core, h.done
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		wg.Go(func() { core.Run(hctx) })
		wg.Go(func() { eyes.Run(hctx) })
		wg.Wait()
	}()
	return nil
}

// open opens the parts of a host's process.
func (c *cluster) open(h *host, boot string, trans *transport, disk *handle, voters []raft.Server, onApply func(failover.Result, failover.Command)) (*consensus.Node, *monitor.Monitor, *peers, error) {
	eyes, err := c.newMonitor(h, c.chance())
	if err != nil {
		return nil, nil, nil, err
	}
	peers := &peers{cluster: c, self: h.id}
	node, err := consensus.Open(consensus.Config{
		ID: failover.NodeID(h.id), Voters: voters,
		Timers:    c.timers,
		Transport: trans, Logs: disk, Stable: disk, Snapshots: h.snaps, Forwarder: peers, Log: c.log, Fatal: c.died(h, boot), OnApply: onApply,
	})
	return node, eyes, peers, err
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
				other.trans.Disconnect(raft.ServerAddress(h.id))
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

// died is called when a node must not go on: its process ends, and its service
// manager starts it again. A disk that hangs is a reason; everything else is a
// violation.
func (c *cluster) died(h *host, boot string) func(error) {
	return func(err error) {
		if !strings.Contains(err.Error(), "hangs") {
			c.fatal(err)
			return
		}
		c.world.note(oracle.Note, "", "node", "%s ends: %v", h.id, err)
		c.world.wg.Go(func() {
			h.mu.Lock()
			same := h.boot == boot && h.core != nil
			h.mu.Unlock()
			if same {
				c.crash(h)
			}
			sleep(2 * time.Second)
			c.start(c.ctx, h)
		})
	}
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
	node string
}

func (n nodeWorld) Action(st failover.Step) (actions.Action, error) {
	return n.world.Action(n.node, st)
}

// peers carries the nodes' requests over the simulated network.
type peers struct {
	cluster *cluster
	self    string
}

// to delivers a request and its reply.
func to[R any](ctx context.Context, p *peers, target failover.NodeID, call func(ctx context.Context, core *daemon.Core) (R, error)) (R, error) {
	var zero R
	if err := p.cluster.net.carry(ctx, p.self, string(target)); err != nil {
		return zero, err
	}
	core := p.cluster.hosts[string(target)].live()
	if core == nil {
		return zero, errors.New("connection refused")
	}
	r, err := call(ctx, core)
	if cerr := p.cluster.net.carry(ctx, string(target), p.self); cerr != nil {
		return zero, cerr
	}
	return r, err
}

func (p *peers) Forward(ctx context.Context, target failover.NodeID, prop consensus.Proposal) (consensus.Reply, error) {
	return to(ctx, p, target, func(ctx context.Context, c *daemon.Core) (consensus.Reply, error) {
		return c.TakeProposal(ctx, failover.NodeID(p.self), prop), nil
	})
}

func (p *peers) Ballot(ctx context.Context, target failover.NodeID, b failover.Ballot) error {
	_, err := to(ctx, p, target, func(_ context.Context, c *daemon.Core) (struct{}, error) {
		return struct{}{}, c.TakeBallot(failover.NodeID(p.self), b)
	})
	return err
}

func (p *peers) Ask(ctx context.Context, target failover.NodeID, a fence.Ask) (fence.Answer, error) {
	return to(ctx, p, target, func(ctx context.Context, c *daemon.Core) (fence.Answer, error) { return c.TakeAsk(ctx, a, true) })
}

func (p *peers) View(ctx context.Context, target failover.NodeID) (daemon.LeaderView, error) {
	return to(ctx, p, target, func(_ context.Context, c *daemon.Core) (daemon.LeaderView, error) { return c.LocalView() })
}

func (p *peers) Applied(ctx context.Context, target failover.NodeID) (uint64, error) {
	return to(ctx, p, target, func(_ context.Context, c *daemon.Core) (uint64, error) { return c.Node().State().Index, nil })
}

// ask is an agent's way to the nodes: those of its own site first.
func (c *cluster) ask(ctx context.Context, site string, a fence.Ask) (fence.Answer, error) {
	order := slices.Clone(c.names)
	slices.SortStableFunc(order, func(x, y string) int {
		near := func(n string) int {
			if c.hosts[n].site == site {
				return 0
			}
			return 1
		}
		return near(x) - near(y)
	})
	var last error
	for _, name := range order {
		cctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		ans, err := to(cctx, &peers{cluster: c, self: site}, failover.NodeID(name), func(ctx context.Context, core *daemon.Core) (fence.Answer, error) {
			return core.TakeAsk(ctx, a, false)
		})
		cancel()
		if err == nil {
			return ans, nil
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return fence.Answer{}, last
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
	c := &cluster{rng: own(), timers: simTimers, ctx: ctx, cells: map[cell]int{}, net: newNetwork(own()), hosts: map[string]*host{}, settings: settings, log: log, fatal: fatal}
	c.world = &world{
		rng: own(), net: c.net, desired: map[string]int{east1: fleetSize, east2: 0}, since: map[string]time.Time{}, fleet: map[string][]*task{}, levers: map[string]*lever{},
		dead: map[string]bool{}, sights: newSights(), stuck: map[string]chan struct{}{}, late: 500 * time.Millisecond, ctx: ctx, terms: c.settings.Policy.Lease, ask: c.ask, log: log,
	}
	for id, spec := range c.settings.Nodes {
		h := &host{id: string(id), site: string(spec.Vantage), disk: newDisk(), snaps: raft.NewInmemSnapshotStore()}
		c.hosts[h.id] = h
		c.names = append(c.names, h.id)
		c.net.siteOf[h.id] = h.site
	}
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
		if string(core.Node().State().Traffic) == east2 {
			c.says(h)
		}
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
