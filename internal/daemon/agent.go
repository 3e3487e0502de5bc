package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/boottime"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/internal/mtls"
	"github.com/failoverd/failoverd/internal/sdnotify"
)

// AgentOptions are what `failoverd agent` was told.
type AgentOptions struct {
	Config    *config.Config
	Region    failover.Region
	Component failover.Component
	ID        string // the readable part of the agent's name; "" makes one up
	TLS       mtls.Files
	Socket    string // serves GET /active; "" for none
	LeaseFile string
	EpochFile string
	Work      time.Duration
	// Exactly one of the three names the worker.
	Command []string // run as a child, behind a guard
	Unit    string   // a systemd unit
	Serve   string   // host:port that answers GET /lease: functions elsewhere
	// Guard is the command line that makes a guard of this binary, UnitGuard one
	// for a systemd unit, and Canary one that makes a process to rehearse with.
	Guard, UnitGuard, Canary []string
	// Self is the path of the program, which may be replaced while this one runs.
	Self string
	// Check looks at everything that an agent needs, and runs nothing.
	Check bool
	Log   *slog.Logger
}

// RunAgent is `failoverd agent`: it runs until ctx ends or its worker does.
func RunAgent(ctx context.Context, o AgentOptions) error {
	part, material, bootID, err := o.needs()
	if err != nil {
		return err
	}
	if o.Check {
		return nil
	}
	left, err := fence.TakeHandover()
	if err != nil {
		return err
	}
	id := o.name()
	if left != nil {
		id = left.Agent
	}
	// This process runs nothing but workers behind guards.
	if err := fence.AdoptOrphans(); err != nil {
		return err
	}
	settings, clock, watchdog := o.Config.Settings(), boottime.System{}, sdnotify.Watchdog()
	lease := settings.Policy.Lease
	w := o.worker(clock, watchdog, lease.Stop)
	if w.unguarded != nil && part.Arming == failover.ArmEnforced {
		o.Log.Error("the end of this agent's lease will prove nothing", "why", w.unguarded)
	}
	rpc := min(config.LeaseRPCTimeout, lease.Renew.D())
	replace := make(chan struct{}, 1)
	asker := newLeaseCaller(material, settings.Nodes, o.Region, rpc, lease.Retry()/2, o.Log)
	defer asker.close()
	agent, err := fence.NewAgent(fence.Config{
		Agent: id, Region: o.Region, Component: o.Component, Terms: lease,
		Arming: part.Arming, OnIsolation: part.OnIsolation, Work: o.Work, RPCTimeout: 2 * rpc,
		LeaseFile: o.LeaseFile, EpochFile: o.EpochFile, KeepRunning: o.Unit != "", Unguarded: w.unguarded != nil,
		Replace: replace, Handover: left,
		Watchdog: watchdog, Feed: func() { sdnotify.Send("WATCHDOG=1") },
		Rehearse: w.rehearse,
		Asker:    asker, Worker: w.worker, Clock: clock, BootID: bootID, NewID: consensus.NewID,
		Log: o.Log.With("agent", id, "component", o.Component, "region", o.Region),
	})
	if err != nil {
		return err
	}
	if w.served != nil {
		stop, err := serveLease(o.Serve, agent.Leave)
		if err != nil {
			return err
		}
		defer stop()
	}
	if o.Socket != "" {
		stop, err := serveActive(o.Socket, agent)
		if err != nil {
			return err
		}
		defer stop()
	}
	return o.run(ctx, agent, replace)
}

