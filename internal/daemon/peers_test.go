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

// A request that nobody waits for any more takes no connection along: an agent that asks
// two nodes, and a leader that gathers words, would shake hands anew for each lease.
func TestAnAbandonedRequestKeepsItsConnection(t *testing.T) {
	h := newHouse(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := mtls.NewMux(ln, h.signerOf("a").Material, func(mtls.Identity) error { return nil }, slog.New(slog.NewTextHandler(t.Output(), nil)))
	arrived, answer, gone := make(chan struct{}, 1), make(chan struct{}), make(chan struct{}, 20)
	var connections atomic.Int64
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // so that a connection that ends is seen
		arrived <- struct{}{}
		select {
		case <-answer:
			_, _ = io.WriteString(w, "{}") // the test sees whether it arrives
		case <-r.Context().Done():
			gone <- struct{}{}
		}
	}), ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}}
	go func() { _ = srv.Serve(mux.HTTP()) }() // until it is closed
	t.Cleanup(func() { _, _ = srv.Close(), mux.Close() })

	c := newCaller(h.signerOf("b").Material, func() map[failover.NodeID]failover.NodeSpec {
		return map[failover.NodeID]failover.NodeSpec{"a": {Address: ln.Addr().String()}}
	}, 5*time.Second)
	t.Cleanup(c.close)
	for range 40 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.call(ctx, "a", pathSecond, secondRequest{"1"}, nil) }()
		<-arrived
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Fatal(err) // whoever gives up waits no longer
		}
		select {
		case answer <- struct{}{}:
		case <-gone:
		}
	}
	go func() { <-arrived; answer <- struct{}{} }()
	if err := c.call(t.Context(), "a", pathSecond, secondRequest{"2"}, nil); err != nil {
		t.Fatal(err)
	}
	// Some more than one: a connection may not be back in its place when the next request is made.
	if n := connections.Load(); n > 10 {
		t.Errorf("41 requests made %d connections", n)
	}

	// A deadline is kept: the peer may be behind a cut, and its connection is of no use.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := c.call(ctx, "a", pathSecond, secondRequest{"3"}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	before := connections.Load()
	<-arrived
	<-gone
	go func() { <-arrived; answer <- struct{}{} }()
	if err := c.call(t.Context(), "a", pathSecond, secondRequest{"4"}, nil); err != nil {
		t.Fatal(err)
	}
	if n := connections.Load(); n > before+1 {
		t.Errorf("%d connections after the deadline, %d before", n, before)
	}
}
