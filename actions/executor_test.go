package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

var steps = []failover.StepID{"stop-workers", "start-api", "start-workers", "switch-tokened"}

// stable holds what must be true of a failover that came through.
func (st *stage) stable(t *testing.T, attempts int) {
	t.Helper()
	s := st.state()
	e := s.History[len(s.History)-1]
	if e.State != failover.ExecStable || s.Active != "east2" || s.Traffic != "east2" || s.Epoch != 2 || s.Freeze != nil {
		t.Errorf("%s, active %s, traffic %s, epoch %d, freeze %v", e.State, s.Active, s.Traffic, s.Epoch, s.Freeze)
	}
	for _, id := range steps {
		ef := st.effect(id)
		if !ef.present || ef.value != "new" || len(ef.asked) == 0 || len(ef.asked) > attempts || len(ef.undone) != 0 {
			t.Errorf("%s: present %t, value %s, asked %d times, undone %d times", id, ef.present, ef.value, len(ef.asked), len(ef.undone))
		}
		if ef.token != e.Step(id).Last().Token {
			t.Errorf("%s: the resource holds token %d, the log's last is %d", id, ef.token, e.Step(id).Last().Token)
		}
	}
}

func TestExecutorComesThrough(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		l := st.elect(nil)
		st.waitFor("the end", time.Minute, ended)
		st.stable(t, 1)
		if !slices.Equal(st.order, steps) {
			t.Errorf("order %v", st.order)
		}
		t.Logf("%d journal writes, %d effects", l.writes, l.dos)
	})
}

// TestCrashMatrix kills the leader before and after each journal write and each
// effect: the next one finishes, and the world is as after an undisturbed run.
func TestCrashMatrix(t *testing.T) {
	scripts := map[string]func(*stage){
		"at once": func(*stage) {},
		"late": func(st *stage) {
			for _, id := range steps {
				st.effect(id).late = 4 * time.Second
			}
		},
		"with errors": func(st *stage) {
			for _, id := range steps {
				st.effect(id).doErr = errors.New("503: it was done all the same")
			}
		},
	}
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			var writes, dos int
			inStage(t, nil, func(st *stage) {
				script(st)
				l := st.elect(nil)
				st.waitFor("the end", 10*time.Minute, ended)
				writes, dos = l.writes, l.dos
			})
			if writes < 20 || dos < 4 {
				t.Fatalf("only %d writes and %d effects: the matrix shows too little", writes, dos)
			}
			kill := func(where string, set func(*leader)) {
				t.Run(where, func(t *testing.T) {
					inStage(t, nil, func(st *stage) {
						script(st)
						first := st.elect(set)
						// What comes first of two things of one moment is chance, and so is
						// whether there is one write or effect more: the last ones may not come.
						st.waitFor("its death, or the end", time.Hour, func(s *failover.State) bool { return first.ctx.Err() != nil || ended(s) })
						if first.ctx.Err() != nil {
							<-first.ended
							st.elect(nil)
							st.waitFor("the end", time.Hour, ended)
						}
						st.stable(t, 2)
					})
				})
			}
			for n := 1; n <= writes; n++ {
				kill(fmt.Sprintf("before write %d", n), func(l *leader) { l.dieBeforeWrite = n })
				kill(fmt.Sprintf("after write %d", n), func(l *leader) { l.dieAfterWrite = n })
			}
			for n := 1; n <= dos; n++ {
				kill(fmt.Sprintf("before effect %d", n), func(l *leader) { l.dieBeforeDo = n })
				kill(fmt.Sprintf("after effect %d", n), func(l *leader) { l.dieAfterDo = n })
			}
		})
	}
}

// E3: the effect of an action that is neither idempotent nor checks a token, of
// a leader that died, is never repeated before its calls have aged out.
func TestTakeOverOfAPlainAction(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		st.effect("start-api").late = 9 * time.Second // within the attempt's deadline of 10 s
		first := st.elect(func(l *leader) { l.dieAfterDo = 2 })
		<-first.ended
		st.elect(nil)
		st.waitFor("the end", 10*time.Minute, ended)
		if n := len(st.effect("start-api").asked); n != 1 {
			t.Errorf("asked %d times: the first one was on its way", n)
		}
	})
}

