package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/failover"
)

// Tenure is one node's leadership in one term. Every proposal of a tenure
// carries its term and is refused by Apply if it lands in another (rule E1).
type Tenure struct {
	node *Node
	Term uint64
}

// Propose commits a leader-only command in this term. An error other than a
// *failover.Refusal means that the outcome is unknown or that the term is over.
func (t *Tenure) Propose(ctx context.Context, c failover.Command, why string) (failover.Result, error) {
	n := t.node
	c = failover.Reduced(c, n.State().Level())
	if err := n.State().Allowed(c); err != nil {
		return failover.Result{}, err
	}
	data, err := n.codec.Encode(failover.Meta{ProposedTerm: t.Term, At: n.now(), Node: n.id, Why: why}, c)
	if err != nil {
		return failover.Result{}, err
	}
	res, err := n.apply(ctx, data)
	if err != nil {
		return res, err
	}
	if res.Term != t.Term {
		return res, fmt.Errorf("%s landed in term %d, not %d: %w", c.Name(), res.Term, t.Term, ErrNotLeader)
	}
	return res, nil
}

// Prove returns nil when this node was the leader of the term at some moment
// after the call began: an entry of this term, appended after the call, was
// committed (rule G1). It is one quorum round.
//
// raft's VerifyLeader is no substitute: it credits replies to heartbeats that
// were sent before the call, and those of non-voters.
func (t *Tenure) Prove(ctx context.Context) error {
	_, err := t.Propose(ctx, failover.Round{}, "")
	return err
}

// State is the node's state; within a tenure it contains everything that was
// committed before the tenure's barrier.
func (t *Tenure) State() *failover.State { return t.node.State() }

// Changed is Node.Changed.
func (t *Tenure) Changed() <-chan struct{} { return t.node.Changed() }

// Node is the ID of the leading node.
func (t *Tenure) Node() failover.NodeID { return t.node.id }

// Lead runs fn for each term in which this node leads, one at a time, after the
// term's barrier has been applied. fn's context ends when the leadership may
// have ended; fn must return promptly then. Lead returns when ctx ends.
func (n *Node) Lead(ctx context.Context, fn func(ctx context.Context, t *Tenure)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.gone:
			return
		case leads := <-n.notify:
			// Loss and regain arrive as separate events: raft blocks until each
			// is read, so none is missed.
			for leads {
				leads = n.serve(ctx, fn)
			}
		}
	}
}

// serve runs one tenure and returns whether the event that ended it says that
// this node leads again.
func (n *Node) serve(ctx context.Context, fn func(ctx context.Context, t *Tenure)) (again bool) {
	leaderCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		t, err := n.barrier(leaderCtx)
		if err != nil {
			if leaderCtx.Err() == nil {
				n.log.Warn("leadership ended before its barrier was applied", "error", err)
			}
			return
		}
		n.log.Info("leading", "term", t.Term)
		pulse := make(chan struct{})
		go func() { defer close(pulse); n.pulse(leaderCtx, t) }()
		fn(leaderCtx, t)
		<-pulse
		n.log.Info("no longer leading", "term", t.Term)
	}()
	select {
	case <-ctx.Done():
	case <-n.gone:
	case again = <-n.notify:
	}
	cancel()
	<-done
	return again
}

// pulse writes an entry whenever a leader has written none for two heartbeats: a
// disk that hangs is noticed by a write, and an idle leader makes none.
func (n *Node) pulse(ctx context.Context, t *Tenure) {
	every := 2 * n.heartbeat
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := n.raft.LastIndex()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := n.raft.LastIndex(); now != last {
			last = now
			continue
		}
		pctx, cancel := context.WithTimeout(ctx, every)
		_ = t.Prove(pctx) // whoever must not lead any more hears it from raft
		cancel()
		last = n.raft.LastIndex()
	}
}

// barrier commits the first entry of the term and waits until it is applied:
// from then on the state contains all that earlier leaders committed.
func (n *Node) barrier(ctx context.Context) (*Tenure, error) {
	for {
		t := &Tenure{node: n, Term: n.raft.CurrentTerm()}
		_, err := t.Propose(ctx, failover.Lead{Node: n.id}, "")
		var refusal *failover.Refusal
		switch {
		case err == nil:
			return t, nil
		case errors.As(err, &refusal) && n.raft.State() == raft.Leader:
			// The term moved on between reading and committing: once more.
		case n.raft.State() != raft.Leader || ctx.Err() != nil:
			return nil, err
		default:
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// transferLimit bounds how long TransferTo waits: raft's own limit is its
// election timer, but a raft whose disk hangs never answers.
const transferLimit = 5 * time.Second

// TransferTo gives the leadership to another voter. It returns when the
// transfer has begun; the tenure's context ends when it has succeeded.
func (n *Node) TransferTo(id failover.NodeID) error {
	servers, err := n.Members()
	if err != nil {
		return err
	}
	for _, s := range servers {
		if s.ID == raft.ServerID(id) {
			if err := n.within(transferLimit, func() error { return n.raft.LeadershipTransferToServer(s.ID, s.Address).Error() }); err != nil {
				return fmt.Errorf("giving the leadership to %s: %w", id, err)
			}
			return nil
		}
	}
	return fmt.Errorf("giving the leadership to %s: it is not a member", id)
}

var (
	errHung   = errors.New("this node's disk hangs")
	errClosed = errors.New("this node is shut down")
)

// within waits for an answer of raft, but not for ever.
func (n *Node) within(limit time.Duration, ask func() error) error {
	select {
	case <-n.gone:
		return errHung
	default:
	}
	done := make(chan error, 1)
	n.closing.RLock()
	if n.closed {
		n.closing.RUnlock()
		return errClosed
	}
	n.asking.Add(1)
	n.closing.RUnlock()
	go func() {
		defer n.asking.Done()
		done <- ask()
	}()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-n.gone:
		return errHung
	case <-t.C:
		return fmt.Errorf("raft did not answer within %s", limit)
	}
}
