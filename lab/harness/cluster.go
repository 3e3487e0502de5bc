package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/failoverd/failoverd/lab/hooks"
	"github.com/failoverd/failoverd/lab/region"
	"github.com/failoverd/failoverd/lab/world"
)

// Nodes are the watchdog nodes of the reference case.
var Nodes = []string{"use1a", "use1b", "use2a", "use2b", "third"}

// KeyPrefix begins the access key of every node, which ends in the node's name: it tells in the world's record who called.
const KeyPrefix = "AKIAFAILOVERD"

// SiteOfNode is where a node stands.
func SiteOfNode(node string) string {
	switch {
	case strings.HasPrefix(node, "use1"):
		return world.E1
	case strings.HasPrefix(node, "use2"):
		return world.E2
	}
	return world.Third
}

// Options set up a cluster in a world.
type Options struct {
	Example   string // path of config.toml.example
	Failoverd string // path of the daemon's binary
	Config    ConfigOptions
	World     world.Options // Dir, Prefix, Lab, Rate, Log; the rest is filled in
	// Stubborn makes the workers of us-east-1 ask no agent, and run on when their lease ends: each runs beside an agent that minds
	// something else, in a subnet that a network ACL can cut off.
	Stubborn bool
	// Own says that the configuration acts by kinds that the example does not act by: its calls are held against its own policies alone.
	Own bool
	// Unsafe says that Failoverd is the daemon without its fence, whose agents are bound by nothing.
	Unsafe bool
	// MariaDB gives each region a real one, without which no message is worked on.
	MariaDB bool
	// Worker is the command line of a task of workers, given the worker's own; nil, or a nil result: an agent of the harness, and the worker as its child.
	Worker func(region string, worker []string) []string
	// Documents lets the workers write into MongoDB as well.
	Documents bool
	// AskMongo asks a person before MongoDB is promoted, as the example does.
	AskMongo bool
}

// Cluster is a world with the daemon's nodes and agents in it. Its methods are safe for concurrent use.
type Cluster struct {
	W       *world.World
	Dir     string
	Config  string   // path of the configuration
	Summary []string // what was substituted in the example

	opt   Options
	mu    sync.Mutex
	nodes map[string]*world.Proc
	ended []string // what nodes said when they ended by themselves

	hanging chan error // holds the outcome of hang, once there is one
	undo    context.CancelFunc
	over    chan struct{} // closed when the cluster is
	once    sync.Once
	wg      sync.WaitGroup
}

// Start writes the configuration, makes the certificates, builds the world and starts the nodes. It does not wait until they
// are healthy. The world's directory must not exist, or be empty.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	c := &Cluster{Dir: o.World.Dir, Config: filepath.Join(o.World.Dir, "config.toml"), opt: o, nodes: map[string]*world.Proc{}, hanging: make(chan error, 1), over: make(chan struct{})}
	if err := c.prepare(ctx); err != nil {
		return nil, err
	}
	wo := o.World
	wo.TimeFactor = o.Config.Factor
	wo.TaskCommand = c.taskCommand
	if o.Stubborn {
		wo.Walled = []string{"workers"}
	}
	wo.MariaDB, wo.Documents = o.MariaDB, o.Documents
	w, err := world.Start(ctx, wo)
	if err != nil {
		return nil, err
	}
	c.W = w
	for _, n := range Nodes {
		if err := c.StartNode(ctx, n); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	hctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.undo = cancel
	go func() { c.hanging <- c.hang(hctx) }()
	return c, nil
}

// Memory is a directory in memory for a world, or "" for the usual one. The time-outs of a world are a part of the real ones, and
// a disk that others write to, such as the compiler or two databases, is no faster than it is: nodes would end since "the disk hangs".
func Memory() string {
	const shm, need = "/dev/shm", 4 << 30
	var s unix.Statfs_t
	if err := unix.Statfs(shm, &s); err != nil || s.Bavail*uint64(s.Bsize) < need { //nolint:gosec // a block has a size
		return ""
	}
	return shm
}