// needs looks at what an agent needs before it can run anything: its component, its
// certificate, and directories for what it writes.
func (o *AgentOptions) needs() (part *config.Part, material *mtls.Material, bootID string, err error) {
	part = o.Config.Component[o.Component]
	switch {
	case part == nil:
		return nil, nil, "", fmt.Errorf("the configuration has no component %q", o.Component)
	case !part.Agent:
		return nil, nil, "", fmt.Errorf("component %q does not run under a lease: set agent = true", o.Component)
	case !slices.Contains(o.Config.Regions(), o.Region):
		return nil, nil, "", fmt.Errorf("region %q is not one of the service's (%v)", o.Region, o.Config.Regions())
	case o.workers() != 1:
		return nil, nil, "", errors.New("name what the agent is for: a command after --, a systemd unit with --unit, or functions that ask at --serve")
	}
	if material, err = mtls.Load(o.TLS); err != nil {
		return nil, nil, "", err
	}
	if id, err := material.Identity(); err != nil {
		return nil, nil, "", err
	} else if want := (mtls.Identity{Role: mtls.RoleAgent, Name: string(o.Region)}); id != want {
		return nil, nil, "", fmt.Errorf("certificate %s belongs to %s; an agent in %s needs the one of %s", o.TLS.Cert, id, o.Region, want)
	}
	if bootID, err = boottime.BootID(); err != nil {
		return nil, nil, "", err
	}
	// The lease file and the socket live beside each other on a tmpfs.
	for _, path := range []string{o.LeaseFile, o.Socket, o.EpochFile} {
		if path == "" {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // workers of other users read there
			return nil, nil, "", fmt.Errorf("directory of %s: %w", path, err)
		}
	}
	return part, material, bootID, nil
}

// name is the agent's. Its last part is new with each start: a late word of an earlier
// life must not be taken for one of this.
func (o *AgentOptions) name() failover.AgentID {
	readable := o.ID
	if readable == "" {
		host, _ := os.Hostname() // only for people
		readable = fmt.Sprintf("%s/%s", o.Component, host)
	}
	return failover.AgentID(readable + "/" + consensus.NewID()[:8])
}

// agentWorker is what an agent runs, and how its fence is rehearsed.
type agentWorker struct {
	worker    fence.Worker
	served    *fence.Served // the same, if functions ask it
	rehearse  func(kill time.Duration) (detail string, err error)
	unguarded error // why it could outlive its lease; nil: it cannot
}

func (o *AgentOptions) worker(clock boottime.Clock, watchdog time.Duration, stop failover.StopBudget) agentWorker {
	w := agentWorker{rehearse: func(kill time.Duration) (string, error) { return fence.Rehearse(o.Guard, o.Canary, kill, clock) }}
	switch {
	case o.Serve != "":
		// Nothing here has to be killed: if this process is stuck, nobody gets leave.
		w.served = fence.NewServed(clock)
		w.worker, w.rehearse = w.served, w.served.Rehearse
	case o.Unit != "":
		unit := fence.NewUnit(o.Unit)
		w.unguarded = unitGuarded(unit, watchdog, stop)
		w.worker = fence.NewUnitWorker(append(slices.Clone(o.UnitGuard), o.Unit), unit, clock)
	default:
		env := []string{"FAILOVERD_ACTIVE_SOCKET=" + o.Socket, "FAILOVERD_LEASE_FILE=" + o.LeaseFile}
		w.worker = fence.NewChild(append(slices.Clone(o.Guard), o.Command...), env, clock)
	}
	return w
}

// run runs the agent until it ends. On SIGHUP it is replaced: by the program that
// lies at its path now, with the files that lie there now, and with the worker going
// on – but only if that program, asked beforehand, says that it can. Otherwise
// everything stays as it is.
func (o *AgentOptions) run(ctx context.Context, agent *fence.Agent, replace chan<- struct{}) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	watch, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		for {
			select {
			case <-watch.Done():
				return
			case <-hup:
			}
			if err := o.fit(watch); err != nil {
				o.Log.Error("not replaced: the agent goes on as it was", "why", err.Error())
				continue
			}
			select {
			case replace <- struct{}{}:
			default: // asked for already
			}
		}
	}()
	for {
		err := agent.Run(ctx)
		replaced, ok := errors.AsType[*fence.ErrReplaced](err)
		if !ok {
			return err
		}
		o.Log.Info("replaced by the program and the files as they are now; the worker goes on", "program", o.Self)
		// What is ignored stays so in the new program, until it listens: a second signal
		// must not end it.
		signal.Ignore(syscall.SIGHUP)
		err = fence.Replace(o.Self, os.Args, replaced.Handover) // does not return
		signal.Notify(hup, syscall.SIGHUP)
		o.Log.Error("not replaced: the agent goes on as it was", "why", err.Error())
	}
}

