package daemon

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mongotest"
)

// What a step refuses is said with the command that lifts it for this very step.
func TestARefusalNamesItsStep(t *testing.T) {
	member := func(priority float64) mongotest.MemberConfig {
		return mongotest.MemberConfig{Priority: priority, Votes: 1}
	}
	set, err := mongotest.NewSet(t.Context(), "rs0", 300*time.Millisecond, member(3), member(2), member(1))
	if err != nil {
		t.Fatal(err)
	}
	set.Cut(true, 2)
	params, err := json.Marshal(map[string]any{"replica_set": "rs0", "answer_within": "500ms", "members": map[string][]string{"east1": set.Hosts[:2], "east2": set.Hosts[2:]}})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{log: slog.New(slog.DiscardHandler)}
	a, err := w.action(failover.Step{ID: "start-mongo", Kind: failover.KindStart, Action: "mongo_promote", Version: 1, Region: "east2", Params: params}, failover.NewState())
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	for end := time.Now().Add(20 * time.Second); !strings.Contains(said, "`failoverd retry start-mongo --allow alive --why …`"); <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it says %q", said)
		}
		if e, err := a.Inspect(t.Context()); err == nil {
			said = e.Detail
		}
	}
}

// An action is told which attempts of a step were begun in the execution that is under way, and whether the newest of them has failed.
func TestBegun(t *testing.T) {
	e := &failover.Execution{Steps: map[failover.StepID]*failover.StepRecord{"dump-mariadb": {Attempts: []failover.AttemptRecord{
		{Token: 5, Already: true}, {Token: 7, Outcome: failover.StepFailed}, {Token: 9, Undo: true}, {Token: 10, Burn: true}, {Token: 11},
	}}}}
	tokens := func() string {
		out, failed := begun(e)("dump-mariadb")
		return fmt.Sprint(out, failed)
	}
	newest := &e.Steps["dump-mariadb"].Attempts[4]
	for outcome, want := range map[failover.StepState]string{"": "[7 11] false", failover.StepDone: "[7 11] false", failover.StepFailed: "[7 11] true", failover.StepUnclear: "[7 11] true"} {
		if newest.Outcome = outcome; tokens() != want {
			t.Errorf("%q: %s", outcome, tokens())
		}
	}
	if out, failed := begun(nil)("dump-mariadb"); len(out) > 0 || failed {
		t.Errorf("%v, %t", out, failed)
	}
	if out, failed := begun(e)("start-mariadb"); len(out) > 0 || failed {
		t.Errorf("%v, %t", out, failed)
	}
}

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
