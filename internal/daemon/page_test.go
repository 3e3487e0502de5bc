package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// A region that was left unseen and is heard again is told of once, with the widest
// interval in which it can have worked; one that was seen to stop is not.
func TestARegionThatIsHeardAgain(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	left := func(class failover.EvidenceClass) *failover.State {
		s := failover.NewState()
		s.Settings = &failover.Settings{Service: "messaging"}
		s.Active = "us-east-2"
		s.Events = []failover.Event{
			{Kind: "note-suspicion", At: at(0), Text: "us-east-1 brownout: slow"}, {Kind: "note-suspicion", At: at(5), Text: "us-east-1: every vantage sees us-east-1 healthy"},
			{Kind: "note-suspicion", At: at(10), Text: "us-east-1 disagreement: so"}, {Kind: "note-suspicion", At: at(12), Text: "us-east-1 region-down: dark"},
		}
		s.History = []*failover.Execution{{
			ID: 7, Kind: failover.Failover, From: "us-east-1", To: "us-east-2", StartedAt: at(100), State: failover.ExecStable,
			Steps:    map[failover.StepID]*failover.StepRecord{"fence": {State: failover.StepDone, Attempts: []failover.AttemptRecord{{FinishedAt: at(200)}}}},
			Evidence: []failover.Evidence{{Component: "workers", Class: class, At: at(190), Detail: "no lease can be valid"}},
		}}
		s.Holds = []failover.StandingHold{{Component: "workers", Step: failover.Step{Kind: failover.KindStop, Region: "us-east-1"}, Status: failover.HoldUnseen}}
		s.Agents["a"] = &failover.AgentRecord{Region: "us-east-1", Component: "workers", LastAsked: at(20)}
		return s
	}
	var p Pager
	s := left(failover.Lease)
	if got := p.Next(s, at(300)); len(got) != 0 {
		t.Fatalf("it is silent: %+v", got)
	}
	s.Agents["a"].LastAsked = at(600)
	got := p.Next(s, at(600))
	if len(got) != 1 || !strings.Contains(got[0].Title, "us-east-1 is heard again") || !strings.Contains(strings.Join(got[0].Lines, " "), "between some seconds before 2026-01-01 00:00:10Z and 2026-01-01 00:03:10Z") {
		t.Fatalf("heard again: %+v", got)
	}
	if got := p.Next(s, at(601)); len(got) != 0 {
		t.Errorf("said again: %+v", got)
	}
	if s := left(failover.Attested); len((&Pager{}).Next(s, at(600))) != 0 {
		t.Error("nothing of it was heard")
	} else if s.Holds[0].Status, s.Holds[0].At = failover.HoldKept, at(600); len((&Pager{}).Next(s, at(600))) != 1 {
		t.Error("its control plane answers again, and nobody is told")
	}
	seen := left(failover.Confirmed)
	seen.Agents["a"].LastAsked = at(600)
	if got := (&Pager{}).Next(seen, at(600)); len(got) != 0 {
		t.Errorf("it was seen to stop: %+v", got)
	}
}

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

// A rival that nobody but a person can fence is told of as well, once, and not while something is done about it.
func TestPagerTellsOfWhatNobodyMends(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	s := failover.NewState()
	s.Settings = &failover.Settings{Service: "shop"}
	s.Holds = []failover.StandingHold{{ID: 7, Component: "mongo", Step: failover.Step{Kind: failover.KindStart, Region: "us-east-2"}, Status: failover.HoldViolated, At: start, Detail: "TWO PRIMARIES"}}
	var p Pager
	if got := p.Next(s, start.Add(5*time.Second)); len(got) != 0 {
		t.Errorf("it may still be seen to: %+v", got)
	}
	got := p.Next(s, start.Add(15*time.Second))
	if len(got) != 1 || !strings.Contains(got[0].Title, "mongo HAS A RIVAL") || !strings.Contains(strings.Join(got[0].Lines, " "), "NOTHING IS DONE") {
		t.Fatalf("%+v", got)
	}
	if got := p.Next(s, start.Add(time.Minute)); len(got) != 0 {
		t.Errorf("said again: %+v", got)
	}
	s.Holds[0].At = start.Add(time.Hour) // again, after it was kept
	if got := p.Next(s, start.Add(2*time.Hour)); len(got) != 1 {
		t.Errorf("the next one: %+v", got)
	}
	s.Holds[0].At, s.Holds[0].Applied = start.Add(3*time.Hour), []time.Time{start.Add(3*time.Hour + time.Second)}
	if got := p.Next(s, start.Add(4*time.Hour)); len(got) != 1 || strings.Contains(strings.Join(got[0].Lines, " "), "NOTHING IS DONE") {
		t.Errorf("it was fenced: %+v", got)
	}
}
