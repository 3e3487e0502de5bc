package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/internal/mtls"
	"github.com/failoverd/failoverd/internal/web"
	"github.com/failoverd/failoverd/monitor"
	"github.com/failoverd/failoverd/probes"
)

// stopTimeout bounds each step of the teardown.
const stopTimeout = 5 * time.Second

// Options are what `failoverd run` was told.
type Options struct {
	Config  *config.Config
	Node    failover.NodeID
	Version string
	Log     *slog.Logger
}

// Daemon is a whole node. New acquires everything, Run works, Stop gives
// everything back in reverse order.
type Daemon struct {
	opts     Options
	this     config.ThisNode
	material *mtls.Material
	core     *Core
	gate     *consensus.Gatekeeper
	peers    *peerServer
	calls    *caller
	monitor  *monitor.Monitor
	metrics  *web.Metrics
	log      *slog.Logger

	fatal    chan error
	run      []func(ctx context.Context)
	teardown []teardown
	stopOnce sync.Once
	stopErr  error
}

type teardown struct {
	name string
	fn   func() error
}

// New makes a node that listens and takes part in raft, but probes and decides
// nothing before Run. If anything fails, what was acquired is given back.
func New(ctx context.Context, o Options) (d *Daemon, err error) {
	d = &Daemon{opts: o, log: o.Log, fatal: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Stop())
			d = nil
		}
	}()
	return d, d.setup(ctx)
}

// setup is one straight line on purpose: the order in which things are acquired
// is the order in which they are given back, backwards.
func (d *Daemon) setup(ctx context.Context) error {
	cfg := d.opts.Config
	var err error
	if d.this, err = cfg.ForNode(d.opts.Node); err != nil {
		return err
	}
	d.log = d.log.With("node", d.this.ID)

	// Who we are, before anybody can speak to us.
	d.material, err = mtls.Load(mtls.Files{CA: d.this.TLS.CA, Cert: d.this.TLS.Cert, Key: d.this.TLS.Key})
	if err != nil {
		return err
	}
	id, err := d.material.Identity()
	if err != nil {
		return err
	}
	if want := (mtls.Identity{Role: mtls.RoleNode, Name: string(d.this.ID)}); id != want {
		return fmt.Errorf("certificate %s belongs to %s, but this is %s: point [tls] at the right files", d.this.TLS.Cert, id, want)
	}

	// The data directory first: a second process on it must fail before it
	// takes a port.
	disk, err := consensus.OpenDisk(d.this.Data, string(d.this.ID), d.log)
	if err != nil {
		return err
	}
	d.onStop("data directory", disk.Close)

	// One port for raft, nodes and agents.
	ln, err := net.Listen("tcp", d.this.Address)
	if err != nil {
		return fmt.Errorf("address %s of node %s cannot be listened on: %w; is another process using it, or does this machine not have it?", d.this.Address, d.this.ID, err)
	}
	settings := cfg.Settings()
	mux := mtls.NewMux(ln, d.material, admit(cfg.Regions()), d.log)
	d.onStop("listener", mux.Close)
	if err := d.openPeers(ctx, settings, disk, mux); err != nil {
		return err
	}

	clients, err := d.openCloud(ctx)
	if err != nil {
		return err
	}
	if err := d.openMonitor(clients); err != nil {
		return err
	}
	if err := d.openCore(settings, disk, mux, clients); err != nil {
		return err
	}

	sock, err := admin.Listen(d.this.Socket)
	if err != nil {
		return err
	}
	d.serve("admin socket", admin.Server(d, d.log), sock)

	if d.this.Web != "" {
		webLn, err := net.Listen("tcp", d.this.Web)
		if err != nil {
			return fmt.Errorf("web address %s cannot be listened on: %w; set [node] web to a free one, or to \"\"", d.this.Web, err)
		}
		d.serve("web", web.Server(d, d.metrics, d.log), webLn)
	}
	return d.openNotifier()
}

// admit says whose certificates open a connection: those of nodes, and of agents
// of the service's regions. What a node may do on it depends on the membership,
// which changes; each request looks at it.
func admit(regions []failover.Region) func(mtls.Identity) error {
	return func(id mtls.Identity) error {
		if id.Role == mtls.RoleNode || id.Role == mtls.RoleAgent && slices.Contains(regions, failover.Region(id.Name)) {
			return nil
		}
		return fmt.Errorf("%s is not part of this cluster", id)
	}
}

