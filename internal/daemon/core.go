// Package daemon is the composition root: it joins the packages into a node and
// an agent, and nothing else does.
//
// core.go and leader.go are the part of a node that knows neither files nor
// sockets, so that the simulation runs exactly it.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/fence"
)

// Peers reaches the other nodes.
type Peers interface {
	consensus.Forwarder
	// Ballot brings a ballot to a node that is believed to lead.
	Ballot(ctx context.Context, to failover.NodeID, b failover.Ballot) error
	// Ask brings an agent's request to a node that is believed to lead.
	Ask(ctx context.Context, to failover.NodeID, a fence.Ask) (fence.Answer, error)
	// Second asks a node for its word that it follows this one, for an agent's request.
	Second(ctx context.Context, to failover.NodeID, request string) (*fence.Vouch, error)
	// View asks a node that is believed to lead for what only a leader knows.
	View(ctx context.Context, to failover.NodeID) (LeaderView, error)
	// Applied asks a node how much of the log it has applied.
	Applied(ctx context.Context, to failover.NodeID) (uint64, error)
}

// CoreConfig is what a Core is made of.
type CoreConfig struct {
	ID      failover.NodeID
	Vantage failover.Region
	// Settings of the node's own file, and its text. They count only for the first
	// configuration of a cluster, once they are committed.
	Settings   failover.Settings
	ConfigHash string
	Source     string
	// Record is what the node says of itself when it registers.
	Record failover.NodeRecord
	// Verdicts are the node's own opinions now.
	Verdicts func() []failover.Verdict
	// Changed is signalled when they change. May be nil.
	Changed <-chan struct{}
	Peers   Peers
	Signer  Signer
	World   actions.World
	Exec    actions.Options
	// LookAge is how old the newest look behind a vote on a component may be: its
	// probes' interval and time-out. Nil: looks are as new as their votes.
	LookAge func(failover.Component) time.Duration
	// OnDecision is called with every decision of this node as leader. May be nil.
	OnDecision func(failover.Decision)
	// Fatal is called when the node must not go on. It must not block.
	Fatal func(error)
	Log   *slog.Logger
}

// Core is a node without its sockets and files.
type Core struct {
	cfg  CoreConfig
	node *consensus.Node
	boot string
	seq  atomic.Uint64
	lead atomic.Pointer[leadership]

	handing sync.Mutex
	handed  map[string]time.Time // when this node gave the leadership away, by what for; under handing
}

// NewCore returns a core over an open consensus node. Run makes it work.
func NewCore(cfg CoreConfig, node *consensus.Node) *Core {
	return &Core{cfg: cfg, node: node, boot: consensus.NewID()}
}

// Node is the consensus node beneath.
func (c *Core) Node() *consensus.Node { return c.node }

// Leads reports whether this node leads and has passed its barrier.
func (c *Core) Leads() bool { return c.lead.Load() != nil }

// Run works until ctx ends.
func (c *Core) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { c.node.Lead(ctx, c.serve) })
	wg.Go(func() { c.vote(ctx) })
	wg.Go(func() { c.register(ctx) })
	wg.Wait()
}

// ballotEvery is how often a node votes: five times within the time that a vote
// stays fresh.
func (c *Core) ballotEvery() time.Duration {
	ttl := c.cfg.Settings.Policy.VoteTTL.D()
	if s := c.node.State().Settings; s != nil {
		ttl = s.Policy.VoteTTL.D()
	}
	return max(ttl/5, 10*time.Millisecond)
}

// vote sends this node's opinion to the leader regularly and on every change.
func (c *Core) vote(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	sending := make(chan struct{}, 3) // a leader that hangs holds up nothing
	for {
		b := failover.Ballot{
			Node: c.cfg.ID, Vantage: c.cfg.Vantage, Boot: c.boot, Seq: c.seq.Add(1), Verdicts: c.cfg.Verdicts(),
		}
		every := c.ballotEvery()
		if leader := c.node.Leader(); leader == c.cfg.ID {
			_ = c.TakeBallot(c.cfg.ID, b) // not leading yet: the next one counts
		} else if leader != "" {
			select {
			case sending <- struct{}{}:
				wg.Go(func() {
					defer func() { <-sending }()
					bctx, cancel := context.WithTimeout(ctx, 2*every)
					defer cancel()
					if err := c.cfg.Peers.Ballot(bctx, leader, b); err != nil {
						c.cfg.Log.Debug("the leader did not take our vote", "leader", leader, "error", err)
					}
				})
			default:
			}
		}
		t := time.NewTimer(every)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-c.cfg.Changed:
		case <-t.C:
		}
		t.Stop()
	}
}

