// Package consensus is the raft node of failoverd: the replicated log of facts
// and intentions, and who may write what into it.
//
// It adds to hashicorp/raft what a safety-critical user needs and the library
// leaves open: leader-only commands that count only in the term of their
// proposer (rule E1), leadership that is proven by a committed entry and never
// by VerifyLeader (rule G1), one leader function per term whose context dies
// with the term, and proposals that find the leader from anywhere. DESIGN.md
// in this directory gives the reasons.
package consensus

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/failover"
)

// The errors of a proposal.
var (
	// ErrNoLeader means that no leader is known: there is no quorum, or an
	// election is under way.
	ErrNoLeader = errors.New("no leader is known: there is no quorum, or an election is under way")
	// ErrNotLeader means that a leader-only command was proposed elsewhere, or
	// in an earlier term.
	ErrNotLeader = errors.New("this node is not the leader of that term")
	// ErrUnknownOutcome means that the command may or may not be committed, now
	// or later. Read the state before you repeat it.
	ErrUnknownOutcome = errors.New("the outcome is unknown: the command may still be committed")
)

// Forwarder carries a proposal to the leader.
type Forwarder interface {
	// Forward sends an encoded proposal to the given node and returns its
	// answer. Implementations authenticate themselves; the receiver stamps the
	// time.
	Forward(ctx context.Context, to failover.NodeID, p Proposal) (Reply, error)
}

// Proposal is a forwarded command.
type Proposal struct {
	Entry []byte `json:"entry"` // encoded by Codec; its time is stamped again by the leader
}

// Reply is the leader's answer to a Proposal.
type Reply struct {
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	// Guard and Refused are set when Apply refused the command.
	Guard   string `json:"guard,omitempty"`
	Refused string `json:"refused,omitempty"`
	// Failed is any other failure; Unknown says that the command may still land.
	Failed  string `json:"failed,omitempty"`
	Unknown bool   `json:"unknown,omitempty"`
	// Forbidden says that no sender may propose this: for the node that refused it, and
	// not sent.
	Forbidden bool `json:"-"`
}

// Config is what a node is made of.
type Config struct {
	ID failover.NodeID
	// Voters are the cluster at its first start; an empty store is bootstrapped
	// with them. With none it waits: for Bootstrap, or for a leader of the cluster
	// that it belongs to.
	Voters    []raft.Server
	Timers    Timers
	Transport raft.Transport
	Logs      raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
	Forwarder Forwarder
	Log       *slog.Logger
	// Fatal is called once when the node must stop: an unknown command, an
	// unreadable snapshot. It must not block.
	Fatal func(error)
	// OnApply is called for each applied entry, in log order, before any reader
	// sees the new state. It must be quick and must not call the node. May be nil.
	OnApply func(failover.Result, failover.Command)

	// codec is that of an older version, in tests; nil: this version's.
	codec *Codec
}

// Timers are raft's. The zero value of each is not allowed.
type Timers struct {
	Heartbeat   time.Duration // of silence before a follower stands for election
	Election    time.Duration
	LeaderLease time.Duration // without a quorum before a leader steps down; at most Heartbeat
	Commit      time.Duration
}

// Node is a running raft node. All methods are safe for concurrent use.
type Node struct {
	id    failover.NodeID
	raft  *raft.Raft
	fsm   *fsm
	codec *Codec
	fwd   Forwarder
	log   *slog.Logger

	notify chan bool
	now    func() time.Time

	heartbeat time.Duration
	place     place
	gone      chan struct{} // closed when the disk has hung: raft's main loop stands still

	transport raft.Transport
	asking    sync.WaitGroup // questions to raft that it has not answered yet
	closing   sync.RWMutex   // none is asked any more once closed is set
	closed    bool

	closeOnce sync.Once
	closeErr  error
}