// openPeers answers the other nodes, and asks them whether this one may take
// part, before raft can give a vote.
func (d *Daemon) openPeers(ctx context.Context, settings failover.Settings, disk *consensus.Disk, mux *mtls.Mux) error {
	var err error
	d.gate, err = consensus.NewGatekeeper(d.this.Data, consensus.Hello{
		Node: d.this.ID, Disk: disk.Identity.Disk, Starts: disk.Identity.Starts, Boot: consensus.NewID(), Empty: disk.Empty, Features: failover.Features,
	}, d.log)
	if err != nil {
		return err
	}
	// The membership is the log's. The file's counts until the log has one.
	members := func() map[failover.NodeID]failover.NodeSpec {
		if m := d.gate.Members(); m != nil {
			return m
		}
		return settings.Nodes
	}
	d.calls = newCaller(d.material, members, consensus.TransportTimeout(d.opts.Config.Raft.Heartbeat.D()))
	d.calls.hello = d.gate.Self
	d.onStop("connections", func() error { d.calls.close(); return nil })
	d.peers = &peerServer{gate: d.gate, members: members, log: d.log}
	d.serve("peers", &http.Server{
		Handler: d.peers.handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
	}, mux.HTTP())
	return mayStart(d.gate.Self(), inquire(ctx, d.calls, d.gate.Self(), members()))
}

// openCore starts raft and the part of the node that knows no files or sockets.
func (d *Daemon) openCore(settings failover.Settings, disk *consensus.Disk, mux *mtls.Mux, clients *cloud.Clients) error {
	cfg := d.opts.Config
	transport := consensus.NewTransport(consensus.TransportOptions{
		Listener: mux.Raft(), Material: d.material, Gate: d.gate, Timeout: d.calls.timeout, Log: d.log,
		Expect: func(a raft.ServerAddress) (mtls.Identity, error) {
			for id, n := range d.peers.members() {
				if n.Address == string(a) {
					return mtls.Identity{Role: mtls.RoleNode, Name: string(id)}, nil
				}
			}
			return mtls.Identity{}, fmt.Errorf("no node of the cluster has the address %s", a)
		},
		Admit: func(id failover.NodeID) error {
			if _, ok := d.peers.members()[id]; !ok {
				return fmt.Errorf("node %s is not a member of this cluster", id)
			}
			return nil
		},
		Plain: d.gate.Plain,
	})
	node, err := consensus.Open(consensus.Config{
		ID: d.this.ID,
		Timers: consensus.Timers{
			Heartbeat: cfg.Raft.Heartbeat.D(), Election: cfg.Raft.Election.D(), LeaderLease: cfg.Raft.LeaderLease.D(), Commit: cfg.Raft.Commit.D(),
		},
		Transport: transport, Logs: disk.Store, Stable: disk.Store, Snapshots: disk.Snapshots,
		Forwarder: d.calls, Log: d.log, Fatal: d.die,
	})
	if err != nil {
		return err
	}
	d.onStop("raft", node.Close)
	d.run = append(d.run, func(ctx context.Context) { learn(ctx, node, d.gate, d.die) },
		func(ctx context.Context) { stopWhenRemoved(ctx, node, d.gate, d.calls, d.die) })
	if disk.Empty {
		d.run = append(d.run, func(ctx context.Context) { join(ctx, node, d.gate, d.calls, settings.Nodes, d.die, d.log) })
	}

	d.core = NewCore(CoreConfig{
		ID: d.this.ID, Vantage: d.this.Vantage, Settings: settings, ConfigHash: cfg.Hash(),
		Record: failover.NodeRecord{
			Vantage: d.this.Vantage, Version: d.opts.Version, Features: failover.Features, ConfigHash: cfg.Hash(),
			Disk: disk.Identity.Disk, Starts: disk.Identity.Starts, Boot: d.gate.Self().Boot,
		},
		Verdicts: d.monitor.Verdicts, Changed: d.monitor.Changed(), Peers: d.calls,
		World: &world{node: d.this.ID, regions: cfg.Regions(), resolvers: cfg.Probes.Resolvers, cloud: clients, log: d.log},
		Exec: actions.Options{
			CallTimeout: 2 * cfg.AWS.Timeout.D(), Poll: cfg.Probes.Interval.D(), Settle: 2 * cfg.Probes.Interval.D(),
		},
		Fatal: d.die, Log: d.log,
	}, node)
	d.run = append(d.run, d.core.Run)
	d.peers.core.Store(d.core)
	return nil
}

// openCloud loads credentials if any kind needs them; nil otherwise.
func (d *Daemon) openCloud(ctx context.Context) (*cloud.Clients, error) {
	cfg := d.opts.Config
	if !cfg.UsesAWS() {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	clients, err := cloud.Open(ctx, cloud.Options{Endpoints: cfg.AWS.Endpoints, Timeout: cfg.AWS.Timeout.D()})
	if err != nil {
		return nil, err
	}
	// A node without credentials still votes and keeps the quorum, so it starts
	// all the same; its AWS probes are misconfigured and never a vote.
	d.run = append(d.run, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := clients.Credentials(ctx); err != nil && !errors.Is(err, context.Canceled) {
			d.log.Error("AWS cannot be used by this node", "error", err)
		}
	})
	return clients, nil
}

