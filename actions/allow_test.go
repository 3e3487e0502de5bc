package actions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mongotest"
	"github.com/failoverd/failoverd/internal/restore"
)

// refuser does nothing until it is allowed "small", and tells what it would work from.
type refuser struct {
	countedAction
	allowed []string
	key     string
}

func (r *refuser) Allow(overrides []string, key string) { r.allowed, r.key = overrides, key }

func (r *refuser) Inspect(ctx context.Context) (Effect, error) {
	e, err := r.countedAction.Inspect(ctx)
	e.Detail += " from " + r.key
	return e, err
}

func (r *refuser) Do(ctx context.Context, a Attempt) error {
	if !slices.Contains(r.allowed, "small") {
		return errors.New("too small; " + underWay(a.Step, "small"))
	}
	return r.countedAction.Do(ctx, a)
}

// refuses lets the start of the API be refused, by an action that was allowed nothing yet.
func (st *stage) refuses() {
	st.set(func() { st.own["start-api"] = &refuser{countedAction: countedAction{st.effect("start-api")}} })
}

func canBeAllowed(s *failover.Settings) {
	start := s.Components[0].Start
	start.Overrides, start.Keys, start.Retries = []string{"old", "small"}, true, 2
}

// A step that is refused asks, with the command that lifts it; what a person allows then reaches the action, under the next leader as well.
func TestAnAllowedStepIsDone(t *testing.T) {
	inStage(t, canBeAllowed, func(st *stage) {
		st.refuses()
		st.elect(nil)
		s := st.waitFor("a question", 30*time.Minute, questioned)
		if q := s.Execution.Question; !strings.Contains(q.Text, "too small; for a plan that is under way: `failoverd retry start-api --allow small --why …`") {
			t.Fatalf("%q", q.Text)
		}
		// The leader is gone before the next one makes an attempt.
		st.end()
		st.must(failover.Retry{Execution: s.Execution.ID, Step: "start-api", Allow: []string{"small"}, Key: "1.sql"})
		st.refuses()
		st.elect(nil)
		s = st.waitFor("the end", 10*time.Minute, ended)
		if d := s.History[0].Step("start-api").Detail; !strings.Contains(d, "from 1.sql") {
			t.Errorf("%q", d)
		}
	})
}

// One that is tried again and again is not waited for: its next attempt is allowed.
func TestAStepUnderWayIsAllowed(t *testing.T) {
	inStage(t, func(s *failover.Settings) { canBeAllowed(s); s.Components[0].Start.Retries = 0 }, func(st *stage) {
		st.refuses()
		st.elect(nil)
		s := st.waitFor("two attempts", 10*time.Minute, func(s *failover.State) bool { return len(s.Execution.Step("start-api").Attempts) > 1 })
		st.must(failover.Retry{Execution: s.Execution.ID, Step: "start-api", Allow: []string{"small"}})
		st.waitFor("the effect", 30*time.Second, func(*failover.State) bool { return st.effect("start-api").times() == 1 })
		st.waitFor("the end", 10*time.Minute, ended)
	})
}

// The question before a step that was allowed something says what, by whom and why, and what it would find with it.
func TestWhatWasAllowedIsInTheQuestion(t *testing.T) {
	inStage(t, func(s *failover.Settings) { canBeAllowed(s); s.Components[0].Start.Approval = true }, func(st *stage) {
		st.refuses()
		st.elect(nil)
		approve := func(s *failover.State) {
			st.mu.Lock()
			defer st.mu.Unlock()
			if err := st.apply(failover.Approve{Execution: s.Execution.ID}, "uid 2", "looked at", st.term).Err; err != nil {
				t.Fatal(err)
			}
		}
		asks := func(kind string) *failover.State {
			return st.waitFor("a question of kind "+kind, 30*time.Minute, func(s *failover.State) bool { return questioned(s) && s.Execution.Question.Kind == kind })
		}
		approve(asks("approval"))
		s := asks("failed")
		st.must(failover.Retry{Execution: s.Execution.ID, Step: "start-api", Allow: []string{"small"}, Key: "1.sql"})
		q := asks("approval").Execution.Question
		for _, want := range []string{"with what people have ALLOWED it: small; key 1.sql by uid 1 (because)?", "from 1.sql"} {
			if !strings.Contains(q.Text, want) {
				t.Errorf("the question %q lacks %q", q.Text, want)
			}
		}
		if want := []string{"failoverd approve", "failoverd skip start-api --why …", "failoverd abort"}; !slices.Equal(q.Ways, want) {
			t.Errorf("%q", q.Ways)
		}
		if n := st.effect("start-api").times(); n != 0 {
			t.Errorf("done %d times before the answer", n)
		}
		approve(st.state())
		st.waitFor("the end", 10*time.Minute, ended)
	})
}

