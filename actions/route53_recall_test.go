package actions

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// unreadable is a zone that takes batches and answers no question, with a switch
// that knows the records from the log.
func unreadable(t *testing.T) (*fakeZone, *route53Weights) {
	t.Helper()
	z := zone()
	z.records["example.net. NS "] = record{Name: "example.net.", Type: "NS", TTL: weight(60), Values: values("ns1.example.net.")}
	w := weights(t, z)
	well := inspect(t, w, Absent, "")
	if well.Recalled {
		t.Fatal("what was read says that it was not")
	}
	z.set(func() { z.unread = true })
	if _, err := w.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "reading the records") {
		t.Fatalf("a zone that nobody has ever read gives %v", err)
	}
	w.recall = failover.Reading{Previous: well.Previous, At: time.Now()}
	return z, w
}

// Reading and writing are one control plane: the move needs nothing but its write.
func TestRecordsAreMovedUnread(t *testing.T) {
	z, w := unreadable(t)
	before := inspect(t, w, Absent, "nobody has moved clients to us-east-2")
	if !before.Recalled || restored(w, before, before.Previous) {
		t.Error("what was kept in the log counts as what is there")
	}
	z.set(func() { z.hold = maps.Clone(z.records) }) // no name server follows
	do(t, w.Do, 41, before.Previous)
	if alias := z.records["ws.example.net. A ws us-east-2"]; z.batches != 1 || *alias.Weight != 255 || alias.Alias == nil || alias.Check != "hc-1" {
		t.Fatalf("after %d batches: %s", z.batches, alias.text())
	}
	inspect(t, w, Absent, "")
	z.set(func() { z.hold = nil })
	after := inspect(t, w, Present, "token 41 moved clients to us-east-2, and 8 answers of all name servers lead there")
	if after.Token != 41 || !after.Recalled {
		t.Errorf("%+v", after)
	}
	// Done again and undone, by the token that the name servers have.
	do(t, w.Do, 42, after.Previous)
	do(t, w.Undo, 43, before.Previous)
	if r := z.records["api.example.net. A us-east-1"]; *r.Weight != 255 {
		t.Errorf("undone: %s", r.text())
	}
	inspect(t, w, Absent, "")
}

// What was kept may be old: a batch that rests on it is refused when somebody has
// written since.
func TestAnOldReadingChangesNothing(t *testing.T) {
	z, w := unreadable(t)
	old := inspect(t, w, Absent, "").Previous
	do(t, w.Do, 41, old)
	if err := w.Do(t.Context(), Attempt{Token: 42, Previous: old, Deadline: time.Now().Add(time.Minute)}); !errors.Is(err, ErrStaleToken) || z.batches != 1 {
		t.Errorf("%v after %d batches", err, z.batches)
	}
}

// Answers that lead to the region are no proof: a health check that fails leads there
// as well, and back again.
func TestAnswersAloneDoNotMoveRecords(t *testing.T) {
	z, w := unreadable(t)
	z.set(func() {
		for key, r := range z.records { // the checks of us-east-1 fail
			switch {
			case r.Weight == nil:
				continue
			case strings.Contains(key, "us-east-1"):
				r.Weight = weight(0)
			case strings.Contains(key, "us-east-2"):
				r.Weight = weight(255)
			}
			z.records[key] = r
		}
	})
	inspect(t, w, Absent, "nobody has moved clients to us-east-2")
}

// A zone whose name servers do not answer is not known at all.
func TestNoTokenNoMove(t *testing.T) {
	_, w := unreadable(t)
	w.dns.Resolvers = []string{"127.0.0.1:9"}
	if e, err := w.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "the token is not known") {
		t.Errorf("%+v, %v", e, err)
	}
}
