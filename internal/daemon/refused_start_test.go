package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// L1: when the log refuses the execution of an incident, the incident has the guard
// that objects, and the execution is not proposed again at once.
func TestARefusedStartIsToldOf(t *testing.T) {
	h := newHouse(t)
	text := h.text("a b c")
	for _, id := range []string{"a", "b", "c"} {
		h.start(id, text)
	}
	h.registered()
	c := h.leader().core
	h.until("the leader's work to begin", func(*resident) bool { return c.lead.Load() != nil })
	// Nobody sees the region down, so that the leader itself only waits with it.
	l := &leadership{core: c, tenure: c.lead.Load().tenure}
	propose := func(cmd failover.Command) failover.Result {
		t.Helper()
		res, err := l.tenure.Propose(t.Context(), cmd, "a test")
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	down := failover.Verdict{Region: "east1", Health: failover.Down, Signals: []failover.SignalState{
		{Component: "api", Kind: "http", Health: failover.Down}, {Component: "api", Kind: "tcp", Health: failover.Down},
	}}
	propose(failover.OpenIncident{Region: "east1", Held: failover.Duration(time.Minute), Votes: []failover.Vote{
		{Node: "b", Vantage: "east2", Verdict: down}, {Node: "c", Vantage: "gru", Verdict: down},
	}})
	before := l.tenure.State()
	propose(failover.PauseAutomation{For: failover.Duration(time.Hour)}) // in the moment after the leader has looked

	l.carryOut(t.Context(), before, failover.Decision{Start: true})
	s := l.tenure.State()
	if s.Execution != nil || s.Incident == nil || !strings.Contains(s.Incident.Refusal, "automation is paused by ") {
		t.Errorf("execution %v, incident %+v", s.Execution, s.Incident)
	}
	// A second try comes only after a while, also when nothing stands in the way any more.
	propose(failover.ResumeAutomation{})
	l.carryOut(t.Context(), before, failover.Decision{Start: true})
	if s := l.tenure.State(); s.Execution != nil || time.Until(l.nextStart) > startAgain {
		t.Errorf("proposed again at once: execution %v, next at %s", s.Execution, l.nextStart)
	}
	l.nextStart = time.Time{}
	l.carryOut(t.Context(), before, failover.Decision{Start: true})
	if s := l.tenure.State(); s.Execution == nil {
		t.Errorf("when that time is over, nothing starts: %+v", s.Incident)
	}
}
