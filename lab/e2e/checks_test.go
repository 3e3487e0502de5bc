package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/world"
)

// app is a fault of the application; its target lets it be taken away by itself.
func app(op string, mode faults.Mode) faults.Fault {
	return faults.Fault{Service: "app", Op: op, Target: op, Mode: mode}
}

// heal takes the faults of one operation of the application away.
func (r *rig) heal(site, op string) {
	r.Helper()
	r.do(r.w.Control(site).Call(r.ctx, "DELETE", "/faults?target="+op, nil, nil))
}

// says waits until a step that is not done says something.
func (r *rig) says(step, text string) {
	r.Helper()
	r.until(30*time.Second, step+" to say "+text, func(s *harness.Status) bool {
		e := s.Current()
		if e != nil && e.StepState(step) == "done" {
			r.Fatalf("%s is done, and never said %q: %s", step, text, e.Steps[step].Detail)
		}
		return e != nil && strings.Contains(s.Progress[step], text)
	})
}

// Each check of the plan fails while what it looks at is broken, says what it saw, and lets the failover go on once that works.
func TestChecksSeeWhatIsBroken(t *testing.T) {
	r := start(t)
	for _, f := range []faults.Fault{app("healthz", faults.Error), app("ws", faults.Refuse)} {
		r.do(r.w.Fault(r.ctx, world.E2, f))
	}
	at := r.lose()
	r.says("start-api", "Target.ResponseCodeMismatch: Health checks failed with these codes: [503]")
	r.heal(world.E2, "healthz")
	r.says("check-traffic-websocket", "with code 1011 (going down)")
	r.heal(world.E2, "ws")
	r.stable()
	s, err := r.c.AnyStatus(r.ctx)
	r.do(err)
	for step, want := range map[string]string{"check-traffic-websocket": "closed with 1000"} {
		if got := s.Last.Steps[step].Detail; !strings.Contains(got, want) {
			t.Errorf("%s passed with %q, want %q", step, got, want)
		}
	}
	r.movedSafely(at, 1)
}

// What the load balancer thinks of its targets is told, and moves nothing: clients are served all the while.
func TestUnhealthyTargetsMoveNothing(t *testing.T) {
	r := start(t)
	since := time.Now()
	r.do(r.w.Fault(r.ctx, world.E1, app("healthz", faults.Error)))
	s := r.until(20*time.Second, "control-plane-impaired by edge/alb", func(s *harness.Status) bool {
		return s.Condition == "control-plane-impaired" && strings.Contains(s.Sentence, "edge/alb down")
	})
	time.Sleep(s.Hold.D() + time.Second)
	r.until(time.Second, "the condition to last", func(s *harness.Status) bool {
		return s.Condition == "control-plane-impaired" && s.Execution == nil && s.Freeze == nil
	})
	r.heal(world.E1, "healthz")
	r.until(20*time.Second, "good health", func(s *harness.Status) bool { return s.Condition == "" })
	r.nothingMoved(since)
}
