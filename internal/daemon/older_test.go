package daemon

import (
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
