package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/failover"
)

// trio is three nodes in one bubble of fake time, over raft's in-memory
// transport.
type trio struct {
	t      *testing.T
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	hosts  map[failover.NodeID]*host
	ids    []failover.NodeID
	fatals chan error
}

type host struct {
	id    failover.NodeID
	store *tap
	codec *Codec // of an older version; nil: this one
	snaps *raft.InmemSnapshotStore

	mu      sync.Mutex
	node    *Node
	trans   *raft.InmemTransport
	cut     bool
	tenures []*tenureOf
	applied []failover.Command
}

// tenureOf is one call of Lead's function.
type tenureOf struct {
	*Tenure
	ctx   context.Context
	state *failover.State // when it began
}

// bubble runs fn with a cluster of three that has a configuration.
func bubble(t *testing.T, fn func(c *trio)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &trio{t: t, hosts: map[failover.NodeID]*host{}, ids: []failover.NodeID{"n1", "n2", "n3"}, fatals: make(chan error, 10)}
		c.ctx, c.cancel = context.WithCancel(context.Background())
		for _, id := range c.ids {
			c.hosts[id] = &host{id: id, store: newTap(), snaps: newSnaps()}
		}
		for _, id := range c.ids {
			c.boot(id)
		}
		defer func() {
			c.cancel()
			for _, id := range c.ids {
				c.stop(id)
			}
			c.wg.Wait()
		}()
		fn(c)
	})
}

// Forward carries a proposal as the daemon's RPC does.
func (h *host) forwarder(c *trio) Forwarder { return forward{c, h.id} }

type forward struct {
	c    *trio
	from failover.NodeID
}

func (f forward) Forward(ctx context.Context, to failover.NodeID, p Proposal) (Reply, error) {
	a, b := f.c.hosts[f.from], f.c.hosts[to]
	if a.isCut() || b.isCut() || b.live() == nil {
		return Reply{}, errors.New("connection refused")
	}
	return b.live().Receive(ctx, f.from, p), nil
}

func (h *host) live() *Node {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.node
}

func (h *host) isCut() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cut
}

func newSnaps() *raft.InmemSnapshotStore { return raft.NewInmemSnapshotStore() }

// joining lets a node begin with nothing: it waits for a leader that adds it.
func joining(cfg *Config) { cfg.Voters = nil }

