package restore

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/internal/backup"
	"github.com/failoverd/failoverd/internal/mariadbtest"
)

// atWork is a connection of somebody else, and its number.
func atWork(t *testing.T, s *mariadbtest.Server) (*sql.Conn, string) {
	t.Helper()
	db, err := sql.Open("mysql", s.DSN("root", "", "app"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), db.Close() }) // in this order, or it stays open with its locks
	var id string
	if err := c.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id); err != nil {
		t.Fatal(err)
	}
	return c, id
}

// What the server still does for others when a dump is to begin is in the dump, or there is none: their processes may have been killed long ago.
func TestTakeWaitsForTheServer(t *testing.T) {
	s := source(t)
	s.Feed(t, "CREATE DATABASE app; CREATE TABLE app.a (x INT PRIMARY KEY)")
	settled(t, s)
	t.Run("a statement", func(t *testing.T) {
		c, id := atWork(t, s)
		ended := make(chan error, 1)
		go func() {
			_, err := c.ExecContext(context.Background(), "INSERT INTO app.a SELECT 4711 + SLEEP(3)")
			ended <- err
		}()
		for end := time.Now().Add(20 * time.Second); !strings.Contains(s.Feed(t, "SELECT INFO FROM information_schema.PROCESSLIST WHERE ID="+id), "4711"); <-time.After(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("it does not begin")
			}
		}
		var kept bytes.Buffer
		o := taking(s, &kept, "app")
		var said []string
		o.Compression, o.Report = "none", func(line string) { said = append(said, line) }
		if _, err := Take(t.Context(), o); err != nil || !strings.Contains(kept.String(), "4711") {
			t.Errorf("%v; the dump is\n%s", err, kept.String())
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if len(said) == 0 || !strings.Contains(said[0], "the statement of connection "+id+" (root)") {
			t.Errorf("it says %q", said)
		}
	})
	t.Run("a transaction", func(t *testing.T) {
		c, id := atWork(t, s)
		for _, text := range []string{"BEGIN", "INSERT INTO app.a VALUES (1)"} {
			if _, err := c.ExecContext(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
		var kept bytes.Buffer
		o := taking(s, &kept, "app")
		o.Patience, o.UnderWay = time.Second, func(what Override) string { return "say " + string(what) }
		if _, err := Take(t.Context(), o); err == nil || kept.Len() > 0 || !strings.Contains(err.Error(), "still works for others, and a dump would lack what they commit: the transaction of connection "+id+" since ") || !strings.Contains(err.Error(), "or say rows") {
			t.Errorf("%v", err)
		}
		o.Allow = []Override{AllowRows}
		if _, err := Take(t.Context(), o); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		o.Allow, o.Patience = nil, time.Minute
		if _, err := Take(ctx, o); err == nil || ctx.Err() == nil {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// A change of which no table has the time is in the binary log. What is written to other databases alone, such as a canary, is nobody's.
func TestTakeSeesTheBinaryLog(t *testing.T) {
	s := source(t)
	s.Feed(t, "CREATE DATABASE app; CREATE TABLE app.a (x INT); CREATE SEQUENCE app.seq; CREATE DATABASE failoverd; CREATE TABLE failoverd.canary (x INT)")
	settled(t, s)
	for i, tt := range []struct{ does, want string }{
		{"DO NEXTVAL(app.seq)", "which should be fenced: its binary log went on from 0-1-"},
		{"CREATE TABLE app.new (x INT); DROP TABLE app.new", "which should be fenced: its binary log went on from 0-1-"},
		{"DO 1", ""},
		{"INSERT INTO failoverd.canary VALUES (1)", ""},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			var kept bytes.Buffer
			o := taking(s, &kept, "app")
			put := o.Put
			o.Put = func(ctx context.Context, from io.Reader) (backup.File, error) {
				s.Feed(t, tt.does)
				return put(ctx, from)
			}
			if _, err := Take(t.Context(), o); (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", tt.does, err, tt.want)
			}
		})
	}
}
