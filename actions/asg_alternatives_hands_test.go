package actions

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// changesHands plays a start whose first leader dies behind one of its writes, or, for zero, right when the alternative was asked. then is
// what happens before the next one is there.
func changesHands(t *testing.T, dies int, change func(*failover.Settings), begin, then func(*stage), over func(*failover.State) bool, want []int) (attempts int) {
	t.Helper()
	inStage(t, func(s *failover.Settings) {
		change(s)
		s.Components[0].Start.Timeout = failover.Duration(10 * time.Minute)
	}, func(st *stage) {
		f := pilots()
		leads := func() { st.own["start-api"] = wired(t, twoOfThree(), &wire{fake: f}) }
		world, end := context.WithCancel(context.Background())
		defer end()
		go func() {
			for world.Err() == nil {
				f.settle()
				time.Sleep(500 * time.Millisecond)
			}
		}()
		begin(st)
		leads()
		st.elect(func(l *leader) { l.dieAfterWrite = dies })
		if dies == 0 {
			st.waitFor("the alternative to be asked", 10*time.Minute, func(*failover.State) bool { return f.sizes()[1] > 0 })
			st.end()
		} else {
			<-st.lead.ctx.Done()
			<-st.lead.ended
		}
		then(st)
		leads()
		st.elect(nil)
		most := 0
		s := st.waitFor("the end", 30*time.Minute, func(s *failover.State) bool {
			if is := f.sizes(); is[1]+is[2] > most {
				most = is[1] + is[2]
			}
			return over(s)
		})
		if len(s.History) > 0 {
			attempts = len(s.History[0].Step("start-api").Attempts)
		}
		if !slices.Equal(f.sizes(), want) || most > 2 {
			t.Errorf("asked for %v, want %v; the alternatives together for %d at most", f.sizes(), want, most)
		}
	})
	return attempts
}

// A leader dies in mid-step, behind each of its writes. The next one comes to the same numbers.
func TestASGAlternativesChangeHands(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	nothing := func(*stage) {}
	for _, dies := range []int{0, 8, 9, 10, 11, 12} { // 10 begins the start, 11 is the intent to ask the alternative
		t.Run(fmt.Sprint(dies), func(t *testing.T) {
			if n := changesHands(t, dies, func(*failover.Settings) {}, nothing, nothing, ended, []int{2, 2, 0}); n < 2 || n > 4 {
				t.Errorf("%d attempts", n)
			}
		})
	}
}

// Or it takes all of it back, when the suspicion for which it was prepared has passed.
func TestASGAlternativesAreTakenBack(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for dies := range 5 {
		t.Run(fmt.Sprint(dies), func(t *testing.T) {
			var prep uint64
			changesHands(t, dies, preparing, func(st *stage) { prep = st.suspect() }, func(st *stage) {
				if st.state().Preparation != nil {
					st.must(failover.EndPreparation{Preparation: prep, Reason: "healthy again"})
				}
			}, func(s *failover.State) bool { return s.Preparation == nil }, []int{0, 0, 0})
		})
	}
}
