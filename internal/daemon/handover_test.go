package daemon

import (
	"errors"
	"testing"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
)

// E8: a node that cannot make an action of a plan gives the leadership away before it does anything, once when a plan begins and once when
// it comes to lead one. It keeps it when it comes back all the same: then nobody can do better, and a person is asked.
func TestWhoCannotCarryOutAPlanHandsItOver(t *testing.T) {
	h := newHouse(t)
	text := h.text("b c e")
	h.start("c", text)
	h.start("e", text)
	h.action = func(st failover.Step) (actions.Action, error) {
		if st.Kind == failover.KindStart {
			return nil, errors.New("version 9 is unknown to this node")
		}
		return nil, nil //nolint:nilnil // as it is
	}
	b := h.start("b", text)
	h.newestLevel()
	lead := func() {
		t.Helper()
		for range 20 {
			l := h.leader()
			if l == b {
				return
			}
			_ = l.core.node.TransferTo("b") // or it is another one's by now
			if b.core.Leads() {
				return
			}
		}
		h.until("b to lead", func(*resident) bool { return b.core.Leads() })
	}
	lead()
	if _, err := b.Propose(t.Context(), "uid 1", "why", "", failover.RequestExecution{Kind: failover.Failover, Overrides: failover.Overridable()}); err != nil {
		t.Fatal(err)
	}
	h.until("the execution", func(r *resident) bool { return r.State().Execution != nil })
	if l := h.leader(); l == b {
		t.Error("b has begun a plan that it cannot carry out")
	}
	term := h.leader().State().Term
	if err := h.leader().core.node.TransferTo("b"); err != nil {
		t.Fatal(err)
	}
	h.until("b to have led and given it away", func(r *resident) bool {
		return r.State().Term > term+1 && r.core.node.Leader() != "" && r.core.node.Leader() != "b"
	})
	if err := h.leader().core.node.TransferTo("b"); err != nil {
		t.Fatal(err)
	}
	h.until("b to keep it", func(*resident) bool { return b.core.Leads() })
}
