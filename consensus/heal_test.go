package consensus

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/failover"
)

// wires is a network of pipes in which a node can be cut off: nothing is
// refused, everything just gets no answer.
type wires struct {
	mu    sync.Mutex
	cut   map[raft.ServerAddress]bool
	ports map[raft.ServerAddress]*port
	conns map[net.Conn][2]raft.ServerAddress
}

// port is one node's raft.StreamLayer.
type port struct {
	w    *wires
	self raft.ServerAddress
	in   chan net.Conn
	done chan struct{}
	once sync.Once
}

func (w *wires) port(a raft.ServerAddress) *port {
	p := &port{w: w, self: a, in: make(chan net.Conn), done: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ports[a] = p
	return p
}

func (w *wires) isCut(a, b raft.ServerAddress) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut[a] || w.cut[b]
}

// isolate also breaks what is open: the test is about a cut that outlasts every
// connection.
func (w *wires) isolate(a raft.ServerAddress, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[a] = cut
	for c, ends := range w.conns {
		if cut && (ends[0] == a || ends[1] == a) {
			_ = c.Close()
			delete(w.conns, c)
		}
	}
}

func (p *port) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	p.w.mu.Lock()
	target := p.w.ports[to]
	p.w.mu.Unlock()
	if p.w.isCut(p.self, to) {
		time.Sleep(timeout)
		return nil, errors.New("i/o timeout")
	}
	a, b := net.Pipe()
	select {
	case target.in <- b:
	case <-target.done:
		return nil, errors.New("connection refused")
	case <-time.After(timeout):
		return nil, errors.New("i/o timeout")
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.conns[a], p.w.conns[b] = [2]raft.ServerAddress{p.self, to}, [2]raft.ServerAddress{p.self, to}
	return a, nil
}

func (p *port) Accept() (net.Conn, error) {
	select {
	case c := <-p.in:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *port) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *port) Addr() net.Addr { return name(p.self) }

type name string

func (n name) Network() string { return "pipe" }
func (n name) String() string  { return string(n) }

// A peer that was behind a black hole for ten minutes has the newest entries
// within one time-out, one pause and one round of heartbeats, under both
// profiles of timers. (Raft alone needs up to ten seconds more.)
func TestHealedPeerCatchesUp(t *testing.T) {
	const ms = time.Millisecond
	for name, tm := range map[string]Timers{
		"default": {Heartbeat: 500 * ms, Election: 500 * ms, LeaderLease: 400 * ms, Commit: 20 * ms},
		"fast":    {Heartbeat: 300 * ms, Election: 300 * ms, LeaderLease: 250 * ms, Commit: 20 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			bound := TransportTimeout(tm.Heartbeat) + retryPause + 2*tm.Heartbeat
			for _, away := range []time.Duration{10 * time.Second, 10 * time.Minute} {
				if d := healed(t, tm, away); d > bound {
					t.Errorf("after %s away the peer caught up within %s, not within %s", away, d, bound)
				} else {
					t.Logf("after %s away: %s (bound %s)", away, d, bound)
				}
			}
		})
	}
}

func healed(t *testing.T, tm Timers, away time.Duration) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		w := &wires{cut: map[raft.ServerAddress]bool{}, ports: map[raft.ServerAddress]*port{}, conns: map[net.Conn][2]raft.ServerAddress{}}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var servers []raft.Server
		for _, id := range []string{"n1", "n2", "n3"} {
			servers = append(servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
		}
		nodes := map[failover.NodeID]*Node{}
		for _, s := range servers {
			trans := newSteadfast(w.port(s.Address), TransportTimeout(tm.Heartbeat), slog.New(slog.DiscardHandler))
			store := raft.NewInmemStore()
			n, err := Open(Config{
				ID: failover.NodeID(s.ID), Voters: servers, Timers: tm, Transport: trans, Logs: store, Stable: store, Snapshots: raft.NewInmemSnapshotStore(),
				Log: slog.New(slog.DiscardHandler), Fatal: func(err error) { t.Error(err) },
			})
			if err != nil {
				t.Fatal(err)
			}
			nodes[n.ID()] = n
			defer func() {
				if err := n.Close(); err != nil {
					t.Error(err)
				}
				w.isolate(s.Address, true) // what lies idle in a pool is nobody's to close
				wg.Wait()
			}()
			wg.Go(func() { n.Lead(ctx, func(ctx context.Context, _ *Tenure) { <-ctx.Done() }) })
		}
		defer cancel()
		time.Sleep(10 * time.Second)
		lead := nodes["n1"].Leader()
		var other *Node
		for id, n := range nodes {
			if id != lead {
				other = n
			}
		}
		w.isolate(raft.ServerAddress(other.ID()), true)
		time.Sleep(away)
		if now := nodes[lead].Leader(); now != lead {
			t.Fatalf("the leader changed from %s to %s", lead, now)
		}
		if _, err := nodes[lead].Propose(ctx, by("x"), minute()); err != nil {
			t.Fatal(err)
		}
		w.isolate(raft.ServerAddress(other.ID()), false)
		at := time.Now()
		for other.State().Pause == nil && time.Since(at) < time.Minute {
			time.Sleep(10 * time.Millisecond)
		}
		took = time.Since(at)
	})
	return took
}
