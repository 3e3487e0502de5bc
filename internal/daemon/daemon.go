package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/internal/mtls"
	"github.com/failoverd/failoverd/internal/web"
)

// stopTimeout bounds each step of the teardown.
const stopTimeout = 5 * time.Second

// Options are what `failoverd run` was told.
type Options struct {
	Config  *config.Config
	Node    failover.NodeID
	Version string
	Log     *slog.Logger

	// logs puts something between raft and its log, in tests; nil: nothing.
	logs func(raft.LogStore) raft.LogStore
	// action stands in for what makes a step's action, in tests. Nil, or no action and no error: nothing does.
	action func(failover.Step) (actions.Action, error)
}

// Daemon is a whole node. New acquires everything, Run works, Stop gives
// everything back in reverse order.
type Daemon struct {
	opts     Options
	this     config.ThisNode
	material *mtls.Material
	core     *Core
	gate     *consensus.Gatekeeper
	traffic  *consensus.TrafficFile
	drills   sync.WaitGroup // under way
	peers    *peerServer
	calls    *caller
	metrics  *web.Metrics
	// boot is the configuration that the node starts with: the one that it ran
	// last, or its own file.
	boot    *config.Config
	running atomic.Pointer[running]
	changed chan struct{} // signalled when the node's verdicts change
	log     *slog.Logger

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
	d = &Daemon{opts: o, log: o.Log, fatal: make(chan error, 1), changed: make(chan struct{}, 1)}
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
	d.onStop("drills", d.drained) // after the servers have ended them

	// One port for raft, nodes and agents.
	ln, err := net.Listen("tcp", d.this.Address)
	if err != nil {
		return fmt.Errorf("address %s of node %s cannot be listened on: %w; is another process using it, or does this machine not have it?", d.this.Address, d.this.ID, err)
	}
	if d.boot, err = lastRun(d.this.Data, cfg); err != nil {
		return err
	}
	if d.traffic, err = consensus.OpenTrafficFile(d.this.Data); err != nil {
		return err
	}
	settings := cfg.Settings()
	mux := mtls.NewMux(ln, d.material, d.admit, d.log)
	d.onStop("listener", mux.Close)
	if err := d.openPeers(ctx, settings, disk, mux); err != nil {
		return err
	}

	d.metrics = web.NewMetrics(d)
	first, err := d.build(ctx, d.boot)
	if err != nil {
		return err
	}
	d.running.Store(first)
	d.onStop("probes", func() error { first.monitor.Close(); return nil }) // if nothing has run them
	if err := d.openCore(settings, disk, mux); err != nil {
		return err
	}
	d.run = append(d.run, d.follow)

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
	if d.this.Gate != "" {
		gateLn, err := net.Listen("tcp", d.this.Gate)
		if err != nil {
			return fmt.Errorf("gate address %s cannot be listened on: %w; set [node] gate to a free one, or to \"\"", d.this.Gate, err)
		}
		d.serve("gate", web.Gate(d, d.log), gateLn)
	}
	return nil
}

// admit says whose certificates open a connection: those of nodes, and of agents
// of the service's regions. What a node may do on it depends on the membership,
// which changes; each request looks at it.
func (d *Daemon) admit(id mtls.Identity) error {
	regions := d.boot.Regions()
	if r := d.running.Load(); r != nil {
		regions = r.cfg.Regions()
	}
	if id.Role == mtls.RoleNode || id.Role == mtls.RoleAgent && slices.Contains(regions, failover.Region(id.Name)) {
		return nil
	}
	return fmt.Errorf("%s is not part of this cluster", id)
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
	d.calls = newCaller(d.material, members, consensus.TransportTimeout(d.boot.Raft.Heartbeat.D()))
	d.calls.hello = d.gate.Self
	d.onStop("connections", func() error { d.calls.close(); return nil })
	d.peers = &peerServer{gate: d.gate, members: members, log: d.log, refused: func(request string) { d.metrics.RefusedRequest(request) }}
	d.serve("peers", &http.Server{
		Handler: d.peers.handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
	}, mux.HTTP())
	if err := MayStart(d.gate.Self(), Inquire(ctx, d.calls, d.gate.Self(), members())); err != nil {
		return err
	}
	return disk.CountStart()
}

