package daemon

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/config"
)

// A request comes by several ways at once, and is the same one then; when those have ended
// it is one that somebody says again (S10). An agent that numbers nothing is never old.
func TestARequestCountsWhileItsWaysAreOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &leadership{newest: map[failover.AgentID]heardAsk{}}
		old := func(want bool, agent failover.AgentID, seq uint64) {
			t.Helper()
			if got := l.older(fence.Ask{Agent: agent, Seq: seq}); got != want {
				t.Errorf("request %d of %q: old %t", seq, agent, got)
			}
		}
		old(false, "w1", 5)
		time.Sleep(2 * config.LeaseRPCTimeout)
		old(false, "w1", 5)
		time.Sleep(time.Nanosecond)
		old(true, "w1", 5)
		old(true, "w1", 5) // and hearing it once more makes it no younger
		old(false, "w1", 6)
		old(true, "w1", 5)
		old(false, "w2", 1)
		old(false, "before", 0)
		time.Sleep(time.Hour)
		old(false, "before", 0)
	})
}

// A request that comes late, when the leader has heard a later one, is of no use to the agent
// any more, and undoes what the later one said, also when it comes from the agent itself:
// functions that were given leave under a longer lease live on beyond the one that it holds
// (S1). And after the goodbye it brings nobody back.
func TestAnOwnRequestThatComesLate(t *testing.T) {
	h := newHouse(t)
	text := h.text("a b c")
	for _, id := range []string{"a", "b", "c"} {
		h.start(id, text)
	}
	h.registered()
	h.newestLevel()
	lead := h.leader()
	ask := func(seq uint64, change func(*fence.Ask)) error {
		a := workersAsk(fmt.Sprint(seq))
		a.Seq = seq
		change(&a)
		_, err := lead.core.TakeAsk(h.Context(), a, false)
		return err
	}
	late := func() {
		t.Helper()
		if err := ask(1, func(*fence.Ask) {}); err == nil || !strings.Contains(err.Error(), "came late") {
			t.Errorf("an old request of the agent itself: %v", err)
		}
	}
	known := func() *failover.AgentRecord { return lead.core.node.State().Agents["w1"] }
	if err := ask(2, func(a *fence.Ask) { a.Enforced = false }); err != nil || known().Enforced {
		t.Fatalf("%v: %+v", err, known())
	}
	if late(); known().Enforced {
		t.Error("its lease proves again what it does not")
	}
	if err := ask(3, func(a *fence.Ask) { a.Bye, a.Running = true, false }); err != nil || known() != nil {
		t.Fatalf("%v: %+v", err, known())
	}
	if late(); known() != nil {
		t.Error("the agent is back")
	}
}
