package awsfake

import (
	"time"

	"github.com/failoverd/failoverd/lab/faults"
)

// health is the status of a task's health check: UNKNOWN if it has none, and until it is known. Whatever becomes of it, the task
// runs on: that the scheduler replaces it is not simulated.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/healthcheck.html
func (e *ECS) health(t *task) string {
	after := e.opt.scale(t.def.HealthAfter)
	switch {
	case after == 0 || t.state != Running || time.Since(t.started) < after:
		return "UNKNOWN"
	case e.ill(t.service):
		return "UNHEALTHY"
	}
	return "HEALTHY"
}

func (e *ECS) ill(s *service) bool {
	if e.opt.Faults == nil {
		return false
	}
	f, _ := e.opt.Faults.Match("tasks", "", s.name)
	return f.Mode == faults.Error
}

// watch writes what the scheduler says of a service's tasks when that changes: an event for each task that is found ill, and one
// when all of them run and none is.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
func (e *ECS) watch(s *service, active []*task) {
	steady := len(active) == s.desired
	for _, t := range active {
		ill := e.health(t) == "UNHEALTHY"
		if ill && !t.told {
			s.event("(task " + t.id + ") failed container health checks.")
		}
		t.told = ill
		steady = steady && t.state == Running && !ill
	}
	if steady && !s.steady {
		s.event("has reached a steady state.")
	}
	s.steady = steady
}
