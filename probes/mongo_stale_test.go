package probes

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mongotest"
)

// Stripe, 10 July 2019: two members had stood still for days, answered, and looked well. A sample that does not move is a bad sample – of a
// member that follows a primary. One that has lost its primary has nothing to move for, and is what a failover goes to.
func TestIncidentP11(t *testing.T) {
	s, err := mongotest.NewSet(t.Context(), "rs0", 600*time.Millisecond, mongotest.MemberConfig{Priority: 3, Votes: 1}, mongotest.MemberConfig{Priority: 1, Votes: 1}, mongotest.MemberConfig{Priority: 1, Votes: 1})
	if err != nil {
		t.Fatal(err)
	}
	const stale = 3 * time.Second
	probe := func(region failover.Region) func() failover.Observation {
		c := &MongoConfig{ReplicaSet: "rs0", Members: map[failover.Region][]string{"east": s.Hosts[:2], "west": s.Hosts[2:]}}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		c.Stale = failover.Duration(stale) // this set's no-ops come every 600 ms
		d := deps(t)
		d.Region, d.Timeout = region, 2*time.Second
		p, err := c.New(d)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.(*mongoProbe).Close() })
		return func() failover.Observation { return p.Probe(t.Context()) }
	}
	east, west := probe("east"), probe("west")
	comes := func(what string, look func() failover.Observation, outcome failover.Outcome, reason failover.ReasonCode, says string) failover.Observation {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; <-time.After(50 * time.Millisecond) {
			o := look()
			if o.Outcome == outcome && o.Reason == reason && strings.Contains(o.Detail, says) {
				return o
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %s/%s %q", what, o.Outcome, o.Reason, o.Detail)
			}
		}
	}
	stays := func(what string, look func() failover.Observation) {
		t.Helper()
		for end := time.Now().Add(2 * stale); time.Now().Before(end); <-time.After(50 * time.Millisecond) {
			if o := look(); o.Outcome != failover.OK {
				t.Fatalf("%s: %s/%s %q", what, o.Outcome, o.Reason, o.Detail)
			}
		}
	}
	comes("at first", east, failover.OK, "", "is primary")
	comes("at first", west, failover.OK, "", "is secondary of "+s.Hosts[0])
	// Nobody writes: the primary's own no-ops move what a member has applied.
	stays("idle", west)

	s.Member(2).Stall(true)
	if o := comes("stalled", west, failover.Failed, failover.ReasonStale, "is secondary of "+s.Hosts[0]+", and its newest write, of "); !o.LastWrite.IsZero() {
		t.Errorf("a sample that does not move is counted: %s", o.LastWrite)
	}
	comes("beside it", east, failover.OK, "", "is primary")
	s.Member(2).Stall(false)
	comes("caught up", west, failover.OK, "", "is secondary of ")

	// One of two is a part of the region, and no more.
	s.Member(1).Stall(true)
	if o := comes("one of two", east, failover.Slow, failover.ReasonStale, s.Hosts[1]+" is secondary of"); !o.Part {
		t.Error("it is not a part")
	}
	s.Member(1).Stall(false)
	comes("both", east, failover.OK, "", "is primary")

	s.Member(0).Kill()
	s.Member(1).Kill()
	comes("alone", west, failover.OK, "", "knows no primary")
	stays("alone", west)
}

// What would call an idle set dead is refused.
func TestMongoStaleParameter(t *testing.T) {
	for stale, ok := range map[time.Duration]bool{0: true, -time.Second: false, 5 * time.Second: false, 20 * time.Second: true} {
		c := &MongoConfig{ReplicaSet: "rs0", Stale: failover.Duration(stale), Members: map[failover.Region][]string{"east": {"m:27017"}}}
		if err := c.Validate(); (err == nil) != ok || err != nil && !strings.HasPrefix(err.Error(), "stale: ") {
			t.Errorf("%s: %v", stale, err)
		}
	}
}

// A member that was away, and still has what it had, is not still for the time of which nobody knows anything.
func TestMongoMovementBeginsAnewAfterSilence(t *testing.T) {
	var h hello
	h.Writable, h.LastWrite.Date = true, time.Unix(1000, 0)
	var m movement
	now := time.Now()
	if d := m.still(h, now); d != 0 {
		t.Errorf("at first %s", d)
	}
	if d := m.still(h, now.Add(time.Minute)); d != time.Minute {
		t.Errorf("a minute later %s", d)
	}
	m.since = time.Time{} // a look that failed
	if d := m.still(h, now.Add(time.Hour)); d != 0 {
		t.Errorf("after silence %s", d)
	}
	h.Writable, h.Secondary, h.Primary = false, true, ""
	if d := m.still(h, now.Add(2*time.Hour)); d != 0 {
		t.Errorf("without a primary %s", d)
	}
}
