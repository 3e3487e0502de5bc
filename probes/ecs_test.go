package probes

import (
	"fmt"
	"slices"
	"testing"

	"github.com/failoverd/failoverd/failover"
)

// fakeService is a service and its tasks, as ECS describes them.
type fakeService struct {
	status, rollout, reason string
	desired, failedTasks    int
	older                   bool // tasks of an earlier deployment are left
	events                  []string
	tasks                   []string // "RUNNING HEALTHY"
	controller              string
}

func (s fakeService) script(a *api) {
	running := 0
	for _, t := range s.tasks {
		if t[:7] == "RUNNING" {
			running++
		}
	}
	deployments := []any{map[string]any{"status": "PRIMARY", "rolloutState": s.rollout, "rolloutStateReason": s.reason, "failedTasks": s.failedTasks,
		"desiredCount": s.desired, "runningCount": running, "pendingCount": len(s.tasks) - running}}
	if s.older {
		deployments = append(deployments, map[string]any{"status": "ACTIVE", "runningCount": 1})
	}
	var events []any
	for _, e := range s.events {
		events = append(events, map[string]any{"message": e})
	}
	svc := map[string]any{"status": s.status, "desiredCount": s.desired, "runningCount": running, "deployments": deployments, "events": events}
	if s.controller != "" {
		svc["deploymentController"] = map[string]string{"type": s.controller}
	}
	a.on("DescribeServices", func(in call) any {
		if in.json["services"].([]any)[0] != "api" {
			return map[string]any{"failures": []any{map[string]string{"reason": "MISSING"}}}
		}
		return map[string]any{"services": []any{svc}}
	})
	// Two pages, as of a service with many tasks; the first is empty, which ends nothing.
	a.on("ListTasks", func(in call) any {
		var arns []string
		for i := range s.tasks {
			arns = append(arns, fmt.Sprintf("arn:aws:ecs:us-east-1:1:task/prod/t%d", i))
		}
		if in.json["nextToken"] == nil {
			return map[string]any{"taskArns": []string{}, "nextToken": "more"}
		}
		return map[string]any{"taskArns": arns}
	})
	a.on("DescribeTasks", func(in call) any {
		var tasks []any
		for i, arn := range in.json["tasks"].([]any) {
			var last, health string
			_, _ = fmt.Sscan(s.tasks[i], &last, &health)
			tasks = append(tasks, map[string]any{"taskArn": arn, "lastStatus": last, "healthStatus": health})
		}
		return map[string]any{"tasks": tasks}
	})
}

