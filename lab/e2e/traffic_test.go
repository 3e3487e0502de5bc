package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/world"
)

// P6: Route 53's control plane is dead before, during and after the loss of a region. The gate and the object move the clients,
// the service is stable, and the weights follow when the control plane is back – by themselves, with the newest token.
func TestIncidentP6Route53IsDown(t *testing.T) {
	r := start(t)
	r.do(r.w.Fault(r.ctx, world.Net, faults.Fault{Service: "route53", Mode: faults.Hang}))
	at := r.lose()
	r.stable()
	changes, err := r.c.Changes(r.ctx)
	r.do(err)
	if len(changes) != 0 {
		t.Fatalf("Route 53 was dead and accepted %d batches", len(changes))
	}
	to, err := r.c.DNSRegion(r.ctx, "api.example.net")
	r.do(err)
	if to != world.Secondary {
		t.Fatalf("clients are led to: %s", to)
	}
	out, err := r.c.CLI(r.ctx, "use2a", "status")
	if err != nil || !strings.Contains(out, "standing hold: clients stay in us-east-2 by route53_weights: unseen") {
		t.Errorf("%v\n%s", err, out)
	}
	r.weights(255, 0)
	r.do(r.w.ClearFaults(r.ctx, world.Net))
	r.do(r.c.Poll(r.ctx, 40*time.Second, func() (bool, string) {
		w, err := r.c.Weights(r.ctx, "api.example.net")
		return err == nil && w[world.Primary] == 0 && w[world.Secondary] == 255, "the weights to follow"
	}))
	r.movedSafely(at, 1)
}

// Every node is lost after a switch without Route 53: nothing of failoverd is left, and clients stay where they are.
func TestNodesAreLostAfterTheSwitch(t *testing.T) {
	r := start(t)
	r.do(r.w.Fault(r.ctx, world.Net, faults.Fault{Service: "route53", Mode: faults.Hang}))
	r.lose()
	r.stable()
	r.do(r.w.Heal(r.ctx, world.E1))
	for _, node := range []string{"third", "use2a", "use2b", "use1a", "use1b"} {
		r.do(r.c.KillNode(r.ctx, node))
		r.do(os.RemoveAll(r.c.Data(node)))
		for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			to, err := r.c.DNSRegion(r.ctx, "api.example.net")
			r.do(err)
			if to != world.Secondary {
				t.Fatalf("after the loss of %s clients are led to: %s", node, to)
			}
		}
	}
}

// The object alone says so when the gates cannot: without it they would be sent back. The counter-proof of the test above.
func TestTheGateAloneDoesNotOutliveTheNodes(t *testing.T) {
	r := start(t)
	r.do(r.w.Fault(r.ctx, world.Net, faults.Fault{Service: "route53", Mode: faults.Hang}))
	r.do(r.w.Fault(r.ctx, world.E2, faults.Fault{Service: "s3", Op: "PutObject", Mode: faults.Hang}))
	r.lose()
	r.do(r.c.Poll(r.ctx, 60*time.Second, func() (bool, string) {
		to, err := r.c.DNSRegion(r.ctx, "api.example.net")
		return err == nil && to == world.Secondary, "the gates to move the clients"
	}))
	s, err := r.c.AnyStatus(r.ctx)
	r.do(err)
	if e := s.Current(); e == nil || e.State != "running" || e.Question != nil || e.StepState("stable") != "pending" {
		t.Errorf("declared stable with the gate alone, or asks: %+v", e)
	}
	if said := s.Progress["switch-s3_object"] + s.Progress["switch-route53_weights"]; said == "" {
		t.Error("nothing is said about the switches that must follow")
	}
	for _, node := range []string{"third", "use2a"} {
		r.do(r.c.KillNode(r.ctx, node))
	}
	r.do(r.c.Poll(r.ctx, 30*time.Second, func() (bool, string) {
		to, err := r.c.DNSRegion(r.ctx, "api.example.net")
		return err == nil && to == world.Primary, "clients to be sent back once a single gate is left"
	}))
}

// A part of a region that is dark is named, people are told, and nothing is touched, however long it lasts.
func TestNamedAndLeftAlone(t *testing.T) {
	r := start(t)
	for _, tt := range []struct {
		condition string
		fault     faults.Fault
	}{
		{"control-plane-impaired", faults.Fault{Service: "ecs", Mode: faults.Hang}},
		{"zone-down", faults.Fault{Service: "alb", Target: "b", Mode: faults.Refuse}},
	} {
		since := time.Now()
		r.do(r.w.Fault(r.ctx, world.E1, tt.fault))
		s := r.until(20*time.Second, "the condition "+tt.condition, func(s *harness.Status) bool { return s.Condition == tt.condition })
		time.Sleep(s.Hold.D() + 2*time.Second)
		r.until(time.Second, "the condition to last", func(s *harness.Status) bool {
			return s.Condition == tt.condition && s.Execution == nil && s.Freeze == nil
		})
		r.do(r.w.ClearFaults(r.ctx, world.E1))
		r.until(20*time.Second, "good health", func(s *harness.Status) bool { return s.Condition == "" })
		r.nothingMoved(since)
	}
}
