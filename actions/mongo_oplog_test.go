package actions

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mongotest"
)

// How long a region may be away before its members have to copy everything anew is known on the day before, with the command that changes it. An
// oplog that is not full yet, and one that reaches far enough, say nothing; nor does one of a member that will not be written to.
func TestMongoPromoteKnowsHowFarTheOplogReaches(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
	advice := func() string {
		soon(t, "a primary in east, and a survivor that follows it", func() bool {
			e, err := a.Inspect(t.Context())
			return err == nil && e.State == Absent && strings.Contains(e.Advice, "rs.add")
		})
		e := inspect(t, a, Absent, "")
		return e.Advice
	}
	if said := advice(); strings.Contains(said, "oplog") {
		t.Errorf("an oplog that is hardly filled: %s", said)
	}
	s.Member(0).FillOplog(time.Now().Add(-time.Minute))
	s.Member(2).FillOplog(time.Now().Add(-30 * time.Hour))
	if said := advice(); strings.Contains(said, "oplog") {
		t.Errorf("one that reaches far enough, and one that is left: %s", said)
	}
	s.Member(2).FillOplog(time.Now().Add(-6 * time.Hour))
	want := []string{"the oplog of " + s.Hosts[2] + " holds the writes of 6h0m", "(an outage may last 24h0m0s)", "db.adminCommand({replSetResizeOplog: 1, size: Double(39"}
	soon(t, "the advice of one that does not", func() bool { // a busy machine answers late, and then nothing is said
		said := advice()
		return !slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(said, w) })
	})
	a.cfg.Outage = failover.Duration(5 * time.Hour)
	if said := advice(); strings.Contains(said, "oplog") {
		t.Errorf("it reaches as far as it has to: %s", said)
	}
	// Who may not ask says nothing, and loses nothing else.
	a.cfg.Outage = 0
	s.SetMoodAt(2, "collStats", mongotest.Mood{Refuse: true})
	if said := advice(); strings.Contains(said, "oplog") {
		t.Errorf("nobody could ask it: %s", said)
	}
}
