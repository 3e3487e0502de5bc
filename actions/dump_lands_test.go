package actions

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/internal/backup"
	"github.com/failoverd/failoverd/internal/s3test"
)

// What lies in the bucket counts before what the dump says of itself: its upload may be complete although the answer that says so was lost. What
// was seen to be something else than what was uploaded does not count, although it lies there.
func TestADumpIsLookedForBeforeItsErrorIsBelieved(t *testing.T) {
	h := goingHome(t)
	dump, start := h.steps(t)
	before := inspect(t, dump, Absent, "")
	h.bucket.Feel(func(op string, r *http.Request) (int, string) {
		if op == "HeadObject" {
			return http.StatusForbidden, "AccessDenied"
		}
		return 0, ""
	})
	h.begins(11)
	_ = dump.Do(t.Context(), attempt(11, before)) // it may end later than the call
	<-dump.now.ended
	if err := dump.now.err; err == nil || !strings.Contains(err.Error(), "which was uploaded") {
		t.Fatalf("it ended with %v", err)
	}
	if e := inspect(t, dump, Present, "is dumped as of"); e.Over != "" {
		t.Errorf("and over: %s", e.Over)
	}
	inspect(t, start, Absent, "-t11-")

	h.deps.Epoch = 3
	other, _ := h.steps(t)
	before = inspect(t, other, Absent, "")
	h.bucket.Feel(func(op string, r *http.Request) (int, string) {
		switch op {
		case "HeadObject":
			h.bucket.Put(strings.TrimPrefix(r.URL.Path, "/backups/"), s3test.Object{ETag: `"0"`, Body: []byte("other"), At: time.Now()})
		case "DeleteObject":
			return http.StatusForbidden, "AccessDenied"
		}
		return 0, ""
	})
	a := attempt(12, before)
	a.Epoch = 3
	_ = other.Do(t.Context(), a) // it may end later than the call
	<-other.now.ended
	if !errors.Is(other.now.err, backup.ErrOther) {
		t.Fatalf("it ended with %v", other.now.err)
	}
	if e := inspect(t, other, Absent, "nothing was dumped"); e.Over == "" {
		t.Error("it is not over")
	}
}

// What the server that is left runs by itself no fence stops: it is told before the dump, and of the dump, by name. A scheduler that is off, and an event that
// is, run nothing.
func TestADumpTellsOfTheEventScheduler(t *testing.T) {
	h := goingHome(t)
	set := func(to string) { h.left.Feed(t, "SET GLOBAL event_scheduler="+to) }
	was := strings.TrimSpace(h.left.Feed(t, "SELECT @@GLOBAL.event_scheduler"))
	defer set(was)
	event := func(name, how string) {
		h.left.Feed(t, "CREATE EVENT app."+name+" ON SCHEDULE EVERY 1 DAY STARTS NOW() + INTERVAL 1 DAY "+how+" DO DELETE FROM app.a")
	}
	set("ON")
	event("resting", "DISABLE")
	told := func(want string) {
		t.Helper()
		dump, _ := h.steps(t)
		e := inspect(t, dump, Absent, "is not dumped")
		if e.Lacks != "" || strings.Contains(e.Detail, "event scheduler") != (want != "") || !strings.Contains(e.Detail, want) {
			t.Errorf("lacks %q, says %q, want %q", e.Lacks, e.Detail, want)
		}
	}
	told("")
	event("nightly", "")
	told("no fence stops what it runs (app.nightly)")
	for _, name := range []string{"a", "b", "c"} {
		event(name, "")
	}
	told("(app.a, app.b, app.c and 1 more): `SET GLOBAL event_scheduler=OFF` there")
	set("OFF")
	told("")
	set("ON")
	dump, _ := h.steps(t)
	h.begins(11)
	_ = dump.Do(t.Context(), attempt(11, inspect(t, dump, Absent, ""))) // it may end later than the call
	<-dump.now.ended
	inspect(t, dump, Present, "no fence stops what it runs (app.a")
}

// What an attempt has put there late is no dump once another one was begun, which may have been refused since because somebody writes, or once the log
// knows that it has failed: a person who says retry is promised a new one. Before that it is: its leader may have died.
func TestMariaDBDumpOfAnEarlierAttempt(t *testing.T) {
	h := goingHome(t)
	h.bucket.Put("app/failoverd-e2-t11-"+h.deps.Since.UTC().Format(freshTime)+".sql", h.bucket.Objects()["app/z.sql"])
	for name, tt := range map[string]struct {
		begun  []uint64
		failed bool
		want   EffectState
	}{
		"its leader has died":      {[]uint64{11}, false, Present},
		"after an earlier one":     {[]uint64{10, 11}, false, Present},
		"another one was begun":    {[]uint64{11, 12}, false, Absent},
		"it has failed":            {[]uint64{11}, true, Absent},
		"the later one has failed": {[]uint64{11, 12}, true, Absent},
		"none was begun":           {nil, false, Absent},
	} {
		t.Run(name, func(t *testing.T) {
			h.begun, h.failed = tt.begun, tt.failed
			dump, start := h.steps(t)
			inspect(t, dump, tt.want, "")
			if e := inspect(t, start, Absent, ""); strings.Contains(e.Detail, "no dump that this switchover has taken") != (tt.want == Absent) {
				t.Errorf("the restore says %q", e.Detail)
			}
		})
	}
}

// What a restore lacks at the server is told before a switchover as before a failover: it would begin, and find it out behind the fence.
func TestBroughtRestoreLacksAsMuch(t *testing.T) {
	h := goingHome(t)
	h.entered.Feed(t, "REVOKE ALL ON failoverd.* FROM restorer@'127.0.0.1'")
	_, brought := h.steps(t)
	plain, err := built(h.cfg, h.deps, "start-mariadb")
	if err != nil {
		t.Fatal(err)
	}
	failover, ours := inspect(t, plain, Absent, ""), inspect(t, brought, Absent, "no dump that this switchover has taken")
	if failover.Lacks == "" || ours.Lacks != failover.Lacks || !strings.Contains(ours.Detail, ours.Lacks) {
		t.Errorf("a failover lacks %q, a switchover %q: %s", failover.Lacks, ours.Lacks, ours.Detail)
	}
}
