package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/daemon"
	"github.com/failoverd/failoverd/internal/sim/oracle"
	"github.com/failoverd/failoverd/monitor"
)

// How a node's process starts and ends, and how it speaks with the others.

// spareNode is a machine beside the cluster's.
const spareNode = "use2c"

func (c *cluster) addHost(id string, spec failover.NodeSpec) {
	h := &host{id: id, addr: raft.ServerAddress(spec.Address), site: string(spec.Vantage), disk: newDisk(), label: "disk-" + id, snaps: raft.NewInmemSnapshotStore(), features: failover.Features}
	c.hosts[id] = h
	c.names = append(c.names, id)
	c.net.siteOf[id] = h.site
}

// greeter makes the process's gatekeeper; the caller holds the lock.
func (h *host) greeter(boot string, log *slog.Logger) (err error) {
	kept, err := raft.HasExistingState(h.disk, h.disk, h.snaps)
	if err != nil {
		return err
	}
	hello := consensus.Hello{Node: failover.NodeID(h.id), Disk: h.label, Starts: h.starts, Boot: boot, Empty: !kept, Features: h.features}
	if h.gate != nil {
		h.gate = h.gate.Again(hello)
		return nil
	}
	h.gate, err = consensus.NewGatekeeper("", hello, log)
	return err
}

// emptied gives the machine another disk, with nothing on it.
func (c *cluster) emptied(h *host) {
	c.crash(h)
	h.mu.Lock()
	h.lost.Store(true)
	h.disk, h.label, h.snaps, h.gate, h.starts = newDisk(), h.label+"-replaced", raft.NewInmemSnapshotStore(), nil, 0
	h.mu.Unlock()
	h.turning.Lock()
	h.turned = 0
	h.turning.Unlock()
	if h.said.Swap(false) {
		c.world.note(oracle.Forgets, "", h.id, "")
	}
}

// backup is a copy of a node's data directory.
type backup struct {
	disk   *disk
	gate   *consensus.Gatekeeper
	starts uint64
}

// backups copies the data directories of all nodes that run.
func (c *cluster) backups() (map[string]backup, error) {
	out := map[string]backup{}
	for name, h := range c.hosts {
		if h.live() == nil {
			continue
		}
		d, err := h.disk.copied()
		if err != nil {
			return nil, err
		}
		h.mu.Lock()
		out[name] = backup{d, h.gate.Again(h.gate.Self()), h.starts}
		h.mu.Unlock()
	}
	return out, nil
}

// restore stops nodes and gives them their backups; nobody starts them.
func (c *cluster) restore(from map[string]backup) {
	for name, b := range from {
		h := c.hosts[name]
		c.crash(h)
		h.mu.Lock()
		h.disk, h.gate, h.starts, h.snaps = b.disk, b.gate, b.starts, raft.NewInmemSnapshotStore()
		h.mu.Unlock()
	}
}

func (h *host) gatekeeper() *consensus.Gatekeeper {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gate
}

// greet says why two nodes do not speak raft with each other; nil: they do.
func greet(a, b *host) error {
	ga, gb := a.gatekeeper(), b.gatekeeper()
	if ga == nil || gb == nil {
		return errors.New("connection refused")
	}
	if err := ga.Judge(gb.Self()); err != nil {
		return err
	}
	return gb.Judge(ga.Self())
}

// errRefused is why a process that asks the others does not start.
var errRefused = errors.New("the others refuse it")

