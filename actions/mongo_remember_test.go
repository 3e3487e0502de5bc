package actions

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mongotest"
)

// What the log knows of a forced promotion outlives the region that was promoted: members that it has left behind elect one of themselves, look well, and
// lead the service by nobody's hand but a person's.
func TestMongoPromoteRemembersWhatItHasForced(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
	lose(s)
	becomes(t, a, Absent, "FORCED")
	before := begun(t, a)
	var was mongoBefore
	if err := json.Unmarshal(before, &was); err != nil || len(was.Forced) != 1 || was.Forced[0] != s.Hosts[2] || was.Set == "" {
		t.Fatalf("begun with %s, %v", before, err)
	}
	// Nothing is forced of which the log does not know.
	for _, previous := range []string{"", `{"version":1}`} {
		ctx, cancel := acting(t.Context(), Attempt{Step: "test"}, time.Now().Add(10*time.Second))
		if err := a.Do(ctx, Attempt{Number: 1, Previous: json.RawMessage(previous)}); err == nil || !strings.Contains(err.Error(), "not what the log says") {
			t.Errorf("begun with %q: %v", previous, err)
		}
		cancel()
	}
	if err := try(t, a); err != nil {
		t.Fatal(err)
	}
	becomes(t, a, Present, s.Hosts[2])
	// West dies in turn, and the old region comes back with its old configuration.
	s.Member(2).Kill()
	restart(t, s, 0)
	restart(t, s, 1)
	soon(t, "the old side leads", func() bool { st, _, _ := s.Member(0).State(); return st == "PRIMARY" })
	members := map[failover.Region][]string{"east": s.Hosts[:2], "west": s.Hosts[2:]}
	past := []failover.StepRecord{{State: failover.StepDone, Attempts: []failover.AttemptRecord{{Previous: before}}}}
	home := func(past []failover.StepRecord, allow ...string) *mongoPromote {
		x := promotion(t, "east", MongoPromoteConfig{ReplicaSet: "rs0", Members: members, Allow: allow})
		x.forced = forcedBefore(x.allow, past)
		return x
	}
	becomes(t, home(nil), Present, s.Hosts[0]) // so it looks to who does not know
	e := inspect(t, home(past), Absent, "")
	if !strings.Contains(e.Lacks, "a forced promotion of "+s.Hosts[2]+" was begun") || !strings.Contains(e.Lacks, `allow = ["left-behind"]`) {
		t.Errorf("it says %q", e.Lacks)
	}
	if err := try(t, home(past)); err == nil || !strings.Contains(err.Error(), "left behind then") {
		t.Errorf("%v", err)
	}
	inspect(t, home(past, mongoLeftBehind), Present, "")
	// A step that has come to its end since, and needed no force, has seen the set whole.
	inspect(t, home(append(slices.Clone(past), failover.StepRecord{State: failover.StepDone})), Present, "")
	for _, nothing := range []failover.StepRecord{{State: failover.StepFailed}, {State: failover.StepSkipped}} {
		inspect(t, home(append(slices.Clone(past), nothing)), Absent, "")
	}
	// Nor has one that was begun, and went on without force.
	var later mongoBefore
	_ = json.Unmarshal(before, &later)
	later.Forced = nil
	moved, _ := json.Marshal(later)
	inspect(t, home([]failover.StepRecord{{State: failover.StepDone, Attempts: []failover.AttemptRecord{{Previous: before}, {Previous: moved}}}}), Present, "")
	// West is back: the old side is a rival, and is fenced by who looks after west.
	restart(t, s, 2)
	soon(t, "west leads by its own configuration", func() bool { st, _, _ := s.Member(2).State(); return st == "PRIMARY" })
	a.forced = forcedBefore(a.allow, past)
	if e, err := a.Watch(t.Context()); err != nil || e.State == Unknown {
		t.Errorf("%s %q, %v", e.State, e.Detail, err)
	}
}
