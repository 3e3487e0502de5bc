package e2e

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/awsfake"
	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/world"
)

// controlPlanes are the services by which a region is changed. What works there, its queues, objects and load balancers, is
// another plane.
var controlPlanes = []string{
	"ecs", "sts", "elasticloadbalancing", "autoscaling", "application-autoscaling", "ec2", "cloudwatch", "lambda", "events", "scheduler",
}

// P6: the control planes of us-east-1 and Route 53's answer nothing for hours, and its load balancers serve 70 % of their requests.
// Nothing is left by itself: the region lives. A person who leaves it needs none of what hangs: the old workers stop by their leases,
// us-east-2 is scaled up and the clients come by the data planes. Status names what hangs, and nobody hammers at it.
func TestIncidentP6ControlPlanesHang(t *testing.T) {
	r := start(t)
	calm := time.Now()
	before := r.c.Ops(r.ctx)
	r.sleep(8 * time.Second)
	usual := perSecond(before, r.c.Ops(r.ctx), time.Since(calm))

	at := time.Now()
	r.do(r.w.Fault(r.ctx, world.E1, faults.Fault{Service: "alb", Mode: faults.Error, Probability: 0.3}))
	for _, service := range controlPlanes {
		r.do(r.w.Fault(r.ctx, world.E1, faults.Fault{Service: service, Mode: faults.Hang}))
	}
	r.do(r.w.Fault(r.ctx, world.Net, faults.Fault{Service: "route53", Mode: faults.Hang}))
	s := r.until(30*time.Second, "a condition with a name", func(s *harness.Status) bool { return s.Condition != "" })
	r.sleep(time.Duration(s.Hold.D()) + 4*time.Second)
	s = r.until(time.Second, "that nothing is left", func(s *harness.Status) bool { return s.Execution == nil && s.Freeze == nil })
	r.Logf("%s: %s", s.Condition, s.Sentence)

	begun := time.Now()
	before = r.c.Ops(r.ctx)
	r.order("use2a", "failover")
	said := map[string]string{} // of each stop, while it waits
	r.do(r.poll(90*time.Second, func() (bool, string) {
		now, err := r.c.AnyStatus(r.ctx)
		if err != nil {
			return false, err.Error()
		}
		for step, text := range now.Progress {
			if strings.HasPrefix(step, "stop-") {
				said[step] = text
			}
		}
		return now.Execution == nil && now.Last != nil && now.Last.State == "stable", "a stable execution"
	}))
	if !strings.Contains(strings.Join(slices.Collect(maps.Values(said)), "; "), "in us-east-1: operation error") {
		r.Errorf("while they waited nothing was said of what hangs: %v", said)
	}
	s, err := r.c.AnyStatus(r.ctx)
	r.do(err)
	blocked := 0
	for step, rec := range s.Last.Steps {
		if strings.HasPrefix(step, "stop-") {
			r.Logf("%s ended as %s: %s", step, rec.State, rec.Detail)
			if rec.State == "unproven" && strings.Contains(rec.Detail, "in us-east-1: operation error") {
				blocked++
			}
		}
	}
	if blocked < 2 { // at least the workers' service and the function's source of events
		r.Errorf("%d stops were not proven by what hangs", blocked)
	}
	for op, rate := range perSecond(before, r.c.Ops(r.ctx), time.Since(begun)) {
		if service, _, _ := strings.Cut(op, ":"); service != "route53" && !slices.Contains(controlPlanes, service) {
			continue
		}
		if most := 2*usual[op] + 3; rate > most {
			r.Errorf("%s: %.1f calls a second while it hangs, %.1f before", op, rate, usual[op])
		}
	}
	r.do(r.w.ClearFaults(r.ctx, world.Net))
	r.do(r.w.ClearFaults(r.ctx, world.E1))
	r.movedSafely(at, 1)
}

// perSecond is how often each operation was called between two counts.
func perSecond(before, after map[string]awsfake.OpCount, d time.Duration) map[string]float64 {
	out := map[string]float64{}
	for op, n := range after {
		out[op] = float64(n.Calls-before[op].Calls) / d.Seconds()
	}
	return out
}
