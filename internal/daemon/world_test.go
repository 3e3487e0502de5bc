package daemon

import (
	"fmt"
	"testing"

	"github.com/failoverd/failoverd/failover"
)

// An action is told what became of its step in every execution, in whatever direction, and nothing of other steps or kinds.
func TestPast(t *testing.T) {
	step := failover.Step{ID: "start-mongo", Kind: failover.KindStart, Action: "mongo_promote", Region: "east2"}
	run := func(id uint64, st failover.Step, state failover.StepState) *failover.Execution {
		return &failover.Execution{ID: id, Plan: &failover.Plan{Steps: []failover.Step{st}}, Steps: map[failover.StepID]*failover.StepRecord{st.ID: {State: state}}}
	}
	home, other, kind := step, step, step
	home.Region, other.ID, kind.Action = "east1", "start-api", "exec"
	s := failover.NewState()
	s.History = []*failover.Execution{run(1, step, failover.StepDone), run(2, other, failover.StepDone), run(3, home, failover.StepFailed), run(4, kind, failover.StepDone), {ID: 5}}
	states := func() (out []failover.StepState) {
		for _, rec := range past(s, step) {
			out = append(out, rec.State)
		}
		return out
	}
	if got := fmt.Sprint(states()); got != "[done failed]" {
		t.Errorf("%s", got)
	}
	s.Execution = run(6, home, failover.StepRunning)
	if got := fmt.Sprint(states()); got != "[done failed running]" || len(s.History) != 5 {
		t.Errorf("%s", got)
	}
}
