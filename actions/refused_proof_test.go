package actions

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// grows is how many entries the log gets in half a minute.
func (st *stage) grows() uint64 {
	began := st.state().Index
	time.Sleep(30 * time.Second)
	return st.state().Index - began
}

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
		if n := st.grows(); n > 60 {
			t.Errorf("%d entries in 30 s", n)
		}
	})
}

// Agents whose word proves nothing here are not told of again and again.
func TestReportsThatProveNothingAreNotEvidence(t *testing.T) {
	inStage(t, func(s *failover.Settings) {
		s.Components[1].Stop.Proof = []failover.EvidenceClass{failover.Resource}
	}, func(st *stage) {
		ask := failover.LeaseRequest{Agent: "w1", Region: "east1", Component: "workers", Lease: failover.Duration(75 * time.Second), Enforced: true}
		st.must(failover.Round{Requests: []failover.LeaseRequest{ask}})
		st.effect("stop-workers").never = true
		st.elect(nil)
		s := st.waitFor("the freeze", 10*time.Minute, func(s *failover.State) bool { return s.Freeze != nil && !s.Freeze.Provisional })
		st.must(failover.AgentStopped{Agent: "w1", Freeze: s.Freeze.ID, Epoch: 1})
		s = st.waitFor("a question", 10*time.Minute, questioned)
		if len(s.Execution.Evidence) != 0 {
			t.Errorf("%+v", s.Execution.Evidence)
		}
		if n := st.grows(); n > 60 {
			t.Errorf("%d entries in 30 s", n)
		}
	})
}

// An epoch that the log refuses, since a hold is being applied where it would lead, is proposed once in a while, and again
// when that is over.
func TestARefusedEpochIsNotProposedWithoutEnd(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		st.mu.Lock()
		st.s.Holds = []failover.StandingHold{{ID: 7, Component: "workers", Step: failover.Step{Kind: failover.KindStop, Region: "east2"}, Running: &failover.AttemptRecord{Number: 1, Until: time.Now().Add(20 * time.Minute)}}}
		st.mu.Unlock()
		st.elect(nil)
		st.waitFor("the proof", 10*time.Minute, func(s *failover.State) bool {
			return s.Execution != nil && s.Freeze != nil && len(s.Execution.Unproven(s.Freeze.ID)) == 0
		})
		if n := st.grows(); n > 60 {
			t.Errorf("%d entries in 30 s", n)
		}
		st.waitFor("the end", 40*time.Minute, ended)
	})
}
