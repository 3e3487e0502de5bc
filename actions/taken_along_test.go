package actions

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
	"github.com/failoverd/failoverd/internal/s3test"
)

// switchesOver lets the stage begin a switchover that dumps the component api, and asks before it does and before it restores.
func switchesOver(t *testing.T, st *stage) {
	t.Helper()
	p, err := plan.DeriveKind(st.s.Settings, "east1", failover.Switchover)
	if err != nil {
		t.Fatal(err)
	}
	st.plan, st.effects["dump-api"] = p, &effect{st: st, id: "dump-api", value: "old"}
	st.must(failover.RequestExecution{Kind: failover.Switchover})
	st.must(failover.StartExecution{Kind: failover.Switchover, Request: st.s.Request.ID, Epoch: 1, Plan: p})
}

// bringsAPI makes the start of api one that is dumped in a switchover; the stage begins nothing by itself.
func bringsAPI(s *failover.Settings) {
	api := &s.Components[0]
	api.Start.Prepare = true
	api.Brings = &failover.BringSpec{Dump: *api.Start, Start: *api.Start}
	api.Brings.Dump.Prepare, api.Brings.Start.Prepare = false, false
}

// Who approves the restore of a switchover is told nothing of a loss where the dump has brought all; where the dump was skipped he is.
func TestTheQuestionOfASwitchoverNamesNoLoss(t *testing.T) {
	for _, skipped := range []bool{false, true} {
		inStage(t, func(s *failover.Settings) {
			bringsAPI(s)
			s.Components[0].Brings.Dump.Approval, s.Components[0].Brings.Start.Approval = true, true
		}, func(st *stage) {
			switchesOver(t, st)
			st.elect(nil)
			for _, id := range []failover.StepID{"dump-api", "start-api"} {
				s := st.waitFor("the question of "+string(id), time.Hour, func(s *failover.State) bool { return questioned(s) && s.Execution.Question.Step == id })
				q := s.Execution.Question
				if _, sampled := s.Execution.Loss["api"]; !sampled {
					t.Fatal("there is no sample")
				}
				if got := strings.Contains(q.Text, "Lost of api"); got != (skipped && id == "start-api") {
					t.Errorf("skipped %t, %s asks %q", skipped, id, q.Text)
				}
				if skipped && id == "dump-api" {
					st.must(failover.Skip{Execution: s.Execution.ID, Step: id})
					continue
				}
				st.mu.Lock()
				res := st.apply(failover.Approve{Execution: s.Execution.ID, Nonce: q.Nonce}, "uid 2", "", st.term)
				st.mu.Unlock()
				if res.Err != nil {
					t.Fatal(res.Err)
				}
			}
			st.waitFor("the end", time.Hour, ended)
		})
	}
}

// takesAlong is a switchover, not carried out yet, whose dump and restore are real.
func takesAlong(t *testing.T) (*home, *stage) {
	t.Helper()
	h := goingHome(t)
	st := newStage(t, func(s *failover.Settings) {
		bringsAPI(s)
		s.Components[0].Brings.Start.Tokens = true
		s.Policy.Lease.EffectTail = failover.Duration(time.Millisecond)
	})
	switchesOver(t, st)
	h.follows(st)
	dump, start := h.steps(t)
	st.own["dump-api"], st.own["start-api"] = dump, start
	return h, st
}

// inMidDump is a switchover whose dump is under way for as long as the bucket feels so.
func inMidDump(t *testing.T) (*home, *stage) {
	t.Helper()
	h, st := takesAlong(t)
	reached := make(chan struct{}, 1)
	h.bucket.Feel(func(op string, r *http.Request) (int, string) {
		if op == "UploadPart" {
			_, _ = io.Copy(io.Discard, r.Body) // a server notices only then that its client is gone
			reached <- struct{}{}
			<-r.Context().Done()
		}
		return 0, ""
	})
	st.elect(nil)
	t.Cleanup(st.end)
	select {
	case <-reached:
	case <-time.After(60 * time.Second):
		t.Fatalf("it does not come to the dump: %+v", st.state().Events)
	}
	return h, st
}

