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
	delay    time.Duration      // one way, at most
	loss     float64
	oneWay   map[[2]string]time.Duration // between two sites, if it is fixed
	noReply  float64                     // requests arrive, their replies do not
	paused   map[string]chan struct{}    // host → closed when it goes on
}

func newNetwork(rng *rand.Rand) *network {
	return &network{
		rng: rng, siteOf: map[string]string{}, cutSite: map[string]bool{}, cutPair: map[[2]string]bool{},
		isolated: map[string]bool{}, apart: map[string]bool{}, delay: 30 * time.Millisecond, paused: map[string]chan struct{}{},
	}
}

// pause stops a host's process as SIGSTOP does: whatever it was about to send it
// sends when it goes on, however late that is.
func (n *network) pause(h string) (resume func()) {
	n.unpause(h)
	ch := make(chan struct{})
	n.set(func() { n.paused[h] = ch })
	return func() {
		n.mu.Lock()
		ours := n.paused[h] == ch
		n.mu.Unlock()
		if ours {
			n.unpause(h)
		}
	}
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
// lost, and then nobody is told before ctx ends.
func (n *network) carry(ctx context.Context, a, b string) error {
	n.awake(a)
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
	n.awake(b)
	return nil
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
}

func (t *transport) carry(target raft.ServerID) error {
	ctx, cancel := context.WithTimeout(context.Background(), rpcTimeout)
	defer cancel()
	if err := t.net.carry(ctx, t.self, string(target)); err != nil {
		return err
	}
	return nil
}

// back is the way of the reply.
func (t *transport) back(target raft.ServerID) error {
	ctx, cancel := context.WithTimeout(context.Background(), rpcTimeout)
	defer cancel()
	return t.net.carry(ctx, string(target), t.self)
}

func exchange[Q, R any](t *transport, id raft.ServerID, target raft.ServerAddress, args *Q, resp *R, call func(raft.ServerID, raft.ServerAddress, *Q, *R) error) error {
	if err := t.carry(id); err != nil {
		return err
	}
	var r R
	if err := call(id, target, args, &r); err != nil {
		return err
	}
	if !t.net.answers() {
		return errLost
	}
	if err := t.back(id); err != nil {
		return err
	}
	*resp = r
	return nil
}

// AppendEntries implements raft.Transport.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
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
	if err := t.carry(id); err != nil {
		return err
	}
	return t.InmemTransport.InstallSnapshot(id, target, args, resp, data)
}

// AppendEntriesPipeline implements raft.Transport: raft falls back to single
// exchanges, which is where the faults are.
func (t *transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}
