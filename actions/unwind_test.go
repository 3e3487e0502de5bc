package actions

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// stopped is a stage whose workers were stopped, and where nothing goes on before
// a person says so.
func stopped(st *stage) *failover.State {
	st.elect(nil)
	s := st.waitFor("the stop", time.Minute, func(s *failover.State) bool { return s.Execution.Step("stop-workers").State == failover.StepDone })
	synctest.Wait()
	return s
}

func (st *stage) set(fn func()) {
	st.mu.Lock()
	defer st.mu.Unlock()
	fn()
}

// What somebody has changed since is not written over: a person is asked, and
// what the person says is done. So it is when leaders die on the way.
func TestUndoLooksAtTheWorldFirst(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(exec uint64) failover.Command
		state  failover.ExecState
		value  string
	}{
		"put back all the same": {func(exec uint64) failover.Command { return failover.Retry{Execution: exec, Step: "stop-workers"} }, failover.ExecUndone, "old"},
		"left as it is":         {func(exec uint64) failover.Command { return failover.Skip{Execution: exec, Step: "stop-workers"} }, failover.ExecAborted, "somebody's"},
	} {
		for _, dies := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				inStage(t, withCron, func(st *stage) {
					s := stopped(st)
					ef := st.effect("stop-workers")
					st.set(func() { ef.value, ef.present = "somebody's", false })
					if dies {
						// The leader that began the undo dies before it has said what became of it.
						st.end()
						st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
						st.must(failover.StepStarted{Execution: s.Execution.ID, Step: "stop-workers", Epoch: s.Epoch, PlanHash: s.Execution.PlanHash, Undo: true, Previous: s.Execution.Step("stop-workers").First().Previous})
						st.elect(nil)
					} else {
						st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
					}
					s = st.waitFor("a question", time.Minute, func(s *failover.State) bool { return ended(s) || questioned(s) })
					if s.Execution == nil {
						for _, ev := range s.Events {
							t.Log(ev.Kind, ev.Text)
						}
						t.Errorf("%s: %s; %d undos", s.History[0].State, s.History[0].Outcome, len(ef.undone))
						return
					}
					if q := s.Execution.Question; q.Step != "stop-workers" || !strings.Contains(q.Text, "somebody has changed it since") || !strings.Contains(q.Text, "value somebody's") || len(ef.undone) > 0 {
						t.Errorf("%+v; %d undos", q, len(ef.undone))
					}
					st.must(tc.answer(s.Execution.ID))
					s = st.waitFor("the end", 10*time.Minute, ended)
					if e := s.History[0]; e.State != tc.state || ef.value != tc.value {
						t.Errorf("%s (%s), value %s", e.State, e.Outcome, ef.value)
					}
				})
			})
		}
	}
}

// Whoever finds a step under way and begins to settle it looks again: it may have
// been settled meanwhile, and what a person is asked about would be put back.
func TestWhatIsSettledIsNotSettledAgain(t *testing.T) {
	inStage(t, withCron, func(st *stage) {
		s := stopped(st)
		step := *s.Execution.Plan.Step("stop-workers")
		st.set(func() { st.effect(step.ID).value, st.effect(step.ID).present = "somebody's", false })
		st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
		s = st.waitFor("a question", time.Minute, questioned)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		l := &leader{st: st, term: st.term, ctx: ctx, cancel: cancel}
		NewExecutor(l, st, Options{}, slog.New(slog.DiscardHandler)).settle(ctx, s.Execution.ID, step)
		if n := len(st.effect(step.ID).undone); n != 0 {
			t.Errorf("it was put back %d times before the person answered", n)
		}
	})
}

// A world that cannot be read is not written over either: the undo waits for it,
// and after its time a person is asked.
func TestUndoWaitsForAWorldThatCanBeRead(t *testing.T) {
	inStage(t, withCron, func(st *stage) {
		s := stopped(st)
		ef := st.effect("stop-workers")
		st.set(func() { ef.blind = true })
		st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
		time.Sleep(10 * time.Second)
		if len(ef.undone) > 0 {
			t.Error("put back without a look")
		}
		st.set(func() { ef.blind = false })
		s = st.waitFor("the end", time.Minute, ended)
		if e := s.History[0]; e.State != failover.ExecUndone || len(ef.undone) != 1 {
			t.Errorf("%s: %s; %d undos", e.State, e.Outcome, len(ef.undone))
		}
	})
	inStage(t, withCron, func(st *stage) {
		s := stopped(st)
		ef := st.effect("stop-workers")
		st.set(func() { ef.blind = true })
		st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
		s = st.waitFor("a question", 30*time.Minute, func(s *failover.State) bool { return ended(s) || questioned(s) })
		if s.Execution == nil || !strings.Contains(s.Execution.Question.Text, "could not be read, so nothing was put back") || len(ef.undone) > 0 {
			t.Errorf("%+v; %d undos", s.Execution, len(ef.undone))
		}
	})
}

