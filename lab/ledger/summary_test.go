package ledger

import (
	"testing"
	"time"
)

// A transcript of events, and what the ledger makes of it. Times are milliseconds.
func TestSummary(t *testing.T) {
	begin := time.Unix(1700000000, 0)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	l := &Ledger{stat: newTally()}
	for _, e := range []Event{
		{At: at(0), Type: Hello, Role: "api", Region: "us-east-2", Conn: 9}, // an API is not critical: it makes no region active
		{At: at(0), Type: Hello, Role: "worker", Region: "us-east-1", Conn: 1},
		{At: at(0), Type: Hello, Role: "worker", Region: "us-east-1", Conn: 2},
		{At: at(10), Type: Sent, Key: "a"},
		{At: at(20), Type: Acked, Key: "a", Region: "us-east-1"},
		{At: at(20), Type: Sent, Key: "b"},
		{At: at(25), Type: Acked, Key: "b", Region: "us-east-2"},
		{At: at(30), Type: Processed, Key: "a", Region: "us-east-1", End: at(29)},
		{At: at(100), Type: Hello, Role: "worker", Region: "us-east-2", Conn: 3}, // both active from here
		{At: at(150), Type: Bye, Role: "worker", Region: "us-east-1", Conn: 1},
		{At: at(180), Type: Bye, Role: "worker", Region: "us-east-1", Conn: 2}, // to here
		{At: at(190), Type: Processed, Key: "a", Region: "us-east-2", End: at(189)},
		{At: at(200), Type: Hello, Role: "worker", Region: "us-east-1", Conn: 4}, // and again, still going on
	} {
		l.stat.add(e)
	}
	s := l.Summary(at(210))
	if s.DualActiveMs != 90 {
		t.Errorf("dual active %d ms, want 80 and another 10", s.DualActiveMs)
	}
	if s.Duplicates != 1 || s.DuplicateKeys[0] != "a" || s.Processed != 1 || s.Messages != 2 || s.Acked != 2 {
		t.Errorf("summary %+v", s)
	}
	if got := l.unprocessed(); len(got) != 1 || got[0] != "b" {
		t.Errorf("unprocessed %v, want b", got)
	}
	if s.Alive["us-east-1"] != 1 || s.Alive["us-east-2"] != 1 || !s.Regions["us-east-1"].LastWorkerDied.Equal(at(180)) {
		t.Errorf("alive %v, regions %+v", s.Alive, s.Regions)
	}
	if !l.processedIn("a", "us-east-2") || l.processedIn("b", "us-east-1") {
		t.Error("processedIn")
	}
}
