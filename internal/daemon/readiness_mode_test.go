package daemon

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
)

// What keeps automation from acting until a person has done something is no advice: it is told before the night, also
// while nothing else is known.
func TestAFenceThatMustNotBeLiftedIsTold(t *testing.T) {
	s := &failover.State{Active: "east1", Features: failover.Features, Settings: &failover.Settings{
		Primary: "east1", Secondary: "east2",
		Policy: failover.Policy{Mode: failover.ModeAutomatic, MaxPerDay: 2, MaxLoss: map[string]failover.Duration{"mongo": 1}},
		Components: []failover.ComponentSpec{{Name: "workers", Stop: &failover.StopSpec{Action: &failover.ActionSpec{
			Kind: "nacl", Proves: failover.Resource, Opens: map[failover.Region]json.RawMessage{"east2": json.RawMessage("{}")},
		}}}},
	}}
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	if r := modeRow(s, now); !r.OK { // only the loss is not known
		t.Errorf("%+v", r)
	}
	s.Holds = []failover.StandingHold{{ID: 1, Component: "workers", Status: failover.HoldKept, Step: failover.Step{
		Kind: failover.KindStop, Action: "nacl", Region: "east2", Proves: failover.Resource,
	}}}
	r := verdictOf([]admin.Row{modeRow(s, now)})
	if r.Ready || !strings.Contains(r.Sentence, "workers is cut off in east2 by nacl") || !strings.Contains(r.Sentence, "failoverd ended workers") {
		t.Errorf("%+v", r)
	}
}

// The loss of the active region must leave a quorum of those that vote, and one that has not voted for a while is none.
func TestMarginRow(t *testing.T) {
	nodes := map[failover.NodeID]failover.NodeSpec{"a1": {Vantage: "east1"}, "a2": {Vantage: "east1"}, "b1": {Vantage: "east2"}, "b2": {Vantage: "east2"}, "c": {Vantage: "third"}}
	s := &failover.State{Active: "east1", Settings: &failover.Settings{Nodes: nodes, Policy: failover.Policy{VoteTTL: failover.Duration(5 * time.Second)}}}
	for name, tt := range map[string]struct {
		silent map[failover.NodeID]time.Duration
		ok     bool
		says   string
	}{
		"all vote":                   {nil, true, "5 of 5 nodes vote, 3 of them outside east1; 3 are needed: after the loss of east1, 0 more may be lost"},
		"one inside is silent":       {map[failover.NodeID]time.Duration{"a1": time.Minute}, true, "4 of 5 nodes vote, 3 of them outside"},
		"one outside is silent":      {map[failover.NodeID]time.Duration{"c": time.Minute}, false, "4 of 5 nodes vote, 2 of them outside east1; 3 are needed: without east1 there would be no quorum"},
		"one outside is just silent": {map[failover.NodeID]time.Duration{"c": 5 * time.Second}, true, "3 of them outside"},
	} {
		var v LeaderView
		for id := range nodes {
			v.Votes = append(v.Votes, failover.Vote{Node: id, Age: failover.Duration(tt.silent[id])})
		}
		if r := marginRow(s, v); r.OK != tt.ok || r.Advice || !strings.Contains(r.Detail, tt.says) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// A certificate that ends is told of two weeks before, and a write that may still land while it may.
func TestRowsOfWhatEndsByItself(t *testing.T) {
	ends := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
	for before, ok := range map[time.Duration]bool{15 * 24 * time.Hour: true, 13 * 24 * time.Hour: false, -time.Hour: false} {
		if r := certRow(ends, ends.Add(-before)); r.OK != ok || r.Advice || !strings.Contains(r.Detail, "ends on 2027-01-31") {
			t.Errorf("%s before: %+v", before, r)
		}
	}
	s := &failover.State{}
	if rows := holdRows(s); len(rows) != 0 {
		t.Errorf("%+v", rows)
	}
	s.Late = []failover.LateToken{{Step: failover.Step{Action: "s3_object", Region: "east2"}, Token: 7, Since: ends, Why: "of execution 5"}}
	if rows := holdRows(s); len(rows) != 1 || rows[0].Name != "late write" || rows[0].OK || rows[0].Advice || !strings.Contains(rows[0].Detail, "s3_object in east2 with token 7 may still land, of execution 5") || !strings.Contains(rows[0].Detail, "open since 2027-01-31") {
		t.Errorf("%+v", rows)
	}
}

// A role that one region's STS refuses is no advice: in the night that one may be all that is left.
func TestActingRow(t *testing.T) {
	if rows := actingRow("", nil); len(rows) != 0 {
		t.Errorf("there is no role: %+v", rows)
	}
	if rows := actingRow("role/act", map[string]error{}); len(rows) != 1 || !rows[0].OK {
		t.Errorf("%+v", rows)
	}
	rows := actingRow("role/act", map[string]error{"east2": errors.New("AccessDenied"), "east1": errors.New("no answer")})
	if len(rows) != 1 || rows[0].OK || rows[0].Advice || !strings.Contains(rows[0].Detail, "cannot take on role/act everywhere: no step of it could change anything with what is left (east1: no answer; east2: AccessDenied)") {
		t.Errorf("%+v", rows)
	}
}
