package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
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

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/internal/mtls"
)

// house is a cluster of whole nodes on the loopback interface: real raft, real
// TLS, real disks, probes of servers that answer.
type house struct {
	*testing.T
	dir    string
	ca     *mtls.Authority
	addr   map[string]string // by node
	where  map[string]string // vantage by node
	app    string            // what is probed, host:port
	ref    string
	nodes  map[string]*resident
	logs   func(raft.LogStore) raft.LogStore           // for nodes started from now on
	action func(failover.Step) (actions.Action, error) // for nodes started from now on; nil: as they are
	out    *output
}

// output is the test's log until the test ends: a raft that was left behind in a
// hung write speaks once more when it is let go.
type output struct {
	mu sync.Mutex
	w  io.Writer // nil: the test has ended
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.w == nil {
		return len(p), nil
	}
	return o.w.Write(p)
}

// resident is one running node.
type resident struct {
	*Daemon
	cancel context.CancelFunc
	ended  chan error // what Run returned
}

// newHouse makes certificates and addresses for nodes a to f, and starts
// none.
func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{T: t, dir: t.TempDir(), addr: map[string]string{}, nodes: map[string]*resident{}, where: map[string]string{"a": "east1", "b": "east2", "c": "gru", "d": "gru", "e": "east1", "f": "east2"}}
	h.out = &output{w: t.Output()}
	t.Cleanup(func() {
		h.out.mu.Lock()
		defer h.out.mu.Unlock()
		h.out.w = nil
	})
	serve := func(host string) string {
		ln, err := net.Listen("tcp", host+":0")
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		srv.Listener = ln
		srv.Start()
		t.Cleanup(srv.Close)
		return ln.Addr().String()
	}
	h.app, h.ref = serve("127.0.0.1"), serve("127.0.0.2")
	var err error
	if h.ca, _, err = mtls.OpenAuthority(h.dir, "messaging"); err != nil {
		t.Fatal(err)
	}
	for id := range h.where {
		if err := h.ca.Issue(h.dir, id, mtls.Identity{Role: mtls.RoleNode, Name: id}); err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h.addr[id] = ln.Addr().String()
		_ = ln.Close() // the node takes the port
	}
	t.Cleanup(func() {
		for id := range h.nodes {
			h.stop(id)
		}
	})
	return h
}

// text is the configuration file with the given nodes; edits are pairs of old
// and new.
func (h *house) text(ids string, edits ...string) string {
	nodes := ""
	for _, id := range strings.Fields(ids) {
		nodes += fmt.Sprintf("%s = { region = %q, address = %q }\n", id, h.where[id], h.addr[id])
	}
	text := fmt.Sprintf(`service = "messaging"
primary = "east1"
secondary = "east2"

[policy]
mode = "supervised"
hold = "30s"
vote_ttl = "1s"
ask = { wait = "15m", then = "hold" }
cooldown = "1h"
max_per_day = 2

[lease]
length = "20s"
renew = "1s"
clock_error = "1%%"
margin = "1s"
effect_tail = "1s"
stop = { grace = "1s", kill = "1s", safety = "1s" }

[raft]
profile = "fast"

[nodes]
%[1]s
[node]
data = "%[2]s/data-{node}"
socket = "%[2]s/{node}.sock"
web = ""

[tls]
ca = "%[2]s/ca.pem"
cert = "%[2]s/{node}.pem"
key = "%[2]s/{node}.key"

[self_check]
urls = ["http://%[4]s/", "http://%[4]s/2"]

[component.api]
see.http = { url = "http://%[3]s/{region}" }
see.tcp = { address = "%[3]s" }
start.exec = { command = "/bin/true", inspect = ["/bin/true"] }

[component.workers]
agent = true
arming = "enforced"
on_isolation = "stop"
stop.proof = ["confirmed", "lease"]
start.exec = { command = "/bin/true", inspect = ["/bin/true"] }

[traffic]
after = ["api"]
switch.exec = { command = "/bin/true", inspect = ["/bin/true"] }
`, nodes, h.dir, h.app, h.ref)
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(text, edits[i]) {
			h.Fatalf("the configuration has no %q", edits[i])
		}
		text = strings.ReplaceAll(text, edits[i], edits[i+1])
	}
	return text
}

