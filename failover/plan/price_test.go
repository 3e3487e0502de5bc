package plan_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

func TestPrice(t *testing.T) {
	now := time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC)
	d := func(x time.Duration) failover.Duration { return failover.Duration(x) }
	s := failover.NewState()
	s.Settings = &failover.Settings{Policy: failover.Policy{MaxLoss: map[string]failover.Duration{"mongo": d(time.Minute), "files": d(time.Hour)}, Lease: failover.LeaseTerms{Length: d(75 * time.Second)}}}
	s.Loss = map[string]failover.LossSample{
		"mongo":   {Behind: d(3 * time.Second), Detail: "the copy in us-east-2 was 3s behind", At: now.Add(-20 * time.Second)},
		"mariadb": {Behind: d(8 * time.Hour), Detail: "the newest backup in us-east-2 was 8h old", At: now.Add(-10 * time.Second)},
	}
	s.Durations = map[failover.StepID][]failover.Duration{
		"start-api": {d(40 * time.Second)}, "start-workers": {d(30 * time.Second), d(50 * time.Second)}, "switch-slow": {d(90 * time.Second)}, "switch-fast": {d(20 * time.Second)},
	}
	p := &failover.Plan{From: east1, To: east2, Steps: []failover.Step{
		{ID: plan.FreezeID, Kind: failover.KindFreeze},
		{ID: "stop-workers", Kind: failover.KindStop, After: []failover.StepID{plan.FreezeID}},
		{ID: plan.FenceID, Kind: failover.KindFence, After: []failover.StepID{plan.FreezeID}, NoReturn: true},
		{ID: "start-api", Kind: failover.KindStart, After: []failover.StepID{plan.FenceID}},
		{ID: "start-workers", Kind: failover.KindStart, After: []failover.StepID{"start-api"}},
		{ID: "start-mail", Kind: failover.KindStart, After: []failover.StepID{plan.FenceID}, NoReturn: true},
		{ID: "switch-slow", Kind: failover.KindSwitch, After: []failover.StepID{"start-api"}},
		{ID: "switch-fast", Kind: failover.KindSwitch, After: []failover.StepID{"start-api"}},
		{ID: plan.StableID, Kind: failover.KindStable, After: []failover.StepID{"start-workers", "start-mail"}, AfterOne: []failover.StepID{"switch-slow", "switch-fast"}},
	}}
	wait := s.FreezeWait(east1) // the fence has never run: until no lease can be valid
	got := plan.PriceOf(s, p, now)
	want := []plan.StorePrice{
		{Store: "files", Limit: d(time.Hour)},
		{Store: "mariadb", AtMost: d(8*time.Hour + 10*time.Second), Sampled: now.Add(-10 * time.Second), Age: d(10 * time.Second), Detail: "the newest backup in us-east-2 was 8h old"},
		{Store: "mongo", AtMost: d(23 * time.Second), Sampled: now.Add(-20 * time.Second), Age: d(20 * time.Second), Detail: "the copy in us-east-2 was 3s behind", Limit: d(time.Minute)},
	}
	if !slices.Equal(got.Stores, want) {
		t.Errorf("%+v", got.Stores)
	}
	if e := got.Moved; e.Takes.D() != wait+60*time.Second || len(e.Unknown) != 0 { // fence, api, the faster switch
		t.Errorf("clients are moved after %+v, the fence takes %s", e, wait)
	}
	if e := got.Stable; e.Takes.D() != wait+90*time.Second || !slices.Equal(e.Unknown, []failover.StepID{"start-mail"}) { // fence, api, workers at their slowest
		t.Errorf("stable after %+v", e)
	}
	if got.From != east1 || got.To != east2 || got.Back != plan.FenceID || !slices.Equal(got.Lasting, []failover.StepID{"start-mail"}) {
		t.Errorf("%+v", got)
	}
	text := strings.Join(got.Lines(), "\n")
	for _, line := range []string{
		"lost of files: not known, there is no sample; automation accepts 1h",
		"lost of mariadb: what was written in the last 8h0m10s at most (the newest backup in us-east-2 was 8h old, sampled 10s before)\n",
		"lost of mongo: what was written in the last 23s at most (the copy in us-east-2 was 3s behind, sampled 20s before); automation accepts 1m",
		"lost as well if us-east-1 is only cut off, and not gone: what is written there from the failure until its writers' lease is over, " + wait.Round(time.Second).String() + " after the first step at the latest",
		"messages: those that stand in queues of us-east-1 wait there",
		"clients are led to us-east-2 about " + (wait + 60*time.Second).Round(time.Second).String() + " after the first step, by earlier runs",
		"and what the steps take that have never run here: start-mail",
		"until step fence is done",
		"nothing takes back step start-mail",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is missing in\n%s", line, text)
		}
	}
	// The failure began before now: what was written since it began is lost whatever is done.
	s.Suspicion = &failover.Suspicion{Since: now.Add(-15 * time.Second)}
	if one := plan.PriceOf(s, p, now).Stores[2]; one.AtMost.D() != 8*time.Second || one.Age.D() != 5*time.Second {
		t.Errorf("%+v", one)
	}
	s.Incident = &failover.Incident{At: now, Held: d(18 * time.Second)}
	if one := plan.PriceOf(s, p, now).Stores[2]; one.AtMost.D() != 5*time.Second {
		t.Errorf("%+v", one)
	}
	s.Settings.Policy.MaxLoss["mongo"] = d(time.Second)
	if text := strings.Join(plan.PriceOf(s, p, now).Lines(), "\n"); !strings.Contains(text, "automation accepts 1s, which is less") {
		t.Error(text)
	}
	// What was counted in the region is told with its age when the failure began, 18 s before now.
	s.Active = east1
	s.Settings.Components = []failover.ComponentSpec{{Name: "workers"}, {Name: "mariadb"}}
	s.AtRisk = map[failover.Component]failover.AtRiskSample{
		"workers": {AtRisk: failover.AtRisk{Items: 176, Unit: "messages", Where: "queue messages"}, At: now.Add(-30 * time.Second)},
		"mariadb": {AtRisk: failover.AtRisk{Items: 12, Unit: "rows", Where: "shop", Lost: true}, At: now.Add(-time.Second)},
		"gone":    {AtRisk: failover.AtRisk{Items: 9}},
	}
	text = strings.Join(plan.PriceOf(s, p, now).Lines(), "\n")
	for _, line := range []string{
		"out of reach of workers: about 176 messages in queue messages (counted 12s before); they wait in us-east-1 until it is back, as do those in queues that are not counted\n",
		"at risk of mariadb: about 12 rows in shop (counted 0s before)\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is missing in\n%s", line, text)
		}
	}
	if strings.Contains(text, "of gone") || strings.Contains(text, "see.sqs.waiting") {
		t.Error(text)
	}
	// What could not be counted is not known, and no zero.
	s.AtRisk["mariadb"] = failover.AtRiskSample{AtRisk: failover.AtRisk{Unit: "rows", Where: "shop", Lost: true, Lacks: "orders unknown: no such table"}, At: now.Add(-48 * time.Second)}
	text = strings.Join(plan.PriceOf(s, p, now).Lines(), "\n")
	if !strings.Contains(text, "at risk of mariadb: unknown how many rows in shop (tried 30s before): orders unknown: no such table\n") || strings.Contains(text, "about 0") {
		t.Error(text)
	}
	if back := plan.PriceOf(s, &failover.Plan{From: east2, To: east1}, now); len(back.Counted) != 0 {
		t.Errorf("of a region that was not counted: %+v", back.Counted)
	}
	// Of a service of which nothing is known nothing is claimed.
	none := strings.Join(plan.PriceOf(failover.NewState(), p, now).Lines(), "\n")
	if !strings.Contains(none, "no store is watched") || strings.Contains(none, "lost as well") || !strings.Contains(none, "after a time that is not known") {
		t.Error(none)
	}
}
