package actions

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

func fenceOnly(proof ...failover.EvidenceClass) func(*failover.Settings) {
	return func(s *failover.Settings) { s.Components[1].Stop.Proof = proof }
}

// withCron adds a component that only the lease can prove, so that the fence
// waits for it.
func withCron(s *failover.Settings) {
	s.Components = append(s.Components, failover.ComponentSpec{
		Name: "cron", Agent: true, Arming: failover.ArmEnforced, OnIsolation: "stop",
		Stop: &failover.StopSpec{Proof: []failover.EvidenceClass{failover.Lease}},
	})
}

// G3: lease expiry is evidence after the whole wait, counted anew by each
// leader, and not before.
func TestLeaseEvidence(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		st.effect("stop-workers").never = true
		began := time.Now()
		first := st.elect(nil)
		need := st.state().FreezeWait("east1")
		time.Sleep(need - 2*time.Second)
		if st.state().Epoch != 1 {
			t.Fatal("the epoch advanced before the wait was over")
		}
		first.cancel()
		<-first.ended
		again := time.Now()
		st.elect(nil)
		time.Sleep(need - 2*time.Second)
		if st.state().Epoch != 1 {
			t.Fatalf("the wait went on across a change of leader: %s after the first, %s after the second", time.Since(began), time.Since(again))
		}
		s := st.waitFor("the end", 10*time.Minute, ended)
		e := s.History[0]
		if ev := e.Evidence[0]; len(e.Evidence) != 1 || ev.Class != failover.Lease || e.Step("stop-workers").State != failover.StepUnproven {
			t.Errorf("%+v, the stop is %s", e.Evidence, e.Step("stop-workers").State)
		}
	})
}

// G7: what was confirmed through an API is looked at again right before the
// epoch advances.
func TestConfirmedIsVerifiedAgain(t *testing.T) {
	inStage(t, func(s *failover.Settings) {
		withCron(s)
		fenceOnly(failover.Confirmed)(s)
	}, func(st *stage) {
		st.elect(nil)
		s := st.waitFor("the evidence", time.Minute, func(s *failover.State) bool { return len(s.Execution.Evidence) == 1 })
		if ev := s.Execution.Evidence[0]; ev.Component != "workers" || ev.Class != failover.Confirmed {
			t.Fatalf("%+v", ev)
		}
		time.Sleep(10 * time.Second)
		st.mu.Lock()
		st.effect("stop-workers").present = false // somebody started them again
		st.mu.Unlock()
		s = st.waitFor("a question", 5*time.Minute, questioned)
		if s.Epoch != 1 || !strings.Contains(s.Execution.Evidence[0].Void, "seen running again") {
			t.Fatalf("epoch %d, %+v", s.Epoch, s.Execution.Evidence)
		}
		if q := s.Execution.Question; q.Kind != "evidence" || !strings.Contains(q.Text, "It could not be proven that workers has stopped in east1") || q.Ways[0] != "failoverd attest workers --why …" {
			t.Errorf("%+v", q)
		}
		st.must(failover.Attest{Execution: s.Execution.ID, Component: "workers", Epoch: 1})
		st.waitFor("the end", time.Minute, ended)
	})
}

// A stop that the API cannot show, of a component that nothing else can prove:
// a question with the way out, and nothing starts.
func TestUnprovenAsks(t *testing.T) {
	inStage(t, fenceOnly(failover.Confirmed), func(st *stage) {
		st.effect("stop-workers").blind = true
		st.elect(nil)
		s := st.waitFor("a question", 10*time.Minute, questioned)
		if q := s.Execution.Question; q.Kind != "evidence" || q.Ways[len(q.Ways)-1] != "failoverd abort" {
			t.Errorf("%+v", q)
		}
		time.Sleep(24 * time.Hour)
		if st.state().Epoch != 1 || len(st.effect("start-api").asked) != 0 {
			t.Fatal("something went on without proof")
		}
	})
}

