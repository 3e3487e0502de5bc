package e2e

import (
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/ledger"
	"github.com/failoverd/failoverd/lab/world"
)

// A rule and a schedule go on firing behind the cut, where nobody can turn them off. What they start ends with the lease that
// it asks for, before anything that fires in the other region does its work; and when the region is back, they are turned off
// there, and nothing of a schedule is lost.
func TestNothingFiresInTwoRegions(t *testing.T) {
	r := start(t)
	fired := func(region string) (first, last time.Time, n int) { return r.span(ledger.Fired, region) }
	await := func(region string) {
		r.Helper()
		r.do(r.poll(20*time.Second, func() (bool, string) {
			_, _, n := fired(region)
			return n >= 3, "jobs to run by the clock in " + region
		}))
	}
	await(world.Primary)
	at := r.lose()
	r.stable()
	await(world.Secondary)
	_, last, _ := fired(world.Primary)
	first, _, _ := fired(world.Secondary)
	if !last.After(at) {
		t.Error("no job ran behind the cut: nothing was tested")
	}
	if !first.After(last) {
		t.Errorf("S1: a job ended in us-east-1 at %s, and one in us-east-2 at %s", last, first)
	}
	r.movedSafely(at, 1)
	// The standing hold has turned both off in the region that is back.
	r.do(r.poll(20*time.Second, func() (bool, string) {
		calls, err := r.w.Calls(r.ctx, world.E1)
		off := map[string]bool{}
		for _, c := range calls {
			if err == nil && c.Outcome == "ok" && c.At.After(first) {
				off[c.Op] = true
			}
		}
		return off["DisableRule"] && off["UpdateSchedule"], "the rule and the schedule in us-east-1 to be turned off when the region came back"
	}))
	if _, again, _ := fired(world.Primary); !again.Equal(last) {
		t.Errorf("S1: a job ran in us-east-1 at %s, after it was left", again)
	}
}
