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
	}, now, nil)
	if len(got) != 2 || got["mongo"].Behind.D() != 4*time.Second || got["mariadb"].Behind.D() != 4*time.Hour || !strings.Contains(got["mariadb"].Detail, "the newest backup in east2 was 4h0m0s old") {
		t.Errorf("%+v", got)
	}
}

// What the active region has written since it was looked at is in no copy that is known of: the sample is a bound, also when the
// newest word of it is a few seconds old.
func TestLossesAreABound(t *testing.T) {
	now := time.Now()
	s := &failover.State{Active: "east1", Settings: &failover.Settings{Primary: "east1", Secondary: "east2", Policy: failover.Policy{VoteTTL: failover.Duration(5 * time.Second)}}}
	vote := func(region failover.Region, received, wrote time.Duration) failover.Vote {
		return failover.Vote{Node: "a", Received: now.Add(-received), Verdict: failover.Verdict{Region: region, Signals: []failover.SignalState{
			{Component: "mongo", Health: failover.Healthy, LastWrite: now.Add(-wrote)},
		}}}
	}
	// At the vote the primary had written 4.5 s ago, and has gone on since; the copy is three seconds behind it.
	got := losses(s, []failover.Vote{vote("east1", 4500*time.Millisecond, 4500*time.Millisecond), vote("east2", 0, 3*time.Second)}, now,
		func(failover.Component) time.Duration { return 2 * time.Second })["mongo"]
	if want := 6500 * time.Millisecond; got.Behind.D() != want {
		t.Errorf("%+v, and up to %s may be lost", got, want)
	}
	if !strings.Contains(got.Detail, "0s behind what east1 had written 6.5s before") {
		t.Error(got.Detail)
	}
	// Of two words the newest write counts, and how old that word is.
	got = losses(s, []failover.Vote{vote("east1", 4*time.Second, 10*time.Second), vote("east1", time.Second, 9*time.Second), vote("east2", 0, 12*time.Second)}, now, nil)["mongo"]
	if want := 4 * time.Second; got.Behind.D() != want {
		t.Errorf("%+v, want %s", got, want)
	}
}

// A leader in the active region gives the leadership away while all is well, and keeps it while something goes on: a hold that began anew
// would make a failover later by as much.
func TestWhoLeadsFromWithinLeaves(t *testing.T) {
	for name, tt := range map[string]struct {
		vantage failover.Region
		set     func(s *failover.State)
		held    time.Duration
		want    bool
	}{
		"all is well":         {"east1", func(*failover.State) {}, 0, true},
		"from outside":        {"east2", func(*failover.State) {}, 0, false},
		"a hold runs":         {"east1", func(*failover.State) {}, time.Second, false},
		"something prepared":  {"east1", func(s *failover.State) { s.Preparation = &failover.Execution{} }, 0, false},
		"an incident is open": {"east1", func(s *failover.State) { s.Incident = &failover.Incident{} }, 0, false},
		"a failover runs":     {"east1", func(s *failover.State) { s.Execution = &failover.Execution{} }, 0, false},
	} {
		s := &failover.State{Active: "east1"}
		tt.set(s)
		if got := mayLeave(tt.vantage, s, tt.held); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// The smaller the limit, the more often it is looked: half of it must not be the time between two samples.
func TestSmallLimitsAreSampledMoreOften(t *testing.T) {
	for limit, want := range map[time.Duration]time.Duration{26 * time.Hour: 15 * time.Second, time.Minute: 10 * time.Second, 12 * time.Second: 2 * time.Second, time.Second: time.Second} {
		if got := lossEvery(map[string]failover.Duration{"mongo": failover.Duration(limit), "mariadb": failover.Duration(26 * time.Hour)}); got != want {
			t.Errorf("with a limit of %s every %s, want %s", limit, got, want)
		}
	}
}

// The newest vote of the active region says what stands there; another region's, one too old, one of a blind node and a component that is
// gone say nothing.
func TestAtRisk(t *testing.T) {
	now := time.Now()
	s := &failover.State{Active: "east1", Settings: &failover.Settings{Primary: "east1", Secondary: "east2", Components: []failover.ComponentSpec{{Name: "workers"}, {Name: "mail"}},
		Policy: failover.Policy{VoteTTL: failover.Duration(5 * time.Second)}}}
	vote := func(region failover.Region, received time.Duration, component failover.Component, items int64) failover.Vote {
		return failover.Vote{Received: now.Add(-received), Verdict: failover.Verdict{Region: region, Signals: []failover.SignalState{
			{Component: component}, {Component: component, AtRisk: &failover.AtRisk{Items: items, Unit: "messages"}},
		}}}
	}
	blind := vote("east1", 0, "workers", 5)
	blind.Verdict.Abstain = true
	refused := vote("east1", 0, "workers", 0)
	refused.Verdict.Signals[1].AtRisk.Lacks = "AccessDenied"
	got := atRisk(s, []failover.Vote{
		refused,
		vote("east1", 2*time.Second, "workers", 1), vote("east1", time.Second, "workers", 2), vote("east1", 3*time.Second, "workers", 3),
		vote("east2", 0, "workers", 4), blind, vote("east1", 6*time.Second, "mail", 6), vote("east1", 0, "gone", 7),
	}, now)
	if len(got) != 1 || got["workers"].Items != 2 {
		t.Errorf("%+v", got)
	}
}
