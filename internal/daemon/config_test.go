package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
)

// propose applies a configuration's text on some node; the error is what a
// person reads.
func (h *house) propose(text string) (string, error) {
	h.Helper()
	_, hash, _, err := h.leader().ProposeConfig(h.Context(), "uid 7", admin.ConfigText{File: "/x/new.toml", Text: text, Why: "a test"})
	return hash, err
}

func (h *house) inForce(hash string) {
	h.Helper()
	h.until("configuration "+hash+" to run everywhere", func(r *resident) bool {
		return r.State().SettingsHash == hash && r.running.Load().cfg.Hash() == hash
	})
}

// A configuration moves to all nodes while they run: probes start anew, leases
// are granted throughout, and a restarted node runs what is in the log, not its
// file.
func TestConfigurationInTheLog(t *testing.T) {
	h := newHouse(t)
	text := h.text("a b c")
	for _, id := range []string{"a", "b", "c"} {
		h.start(id, text)
	}
	h.newestLevel()
	h.until("the text of the first configuration", func(r *resident) bool { return r.State().Source == text })
	first := h.leader().State().SettingsHash
	healthy := func(r *resident) bool {
		for _, v := range r.Verdicts() {
			if v.Health != failover.Healthy {
				return false
			}
		}
		return true
	}
	h.until("healthy verdicts", healthy)

	// Mistakes are told as `config check` tells them; nothing is proposed.
	if _, err := h.propose(strings.Replace(text, "hold = ", "hodl = ", 1)); err == nil || !strings.Contains(err.Error(), "new.toml:7: policy.hodl: is not a known key") || !strings.Contains(err.Error(), "policy.hold: is missing") {
		t.Errorf("%v", err)
	}
	for guard, bad := range map[string]string{
		"service": h.text("a b c", `"messaging"`, `"other"`), "members": h.text("a b c d"), "active-region": h.text("a b c", `primary = "east1"`, `primary = "west1"`), "same": text + "# a comment\n",
	} {
		var ref *failover.Refusal
		if _, err := h.propose(bad); !errors.As(err, &ref) || ref.Guard != guard {
			t.Errorf("want guard %s: %v", guard, err)
		}
	}

	// One that the nodes cannot run is refused by them, and the old one stays.
	if _, err := h.propose(text + "\n[slack]\nchannel = \"C1\"\nteam = \"T1\"\napprovers = [\"U1\"]\nbot_token_file = \"/nowhere\"\napp_token_file = \"/nowhere\"\n"); err != nil {
		t.Fatal(err)
	}
	h.until("the nodes to refuse it", func(r *resident) bool { return strings.Contains(r.State().Waits(), "/nowhere") })
	if st := h.leader().Status(t.Context()); st.Config != first || !strings.HasPrefix(st.Waits, "refused by ") {
		t.Errorf("in force %s, the proposal %s", st.Config, st.Waits)
	}
	h.do(failover.WithdrawSettings{Proposal: h.leader().State().Proposal.ID})

	granted := func(request string) {
		t.Helper()
		if ans, err := h.ask(h.leader(), request); err != nil || !ans.Grant.Granted {
			t.Fatalf("request %s: %+v, %v", request, ans.Grant, err)
		}
	}
	granted("1")
	before := h.nodes["a"].running.Load().monitor
	next := h.text("a b c", `hold = "30s"`, `hold = "35s"`) + "\n[probes]\ninterval = \"500ms\"\n"
	hash, err := h.propose(next)
	if err != nil {
		t.Fatal(err)
	}
	granted("2")
	h.inForce(hash)
	granted("3")
	if h.nodes["a"].running.Load().monitor == before {
		t.Error("the probes were not made anew")
	}
	h.until("healthy verdicts again", healthy)
	s := h.leader().State()
	if s.Settings.Policy.Hold.D() != 35*time.Second || s.Suspicion != nil || s.Incident != nil || s.Proposal != nil {
		t.Errorf("hold %s, suspicion %v", s.Settings.Policy.Hold, s.Suspicion)
	}
	if v := h.leader().Config(); v.OwnFile != first || v.Hash != hash || v.Source != next {
		t.Errorf("%+v", v)
	}

	// Its own file still says 30 s. What it ran last counts, and with that file lost
	// the log.
	for _, lost := range []bool{false, true} {
		_ = h.stop("b")
		if lost {
			if err := os.Remove(filepath.Join(h.dir, "data-b", lastFile)); err != nil {
				t.Fatal(err)
			}
		}
		b := h.start("b", text)
		if hold := b.running.Load().cfg.Policy.Hold.D(); !lost && hold != 35*time.Second {
			t.Errorf("b starts with a hold of %s", hold)
		}
		h.registered()
		h.inForce(hash)
	}
}

// A node whose disk is full when a configuration comes into force says so, and runs it when there is room.
func TestAConfigurationThatCouldNotBeTakenIsTakenLater(t *testing.T) {
	h := newHouse(t)
	text := h.text("a b c")
	for _, id := range []string{"a", "b", "c"} {
		h.start(id, text)
	}
	h.newestLevel()
	h.until("the text of the first configuration", func(r *resident) bool { return r.State().Source == text })
	n := h.follower()
	last := filepath.Join(n.this.Data, lastFile)
	if err := os.RemoveAll(last); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(last, "in the way"), 0o700); err != nil { // what replaces a file fails on it
		t.Fatal(err)
	}
	hash, err := h.propose(strings.Replace(text, `hold = "30s"`, `hold = "31s"`, 1))
	if err != nil {
		t.Fatal(err)
	}
	h.until("the configuration in force, and one that cannot run it", func(r *resident) bool {
		rows := r.runsRow(r.State())
		if r != n {
			return r.running.Load().cfg.Hash() == hash && len(rows) == 0
		}
		return r.State().SettingsHash == hash && len(rows) == 1 && !rows[0].OK && strings.Contains(rows[0].Detail, hash)
	})
	if err := os.RemoveAll(last); err != nil {
		t.Fatal(err)
	}
	h.inForce(hash)
}
