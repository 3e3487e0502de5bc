package actions

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// What was so before us stays so, and is not undone, although its checks do not pass at
// once (E3).
func TestAlreadySoButNotWell(t *testing.T) {
	inStage(t, func(s *failover.Settings) { s.Components[0].Start.Verify = beside() }, func(st *stage) {
		ef := st.effect("start-api")
		ef.present = true
		began := time.Now()
		st.checks["start-api"] = func() Finding { return Finding{Pass: time.Since(began) > 3*time.Minute, Detail: "warming up"} }
		st.elect(nil)
		s := st.waitFor("the end", 10*time.Minute, ended)
		rec := s.History[0].Step("start-api")
		if last := rec.Last(); ef.times() != 0 || len(rec.Attempts) != 1 || !last.Already || !strings.HasPrefix(last.Detail, "was already so") {
			t.Errorf("asked %d times in %d attempts, %+v", ef.times(), len(rec.Attempts), last)
		}
	})
}

// The next leader knows it as well, and so does an undo when the checks never pass.
func TestAlreadySoIsNotUndone(t *testing.T) {
	for name, next := range map[string]bool{"the same leader": false, "the next leader": true} {
		t.Run(name, func(t *testing.T) {
			inStage(t, func(s *failover.Settings) {
				preparing(s)
				s.Components[0].Start.Verify = beside()
			}, func(st *stage) {
				ef := st.effect("start-api")
				ef.present = true
				st.checks["start-api"] = func() Finding { return Finding{Detail: "warming up"} }
				prep := st.suspect()
				st.elect(nil)
				st.waitFor("the attempt", time.Minute, func(s *failover.State) bool { return s.Preparation.Step("start-api").First() != nil })
				if next {
					st.elect(nil)
					synctest.Wait()
				}
				time.Sleep(10 * time.Minute) // the step fails: its checks do not pass
				st.must(failover.EndPreparation{Preparation: prep, Reason: "healthy again"})
				st.waitFor("the end", 30*time.Minute, func(s *failover.State) bool { return s.Preparation == nil })
				if ef.times() != 0 || len(ef.undone) != 0 {
					t.Errorf("asked for %d times, undone %d times", ef.times(), len(ef.undone))
				}
			})
		})
	}
}