// A backup that is too small is refused, and restored once a person allows it in mid-plan; whoever leads then knows it from the log.
func TestARestoreThatIsAllowedInMidPlan(t *testing.T) {
	s, f, c, d := restorable(t)
	d.Step = "start-mariadb"
	whole := f.objects["app/1.sql"]
	for i := range 7 { // the three newest are far smaller than those before them
		f.objects[fmt.Sprintf("app/%d.sql", i)] = whole
		if i < 4 {
			f.objects[fmt.Sprintf("app/%d.sql", i)] = slices.Concat([]byte("-- "+strings.Repeat("x", 5*len(whole))+"\n"), whole)
		}
	}
	command := "`failoverd retry start-mariadb --allow small --why …`"
	x := restorer(t, c, d)
	before := inspect(t, x, Absent, "")
	if !strings.Contains(before.Lacks, `or put "small" into allow (for a plan that is under way: `+command+")") {
		t.Fatalf("it lacks %q", before.Lacks)
	}
	a := attempt(11, before)
	a.Epoch, a.Step = 2, "start-mariadb"
	err := x.Do(t.Context(), a)
	var refused *restore.RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), command) || !strings.Contains(err.Error(), "failoverd skip start-mariadb") || rows(t, s) != "0" {
		t.Fatalf("%v", err)
	}
	// Named by a person, one that is not there is refused, and one that is there is held against the same rules.
	next := restorer(t, c, d)
	rec := failover.StepRecord{State: failover.StepRunning, Allowed: []failover.Allowance{{Key: "other/1.sql"}}}
	if e, err := seen(t.Context(), next, rec); err != nil || !strings.Contains(e.Lacks, "there is no backup other/1.sql under s3://backups/app/") {
		t.Errorf("%q, %v", e.Lacks, err)
	}
	rec.Allowed = append(rec.Allowed, failover.Allowance{Key: "app/5.sql"})
	if e, err := seen(t.Context(), next, rec); err != nil || !strings.Contains(e.Lacks, "the backup app/5.sql restores nothing") || strings.Contains(e.Lacks, "app/6.sql") {
		t.Errorf("%q, %v", e.Lacks, err)
	}
	rec.Allowed = append(rec.Allowed, failover.Allowance{Overrides: []string{"small"}})
	if e, err := seen(t.Context(), next, rec); err != nil || e.Lacks != "" {
		t.Fatalf("%q, %v", e.Lacks, err)
	}
	a.Token = 12
	if err := next.Do(t.Context(), a); err != nil || rows(t, s) != "2" {
		t.Fatalf("%v, %s rows", err, rows(t, s))
	}
	inspect(t, next, Present, "is restored from app/5.sql")
	// One that is named while another one is being loaded comes too late, and it is said.
	late := rec
	late.Allowed = append(slices.Clone(rec.Allowed), failover.Allowance{Key: "app/4.sql"})
	if e, err := seen(t.Context(), next, late); err != nil || e.State != Present || !strings.Contains(e.Detail, "app/4.sql, which was named while that was under way, is not") {
		t.Errorf("%q, %v", e.Detail, err)
	}
	if e, err := seen(t.Context(), next, rec); err != nil || strings.Contains(e.Detail, "which was named") {
		t.Errorf("%q, %v", e.Detail, err)
	}
	// The configuration's own word is not lost beside a person's, nor does a person's outlast its record.
	c.Allow, c.Key = []restore.Override{restore.AllowOld}, "app/1.sql"
	both := restorer(t, c, d)
	allow(both, rec)
	if o := both.wanted(); !slices.Equal(o.Allow, []restore.Override{"old", "small"}) || both.key != "app/5.sql" {
		t.Errorf("%v, key %s", o.Allow, both.key)
	}
	allow(both, failover.StepRecord{})
	if o := both.wanted(); !slices.Equal(o.Allow, c.Allow) || both.key != "app/1.sql" || len(c.Allow) != 1 {
		t.Errorf("%v, key %s", o.Allow, both.key)
	}
}

// A majority that is alive behind a cut link is given up by a person in mid-plan, as by the configuration.
func TestAPromotionThatIsAllowedInMidPlan(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
	a.step = "start-mongo"
	s.Cut(true, 2)
	becomes(t, a, Absent, "(for a plan that is under way: `failoverd retry start-mongo --allow alive --why …`)")
	// The standing hold, which has no plan under way, does not name the command.
	if eff, err := a.Watch(t.Context()); err != nil || !strings.Contains(eff.Detail, "only the link between them is cut") || strings.Contains(eff.Detail, "failoverd retry") {
		t.Errorf("%q, %v", eff.Detail, err)
	}
	rec := failover.StepRecord{State: failover.StepRunning, Allowed: []failover.Allowance{{Overrides: []string{mongoAlive}}}}
	allow(a, rec)
	becomes(t, a, Absent, "FORCED")
	allow(a, failover.StepRecord{})
	becomes(t, a, Absent, "only the link between them is cut")
	// What an earlier promotion has left behind likewise.
	a.past = []failover.StepRecord{{State: failover.StepDone, Attempts: []failover.AttemptRecord{{Previous: []byte(`{"version":1,"set":"","forced":["x:1"]}`)}}}}
	allow(a, failover.StepRecord{})
	if a.forced == nil {
		t.Fatal("nothing is remembered")
	}
	rec.Allowed[0].Overrides = []string{mongoLeftBehind}
	if allow(a, rec); a.forced != nil {
		t.Errorf("%+v", a.forced)
	}
}
