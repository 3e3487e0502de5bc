package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// fakeNode answers from a state that a test changes, and takes commands.
type fakeNode struct {
	mu      sync.Mutex
	state   *failover.State
	changed chan struct{}
	got     []failover.Command
	by, why string
	id      string
	err     error
	votes   error
	plan    error
}

func newFakeNode() *fakeNode {
	return &fakeNode{state: failover.NewState(), changed: make(chan struct{})}
}

func (n *fakeNode) Status(context.Context) Status { return Status{Service: "messaging", Node: "n1"} }

func (n *fakeNode) Votes(context.Context) (Votes, error) { return Votes{Leader: "n1"}, n.votes }

func (n *fakeNode) Readiness(context.Context) Readiness { return verdict }

var verdict = Readiness{Sentence: "not ready because leader: none", Rows: []Row{{Name: "leader", Detail: "none"}}}

func (n *fakeNode) Signals() []SignalReport {
	return []SignalReport{{SignalState: failover.SignalState{Kind: "http"}}}
}

func (n *fakeNode) State() *failover.State {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state.Clone()
}

func (n *fakeNode) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

func (n *fakeNode) event(index uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state.Events = append(n.state.Events, failover.Event{Index: index, Text: fmt.Sprint(index)})
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *fakeNode) Propose(_ context.Context, by, why, id string, c failover.Command) (failover.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.got, n.by, n.why, n.id = append(n.got, c), by, why, id
	return failover.Result{Index: 7}, n.err
}

func (n *fakeNode) Drill(ctx context.Context, by, why string, c failover.Component, say func(string)) (Drilled, error) {
	n.mu.Lock()
	n.by, n.why = by, why
	n.mu.Unlock()
	say("half of " + string(c))
	switch c {
	case "floods": // more than any socket holds
		say(strings.Repeat("x", 1<<20))
		for range 64 {
			time.Sleep(drillPace)
			if ctx.Err() != nil {
				break
			}
			say(strings.Repeat("x", 64<<20))
		}
		fallthrough
	case "hangs":
		<-ctx.Done()
		close(n.changed)
		return Drilled{}, ctx.Err()
	case "mongo":
		return Drilled{}, errors.New("it cannot be tried out")
	}
	return Drilled{Took: failover.Duration(time.Minute), Detail: "all of it"}, nil
}

func (n *fakeNode) Config() ConfigView { return ConfigView{Hash: "h1", Waits: "waits for b"} }

func (n *fakeNode) ProposeConfig(_ context.Context, by string, c ConfigText) (failover.Result, string, []string, error) {
	if c.Text == "" {
		return failover.Result{}, "", nil, errors.New(c.File + ":1: service: is missing")
	}
	if c.Text == "other" {
		return failover.Result{}, "h2", nil, &failover.Refusal{Guard: "service", Text: "never renamed"}
	}
	return failover.Result{Index: 7}, "h2", []string{by + " " + c.Why}, nil
}

func (n *fakeNode) Plan(kind failover.ExecKind) (failover.Plan, string, error) {
	return failover.Plan{From: "east1"}, fmt.Sprintf("plan 1, %s\n", kind), n.plan
}

func (n *fakeNode) Price(kind failover.ExecKind) (plan.Price, error) {
	return plan.Price{Kind: kind, From: "east1", Stores: []plan.StorePrice{{Store: "mongo"}}}, n.plan
}

