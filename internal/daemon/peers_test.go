package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mtls"
)

// What is refused to a peer is counted by its kind, and the log says whose it was and
// why; what is only not possible now is neither.
func TestRefusedRequestsAreSeen(t *testing.T) {
	var log strings.Builder
	var counted []string
	p := &peerServer{log: slog.New(slog.NewTextHandler(&log, nil)), refused: func(request string) { counted = append(counted, request) }}
	for path, want := range map[string]int{pathBallot: http.StatusForbidden, pathLease: http.StatusForbidden, "/v1/anything": http.StatusNotFound} {
		counted = nil
		log.Reset()
		w := httptest.NewRecorder()
		p.handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader("{}")))
		kind := map[string]string{pathBallot: "ballot", pathLease: "lease"}[path]
		if kind == "" {
			kind = "other"
		}
		if w.Code != want || len(counted) != 1 || counted[0] != kind || !strings.Contains(log.String(), "192.0.2.1") || !strings.Contains(log.String(), strings.TrimSpace(w.Body.String())) {
			t.Errorf("%s: %d, counted %v, logged %s", path, w.Code, counted, &log)
		}
	}
	counted = nil
	p.watched(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not the leader", http.StatusServiceUnavailable)
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, pathBallot, nil))
	if counted != nil {
		t.Errorf("counted %v", counted)
	}
	// What was given up on its way is no refusal either: whoever asked has an answer by another way.
	for _, given := range []bool{true, false} {
		counted = nil
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if given {
			cancel()
		}
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, pathBallot, io.MultiReader(strings.NewReader(`{"no`), iotest.ErrReader(context.Canceled)))
		p.watched(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { readJSON(w, r, new(struct{})) })).ServeHTTP(httptest.NewRecorder(), r)
		if (counted == nil) != given {
			t.Errorf("given up %t: counted %v", given, counted)
		}
	}
}

// What only a leader may propose, and another node's name, is a refusal as well, although
// the answer is one like any other.
func TestForbiddenProposalsAreSeen(t *testing.T) {
	store := raft.NewInmemStore()
	_, trans := raft.NewInmemTransport("b")
	node, err := consensus.Open(consensus.Config{
		ID: "b", Timers: consensus.Timers{Heartbeat: time.Second, Election: time.Second, LeaderLease: 500 * time.Millisecond, Commit: 50 * time.Millisecond},
		Transport: trans, Logs: store, Stable: store, Snapshots: raft.NewInmemSnapshotStore(), Log: slog.New(slog.DiscardHandler), Fatal: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = node.Close() }()
	var log strings.Builder
	counted := 0
	p := &peerServer{log: slog.New(slog.NewTextHandler(&log, nil)), refused: func(string) { counted++ }}
	core := NewCore(CoreConfig{ID: "b", Log: slog.New(slog.DiscardHandler)}, node)
	say := func(entry []byte) string {
		counted = 0
		log.Reset()
		body, err := json.Marshal(consensus.Proposal{Entry: entry})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		p.watched(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.propose(core, w, r, "c") })).
			ServeHTTP(w, httptest.NewRequest(http.MethodPost, pathPropose, bytes.NewReader(body)))
		return w.Body.String()
	}
	for want, cmd := range map[string]failover.Command{
		"is a leader's command and is never forwarded": failover.AdvanceEpoch{Epoch: 2},
		"node c cannot register as b":                  failover.RegisterNode{Node: "b"},
	} {
		entry, err := consensus.NewCodec().Encode(failover.Meta{}, cmd)
		if err != nil {
			t.Fatal(err)
		}
		if got := say(entry); !strings.Contains(got, want) || strings.Contains(got, "orbidden") || counted != 1 || !strings.Contains(log.String(), want) {
			t.Errorf("%s: answered %s, counted %d, logged %s", cmd.Name(), got, counted, &log)
		}
	}
	entry, err := consensus.NewCodec().Encode(failover.Meta{}, failover.ResumeAutomation{})
	if err != nil {
		t.Fatal(err)
	}
	if got := say(entry); counted != 0 || !strings.Contains(got, "failed") { // it does not lead
		t.Errorf("answered %s, counted %d, logged %s", got, counted, &log)
	}
}

