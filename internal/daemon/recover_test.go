package daemon

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/config"
)

// recovery opens a stopped node's disk as `failoverd recover` does.
func (h *house) recovery(id, text string) (*Recovery, error) {
	h.Helper()
	cfg, err := config.Parse("config.toml", []byte(text))
	if err != nil {
		h.Fatal(err)
	}
	return OpenRecovery(Options{Config: cfg, Node: failover.NodeID(id), Log: slog.New(slog.DiscardHandler)})
}

// T4: a cluster of five is recovered on one of two nodes while the other three
// are alive. That is refused while they can be reached; where they cannot, the
// recovered side grants nothing, and disturbs nothing, until each of them is
// attested.
func TestRecoverWithAQuorumAlive(t *testing.T) {
	h := newHouse(t)
	const five = "a b c e f"
	text := h.text(five)
	for _, id := range strings.Fields(five) {
		h.start(id, text)
	}
	h.newestLevel()
	if _, err := h.recovery("b", text); err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Fatalf("recovered under a running node: %v", err)
	}
	_ = h.stop("b")
	_ = h.stop("f")
	h.leader()
	h.until("the three to go on", func(r *resident) bool {
		return r.core.node.Leader() != "" && r.core.node.Leader() != "b" && r.core.node.Leader() != "f"
	})

	r, err := h.recovery("b", text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reach(t.Context()); err == nil || !strings.Contains(err.Error(), "answers as part of a running cluster, led by") {
		t.Fatalf("the three were reached: %v", err)
	}
	// The log was put back from before a change of region, and not what lies beside it.
	moved := filepath.Join(r.this.Data, "traffic.json")
	kept, err := os.ReadFile(moved)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), os.WriteFile(moved, []byte(`{"service":"shop","region":"east2","left":"east1","epoch":2}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.recovery("b", text); err == nil || !strings.Contains(err.Error(), "clients were sent to east2 in epoch 2, and the log beside it stands at 1, with east1 active") {
		t.Fatalf("recovered on a log that is older than what lies beside it: %v", err)
	}
	if err := os.WriteFile(moved, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err = h.recovery("b", text); err != nil {
		t.Fatal(err)
	}
	if err := r.SeenEpoch(2); err == nil {
		t.Error("a later epoch was seen, and yet")
	}
	said := r.Consequences("east2")
	for _, want := range []string{"generation of the cluster, 1 after 0", "epoch 1 becomes 1001", "east1 by this log, east2 as you state it", "left behind, and never admitted again under these names: a, c, e, f"} {
		if !strings.Contains(said, want) {
			t.Errorf("the consequences do not say %q:\n%s", want, said)
		}
	}
	if _, err := r.Begin(failover.RecoverOrder{Active: "gru", By: "uid 0", Why: "w"}); err == nil {
		t.Error("a region that is none of the service's was stated")
	}
	// As if a cut hid the three: nobody was reached.
	st, err := r.Begin(failover.RecoverOrder{Active: "east1", By: "uid 0", Why: "they do not answer"})
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	if st.Generation != 1 || st.Epoch != 1001 || len(st.Unattested()) != 4 {
		t.Fatalf("generation %d, epoch %d, to be attested %v", st.Generation, st.Epoch, st.Unattested())
	}

	index := h.leader().State().Index
	b := h.start("b", text)
	h.until("b to lead itself", func(r *resident) bool { return r != b || r.core.Leads() })
	ans, err := h.ask(b, "1")
	if err != nil || ans.Grant.Granted || !strings.Contains(ans.Grant.Sentence, "recovered without a, c, e, f") {
		t.Fatalf("the recovered side: %+v, %v", ans.Grant, err)
	}
	// f belongs to the three: they lead, so it joins them although b calls it left
	// behind.
	h.start("f", text)
	h.until("f to follow the three", func(r *resident) bool {
		return r.this.ID != "f" || r.State().Index > index && r.State().Generation == 0 && r.core.node.Leader() != ""
	})
	var three *resident
	tries := 0
	h.until("a leader of the old generation that grants as before", func(*resident) bool {
		if three != nil {
			return true
		}
		for _, r := range h.nodes {
			if r == b || !r.core.Leads() {
				continue
			}
			tries++
			ans, err := h.ask(r, fmt.Sprintf("2.%d", tries))
			if err != nil || !ans.Grant.Granted || ans.Grant.Epoch != 1 { // it may have stopped leading meanwhile
				t.Logf("%s was asked, and says %+v, %v", r.this.ID, ans.Grant, err)
				continue
			}
			three = r
		}
		return three != nil
	})
	if n := len(b.State().Nodes); n != 1 {
		t.Errorf("b knows %d nodes", n)
	}
	if err := three.calls.Ballot(t.Context(), "b", failover.Ballot{Node: three.this.ID}); err == nil || !strings.Contains(err.Error(), "not a member") {
		t.Errorf("a request across generations: %v", err)
	}

	// The three are stopped for good, and said to be. One of them that comes back
	// finds b, and nobody who leads it: it does not take part.
	for _, id := range []string{"a", "c", "e", "f"} {
		_ = h.stop(id)
	}
	if err := h.launch("a", text); err == nil || !strings.Contains(err.Error(), "node a belongs to generation 0 of this cluster, node b to generation 1") {
		t.Errorf("one that was left behind starts: %v", err)
	}
	for _, id := range []failover.NodeID{"a", "c", "e", "f"} {
		if ans, err := h.ask(b, "3"+string(id)); err != nil || ans.Grant.Granted {
			t.Fatalf("before %s is attested: %+v, %v", id, ans.Grant, err)
		}
		h.do(failover.AttestNode{Node: id})
	}
	if ans, err := h.ask(b, "4"); err != nil || !ans.Grant.Granted || ans.Grant.Epoch != 1001 {
		t.Fatalf("after the last one: %+v, %v", ans.Grant, err)
	}
	// New nodes bring it back to size.
	h.start("d", h.text("b d"+" a")) // its file still needs three places; the log counts
	h.do(failover.AddMember{Node: "d", Spec: failover.NodeSpec{Vantage: "gru", Address: h.addr["d"]}})
	h.until("d to vote", func(r *resident) bool {
		s := r.State()
		return s.Settings != nil && len(s.Settings.Nodes) == 2 && s.Change == nil && s.Generation == 1
	})
	if _, err := os.Stat(filepath.Join(h.dir, "data-d", "known.json")); err != nil {
		t.Error(err)
	}
}

// T4: a token at a resource that lies beyond the end of the survivor's log is of a
// write that it has missed, and refuses the recovery. One that the log knows is
// shown; one that cannot be read is left to a person, with a word.
func TestRecoverReadsTokens(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "x")
	}
	var text atomic.Value
	text.Store("")
	bucket := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		says := text.Load().(string)
		w.Header().Set("ETag", `"1"`)
		if q.Method != http.MethodGet || !strings.HasSuffix(q.URL.Path, "/messaging") {
			t.Errorf("%s %s was asked", q.Method, q.URL)
		}
		if says == "" {
			w.WriteHeader(http.StatusForbidden)
		}
		_, _ = io.WriteString(w, says) // who asked may be gone
	}))
	defer bucket.Close()
	h := newHouse(t)
	file := h.text("a b c", `switch.exec = { command = "/bin/true", inspect = ["/bin/true"] }`,
		`names = ["api.example.net"]
same_as = "api.{region}.example.net"
switch.s3_object = { bucket = "failover", key = "messaging", region = "east2" }

[probes]
resolvers = ["127.0.0.1:1"]

[aws]
timeout = "1s"
endpoints = { east1 = "`+bucket.URL+`", east2 = "`+bucket.URL+`", global = "`+bucket.URL+`" }
`)
	for _, id := range []string{"a", "b", "c"} {
		h.start(id, file)
	}
	h.registered()
	_ = h.stop("a")
	_ = h.stop("c")
	_ = h.stop("b")
	for _, c := range []struct{ says, note, refused string }{
		{says: "failoverd service=messaging region=east1 token=1 epoch=1\n", note: "s3_object in east2: token 1 stands there, which this log knows (s3://failover/messaging names east1)"},
		{says: "failoverd service=messaging region=east2 token=900 epoch=2\n", refused: "wrote with token 900 (s3://failover/messaging names east2"},
		{says: "", note: "s3_object in east2: its token cannot be read (reading s3://failover/messaging in east2: "},
	} {
		text.Store(c.says)
		r, err := h.recovery("b", file)
		if err != nil {
			t.Fatal(err)
		}
		notes, err := r.Tokens(t.Context())
		switch got := strings.Join(notes, "\n"); {
		case c.refused == "" && (err != nil || len(notes) != 2 || !strings.Contains(got, c.note)):
			t.Errorf("with %q: %s, %v", c.says, got, err)
		case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
			t.Errorf("with %q it was not refused: %s, %v", c.says, got, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	// A host whose AWS configuration cannot be read is told so, and can be recovered on.
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(h.dir, "b.pem"))
	t.Setenv("AWS_PROFILE", "none")
	r, err := h.recovery("b", file)
	if err != nil {
		t.Fatal(err)
	}
	notes, err := r.Tokens(t.Context())
	if got := strings.Join(notes, "\n"); err != nil || !strings.Contains(got, "AWS cannot be asked from here: ") || !strings.Contains(got, "s3_object in east2: its token cannot be read (action s3_object: there are no AWS clients)") {
		t.Errorf("%s, %v", got, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
