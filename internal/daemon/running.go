package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/internal/durable"
	"github.com/failoverd/failoverd/internal/notify"
	"github.com/failoverd/failoverd/monitor"
	"github.com/failoverd/failoverd/probes"
)

// running is what a node makes of one configuration. It is made as a whole and
// replaced as a whole, while the node runs.
type running struct {
	cfg      *config.Config // with what this node's own file says of its machine
	monitor  *monitor.Monitor
	world    *world
	clients  *cloud.Clients   // nil: no kind calls AWS
	notifier *notify.Notifier // nil: nobody is told by Slack
}

// lastFile is where a node keeps the text of the configuration that it ran last,
// so that it starts with that, whatever its own file says meanwhile.
const lastFile = "running.toml"

// lastRun is the configuration that a node starts with: what it ran last, or at
// the very first start its own file. The log's is followed as soon as it is
// known.
func lastRun(dir string, own *config.Config) (*config.Config, error) {
	path := filepath.Join(dir, lastFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return own, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration that this node ran last: %w", err)
	}
	cfg, err := config.Parse(path, text)
	if err != nil {
		return nil, fmt.Errorf("the configuration that this node ran last cannot be run by this version:\n%w\nrun the version that the other nodes run", err)
	}
	return cfg.WithLocal(own), nil
}

// build makes everything that a configuration asks for and starts nothing. An
// error says why this node cannot run it. What is not run has its monitor closed.
func (d *Daemon) build(ctx context.Context, cfg *config.Config) (*running, error) {
	r := &running{cfg: cfg}
	var err error
	if r.clients, err = openCloud(ctx, cfg, d.this.ID); err != nil {
		return nil, err
	}
	if r.monitor, err = d.newMonitor(cfg, r.clients); err != nil {
		return nil, err
	}
	r.world = newWorld(cfg, d.this.ID, r.clients, d.log)
	if r.notifier, err = d.notifier(cfg); err != nil {
		r.monitor.Close()
		return nil, err
	}
	return r, nil
}

// openCloud makes the AWS clients of a configuration; nil where it uses none.
func openCloud(ctx context.Context, cfg *config.Config, node failover.NodeID) (*cloud.Clients, error) {
	if !cfg.UsesAWS() {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return cloud.Open(ctx, cloud.Options{Endpoints: cfg.AWS.Endpoints, Timeout: cfg.AWS.Timeout.D(), Roles: cloud.Roles{
		Observe: cfg.AWS.Roles.Observe, Act: cfg.AWS.Roles.Act, Session: "failoverd-" + string(node),
		// The region that lives when it matters is asked first.
		Regions: []string{string(cfg.Secondary), string(cfg.Primary)},
	}})
}

// work runs a configuration's probes and notifier until ctx ends.
func (d *Daemon) work(ctx context.Context, r *running) {
	var wg sync.WaitGroup
	wg.Go(func() { r.monitor.Run(ctx) })
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-r.monitor.Changed():
			}
			select {
			case d.changed <- struct{}{}:
			default:
			}
		}
	})
	if r.notifier != nil {
		wg.Go(func() { r.notifier.Run(ctx) })
		wg.Go(func() { d.post(ctx, r.notifier) })
	}
	if r.clients != nil {
		// A node without credentials still votes and keeps the quorum, so it runs
		// all the same; its AWS probes are misconfigured and never a vote.
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			if err := r.clients.Credentials(ctx); err != nil && !errors.Is(err, context.Canceled) {
				d.log.Error("AWS cannot be used by this node", "error", err)
			}
		})
	}
	wg.Wait()
}

// follow runs the configuration that is in force in the log, and says of each
// proposed one whether this node can run it. Probes start anew with each
// configuration: until their windows are filled the node's verdicts are unknown,
// which opens and closes nothing. Agents notice nothing.
func (d *Daemon) follow(ctx context.Context) {
	node := d.core.Node()
	var wg sync.WaitGroup
	defer wg.Wait()
	begin := func() (stop func()) {
		wctx, cancel := context.WithCancel(ctx)
		r := d.running.Load()
		wg.Go(func() { d.work(wctx, r) })
		return cancel
	}
	stop := begin()
	failed := "" // the text that this node could not run, so that it is said once
	var again <-chan time.Time
	for {
		changed := node.Changed()
		s := node.State()
		if s.Settings != nil {
			// Also what came with a snapshot, or with the first configuration.
			d.keepTraffic(consensus.Traffic{Service: s.Settings.Service, Region: s.Traffic, Left: s.Settings.Other(s.Traffic), Epoch: s.TrafficEpoch()})
		}
		if s.Source != "" && s.Source != d.running.Load().cfg.Source && (s.Source != failed || again == nil) {
			next, err := d.take(ctx, s)
			if err != nil {
				// It had acknowledged it, or was not a member then. Its probes go on as
				// they were; decisions rest on the log's settings in any case.
				if s.Source != failed {
					d.log.Error("this node cannot run the configuration in force, and probes with the one before", "hash", s.SettingsHash, "error", err)
				}
				failed, again = s.Source, time.After(takeAgain)
			} else {
				stop()
				d.running.Store(next)
				stop = begin()
				d.log.Info("configuration in force", "hash", s.SettingsHash)
			}
		}
		retry := d.acknowledge(ctx, s)
		select {
		case <-ctx.Done():
			stop()
			return
		case <-changed:
		case <-retry:
		case <-again: // a disk that was full, a file that was not there
			again = nil
		}
	}
}

