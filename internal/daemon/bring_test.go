package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// stores is a world in which a dump can be made or not, and everything else is there.
type stores struct{ lacks string }

// Action implements actions.World.
func (w stores) Action(st failover.Step) (actions.Action, error) {
	if st.Action == "mariadb_dump" {
		return store(w), nil
	}
	return store{}, nil
}

// Check implements actions.World.
func (stores) Check(failover.Step, time.Time) (actions.Check, error) {
	return nil, errors.New("nothing is checked")
}

type store struct{ lacks string }

// Inspect implements actions.Action.
func (s store) Inspect(context.Context) (actions.Effect, error) {
	return actions.Effect{State: actions.Absent, Detail: s.lacks, Lacks: s.lacks}, nil
}

// Do implements actions.Action.
func (store) Do(context.Context, actions.Attempt) error { return errors.New("nothing is done") }

// Undo implements actions.Action.
func (store) Undo(context.Context, actions.Attempt) error { return errors.New("nothing is undone") }

// What a switchover would stop at is told on a quiet day, and is in no failover's way; a switchover that is asked for is judged by what was seen
// of its own plan.
func TestSurveyOfASwitchover(t *testing.T) {
	spec := func(kind string) failover.ActionSpec {
		p := json.RawMessage(`{}`)
		return failover.ActionSpec{Kind: kind, Version: 1, Params: map[failover.Region]json.RawMessage{"east1": p, "east2": p}}
	}
	start := spec("mariadb_restore")
	s := failover.NewState()
	s.Active, s.Epoch, s.SettingsHash = "east1", 1, "h"
	s.Settings = &failover.Settings{Primary: "east1", Secondary: "east2", Components: []failover.ComponentSpec{
		{Name: "mariadb", Start: &start, Brings: &failover.BringSpec{Dump: spec("mariadb_dump"), Start: start}},
	}}
	for _, lacks := range []string{"", "no program"} {
		l := &leadership{core: &Core{cfg: CoreConfig{World: stores{lacks}, Exec: actions.Options{CallTimeout: time.Second}}}}
		p, err := plan.Derive(s.Settings, "east1")
		if err != nil {
			t.Fatal(err)
		}
		sights := l.brings(t.Context(), s)
		if len(sights) != 1 || sights[0].Step != "dump-mariadb" || sights[0].OK != (lacks == "") || !sights[0].Optional || len(actions.Problems(&p, sights)) != 0 {
			t.Errorf("%+v", sights)
		}
		own, err := plan.DeriveKind(s.Settings, "east1", failover.Switchover)
		if err != nil {
			t.Fatal(err)
		}
		if problems := actions.Problems(&own, actions.Survey(t.Context(), stores{lacks}, &own, time.Second)); len(problems) > 0 != (lacks != "") {
			t.Errorf("in the way of a switchover: %q", problems)
		}
	}
	seen := survey{epoch: 1, kind: failover.Failover, settings: "h", at: time.Now()}
	if !seen.standby(s).Checked {
		t.Error("it counts not for a failover")
	}
	s.Request = &failover.Request{Kind: failover.Switchover}
	if seen.standby(s).Checked {
		t.Error("what was seen of a failover's plan counts for a switchover")
	}
	seen.kind = failover.Switchover
	if !seen.standby(s).Checked {
		t.Error("it counts not for a switchover")
	}
}
