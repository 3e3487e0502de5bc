package plan_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// bringing is service with a store that a switchover takes along.
func bringing() *failover.Settings {
	s := service()
	mongo := s.Component("mongo")
	dump, start := act("mariadb_dump"), act("mongo_reconfig")
	start.OnError = "continue"
	dump.Retries, start.Overrides = 3, []string{"backup"}
	start.Params[east2] = json.RawMessage(`{"brought":true}`)
	mongo.Brings = &failover.BringSpec{Dump: *dump, Start: *start}
	return s
}

// A switchover takes along what the region that is left holds: between the fence and the start that wants it. A failover's plan knows nothing of it.
func TestSwitchoverBrings(t *testing.T) {
	s := bringing()
	p, err := plan.DeriveKind(s, east1, failover.Switchover)
	if err != nil {
		t.Fatal(err)
	}
	dump, start := p.Step("dump-mongo"), p.Step("start-mongo")
	if dump == nil || dump.Kind != failover.KindStart || dump.Component != "mongo" || dump.Region != east2 || dump.Action != "mariadb_dump" || dump.Retries != 3 ||
		!slices.Equal(dump.After, []failover.StepID{plan.FenceID}) {
		t.Fatalf("%+v", dump)
	}
	if !slices.Equal(start.After, []failover.StepID{plan.FenceID, "dump-mongo"}) || string(start.Params) != `{"brought":true}` || !slices.Equal(start.Overrides, []string{"backup"}) {
		t.Errorf("%+v", start)
	}
	if dump.OnError != "halt" || start.OnError != "halt" {
		t.Errorf("without the dump it goes on (%s), and without its restore (%s)", dump.OnError, start.OnError)
	}
	if got := plan.Dumps(&p); len(got) != 1 || got[0].ID != dump.ID {
		t.Errorf("%+v", got)
	}
	text := plan.Render(&p, nil)
	for _, want := range []string{"switchover from us-east-1 to us-east-2", "start-mongo               mongo_reconfig", "after fence, dump-mongo", "without an answer from us-east-1 step dump-mongo fails, and waits for a person"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	failing, err := plan.Derive(s, east1)
	plainly, err2 := plan.Derive(service(), east1)
	if err != nil || err2 != nil || failing.Hash() != plainly.Hash() || len(plan.Dumps(&failing)) != 0 {
		t.Errorf("a failover has changed: %v, %v", err, err2)
	}
	delete(s.Component("mongo").Brings.Dump.Params, east2)
	if _, err := plan.DeriveKind(s, east1, failover.Switchover); err == nil {
		t.Error("a dump without parameters is derived")
	}
}

// Nothing is lost of what is taken along, also where nobody watches it; of the rest the price says what it said, and when somebody does without the
// dump it says so again.
func TestPriceOfASwitchover(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	s := failover.NewState()
	s.Settings = bringing()
	s.Loss = map[string]failover.LossSample{"mongo": {Behind: failover.Duration(8 * time.Hour), Detail: "the newest backup", At: now}}
	p, err := plan.DeriveKind(s.Settings, east1, failover.Switchover)
	if err != nil {
		t.Fatal(err)
	}
	lines := func() string { return strings.Join(plan.PriceOf(s, &p, now).Lines(), "\n") }
	const nothing = "lost of mongo: nothing; step dump-mongo takes along what us-east-1 holds, after the fence, or a person is asked"
	if text := lines(); !strings.Contains(text, nothing) || strings.Contains(text, "8h0m0s") || strings.Contains(text, "lost as well") {
		t.Error(text)
	}
	s.Loss = nil
	if text := lines(); !strings.Contains(text, nothing) || strings.Contains(text, "no store is watched") {
		t.Error(text)
	}
	s.Loss = map[string]failover.LossSample{"mongo": {Behind: failover.Duration(8 * time.Hour), At: now}, "files": {At: now}}
	if text := lines(); !strings.Contains(text, nothing) || !strings.Contains(text, "lost of files: what was written in the last 0s") || !strings.Contains(text, "lost as well") {
		t.Error(text)
	}
	// Nor are rows that were counted since the backup, which is not what is restored; what else was counted there is.
	s.AtRisk = map[failover.Component]failover.AtRiskSample{
		"mongo": {AtRisk: failover.AtRisk{Items: 12, Unit: "rows", Lost: true}, At: now},
		"files": {AtRisk: failover.AtRisk{Items: 7, Unit: "rows", Lost: true}, At: now},
	}
	s.Active, s.Settings.Components = east1, append(s.Settings.Components, failover.ComponentSpec{Name: "files"})
	if text := lines(); strings.Contains(text, "12 rows") || !strings.Contains(text, "at risk of files: about 7 rows") {
		t.Error(text)
	}
	s.Execution = &failover.Execution{Plan: &p, Steps: map[failover.StepID]*failover.StepRecord{"dump-mongo": {State: failover.StepSkipped}}}
	if text := lines(); !strings.Contains(text, "at risk of mongo: about 12 rows") || strings.Contains(text, nothing) || !strings.Contains(text, "lost of mongo: what was written in the last 8h0m0s") {
		t.Error(text)
	}
	failing, err := plan.Derive(s.Settings, east1)
	if err != nil {
		t.Fatal(err)
	}
	if got := plan.PriceOf(s, &failing, now); got.Kind != failover.Failover || strings.Contains(strings.Join(got.Lines(), "\n"), "takes along") {
		t.Errorf("%+v", got)
	}
}