// serve starts an admin server on a socket.
func serve(t *testing.T, n Node) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "admin.sock")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	srv := Server(n, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }() // it ends with Close
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return NewClient(path)
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "admin.sock")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o660 || info.Mode().Type() != fs.ModeSocket {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "is in use: another failoverd answers on it") {
		t.Errorf("a second one: %v", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // as after a crash
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Listen(path)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	_ = again.Close() // only its opening matters

	file := filepath.Join(dir, "precious")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil || !strings.Contains(err.Error(), "something that is not a socket stands there") {
		t.Errorf("a file: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "data" {
		t.Errorf("the file was touched: %q, %v", b, err)
	}
	if _, err := Listen(filepath.Join(file, "sock")); err == nil {
		t.Error("a socket below a file")
	}
}

func TestClientSaysWhyNobodyAnswers(t *testing.T) {
	dir := t.TempDir()
	_, err := NewClient(filepath.Join(dir, "none")).Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the socket does not exist; is failoverd running here?") {
		t.Errorf("%v", err)
	}
	path := filepath.Join(dir, "stale")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = ln.Close() // what is left of it is the point
	if _, err := NewClient(path).Votes(t.Context()); err == nil || !strings.Contains(err.Error(), "the socket is stale") {
		t.Errorf("%v", err)
	}
}

func TestReading(t *testing.T) {
	n := newFakeNode()
	c := serve(t, n)
	if s, err := c.Status(t.Context()); err != nil || s.Service != "messaging" {
		t.Errorf("%+v, %v", s, err)
	}
	if v, err := c.Votes(t.Context()); err != nil || v.Leader != "n1" {
		t.Errorf("%+v, %v", v, err)
	}
	if p, err := c.Probes(t.Context()); err != nil || len(p) != 1 || p[0].Kind != "http" {
		t.Errorf("%+v, %v", p, err)
	}
	for _, kind := range []failover.ExecKind{failover.Failover, failover.Switchover} {
		if p, err := c.Plan(t.Context(), kind); err != nil || p != "plan 1, "+string(kind)+"\n" {
			t.Errorf("%q, %v", p, err)
		}
		if p, err := c.Price(t.Context(), kind); err != nil || p.Kind != kind || p.From != "east1" || len(p.Stores) != 1 {
			t.Errorf("%+v, %v", p, err)
		}
	}
	// Who asks for no kind means a failover; who asks for one that there is not gets no answer for another.
	if p, err := c.Plan(t.Context(), ""); err != nil || p != "plan 1, failover\n" {
		t.Errorf("%q, %v", p, err)
	}
	for _, kind := range []failover.ExecKind{"nonsense", "Switchover", failover.Preparation} {
		want := fmt.Sprintf("%q is not a kind of execution; failover and switchover are", kind)
		if p, err := c.Plan(t.Context(), kind); err == nil || err.Error() != want {
			t.Errorf("%s: %q, %v", kind, p, err)
		}
		if p, err := c.Price(t.Context(), kind); err == nil || err.Error() != want {
			t.Errorf("%s: %+v, %v", kind, p, err)
		}
	}
	n.votes, n.plan = errors.New("no leader is known"), errors.New("components wait for each other")
	if _, err := c.Votes(t.Context()); err == nil || !strings.Contains(err.Error(), "no leader is known") {
		t.Errorf("%v", err)
	}
	if _, err := c.Price(t.Context(), failover.Failover); err == nil || !strings.Contains(err.Error(), "components wait for each other") {
		t.Errorf("%v", err)
	}
	if _, err := c.Plan(t.Context(), failover.Failover); err == nil || !strings.Contains(err.Error(), "components wait for each other") {
		t.Errorf("%v", err)
	}
}

// Refusals are told apart from what happened.
func TestRefusals(t *testing.T) {
	n := newFakeNode()
	n.event(1)
	n.mu.Lock()
	n.state.Refusals = append(n.state.Refusals, failover.Event{Index: 2, Text: "refused by guard fence"}, failover.Event{Index: 3, Text: "refused by guard epoch"})
	n.mu.Unlock()
	var got []string
	if err := serve(t, n).Refusals(t.Context(), 2, func(ev failover.Event) { got = append(got, ev.Text) }); err != nil || fmt.Sprint(got) != "[refused by guard epoch]" {
		t.Errorf("%v, %v", got, err)
	}
}

// Events come in order, from an index on, and go on as long as one listens.
func TestEvents(t *testing.T) {
	n := newFakeNode()
	for i := range uint64(4) {
		n.event(i + 1)
	}
	c := serve(t, n)
	var got []uint64
	if err := c.Events(t.Context(), 2, false, func(ev failover.Event) { got = append(got, ev.Index) }); err != nil || fmt.Sprint(got) != "[3 4]" {
		t.Errorf("%v, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got = nil
	err := c.Events(ctx, 0, true, func(ev failover.Event) {
		got = append(got, ev.Index)
		switch ev.Index {
		case 4, 5:
			n.event(ev.Index + 1)
		case 6:
			cancel()
		}
	})
	if err != nil || fmt.Sprint(got) != "[1 2 3 4 5 6]" {
		t.Errorf("%v, %v", got, err)
	}
}

// A command carries who gave it, as the kernel says, and each answer has its
// word.
func TestCommand(t *testing.T) {
	n := newFakeNode()
	c := serve(t, n)
	for _, w := range []struct {
		err     error
		outcome string
	}{
		{nil, "accepted"},
		{&failover.Refusal{Guard: "pause", Text: "automation is paused"}, "refused"},
		{consensus.ErrNoLeader, "no-leader"},
		{fmt.Errorf("forwarding: %w", consensus.ErrUnknownOutcome), "unknown"},
		{errors.New("disk full"), "failed"},
	} {
		n.err = w.err
		r, err := c.Command(t.Context(), "region lost", failover.Attest{Execution: 3, Component: "workers", Epoch: 1})
		if err != nil || r.Outcome != w.outcome || (w.err != nil && r.Text == "") {
			t.Errorf("%v: %+v, %v", w.err, r, err)
		}
	}
	if got := n.got[0]; got != (failover.Attest{Execution: 3, Component: "workers", Epoch: 1}) || n.why != "region lost" || n.id == "" {
		t.Errorf("%+v because %q, ID %q", got, n.why, n.id)
	}
	if want := fmt.Sprintf("uid %d", os.Getuid()); !strings.HasPrefix(n.by, want) {
		t.Errorf("by %q, want %q", n.by, want)
	}
	// A leader's command is none of a person's.
	for _, cmd := range []failover.Command{failover.AdvanceEpoch{}, failover.FreezeLease{}, failover.RegisterNode{}} {
		before := len(n.got)
		if _, err := c.Command(t.Context(), "", cmd); err == nil || !strings.Contains(err.Error(), "is not a command of people") || len(n.got) != before {
			t.Errorf("%s: %v", cmd.Name(), err)
		}
	}
}

func post(n Node, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/v1/command", strings.NewReader(body))
	Server(n, slog.New(slog.DiscardHandler)).Handler.ServeHTTP(w, r)
	return w
}

func TestCommandErrors(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":           "",
		"no JSON":           "abort!",
		"no name":           `{"id":"x","body":{}}`,
		"unknown":           `{"name":"explode","id":"x","body":{}}`,
		"unknown field":     `{"name":"abort","id":"x","body":{"execution":1,"undoo":true}}`,
		"a word":            `{"name":"abort","id":"x","body":{"execution":"first"}}`,
		"no duration":       `{"name":"pause","id":"x","body":{"for":"long"}}`,
		"far too long":      `{"name":"abort","id":"x","why":"` + strings.Repeat("x", 100<<10) + `","body":{"execution":1}}`,
		"body is no object": `{"name":"abort","id":"x","body":[1]}`,
	} {
		n := newFakeNode()
		if w := post(n, body); w.Code/100 != 4 || len(n.got) != 0 {
			t.Errorf("%s: status %d, %q, %v", name, w.Code, w.Body, n.got)
		}
	}
	w := httptest.NewRecorder()
	Server(newFakeNode(), slog.New(slog.DiscardHandler)).Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/command", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
}

// FuzzCommand: nothing that a local caller sends crashes the node, and only
// commands of people reach it.
func FuzzCommand(f *testing.F) {
	for name := range operatorCommands() {
		f.Add(fmt.Sprintf(`{"name":%q,"id":"x","why":"y","body":{}}`, name))
	}
	f.Add(`{"name":"advance-epoch","body":{"epoch":2}}`)
	f.Add(`{"name":"pause","id":"x","body":null}`)
	f.Fuzz(func(t *testing.T, body string) {
		n := newFakeNode()
		w := post(n, body)
		if len(n.got) > 1 || (len(n.got) == 1) != (w.Code == http.StatusOK) {
			t.Fatalf("status %d, %d commands", w.Code, len(n.got))
		}
		if len(n.got) == 1 {
			if n.got[0].LeaderOnly() {
				t.Fatalf("%s reached the node", n.got[0].Name())
			}
			var r Reply
			if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil || r.Outcome == "" {
				t.Fatalf("%q: %v", w.Body, err)
			}
		}
	})
}

// A configuration travels as text; mistakes and refusals come back in words.
func TestConfig(t *testing.T) {
	c := serve(t, &fakeNode{})
	if v, err := c.Config(t.Context()); err != nil || v.Hash != "h1" || v.Waits != "waits for b" {
		t.Errorf("%+v, %v", v, err)
	}
	r, err := c.ProposeConfig(t.Context(), "f.toml", "service = 1", "because")
	if err != nil || r.Outcome != "accepted" || r.Index != 7 || r.Hash != "h2" || len(r.Changes) != 1 || !strings.HasPrefix(r.Changes[0], "uid ") {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := c.ProposeConfig(t.Context(), "f.toml", "", ""); err != nil || r.Outcome != "failed" || r.Text != "f.toml:1: service: is missing" {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := c.ProposeConfig(t.Context(), "f.toml", "other", ""); err != nil || r.Outcome != "refused" || r.Guard != "service" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := c.ProposeConfig(t.Context(), "f.toml", strings.Repeat("x", maxConfig+1), ""); err == nil || !strings.Contains(err.Error(), "are enough") {
		t.Errorf("%v", err)
	}
}

// Every command that is no leader's and that a node does not give for itself can
// be given by a person.
func TestEveryCommandOfPeople(t *testing.T) {
	own := map[string]bool{ // given by nodes, never by people
		failover.RegisterNode{}.Name(): true, failover.SaveMessage{}.Name(): true, failover.AckSettings{}.Name(): true,
		failover.BeginDrill{}.Name():      true, // a person asks for the drill; the node says that it begins, and what came of it
		failover.RecordDrill{}.Name():     true,
		failover.ProposeSettings{}.Name(): true, // a person gives the file; the node makes the command of it
	}
	for _, c := range consensus.People() {
		if _, ok := operatorCommands()[c]; !ok && !own[c] {
			t.Errorf("nobody can give the command %s", c)
		}
	}
}