// fit asks the program at this agent's path whether it could go on as this agent.
func (o *AgentOptions) fit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.Self, os.Args[1:]...) //nolint:gosec // this program's own path and arguments
	cmd.Env = append(os.Environ(), AgentCheckVariable+"=1")
	if out, err := fence.Output(cmd); err != nil {
		return fmt.Errorf("%s, with the files as they are now, says: %s (%w)", o.Self, strings.TrimSpace(string(out)), err)
	}
	return nil
}

// AgentCheckVariable makes `failoverd agent` look at its configuration and its
// certificate, and end.
const AgentCheckVariable = "FAILOVERD_AGENT_CHECK"

// workers is how many workers were named.
func (o AgentOptions) workers() int {
	n := 0
	for _, named := range []bool{len(o.Command) > 0, o.Unit != "", o.Serve != ""} {
		if named {
			n++
		}
	}
	return n
}

// serveLease answers functions over the network: 200 when what they are about to
// do is over before the lease ends, 503 otherwise. It tells nobody a secret, and
// who asks in vain changes nothing but when this agent says that all have ended,
// never beyond the lease; it belongs on a private address all the same.
func serveLease(addr string, ask func(need time.Duration) fence.Leave) (stop func(), err error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("address %s, where functions ask for leave, cannot be listened on: %w", addr, err)
	}
	srv := &http.Server{Handler: leaseHandler(ask), ReadHeaderTimeout: 2 * time.Second, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second, MaxHeaderBytes: 4 << 10}
	go func() { _ = srv.Serve(ln) }() // ends with Close
	return func() { _ = srv.Close() }, nil
}

func leaseHandler(ask func(need time.Duration) fence.Leave) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /lease", func(w http.ResponseWriter, r *http.Request) {
		need, err := time.ParseDuration(r.URL.Query().Get("need"))
		if err != nil {
			http.Error(w, "need: how long you may still run, such as /lease?need=28s", http.StatusBadRequest)
			return
		}
		leave := ask(need)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !leave.Valid {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(leave) // an error means that the asker is gone
	})
	return mux
}

// unitGuarded says why a systemd unit could outlive its lease if the agent were
// stuck; nil means that it cannot: systemd ends the agent when it is not fed, and
// the unit with it, within the stop budget (rule G5).
func unitGuarded(unit *fence.Unit, watchdog time.Duration, stop failover.StopBudget) error {
	own := fence.OwnUnit()
	switch {
	case own == "":
		return errors.New("the agent does not run as a systemd service itself")
	case watchdog == 0:
		return errors.New("the agent's own unit has no WatchdogSec=")
	case watchdog > stop.Watchdog.D():
		return fmt.Errorf("WatchdogSec= is %s, and lease.stop.watchdog allows %s", watchdog, stop.Watchdog)
	}
	return unit.BoundTo(own, stop.Grace.D())
}

// serveActive answers local workers: 200 while they may work, 503 otherwise.
func serveActive(path string, agent *fence.Agent) (stop func(), err error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("agent socket %s: %w", path, err)
		}
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("agent socket %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o666); err != nil { //nolint:gosec // any local worker may ask
		return nil, errors.Join(fmt.Errorf("agent socket %s: %w", path, err), ln.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /active", func(w http.ResponseWriter, _ *http.Request) {
		st := agent.Status()
		w.Header().Set("Content-Type", "application/json")
		if !st.Active {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(st) // an error means that the worker is gone
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(ln) }() // ends with Close
	return func() { _ = srv.Close() }, nil
}
