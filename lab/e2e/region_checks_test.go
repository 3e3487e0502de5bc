package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/world"
)

// The region that is entered is asked itself: whether its tasks are healthy and its functions can be invoked before they count as
// started, and then what its metrics, alarms and logs say since the clients came. What is wrong is said; what cannot come right by
// itself – lines that were logged – is a question to a person.
func TestChecksAskTheRegionItself(t *testing.T) {
	r := start(t, set("component.functions.check.cloudwatch_logs", `{ group = "/aws/lambda/events-handler", pattern = '?ERROR ?"Task timed out"', max = 3, watch = "2s", within = "12s" }`))
	for _, f := range []faults.Fault{
		{Service: "tasks", Target: "api", Mode: faults.Error}, {Service: "function", Target: "events-handler", Mode: faults.Slow},
		{Service: "alarm", Target: "messages-too-old", Mode: faults.Error}, app("events", faults.Error),
		{Service: "sqs", Op: "ReceiveMessage", Mode: faults.Throttle}, // what comes is not worked off
	} {
		r.do(r.w.Fault(r.ctx, world.E2, f))
	}
	at := r.lose()
	r.says("start-api", "ecs does not pass: ")
	r.says("start-api", "is RUNNING and UNHEALTHY; it is stuck: ECS says: (service api) (task ")
	r.heal(world.E2, "api")
	r.says("start-functions", "lambda does not pass: events-handler in us-east-2 is being updated")
	r.heal(world.E2, "events-handler")
	r.says("check-traffic-cloudwatch_alarm", "in ALARM in us-east-2: messages-too-old since ")
	r.says("check-traffic-cloudwatch_alarm", "messaging since ") // the composite one follows
	r.says("check-workers-cloudwatch_metric", "; it must be 1 at least")
	r.do(r.w.ClearFaults(r.ctx, world.E2))
	r.do(r.w.Fault(r.ctx, world.E2, app("events", faults.Error)))
	const logs = "check-functions-cloudwatch_logs"
	s := r.until(40*time.Second, "a question about what was logged", func(s *harness.Status) bool {
		return s.Execution != nil && s.Execution.Question != nil && strings.Contains(s.Execution.Question.Text, logs)
	})
	if text := s.Execution.Question.Text; !strings.Contains(text, "more than 3 matches of ?ERROR ") || !strings.Contains(text, "the event cannot be read") {
		t.Errorf("asked: %s", text)
	}
	r.heal(world.E2, "events")
	r.order("use2a", "skip", logs)
	r.stable()
	r.passedWith(map[string]string{"check-traffic-cloudwatch_alarm": "2 of 2 alarms in us-east-2 are OK: messages-too-old, messaging",
		"check-workers-cloudwatch_metric": "Sum of NumberOfMessagesDeleted in us-east-2 over " + (r.slow * 5 * time.Second).String() + " was "})
	r.movedSafely(at, 1)
}

// Tasks that ECS calls ill, and a peering through which nothing comes while its state is active, are told, and move nothing.
func TestIllTasksAndADarkPeeringMoveNothing(t *testing.T) {
	r := start(t)
	since := time.Now()
	r.do(r.w.Fault(r.ctx, world.E1, faults.Fault{Service: "tasks", Target: "api", Mode: faults.Error}))
	r.impairedBy("edge/ecs")
	r.heal(world.E1, "api")
	r.until(20*time.Second, "good health", func(s *harness.Status) bool { return s.Condition == "" })

	const through = world.PeeringID + " is active, and a connection from 198.18.1.11 in vpc-primary to 198.18.2.8:7700 in vpc-secondary "
	r.readiness("use1a", through+"came through")
	r.do(r.w.DarkPeering(r.ctx, world.E2))
	r.readiness("use1a", "not ready because ", "network/vpc_peering in us-east-2: "+through+"did not answer in time: look at the routes of both subnets")
	if out := r.readiness("use2a", "network/vpc_peering in us-east-1", world.PeeringID+" is active"); strings.Contains(out, "network/vpc_peering in us-east-2") {
		t.Errorf("a node tells of its own side:\n%s", out)
	}
	if out := r.readiness("third", "edge/"); strings.Contains(out, "vpc_peering") {
		t.Errorf("a node in neither VPC tells of the peering:\n%s", out)
	}
	r.do(r.w.LightPeering(r.ctx, world.E2))
	r.readiness("use1a", through+"came through")
	r.do(r.w.Fault(r.ctx, world.E2, faults.Fault{Service: "peering", Target: world.PeeringID, Mode: faults.Error}))
	r.readiness("use1a", world.PeeringID+` is "deleted" (Deleted by 123456789012) and not active`)
	r.until(time.Second, "good health", func(s *harness.Status) bool { return s.Condition == "" && s.Execution == nil && s.Freeze == nil })
	r.nothingMoved(since)
}
