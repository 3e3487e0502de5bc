package actions

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// A control plane that does not answer at the moment at which the epoch would advance is asked
// again: the stop is done, and nobody would look at it any more (L1). One that stays silent
// leaves its evidence void, and a person is asked.
func TestUnreadableAtTheLastMomentIsLookedAtAgain(t *testing.T) {
	for _, tc := range []struct {
		silent time.Duration
		seen   func(*effect, bool)
		void   string
	}{
		{3 * time.Second, func(e *effect, gone bool) { e.blind = gone }, ""},
		{time.Hour, func(e *effect, gone bool) { e.blind = gone }, "it could not be seen again"},
		// A leader that cannot make the action at all cannot look either, and says why.
		{3 * time.Second, func(e *effect, gone bool) { e.unbuilt = gone }, ""},
		{time.Hour, func(e *effect, gone bool) { e.unbuilt = gone }, "its file is not on this node"},
	} {
		inStage(t, func(s *failover.Settings) {
			withCron(s)
			fenceOnly(failover.Confirmed)(s)
		}, func(st *stage) {
			st.elect(nil)
			need := st.state().FreezeWait("east1")
			st.waitFor("the evidence", time.Minute, func(s *failover.State) bool { return len(s.Execution.Evidence) == 1 })
			st.waitFor("the last proof but for a moment", 5*time.Minute, func(s *failover.State) bool {
				return time.Since(s.Freeze.At) >= need-time.Second
			})
			st.set(func() { tc.seen(st.effect("stop-workers"), true) })
			time.Sleep(tc.silent)
			if s := st.state(); tc.void == "" {
				if s.Epoch != 1 || s.Execution.Question != nil || s.Execution.Evidence[0].Void != "" {
					t.Fatalf("epoch %d, question %+v, evidence %+v", s.Epoch, s.Execution.Question, s.Execution.Evidence[0])
				}
				st.set(func() { tc.seen(st.effect("stop-workers"), false) })
				st.waitFor("the end", time.Minute, ended)
			} else if s.Epoch != 1 || s.Execution.Question == nil || !strings.Contains(s.Execution.Evidence[0].Void, tc.void) {
				t.Fatalf("epoch %d, question %+v, evidence %+v", s.Epoch, s.Execution.Question, s.Execution.Evidence[0])
			}
		})
	}
}