// What may still be running of something that was stopped keeps nobody from turning
// it on again.
func TestUndoDoesNotWaitForTheEnd(t *testing.T) {
	inStage(t, withCron, func(st *stage) {
		s := stopped(st)
		ef := st.effect("stop-workers")
		st.set(func() { ef.vague = true })
		st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
		st.waitFor("the undo", 10*time.Second, func(*failover.State) bool { st.mu.Lock(); defer st.mu.Unlock(); return len(ef.undone) > 0 })
		st.set(func() { ef.vague = false })
		s = st.waitFor("the end", time.Minute, ended)
		if e := s.History[0]; e.State != failover.ExecUndone {
			t.Errorf("%s: %s", e.State, e.Outcome)
		}
	})
}

// Whose change a count is: ours, whole or in part, what was there before, or
// somebody else's.
func TestOvertaken(t *testing.T) {
	size := func(n, lowest int32) json.RawMessage {
		b, _ := json.Marshal(asgPrevious{Min: lowest, Max: 9, Desired: n})
		return b
	}
	tasks := func(n int32, scaling *ecsScale) json.RawMessage {
		b, _ := json.Marshal(ecsPrevious{Desired: n, Scaling: scaling})
		return b
	}
	pods := func(n int) json.RawMessage {
		b, _ := json.Marshal(map[string]kubePrevious{"deployments api": {Replicas: &n}, "hpa api": {MinSize: &n}})
		return b
	}
	ecs := func(count int) Witness { return &ecsService{cfg: &ECSServiceConfig{Count: count}} }
	group := func(count int) Witness { return &asg{cfg: &ASGConfig{Count: count}} }
	kube := func(count int) Witness { return &kubernetes{cfg: &KubernetesConfig{Count: count}} }
	for _, tc := range []struct {
		name     string
		action   Witness
		was, now json.RawMessage
		want     string
	}{
		{"a stop has set 0", ecs(0), tasks(2, nil), tasks(0, nil), ""},
		{"it is as before", ecs(0), tasks(2, nil), tasks(2, nil), ""},
		{"somebody has set 6 since", ecs(0), tasks(2, nil), tasks(6, nil), "the count was 2 before, was set to 0, and is 6 now"},
		{"a start has set 4", ecs(4), tasks(1, nil), tasks(4, nil), ""},
		{"a start took nothing away", ecs(4), tasks(5, nil), tasks(5, nil), ""},
		{"an autoscaler has raised it", ecs(4), tasks(1, &ecsScale{}), tasks(7, &ecsScale{}), ""},
		{"nobody but a person can have raised it", ecs(4), tasks(1, nil), tasks(7, nil), "is 7 now"},
		{"somebody has taken some away", ecs(4), tasks(1, &ecsScale{}), tasks(2, &ecsScale{}), "is 2 now"},
		{"what was before is not known", ecs(0), nil, tasks(6, nil), ""},
		{"a group was stopped", group(0), size(3, 1), size(0, 0), ""},
		{"a group was resized", group(0), size(3, 1), size(5, 0), "is 5 now"},
		{"a group's policy has raised it", group(3), size(0, 0), size(5, 3), ""},
		{"pods were stopped", kube(0), pods(3), pods(0), ""},
		{"somebody has scaled the pods", kube(0), pods(3), pods(1), "deployments api: the count was 3 before, was set to 0, and is 1 now"},
	} {
		got := tc.action.Overtaken(Effect{Previous: tc.now}, tc.was)
		if (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// An undo that is refused, as the start of an instance that is still stopping is, is made again while it has time: the region that stayed active
// stands still until then. One that is refused all that time asks a person, as one that comes to nothing does.
func TestARefusedUndoIsMadeAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		rejects int
		undone  bool
	}{"thrice": {3, true}, "for ever": {1000, false}} {
		t.Run(name, func(t *testing.T) {
			inStage(t, func(s *failover.Settings) {
				withCron(s)
				s.Components[1].Stop.Action.Timeout = failover.Duration(5 * time.Minute)
			}, func(st *stage) {
				ef := st.effect("stop-workers")
				ef.rejects = tt.rejects
				st.elect(nil)
				s := st.waitFor("the stop", time.Minute, func(s *failover.State) bool { return s.Execution.Step("stop-workers").State == failover.StepDone })
				began := time.Now()
				st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
				if !tt.undone {
					st.waitFor("a question", 12*time.Minute, questioned)
					if took := time.Since(began); took < 5*time.Minute || len(ef.undone) > 60 {
						t.Errorf("asked after %s and %d undos", took, len(ef.undone))
					}
					return
				}
				st.waitFor("what was before", time.Minute, func(*failover.State) bool {
					st.mu.Lock()
					defer st.mu.Unlock()
					return !ef.present && ef.value == "old"
				})
				if s := st.waitFor("the end", 10*time.Minute, ended); s.History[0].State != failover.ExecUndone || len(ef.undone) != 4 {
					t.Errorf("%s after %d undos", s.History[0].State, len(ef.undone))
				}
			})
		})
	}
}
