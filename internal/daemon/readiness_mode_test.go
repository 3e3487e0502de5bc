package daemon

import (
	"encoding/json"
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
