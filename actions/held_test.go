package actions

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// heldAfter has a leader die right after its effect number n, and a person hold the
// execution before the next leader looks.
func (st *stage) heldAfter(n int) {
	st.t.Helper()
	first := st.elect(func(l *leader) { l.dieAfterDo = n })
	<-first.ended
	st.must(failover.Hold{Execution: st.state().Execution.ID})
	st.elect(nil)
}

// What an earlier leader had started comes to its end in a held execution as it does in
// one that goes on: a start is done when its checks pass.
func TestHeldStepIsVerified(t *testing.T) {
	inStage(t, func(s *failover.Settings) { s.Components[0].Start.Verify = beside() }, func(st *stage) {
		var ready atomic.Bool
		st.checks["start-api"] = func() Finding { return Finding{Pass: ready.Load(), Detail: "warming up"} }
		st.heldAfter(2) // stop-workers, start-api
		time.Sleep(time.Minute)
		if rec := st.state().Execution.Step("start-api"); rec.State != failover.StepRunning {
			t.Errorf("the step is %s before its check passes: %s", rec.State, rec.Detail)
		}
		ready.Store(true)
		s := st.waitFor("the end of the step", time.Minute, func(s *failover.State) bool { return s.Execution.Step("start-api").State == failover.StepDone })
		st.must(failover.Continue{Execution: s.Execution.ID})
		st.waitFor("the end", time.Minute, ended)
		st.stable(t, 1)
	})
}

// A switch that is found done moves the clients in the log as well (T1), held or not.
func TestHeldSwitchIsTheFlip(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		st.heldAfter(4) // stop-workers, start-api, start-workers, switch-tokened
		s := st.waitFor("the end of the step", 10*time.Minute, func(s *failover.State) bool { return s.Execution.Step("switch-tokened").State == failover.StepDone })
		if s.Traffic != "east2" {
			t.Errorf("the clients have moved, and the log says %s", s.Traffic)
		}
		st.must(failover.Continue{Execution: s.Execution.ID})
		if s = st.waitFor("the end", time.Minute, ended); s.Traffic != "east2" {
			t.Errorf("it is stable, and the gate leads to %s", s.Traffic)
		}
	})
}

// The same when the execution is aborted: where the clients are does not depend on who
// still wants it.
func TestAbortedSwitchIsTheFlip(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		first := st.elect(func(l *leader) { l.dieAfterDo = 4 })
		<-first.ended
		st.must(failover.Abort{Execution: st.state().Execution.ID})
		st.elect(nil)
		if s := st.waitFor("the end", 10*time.Minute, ended); s.Traffic != "east2" {
			t.Errorf("%s, and the gate leads to %s", s.History[0].Outcome, s.Traffic)
		}
	})
}

// A stop that is found done is evidence, held or not.
func TestHeldStopIsEvidence(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		st.heldAfter(1) // stop-workers
		s := st.waitFor("the end of the step", time.Minute, func(s *failover.State) bool { return s.Execution.Step("stop-workers").State == failover.StepDone })
		if len(s.Execution.Evidence) == 0 {
			t.Error("it is seen to have stopped, and that is no evidence")
		}
	})
}
