package actions

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// threeSwitches are a gate, an object and a record.
func threeSwitches(s *failover.Settings) {
	s.Traffic.Switch[0].Tokens, s.Traffic.Switch[0].Latched = true, true
	gate, object := s.Traffic.Switch[0], s.Traffic.Switch[0]
	gate.Kind, gate.Tokens, gate.Latched = "gate", false, false
	object.Kind = "object"
	s.Traffic.Switch = []failover.ActionSpec{gate, object, s.Traffic.Switch[0]}
	for i := range s.Traffic.Switch {
		s.Traffic.Switch[i].Timeout = failover.Duration(10 * time.Minute)
	}
}

// The control plane of the record is dead: the others move the traffic, the
// service is stable, and the record follows as a standing hold.
func TestOneSwitchIsEnough(t *testing.T) {
	for name, again := range map[string]bool{"one leader": false, "another leader finds it running": true} {
		t.Run(name, func(t *testing.T) {
			inStage(t, threeSwitches, func(st *stage) {
				record := st.effect("switch-tokened")
				record.blind = true
				st.elect(nil)
				if again {
					st.checks["check-workers-look"] = func() Finding { return Finding{Detail: "not yet"} }
					st.waitFor("the object", 10*time.Minute, func(s *failover.State) bool {
						return s.Execution.Step("switch-object").State == failover.StepDone
					})
					st.end()
					st.mu.Lock()
					st.checks["check-workers-look"] = nil
					st.mu.Unlock()
					st.elect(nil)
				}
				s := st.waitFor("the end", 20*time.Minute, ended)
				e := s.History[0]
				if e.State != failover.ExecStable || e.Step("switch-tokened").State != failover.StepUnproven || !e.Step("switch-gate").Passed() {
					t.Fatalf("%s, record %s, gate %s", e.State, e.Step("switch-tokened").State, e.Step("switch-gate").State)
				}
				traffic := func(s *failover.State, action string) *failover.StandingHold {
					for i := range s.Holds {
						if h := &s.Holds[i]; h.Component == failover.TrafficComponent && h.Step.Action == action {
							return h
						}
					}
					return nil
				}
				if traffic(s, "object") == nil || traffic(s, "gate") != nil {
					t.Fatalf("the holds are %+v", s.Holds)
				}
				if h := traffic(s, "tokened"); h == nil || h.Status != failover.HoldUnseen {
					t.Fatalf("the record's hold is %+v", h)
				}
				ctx, cancel := context.WithCancel(context.Background())
				k := NewKeeper(st.lead, keepers{st}, Options{}, 30*time.Second, slog.New(slog.DiscardHandler))
				done := make(chan struct{})
				go func() { defer close(done); k.Run(ctx) }()
				defer func() { cancel(); <-done }()
				time.Sleep(time.Hour)
				if record.times() != 0 {
					t.Error("written without having read what it replaces")
				}
				st.mu.Lock()
				record.blind = false // its control plane is back
				st.mu.Unlock()
				st.waitFor("the record", 2*time.Minute, func(s *failover.State) bool {
					return traffic(s, "tokened").Status == failover.HoldKept && record.value == "new"
				})
				// Route 53 accepted it, and lost it: it is sent again (stranded).
				st.mu.Lock()
				record.present, record.value = false, "old"
				st.mu.Unlock()
				before := record.times()
				st.waitFor("the record again", 10*time.Minute, func(*failover.State) bool { return record.times() > before })
			})
		})
	}
}

// The gate moves the clients but does not outlive the nodes: the service is not
// stable before a latched switch has followed, however long that takes, and
// nobody is asked meanwhile.
func TestALatchedSwitchMustFollow(t *testing.T) {
	inStage(t, threeSwitches, func(st *stage) {
		record, object := st.effect("switch-tokened"), st.effect("switch-object")
		record.blind, object.blind = true, true
		st.elect(nil)
		st.waitFor("the gate", 10*time.Minute, func(s *failover.State) bool {
			return s.Execution != nil && s.Execution.Step("switch-gate").State == failover.StepDone
		})
		s := st.waitFor("a word about it", 15*time.Minute, questioned)
		if q := s.Execution.Question; q.Kind != failover.Following || !strings.Contains(q.Text, "has not followed within 10m") {
			t.Fatalf("%+v", q)
		}
		nonce := s.Execution.Question.Nonce
		time.Sleep(3 * time.Hour)
		s = st.state()
		if e := s.Execution; e == nil || e.Question == nil || e.Question.Nonce != nonce || e.Step("check-workers-look").State != failover.StepDone || e.Step("stable").State != failover.StepPending {
			t.Fatalf("after three hours: %+v", e)
		}
		st.mu.Lock()
		record.blind = false
		st.mu.Unlock()
		s = st.waitFor("the end", 5*time.Minute, ended)
		if e := s.History[0]; e.State != failover.ExecStable || e.Step("switch-object").State != failover.StepUnproven {
			t.Errorf("%s, object %s", e.State, e.Step("switch-object").State)
		}
	})
}

