package failover_test

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// A drill is kept, told, and counts for the estimate of its step.
func TestRecordDrill(t *testing.T) {
	c := current(t)
	took := failover.Duration(42 * time.Second)
	c.must(failover.RecordDrill{Step: "start-api", Took: took, Detail: "7 tables"})
	d := c.s.Drills["start-api"]
	if d.Took != took || d.Detail != "7 tables" || !d.At.Equal(c.now) {
		t.Errorf("%+v", d)
	}
	if usual, runs := c.s.Usual("start-api"); usual != took || runs != 1 {
		t.Errorf("it usually takes %s by %d runs", usual, runs)
	}
	if last := c.s.Events[len(c.s.Events)-1].Text; !strings.Contains(last, "start-api was tried out beside what is live, in 42s: 7 tables") {
		t.Errorf("it says %q", last)
	}
	c.refused("step", failover.RecordDrill{Step: "stop-api", Took: took})
	c.refused("step", failover.RecordDrill{Step: "start-nothing", Took: took})
	c.refused("took", failover.RecordDrill{Step: "start-api"})
	if l := failover.LevelOf(failover.RecordDrill{}); l != 3 {
		t.Errorf("level %d", l)
	}
}
