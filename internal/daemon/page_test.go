package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// Nobody is woken before prepare_after; then one message is updated in place and
// says at the end that it has passed.
func TestPager(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := failover.NewState()
	s.Settings = &failover.Settings{Service: "messaging", Policy: failover.Policy{PrepareAfter: failover.Duration(30 * time.Second)}}
	s.Suspicion = &failover.Suspicion{Region: "us-east-1", Condition: failover.RegionDown, Sentence: "dark", Since: start}
	var p Pager
	if got := p.Next(s, start.Add(29*time.Second)); len(got) != 0 {
		t.Fatalf("paged after 29 s: %+v", got)
	}
	got := p.Next(s, start.Add(31*time.Second))
	if len(got) != 1 || got[0].Done || !strings.Contains(got[0].Title, "region-down in us-east-1") {
		t.Fatalf("after 31 s: %+v", got)
	}
	key := got[0].ID
	s.Suspicion = nil
	s.Events = append(s.Events, failover.Event{Kind: "note-suspicion", At: start.Add(43 * time.Second)})
	got = p.Next(s, start.Add(45*time.Second))
	if len(got) != 1 || !got[0].Done || got[0].ID != key || !strings.Contains(strings.Join(got[0].Lines, " "), "passed by itself after 43s; nothing was moved") {
		t.Fatalf("after it has passed: %+v", got)
	}
	if got := p.Next(s, start.Add(time.Minute)); len(got) != 0 {
		t.Fatalf("said again: %+v", got)
	}
	// A blip that is over in time wakes nobody at all.
	s.Suspicion = &failover.Suspicion{Region: "us-east-1", Condition: failover.RegionDown, Since: start.Add(time.Hour)}
	early := p.Next(s, start.Add(time.Hour+20*time.Second))
	s.Suspicion = nil
	if late := p.Next(s, start.Add(time.Hour+40*time.Second)); len(early)+len(late) != 0 {
		t.Errorf("paged for a blip: %+v %+v", early, late)
	}
	// A violated hold is told once for each time.
	s.Holds = []failover.StandingHold{{ID: 7, Component: "workers", Step: failover.Step{Region: "us-east-1"}, Applied: []time.Time{start}}}
	if got := p.Next(s, start); len(got) != 1 || !strings.Contains(got[0].Title, "workers was running in us-east-1") {
		t.Errorf("violated hold: %+v", got)
	}
	if got := p.Next(s, start); len(got) != 0 {
		t.Errorf("said again: %+v", got)
	}
}