// What cannot follow is tried at its pace and not as fast as it fails; a person
// may end it, which no other step in flight allows.
func TestAPersonEndsTheFollowing(t *testing.T) {
	inStage(t, threeSwitches, func(st *stage) {
		record, object := st.effect("switch-tokened"), st.effect("switch-object")
		record.refuses, object.blind = 1000, true
		st.elect(nil)
		s := st.waitFor("a word about it", 20*time.Minute, questioned)
		before := record.times()
		time.Sleep(2 * time.Hour)
		if n := record.times() - before; n < 10 || n > 26 {
			t.Errorf("tried %d times in two hours", n)
		}
		if res := st.do(failover.DeclareStable{Execution: s.Execution.ID}); res.Err == nil {
			t.Error("stable while a write is under way")
		}
		st.must(failover.Skip{Execution: s.Execution.ID, Step: "switch-tokened"})
		s = st.waitFor("the end", 10*time.Minute, ended)
		if e := s.History[0]; e.State != failover.ExecStable || e.Step("switch-tokened").State != failover.StepSkipped {
			t.Errorf("%s, record %s", e.State, e.Step("switch-tokened").State)
		}
		n := record.times()
		time.Sleep(time.Hour)
		if record.times() != n {
			t.Error("tried after it was skipped")
		}
	})
}

// A question that somebody has to answer is not kept waiting by one that nothing
// waits for.
func TestFollowingGivesWay(t *testing.T) {
	inStage(t, threeSwitches, func(st *stage) {
		st.effect("switch-tokened").blind, st.effect("switch-object").blind = true, true
		st.elect(nil)
		s := st.waitFor("a word about it", 20*time.Minute, questioned)
		if s.Execution.Question.Kind != failover.Following {
			t.Fatalf("%+v", s.Execution.Question)
		}
		st.must(failover.Ask{Execution: s.Execution.ID, Kind: "failed", Step: "check-workers-look", Text: "?"})
		if res := st.do(failover.Ask{Execution: s.Execution.ID, Kind: failover.Following, Step: "switch-object", Text: "?"}); res.Err == nil {
			t.Error("the other way round, too")
		}
	})
}

// While no switch has moved the clients, each has its own time, and a person is
// asked.
func TestNoSwitchMoves(t *testing.T) {
	inStage(t, threeSwitches, func(st *stage) {
		st.effect("switch-tokened").blind, st.effect("switch-object").blind, st.effect("switch-gate").never = true, true, true
		st.elect(nil)
		s := st.waitFor("a question", 30*time.Minute, questioned)
		if s.Execution.Question.Kind != "failed" {
			t.Errorf("%+v", s.Execution.Question)
		}
	})
}

// A write that was handed over and lands long after does what is wanted; once
// another token stands there it does nothing.
func TestHandedOverWriteLandsLate(t *testing.T) {
	inStage(t, threeSwitches, func(st *stage) {
		record := st.effect("switch-tokened")
		record.flight = 2 * time.Hour
		// Stable not before it was written: otherwise nothing is under way that could land.
		st.checks["check-workers-look"] = func() Finding {
			st.mu.Lock()
			defer st.mu.Unlock()
			return Finding{Pass: len(record.asked) > 0, Detail: "looked"}
		}
		st.elect(nil)
		s := st.waitFor("the end", 20*time.Minute, ended)
		if e := s.History[0]; e.State != failover.ExecStable || !e.HandedOver(*e.Plan.Step("switch-tokened")) {
			t.Fatalf("%s, record %s", e.State, e.Step("switch-tokened").State)
		}
		time.Sleep(3 * time.Hour)
		st.mu.Lock()
		defer st.mu.Unlock()
		// Whichever lands first: the record refuses the others, which name a token that is not there any more.
		if record.value != "new" || !slices.ContainsFunc(record.asked, func(a Attempt) bool { return a.Token == record.token }) {
			t.Errorf("the record holds %q, token %d", record.value, record.token)
		}
	})
}

