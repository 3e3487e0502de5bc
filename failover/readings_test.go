package failover_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// What is read while all is well stays as old as it is, and a change by somebody
// else is an event.
func TestReadings(t *testing.T) {
	c := current(t)
	const step = failover.StepID("switch-dns")
	take := func(of, previous string) failover.RecordReadings {
		return failover.RecordReadings{Readings: map[failover.StepID]failover.Reading{step: {Of: of, Previous: []byte(previous)}}}
	}
	c.must(take("a", `{"w":1}`))
	first := c.s.Readings[step]
	if first.At.IsZero() || string(first.Previous) != `{"w":1}` {
		t.Fatalf("%+v", first)
	}
	said := len(c.s.Events)
	c.now = c.now.Add(time.Hour)
	c.must(take("a", `{"w":1}`))
	if c.s.Readings[step].At != first.At || len(c.s.Events) != said {
		t.Errorf("nothing has changed: %+v", c.s.Readings[step])
	}
	c.must(take("b", `{"w":2}`)) // another configuration
	if len(c.s.Events) != said {
		t.Error("another configuration is no change by somebody else")
	}
	c.must(take("b", `{"w":3}`))
	if n := len(c.s.Events); n != said+1 || !strings.Contains(c.s.Events[n-1].Text, "somebody else has changed it") {
		t.Errorf("events: %+v", c.s.Events[said:])
	}
	c.refused("size", take("b", ""))
	c.refused("size", take("b", string(bytes.Repeat([]byte("x"), failover.MaxReading+1))))
	c.must(failover.NoteSuspicion{Region: c.s.Active, Condition: failover.RegionDown})
	c.refused("not-quiet", take("b", `{"w":4}`))
}
