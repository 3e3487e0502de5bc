package daemon

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
	"github.com/failoverd/failoverd/internal/notify"
)

// silent is a server that takes connections and says nothing, and a resolver that does.
func silent(t *testing.T) (server, resolver string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	return ln.Addr().String(), pc.LocalAddr().String()
}

// withSlack is a configuration with Slack at an address.
func (h *house) withSlack(text, url string, edits ...string) string {
	h.Helper()
	h.Setenv("FAILOVERD_SLACK_BOT_TOKEN", "xoxb-1")
	h.Setenv("FAILOVERD_SLACK_APP_TOKEN", "xapp-1")
	text += "\n[slack]\nchannel = \"C1\"\nteam = \"T1\"\napprovers = [\"U1\"]\napi_url = \"" + url + "\"\n"
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(text, edits[i]) {
			h.Fatalf("the configuration has no %q", edits[i])
		}
		text = strings.ReplaceAll(text, edits[i], edits[i+1])
	}
	return text
}

// P10: no other node, no name server, no reference and no Slack answers. The admin
// socket does, every time and soon: what it knows, and why a command is not taken.
func TestIncidentP10AdminSocketWithoutNetwork(t *testing.T) {
	h := newHouse(t)
	_, resolver := silent(t)
	text := h.withSlack(h.text("a b c"), "https://slack.test/api", "[self_check]\n", "[probes]\nresolvers = [\""+resolver+"\"]\n\n[self_check]\n",
		"http://"+h.ref+"/\"", "http://reference.test/\"", "http://"+h.ref+"/2\"", "http://other.test/\"")
	for _, id := range []string{"a", "b", "c"} {
		h.start(id, text)
	}
	h.registered()
	_ = h.stop("b")
	_ = h.stop("c")
	h.until("a to know of no leader", func(r *resident) bool { return r.core.node.Leader() == "" && !r.core.Leads() })

	c := admin.NewClient(h.nodes["a"].this.Socket)
	soon := func(what string, limit time.Duration, ask func(ctx context.Context)) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		ask(ctx)
		if ctx.Err() != nil {
			t.Errorf("%s took longer than %s", what, limit)
		}
	}
	for range 2 { // the first look may find what the second does not
		soon("status", 3*time.Second, func(ctx context.Context) {
			s, err := c.Status(ctx)
			if err != nil || s.Active != "east1" || s.Epoch != 1 || s.LeaderError == "" || s.Raft.Leader != "" {
				t.Errorf("status: %+v, %v", s, err)
			}
		})
		soon("votes", 3*time.Second, func(ctx context.Context) {
			if v, err := c.Votes(ctx); !errors.Is(err, admin.ErrUnavailable) {
				t.Errorf("votes: %+v, %v", v, err)
			}
		})
		soon("readiness", 3*time.Second, func(ctx context.Context) {
			if r, err := c.Readiness(ctx); err != nil || !strings.HasPrefix(r.Sentence, "not ready because") || !strings.Contains(r.Sentence, "leader") {
				t.Errorf("readiness: %q, %v", r.Sentence, err)
			}
		})
		soon("probes", 3*time.Second, func(ctx context.Context) {
			if p, err := c.Probes(ctx); err != nil || len(p) == 0 {
				t.Errorf("probes: %+v, %v", p, err)
			}
		})
		soon("plan", 3*time.Second, func(ctx context.Context) {
			if p, err := c.Plan(ctx, failover.Failover); err != nil || !strings.Contains(p, "start-api") {
				t.Errorf("plan: %q, %v", p, err)
			}
		})
		soon("events", 3*time.Second, func(ctx context.Context) {
			n := 0
			if err := c.Events(ctx, 0, false, func(failover.Event) { n++ }); err != nil || n == 0 {
				t.Errorf("events: %d, %v", n, err)
			}
		})
		soon("config", 3*time.Second, func(ctx context.Context) {
			if v, err := c.Config(ctx); err != nil || v.Hash == "" {
				t.Errorf("config: %+v, %v", v, err)
			}
		})
		soon("a command", 10*time.Second, func(ctx context.Context) {
			r, err := c.Command(ctx, "is anybody there", failover.PauseAutomation{For: failover.Duration(time.Minute)})
			if err != nil || r.Outcome != "no-leader" || !strings.Contains(r.Text, "quorum") {
				t.Errorf("a command: %+v, %v", r, err)
			}
		})
	}
	if s := h.nodes["a"].State(); s.Pause != nil || s.Incident != nil || s.Freeze != nil || s.Epoch != 1 {
		t.Errorf("something was done: %+v", s)
	}
}

// P18: Slack takes connections and answers nothing. The plan goes on at its own pace, a
// button that was pressed counts once, wherever it comes in, and means nothing
// when its question is over.
func TestIncidentP18SlackIsDown(t *testing.T) {
	h := newHouse(t)
	server, _ := silent(t)
	text := h.withSlack(h.text("a b c"), "http://"+server+"/api")
	for _, id := range []string{"a", "b", "c"} {
		h.start(id, text)
	}
	h.newestLevel()
	h.do(failover.RequestExecution{Kind: failover.Failover, Overrides: failover.Overridable()})
	h.until("the question", func(r *resident) bool { e := r.State().Execution; return e != nil && e.Question != nil })
	e := h.leader().State().Execution
	click := notify.Click{User: "U1", Action: "approve", Execution: e.ID, Epoch: 1, Nonce: e.Question.Nonce}
	press := func(r *resident, c notify.Click) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		return r.decideClick(ctx, c)
	}
	refused := func(what string, c notify.Click, want string) {
		t.Helper()
		for id, r := range h.nodes {
			if reply, err := press(r, c); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s on %s: %q, %v; want %q", what, id, reply, err, want)
			}
		}
	}
	wrong := click
	wrong.Nonce++
	refused("another question's button", wrong, "the button or command is stale")
	wrong = click
	wrong.Epoch = 0
	refused("another epoch's button", wrong, "this button is from epoch 0")
	begun := time.Now()
	if reply, err := press(h.nodes["b"], click); err != nil || reply != "approve accepted" {
		t.Fatalf("%q, %v", reply, err)
	}
	refused("the second click", click, "does not wait for an approval")
	h.until("the lease to be frozen", func(r *resident) bool { return r.State().Freeze != nil })
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it has taken %s to the freeze", took)
	}
	if s := h.leader().running.Load().notifier.Status(); s.Pending == 0 || s.Connected {
		t.Errorf("Slack is told after all: %+v", s)
	}
	approved := h.leader().State()
	if n := len(approved.Execution.Approvals); n != 1 {
		t.Errorf("approved %d times", n)
	}
	if _, err := press(h.nodes["c"], notify.Click{User: "U1", Action: "abort", Execution: e.ID, Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	h.until("the end", func(r *resident) bool { return r.State().Execution == nil })
	refused("a click that comes much later", click, "no execution")
	if s := h.leader().State(); s.Epoch != 1 || s.Execution != nil || len(s.History) != 1 {
		t.Errorf("it did something: %+v", s)
	}
}