// The wall clock of a leader that died was an hour ahead: its calls have ended with it all
// the same, and neither the failover nor its undo waits for that hour.
func TestADeadLeadersClock(t *testing.T) {
	for _, abort := range []bool{false, true} {
		inStage(t, nil, func(st *stage) {
			step := failover.StepID("start-api")
			if abort {
				step = "stop-workers"
			}
			first := st.elect(func(l *leader) { l.dieBeforeDo = slices.Index(steps, step) + 1 })
			<-first.ended
			st.set(func() {
				a := st.s.Execution.Steps[step].Last()
				a.Until = a.Until.Add(time.Hour)
			})
			if abort {
				st.must(failover.Abort{Execution: st.s.Execution.ID, Undo: true})
			}
			st.elect(nil)
			st.waitFor("the end", 2*time.Minute, ended)
		})
	}
}

// It was an hour behind: what was on its way is not sent a second time (E3).
func TestADeadLeadersClockIsBehind(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		st.effect("start-api").late = 9 * time.Second // within the attempt's deadline of 10 s
		first := st.elect(func(l *leader) { l.dieAfterDo = 2 })
		<-first.ended
		st.set(func() {
			a := st.s.Execution.Steps["start-api"].Last()
			a.Until = a.Until.Add(-time.Hour)
		})
		st.elect(nil)
		st.waitFor("the end", 2*time.Minute, ended)
		if n := st.effect("start-api").times(); n != 1 {
			t.Errorf("asked %d times: the first one was on its way", n)
		}
	})
}

// stepped is an action during whose call the leader's own wall clock jumps.
type stepped struct {
	plainAction
	by time.Duration
}

func (a stepped) Do(ctx context.Context, at Attempt) error {
	err := a.plainAction.Do(ctx, at)
	a.st.set(func() { // what the log holds, as the clock tells it now
		rec := a.st.s.Execution.Steps[a.id].Last()
		rec.Until = rec.Until.Add(-a.by)
	})
	return err
}

// The leader's own wall clock jumps while a call is on its way: forward, it is not sent a second time (E3); back, nobody waits for
// as long.
func TestTheLeadersOwnClockJumps(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		inStage(t, nil, func(st *stage) {
			ef := st.effect("start-api")
			ef.flight = 9 * time.Second // within the attempt's deadline of 10 s
			st.own["start-api"] = stepped{plainAction{ef}, by}
			st.elect(nil)
			st.waitFor("the end", 3*time.Minute, ended)
			if n := ef.times(); n != 1 {
				t.Errorf("by %s: asked %d times: the first one was on its way", by, n)
			}
		})
	}
}

// It is the monotonic clock that this rests on: a time without its reading, such as UTC makes, is compared by the
// wall clock, wherever it was kept. (Not in a bubble, whose times have none.)
func TestUntilIsMonotonic(t *testing.T) {
	st := newStage(t, nil)
	l := st.elect(nil)
	defer st.end()
	own := func() map[uint64]time.Time {
		l.exec.mu.Lock()
		defer l.exec.mu.Unlock()
		return maps.Clone(l.exec.named)
	}
	for end := time.Now().Add(10 * time.Second); len(own()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing is known of this leader's own attempts")
		}
	}
	for token, until := range own() {
		if until == until.Round(0) {
			t.Errorf("attempt %d: until %s, by the wall clock", token, until)
		}
	}
}

// What an earlier leader has done is not sent again by one who could not read
// the world at first and sees it then: not even where a token would make the
// second write harmless. (A stop is: it is tried blind, for the region may be dying.)
func TestSeenOnlyAtTheSecondLook(t *testing.T) {
	for n, id := range steps[1:] {
		inStage(t, nil, func(st *stage) {
			ef := st.effect(id)
			first := st.elect(func(l *leader) { l.dieAfterDo = n + 2 })
			<-first.ended
			st.mu.Lock()
			ef.blind = true
			st.mu.Unlock()
			st.elect(nil)
			synctest.Wait() // it has looked, in vain
			st.mu.Lock()
			ef.blind = false
			st.mu.Unlock()
			st.waitFor("the end", 10*time.Minute, ended)
			if got := ef.times(); got != 1 {
				t.Errorf("%s was asked for %d times", id, got)
			}
		})
	}
}

