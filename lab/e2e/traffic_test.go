package e2e

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/world"
)

// P6: Route 53's control plane is dead before, during and after the loss of a region. The gate and the object move the clients,
// the service is stable, and the weights follow when the control plane is back – by themselves, with the newest token. A partner
// whose hook is dead as well keeps nobody waiting.
func TestIncidentP6Route53IsDown(t *testing.T) {
	r := start(t)
	r.do(r.w.Fault(r.ctx, world.Net, faults.Fault{Service: "hooks", Mode: faults.Hang}))
	r.do(r.w.Fault(r.ctx, world.Net, faults.Fault{Service: "route53", Mode: faults.Hang}))
	at := r.lose()
	r.stable()
	if s, err := r.c.AnyStatus(r.ctx); err != nil || s.Last.StepState("start-partners") != "skipped" || r.gateway().Active != world.Primary {
		t.Errorf("%v; the step of a dead hook: %+v", err, s.Last.Steps["start-partners"])
	}
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
	r.do(r.poll(40*time.Second, func() (bool, string) {
		w, err := r.c.Weights(r.ctx, "api.example.net")
		return err == nil && w[world.Primary] == 0 && w[world.Secondary] == 255, "the weights to follow"
	}))
	r.movedSafely(at, 1)
}

// Route 53 lets the records be written and not read: they are known from the log, the token from the name servers, and one call
// moves the clients.
func TestRecordsAreMovedUnread(t *testing.T) {
	r := start(t)
	r.do(r.poll(40*time.Second, func() (bool, string) {
		out, _ := r.c.CLI(r.ctx, "use2a", "readiness")
		return regexp.MustCompile(`step switch-route53_weights .*; kept in the log as it is since`).MatchString(out), "the records to be kept in the log"
	}))
	for _, op := range []string{"ListResourceRecordSets", "GetHostedZone", "GetChange"} {
		r.do(r.w.Fault(r.ctx, world.Net, faults.Fault{Service: "route53", Op: op, Mode: faults.Hang}))
	}
	at := r.lose()
	r.stable()
	s, err := r.c.AnyStatus(r.ctx)
	r.do(err)
	if got := s.Last.StepState("switch-route53_weights"); got != "done" {
		t.Errorf("the step is %s: %+v", got, s.Last.Steps["switch-route53_weights"])
	}
	changes, err := r.c.Changes(r.ctx)
	r.do(err)
	if len(changes) != 1 {
		t.Errorf("%d accepted batches, want 1", len(changes))
	}
	r.weights(0, 255)
	r.do(r.w.ClearFaults(r.ctx, world.Net))
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
		for end := time.Now().Add(r.slow * 1500 * time.Millisecond); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
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
	r.do(r.poll(60*time.Second, func() (bool, string) {
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
	r.do(r.poll(30*time.Second, func() (bool, string) {
		to, err := r.c.DNSRegion(r.ctx, "api.example.net")
		return err == nil && to == world.Primary, "clients to be sent back once a single gate is left"
	}))
}

// A person moves a service that is well. Name servers say at once where clients should go, but some clients keep an address
// whatever its TTL, and others their connections for as long as the old region serves them: too many requests still reach the
// old load balancer, the step says how many, and a person is asked. Once it serves them no more, they come.
func TestTrafficIsObserved(t *testing.T) {
	r := start(t, func(o *harness.Options) {
		// Fewer probes than clients, and minutes that have enough of both.
		o.World.Minute = time.Minute
		o.Config.Set["probes.interval"], o.Config.Set["probes.timeout"], o.Config.Set["policy.vote_ttl"] = `"1s"`, `"1s"`, `"2s"`
		o.Config.Set["traffic.check.traffic_observed"] = strings.Replace(fast["traffic.check.traffic_observed"], `ignore = 120, period = "1s", within = "75s"`, `ignore = 150, period = "5s", within = "45s"`, 1)
	})
	r.order("use2a", "failover")
	const step = "check-traffic-traffic_observed"
	still := regexp.MustCompile(`([0-9.]+) % moved: [0-9]+ requests reached us-east-2 in the (?:5|10)s from .*; ([0-9]+) still come to us-east-1, where ([0-9]+) connections are open`)
	share := func(said string) float64 {
		m := still.FindStringSubmatch(said)
		if m == nil {
			return -1
		}
		f, _ := strconv.ParseFloat(m[1], 64)
		return f
	}
	s := r.until(90*time.Second, "a question about who has not moved", func(s *harness.Status) bool {
		e := s.Current()
		return e != nil && e.Question != nil && e.StepState(step) == "failed"
	})
	e := s.Current()
	t.Log(e.Question.Text)
	if n := share(e.Question.Text); n < 30 || n >= 95 || e.StepState("check-traffic-dns_answer") != "done" || e.StepState("stable") != "pending" {
		t.Errorf("two of four clients keep what they have, and the daemon asks: %s", e.Question.Text)
	}
	r.do(r.w.Fault(r.ctx, world.E1, faults.Fault{Service: "alb", Mode: faults.Refuse}))
	r.order("use2a", "retry", step)
	s = r.until(90*time.Second, "a stable execution", func(s *harness.Status) bool { return s.Execution == nil && s.Last != nil })
	said := s.Last.Steps[step].Detail
	t.Log(said)
	if s.Last.State != "stable" || share(said) < 95 {
		t.Errorf("%s, and the step ended with %q", s.Last.State, said)
	}
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
		time.Sleep(s.Hold.D() + r.slow*2*time.Second)
		r.until(time.Second, "the condition to last", func(s *harness.Status) bool {
			return s.Condition == tt.condition && s.Execution == nil && s.Freeze == nil
		})
		r.do(r.w.ClearFaults(r.ctx, world.E1))
		r.until(20*time.Second, "good health", func(s *harness.Status) bool { return s.Condition == "" })
		r.nothingMoved(since)
	}
}
