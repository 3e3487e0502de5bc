package sim

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// The sites of the simulated world. The third vantage and the internet are
// sites like the regions.
const (
	east1    = "us-east-1"
	east2    = "us-east-2"
	thirdLoc = "gru"
	internet = "internet"
)

// network decides what reaches what. Hosts are nodes; everything else of a site
// shares the site's fate. Safe for concurrent use.
type network struct {
	mu       sync.Mutex
	rng      *rand.Rand
	siteOf   map[string]string // host → site
	cutSite  map[string]bool
	cutPair  map[[2]string]bool // one way: from, to
	isolated map[string]bool    // host
	apart    map[string]bool    // host that no other host reaches, while all else does
	voteless map[string]bool    // host whose votes are lost on their way, and nothing else
	delay    time.Duration      // one way, at most
	loss     float64
	oneWay   map[[2]string]time.Duration // between two sites, if it is fixed
	noReply  float64                     // requests arrive, their replies do not
	paused   map[string]chan struct{}    // host → closed when it goes on
	buffered map[string]map[string]bool  // host that was paused → others that had answered it
}

func newNetwork(rng *rand.Rand) *network {
	return &network{
		rng: rng, siteOf: map[string]string{}, cutSite: map[string]bool{}, cutPair: map[[2]string]bool{},
		isolated: map[string]bool{}, apart: map[string]bool{}, voteless: map[string]bool{}, delay: 30 * time.Millisecond, paused: map[string]chan struct{}{}, buffered: map[string]map[string]bool{},
	}
}

// pause stops a host's process as far as the other processes can tell a SIGSTOP:
// it sends nothing, what is sent to it waits, and what it was about to send it
// sends when it goes on, however late that is. Goroutines of one bubble cannot be
// stopped, so its timers run on. Two things are arranged so that this does not show:
// a leader does not notice that nobody answers – it would give up its place, which a
// stopped process cannot – and when it goes on it finds in each socket the answer to
// the heartbeat that was under way, which is what misleads raft's VerifyLeader (rule
// G1). What is not alike: its own clocks – the hold, probes, deadlines – run on
// meanwhile. A real SIGSTOP is sent to a real leader by
// TestIncidentP5StaleLeaderIsRefusedByRoute53 of lab/e2e.
func (n *network) pause(h string) (resume func()) {
	n.unpause(h)
	ch := make(chan struct{})
	n.set(func() {
		n.paused[h] = ch
		n.buffered[h] = map[string]bool{}
		for other := range n.siteOf {
			n.buffered[h][other] = n.openLocked(h, other) && n.openLocked(other, h)
		}
	})
	return func() {
		n.mu.Lock()
		ours := n.paused[h] == ch
		n.mu.Unlock()
		if ours {
			n.unpause(h)
		}
	}
}

// stale reports whether a leader finds the answer to an earlier heartbeat to
// another node where it looks for the answer to this one.
func (n *network) stale(leader, other string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.buffered[leader][other] {
		return false
	}
	if n.paused[leader] == nil {
		delete(n.buffered[leader], other)
	}
	return true
}

// stands is closed when a paused host goes on; nil: it is not paused.
func (n *network) stands(h string) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.paused[h]
}

// unpause lets a host go on, if it is paused.
func (n *network) unpause(h string) {
	n.mu.Lock()
	ch := n.paused[h]
	delete(n.paused, h)
	n.mu.Unlock()
	if ch != nil {
		close(ch)
	}
}

// awake waits while a host is paused. No context ends it: a stopped process does
// not notice its time-outs.
func (n *network) awake(h string) {
	for {
		n.mu.Lock()
		ch := n.paused[h]
		n.mu.Unlock()
		if ch == nil {
			return
		}
		<-ch
	}
}

// answers reports whether the reply to a request comes back at all.
func (n *network) answers() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rng.Float64() >= n.noReply
}

// site resolves a host to its site; a site stands for itself.
func (n *network) site(h string) string {
	if s, ok := n.siteOf[h]; ok {
		return s
	}
	return h
}

// open reports whether a message from a gets to b.
func (n *network) open(a, b string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.openLocked(a, b)
}

func (n *network) openLocked(a, b string) bool {
	if a != b && (n.isolated[a] || n.isolated[b]) {
		return false
	}
	if n.siteOf[a] != "" && n.siteOf[b] != "" && a != b && (n.apart[a] || n.apart[b]) {
		return false
	}
	sa, sb := n.site(a), n.site(b)
	if sa == sb {
		return true
	}
	return !n.cutSite[sa] && !n.cutSite[sb] && !n.cutPair[[2]string{sa, sb}]
}

var errLost = errors.New("the message was lost")

// carry takes one message from a to b: after its delay it has arrived, or it is
// lost, and then nobody is told before ctx ends. One of both is the node that
// waits for it; while that is paused it notices nothing, no time-out either.
func (n *network) carry(ctx context.Context, a, b string) error {
	n.awake(a)
	if err := n.trip(ctx, a, b); err != nil {
		return err
	}
	n.awake(b)
	return nil
}

