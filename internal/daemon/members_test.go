package daemon

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
)

// do gives a person's command on any node and waits until it is accepted.
func (h *house) do(cmd failover.Command) {
	h.Helper()
	done := false
	h.until(cmd.Name()+" to be accepted", func(*resident) bool {
		if done {
			return true
		}
		for _, r := range h.nodes {
			ctx, cancel := context.WithTimeout(h.Context(), 2*time.Second)
			_, err := r.Propose(ctx, "uid 7", "a test", "", cmd)
			cancel()
			var ref *failover.Refusal
			if errors.As(err, &ref) {
				h.Fatalf("%s: refused by %s: %s", cmd.Name(), ref.Guard, ref.Text)
			}
			if done = err == nil; done {
				break
			}
		}
		return done
	})
}

// level2 waits until the feature level is in force.
func (h *house) newestLevel() {
	h.Helper()
	h.registered()
	h.until("the newest feature level", func(r *resident) bool { return r.State().Level() == failover.Features })
}

func member(s admin.Status, id failover.NodeID) admin.MemberStatus {
	for _, m := range s.Members {
		if m.ID == id {
			return m
		}
	}
	return admin.MemberStatus{}
}

// A node joins and another leaves, live: the log, admission and addresses follow
// without a restart; the one that was removed stops with a sentence, and its
// name is spent.
func TestMembersComeAndGo(t *testing.T) {
	h := newHouse(t)
	text := h.text("a b c")
	for _, id := range []string{"a", "b", "c"} {
		h.start(id, text)
	}
	h.newestLevel()
	h.until("a leader outside the active region", func(r *resident) bool { return r.core.node.Leader() != "" && r.core.node.Leader() != "a" })

	// The new node waits until somebody lets it in.
	d := h.start("d", h.text("a b c d"))
	if _, waits := begins(d.gate.Self(), d.peers.members(), Inquire(t.Context(), d.calls, d.gate.Self(), d.peers.members())); !strings.Contains(waits, "`failoverd members add d …`") {
		t.Errorf("it waits for %q", waits)
	}
	h.do(failover.AddMember{Node: "d", Spec: failover.NodeSpec{Vantage: "gru", Address: h.addr["d"]}})
	h.until("d to vote", func(r *resident) bool {
		s := r.State()
		return s.Settings != nil && len(s.Settings.Nodes) == 4 && s.Change == nil
	})
	h.registered()
	if m := member(h.leader().Status(t.Context()), "d"); m.State != "voter" || m.Features != failover.Features || m.Disk == "" {
		t.Errorf("%+v", m)
	}

	// Removing the leader: it gives the leadership away first.
	gone := h.leader().this.ID
	if gone == "a" || gone == "b" {
		if err := h.leader().core.node.TransferTo("c"); err != nil {
			t.Fatal(err)
		}
		gone = "c"
	}
	r := h.nodes[string(gone)]
	h.do(failover.RemoveMember{Node: gone})
	select {
	case err := <-r.ended:
		if err == nil || !strings.Contains(err.Error(), "node "+string(gone)+" was removed from the cluster on ") || !strings.Contains(err.Error(), "by uid 7 (a test)") {
			t.Errorf("the removed node said %v", err)
		}
		r.ended <- err
	case <-time.After(30 * time.Second):
		t.Fatal("the removed node goes on")
	}
	_ = h.stop(string(gone))
	h.until("three members", func(r *resident) bool { return len(r.State().Settings.Nodes) == 3 })
	h.leader()
	if err := h.launch(string(gone), text); err == nil || !strings.Contains(err.Error(), "its name is never used again") {
		t.Errorf("started again: %v", err)
	}

	// Without b nobody outside us-east-1 but one; with one of three stopped the rest
	// is not a majority.
	_, err := h.leader().Propose(t.Context(), "uid 7", "", "", failover.RemoveMember{Node: "b"})
	var ref *failover.Refusal
	if !errors.As(err, &ref) || ref.Guard != "vantages" {
		t.Errorf("%v", err)
	}
	// All nodes restart with files that name the old members: the log counts.
	for _, id := range []string{"a", "b", "c", "d"} {
		if h.nodes[id] != nil {
			_ = h.stop(id)
		}
	}
	for _, id := range []string{"a", "b", "c", "d"} {
		if id != string(gone) {
			ids := "a b c"
			if id == "d" {
				ids = "a b c d"
			}
			h.start(id, h.text(ids))
		}
	}
	h.registered()
}

// Five voters of which two are away cannot spare one of the others, but can
// spare one that is away.
func TestRestHasMajority(t *testing.T) {
	servers := []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d"}, {ID: "e"}, {ID: "new", Suffrage: raft.Nonvoter}}
	heard := func(id failover.NodeID) bool { return id == "a" || id == "b" || id == "c" || id == "new" }
	if why := restHasMajority(servers, "c", heard); !strings.Contains(why, "of the 4 voters that would remain only 2 are heard") {
		t.Errorf("%q", why)
	}
	for _, id := range []failover.NodeID{"d", "new"} {
		if why := restHasMajority(servers, id, heard); why != "" {
			t.Errorf("%s: %q", id, why)
		}
	}
}
