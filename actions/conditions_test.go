package actions

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// checks beside an action, for both regions.
func beside() []failover.CheckParams {
	p := json.RawMessage(`{}`)
	return []failover.CheckParams{{Kind: "look", Version: 1, Params: map[failover.Region]json.RawMessage{"east1": p, "east2": p}}}
}

// A step is not tried before what it requires is so.
func TestRequire(t *testing.T) {
	inStage(t, func(s *failover.Settings) { s.Components[0].Start.Require = beside() }, func(st *stage) {
		ready := false
		st.checks["start-api"] = func() Finding {
			if !st.moved.IsZero() {
				t.Error("no client has moved yet")
			}
			return Finding{Pass: ready, Detail: "the image is missing"}
		}
		st.elect(nil)
		s := st.waitFor("a question", 30*time.Minute, questioned)
		if n := st.effect("start-api").times(); n != 0 || !strings.Contains(s.Execution.Question.Text, "the image is missing") {
			t.Fatalf("tried %d times; %s", n, s.Execution.Question.Text)
		}
		st.mu.Lock()
		ready = true
		st.mu.Unlock()
		st.must(failover.Retry{Execution: s.Execution.ID, Step: "start-api"})
		st.waitFor("the end", 10*time.Minute, ended)
	})
}

// A step that has taken effect is done only when its checks pass.
func TestVerify(t *testing.T) {
	inStage(t, func(s *failover.Settings) { s.Components[0].Start.Verify = beside() }, func(st *stage) {
		began := time.Now()
		st.checks["start-api"] = func() Finding {
			return Finding{Pass: time.Since(began) > 3*time.Minute, Detail: "warming up"}
		}
		st.elect(nil)
		st.waitFor("the effect", 3*time.Minute, func(*failover.State) bool { return st.effect("start-api").times() == 1 })
		if rec := st.state().Execution.Step("start-api"); rec.State != failover.StepRunning {
			t.Fatalf("the step is %s before its check passes", rec.State)
		}
		st.waitFor("the end", 10*time.Minute, ended)
	})
}

// The same holds when another leader finds the effect, or a call that failed turns out
// to have taken effect: whoever finds it has not seen its checks pass.
func TestVerifyOfWhatIsFound(t *testing.T) {
	for name, begin := range map[string]func(*stage){
		"by another leader": func(st *stage) {
			st.elect(func(l *leader) { l.dieAfterDo = 2 }) // stop-workers, start-api
			st.waitFor("the effect", 3*time.Minute, func(*failover.State) bool { return st.effect("start-api").times() == 1 })
			st.elect(nil)
		},
		"after a call that failed": func(st *stage) {
			st.effect("start-api").doErr = errors.New("503: it was done all the same")
			st.elect(nil)
			st.waitFor("the effect", 3*time.Minute, func(*failover.State) bool { return st.effect("start-api").times() == 1 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			inStage(t, func(s *failover.Settings) { s.Components[0].Start.Verify = beside() }, func(st *stage) {
				var passed time.Time
				began := time.Now()
				st.checks["start-api"] = func() Finding {
					if passed.IsZero() && time.Since(began) > 3*time.Minute {
						passed = time.Now()
					}
					return Finding{Pass: !passed.IsZero(), Detail: "warming up"}
				}
				begin(st)
				s := st.waitFor("the end", 10*time.Minute, ended)
				rec := s.History[len(s.History)-1].Step("start-api")
				if at := rec.Last().FinishedAt; passed.IsZero() || at.Before(passed) {
					t.Errorf("done at %s, and its check passed at %s: %s", at, passed, rec.Detail)
				}
				if n := st.effect("start-api").times(); n != 1 {
					t.Errorf("asked for %d times", n)
				}
			})
		})
	}
}

// Retries are counted, and a person's retry begins anew.
func TestRetriesAreBounded(t *testing.T) {
	inStage(t, func(s *failover.Settings) { s.Components[0].Start.Retries = 2 }, func(st *stage) {
		st.effect("start-api").refuses = 4
		st.effect("start-api").doErr = nil
		st.elect(nil)
		s := st.waitFor("a question", 10*time.Minute, questioned)
		if n := st.effect("start-api").times(); n != 3 || !strings.Contains(s.Execution.Question.Text, "after 2 retries") {
			t.Fatalf("tried %d times; %s", n, s.Execution.Question.Text)
		}
		st.must(failover.Retry{Execution: s.Execution.ID, Step: "start-api"})
		st.waitFor("the end", 10*time.Minute, ended)
		if n := st.effect("start-api").times(); n != 5 {
			t.Errorf("tried %d times in all", n)
		}
	})
}

// What Do has begun and what has ended without its effect is not waited for: it is tried again, and that is counted.
func TestWhatIsOverIsTriedAgain(t *testing.T) {
	inStage(t, func(s *failover.Settings) { s.Components[0].Start.Retries, s.Components[0].Start.Kind = 2, "counted" }, func(st *stage) {
		e := st.effect("start-api")
		e.never, e.over = true, "the backup restores nothing"
		st.elect(nil)
		begun := time.Now()
		s := st.waitFor("a question", 10*time.Minute, questioned)
		if n := e.times(); n != 3 || time.Since(begun) > 4*time.Minute || !strings.Contains(s.Execution.Question.Text, "after 2 retries") || !strings.Contains(s.Execution.Question.Text, "the backup restores nothing") {
			t.Fatalf("tried %d times within %s; %s", n, time.Since(begun), s.Execution.Question.Text)
		}
	})
}

// P4: an inventory that shrank beyond the limit is refused, until a person
// accepts it.
func TestShrunkInventoryIsRefused(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		st.s.Inventory = map[failover.StepID]int{"start-api": 10}
		st.effect("start-api").inventory = 3
		st.elect(nil)
		s := st.waitFor("a question", 30*time.Minute, questioned)
		if n := st.effect("start-api").times(); n != 0 || !strings.Contains(s.Execution.Question.Text, "shrank from 10 to 3") {
			t.Fatalf("tried %d times; %s", n, s.Execution.Question.Text)
		}
		st.must(failover.AcceptInventory{Component: "api"})
		st.must(failover.Retry{Execution: s.Execution.ID, Step: "start-api"})
		st.waitFor("the end", 10*time.Minute, ended)
	})
}