// Agents prove it when each of them has reported for this freeze.
func TestAgentsConfirm(t *testing.T) {
	ask := func(st *stage, ids ...failover.AgentID) {
		for _, id := range ids {
			st.must(failover.Round{Requests: []failover.LeaseRequest{{Agent: id, Region: "east1", Component: "workers", Lease: failover.Duration(75 * time.Second), Enforced: true}}})
		}
	}
	inStage(t, nil, func(st *stage) {
		st.effect("stop-workers").never = true
		ask(st, "w1", "w2")
		st.elect(nil)
		s := st.waitFor("the freeze", time.Minute, func(s *failover.State) bool { return s.Freeze != nil })
		st.must(failover.AgentStopped{Agent: "w1", Freeze: s.Freeze.ID, Epoch: 1})
		time.Sleep(20 * time.Second)
		if st.state().Epoch != 1 {
			t.Fatal("one agent of two proved it")
		}
		st.must(failover.AgentStopped{Agent: "w2", Freeze: s.Freeze.ID, Epoch: 1})
		// What a worker had sent before it died may still land for the effect tail.
		time.Sleep(st.state().Settings.Policy.Lease.EffectTail.D() - 200*time.Millisecond)
		if got := st.state(); got.Epoch != 1 || len(got.Execution.Evidence) > 0 {
			t.Fatal("the reports counted before the last effects had their time to land")
		}
		s = st.waitFor("the end", time.Minute, ended)
		if ev := s.History[0].Evidence[0]; ev.Class != failover.Confirmed || ev.Detail != "its 2 agents report their workers dead" {
			t.Errorf("%+v", ev)
		}
		if got := s.History[0].Step("stop-workers"); got.State != failover.StepUnproven || got.Detail == "" {
			t.Errorf("the stop that was not needed is %+v", got)
		}
	})
}

// Reports that were taken back and are given again have a tail of their own, whether or
// not the leader has looked meanwhile.
func TestReportsGivenAgainHaveATailOfTheirOwn(t *testing.T) {
	for name, c := range map[string]struct {
		level   int
		between time.Duration
	}{
		"seen meanwhile": {failover.Features, 10 * time.Second}, "at once": {failover.Features, 0},
		"seen meanwhile, an older level": {2, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inStage(t, nil, func(st *stage) {
				ask := func(running bool) {
					st.must(failover.Round{Requests: []failover.LeaseRequest{{Agent: "w1", Region: "east1", Component: "workers", Lease: failover.Duration(75 * time.Second), Enforced: true, Running: running}}})
				}
				st.mu.Lock()
				st.s.Features = c.level
				st.mu.Unlock()
				st.effect("stop-workers").never = true
				ask(false)
				st.elect(nil)
				freeze := st.waitFor("the freeze", time.Minute, func(s *failover.State) bool { return s.Freeze != nil }).Freeze.ID
				tail := st.state().Settings.Policy.Lease.EffectTail.D()
				report := func() { st.must(failover.AgentStopped{Agent: "w1", Freeze: freeze, Epoch: 1}) }
				report()
				time.Sleep(tail - 500*time.Millisecond)
				ask(true) // its workers run after all
				time.Sleep(c.between)
				report()
				time.Sleep(tail - 200*time.Millisecond)
				if s := st.state(); s.Epoch != 1 || len(s.Execution.Evidence) > 0 {
					t.Fatal("the tail was counted from the report that was taken back")
				}
				st.waitFor("the end", time.Minute, ended)
			})
		})
	}
}

// The same for a stop that was seen through an API.
func TestConfirmedStopWaitsForTheTail(t *testing.T) {
	inStage(t, fenceOnly(failover.Confirmed), func(st *stage) {
		st.elect(nil)
		st.waitFor("the stop", time.Minute, func(*failover.State) bool { return st.effect("stop-workers").times() == 1 })
		time.Sleep(st.state().Settings.Policy.Lease.EffectTail.D() - 200*time.Millisecond)
		if s := st.state(); s.Epoch != 1 || len(s.Execution.Evidence) > 0 {
			t.Fatal("the stop counted before the last effects had their time to land")
		}
		st.waitFor("the end", 10*time.Minute, ended)
	})
}

