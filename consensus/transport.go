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

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mtls"
)

// streamLayer carries raft over mutual TLS. A peer must hold the certificate of
// the very node that is expected at the address. Closing it ends every
// connection, whoever uses it: a node that gives up must fall silent at once,
// and raft's transport only closes what lies idle.
type streamLayer struct {
	TransportOptions
	greeted chan net.Conn
	done    chan struct{}

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

// TransportOptions are what the raft transport of a node is made of.
type TransportOptions struct {
	// Listener gives connections that are authenticated already.
	Listener net.Listener
	Material *mtls.Material
	// Expect returns the node that the membership places at an address.
	Expect func(raft.ServerAddress) (mtls.Identity, error)
	// Admit says which nodes may speak raft with this one.
	Admit func(failover.NodeID) error
	// Gate judges each connection before raft has it.
	Gate *Gatekeeper
	// Plain reports whether peers of versions that do not greet are admitted:
	// while a cluster is upgraded.
	Plain func() bool
	// Timeout bounds each exchange; see TransportTimeout.
	Timeout time.Duration
	Log     *slog.Logger
}

// NewTransport returns raft's transport over mutual TLS. Closing it also ends
// the connections in use.
func NewTransport(o TransportOptions) raft.Transport {
	s := &streamLayer{TransportOptions: o, greeted: make(chan net.Conn), done: make(chan struct{}), open: map[*stream]struct{}{}}
	go s.listen()
	return newSteadfast(s, o.Timeout, o.Log)
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

// listen greets each new connection aside, so that one peer that says nothing
// holds up nobody.
func (s *streamLayer) listen() {
	for {
		c, err := s.Listener.Accept()
		if err != nil {
			return // the queue of connections ends with the node
		}
		go func() {
			kept, err := s.keep(c)
			if err != nil {
				return
			}
			if err := s.welcome(c); err != nil {
				s.Log.Debug("a raft connection was closed", "from", c.RemoteAddr().String(), "why", err.Error())
				_ = kept.Close()
				return
			}
			select {
			case s.greeted <- kept:
			case <-s.done:
				_ = kept.Close()
			}
		}()
	}
}

// welcome greets a peer that has dialled.
func (s *streamLayer) welcome(c net.Conn) error {
	tc, ok := c.(*tls.Conn)
	if !ok {
		return errors.New("not a TLS connection")
	}
	cs := tc.ConnectionState()
	id, err := mtls.IdentityOf(cs)
	if err != nil {
		return err
	}
	if err := s.Admit(failover.NodeID(id.Name)); err != nil {
		return err
	}
	return s.greet(c, cs.NegotiatedProtocol, false, failover.NodeID(id.Name))
}

func (s *streamLayer) greet(c net.Conn, proto string, dialled bool, peer failover.NodeID) error {
	if proto == mtls.ProtoRaftPlain {
		if s.Plain() {
			return nil
		}
		return fmt.Errorf("%s runs a version that is too old for this cluster: upgrade it", peer)
	}
	return s.Gate.Greet(c, dialled, peer)
}

// Addr implements net.Listener.
func (s *streamLayer) Addr() net.Addr { return s.Listener.Addr() }

// Accept implements net.Listener.
func (s *streamLayer) Accept() (net.Conn, error) {
	select {
	case c := <-s.greeted:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It ends the connections as well.
func (s *streamLayer) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.done)
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
	want, err := s.Expect(addr)
	if err != nil {
		return nil, err
	}
	config, err := s.Material.Client([]string{mtls.ProtoRaft, mtls.ProtoRaftPlain}, func(got mtls.Identity) error {
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
	kept, err := s.keep(c)
	if err != nil {
		return nil, err
	}
	tc, _ := c.(*tls.Conn) // a tls.Dialer's connections are that
	if err := s.greet(c, tc.ConnectionState().NegotiatedProtocol, true, failover.NodeID(want.Name)); err != nil {
		_ = kept.Close()
		return nil, err
	}
	return kept, nil
}
