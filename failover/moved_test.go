package failover

import (
	"testing"
	"time"
)

// Clients are on their way from the beginning of the attempt that moved them, not
// from one that came to nothing before it.
func TestMovedAt(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 12, minute, 0, 0, time.UTC) }
	e := &Execution{
		Plan: &Plan{Steps: []Step{{ID: "start", Kind: KindStart}, {ID: "gate", Kind: KindSwitch}, {ID: "object", Kind: KindSwitch}, {ID: "record", Kind: KindSwitch}}},
		Steps: map[StepID]*StepRecord{
			"start":  {State: StepDone, Attempts: []AttemptRecord{{StartedAt: at(1)}}},
			"gate":   {State: StepRunning, Attempts: []AttemptRecord{{StartedAt: at(2)}}},
			"object": {State: StepDone, Attempts: []AttemptRecord{{StartedAt: at(3)}, {StartedAt: at(6)}}},
			"record": {State: StepDone, Attempts: []AttemptRecord{{StartedAt: at(7)}}},
		},
	}
	if got := e.MovedAt(); !got.Equal(at(6)) {
		t.Errorf("%s", got)
	}
	e.Steps["object"].State, e.Steps["record"].State = StepFailed, StepSkipped
	if got := e.MovedAt(); !got.IsZero() {
		t.Errorf("none is done, and clients moved at %s", got)
	}
}