// A step with an approval asks before it begins; one of kind approval changes
// nothing.
func TestApprovalOfAStep(t *testing.T) {
	inStage(t, func(s *failover.Settings) {
		s.Components[0].Start.Approval = true
		s.Components[1].Start.Kind = "approval"
	}, func(st *stage) {
		st.elect(nil)
		for _, id := range []failover.StepID{"start-api", "start-workers"} {
			s := st.waitFor("a question", time.Minute, questioned)
			if q := s.Execution.Question; q.Kind != "approval" || q.Step != id {
				t.Fatalf("%+v", q)
			}
			// What it costs is said to who decides about the step, although the samples have ended with the epoch.
			cost := strings.Contains(s.Execution.Question.Text, "Lost of api with east1: what was written in the last 3s before it failed at most (the copy was 3s behind, sampled")
			if cost != (id == "start-api") || len(s.Loss) != 0 {
				t.Errorf("%s: asked %q; samples %v", id, s.Execution.Question.Text, s.Loss)
			}
			time.Sleep(time.Hour)
			if s := st.state(); s.Execution.Step(id).State != failover.StepPending {
				t.Fatalf("%s began without an approval", id)
			}
			st.mu.Lock()
			res := st.apply(failover.Approve{Execution: s.Execution.ID, Nonce: s.Execution.Question.Nonce}, "uid 2", "", st.term)
			st.mu.Unlock()
			if res.Err != nil {
				t.Fatal(res.Err)
			}
		}
		s := st.waitFor("the end", time.Minute, ended)
		if n := len(st.effect("start-workers").asked); n != 0 || s.History[0].State != failover.ExecStable {
			t.Errorf("asked %d times, %s", n, s.History[0].State)
		}
	})
}

// A question that nobody answers takes the policy's default when its time is
// over.
func TestQuestionExpires(t *testing.T) {
	inStage(t, func(s *failover.Settings) { s.Policy.Ask.Wait = failover.Duration(30 * time.Second) }, func(st *stage) {
		st.effect("stop-workers").late = time.Minute
		st.elect(nil)
		s := st.state()
		st.must(failover.Ask{Execution: s.Execution.ID, Kind: "approval", Text: "?", Deadline: time.Now().Add(30 * time.Second), Default: "hold"})
		time.Sleep(29 * time.Second)
		if got := st.state().Execution.State; got != failover.ExecRunning {
			t.Fatalf("%s before its time", got)
		}
		time.Sleep(3 * time.Second)
		if got := st.state().Execution.State; got != failover.ExecHeld {
			t.Fatalf("%s after its time", got)
		}
	})
}

// The deadline is what a wall clock said, perhaps that of another leader. Each leader
// waits for as long as the policy says on its own clock as well (S1).
func TestQuestionWaitsOnTheLeadersClock(t *testing.T) {
	inStage(t, func(s *failover.Settings) { s.Policy.Ask.Wait = failover.Duration(30 * time.Second) }, func(st *stage) {
		st.effect("stop-workers").late = 10 * time.Minute
		st.elect(nil)
		// As a leader sees it whose clock is 16 minutes ahead of the one that asked.
		st.must(failover.Ask{Execution: st.state().Execution.ID, Kind: "approval", Text: "?", Deadline: time.Now().Add(-16 * time.Minute), Default: "hold"})
		waits := func(d time.Duration) {
			t.Helper()
			time.Sleep(d)
			if s := st.state(); s.Execution.State != failover.ExecRunning || s.Execution.Question == nil {
				t.Fatalf("%s: expired before the policy's time was over", s.Execution.State)
			}
		}
		waits(29 * time.Second)
		st.elect(nil) // it does not know for how long another has waited
		waits(29 * time.Second)
		time.Sleep(3 * time.Second)
		if got := st.state().Execution.State; got != failover.ExecHeld {
			t.Fatalf("%s after its time", got)
		}
	})
}

