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
	c.must(failover.BeginDrill{Step: "start-api"})
	c.must(failover.RecordDrill{Step: "start-api", Of: "f", Took: took, Detail: "7 tables"})
	d := c.s.Drills["start-api"]
	if d.Took != took || d.Of != "f" || d.Failed || d.Detail != "7 tables" || !d.At.Equal(c.now) {
		t.Errorf("%+v", d)
	}
	if usual, runs := c.s.Usual("start-api"); usual != took || runs != 1 {
		t.Errorf("it usually takes %s by %d runs", usual, runs)
	}
	if last := c.s.Events[len(c.s.Events)-1].Text; !strings.Contains(last, "start-api was tried out beside what is live, in 42s: 7 tables") {
		t.Errorf("it says %q", last)
	}
	c.must(failover.RecordDrill{Step: "start-api", Of: "f", Took: 1, Detail: "no grants", Failed: true})
	if _, runs := c.s.Usual("start-api"); runs != 1 || !c.s.Drills["start-api"].Failed {
		t.Errorf("%d runs by one that failed, %+v", runs, c.s.Drills)
	}
	c.refused("step", failover.RecordDrill{Step: "stop-api", Took: took})
	c.refused("step", failover.RecordDrill{Step: "start-nothing", Took: took})
	c.refused("took", failover.RecordDrill{Step: "start-api"})
	c.refused("took", failover.RecordDrill{Step: "start-api", Took: dur("25h")})
	c.refused("step", failover.BeginDrill{Step: "stop-api"})
	if res := c.s.Apply(failover.Meta{Index: c.s.Index + 1, Term: c.term, ProposedTerm: c.term, At: c.now, Node: "use2a", By: "uid 1"}, failover.BeginDrill{Step: "start-api"}); res.Err == nil || !strings.Contains(res.Err.Error(), "needs a reason") {
		t.Errorf("without a reason: %v", res.Err)
	}
	if l := failover.LevelOf(failover.RecordDrill{}); l != 3 {
		t.Errorf("level %d", l)
	}
}

// Nothing is tried out while what it would stand beside may be needed.
func TestQuiet(t *testing.T) {
	begin := failover.BeginDrill{Step: "start-api"}
	c, _ := current(t).opened()
	c.refused("execution-open", begin)
	if err := failover.NewState().Quiet(); err == nil || !strings.Contains(err.Error(), "no configuration") {
		t.Error(err)
	}
	c = current(t)
	c.s.Preparation = &failover.Execution{}
	c.refused("preparation-open", begin)
}
