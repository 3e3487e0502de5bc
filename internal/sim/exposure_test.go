package sim

import (
	"slices"
	"testing"
	"time"

	"github.com/failoverd/failoverd/internal/sim/oracle"
)

// S2: a start that checks no token lands long after its region was left. Nothing
// critical runs there – no agent has a lease –, and the standing hold takes it back
// within its pace, a call and the time that the stop takes to show. The figures stand in
// docs/safety.md.
func TestExposureOfALateStart(t *testing.T) {
	const (
		trials = 12
		pace   = 30 * time.Second // of the keeper
		call   = 10 * time.Second // twice [aws] timeout
		bound  = pace + 2*call + 5*time.Second
	)
	n := trials
	if testing.Short() || raceDetector {
		n = 3
	}
	var all []time.Duration
	for i := range n {
		perform(t, story{id: "late-start", play: func(s *stage) {
			s.cut(east1)
			s.when(5*time.Minute, func() bool { return s.ended() != "" })
			s.mend()
			if !s.when(5*time.Minute, func() bool { return s.wanted(east1) == 0 && s.up(east2) == fleetSize }) {
				t.Fatal("the region that was left is not stopped")
			}
			sleep(time.Minute + pace*time.Duration(i)/time.Duration(n))
			landed := time.Now()
			s.world.set(func() { s.world.desired[east1] = fleetSize })
			if !s.when(10*time.Minute, func() bool { return s.wanted(east1) == 0 }) {
				t.Fatal("a late start stands")
			}
			took := time.Since(landed)
			all = append(all, took)
			if took > bound {
				t.Errorf("a late start stood for %s; the bound is %s", took, bound)
			}
			for _, e := range s.world.records(oracle.WorkerUp) {
				if e.Region == east1 && e.At.After(landed) {
					t.Errorf("a worker of %s ran %s after a late start", east1, e.At.Sub(landed))
				}
			}
		}})
	}
	if len(all) > 0 {
		slices.Sort(all)
		t.Logf("exposure: effect=late-start trials=%d p50_s=%.1f max_s=%.1f bound_s=%.0f workers=0", len(all), all[len(all)/2].Seconds(), all[len(all)-1].Seconds(), bound.Seconds())
	}
}
