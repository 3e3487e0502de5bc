package failover_test

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// What a person or a node tried and was refused is in the state, with who, why and
// the guard: a leader that changes does not forget it. It is bounded.
func TestRefusalsAreKept(t *testing.T) {
	c := current(t)
	c.refusedBy("pause", "uid 7", failover.PauseAutomation{})
	n := len(c.s.Refusals)
	if n == 0 {
		t.Fatal("nothing is noted")
	}
	if r := c.s.Refusals[n-1]; r.By != "uid 7" || r.Why != "because" || r.Kind != "pause" || !strings.Contains(r.Text, "refused by guard pause") {
		t.Errorf("%+v", r)
	}
	c.refused("no-execution", failover.AdvanceEpoch{Execution: 9, Epoch: 2}) // a leader's own
	if len(c.s.Refusals) != n {
		t.Error("what a leader proposed is noted as somebody's try")
	}
	for range 300 {
		c.apply(failover.Hold{Execution: 5}, "uid 8")
	}
	if got := c.s.Refusals; len(got) != 100 || got[99].Index != c.s.Index {
		t.Errorf("%d are kept", len(got))
	}
}

// D3: a vote that was cast in the future is none, whether the leader's clock went
// back or somebody forged it.
func TestVotesFromTheFuture(t *testing.T) {
	c := current(t)
	votes := downVotes()
	for i := range votes {
		votes[i].Age = failover.Duration(-time.Second)
	}
	c.refused("verdict-quorum", failover.OpenIncident{Region: east1, Votes: votes, Held: dur("90s")})
	for i := range votes {
		votes[i].Age = failover.Duration(time.Second)
	}
	c.must(failover.OpenIncident{Region: east1, Votes: votes, Held: dur("90s")})

	d := current(t)
	votes = downVotes()
	for i := range votes {
		votes[i].Received = d.now.Add(time.Second)
	}
	if got, _ := failover.Decide(failover.Input{State: d.s, Votes: votes, Now: d.now}, failover.Memory{}); got.Judgement.Condition == failover.RegionDown {
		t.Errorf("votes that arrive in a second make a region down: %+v", got.Judgement)
	}
	for i := range votes {
		votes[i].Received = d.now
	}
	if got, _ := failover.Decide(failover.Input{State: d.s, Votes: votes, Now: d.now}, failover.Memory{}); got.Judgement.Condition != failover.RegionDown {
		t.Errorf("fresh ones do not: %+v", got.Judgement)
	}
}