// Who holds a switchover in mid-dump and lets it go on again finds the dump as it was, under way. Who aborts it there ends the dump: nothing of it stands, and
// the execution ends at once, without a step of which nobody knows. Who carries that on later is asked about the dump, and a new one is made.
func TestASwitchoverIsAbortedInMidDump(t *testing.T) {
	h, st := inMidDump(t)
	exec := st.state().Execution.ID
	under := func() bool {
		rec := st.state().Execution.Step("dump-api")
		return rec.State == failover.StepRunning && len(rec.Attempts) == 1 && len(h.bucket.Uploads.Open()) == 1
	}
	st.must(failover.Hold{Execution: exec})
	if !under() {
		t.Errorf("held: %+v", st.state().Execution.Step("dump-api"))
	}
	st.must(failover.Continue{Execution: exec})
	if !under() {
		t.Errorf("continued: %+v", st.state().Execution.Step("dump-api"))
	}

	st.must(failover.Abort{Execution: exec})
	soon(t, "the end of what was aborted", func() bool { return ended(st.state()) })
	s := st.state()
	e := s.History[len(s.History)-1]
	if rec := e.Step("dump-api"); e.State != failover.ExecAborted || rec.State != failover.StepFailed || !strings.Contains(rec.Detail, "the execution was aborted; the world shows: nothing was dumped") {
		t.Errorf("%s (%s): %+v", e.State, e.Outcome, rec)
	}
	if len(h.fresh()) > 0 || len(h.bucket.Uploads.Open()) > 0 {
		t.Errorf("it leaves %q and the uploads %q", h.fresh(), h.bucket.Uploads.Open())
	}

	h.bucket.Feel(nil)
	st.must(failover.Continue{Execution: exec, Ended: true})
	soon(t, "a question", func() bool { return questioned(st.state()) })
	if q := st.state().Execution.Question; q.Step != "dump-api" {
		t.Fatalf("%+v", q)
	}
	st.must(failover.Retry{Execution: exec, Step: "dump-api"})
	soon(t, "the end", func() bool { return ended(st.state()) })
	s = st.state()
	if e := s.History[len(s.History)-1]; e.State != failover.ExecStable || len(h.fresh()) != 1 || rows(t, h.entered) != "7" {
		t.Errorf("%s: %q lies there, %s rows", e.State, h.fresh(), rows(t, h.entered))
	}
}

// Who aborts in mid-restore ends that, too: the step has failed, and nothing is in.
func TestASwitchoverIsAbortedInMidRestore(t *testing.T) {
	h, st := takesAlong(t)
	had := rows(t, h.entered)
	h.bucket.Feel(func(op string, r *http.Request) (int, string) {
		if op == "GetObject" && strings.HasPrefix(r.Header.Get("Range"), "bytes=0-") {
			<-r.Context().Done()
		}
		return 0, ""
	})
	st.elect(nil)
	defer st.end()
	atWork := func() bool {
		return strings.TrimSpace(h.entered.Feed(t, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER='restorer'")) != "0"
	}
	soon(t, "the restore to be under way", func() bool {
		return st.state().Execution.Step("start-api").State == failover.StepRunning && atWork()
	})
	st.must(failover.Abort{Execution: st.state().Execution.ID})
	soon(t, "the end of what was aborted", func() bool { return ended(st.state()) })
	s := st.state()
	e := s.History[len(s.History)-1]
	if rec := e.Step("start-api"); e.State != failover.ExecAborted || rec.State != failover.StepFailed || !strings.Contains(rec.Detail, "the execution was aborted; the world shows: ") || !strings.Contains(rec.Detail, "it is not restored") {
		t.Errorf("%s (%s): %+v", e.State, e.Outcome, rec)
	}
	soon(t, "the end of its connections", func() bool { return !atWork() })
	if got := rows(t, h.entered); got != had {
		t.Errorf("%s rows, and there were %s", got, had)
	}
}

// A region that was left with all its rows, or that the service has come home from, has newer ones than the newest backup there: a failover would put them
// aside. It is told beforehand; a dump of the switchover's own is newer than both, and what the same backup has brought is no news.
func TestARestoreTellsThatWhatLivesThereIsNewer(t *testing.T) {
	h := goingHome(t)
	plain, err := built(h.cfg, h.deps, "start-mariadb")
	if err != nil {
		t.Fatal(err)
	}
	const says = "what lives in MariaDB in us-east-2 was written to until "
	if e := inspect(t, plain, Absent, "it is not restored"); !strings.HasPrefix(e.Advice, says) || !strings.Contains(e.Advice, "`failoverd skip start-mariadb --why …`") {
		t.Errorf("%q", e.Advice)
	}
	before := inspect(t, plain, Absent, "")
	_ = plain.Do(t.Context(), attempt(11, before))
	soon(t, "the restore", func() bool { e, err := plain.Inspect(t.Context()); return err == nil && e.State == Present })
	h.deps.Epoch = 4 // another execution
	if plain, err = built(h.cfg, h.deps, "start-mariadb"); err != nil {
		t.Fatal(err)
	}
	if e := inspect(t, plain, Absent, "z.sql"); e.Advice != "" {
		t.Errorf("of the same backup: %q", e.Advice)
	}
	h.entered.Feed(t, "DO SLEEP(1.1); INSERT INTO app.a VALUES (99)")
	if e := inspect(t, plain, Absent, "z.sql"); !strings.HasPrefix(e.Advice, says) {
		t.Errorf("written to since: %q", e.Advice)
	}
	h.bucket.Put("app/zz.sql", s3test.Object{ETag: `"1"`, Body: h.bucket.Objects()["app/z.sql"].Body, At: time.Now().Add(3 * time.Hour)})
	if e := inspect(t, plain, Absent, "zz.sql"); e.Advice != "" {
		t.Errorf("a younger backup: %q", e.Advice)
	}
}
