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