// openCore starts raft and the part of the node that knows no files or sockets.
func (d *Daemon) openCore(settings failover.Settings, disk *consensus.Disk, mux *mtls.Mux) error {
	cfg := d.boot
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
	var logs raft.LogStore = disk.Store
	if d.opts.logs != nil {
		logs = d.opts.logs(logs)
	}
	node, err := consensus.Open(consensus.Config{
		ID: d.this.ID,
		Timers: consensus.Timers{
			Heartbeat: cfg.Raft.Heartbeat.D(), Election: cfg.Raft.Election.D(), LeaderLease: cfg.Raft.LeaderLease.D(), Commit: cfg.Raft.Commit.D(),
		},
		Transport: transport, Logs: logs, Stable: disk.Store, Snapshots: disk.Snapshots,
		Forwarder: d.calls, Log: d.log, Fatal: d.die,
		OnApply: func(res failover.Result, cmd failover.Command) {
			if refusal, ok := errors.AsType[*failover.Refusal](res.Err); ok {
				d.metrics.RefusedCommand(cmd.Name(), refusal.Guard)
			}
			if c, ok := cmd.(failover.SetTraffic); ok && res.Err == nil {
				flip, _ := res.Value.(failover.Flip) // always that
				d.keepTraffic(consensus.Traffic{Service: settings.Service, Region: c.Region, Left: flip.Left, Epoch: flip.Epoch})
			}
		},
	})
	if err != nil {
		return err
	}
	d.onStop("raft", node.Close)
	d.run = append(d.run, func(ctx context.Context) { Learn(ctx, node, d.gate, d.die) },
		func(ctx context.Context) { stopWhenRemoved(ctx, node, d.gate, d.calls, d.die) })
	if disk.Empty {
		d.run = append(d.run, Newcomer{Node: node, Gate: d.gate, Others: d.calls, Nodes: settings.Nodes, Die: d.die, Log: d.log}.Join)
	}

	d.core = NewCore(CoreConfig{
		LookAge: func(c failover.Component) time.Duration { return d.running.Load().cfg.LookAge(c) },
		ID:      d.this.ID, Vantage: d.this.Vantage, Settings: settings, ConfigHash: d.opts.Config.Hash(), Source: d.opts.Config.Source,
		Record: failover.NodeRecord{
			Vantage: d.this.Vantage, Version: d.opts.Version, Features: failover.Features, ConfigHash: d.opts.Config.Hash(),
			Disk: disk.Identity.Disk, Starts: disk.Identity.Starts, Boot: d.gate.Self().Boot,
		},
		Verdicts: d.Verdicts, Changed: d.changed, Peers: d.calls, Signer: signer{d.material}, World: currentWorld{d},
		Exec: actions.Options{
			CallTimeout: 2 * cfg.AWS.Timeout.D(), Poll: cfg.Probes.Interval.D(), Settle: 2 * cfg.Probes.Interval.D(),
		},
		Fatal: d.die, Log: d.log,
	}, node)
	d.run = append(d.run, d.core.Run)
	d.peers.core.Store(d.core)
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

// keepTraffic keeps where the traffic goes before anybody can read it from the
// state (rule T1). A node that cannot keep it must not answer.
func (d *Daemon) keepTraffic(t consensus.Traffic) {
	if err := d.traffic.Keep(t); err != nil {
		d.die(err)
	}
}

// Traffic implements web.Source.
func (d *Daemon) Traffic() (service string, to, left failover.Region, epoch uint64, ok bool) {
	t, ok := d.traffic.Kept()
	return t.Service, t.Region, t.Left, t.Epoch, ok
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