// prepare writes what nodes and agents need before they start.
func (c *Cluster) prepare(ctx context.Context) error {
	example, err := os.ReadFile(c.opt.Example)
	if err != nil {
		return fmt.Errorf("read the example configuration: %w", err)
	}
	o := c.opt.Config
	o.Dir = c.Dir
	o.Edits = append(restoring(c.Dir, c.opt.MariaDB), o.Edits...)
	if !c.opt.AskMongo {
		o.Edits = append(o.Edits, unattended)
	}
	text, summary, err := Configure(string(example), o)
	if err != nil {
		return err
	}
	c.Summary = summary
	for _, d := range []string{"node", "sock", "tls"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, d), 0o755); err != nil {
			return fmt.Errorf("make the world's directory: %w", err)
		}
	}
	for path, content := range map[string]string{c.Config: text, filepath.Join(c.Dir, "slack-bot"): "xoxb-lab\n", filepath.Join(c.Dir, "slack-app"): "xapp-lab\n", filepath.Join(c.Dir, "hook-key"): hooks.Secret + "\n", mariaPassword(c.Dir): world.MariaDBPassword + "\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
	}
	if err := c.grant(ctx); err != nil {
		return err
	}
	return c.run(ctx, "--config", c.Config, "certs", "--dir", filepath.Join(c.Dir, "tls"))
}

// run runs the daemon's binary outside of all sites.
func (c *Cluster) run(ctx context.Context, args ...string) error {
	_, err := c.output(ctx, args...)
	return err
}