// A world that does not say whether such an effect took place: a person decides,
// and nothing is done until then.
func TestUnknownBecomesAQuestion(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		ef := st.effect("start-api")
		ef.never = true
		first := st.elect(func(l *leader) { l.dieAfterDo = 2 })
		<-first.ended
		st.mu.Lock()
		ef.blind = true
		st.mu.Unlock()
		st.elect(nil)
		s := st.waitFor("a question", time.Minute, questioned)
		q := s.Execution.Question
		if q.Kind != "unknown" || q.Step != "start-api" || !strings.Contains(q.Text, "the control plane does not answer") || len(q.Ways) != 3 {
			t.Errorf("%+v", q)
		}
		if got := s.Execution.Step("start-api").State; got != failover.StepUnclear {
			t.Errorf("the step is %s", got)
		}
		time.Sleep(24 * time.Hour)
		if n := len(ef.asked); n != 1 || ef.inspects > 10 {
			t.Errorf("asked %d times, looked %d times while a person was awaited", n, ef.inspects)
		}
		st.mu.Lock()
		ef.never, ef.blind = false, false
		st.mu.Unlock()
		st.must(failover.Retry{Execution: s.Execution.ID, Step: "start-api"})
		st.waitFor("the end", time.Minute, ended)
		st.stable(t, 2)
	})
}

// An error of Do means nothing: the world is looked at, and each new attempt
// carries a new token that names the one it replaces (E4).
func TestAttempts(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		for _, id := range steps {
			st.effect(id).refuses = 2
		}
		st.elect(nil)
		s := st.waitFor("the end", 10*time.Minute, ended)
		st.stable(t, 3)
		for _, id := range steps {
			rec := s.History[0].Step(id)
			if n := len(rec.Attempts); n != 3 || rec.Attempts[2].Number != 3 {
				t.Errorf("%s: %d attempts in the log", id, n)
			}
		}
	})
}

// A call that fails although it took effect is not repeated; one that fails, of
// an action that is neither idempotent nor checks a token, is not repeated
// before it can land no more.
func TestErrorsMeanNothing(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		for _, id := range steps {
			st.effect(id).doErr = errors.New("503: it was done all the same")
		}
		st.effect("start-api").flight = 8 * time.Second
		st.elect(nil)
		s := st.waitFor("the end", 10*time.Minute, ended)
		st.stable(t, 1)
		if last := s.History[0].Step("start-api").Last(); !strings.Contains(last.Detail, "although the call failed (the reply was lost)") {
			t.Errorf("%q", last.Detail)
		}
	})
	inStage(t, nil, func(st *stage) {
		ef := st.effect("start-api")
		ef.refuses = 1
		st.elect(nil)
		s := st.waitFor("the end", 10*time.Minute, ended)
		a := s.History[0].Step("start-api").Attempts
		if len(a) != 2 || a[1].StartedAt.Before(a[0].Until.Add(2*time.Second)) {
			t.Errorf("tried again at %s; the first call could land until %s", a[1].StartedAt, a[0].Until)
		}
	})
}

// An effect that was there before us is noted as such, and nothing is done.
func TestAlreadySo(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		ef := st.effect("start-api")
		ef.present = true
		st.elect(nil)
		s := st.waitFor("the end", 10*time.Minute, ended)
		last := s.History[0].Step("start-api").Last()
		if len(ef.asked) != 0 || !last.Already || !strings.HasPrefix(last.Detail, "was already so") {
			t.Errorf("asked %d times, %+v", len(ef.asked), last)
		}
	})
}

// A step that does not succeed in its time asks; retry begins a new attempt,
// skip passes over it.
func TestFailedStep(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		ef := st.effect("start-workers")
		ef.never = true
		st.elect(nil)
		s := st.waitFor("a question", 10*time.Minute, questioned)
		q := s.Execution.Question
		if q.Kind != "failed" || q.Step != "start-workers" || !strings.Contains(q.Text, "not seen to take effect within 5m0s") {
			t.Errorf("%+v", q)
		}
		asked := len(ef.asked)
		time.Sleep(time.Hour)
		if len(ef.asked) != asked {
			t.Error("tried again without being told")
		}
		st.mu.Lock()
		ef.never = false
		st.mu.Unlock()
		st.must(failover.Retry{Execution: s.Execution.ID, Step: "start-workers"})
		st.waitFor("the end", time.Minute, ended)
		st.stable(t, asked+1)
	})
	inStage(t, func(s *failover.Settings) { s.Components[0].Start.OnError = "continue" }, func(st *stage) {
		st.effect("start-api").never = true
		st.elect(nil)
		s := st.waitFor("the end", 20*time.Minute, ended)
		if got := s.History[0].Step("start-api").State; got != failover.StepSkipped || s.History[0].State != failover.ExecStable {
			t.Errorf("%s, execution %s", got, s.History[0].State)
		}
	})
}