func (c *trio) boot(id failover.NodeID, opts ...func(*Config)) {
	c.t.Helper()
	h := c.hosts[id]
	_, trans := raft.NewInmemTransportWithTimeout(raft.ServerAddress(id), 500*time.Millisecond)
	var voters []raft.Server
	for _, other := range c.ids {
		voters = append(voters, raft.Server{ID: raft.ServerID(other), Address: raft.ServerAddress(other)})
	}
	h.mu.Lock()
	h.trans = trans
	h.mu.Unlock()
	c.connect(id)
	cfg := Config{
		codec: h.codec, ID: id, Voters: voters, Transport: trans, Logs: h.store, Stable: h.store, Snapshots: h.snaps,
		Timers:    Timers{Heartbeat: 500 * time.Millisecond, Election: 500 * time.Millisecond, LeaderLease: 400 * time.Millisecond, Commit: 20 * time.Millisecond},
		Forwarder: h.forwarder(c), Log: slog.New(slog.DiscardHandler), Fatal: func(err error) { c.fatals <- err },
		OnApply: func(_ failover.Result, cmd failover.Command) {
			h.mu.Lock()
			h.applied = append(h.applied, cmd)
			h.mu.Unlock()
		},
	}
	for _, opt := range opts {
		opt(&cfg)
	}
	node, err := Open(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	h.mu.Lock()
	h.node = node
	h.mu.Unlock()
	c.wg.Go(func() {
		node.Lead(c.ctx, func(ctx context.Context, t *Tenure) {
			h.mu.Lock()
			h.tenures = append(h.tenures, &tenureOf{Tenure: t, ctx: ctx, state: t.State()})
			h.mu.Unlock()
			<-ctx.Done()
		})
	})
}

// connect links a node with the others that are not cut off.
func (c *trio) connect(id failover.NodeID) {
	h := c.hosts[id]
	for _, other := range c.ids {
		o := c.hosts[other]
		o.mu.Lock()
		if other != id && o.trans != nil && !o.cut {
			h.trans.Connect(raft.ServerAddress(other), o.trans)
			o.trans.Connect(raft.ServerAddress(id), h.trans)
		}
		o.mu.Unlock()
	}
}

func (c *trio) isolate(id failover.NodeID) {
	h := c.hosts[id]
	h.mu.Lock()
	h.cut = true
	h.mu.Unlock()
	h.trans.DisconnectAll()
	for _, other := range c.ids {
		if o := c.hosts[other]; other != id && o.trans != nil {
			o.trans.Disconnect(raft.ServerAddress(id))
		}
	}
}

func (c *trio) heal(id failover.NodeID) {
	h := c.hosts[id]
	h.mu.Lock()
	h.cut = false
	h.mu.Unlock()
	c.connect(id)
}

func (c *trio) stop(id failover.NodeID) {
	h := c.hosts[id]
	h.mu.Lock()
	node := h.node
	h.node = nil
	h.mu.Unlock()
	if node != nil {
		if err := node.Close(); err != nil {
			c.t.Error(err)
		}
		_ = h.trans.Close()
	}
}

// tenure waits for a tenure whose context still stands, of a node other than
// those named.
func (c *trio) tenure(not ...failover.NodeID) (*host, *tenureOf) {
	c.t.Helper()
	for range 1000 {
		time.Sleep(20 * time.Millisecond)
		for _, id := range c.ids {
			h := c.hosts[id]
			h.mu.Lock()
			var last *tenureOf
			if n := len(h.tenures); n > 0 {
				last = h.tenures[n-1]
			}
			h.mu.Unlock()
			if last != nil && last.ctx.Err() == nil && !slices.Contains(not, id) {
				return h, last
			}
		}
	}
	c.t.Fatal("no leader within 20 s")
	return nil, nil
}

// follower is a node that is not the given one.
func (c *trio) follower(of *host) *host {
	for _, id := range c.ids {
		if id != of.id {
			return c.hosts[id]
		}
	}
	return nil
}

func (c *trio) configure(tn *tenureOf) {
	c.t.Helper()
	if _, err := tn.Propose(c.ctx, failover.Configure{Settings: failover.Settings{
		Service: "s", Primary: "east1", Secondary: "east2", Nodes: map[failover.NodeID]failover.NodeSpec{},
		Components: []failover.ComponentSpec{{Name: "workers", Agent: true, Arming: failover.ArmEnforced, OnIsolation: "stop"}},
		Policy:     failover.Policy{Lease: failover.LeaseTerms{Length: failover.Duration(time.Minute)}},
	}}, ""); err != nil {
		c.t.Fatal(err)
	}
}

// converged waits until all live nodes have the same index, and compares their
// bytes (S7).
func (c *trio) converged(nodes ...failover.NodeID) {
	c.t.Helper()
	var texts []string
	for range 500 {
		time.Sleep(20 * time.Millisecond)
		texts = texts[:0]
		indexes := map[uint64]bool{}
		for _, id := range nodes {
			s := c.hosts[id].live().State()
			b, err := s.Marshal()
			if err != nil {
				c.t.Fatal(err)
			}
			texts, indexes[s.Index] = append(texts, string(b)), true
		}
		if len(indexes) == 1 {
			break
		}
	}
	for i := range texts {
		if texts[i] != texts[0] {
			c.t.Fatalf("%s and %s differ:\n%s\n%s", nodes[0], nodes[i], texts[0], texts[i])
		}
	}
}

func (c *trio) events(h *host, kind string) int {
	n := 0
	for _, ev := range h.live().State().Events {
		if ev.Kind == kind {
			n++
		}
	}
	return n
}

func minute() failover.PauseAutomation {
	return failover.PauseAutomation{For: failover.Duration(time.Minute)}
}

func by(id string) failover.Meta { return failover.Meta{By: "uid 7", Why: "test", ID: id} }

// A proposal finds the leader from anywhere, and counts once however often it
// is sent (E1).
func TestProposeFromAnywhere(t *testing.T) {
	bubble(t, func(c *trio) {
		lead, _ := c.tenure()
		for _, id := range c.ids {
			for range 2 {
				if _, err := c.hosts[id].live().Propose(c.ctx, by("same"), minute()); err != nil {
					t.Fatalf("from %s: %v", id, err)
				}
			}
		}
		c.converged(c.ids...)
		if n := c.events(lead, "pause"); n != 1 {
			t.Errorf("counted %d times", n)
		}
		s := lead.live().State()
		if s.Pause == nil || s.Pause.By != "uid 7" || s.Pause.Why != "test" {
			t.Errorf("%+v", s.Pause)
		}
		// A refusal travels back whole.
		f := c.follower(lead)
		_, err := f.live().Propose(c.ctx, by(""), failover.Abort{Execution: 9})
		var ref *failover.Refusal
		if !errors.As(err, &ref) || ref.Guard != "no-execution" || ref.Text == "" {
			t.Errorf("%v", err)
		}
		if _, err := f.live().Propose(c.ctx, by(""), failover.Lead{Node: f.id}); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a leader-only command was forwarded: %v", err)
		}
		// Without a quorum nothing is promised.
		c.isolate(f.id)
		time.Sleep(5 * time.Second)
		ctx, cancel := context.WithTimeout(c.ctx, 2*time.Second)
		defer cancel()
		if _, err := f.live().Propose(ctx, by(""), minute()); !errors.Is(err, ErrNoLeader) && !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("isolated: %v", err)
		}
		c.heal(f.id)
		time.Sleep(5 * time.Second)
		c.converged(c.ids...)
	})
}