// Tasks that are healthy count, not those that run; what is stuck is told apart from
// what is still starting, by what ECS says of it.
func TestECS(t *testing.T) {
	a, d := newAPI(t)
	const steady, placed = "(service api) has reached a steady state.", "(service api) was unable to place a task because no container instance met all of its requirements."
	well := fakeService{status: "ACTIVE", rollout: "COMPLETED", desired: 2, tasks: []string{"RUNNING HEALTHY", "RUNNING HEALTHY"}, events: []string{steady}}
	for _, tt := range []struct {
		name    string
		change  func(s *fakeService, c *ECSConfig)
		outcome failover.Outcome
		check   Status
		detail  string
	}{
		{"well", func(*fakeService, *ECSConfig) {}, failover.OK, Pass, "2 of 2 tasks of api in us-east-1 run and are healthy"},
		{"an old obstacle", func(s *fakeService, _ *ECSConfig) { s.events = append(s.events, placed) }, failover.OK, Pass, "2 of 2"},
		{"no health check", func(s *fakeService, _ *ECSConfig) { s.tasks[1] = "RUNNING UNKNOWN" }, failover.OK, Pass, "2 of 2"},
		{"a health check that has not begun", func(s *fakeService, c *ECSConfig) { s.tasks[1], c.HealthCheck, s.events = "RUNNING UNKNOWN", true, nil }, failover.Slow, Fail, "1 of 2 tasks of api in us-east-1 run and are healthy: task t1 is RUNNING and UNKNOWN; they are still starting"},
		{"ill", func(s *fakeService, _ *ECSConfig) { s.tasks[1] = "RUNNING UNHEALTHY" }, failover.Slow, Fail, "task t1 is RUNNING and UNHEALTHY"},
		{"ill, and ECS says so", func(s *fakeService, _ *ECSConfig) {
			s.tasks[1], s.events = "RUNNING UNHEALTHY", []string{"(service api) (task t1) failed container health checks.", steady}
		}, failover.Failed, Fail, "it is stuck: ECS says: (service api) (task t1) failed container health checks."},
		{"starting", func(s *fakeService, _ *ECSConfig) {
			s.tasks, s.rollout, s.events = []string{"RUNNING HEALTHY", "PENDING UNKNOWN"}, "IN_PROGRESS", []string{"(service api) has started 1 tasks: (task t1).", steady, placed}
		}, failover.Slow, Fail, "1 of 2 tasks of api in us-east-1 run and are healthy: task t1 is PENDING; they are still starting (1 of 2 run, 1 are pending)"},
		{"not placed", func(s *fakeService, _ *ECSConfig) {
			s.tasks, s.rollout, s.events = s.tasks[:1], "IN_PROGRESS", []string{placed, steady}
		}, failover.Failed, Fail, "it is stuck: ECS says: " + placed},
		{"given up", func(s *fakeService, _ *ECSConfig) { s.rollout, s.reason = "FAILED", "tasks failed to start." }, failover.Failed, Fail, "its deployment is stuck: it was given up: tasks failed to start."},
		{"failing in a row", func(s *fakeService, _ *ECSConfig) {
			s.rollout, s.failedTasks, s.tasks, s.events = "IN_PROGRESS", 7, nil, []string{"(service api) is unable to consistently start tasks successfully."}
		}, failover.Failed, Fail, "7 tasks in a row have failed; ECS says: (service api) is unable to consistently"},
		{"rolling out", func(s *fakeService, _ *ECSConfig) { s.rollout = "IN_PROGRESS" }, failover.Slow, Fail, "its deployment goes on (2 of 2 run, 0 are pending)"},
		{"an earlier one is left", func(s *fakeService, _ *ECSConfig) { s.older = true }, failover.Slow, Fail, "tasks of an earlier one are left"},
		{"too few wanted", func(s *fakeService, c *ECSConfig) { c.Count = 3 }, failover.Failed, Fail, "2 of 3 tasks of api in us-east-1 run and are healthy; the service wants only 2 itself"},
		{"fewer are enough", func(s *fakeService, c *ECSConfig) {
			c.Count, s.desired, s.tasks = 1, 2, s.tasks[:1]
		}, failover.OK, Pass, "1 of 1"},
		{"a standby of none", func(s *fakeService, _ *ECSConfig) { s.desired, s.tasks = 0, nil }, failover.OK, Pass, "0 of 0"},
		{"deleted", func(s *fakeService, _ *ECSConfig) { s.status, s.desired, s.tasks = "INACTIVE", 0, nil }, failover.Failed, Fail, "the service is INACTIVE"},
	} {
		s, c := well, &ECSConfig{Cluster: "prod", Service: "api"}
		s.tasks, s.events = slices.Clone(well.tasks), slices.Clone(well.events)
		tt.change(&s, c)
		s.script(a)
		o := look(t, c, d)
		if o.Outcome != tt.outcome {
			t.Errorf("%s: %s %q, want %s", tt.name, o.Outcome, o.Detail, tt.outcome)
		}
		verify(t, mustCheck(t, &ECSCheckConfig{ECSConfig: *c}, d), tt.check, tt.detail)
	}
	well.script(a)
	verify(t, mustCheck(t, &ECSCheckConfig{ECSConfig: ECSConfig{Cluster: "prod", Service: "api", Slow: 1}}, d), Pass, "slow is 1ns") // a slow answer tells as much
	expect(t, look(t, &ECSConfig{Cluster: "prod", Service: "other"}, d), failover.Misconfigured, failover.ReasonConfig, "there is no service other in cluster prod in us-east-1")
	verify(t, mustCheck(t, &ECSCheckConfig{ECSConfig: ECSConfig{Cluster: "prod", Service: "other"}}, d), Unknown, "there is no service other")
	well.controller = "CODE_DEPLOY"
	well.script(a)
	verify(t, mustCheck(t, &ECSCheckConfig{ECSConfig: ECSConfig{Cluster: "prod", Service: "api"}}, d), Unknown, "is deployed by CODE_DEPLOY")
	well.controller = ""
	well.script(a)
	for _, op := range []string{"DescribeTasks", "ListTasks", "DescribeServices"} {
		unread(t, a, op, d, &ECSCheckConfig{ECSConfig: ECSConfig{Cluster: "prod", Service: "api"}})
	}
	if s := (Spec{Kind: "ecs", Config: &ECSConfig{}}); s.Plane() != failover.PlaneControl {
		t.Error("it is no signal of the control plane")
	}
	refused(t, map[string]*ECSCheckConfig{
		"cluster: is missing":       {},
		"service: is missing":       {ECSConfig: ECSConfig{Cluster: "prod"}},
		"service: \"arn:x\" is an ": {ECSConfig: ECSConfig{Cluster: "prod", Service: "arn:x"}},
		"count: -1 is negative":     {ECSConfig: ECSConfig{Cluster: "prod", Service: "api", Count: -1}},
		"slow: -1ns is negative":    {ECSConfig: ECSConfig{Cluster: "prod", Service: "api", Slow: -1}},
		"within: -1ns is negative":  {ECSConfig: ECSConfig{Cluster: "prod", Service: "api"}, For: -1},
	})
}
