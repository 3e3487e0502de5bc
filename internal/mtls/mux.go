package mtls

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// The application protocols of the one port. TLS negotiates them (ALPN), so no
// byte of the stream is read before the peer is known.
const (
	ProtoRaft = "failoverd-raft/2"
	// ProtoRaftPlain is the protocol of versions that do not greet each other at
	// the beginning of a connection. It is offered while a cluster is upgraded.
	ProtoRaftPlain = "failoverd-raft/1"
	ProtoHTTP2     = "h2"
	ProtoHTTP      = "http/1.1" // of nodes and agents of versions before HTTP/2
)

// handshakeTimeout bounds what an unknown peer can hold open.
const handshakeTimeout = 5 * time.Second

// Mux serves raft and HTTP on one TLS listener.
type Mux struct {
	ln     net.Listener
	config *tls.Config
	log    *slog.Logger
	raft   *queue
	http   *queue
	wg     sync.WaitGroup
}

// NewMux accepts connections on ln until Close. Peers that allowed refuses are
// closed and logged.
func NewMux(ln net.Listener, m *Material, allowed func(Identity) error, log *slog.Logger) *Mux {
	mux := &Mux{
		ln: ln, config: m.Server([]string{ProtoRaft, ProtoRaftPlain, ProtoHTTP2, ProtoHTTP}, allowed), log: log,
		raft: newQueue(ln.Addr()), http: newQueue(ln.Addr()),
	}
	mux.wg.Go(mux.accept)
	return mux
}

// Raft returns the listener of raft's connections.
func (m *Mux) Raft() net.Listener { return m.raft }

// HTTP returns the listener of the other requests.
func (m *Mux) HTTP() net.Listener { return m.http }

// Close ends both listeners and waits for handshakes under way.
func (m *Mux) Close() error {
	err := m.ln.Close()
	_ = m.raft.Close() // a queue's Close cannot fail
	_ = m.http.Close()
	m.wg.Wait()
	return err
}

func (m *Mux) accept() {
	for {
		c, err := m.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, most likely: it passes.
			m.log.Warn("a connection could not be accepted", "error", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		m.wg.Go(func() { m.greet(c) })
	}
}

func (m *Mux) greet(c net.Conn) {
	tc := tls.Server(c, m.config)
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		m.log.Warn("a peer was refused", "from", c.RemoteAddr().String(), "error", err)
		_ = c.Close() // it is of no use any more
		return
	}
	q := m.http
	if p := tc.ConnectionState().NegotiatedProtocol; p == ProtoRaft || p == ProtoRaftPlain {
		id, err := IdentityOf(tc.ConnectionState())
		if err != nil || id.Role != RoleNode {
			m.log.Warn("a peer without a node's certificate asked for raft", "from", c.RemoteAddr().String(), "identity", id.String())
			_ = tc.Close()
			return
		}
		q = m.raft
	}
	if !q.put(tc) {
		_ = tc.Close()
	}
}

// queue is a net.Listener that is fed by hand.
type queue struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newQueue(addr net.Addr) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (q *queue) put(c net.Conn) bool {
	select {
	case q.conns <- c:
		return true
	case <-q.done:
		return false
	}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

func (q *queue) Addr() net.Addr { return q.addr }