// Receive believes the sender's certificate, not its message.
func TestReceive(t *testing.T) {
	bubble(t, func(c *trio) {
		lead, tn := c.tenure()
		n := lead.live()
		encode := func(m failover.Meta, cmd failover.Command) Proposal {
			data, err := n.codec.Encode(m, cmd)
			if err != nil {
				t.Fatal(err)
			}
			return Proposal{Entry: data}
		}
		before := n.State().Index
		for name, p := range map[string]Proposal{
			"leader-only":     encode(failover.Meta{ProposedTerm: tn.Term, At: time.Now()}, failover.FreezeLease{Region: "east1", Epoch: 1, Provisional: true}),
			"another's name":  encode(failover.Meta{At: time.Now()}, failover.RegisterNode{Node: "n1", Record: failover.NodeRecord{Disk: "d"}}),
			"not readable":    {Entry: []byte("{")},
			"unknown to us":   {Entry: []byte(`{"v":1,"type":"explode","body":{}}`)},
			"to be passed by": {Entry: []byte(`{"v":1,"type":"explode","ignorable":true,"body":{}}`)},
		} {
			if r := n.Receive(c.ctx, "n9", p); r.Failed == "" || r.Index != 0 {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if got := n.State().Index; got != before {
			t.Fatalf("something was committed: index %d → %d", before, got)
		}
		// Whoever gave an order that met an election hears what became of it, and what to do.
		for _, other := range c.hosts {
			if other == lead {
				continue
			}
			if r := other.live().Receive(c.ctx, "n9", encode(failover.Meta{Why: "w", By: "somebody"}, minute())); r.Unknown || !strings.Contains(r.Failed, "has changed nothing: give it again when another node leads") {
				t.Errorf("to one that does not lead: %+v", r)
			}
			break
		}
		// The time and the name are stamped by the leader.
		year := time.Now().Add(365 * 24 * time.Hour)
		r := n.Receive(c.ctx, "n9", encode(failover.Meta{Node: "n1", At: year}, failover.RegisterNode{Node: "n9", Record: failover.NodeRecord{Disk: "d"}}))
		if r.Failed != "" || r.Refused != "" {
			t.Fatalf("%+v", r)
		}
		s := n.State()
		if ev := s.Events[len(s.Events)-1]; ev.By != "node n9" || !s.Time.Before(year) {
			t.Errorf("by %q at %s", ev.By, s.Time)
		}
		// What comes through a node is never what the leader does of its own accord.
		if r := n.Receive(c.ctx, "n9", encode(failover.Meta{Why: "w"}, minute())); r.Refused == "" && r.Failed == "" {
			if ev := n.State().Events[len(n.State().Events)-1]; ev.By != "node n9" || n.State().Pause.By != "node n9" {
				t.Errorf("an order of nobody is the leader's: %+v", ev)
			}
		} else {
			t.Errorf("an order of nobody: %+v", r)
		}
		if r := n.Receive(c.ctx, "n9", encode(failover.Meta{}, failover.Abort{Execution: 4})); r.Guard != "no-execution" || r.Refused == "" {
			t.Errorf("a refusal is lost: %+v", r)
		}
		if r := c.follower(lead).live().Receive(c.ctx, "n9", encode(by(""), minute())); r.Failed == "" || r.Unknown {
			t.Errorf("a follower took a proposal: %+v", r)
		}
	})
}

// A tenure begins with all that was committed before, and its context ends with
// the leadership; on an isolated leader nothing can be proven (G1).
func TestTenure(t *testing.T) {
	bubble(t, func(c *trio) {
		old, tn := c.tenure()
		for i := range 50 {
			if _, err := old.live().Propose(c.ctx, by(fmt.Sprint(i)), minute()); err != nil {
				t.Fatal(err)
			}
		}
		if err := tn.Prove(c.ctx); err != nil {
			t.Fatalf("a leader with a quorum cannot prove it: %v", err)
		}
		committed := old.live().State().Index
		c.isolate(old.id)
		at := time.Now()
		ctx, cancel := context.WithTimeout(c.ctx, 300*time.Millisecond)
		err := tn.Prove(ctx)
		cancel()
		if err == nil {
			t.Fatal("an isolated leader proved its leadership")
		}
		<-tn.ctx.Done()
		if d := time.Since(at); d > 2*time.Second {
			t.Errorf("the tenure ended %s after the cut", d)
		}
		fresh, next := c.tenure(old.id)
		if next.state.Index < committed || next.state.Leader != fresh.id || next.state.LeaderTerm != next.Term || next.Term <= tn.Term {
			t.Errorf("%s began in term %d with index %d of %d, leader %s in term %d", fresh.id, next.Term, next.state.Index, committed, next.state.Leader, next.state.LeaderTerm)
		}
		// E1: what the deposed tenure still says is not taken, neither now nor
		// when its node leads again.
		if _, err := tn.Propose(c.ctx, failover.Round{}, ""); err == nil {
			t.Fatal("a deposed tenure committed something")
		}
		c.heal(old.id)
		time.Sleep(3 * time.Second)
		if err := fresh.live().TransferTo(old.id); err != nil {
			t.Fatal(err)
		}
		_, again := c.tenure(fresh.id)
		if again.Node() != old.id {
			t.Fatalf("%s leads after the transfer", again.Node())
		}
		_, err = tn.Propose(c.ctx, failover.NoteSuspicion{Region: "east1", Condition: "late"}, "")
		var ref *failover.Refusal
		if !errors.As(err, &ref) || ref.Guard != "term" || again.State().Suspicion != nil {
			t.Errorf("a proposal of term %d in term %d: %v", tn.Term, again.Term, err)
		}
		if err := old.live().TransferTo("n9"); err == nil {
			t.Error("leadership was given to a stranger")
		}
		c.converged(c.ids...)
	})
}

// S7: a node that missed more than the log still holds gets a snapshot and then
// has the same bytes; so has one that starts again from its disk.
func TestSnapshot(t *testing.T) {
	bubble(t, func(c *trio) {
		lead, tn := c.tenure()
		c.configure(tn)
		behind := c.follower(lead)
		c.isolate(behind.id)
		for i := range 200 {
			if _, err := lead.live().Propose(c.ctx, by(fmt.Sprint(i)), failover.SaveMessage{Key: fmt.Sprint(i % 40), Ref: failover.MessageRef{TS: fmt.Sprint(i)}}); err != nil {
				t.Fatal(err)
			}
		}
		r := lead.live().raft
		rc := r.ReloadableConfig()
		rc.TrailingLogs = 1
		if err := errors.Join(r.ReloadConfig(rc), r.Snapshot().Error()); err != nil {
			t.Fatal(err)
		}
		if _, err := lead.live().Propose(c.ctx, by("after"), minute()); err != nil {
			t.Fatal(err)
		}
		first, err := lead.store.FirstIndex()
		if err != nil || first <= behind.live().State().Index {
			t.Fatalf("the log begins at %d, the node stands at %d: no snapshot is needed (%v)", first, behind.live().State().Index, err)
		}
		c.heal(behind.id)
		time.Sleep(5 * time.Second)
		c.converged(c.ids...)
		if behind.live().State().Pause == nil {
			t.Error("what came after the snapshot is missing")
		}
		c.stop(behind.id)
		time.Sleep(time.Second)
		c.boot(behind.id)
		time.Sleep(5 * time.Second)
		c.converged(c.ids...)
		select {
		case err := <-c.fatals:
			t.Errorf("a node gave up: %v", err)
		default:
		}
	})
}