// openMonitor makes the node's probes. They start with Run.
func (d *Daemon) openMonitor(clients *cloud.Clients) error {
	cfg := d.opts.Config
	d.metrics = web.NewMetrics(d)
	deps := probes.Deps{Node: d.this.ID, Resolvers: cfg.Probes.Resolvers, Cloud: clients, Log: d.log}
	var signals []monitor.Signal
	for _, sp := range cfg.ProbeSpecs(d.this.ID) {
		deps := deps
		deps.Component, deps.Region, deps.Timeout = sp.Component, sp.Region, sp.Timeout
		p, err := sp.Config.New(deps)
		if err != nil {
			return fmt.Errorf("probe %s of %s in %s: %w", sp.Kind, sp.Component, sp.Region, err)
		}
		signals = append(signals, monitor.Signal{
			Component: sp.Component, Kind: sp.Kind, Region: sp.Region, Probe: p,
			Interval: sp.Interval, Timeout: sp.Timeout, Window: sp.Window, Down: sp.Down,
		})
	}
	var refs []monitor.Reference
	for _, url := range cfg.SelfCheck.URLs {
		deps := deps
		deps.Timeout = cfg.SelfCheck.Timeout.D()
		p, err := (&probes.HTTPConfig{URL: url}).New(deps)
		if err != nil {
			return fmt.Errorf("self-check %s: %w", url, err)
		}
		refs = append(refs, monitor.Reference{Name: url, Probe: p})
	}
	var err error
	d.monitor, err = monitor.New(monitor.Options{
		Regions: cfg.Regions(), Signals: signals, References: refs,
		SelfInterval: cfg.SelfCheck.Interval.D(), SelfTimeout: cfg.SelfCheck.Timeout.D(),
		Index: d.this.Index, Nodes: len(cfg.Nodes),
		Rand:          rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(os.Getpid()))), //nolint:gosec // jitter
		OnObservation: func(o failover.Observation, _ failover.Health) { d.metrics.Observe(o) },
		Log:           d.log,
	})
	if err != nil {
		return err
	}
	d.run = append(d.run, d.monitor.Run)
	return nil
}

// serve runs an HTTP server until Stop.
func (d *Daemon) serve(name string, srv *http.Server, ln net.Listener) {
	go func() {
		if err := srv.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			d.log.Error("a server ended", "server", name, "error", err)
		}
	}()
	d.onStop(name, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			return srv.Close() // callers that follow a stream do not end by themselves
		}
		return nil
	})
}

// onStop registers what gives a resource back. Last in, first out.
func (d *Daemon) onStop(name string, fn func() error) {
	d.teardown = append(d.teardown, teardown{name, fn})
}

// die ends Run with an error. It never blocks; the first error counts.
func (d *Daemon) die(err error) {
	select {
	case d.fatal <- err:
	default:
	}
}

// Run probes, votes and leads until ctx ends or the node must not go on. It
// does not give resources back: Stop does.
func (d *Daemon) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for _, fn := range d.run {
		wg.Go(func() { fn(ctx) })
	}
	d.log.Info("running", "vantage", d.this.Vantage, "address", d.this.Address, "version", d.opts.Version)
	var err error
	select {
	case <-ctx.Done():
	case err = <-d.fatal:
	}
	cancel()
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(stopTimeout):
		// Something waits for a disk or a peer that does not answer. The process
		// must end all the same.
		err = errors.Join(err, fmt.Errorf("ending the node's work: not done within %s", stopTimeout))
	}
	return err
}

// Stop gives everything back. Each step has a time limit; the errors are joined
// with the steps' names. It may be called more than once.
func (d *Daemon) Stop() error {
	d.stopOnce.Do(func() {
		var errs []error
		for i := len(d.teardown) - 1; i >= 0; i-- {
			t := d.teardown[i]
			done := make(chan error, 1)
			go func() { done <- t.fn() }()
			select {
			case err := <-done:
				if err != nil && !errors.Is(err, net.ErrClosed) {
					errs = append(errs, fmt.Errorf("stopping %s: %w", t.name, err))
				}
			case <-time.After(stopTimeout):
				errs = append(errs, fmt.Errorf("stopping %s: not done within %s", t.name, stopTimeout))
			}
		}
		d.stopErr = errors.Join(errs...)
	})
	return d.stopErr
}
