package e2e

import (
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/ledger"
	"github.com/failoverd/failoverd/lab/world"
)

// Functions are alive behind the cut, with a queue that fills and nobody who could turn their event source off. They end with
// the lease that they ask for, before those of the other region begin; and when the region is back, they are turned off there.
func TestFunctionsEndWithTheirLease(t *testing.T) {
	r := start(t)
	handled := func(region string) (first, last time.Time, n int) { return r.span(ledger.Handled, region) }
	r.do(r.poll(20*time.Second, func() (bool, string) {
		_, _, n := handled(world.Primary)
		return n >= 5, "functions to handle events in us-east-1"
	}))
	at := r.lose()
	r.stable()
	r.do(r.poll(20*time.Second, func() (bool, string) {
		_, _, n := handled(world.Secondary)
		return n >= 5, "functions to handle events in us-east-2"
	}))
	_, last, _ := handled(world.Primary)
	first, _, _ := handled(world.Secondary)
	if !last.After(at) {
		t.Error("no function was alive behind the cut: nothing was tested")
	}
	if !first.After(last) {
		t.Errorf("S1: a function ended in us-east-1 at %s, and one in us-east-2 at %s", last, first)
	}
	r.movedSafely(at, 1)
	// The standing hold has turned the event source off in the region that is back.
	r.do(r.poll(20*time.Second, func() (bool, string) {
		calls, err := r.w.Calls(r.ctx, world.E1)
		for _, c := range calls {
			if err == nil && c.Op == "UpdateEventSourceMapping" && c.Outcome == "ok" && c.At.After(first) {
				return true, ""
			}
		}
		return false, "the event source in us-east-1 to be turned off when the region came back"
	}))
}
