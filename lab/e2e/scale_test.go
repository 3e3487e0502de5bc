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
	for _, zone := range []string{"a", "b", "c", "d"} { // no zone has capacity, not that of the other group either
		r.do(r.w.Fault(r.ctx, world.E2, faults.Fault{Service: "launch", Target: world.Secondary + zone, Mode: faults.Error}))
	}
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
	s = r.until(20*time.Second, "the relays to be refused", func(s *harness.Status) bool {
		return strings.Contains(s.Progress["start-relay"], "AWS lacks capacity")
	})
	if said := s.Progress["start-relay"]; !strings.Contains(said, "InsufficientInstanceCapacity") {
		t.Errorf("it says: %s", said)
	}
	s = r.until(20*time.Second, "the other group to be asked in vain", func(s *harness.Status) bool {
		return strings.Contains(s.Progress["start-queue"], "no group is left to be asked")
	})
	if said := s.Progress["start-queue"]; !strings.Contains(said, "launches of queue-b-us-east-2 failed: AWS lacks capacity") {
		t.Errorf("it says: %s", said)
	}
	for _, zone := range []string{"a", "c"} { // b and d still have none
		r.do(r.w.ClearFaultsOf(r.ctx, world.E2, world.Secondary+zone))
	}
	r.stable()
	var relays map[string]string
	r.do(r.w.Control(world.E2).Call(r.ctx, "GET", "/ec2", nil, &relays))
	if relays["i-relayuseast2a"] != "running" || relays["i-relayuseast2b"] != "stopped" {
		t.Errorf("the relays are %v: one of two is enough, and the other one has no place", relays)
	}
	if all, serving := r.size("queue-" + world.Secondary); serving != 2 || all != 2 {
		t.Errorf("%d instances, %d of them serve: want 2", all, serving)
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

// P9: no zone of the queue servers' group has capacity, and the other group has it in a zone of its own. That is asked for both, once, and
// the plan goes on; what the first one brings when its zones have capacity again is kept.
func TestIncidentP9OtherGroup(t *testing.T) {
	r := start(t)
	for _, zone := range []string{"a", "b", "c"} {
		r.do(r.w.Fault(r.ctx, world.E2, faults.Fault{Service: "launch", Target: world.Secondary + zone, Mode: faults.Error}))
	}
	at := r.lose()
	s := r.until(60*time.Second, "the queue servers", func(s *harness.Status) bool {
		return s.Current() != nil && s.Current().StepState("start-queue") == "done"
	})
	if said := s.Current().Steps["start-queue"].Detail; !strings.Contains(said, "2 in service and healthy of 2") {
		t.Errorf("it says: %s", said)
	}
	first, other := "queue-"+world.Secondary, "queue-b-"+world.Secondary
	if all, _ := r.size(first); all != 0 {
		t.Errorf("%d instances where there is no capacity", all)
	}
	if all, serving := r.size(other); all != 2 || serving != 2 {
		t.Errorf("of the other group %d serve of %d: want 2", serving, all)
	}
	r.do(r.w.ClearFaults(r.ctx, world.E2)) // for the relays, which have no other zone
	r.stable()
	if all, _ := r.size(other); all != 2 {
		t.Errorf("%d instances of the other group in the end: want 2", all)
	}
	if all, _ := r.size(first); all != 2 {
		t.Errorf("%d instances of the first group, which was asked for 2 and has capacity again", all)
	}
	r.movedSafely(at, 1)
}

// size is how many instances a group of us-east-2 has, and how many of them serve.
func (r *rig) size(group string) (all, serving int) {
	r.Helper()
	var size struct {
		Instances int `json:"instances"`
		Serving   int `json:"serving"`
	}
	r.do(r.w.Control(world.E2).Call(r.ctx, "GET", "/asg?group="+group, nil, &size))
	return size.Instances, size.Serving
}

// P17: everything that piled up in the outage comes at once, to a region that has just begun. It is not called stable while the
// queue stands still: a person is asked. It is when the queue becomes less, long before it is empty; nothing is done twice.
func TestIncidentP17Flood(t *testing.T) {
	r := start(t, func(o *harness.Options) {
		o.Config.Set["component.workers.check.sqs_backlog"] = `{ queue = "messages", max = 20, drained_within = "5m", trend = "10s", within = "25s" }`
	})
	r.do(r.w.Fault(r.ctx, world.E2, faults.Fault{Service: "sqs", Op: "ReceiveMessage", Mode: faults.Throttle})) // the workers get nothing
	at := r.lose()
	r.do(r.w.Flood(r.ctx, 300)) // as many as would have come in some minutes
	const step = "check-workers-sqs_backlog"
	s := r.until(90*time.Second, "a question", func(s *harness.Status) bool {
		return s.Last != nil || s.Current() != nil && s.Current().Question != nil
	})
	if s.Last != nil {
		t.Fatalf("stable with a queue that nobody reads: %s", s.Last.Steps[step].Detail)
	}
	if q := s.Current().Question.Text; !strings.Contains(q, "Step "+step+" failed: about ") || !strings.Contains(q, "and they do not become fewer: ") || s.Current().StepState("stable") != "pending" {
		t.Errorf("asks: %s", q)
	}
	r.do(r.w.ClearFaults(r.ctx, world.E2))
	r.order("use2a", "retry", step)
	s = r.until(60*time.Second, "a stable execution", func(s *harness.Status) bool { return s.Execution == nil && s.Last != nil })
	said := s.Last.Steps[step].Detail
	t.Log(said)
	if s.Last.State != "stable" || !strings.Contains(said, "a minute, so that 20 are left in ") {
		t.Errorf("%s, and the step ended with %q", s.Last.State, said)
	}
	r.movedSafely(at, 1)
}
