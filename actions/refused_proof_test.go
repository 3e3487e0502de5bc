package actions

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// What the log refuses as evidence is proposed once in a while, and not as fast as the log can write.
func TestARefusedProofIsNotProposedWithoutEnd(t *testing.T) {
	inStage(t, func(s *failover.Settings) {
		s.Components[1].Stop.Proof = []failover.EvidenceClass{failover.Lease}
	}, func(st *stage) {
		st.must(failover.Round{Requests: []failover.LeaseRequest{{Agent: "w1", Region: "east1", Component: "workers", Lease: failover.Duration(75 * time.Second)}}})
		st.effect("stop-workers").never = true
		st.elect(nil)
		s := st.waitFor("a question", 10*time.Minute, questioned)
		if !strings.Contains(s.Execution.Question.Text, "It could not be proven that workers has stopped") {
			t.Fatalf("%+v", s.Execution.Question)
		}
		began := st.state().Index
		time.Sleep(30 * time.Second)
		if n := st.state().Index - began; n > 60 {
			t.Errorf("%d entries in 30 s", n)
		}
	})
}
