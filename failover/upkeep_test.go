package failover_test

import (
	"testing"

	"github.com/failoverd/failoverd/failover"
)

// What people must see to is never taken for the region's health: neither for its end
// nor for a sign of its life, and it keeps no incident open.
func TestUpkeepIsForPeople(t *testing.T) {
	const ok, deg, dn = failover.Healthy, failover.Degraded, failover.Down
	s := settings()
	signal := func(kind, plane string, h failover.Health) failover.SignalState {
		return failover.SignalState{Component: "edge", Kind: kind, Region: s.Primary, Health: h, Plane: plane, Detail: "ran out yesterday"}
	}
	judge := func(region failover.Health, signals ...failover.SignalState) failover.Judgement {
		var votes []failover.Vote
		for id, n := range s.Nodes {
			votes = append(votes, failover.Vote{Node: id, Vantage: n.Vantage, Verdict: failover.Verdict{Region: s.Primary, Health: region, Signals: signals}})
		}
		return failover.Judge(&s, s.Primary, votes)
	}
	over := signal("tls_expiry", failover.PlaneUpkeep, dn)
	for _, tt := range []struct {
		what string
		j    failover.Judgement
		want failover.Condition
	}{
		{"a certificate that has run out", judge(ok, over, signal("http", "", ok)), ""},
		{"one that will soon", judge(ok, signal("tls_expiry", failover.PlaneUpkeep, deg), signal("http", "", ok)), ""},
		{"beside a slow region", judge(deg, over, signal("http", "", deg)), failover.Brownout},
		{"beside a control plane that is dead", judge(deg, over, signal("aws_api", failover.PlaneControl, dn), signal("http", "", ok)), failover.ControlPlane},
		{"beside a service that is down", judge(deg, over, signal("http", "", dn), signal("tcp", "", ok)), failover.ServiceDown},
		{"one kind and upkeep are no two kinds", judge(dn, over, signal("http", "", dn)), failover.ServiceDown},
	} {
		if tt.j.Condition != tt.want {
			t.Errorf("%s: %q (%s), want %q", tt.what, tt.j.Condition, tt.j.Sentence, tt.want)
		}
	}
	if judge(dn, signal("tls_expiry", failover.PlaneUpkeep, ok), signal("http", "", dn), signal("tcp", "", dn)).Alive {
		t.Error("a certificate that lives is taken for a region that does")
	}
}