// What the plan went on without may have taken effect all the same: an undo puts it
// back. What a person skipped is the person's.
func TestWhatWasGoneOnWithoutIsPutBack(t *testing.T) {
	rec := failover.StepRecord{State: failover.StepSkipped, Attempts: []failover.AttemptRecord{{Number: 1, Token: 7, Previous: json.RawMessage(`{}`)}}}
	st := failover.Step{ID: "start-partners", Kind: failover.KindStart, Action: "http_call", OnError: "continue"}
	if !undoable(st, rec) {
		t.Error("left as it is")
	}
	if st.OnError = "halt"; undoable(st, rec) {
		t.Error("what a person skipped is put back")
	}
	if st.OnError = "continue"; undoable(st, failover.StepRecord{State: failover.StepSkipped}) {
		t.Error("what was never begun is put back")
	}
}

func TestChecks(t *testing.T) {
	const id = "check-workers-look"
	for name, answer := range map[string]failover.Command{
		"retry": failover.Retry{Step: id}, "skip": failover.Skip{Step: id}, "stable": failover.DeclareStable{},
	} {
		t.Run(name, func(t *testing.T) {
			inStage(t, nil, func(st *stage) {
				pass := false
				st.checks[id] = func() Finding { return Finding{Pass: pass, Detail: "3 of 4 targets"} }
				st.elect(nil)
				s := st.waitFor("a question", 20*time.Minute, questioned)
				if q := s.Execution.Question; q.Step != id || !strings.Contains(q.Text, "3 of 4 targets") {
					t.Errorf("%+v", q)
				}
				st.mu.Lock()
				if at := s.Execution.Step("switch-tokened").Last().StartedAt; at.IsZero() || !st.moved.Equal(at) {
					t.Errorf("the check was told that clients moved at %s, and the switch began at %s", st.moved, at)
				}
				pass = name == "retry"
				st.mu.Unlock()
				switch c := answer.(type) {
				case failover.Retry:
					c.Execution = s.Execution.ID
					answer = c
				case failover.Skip:
					c.Execution = s.Execution.ID
					answer = c
				case failover.DeclareStable:
					c.Execution = s.Execution.ID
					answer = c
				}
				st.must(answer)
				st.waitFor("the end", time.Minute, ended)
				st.stable(t, 1)
			})
		})
	}
}

// Hold starts nothing new; what runs comes to its end; continue goes on.
func TestHold(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		st.effect("start-api").late = 20 * time.Second
		st.elect(nil)
		s := st.waitFor("the step", time.Minute, func(s *failover.State) bool { return s.Execution.Step("start-api").State == failover.StepRunning })
		st.must(failover.Hold{Execution: s.Execution.ID})
		time.Sleep(10 * time.Minute)
		s = st.state()
		if got := s.Execution.Step("start-api").State; got != failover.StepDone {
			t.Errorf("what ran when it was held is %s", got)
		}
		if got := s.Execution.Step("start-workers").State; got != failover.StepPending || len(st.effect("start-workers").asked) != 0 {
			t.Errorf("start-workers is %s in a held execution", got)
		}
		st.must(failover.Continue{Execution: s.Execution.ID})
		st.waitFor("the end", time.Minute, ended)
		st.stable(t, 1)
	})
}

// E2: without proof of leadership right before it, no effect takes place.
func TestNoEffectWithoutProof(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		st.elect(func(l *leader) { l.cannotProve = true })
		time.Sleep(time.Hour)
		for _, id := range steps {
			if n := st.effect(id).times(); n != 0 {
				t.Errorf("%s was asked for %d times", id, n)
			}
		}
	})
}
