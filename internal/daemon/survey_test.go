package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// A replica is behind by the difference of what both sides know, a backup by its age in
// the region that would take over: the one in the region that fails restores nothing.
func TestLosses(t *testing.T) {
	now := time.Now()
	s := &failover.State{Active: "east1", Settings: &failover.Settings{Primary: "east1", Secondary: "east2", Policy: failover.Policy{VoteTTL: failover.Duration(5 * time.Second)}}}
	sig := func(component failover.Component, plane string, h failover.Health, age time.Duration) failover.SignalState {
		return failover.SignalState{Component: component, Plane: plane, Health: h, LastWrite: now.Add(-age)}
	}
	vote := func(node failover.NodeID, region failover.Region, received time.Duration, signals ...failover.SignalState) failover.Vote {
		return failover.Vote{Node: node, Received: now.Add(-received), Verdict: failover.Verdict{Region: region, Signals: signals}}
	}
	const up = failover.PlaneUpkeep
	got := losses(s, []failover.Vote{
		vote("a", "east1", 0, sig("mongo", "", failover.Healthy, 10*time.Second), sig("mariadb", up, failover.Healthy, time.Hour)),
		vote("a", "east2", 0, sig("mongo", "", failover.Healthy, 14*time.Second), sig("mariadb", up, failover.Healthy, 5*time.Hour)),
		vote("b", "east2", 0, sig("mariadb", up, failover.Degraded, 4*time.Hour), sig("ill", up, failover.Down, time.Hour), failover.SignalState{Component: "edge", Plane: up, Health: failover.Healthy}),
		vote("c", "east2", time.Minute, sig("mariadb", up, failover.Healthy, time.Minute)), // too old a vote
	}, now)
	if len(got) != 2 || got["mongo"].Behind.D() != 4*time.Second || got["mariadb"].Behind.D() != 4*time.Hour || !strings.Contains(got["mariadb"].Detail, "the newest backup in east2 was 4h0m0s old") {
		t.Errorf("%+v", got)
	}
}