// port serves a's requests as a node does, and counts the connections that are made to it.
type port struct {
	addr        string
	connections atomic.Int64
}

func (h *house) port(handler http.HandlerFunc) *port {
	h.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.Fatal(err)
	}
	p := &port{addr: ln.Addr().String()}
	mux := mtls.NewMux(ln, h.signerOf("a").Material, func(mtls.Identity) error { return nil }, slog.New(slog.NewTextHandler(h.Output(), nil)))
	srv := &http.Server{Handler: handler, ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			p.connections.Add(1)
		}
	}}
	go func() { _ = srv.Serve(mux.HTTP()) }() // until it is closed
	h.Cleanup(func() { _, _ = srv.Close(), mux.Close() })
	return p
}

// callerOf calls as b the node a at an address.
func (h *house) callerOf(addr string, timeout time.Duration) *caller {
	c := newCaller(h.signerOf("b").Material, func() map[failover.NodeID]failover.NodeSpec {
		return map[failover.NodeID]failover.NodeSpec{"a": {Address: addr}}
	}, timeout)
	h.Cleanup(c.close)
	return c
}

// A request that is given up, or comes to its deadline, takes no connection along: an agent
// that asks two nodes, and a leader that gathers words, would shake hands anew for each lease.
func TestAnAbandonedRequestKeepsItsConnection(t *testing.T) {
	h := newHouse(t)
	arrived, told := make(chan struct{}, 1), make(chan struct{}, 1)
	p := h.port(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		<-r.Context().Done() // whoever asked waits no longer, and this side is told
		told <- struct{}{}
	})
	c := h.callerOf(p.addr, 5*time.Second)
	for i := range 20 {
		limit, want := time.Minute, context.Canceled
		if i%2 == 1 {
			limit, want = 20*time.Millisecond, context.DeadlineExceeded
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- c.call(ctx, "a", pathSecond, secondRequest{"1"}, nil) }()
		if want == context.Canceled {
			<-arrived
			cancel()
		}
		if err := <-ended; !errors.Is(err, want) {
			t.Fatal(err)
		}
		if want == context.DeadlineExceeded {
			select { // it may have ended before it was on its way
			case <-arrived:
			case <-time.After(time.Second):
				continue
			}
		}
		cancel()
		<-told
	}
	if n := p.connections.Load(); n != 1 {
		t.Errorf("20 requests made %d connections", n)
	}
}

// All requests to a node share a connection: when it is dead, as after a cut, the next one
// is made soon.
func TestADeadConnectionIsLeft(t *testing.T) {
	h := newHouse(t)
	p := h.port(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	// On the way lies a network that swallows everything on the connections that there are
	// when it is cut.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	var cut atomic.Int64
	go func() {
		for n := int64(1); ; n++ {
			from, err := ln.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", p.addr)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { _, _ = from.Close(), to.Close() })
			pass := func(to, from net.Conn) {
				b := make([]byte, 4096)
				for {
					k, err := from.Read(b)
					if err != nil {
						return // the end of one side is not passed on
					}
					if cut.Load() < n {
						_, _ = to.Write(b[:k])
					}
				}
			}
			go pass(to, from)
			go pass(from, to)
		}
	}()
	c := h.callerOf(ln.Addr().String(), 200*time.Millisecond)
	ask := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		return c.call(ctx, "a", pathSecond, secondRequest{"1"}, nil)
	}
	within := time.Now().Add(10 * time.Second)
	for ask() != nil && time.Now().Before(within) {
	}
	cut.Store(p.connections.Load())
	if err := ask(); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("on the dead connection: %v", err)
	}
	within = time.Now().Add(10 * time.Second)
	for err = ask(); err != nil && time.Now().Before(within); err = ask() {
	}
	if err != nil {
		t.Error(err)
	}
}