// E6: abort awaits what has started, undo puts back what the first attempt had
// found, in reverse order, and each undo is a step with a token of its own.
func TestAbortAndUndo(t *testing.T) {
	for _, undo := range []bool{false, true} {
		inStage(t, withCron, func(st *stage) {
			ef := st.effect("stop-workers")
			ef.refuses = 1
			st.elect(nil)
			st.waitFor("the first attempt", time.Minute, func(*failover.State) bool { return ef.times() == 1 })
			st.mu.Lock()
			ef.value = "half" // what our first attempt has left
			st.mu.Unlock()
			s := st.waitFor("the stop", time.Minute, func(s *failover.State) bool { return s.Execution.Step("stop-workers").State == failover.StepDone })
			st.must(failover.Abort{Execution: s.Execution.ID, Undo: undo})
			s = st.waitFor("the end", 10*time.Minute, ended)
			e := s.History[0]
			if s.Epoch != 1 || s.Active != "east1" || s.Freeze != nil {
				t.Errorf("epoch %d, %s active, freeze %v", s.Epoch, s.Active, s.Freeze)
			}
			if !undo {
				if e.State != failover.ExecAborted || len(ef.undone) != 0 || !strings.Contains(e.Outcome, "stop-workers is done") {
					t.Errorf("%s: %s", e.State, e.Outcome)
				}
				return
			}
			if e.State != failover.ExecUndone || ef.value != "old" || len(ef.undone) != 1 {
				t.Fatalf("%s: %s; value %s, undone %d times", e.State, e.Outcome, ef.value, len(ef.undone))
			}
			var prev previously
			if err := json.Unmarshal(ef.undone[0].Previous, &prev); err != nil || prev.Value != "old" {
				t.Errorf("%+v, %v", prev, err)
			}
		})
	}
}

// An abort while an effect is on its way: the step is resolved by what the world
// shows, also when the leader dies on the way.
func TestAbortInMidStep(t *testing.T) {
	for _, dies := range []bool{false, true} {
		inStage(t, fenceOnly(failover.Confirmed), func(st *stage) {
			ef := st.effect("stop-workers")
			ef.flight = 8 * time.Second // the reply is lost, and the call lands within its deadline
			first := st.elect(nil)
			s := st.waitFor("the effect", time.Minute, func(*failover.State) bool { return ef.times() == 1 })
			if dies {
				first.cancel()
				<-first.ended
			}
			st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
			if dies {
				st.elect(nil)
			}
			s = st.waitFor("the end", 10*time.Minute, ended)
			if e := s.History[0]; s.Epoch != 1 || e.State != failover.ExecUndone && e.State != failover.ExecAborted {
				t.Errorf("%s: %s", e.State, e.Outcome)
			}
			time.Sleep(time.Minute)
			if ef.times() != 1 || st.effect("start-api").times() != 0 {
				t.Errorf("asked %d times after the abort", len(ef.asked))
			}
			if ef.present {
				t.Errorf("dies %t: the late stop stands although every step was undone", dies)
			}
		})
	}
}

// An undo that is made again has as long to show as the first one had.
func TestARepeatedUndoHasItsTime(t *testing.T) {
	inStage(t, withCron, func(st *stage) {
		ef := st.effect("stop-workers")
		st.elect(nil)
		s := st.waitFor("the stop", time.Minute, func(s *failover.State) bool { return s.Execution.Step("stop-workers").State == failover.StepDone })
		st.mu.Lock()
		ef.loses, ef.lingers = 1, 20*time.Second
		st.mu.Unlock()
		st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
		s = st.waitFor("the end", 30*time.Minute, func(s *failover.State) bool { return ended(s) || questioned(s) })
		if s.Execution != nil || s.History[0].State != failover.ExecUndone || len(ef.undone) != 2 || ef.value != "old" {
			t.Errorf("%d undos, value %s, question %+v", len(ef.undone), ef.value, s.Execution)
		}
	})
}

