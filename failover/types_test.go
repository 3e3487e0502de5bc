package failover_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// Words in the log are stable and strict.
func TestTextForms(t *testing.T) {
	in := failover.Observation{Outcome: failover.Misconfigured, Reason: failover.ReasonConfig}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out failover.Observation
	if err := json.Unmarshal(b, &out); err != nil || out.Outcome != in.Outcome {
		t.Errorf("%s came back as %v, %v", b, out.Outcome, err)
	}
	if err := json.Unmarshal([]byte(`{"outcome":"fine"}`), &out); err == nil {
		t.Error("an unknown outcome was read")
	}
	var h failover.Health
	if err := h.UnmarshalText([]byte("dead")); err == nil {
		t.Error("an unknown health was read")
	}
	if got := failover.Health(9).String(); got != "invalid(9)" {
		t.Errorf("an invalid health reads %q", got)
	}
	var d failover.Duration
	if err := d.UnmarshalText([]byte("90")); err == nil {
		t.Error("a duration without a unit was read")
	}
	if err := d.UnmarshalText([]byte("1m30s")); err != nil || d.D() != 90*time.Second || d.String() != "1m30s" {
		t.Errorf("1m30s was read as %s, %v", d, err)
	}
	v := failover.Verdict{Signals: []failover.SignalState{
		{Kind: "sqs", Health: failover.Down}, {Kind: "http", Health: failover.Healthy}, {Kind: "http", Health: failover.Down}, {Kind: "tcp"},
	}}
	if got := v.Kinds(); !slices.Equal(got, []string{"http", "sqs"}) {
		t.Errorf("kinds %v", got)
	}
}

// G3: the wait is longer than the lease by the clock's error on both sides; the
// numbers are worked out by hand.
func TestLeaseWait(t *testing.T) {
	terms := settings().Policy.Lease // 75 s, ρ 1 %, margin 2 s, tail 3 s
	for _, c := range []struct{ longest, want time.Duration }{
		{0, 81515152 * time.Microsecond},                  // 75 s × 1.01/0.99 + 5 s
		{75 * time.Second, 81515152 * time.Microsecond},   // the same
		{time.Second, 81515152 * time.Microsecond},        // never below the terms
		{200 * time.Second, 209040405 * time.Microsecond}, // an agent may hold more
	} {
		if got := terms.Wait(c.longest); got != c.want {
			t.Errorf("wait for %s: %s, want %s", c.longest, got, c.want)
		}
	}
	if got := terms.Tolerates(2 * time.Second); got != 55*time.Second { // 75 − 12 − 5 − 1 − 2
		t.Errorf("tolerates %s", got)
	}
	s := settings()
	if s.Other("mars") != "" || s.Component("none") != nil || s.Other(east2) != east1 {
		t.Error("unknown names are answered with something")
	}
}

// A decision without a configuration is none.
func TestDecideUnconfigured(t *testing.T) {
	d, _ := failover.Decide(failover.Input{State: failover.NewState()}, failover.Memory{})
	if d.Open != nil || d.Freeze != nil || d.Note != nil {
		t.Errorf("%+v", d)
	}
}

// A clock of the new leader that is behind the log does not shorten a pause.
func TestDecideUsesTheLaterClock(t *testing.T) {
	c := newCluster(t)
	c.must(failover.PauseAutomation{For: dur("1m")})
	c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")})
	c.now = c.now.Add(2 * time.Minute)
	c.must(failover.Lead{Node: "third"}) // the pause is over by the log's time
	votes := downVotes()
	now := c.now.Add(-time.Hour) // the leader's own clock
	for i := range votes {
		votes[i].Received = now
	}
	mem := failover.Memory{Region: east1, AgreedSince: now.Add(-2 * time.Minute), Voices: []failover.Region{third, east2}}
	d, _ := failover.Decide(failover.Input{State: c.s, Votes: votes, Now: now, Standby: failover.Standby{Checked: true}}, mem)
	if !d.Start || d.Refuse != nil {
		t.Errorf("start %t, refused %+v", d.Start, d.Refuse)
	}
}

// G7: evidence counts for its own component, freeze and epoch, of a class that
// the proof accepts, and only until it is taken back.
func TestAcceptedEvidence(t *testing.T) {
	f := failover.FencedComponent{Component: "workers", Proof: []failover.EvidenceClass{failover.Confirmed}}
	good := failover.Evidence{Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: 7}
	for name, change := range map[string]func(*failover.Evidence){
		"":                  func(*failover.Evidence) {},
		"another component": func(e *failover.Evidence) { e.Component = "cron" },
		"another freeze":    func(e *failover.Evidence) { e.Freeze = 6 },
		"another epoch":     func(e *failover.Evidence) { e.Epoch = 2 },
		"taken back":        func(e *failover.Evidence) { e.Void = "seen running" },
		"another class":     func(e *failover.Evidence) { e.Class = failover.Lease },
	} {
		ev := good
		change(&ev)
		ex := failover.Execution{Epoch: 1, Evidence: []failover.Evidence{ev}}
		if got := ex.AcceptedEvidence(f, 7) != nil; got != (name == "") {
			t.Errorf("evidence of %q is accepted: %t", name, got)
		}
	}
	// A person's word is always admitted.
	attested := good
	attested.Class = failover.Attested
	ex := failover.Execution{Epoch: 1, Evidence: []failover.Evidence{attested}}
	if ex.AcceptedEvidence(f, 7) == nil {
		t.Error("an attestation is not accepted")
	}
}