// A step that takes longer than it used to is said to be stuck, once, with an
// estimate.
func TestStuckStepIsFlagged(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		st.s.Durations = map[failover.StepID][]failover.Duration{"start-api": {failover.Duration(10 * time.Second), failover.Duration(40 * time.Second)}}
		st.effect("start-api").late = 90 * time.Second
		st.elect(nil)
		s := st.waitFor("the flag", 5*time.Minute, func(s *failover.State) bool { return s.Execution.Step("start-api").Slow != "" })
		if slow := s.Execution.Step("start-api").Slow; !strings.Contains(slow, "it runs for 1m") || !strings.Contains(slow, "no longer than 40s") {
			t.Errorf("%s", slow)
		}
		s = st.waitFor("the end", 10*time.Minute, ended)
		flags := 0
		for _, ev := range s.Events {
			if ev.Kind == "note-stuck" {
				flags++
			}
		}
		if flags != 1 {
			t.Errorf("flagged %d times", flags)
		}
	})
}

// All levels of a stop are tried at once; one that proves it is enough, with its
// own class of evidence.
func TestStopOnTwoLevels(t *testing.T) {
	p := json.RawMessage(`{}`)
	fence := failover.ActionSpec{Kind: "plain", Version: 1, Proves: failover.Resource, Params: map[failover.Region]json.RawMessage{"east1": p, "east2": p}}
	inStage(t, func(s *failover.Settings) {
		s.Components[1].Stop.Also = []failover.ActionSpec{fence}
		s.Components[1].Stop.Proof = []failover.EvidenceClass{failover.Confirmed, failover.Resource}
	}, func(st *stage) {
		st.effect("stop-workers").blind = true
		st.elect(nil)
		s := st.waitFor("the end", 10*time.Minute, ended)
		e := s.History[0]
		if len(e.Evidence) != 1 || e.Evidence[0].Class != failover.Resource || e.Evidence[0].Source != "stop-workers-plain" {
			t.Errorf("%+v", e.Evidence)
		}
		if st.effect("stop-workers-plain").times() == 0 {
			t.Error("the second level was not tried")
		}
	})
}