// takeAgain is how long a configuration that a node cannot run is not tried again.
const takeAgain = 5 * time.Second

// take makes the configuration that is in force, and keeps its text for the next
// start.
func (d *Daemon) take(ctx context.Context, s *failover.State) (*running, error) {
	cfg, err := config.Parse("the configuration in the log", []byte(s.Source))
	if err != nil {
		return nil, err
	}
	r, err := d.build(ctx, cfg.WithLocal(d.opts.Config))
	if err != nil {
		return nil, err
	}
	if err := keepLast(d.this.Data, s.Source); err != nil {
		r.monitor.Close()
		return nil, err
	}
	return r, nil
}

func keepLast(dir, text string) error {
	if err := durable.Replace(filepath.Join(dir, lastFile), []byte(text), 0o600); err != nil {
		return fmt.Errorf("keeping the configuration in force: %w", err)
	}
	return nil
}

// acknowledge answers a proposed configuration, once. The channel says when to
// try again; nil: when the state changes.
func (d *Daemon) acknowledge(ctx context.Context, s *failover.State) <-chan time.Time {
	p := s.Proposal
	if p == nil {
		return nil
	}
	if _, done := p.Acks[d.this.ID]; done {
		return nil
	}
	if _, member := s.Settings.Nodes[d.this.ID]; !member {
		return nil
	}
	ack := failover.AckSettings{Proposal: p.ID, Hash: p.Hash}
	if err := d.canRun(ctx, p); err != nil {
		ack.Reason = err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := d.core.Node().Propose(ctx, failover.Meta{By: "node " + string(d.this.ID)}, ack)
	if err != nil {
		d.log.Debug("the answer to a proposed configuration was not taken", "error", err)
	}
	return time.After(time.Second)
}

// canRun says why this node cannot run a proposed configuration.
func (d *Daemon) canRun(ctx context.Context, p *failover.Proposal) error {
	cfg, err := config.Parse("the proposed configuration", []byte(p.Source))
	if err != nil {
		return err
	}
	if got := cfg.Hash(); got != p.Hash {
		return fmt.Errorf("this version reads it as %s: run the version that the other nodes run", got)
	}
	r, err := d.build(ctx, cfg.WithLocal(d.opts.Config))
	if err != nil {
		return err
	}
	r.monitor.Close()
	return nil
}

// currentWorld makes actions and checks by the configuration that runs now.
type currentWorld struct{ d *Daemon }

// Action implements actions.World.
func (w currentWorld) Action(st failover.Step) (actions.Action, error) {
	if f := w.d.opts.action; f != nil {
		if a, err := f(st); a != nil || err != nil {
			return a, err
		}
	}
	return w.d.running.Load().world.action(st, w.d.core.Node().State())
}

// Check implements actions.World.
func (w currentWorld) Check(st failover.Step, moved time.Time) (actions.Check, error) {
	return w.d.running.Load().world.check(st, moved)
}

// newMonitor makes the probes of a configuration. Some are at work at once, as
// clients that watch their servers: where one cannot be made, the others are closed.
func (d *Daemon) newMonitor(cfg *config.Config, clients *cloud.Clients) (m *monitor.Monitor, err error) {
	deps := probes.Deps{Regions: cfg.Regions(), Node: d.this.ID, Resolvers: cfg.Probes.Resolvers, Cloud: clients, Log: d.log}
	var signals []monitor.Signal
	defer func() {
		if err != nil {
			for _, s := range signals {
				monitor.CloseProbe(s.Probe)
			}
		}
	}()
	for _, sp := range cfg.ProbeSpecs(d.this.ID) {
		deps := deps
		deps.Component, deps.Region, deps.Timeout = sp.Component, sp.Region, sp.Timeout
		p, err := sp.Config.New(deps)
		if err != nil {
			return nil, fmt.Errorf("probe %s of %s in %s: %w", sp.Kind, sp.Component, sp.Region, err)
		}
		signals = append(signals, monitor.Signal{
			Component: sp.Component, Kind: sp.Kind, Region: sp.Region, Probe: p,
			Interval: sp.Interval, Timeout: sp.Timeout, Window: sp.Window, Down: sp.Down, Plane: sp.Plane(),
		})
	}
	var refs []monitor.Reference
	for _, url := range cfg.SelfCheck.URLs {
		deps := deps
		deps.Timeout = cfg.SelfCheck.Timeout.D()
		p, err := (&probes.HTTPConfig{URL: url}).New(deps)
		if err != nil {
			return nil, fmt.Errorf("self-check %s: %w", url, err)
		}
		refs = append(refs, monitor.Reference{Name: url, Probe: p})
	}
	return monitor.New(monitor.Options{
		Regions: cfg.Regions(), Signals: signals, References: refs,
		SelfInterval: cfg.SelfCheck.Interval.D(), SelfTimeout: cfg.SelfCheck.Timeout.D(),
		Index: d.this.Index, Nodes: max(len(cfg.Nodes), d.this.Index+1),
		Rand:          rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(os.Getpid()))), //nolint:gosec // jitter
		OnObservation: func(o failover.Observation, _ failover.Health) { d.metrics.Observe(o) },
		Log:           d.log,
	})
}