// Open starts the node.
func Open(cfg Config) (*Node, error) {
	n := &Node{
		id: cfg.ID, codec: NewCodec(), fwd: cfg.Forwarder, log: cfg.Log,
		notify: make(chan bool, 64), now: time.Now, heartbeat: cfg.Timers.Heartbeat, gone: make(chan struct{}), transport: cfg.Transport,
	}
	if cfg.codec != nil {
		n.codec = cfg.codec
	}
	n.fsm = newFSM(n.codec, cfg.Log, cfg.Fatal, cfg.OnApply)

	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(cfg.ID)
	rc.HeartbeatTimeout = cfg.Timers.Heartbeat
	rc.ElectionTimeout = cfg.Timers.Election
	rc.LeaderLeaseTimeout = cfg.Timers.LeaderLease
	rc.CommitTimeout = cfg.Timers.Commit
	rc.SnapshotThreshold = 2048
	rc.TrailingLogs = 1024
	rc.NotifyCh = n.notify
	rc.NoLegacyTelemetry = true
	rc.Logger = NewRaftLogger(cfg.Log)
	if err := raft.ValidateConfig(rc); err != nil {
		return nil, fmt.Errorf("raft timers: %w", err)
	}
	has, err := raft.HasExistingState(cfg.Logs, cfg.Stable, cfg.Snapshots)
	if err != nil {
		return nil, fmt.Errorf("reading the raft store: %w", err)
	}
	if !has && len(cfg.Voters) > 0 {
		err := raft.BootstrapCluster(rc, cfg.Logs, cfg.Stable, cfg.Snapshots, cfg.Transport, raft.Configuration{Servers: cfg.Voters})
		if err != nil {
			return nil, fmt.Errorf("writing the first configuration: %w", err)
		}
	}
	disk := newWatchful(cfg.Logs, cfg.Stable, cfg.Fatal)
	disk.watch(2*cfg.Timers.Heartbeat+cfg.Timers.Election, n.place.leads, n.hang)
	n.raft, err = raft.NewRaft(rc, n.fsm, disk, disk, cfg.Snapshots, cfg.Transport)
	if err != nil {
		return nil, fmt.Errorf("starting raft: %w", err)
	}
	n.place.raft.Store(n.raft)
	if b, ok := cfg.Transport.(interface{ bind(*place) }); ok {
		b.bind(&n.place)
	}
	return n, nil
}

// hang takes the node off the network and ends its tenure, when its disk hangs.
// Raft's main loop stands still: nothing here waits for it.
func (n *Node) hang() {
	close(n.gone)
	if t, ok := n.transport.(raft.WithClose); ok {
		_ = t.Close() // the process ends; there is nobody to tell
	}
}

// Close shuts raft down and waits for it. It may be called more than once. On a
// node whose disk hangs it returns at once: raft cannot end before the disk
// answers, and the process must.
func (n *Node) Close() error {
	n.closeOnce.Do(func() {
		done := make(chan error, 1)
		go func() {
			// A transfer of the leadership ends by raft's own timer; a raft that is
			// shut down in the middle of one, or before it, never answers.
			n.closing.Lock()
			n.closed = true
			n.closing.Unlock()
			n.asking.Wait()
			done <- n.raft.Shutdown().Error()
		}()
		select {
		case n.closeErr = <-done:
		case <-n.gone:
			n.closeErr = fmt.Errorf("raft was left behind: %w", errHung)
		}
	})
	return n.closeErr
}

// Bootstrap begins a cluster with these voters, on a node that was opened with
// an empty store and without voters. On one that has heard of a cluster
// meanwhile it does nothing.
func (n *Node) Bootstrap(voters []raft.Server) error {
	err := n.within(transferLimit, func() error { return n.raft.BootstrapCluster(raft.Configuration{Servers: voters}).Error() })
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("beginning a cluster: %w", err)
	}
	return nil
}

// ID is the node's own name.
func (n *Node) ID() failover.NodeID { return n.id }

// State returns the state as this node has applied it. It never changes
// afterwards and may lag behind the leader's.
func (n *Node) State() *failover.State { return n.fsm.view() }

// Changed returns a channel that is closed at the next change of the state.
// Take it before State, or a change in between is missed.
func (n *Node) Changed() <-chan struct{} { return n.fsm.wait() }

// Leader is the node that this one believes to lead; "" for none.
func (n *Node) Leader() failover.NodeID {
	_, id := n.raft.LeaderWithID()
	return failover.NodeID(id)
}

// Stats are raft's own numbers, for status and metrics.
func (n *Node) Stats() map[string]string { return n.raft.Stats() }

// LastContact is when a follower last heard its leader.
func (n *Node) LastContact() time.Time { return n.raft.LastContact() }

// Members lists the servers of the newest raft configuration.
func (n *Node) Members() ([]raft.Server, error) {
	f := n.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, fmt.Errorf("reading the membership: %w", err)
	}
	return f.Configuration().Servers, nil
}