func (c *Cluster) output(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.opt.Failoverd, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("failoverd %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// taskCommand puts the workers behind an agent; the API runs without one.
func (c *Cluster) taskCommand(reg, service string) []string {
	lab := c.opt.World.Lab
	agent := func(component string) []string {
		return []string{c.opt.Failoverd, "agent", "--config", c.Config, "--region", "{region}", "--component", component, "--id", "{task}",
			"--cert", c.Dir + "/tls/agent-" + reg + ".pem", "--key", c.Dir + "/tls/agent-" + reg + ".key", "--ca", c.Dir + "/tls/ca.pem"}
	}
	switch service {
	case region.LeaseService:
		return append(agent("functions"), "--serve", "{ip}:7790")
	case region.NightlyLeaseService:
		return append(agent("nightly"), "--serve", "{ip}:7790")
	}
	worker := world.DefaultCommand(lab, reg, service, c.opt.Config.Factor)
	if service != "workers" {
		return worker
	}
	if c.opt.Worker != nil {
		if argv := c.opt.Worker(reg, worker); argv != nil {
			return argv
		}
	}
	if c.opt.Stubborn && reg == world.Primary {
		worker = append(worker, "--store", world.StoreFar(reg))
		// The worker is the task's main process: an agent that ends with its lease must not take the task with it.
		return []string{"sh", "-c", "(setsid " + strings.Join(agent("workers"), " ") + " -- sleep 86400 &); exec " + strings.Join(worker, " ")}
	}
	longest := time.Duration(float64(3*time.Second) / c.opt.Config.Factor) // a worker holds a message 0.5 to 3 s
	return append(append(agent("workers"), "--listen", "{dir}/active.sock", "--lease-file", "{dir}/lease", "--work", longest.String(), "--"), worker...)
}

// Socket is the path of a node's admin socket.
func (c *Cluster) Socket(node string) string { return filepath.Join(c.Dir, "sock", node+".sock") }

// Data is the path of a node's data directory.
func (c *Cluster) Data(node string) string { return filepath.Join(c.Dir, "node", node) }

// StartNode starts a node in its site.
func (c *Cluster) StartNode(ctx context.Context, node string) error {
	p, err := c.Run(ctx, node, node, c.Config)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.nodes[node] = p
	c.mu.Unlock()
	c.wg.Go(func() { c.restart(ctx, node, p) })
	return nil
}

// restart does what the unit's Restart= does: a node that ends by itself with an error, as one does whose disk hangs, is
// started again. What was killed stays dead until it is started by hand.
func (c *Cluster) restart(ctx context.Context, node string, p *world.Proc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	go func() {
		select {
		case <-c.over:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := p.Wait(ctx)
	var exit *exec.ExitError
	if ctx.Err() != nil || !errors.As(err, &exit) || exit.ExitCode() < 1 {
		return
	}
	line := fmt.Sprintf("%s has ended by itself: %s", node, p.Said())
	c.mu.Lock()
	c.ended = append(c.ended, line)
	c.mu.Unlock()
	c.W.Note(ctx, line)
	select {
	case <-ctx.Done():
		return
	case <-time.After(restartAfter):
	}
	if c.Node(node) != p {
		return // somebody was quicker
	}
	if err := c.StartNode(ctx, node); err != nil {
		c.W.Note(ctx, fmt.Sprintf("%s could not be started again: %v", node, err))
	}
}

// restartAfter is the unit's RestartSec.
const restartAfter = 2 * time.Second

// Ended is what nodes said that have ended by themselves, oldest first; each was started again.
func (c *Cluster) Ended() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.ended)
}

// Run starts a `failoverd run` in a node's site with any configuration, without counting it as the node.
func (c *Cluster) Run(ctx context.Context, node, logName, config string) (*world.Proc, error) {
	return c.W.Exec(ctx, SiteOfNode(node), []string{c.opt.Failoverd, "run", "--config", config, "--node", node},
		world.ProcOptions{Name: logName, Env: []string{"AWS_ACCESS_KEY_ID=" + KeyPrefix + strings.ToUpper(node), "AWS_SECRET_ACCESS_KEY=secret",
			"AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=" + c.Dir + "/none", "AWS_SHARED_CREDENTIALS_FILE=" + c.Dir + "/none"}})
}

// Node is a node's newest process.
func (c *Cluster) Node(node string) *world.Proc {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[node]
}

// KillNode is kill -9 of a node.
func (c *Cluster) KillNode(ctx context.Context, node string) error {
	p := c.Node(node)
	if p == nil {
		return fmt.Errorf("node %s was never started", node)
	}
	if err := p.Kill(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = p.Wait(ctx) // how it ended is known
	if !p.Exited() {
		return fmt.Errorf("node %s survived SIGKILL for 5 s", node)
	}
	return nil
}

// CLI runs a command of the daemon's command line against a node's admin socket.
func (c *Cluster) CLI(ctx context.Context, node string, args ...string) (string, error) {
	return c.output(ctx, append([]string{"--socket", c.Socket(node)}, args...)...)
}

// Healthy says what is still missing until the service runs in us-east-1, watched and under a lease; "" if nothing.
func (c *Cluster) Healthy(ctx context.Context) string {
	s, err := c.AnyStatus(ctx)
	if err != nil {
		return err.Error()
	}
	// Before the second request of an agent the end of its lease proves nothing, and a region that went dark would need a person.
	leased := 0
	for _, a := range s.Agents {
		if a.Granted != 0 && a.Region == world.Primary && (a.Enforced || c.opt.Unsafe) {
			leased++
		}
	}
	voted := 0
	for _, m := range s.Members {
		if m.Voted {
			voted++
		}
	}
	r, err := c.W.Record(ctx)
	switch {
	case err != nil:
		return err.Error()
	case s.LeaderError != "" || s.Raft.Leader == "":
		return "no leader yet " + s.LeaderError
	case SiteOfNode(s.Raft.Leader) == world.E1:
		return "the leader, " + s.Raft.Leader + ", is still inside us-east-1"
	case voted < len(Nodes):
		return fmt.Sprintf("%d of %d nodes have voted", voted, len(Nodes))
	case leased < 5:
		return fmt.Sprintf("%d of 5 agents have a lease that binds them", leased)
	case s.Condition != "":
		return "condition " + s.Condition + ": " + s.Sentence
	case r.Alive[world.Primary] < 3:
		return fmt.Sprintf("%d of 3 workers run", r.Alive[world.Primary])
	case r.Regions[world.Primary].Processed < 5:
		return fmt.Sprintf("%d messages processed", r.Regions[world.Primary].Processed)
	case !r.Stores[world.Primary].LinkUp || !r.Stores[world.Secondary].LinkUp:
		return "the stores do not replicate yet"
	}
	if err := c.hung(); err != nil {
		return err.Error()
	}
	return ""
}

// WaitHealthy waits until Healthy has had nothing to say twice in a row. seen is called with what is still missing.
func (c *Cluster) WaitHealthy(ctx context.Context, limit time.Duration, seen func(string)) error {
	missing, good := "", 0
	err := c.Poll(ctx, limit, func() (bool, string) {
		if missing = c.Healthy(ctx); missing == "" {
			good++
		} else {
			good = 0
		}
		if seen != nil {
			seen(missing)
		}
		return good >= 2, "the world to be healthy: " + missing
	})
	if err != nil {
		return err
	}
	// Without a sample of what would be lost of each store nothing is done automatically.
	return c.Poll(ctx, limit, func() (bool, string) {
		said, _ := c.CLI(ctx, Nodes[0], "readiness") // its status says whether it is ready, which it need not be
		return strings.Contains(said, "loss ") && !strings.Contains(said, "no sample yet"), "samples of what would be lost"
	})
}

// Poll calls look until it is true. Its error says what was missing at the last look.
func (c *Cluster) Poll(ctx context.Context, limit time.Duration, look func() (done bool, waiting string)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		done, waiting := look()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s", limit.Round(100*time.Millisecond), waiting)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Close ends everything.
func (c *Cluster) Close() error {
	c.once.Do(func() { close(c.over) })
	c.wg.Wait()
	if c.undo != nil {
		c.undo()
		<-c.hanging
	}
	return c.W.Close()
}
