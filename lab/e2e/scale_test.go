package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/world"
)

// P9, in part: the standby's queue servers are launched where there is capacity, one zone has none, and what counts is what
// serves. While no zone has any, the failover waits, says why in AWS's words, and goes on by itself when there is.
func TestIncidentP9NoCapacity(t *testing.T) {
	r := start(t)
	r.do(r.w.Fault(r.ctx, world.E2, faults.Fault{Service: "launch", Mode: faults.Error})) // no zone has capacity
	at := r.lose()
	s := r.until(40*time.Second, "the queue servers to be missed", func(s *harness.Status) bool {
		return strings.Contains(s.Progress["start-queue"], "AWS lacks capacity")
	})
	if said := s.Progress["start-queue"]; !strings.Contains(said, "0 in service and healthy of 2") || !strings.Contains(said, "InsufficientInstanceCapacity") {
		t.Errorf("it says: %s", said)
	}
	if s.Current().StepState("start-workers") != "pending" || s.Traffic != world.Primary {
		t.Errorf("workers are %s, traffic is in %s: they come after the queue servers", s.Current().StepState("start-workers"), s.Traffic)
	}
	r.do(r.w.ClearFaults(r.ctx, world.E2))
	r.do(r.w.Fault(r.ctx, world.E2, faults.Fault{Service: "launch", Target: world.Secondary + "b", Mode: faults.Error})) // one zone still has none
	r.stable()
	var size struct {
		Instances int `json:"instances"`
		Serving   int `json:"serving"`
	}
	r.do(r.w.Control(world.E2).Call(r.ctx, "GET", "/asg?group=queue-"+world.Secondary, nil, &size))
	if size.Serving != 2 || size.Instances != 2 {
		t.Errorf("%d instances, %d of them serve: want 2", size.Instances, size.Serving)
	}
	// Who acted, and for what, is in AWS's own records: a session of the acting role for each step.
	calls, err := r.c.Mutations(r.ctx)
	r.do(err)
	for _, c := range calls {
		if !strings.HasPrefix(c.Session, "failoverd-") || !strings.Contains(c.Session, "-start-") && !strings.Contains(c.Session, "-stop-") && !strings.Contains(c.Session, "-switch-") {
			t.Errorf("%s %s was called in the session %q", c.Service, c.Op, c.Session)
		}
	}
	r.movedSafely(at, 1)
}
