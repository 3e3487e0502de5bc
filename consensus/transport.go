package consensus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/internal/mtls"
)

// streamLayer carries raft over mutual TLS. A peer must hold the certificate of
// the very node that is expected at the address. Closing it ends every
// connection, whoever uses it: a node that gives up must fall silent at once,
// and raft's transport only closes what lies idle.
type streamLayer struct {
	net.Listener
	material *mtls.Material
	// expect returns the node that the membership places at an address.
	expect func(raft.ServerAddress) (mtls.Identity, error)

	mu     sync.Mutex
	closed bool
	open   map[*stream]struct{}
}

// stream is a connection that its layer can close.
type stream struct {
	net.Conn
	layer *streamLayer
}

func (s *stream) Close() error {
	s.layer.mu.Lock()
	delete(s.layer.open, s)
	s.layer.mu.Unlock()
	return s.Conn.Close()
}

// NewTransport returns raft's transport over ln, whose connections are
// authenticated already. timeout bounds each exchange; it should be short, or a
// healed peer is found late.
func NewTransport(ln net.Listener, m *mtls.Material, expect func(raft.ServerAddress) (mtls.Identity, error), timeout time.Duration, log *slog.Logger) raft.Transport {
	return newSteadfast(&streamLayer{Listener: ln, material: m, expect: expect, open: map[*stream]struct{}{}}, timeout, log)
}

// TransportTimeout is the limit of one exchange between nodes for a heartbeat
// timer: four of them, within one and two seconds. A peer behind a black hole
// costs that much before it is tried again.
func TransportTimeout(heartbeat time.Duration) time.Duration {
	return min(max(4*heartbeat, time.Second), 2*time.Second)
}

// steadfast is raft's network transport, but for one thing: sending entries to a
// peer that does not answer is tried again here, every retryPause, as long as
// this node leads in the term. Raft itself doubles its pause with each failure up
// to ten seconds, so that a peer which had been away for a minute would vote and
// hear heartbeats at once, but get no entries for ten seconds more.
type steadfast struct {
	*raft.NetworkTransport
	place atomic.Pointer[place]
	quit  chan struct{}
	once  sync.Once
}

const retryPause = 100 * time.Millisecond

func newSteadfast(stream raft.StreamLayer, timeout time.Duration, log *slog.Logger) *steadfast {
	return &steadfast{quit: make(chan struct{}), NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: stream, MaxPool: 3, Timeout: timeout, Logger: NewRaftLogger(log),
	})}
}

// bind tells the transport whose term it serves.
func (s *steadfast) bind(p *place) { s.place.Store(p) }

// Close implements raft.WithClose.
func (s *steadfast) Close() error {
	s.once.Do(func() { close(s.quit) })
	return s.NetworkTransport.Close()
}

// AppendEntries implements raft.Transport. Heartbeats are sent once: raft limits
// their pause itself.
func (s *steadfast) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	heartbeat := args.PrevLogEntry == 0 && args.PrevLogTerm == 0 && len(args.Entries) == 0
	for {
		err := s.NetworkTransport.AppendEntries(id, target, args, resp)
		p := s.place.Load()
		if err == nil || heartbeat || p == nil || !p.leadsIn(args.Term, id) {
			return err
		}
		select {
		case <-time.After(retryPause):
		case <-s.quit:
			return err
		}
		*resp = raft.AppendEntriesResponse{}
	}
}

var errSilent = errors.New("this node has left the network")

// keep remembers a connection until it is closed.
func (s *streamLayer) keep(c net.Conn) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close() // nobody will use it
		return nil, errSilent
	}
	kept := &stream{Conn: c, layer: s}
	s.open[kept] = struct{}{}
	return kept, nil
}

// Accept implements net.Listener.
func (s *streamLayer) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return s.keep(c)
}

// Close implements net.Listener. It ends the connections as well.
func (s *streamLayer) Close() error {
	s.mu.Lock()
	s.closed = true
	open := s.open
	s.open = map[*stream]struct{}{}
	s.mu.Unlock()
	err := s.Listener.Close()
	for c := range open {
		// The bare connection: TLS would first say goodbye, and wait for whoever
		// is writing.
		if tc, ok := c.Conn.(*tls.Conn); ok {
			_ = tc.NetConn().Close()
			continue
		}
		_ = c.Conn.Close()
	}
	return err
}

// Dial implements raft.StreamLayer.
func (s *streamLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return nil, errSilent
	}
	want, err := s.expect(addr)
	if err != nil {
		return nil, err
	}
	config, err := s.material.Client([]string{mtls.ProtoRaft}, func(got mtls.Identity) error {
		if got != want {
			return fmt.Errorf("%s answered as %s, expected %s", addr, got, want)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	d := tls.Dialer{Config: config}
	c, err := d.DialContext(ctx, "tcp", string(addr))
	if err != nil {
		return nil, err
	}
	return s.keep(c)
}