// open opens the parts of a host's process, once the others have been asked.
func (c *cluster) open(ctx context.Context, h *host, boot string, trans *transport, disk *handle, onApply func(failover.Result, failover.Command)) (*consensus.Node, *monitor.Monitor, *peers, error) {
	eyes, err := c.newMonitor(h, c.chance())
	if err != nil {
		return nil, nil, nil, err
	}
	peers := &peers{cluster: c, self: h.id}
	hello := h.gatekeeper().Self()
	if err := daemon.MayStart(hello, daemon.Inquire(ctx, peers, hello, c.membersOf(h))); err != nil {
		return nil, nil, nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	node, err := consensus.Open(consensus.Config{
		ID: failover.NodeID(h.id), Timers: c.timers,
		Transport: trans, Logs: disk, Stable: disk, Snapshots: h.snaps, Forwarder: peers, Log: c.log, Fatal: c.died(h, boot), OnApply: onApply,
	})
	return node, eyes, peers, err
}

// membersOf are the cluster's nodes as a host knows them.
func (c *cluster) membersOf(h *host) map[failover.NodeID]failover.NodeSpec {
	if g := h.gatekeeper(); g != nil && g.Members() != nil {
		return g.Members()
	}
	return c.settings.Nodes
}

// died is called when a node must not go on: its process ends, and its service
// manager starts it again. A disk that hangs is a reason, and that a machine with
// another disk is refused; everything else is a violation.
func (c *cluster) died(h *host, boot string) func(error) {
	return func(err error) {
		hangs, refused := strings.Contains(err.Error(), "hangs"), h.lost.Load() && strings.Contains(err.Error(), "must not take part")
		if !hangs && !refused {
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

// peers carries the nodes' requests over the simulated network.
type peers struct {
	cluster *cluster
	self    string
}

// to delivers a request and its reply.
func to[R any](ctx context.Context, p *peers, target failover.NodeID, call func(ctx context.Context, core *daemon.Core) (R, error)) (R, error) {
	return deliver(ctx, p.cluster.net, p.self, string(target), func(ctx context.Context) (R, error) {
		core := p.cluster.hosts[string(target)].live()
		if core == nil {
			var zero R
			return zero, errors.New("connection refused")
		}
		return call(ctx, core)
	})
}

func (p *peers) Forward(ctx context.Context, target failover.NodeID, prop consensus.Proposal) (consensus.Reply, error) {
	return to(ctx, p, target, func(ctx context.Context, c *daemon.Core) (consensus.Reply, error) {
		return c.TakeProposal(ctx, failover.NodeID(p.self), prop), nil
	})
}

func (p *peers) Ballot(ctx context.Context, target failover.NodeID, b failover.Ballot) error {
	if p.cluster.net.losesVotes(p.self) {
		<-ctx.Done()
		return ctx.Err()
	}
	_, err := to(ctx, p, target, func(_ context.Context, c *daemon.Core) (struct{}, error) {
		return struct{}{}, c.TakeBallot(failover.NodeID(p.self), b)
	})
	return err
}

func (p *peers) Ask(ctx context.Context, target failover.NodeID, a fence.Ask) (fence.Answer, error) {
	return to(ctx, p, target, func(ctx context.Context, c *daemon.Core) (fence.Answer, error) { return c.TakeAsk(ctx, a, true) })
}

func (p *peers) Second(ctx context.Context, target failover.NodeID, request string) (*fence.Vouch, error) {
	return to(ctx, p, target, func(_ context.Context, c *daemon.Core) (*fence.Vouch, error) {
		return c.TakeSecond(failover.NodeID(p.self), request)
	})
}

func (p *peers) View(ctx context.Context, target failover.NodeID) (daemon.LeaderView, error) {
	return to(ctx, p, target, func(_ context.Context, c *daemon.Core) (daemon.LeaderView, error) { return c.LocalView() })
}

func (p *peers) Applied(ctx context.Context, target failover.NodeID) (uint64, error) {
	return to(ctx, p, target, func(_ context.Context, c *daemon.Core) (uint64, error) { return c.Node().State().Index, nil })
}

// Standing implements daemon.Inquirer.
func (p *peers) Standing(ctx context.Context, target failover.NodeID, h consensus.Hello) (daemon.Standing, error) {
	host := p.cluster.hosts[string(target)]
	return to(ctx, p, target, func(_ context.Context, c *daemon.Core) (daemon.Standing, error) {
		_, member := p.cluster.membersOf(host)[h.Node]
		return daemon.StandingOf(h, member, host.gatekeeper(), c), nil
	})
}

// badge stands for a certificate and its key: "node NAME" or "agent REGION". Only its
// owner signs with it; what is made up in another's name is not signed.
type badge string

// Sign implements daemon.Signer.
func (b badge) Sign(statement []byte) (*fence.Vouch, error) {
	return &fence.Vouch{Chain: [][]byte{[]byte(b)}, Signature: slices.Concat([]byte(b), statement)}, nil
}

// whose is who has signed a statement.
func whose(statement []byte, by *fence.Vouch) (badge, error) {
	if by == nil || len(by.Chain) != 1 || !bytes.Equal(by.Signature, slices.Concat(by.Chain[0], statement)) {
		return "", errors.New("it is not signed")
	}
	return badge(by.Chain[0]), nil
}

// Vouched implements daemon.Signer.
func (badge) Vouched(a fence.Ask) error {
	who, err := whose(a.Statement(), a.Vouch)
	if err == nil && who != badge("agent "+a.Region) {
		err = fmt.Errorf("%s is not an agent of %s", who, a.Region)
	}
	return err
}

// Node implements daemon.Signer.
func (badge) Node(statement []byte, by *fence.Vouch) (failover.NodeID, error) {
	who, err := whose(statement, by)
	name, ok := strings.CutPrefix(string(who), "node ")
	if err == nil && !ok {
		err = fmt.Errorf("%s is not a node", who)
	}
	return failover.NodeID(name), err
}

// signed is a request as its agent sends it.
func signed(a fence.Ask) fence.Ask {
	a.Vouch, _ = badge("agent " + a.Region).Sign(a.Statement()) // it always can
	return a
}

// ask is an agent's way to the nodes: those of its own site first. As in
// daemon.leaseCaller, an answer that does not count is as good as none.
func (c *cluster) ask(ctx context.Context, site string, a fence.Ask) (fence.Answer, error) {
	a.Nodes = slices.Sorted(maps.Keys(c.settings.Nodes)) // of their file, which nobody changes
	a = signed(a)
	// Agents have been told of no node that is off.
	order := slices.DeleteFunc(slices.Clone(c.names), func(n string) bool { return c.hosts[n].off.Load() })
	slices.SortStableFunc(order, func(x, y string) int {
		near := func(n string) int {
			if c.hosts[n].site == site {
				return 0
			}
			return 1
		}
		return near(x) - near(y)
	})
	return fence.Hedged(ctx, order, c.settings.Policy.Lease.Retry()/2, func(ctx context.Context, name string) (fence.Answer, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		ans, err := to(ctx, &peers{cluster: c, self: site}, failover.NodeID(name), func(ctx context.Context, core *daemon.Core) (fence.Answer, error) {
			if lies := c.hosts[name].lies.Load(); lies != nil {
				return (*lies)(ctx, core, a)
			}
			return core.TakeAsk(ctx, a, false)
		})
		if err != nil {
			return ans, err
		}
		return ans, ans.Believe(a, badge("").Node)
	})
}