// A stop that was made blind may have landed before what it changed was read: what
// was read is not put back as if it had been there before, and a person is asked.
func TestABlindStopIsNotPutBack(t *testing.T) {
	inStage(t, withCron, func(st *stage) {
		ef := st.effect("stop-workers")
		ef.blind, ef.never, ef.doErr = true, true, errors.New("the reply was lost")
		st.elect(nil)
		st.waitFor("a blind stop", time.Minute, func(s *failover.State) bool {
			return ef.times() >= 1
		})
		st.mu.Lock()
		ef.blind = false // now the world shows "new", which is ours
		st.mu.Unlock()
		s := st.waitFor("another attempt", time.Minute, func(s *failover.State) bool {
			return s.Execution.Step("stop-workers").First() != nil
		})
		synctest.Wait() // the call of that attempt is sent, not about to be
		st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
		s = st.waitFor("a question", 30*time.Minute, func(s *failover.State) bool { return ended(s) || questioned(s) })
		if s.Execution == nil {
			t.Fatalf("%s: %s; %d undos", s.History[0].State, s.History[0].Outcome, len(ef.undone))
		}
		if q := s.Execution.Question; q.Step != "stop-workers" || !strings.Contains(q.Text, "by hand") || len(ef.undone) > 0 {
			t.Errorf("%+v; %d undos", q, len(ef.undone))
		}
		st.must(failover.Skip{Execution: s.Execution.ID, Step: "stop-workers"})
		s = st.waitFor("the end", 10*time.Minute, ended)
		if e := s.History[0]; e.State != failover.ExecAborted {
			t.Errorf("%s: %s", e.State, e.Outcome)
		}
	})
}

// An undo of which nobody knows what became asks, like one that failed.
func TestAnUnclearUndoAsks(t *testing.T) {
	inStage(t, withCron, func(st *stage) {
		st.elect(nil)
		s := st.waitFor("the stop", time.Minute, func(s *failover.State) bool { return s.Execution.Step("stop-workers").State == failover.StepDone })
		st.end()
		exec := s.Execution.ID
		st.must(failover.Abort{Execution: exec, Undo: true})
		undo := st.do(failover.StepStarted{Execution: exec, Step: "stop-workers", Epoch: s.Epoch, PlanHash: s.Execution.PlanHash, Undo: true, Previous: s.Execution.Step("stop-workers").First().Previous})
		st.must(failover.StepFinished{Execution: exec, Step: "stop-workers", Token: undo.Index, Outcome: failover.StepUnclear, Detail: "nobody knows"})
		st.elect(nil)
		s = st.waitFor("a question", 10*time.Minute, func(s *failover.State) bool { return ended(s) || questioned(s) })
		if s.Execution == nil || s.Execution.Question.Step != "stop-workers" {
			t.Fatalf("closed in silence: %+v", s.History)
		}
	})
}