// register tells the cluster that this node has started, until it knows.
func (c *Core) register(ctx context.Context) {
	rec := c.cfg.Record
	for {
		known, ok := c.node.State().Nodes[c.cfg.ID]
		if ok && known.Disk == rec.Disk && known.Starts == rec.Starts && known.ConfigHash == rec.ConfigHash {
			return
		}
		pctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := c.node.Propose(pctx, failover.Meta{By: "node " + string(c.cfg.ID)}, failover.RegisterNode{Node: c.cfg.ID, Record: rec})
		cancel()
		var refusal *failover.Refusal
		if errors.As(err, &refusal) {
			c.cfg.Fatal(refusal)
			return
		}
		t := time.NewTimer(500 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// errNotLeading is what a node answers that is asked for what only a leader can
// do.
var errNotLeading = errors.New("this node does not lead")

// TakeBallot takes a node's ballot in. from is who sent it, by certificate.
func (c *Core) TakeBallot(from failover.NodeID, b failover.Ballot) error {
	l := c.lead.Load()
	if l == nil {
		return errNotLeading
	}
	if b.Node != from {
		return fmt.Errorf("%s cannot vote for %s", from, b.Node)
	}
	spec, ok := c.cfg.Settings.Nodes[from]
	if s := c.node.State().Settings; s != nil {
		spec, ok = s.Nodes[from]
	}
	if !ok || spec.Vantage != b.Vantage {
		return fmt.Errorf("%s votes for vantage %s, but stands in %s", from, b.Vantage, spec.Vantage)
	}
	l.take(b)
	return nil
}

// TakeProposal handles a proposal that another node forwarded.
func (c *Core) TakeProposal(ctx context.Context, from failover.NodeID, p consensus.Proposal) consensus.Reply {
	return c.node.Receive(ctx, from, p)
}

// TakeAsk handles an agent's request: it answers as leader, and passes it on
// otherwise. An ask that another node passed on is not passed on again, and counts
// only with the agent's signature: a node must not speak for agents (S10).
func (c *Core) TakeAsk(ctx context.Context, a fence.Ask, passedOn bool) (fence.Answer, error) {
	l := c.lead.Load()
	switch {
	case l != nil && passedOn:
		if err := c.cfg.Signer.Vouched(a); err != nil {
			return fence.Answer{}, fmt.Errorf("%w: agent %s of %s in %s: %w", errNotVouched, a.Agent, a.Component, a.Region, err)
		}
		return c.answer(ctx, l, a, true)
	case l != nil:
		return c.answer(ctx, l, a, false)
	case passedOn:
		return fence.Answer{}, errNotLeading
	}
	leader := c.node.Leader()
	if leader == "" || leader == c.cfg.ID {
		return fence.Answer{}, consensus.ErrNoLeader
	}
	return c.cfg.Peers.Ask(ctx, leader, a)
}

// errNotVouched is why a request that a node has passed on is refused.
var errNotVouched = errors.New("a request that another node has passed on is not the agent's own word")

// Propose commits a person's command.
func (c *Core) Propose(ctx context.Context, by, why string, cmd failover.Command) (failover.Result, error) {
	return c.node.Propose(ctx, failover.Meta{By: by, Why: why}, cmd)
}

// LeaderView is what only the leader knows: soft state that is not in the log.
type LeaderView struct {
	Node        failover.NodeID            `json:"node"`
	Term        uint64                     `json:"term"`
	Judgement   failover.Judgement         `json:"judgement"`
	HoldElapsed failover.Duration          `json:"hold_elapsed"`
	Hold        failover.Duration          `json:"hold"`
	Votes       []failover.Vote            `json:"votes"`
	Progress    map[failover.StepID]string `json:"progress,omitempty"`
	FreezeAge   failover.Duration          `json:"freeze_age,omitempty"`
	FreezeWait  failover.Duration          `json:"freeze_wait,omitempty"`
	// Sights are what the leader saw when it looked last at what its plan would
	// change, SurveyAge ago; zero: not yet.
	Sights    []actions.Sight   `json:"sights,omitempty"`
	SurveyAge failover.Duration `json:"survey_age,omitempty"`
	// Uncounted says of which components the leader could not count what is at risk when it tried last, and why.
	Uncounted map[failover.Component]string `json:"uncounted,omitempty"`
	// Files are the nodes that the agents know which this leader has heard.
	Files map[failover.AgentID][]failover.NodeID `json:"files,omitempty"`
}

// View returns the leader's view, asking the leader if this node is not it.
func (c *Core) View(ctx context.Context) (LeaderView, error) {
	if l := c.lead.Load(); l != nil {
		return l.view(), nil
	}
	leader := c.node.Leader()
	if leader == "" || leader == c.cfg.ID {
		return LeaderView{}, consensus.ErrNoLeader
	}
	return c.cfg.Peers.View(ctx, leader)
}

// LocalView is View without asking anybody.
func (c *Core) LocalView() (LeaderView, error) {
	if l := c.lead.Load(); l != nil {
		return l.view(), nil
	}
	return LeaderView{}, errNotLeading
}