// Propose commits a command of a node or a person, forwarding it if this node
// does not lead. A *failover.Refusal means that the command's preconditions did
// not hold. ErrUnknownOutcome means what it says; sending the same ID again is
// safe.
func (n *Node) Propose(ctx context.Context, m failover.Meta, c failover.Command) (failover.Result, error) {
	if c.LeaderOnly() {
		return failover.Result{}, fmt.Errorf("%s: %w", c.Name(), ErrNotLeader)
	}
	if m.ID == "" {
		m.ID = NewID()
	}
	m = ordered(m, n.id)
	m.At = n.now()
	data, err := n.codec.Encode(m, c)
	if err != nil {
		return failover.Result{}, err
	}
	if n.raft.State() == raft.Leader {
		if err := n.State().Allowed(c); err != nil {
			return failover.Result{}, err
		}
		res, err := n.apply(ctx, data)
		if !errors.Is(err, ErrNotLeader) {
			return res, err
		}
	}
	leader := n.Leader()
	if leader == "" || leader == n.id {
		return failover.Result{}, ErrNoLeader
	}
	reply, err := n.fwd.Forward(ctx, leader, Proposal{Entry: data})
	if err != nil {
		return failover.Result{}, fmt.Errorf("forwarding %s to %s: %w: %w", c.Name(), leader, ErrUnknownOutcome, err)
	}
	res := failover.Result{Index: reply.Index, Term: reply.Term}
	switch {
	case reply.Refused != "":
		res.Err = &failover.Refusal{Guard: reply.Guard, Text: reply.Refused}
		return res, res.Err
	case reply.Unknown:
		return res, fmt.Errorf("%s: %w", reply.Failed, ErrUnknownOutcome)
	case reply.Failed != "":
		return res, errors.New(reply.Failed)
	}
	return res, nil
}

// Receive handles a proposal that another node forwarded. Leader-only commands
// are refused: they are never forwarded (rule E1).
func (n *Node) Receive(ctx context.Context, from failover.NodeID, p Proposal) (out Reply) {
	proposed := false
	defer func() { out.Forbidden = !proposed }() // what ends before that, nobody may ask for
	m, cmd, _, err := n.codec.Decode(p.Entry)
	if err != nil || cmd == nil {
		return Reply{Failed: fmt.Sprintf("the proposal of %s cannot be read: %v", from, err)}
	}
	if cmd.LeaderOnly() {
		n.log.Warn("refused a leader-only command from another node", "from", from, "command", cmd.Name())
		return Reply{Failed: cmd.Name() + " is a leader's command and is never forwarded"}
	}
	// The sender's certificate says who it is, not its message; the leader's
	// clock says when.
	m = ordered(m, from)
	m.At = n.now()
	if reg, ok := cmd.(failover.RegisterNode); ok && reg.Node != from {
		return Reply{Failed: fmt.Sprintf("node %s cannot register as %s", from, reg.Node)}
	}
	data, err := n.codec.Encode(m, cmd)
	if err != nil {
		return Reply{Failed: err.Error()}
	}
	proposed = true
	var res failover.Result
	if err = n.State().Allowed(cmd); err == nil {
		res, err = n.apply(ctx, data)
	}
	reply := Reply{Index: res.Index, Term: res.Term}
	var refusal *failover.Refusal
	switch {
	case errors.As(err, &refusal):
		reply.Guard, reply.Refused = refusal.Guard, refusal.Text
	case err != nil:
		reply.Failed, reply.Unknown = err.Error(), errors.Is(err, ErrUnknownOutcome)
		if errors.Is(err, ErrNotLeader) {
			reply.Failed = fmt.Sprintf("%s, where this was sent, does not lead any more, and has changed nothing: give it again when another node leads (%v)", n.id, err)
		}
	}
	return reply
}

// ordered marks what comes through a node: it is never what the leader does of its own
// accord.
func ordered(m failover.Meta, through failover.NodeID) failover.Meta {
	m.Node, m.ProposedTerm = through, 0
	if m.By == "" {
		m.By = "node " + string(through)
	}
	return m
}

// apply commits an encoded entry on this node as leader and waits for it.
func (n *Node) apply(ctx context.Context, data []byte) (failover.Result, error) {
	wait := 5 * time.Second
	if dl, ok := ctx.Deadline(); ok {
		wait = max(time.Until(dl), time.Millisecond)
	}
	// Both the handing over and the waiting happen aside: raft takes nothing while
	// its disk hangs, and the caller must be able to leave.
	var future raft.ApplyFuture
	done := make(chan error, 1)
	go func() {
		future = n.raft.Apply(data, wait)
		done <- future.Error()
	}()
	select {
	case err := <-done:
		switch {
		case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
			return failover.Result{}, fmt.Errorf("%w (%w)", ErrNotLeader, err)
		case err != nil:
			// Leadership was lost while the entry was on its way, or raft did
			// not take it in time, or was shut down: it says that of entries too
			// that are committed.
			return failover.Result{}, fmt.Errorf("%w (%w)", ErrUnknownOutcome, err)
		}
		res, ok := future.Response().(failover.Result)
		if !ok {
			return failover.Result{}, fmt.Errorf("raft returned %T instead of a result", future.Response())
		}
		return res, res.Err
	case <-ctx.Done():
		return failover.Result{}, fmt.Errorf("%w (%w)", ErrUnknownOutcome, ctx.Err())
	}
}

// NewID returns a random command ID.
func NewID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // documented never to fail
	return hex.EncodeToString(b[:])
}