// L1: what could not be put back is never left in silence. A person has it tried
// again, or takes it upon himself.
func TestAFailedUndoAsks(t *testing.T) {
	for _, answer := range []string{"retry", "skip"} {
		inStage(t, withCron, func(st *stage) {
			ef := st.effect("stop-workers")
			st.elect(nil)
			s := st.waitFor("the stop", time.Minute, func(s *failover.State) bool { return s.Execution.Step("stop-workers").State == failover.StepDone })
			st.mu.Lock()
			ef.stays = true
			st.mu.Unlock()
			st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
			s = st.waitFor("the question", 10*time.Minute, func(s *failover.State) bool {
				return s.Execution != nil && s.Execution.Question != nil && s.Execution.Question.Step == "stop-workers"
			})
			if q := s.Execution.Question; !strings.Contains(q.Text, "could not be put back") || len(ef.undone) < 2 {
				t.Errorf("asked %q after %d tries", q.Text, len(ef.undone))
			}
			if answer == "skip" {
				st.must(failover.Skip{Execution: s.Execution.ID, Step: "stop-workers"})
				s = st.waitFor("the end", 10*time.Minute, ended)
				if e := s.History[0]; e.State != failover.ExecAborted || !strings.Contains(e.Outcome, "stop-workers is skipped") {
					t.Errorf("%s: %s", e.State, e.Outcome)
				}
				return
			}
			st.mu.Lock()
			ef.stays = false
			st.mu.Unlock()
			st.must(failover.Retry{Execution: s.Execution.ID, Step: "stop-workers"})
			s = st.waitFor("the end", 10*time.Minute, ended)
			if e := s.History[0]; e.State != failover.ExecUndone || ef.value != "old" {
				t.Errorf("%s: %s; value %s", e.State, e.Outcome, ef.value)
			}
		})
	}
}

// L1: a lease from a pause may be valid for hours. A person is asked when an ordinary one
// would be over, and told when that one is.
func TestALongLeaseDoesNotKeepTheQuestion(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		st.effect("stop-workers").never = true
		st.must(failover.PauseAutomation{For: failover.Duration(4 * time.Hour)})
		st.must(failover.Round{Requests: []failover.LeaseRequest{{Agent: "w1", Region: "east1", Component: "workers", Enforced: true, Running: true}}})
		st.must(failover.ResumeAutomation{})
		st.elect(nil)
		s := st.waitFor("a question", time.Hour, questioned)
		if q := s.Execution.Question; q.Kind != "evidence" || !strings.Contains(q.Text, "its leases end at 04:06:1") {
			t.Errorf("%+v", q)
		}
		// It is answered by the end of the leases, too.
		s = st.waitFor("the end", 5*time.Hour, ended)
		if e := s.History[0]; e.State != failover.ExecStable || e.FinishedAt.Sub(e.StartedAt) < 4*time.Hour {
			t.Errorf("%s after %s", e.State, e.FinishedAt.Sub(e.StartedAt))
		}
	})
}

// L1: a question about a component that has been proven is over, and the next one is
// about what still is not.
func TestTheQuestionFollowsTheProofs(t *testing.T) {
	inStage(t, func(s *failover.Settings) {
		fenceOnly(failover.Confirmed)(s)
		slow := *s.Components[1].Stop
		action := *slow.Action
		action.Timeout = failover.Duration(10 * time.Minute)
		slow.Action = &action
		s.Components = append(s.Components, failover.ComponentSpec{Name: "db", Stop: &slow})
	}, func(st *stage) {
		st.effect("stop-workers").never, st.effect("stop-db").never = true, true
		st.elect(nil)
		s := st.waitFor("a question", 5*time.Minute, questioned)
		if q := s.Execution.Question; !strings.Contains(q.Text, "that workers has stopped") {
			t.Fatalf("%+v", q)
		}
		st.must(failover.Attest{Execution: s.Execution.ID, Component: "workers", Epoch: 1})
		time.Sleep(time.Second)
		if q := st.state().Execution.Question; q != nil {
			t.Errorf("it is attested, and a person is asked: %s", q.Text)
		}
		s = st.waitFor("a question", 20*time.Minute, func(s *failover.State) bool {
			return questioned(s) && s.Execution.Step("stop-db").State != failover.StepRunning
		})
		if q := s.Execution.Question; !strings.Contains(q.Text, "that db has stopped") {
			t.Errorf("%+v", q)
		}
		st.must(failover.Attest{Execution: s.Execution.ID, Component: "db", Epoch: 1})
		st.waitFor("the end", 5*time.Minute, ended)
	})
}
