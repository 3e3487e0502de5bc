package mongotest

import (
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// history is a log of inserts of those terms, a minute apart.
func history(name string, terms ...int64) (log []entry) {
	at := time.Unix(1_700_000_000, 0)
	for i, t := range terms {
		log = append(log, entry{Term: t, Index: int64(i) + 1, At: at.Add(time.Duration(i) * time.Minute), Op: "i", NS: "x.c", Doc: bson.D{{Key: "_id", Value: fmt.Sprint(name, i+1)}}})
	}
	return log
}

// A rollback goes back to the newest operation that has one of its name in the source, and no further; it ends the process where it would undo what a
// majority has committed as far as it knows, or what is behind its stable checkpoint, or where it would never end.
func TestRollback(t *testing.T) {
	mine := []int64{1, 1, 2, 2, 2}
	for _, tt := range []struct {
		name                      string
		source                    []int64
		commit, recovered, stable int64
		late                      time.Duration // of its newest operation
		has, aside                string
		exit                      string
	}{
		{"nobody has heard of it", []int64{1, 1, 3, 3, 3}, 2, 0, 2, 0, "[a1 a2 b3 b4 b5]", "[a3 a4 a5]", "[]"},
		{"another's operations have the names of its own", []int64{1, 1, 2, 3, 3, 3}, 2, 0, 2, 0, "[a1 a2 a3 b4 b5 b6]", "[a4 a5]", "[]"},
		{"all of its own have", []int64{1, 1, 2, 2, 2, 3}, 5, 0, 5, 0, "[a1 a2 a3 a4 a5 b6]", "[]", "[]"},
		{"a majority has committed it", []int64{1, 1, 3, 3, 3}, 3, 0, 0, 0, "", "", "[SIGABRT]"},
		{"it has not heard so since it was started again", []int64{1, 1, 3, 3, 3}, 2, 2, 2, 0, "[a1 a2 b3 b4 b5]", "[a3 a4 a5]", "[]"},
		{"a checkpoint is behind it", []int64{1, 1, 3, 3, 3}, 3, 3, 3, 0, "", "", "[fassert 51121]"},
		{"nothing is common", []int64{3, 3, 3, 3, 3}, 0, 0, 0, 0, "", "", "[fassert 50666]"},
		{"more than a day", []int64{1, 1, 3, 3, 3}, 0, 0, 0, 25 * time.Hour, "", "", "[fassert 50666]"},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is closed at once
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		m := &Member{opt: Options{ElectionTimeout: election, Log: slog.New(slog.DiscardHandler)}, ln: ln, state: secondary, log: history("a", mine...), commit: tt.commit, recovered: tt.recovered, stable: tt.stable}
		m.log[4].At = m.log[4].At.Add(tt.late)
		in := beat{Entries: history("b", tt.source...), Whole: true}
		in.Last = optime{9, int64(len(in.Entries)), time.Now()}
		m.fetch(in)
		if st, _, _ := m.State(); st != "ROLLBACK" {
			t.Errorf("%s: first it is %s", tt.name, st)
		}
		if m.find(bson.D{{Key: "find", Value: "c"}, {Key: "$db", Value: "x"}})[2].Value != int32(13436) {
			t.Errorf("%s: it is read meanwhile", tt.name)
		}
		m.fetch(in)
		if exits := fmt.Sprint(m.Exits()); exits != tt.exit {
			t.Errorf("%s: it ended by %s; want %s", tt.name, exits, tt.exit)
			continue
		}
		if tt.exit != "[]" {
			if _, err := ln.Accept(); err == nil {
				t.Errorf("%s: it listens on", tt.name)
			}
			continue
		}
		st, _, n := m.State()
		if has, aside := fmt.Sprint(m.Keys("x.c")), fmt.Sprint(m.Aside("x.c")); st != "SECONDARY" || has != tt.has || aside != tt.aside || n != len(m.aside) {
			t.Errorf("%s: %s with %s, %d aside: %s", tt.name, st, has, n, aside)
		}
	}
}

// One whose source is gone before it has rolled back takes part again as it was.
func TestRollbackWithoutASource(t *testing.T) {
	now := time.Now()
	m := &Member{opt: Options{ElectionTimeout: election, Log: slog.New(slog.DiscardHandler)}, host: "a", cfg: &Config{Members: []MemberConfig{{Host: "a", Votes: 1}, {Host: "b", Votes: 1}}}, peers: map[string]*view{}, log: history("a", 1, 2)}
	m.become(rolling, now)
	m.tick(t.Context(), now.Add(election/2))
	if st, _, _ := m.State(); st != "ROLLBACK" {
		t.Errorf("at once it is %s", st)
	}
	m.tick(t.Context(), now.Add(2*election))
	if st, _, _ := m.State(); st != "SECONDARY" || len(m.Keys("x.c")) != 2 {
		t.Errorf("it is %s with %v", st, m.Keys("x.c"))
	}
}

// A stable checkpoint has what a majority had when it was written; a kill writes none, and what a majority had is read from it after a restart.
func TestStableCheckpoint(t *testing.T) {
	now := time.Now()
	m := &Member{opt: Options{ElectionTimeout: election}, checkpoint: 6 * election, checkpointAt: now, commit: 3}
	m.checkpointed(now.Add(5 * election))
	if m.stable != 0 {
		t.Error("it is written before its time")
	}
	m.checkpointed(now.Add(6 * election))
	if m.stable != 3 {
		t.Errorf("it has %d", m.stable)
	}
	m.commit = 4
	m.checkpointed(now.Add(11 * election))
	if m.Checkpoints(0); m.stable != 4 {
		t.Errorf("asked for, it has %d", m.stable)
	}
	m.commit = 5
	if m.checkpointed(now.Add(100 * election)); m.stable != 4 {
		t.Error("it is written although nobody wants one")
	}
}