// The service becomes stable while a switch writes that it is done: that write is
// waited for, not given up and followed by another one that says the opposite.
func TestADoneSwitchIsNotHandedOver(t *testing.T) {
	inStage(t, threeSwitches, func(st *stage) {
		var mu sync.Mutex
		var outcomes []failover.StepState
		// Stable not before that write has begun, and within the eight seconds that it takes.
		st.checks["check-workers-look"] = func() Finding {
			mu.Lock()
			defer mu.Unlock()
			return Finding{Pass: len(outcomes) > 0, Detail: "looked"}
		}
		st.elect(func(l *leader) {
			l.slow = func(c failover.Command) time.Duration {
				f, ok := c.(failover.StepFinished)
				if !ok || f.Step != "switch-tokened" {
					return 0
				}
				mu.Lock()
				defer mu.Unlock()
				outcomes = append(outcomes, f.Outcome)
				return 8 * time.Second
			}
		})
		s := st.waitFor("the end", 20*time.Minute, ended)
		e := s.History[0]
		if record, stable := e.Step("switch-tokened").Last(), e.Step("stable").Last(); !stable.FinishedAt.Before(record.FinishedAt) {
			t.Fatalf("stable at %s, the record at %s: this shows nothing", stable.FinishedAt, record.FinishedAt)
		}
		if len(outcomes) != 1 || outcomes[0] != failover.StepDone || e.Step("switch-tokened").State != failover.StepDone {
			t.Errorf("finished as %v, and the log says %s", outcomes, e.Step("switch-tokened").State)
		}
	})
}

// A person aborts at the moment at which the service becomes stable, while a switch
// still tries: it is handed over to nobody, its token is burnt, and the execution ends.
func TestAbortedWhenStable(t *testing.T) {
	inStage(t, threeSwitches, func(st *stage) {
		st.effect("switch-tokened").never = true
		var once sync.Once
		st.elect(func(l *leader) {
			l.slow = func(c failover.Command) time.Duration {
				if f, ok := c.(failover.StepFinished); ok && f.Step == "switch-tokened" && f.Outcome == failover.StepUnproven {
					once.Do(func() { st.must(failover.Abort{Execution: f.Execution}) })
				}
				return 0
			}
		})
		s := st.waitFor("the end", 30*time.Minute, ended)
		if e := s.History[0]; e.State != failover.ExecAborted || !e.Step("switch-tokened").Consumed() {
			t.Errorf("%s: %s", e.State, e.Outcome)
		}
	})
}

// The log refuses to close an execution, for whatever reason: that is no reason to
// write as fast as it can, nor to say nothing.
func TestARefusedCloseIsToldOf(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		var mu sync.Mutex
		proposed, refuses := 0, true
		st.elect(func(l *leader) {
			l.refuse = func(c failover.Command) error {
				mu.Lock()
				defer mu.Unlock()
				if _, ok := c.(failover.FinishExecution); ok && refuses {
					proposed++
					return errors.New("step x may still take effect")
				}
				return nil
			}
		})
		began := time.Now()
		s := st.waitFor("a question", 10*time.Minute, questioned)
		if q := s.Execution.Question; q.Kind != "closing" || !strings.Contains(q.Text, "cannot be closed: step x may still take effect") {
			t.Errorf("%+v", q)
		}
		mu.Lock()
		if most := int(time.Since(began)/time.Second) + 1; proposed > most || proposed < 30 {
			t.Errorf("proposed %d times in %s", proposed, time.Since(began))
		}
		refuses = false
		mu.Unlock()
		st.waitFor("the end", 10*time.Second, ended)
	})
}

// flipJournal takes a while to commit, and refuses the first so many proposals.
type flipJournal struct {
	heldJournal
	mu                 sync.Mutex
	proposals, refuses int
}

func (j *flipJournal) State() *failover.State {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := *j.state
	return &s
}

func (j *flipJournal) Propose(_ context.Context, c failover.Command, _ string) (failover.Result, error) {
	j.mu.Lock()
	j.proposals++
	refused := j.proposals <= j.refuses
	j.mu.Unlock()
	time.Sleep(50 * time.Millisecond)
	if refused {
		return failover.Result{}, errDead
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.state.Traffic = c.(failover.SetTraffic).Region
	return failover.Result{}, nil
}

// Three switches see at once that the clients have moved: the log says it once,
// and one that finds it refused is followed by the next.
func TestTheFlipIsCommittedOnce(t *testing.T) {
	for _, refuses := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			j := &flipJournal{heldJournal: heldJournal{state: &failover.State{Traffic: "us-east-1"}}, refuses: refuses}
			x := NewExecutor(j, nil, Options{}, slog.New(slog.DiscardHandler))
			var failed atomic.Int64
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if x.flip(t.Context(), &failover.Execution{ID: 7, To: "us-east-2"}) != nil {
						failed.Add(1)
					}
				})
			}
			wg.Wait()
			if j.proposals != refuses+1 || failed.Load() != int64(refuses) || j.State().Traffic != "us-east-2" {
				t.Errorf("%d refused: proposed %d times, %d failed, traffic %s", refuses, j.proposals, failed.Load(), j.State().Traffic)
			}
		})
	}
}