// launch starts a node with a configuration file; the error is New's.
func (h *house) launch(id, text string) error {
	h.Helper()
	cfg, err := config.Parse("config.toml", []byte(text))
	if err != nil {
		h.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(h.out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	d, err := New(h.Context(), Options{Config: cfg, Node: failover.NodeID(id), Version: "test", Log: log, logs: h.logs, action: h.action})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &resident{Daemon: d, cancel: cancel, ended: make(chan error, 1)}
	h.nodes[id] = r
	go func() { r.ended <- d.Run(ctx) }()
	return nil
}

func (h *house) start(id, text string) *resident {
	h.Helper()
	if err := h.launch(id, text); err != nil {
		h.Fatal(err)
	}
	return h.nodes[id]
}

// stop ends a node and returns what Run said.
func (h *house) stop(id string) error {
	h.Helper()
	r := h.nodes[id]
	delete(h.nodes, id)
	r.cancel()
	err := <-r.ended
	if serr := r.Stop(); serr != nil {
		h.Logf("stopping %s: %v", id, serr)
	}
	return err
}

// until polls until cond holds on every running node.
func (h *house) until(what string, cond func(r *resident) bool) {
	h.Helper()
	limit := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok := true
		for _, r := range h.nodes {
			ok = ok && cond(r)
		}
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			h.Fatalf("waited 30 s for %s", what)
		}
	}
}

// registered waits until every node knows the newest start of all that run.
func (h *house) registered() {
	h.Helper()
	h.until("all nodes to be registered", func(r *resident) bool {
		s := r.State()
		for _, o := range h.nodes {
			self := o.gate.Self()
			if rec := s.Nodes[self.Node]; rec.Boot != self.Boot {
				return false
			}
		}
		return s.Settings != nil
	})
}

func (h *house) leader() *resident {
	h.Helper()
	var lead *resident
	h.until("a leader", func(*resident) bool {
		for _, r := range h.nodes {
			if r.core.Leads() {
				lead = r
			}
		}
		return lead != nil
	})
	return lead
}

func (h *house) copyData(from, to string) {
	h.Helper()
	if err := errors.Join(os.RemoveAll(filepath.Join(h.dir, to)), os.CopyFS(filepath.Join(h.dir, to), os.DirFS(filepath.Join(h.dir, from)))); err != nil {
		h.Fatal(err)
	}
}

// T3: a voter's disk that was set back, or replaced by an empty one, is refused
// before it can give a vote: with the others running, and when all start
// together.
func TestDiskIsJudgedBeforeRaftStarts(t *testing.T) {
	h := newHouse(t)
	text := h.text("a b c")
	// The first start needs every node: two empty ones of three begin nothing.
	h.start("a", text)
	h.start("b", text)
	h.until("the reason to wait", func(r *resident) bool { return r.gate.Self().Empty })
	if _, waits := begins(h.nodes["a"].gate.Self(), h.nodes["a"].peers.members(), Inquire(t.Context(), h.nodes["a"].calls, h.nodes["a"].gate.Self(), h.nodes["a"].peers.members())); !strings.Contains(waits, "no answer from c") {
		t.Errorf("waits for: %q", waits)
	}
	h.start("c", text)
	h.registered()

	_ = h.stop("c")
	h.copyData("data-c", "old-c")
	h.start("c", text)
	h.registered()
	_ = h.stop("c")
	h.copyData("data-c", "new-c")

	h.copyData("old-c", "data-c")
	// However often its service manager tries: a start that was refused is none, or
	// the counter would catch up with what is recorded.
	for i := range 5 {
		if err := h.launch("c", text); err == nil || !strings.Contains(err.Error(), "its disk was set back to an older copy") {
			t.Fatalf("set back, start %d: %v", i+1, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(h.dir, "data-c")); err != nil {
		t.Fatal(err)
	}
	if err := h.launch("c", text); err == nil || !strings.Contains(err.Error(), "started with another disk than the one that this cluster knows") {
		t.Fatalf("replaced: %v", err)
	}
	// All restart, and nobody has applied anything: what was kept is asked.
	_ = h.stop("a")
	_ = h.stop("b")
	h.start("a", text)
	h.copyData("old-c", "data-c")
	if err := h.launch("c", text); err == nil || !strings.Contains(err.Error(), "its disk was set back to an older copy") {
		t.Fatalf("set back, all restart: %v", err)
	}
	// The right disk is welcome; with it there is a majority again.
	h.copyData("new-c", "data-c")
	h.start("c", text)
	h.registered()
}
