package actions

import (
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// G3: an agent was granted a long lease right before the freeze, and its clock
// runs as slowly as clocks may. Its worker begins an effect at the last moment,
// which takes the whole tail to land: only then may the epoch advance.
func TestEpochWaitsForTheLastEffect(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		st.effect("stop-workers").never = true
		const lease = 700 * time.Second
		st.must(failover.Round{Requests: []failover.LeaseRequest{{Agent: "w1", Region: "east1", Component: "workers", Lease: failover.Duration(lease), Enforced: true, Running: true}}})
		lands := time.Now().Add(lease*1010/990 + 3*time.Second) // 1 % each for holder and granter
		st.elect(nil)
		time.Sleep(time.Until(lands) - 100*time.Millisecond)
		if st.state().Epoch != 1 {
			t.Fatal("the epoch advanced while an effect of a worker with a valid lease was on its way")
		}
		st.waitFor("the end", 10*time.Minute, ended)
	})
}

// G3: the wait is counted on this leader's own clock, from its own apply. The
// time in the freeze's entry is that of a wall clock, and may be any.
func TestWaitIsOnTheLeadersClock(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		time.Sleep(time.Hour) // the log's time never falls: it must have come beyond the difference
		st.skew = -time.Minute
		st.effect("stop-workers").never = true
		st.elect(nil)
		time.Sleep(st.state().FreezeWait("east1") - 2*time.Second)
		if st.state().Epoch != 1 {
			t.Fatal("the epoch advanced before the wait was over: it was counted from the time in the entry")
		}
		st.waitFor("the end", 10*time.Minute, ended)
	})
}

// E2: a person holds, or aborts, while leadership is being proven: the effect
// that was about to take place does not.
func TestStoppedRightBeforeTheEffect(t *testing.T) {
	for name, stop := range map[string]func(exec uint64) failover.Command{
		"hold":  func(exec uint64) failover.Command { return failover.Hold{Execution: exec} },
		"abort": func(exec uint64) failover.Command { return failover.Abort{Execution: exec} },
	} {
		t.Run(name, func(t *testing.T) {
			inStage(t, fenceOnly(failover.Confirmed), func(st *stage) {
				exec := st.state().Execution.ID
				pressed := false
				st.elect(func(l *leader) {
					l.onProve = func() {
						if !pressed {
							pressed = true
							st.do(stop(exec))
						}
					}
				})
				time.Sleep(time.Hour)
				if n := st.effect("stop-workers").times(); !pressed || n != 0 {
					t.Errorf("pressed %t, and the stop was asked for %d times", pressed, n)
				}
			})
		})
	}
}

// E3: what was so before us is not taken away by an undo.
func TestUndoLeavesWhatWasThere(t *testing.T) {
	inStage(t, withCron, func(st *stage) {
		ef := st.effect("stop-workers")
		ef.present = true
		st.elect(nil)
		s := st.waitFor("the stop", time.Minute, func(s *failover.State) bool { return s.Execution.Step("stop-workers").State == failover.StepDone })
		st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
		st.waitFor("the end", 10*time.Minute, ended)
		if len(ef.undone) != 0 || !ef.present {
			t.Errorf("undone %d times, present %t", len(ef.undone), ef.present)
		}
	})
}

// E3: the leader dies with a start on its way, and the suspicion passes. The next
// one takes it back only when the call cannot land any more.
func TestLateCallOfAPreparation(t *testing.T) {
	inStage(t, preparing, func(st *stage) {
		prep := st.suspect()
		ef := st.effect("start-api")
		ef.flight = 8 * time.Second
		first := st.elect(nil)
		st.waitFor("the call", time.Minute, func(*failover.State) bool { return ef.times() == 1 })
		first.cancel()
		<-first.ended
		st.must(failover.EndPreparation{Preparation: prep, Reason: "healthy again"})
		st.elect(nil)
		st.waitFor("the end of it", 30*time.Minute, func(s *failover.State) bool { return s.Preparation == nil })
		time.Sleep(time.Minute)
		if ef.present || ef.value != "old" {
			t.Errorf("the preparation is over, and its call has landed: present %t, value %s", ef.present, ef.value)
		}
	})
}

// E5: a stop was tried twice, the second call took effect, and it was put back.
// The first call lands after that: the region that stayed active must not stand
// still.
func TestUndoneStopIsWatched(t *testing.T) {
	inStage(t, withCron, func(st *stage) {
		ef := st.effect("stop-workers")
		ef.flight = 8 * time.Second
		st.elect(nil)
		st.waitFor("the first call", time.Minute, func(*failover.State) bool { return ef.times() == 1 })
		st.mu.Lock()
		ef.flight = 0
		st.mu.Unlock()
		s := st.waitFor("the stop", time.Minute, func(s *failover.State) bool { return s.Execution.Step("stop-workers").State == failover.StepDone })
		st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
		s = st.waitFor("the end", 10*time.Minute, ended)
		time.Sleep(time.Minute)
		if ef.present || ef.value != "old" || len(ef.asked) != 2 {
			t.Errorf("%s, and after that the late call stands: present %t, value %s, asked %d times", s.History[0].Outcome, ef.present, ef.value, len(ef.asked))
		}
	})
}

// What was done last is put back first, one at a time: what was stopped after
// something else may need it to start.
func TestUndoIsInReverseOrder(t *testing.T) {
	inStage(t, func(s *failover.Settings) {
		withCron(s)
		stop := *s.Components[1].Stop
		s.Components = append(s.Components,
			failover.ComponentSpec{Name: "jobs", Stop: &stop},
			failover.ComponentSpec{Name: "sink", Stop: &failover.StopSpec{Proof: []failover.EvidenceClass{failover.Attested}}}) // nothing proves it: the fence waits
	}, func(st *stage) {
		st.elect(nil)
		stops := []failover.StepID{}
		for _, step := range st.plan.Steps {
			if step.Kind == failover.KindStop && step.Action != "" {
				stops = append(stops, step.ID)
			}
		}
		done := func(s *failover.State) bool {
			n := 0
			for _, id := range stops {
				if s.Execution != nil && s.Execution.Step(id).State == failover.StepDone {
					n++
				}
			}
			return n >= 2
		}
		s := st.waitFor("two stops", 2*time.Minute, done)
		st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
		s = st.waitFor("the end", 30*time.Minute, ended)
		// The token of an undo is its entry's index; the step's finish stands in the log
		// before the next one's begin.
		var undone []failover.StepID
		last := uint64(0)
		for i := len(stops) - 1; i >= 0; i-- {
			ef := st.effect(stops[i])
			if len(ef.undone) == 0 {
				continue
			}
			undone = append(undone, stops[i])
			if token := ef.undone[0].Token; token <= last {
				t.Errorf("%s was undone (%d) before what was stopped after it (%d)", stops[i], token, last)
			} else {
				last = ef.undone[len(ef.undone)-1].Token
			}
		}
		if len(undone) < 2 {
			t.Errorf("only %v were undone; %s", undone, s.History[0].Outcome)
		}
	})
}