// trip is the way itself.
func (n *network) trip(ctx context.Context, a, b string) error {
	if err := ctx.Err(); err != nil {
		return err // killed while it was paused, or too late to be of use
	}
	n.mu.Lock()
	d := time.Duration(0)
	if n.site(a) != n.site(b) {
		d = time.Duration(n.rng.Int64N(int64(n.delay) + 1))
		if fixed, ok := n.oneWay[[2]string{n.site(a), n.site(b)}]; ok {
			d = fixed
		}
	}
	lost := n.rng.Float64() < n.loss
	n.mu.Unlock()
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
	if lost || !n.open(a, b) {
		<-ctx.Done()
		return errLost
	}
	return nil
}

// lateTimeout is how long a process that goes on takes for a request that it
// finds in its socket buffer.
const lateTimeout = 5 * time.Second

// deliver brings a request from one node to another, and the reply back. A
// request that reaches a paused process waits in its socket buffer: its sender
// gives up when ctx ends, and it is handled all the same when the process goes
// on.
func deliver[R any](ctx context.Context, n *network, from, to string, handle func(ctx context.Context) (R, error)) (r R, err error) {
	defer n.awake(from)
	n.awake(from)
	if err := n.trip(ctx, from, to); err != nil {
		return r, err
	}
	type reply struct {
		r   R
		err error
	}
	if n.stands(to) == nil {
		r, err = handle(ctx)
	} else {
		late := make(chan reply, 1)
		go func() {
			n.awake(to)
			n.mu.Lock()
			order := time.Duration(n.rng.Int64N(int64(50 * time.Millisecond)))
			n.mu.Unlock()
			sleep(order) // what it finds first is chance
			lctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateTimeout)
			defer cancel()
			r, err := handle(lctx)
			late <- reply{r, err}
		}()
		select {
		case <-ctx.Done():
			return r, errLost
		case l := <-late:
			r, err = l.r, l.err
		}
	}
	if ch := n.stands(to); ch != nil { // since then
		select {
		case <-ctx.Done():
			return r, errLost
		case <-ch:
		}
	}
	if terr := n.trip(ctx, to, from); terr != nil {
		return r, terr
	}
	return r, err
}

// cut reports whether a site is separated from all others.
func (n *network) cut(site string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cutSite[site]
}

func (n *network) losesVotes(h string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.voteless[h]
}

func (n *network) set(fn func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fn()
}

// rpcTimeout bounds raft's exchanges in the simulation, as the daemon's
// transport does.
const rpcTimeout = 2 * time.Second

// transport carries raft over the simulated network: real raft, in-memory
// delivery, our cuts, delays and losses.
type transport struct {
	*raft.InmemTransport
	net  *network
	self string
	// greets says why one of two nodes refuses the other; nil: neither does.
	greets func(other string) error
}

func exchange[Q, R any](t *transport, id raft.ServerID, target raft.ServerAddress, args *Q, resp *R, call func(raft.ServerID, raft.ServerAddress, *Q, *R) error) error {
	if err := t.greets(string(id)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), rpcTimeout)
	defer cancel()
	r, err := deliver(ctx, t.net, t.self, string(id), func(context.Context) (r R, err error) {
		err = call(id, target, args, &r)
		return r, err
	})
	if err != nil {
		return err
	}
	if !t.net.answers() {
		return errLost
	}
	*resp = r
	return nil
}

// AppendEntries implements raft.Transport.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	heartbeat := len(args.Entries) == 0 && args.PrevLogEntry == 0 && args.LeaderCommitIndex == 0
	if heartbeat && t.net.stale(t.self, string(id)) {
		*resp = raft.AppendEntriesResponse{RPCHeader: args.RPCHeader, Term: args.Term, Success: true}
		return nil
	}
	return exchange(t, id, target, args, resp, t.InmemTransport.AppendEntries)
}

// RequestVote implements raft.Transport.
func (t *transport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return exchange(t, id, target, args, resp, t.InmemTransport.RequestVote)
}

// RequestPreVote implements raft.WithPreVote.
func (t *transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return exchange(t, id, target, args, resp, t.InmemTransport.RequestPreVote)
}

// TimeoutNow implements raft.Transport.
func (t *transport) TimeoutNow(id raft.ServerID, target raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return exchange(t, id, target, args, resp, t.InmemTransport.TimeoutNow)
}

// InstallSnapshot implements raft.Transport.
func (t *transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if err := t.greets(string(id)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), rpcTimeout)
	defer cancel()
	if err := t.net.carry(ctx, t.self, string(id)); err != nil {
		return err
	}
	return t.InmemTransport.InstallSnapshot(id, target, args, resp, data)
}

// AppendEntriesPipeline implements raft.Transport: raft falls back to single
// exchanges, which is where the faults are.
func (t *transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}
