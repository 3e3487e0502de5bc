package restore

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
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

// shown is the connection that shows some text as its statement.
func shown(t *testing.T, s *mariadbtest.Server, where, text string) string {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		if id, info, _ := strings.Cut(s.Feed(t, "SELECT ID, INFO FROM information_schema.PROCESSLIST WHERE "+where), "\t"); strings.Contains(info, text) {
			return id
		}
	}
	t.Fatal("it does not begin")
	return ""
}

// takenWith takes a dump that holds a value, and has waited for somebody.
func takenWith(t *testing.T, s *mariadbtest.Server, value, says string) {
	t.Helper()
	var kept bytes.Buffer
	var said []string
	o := taking(s, &kept, "app")
	o.Compression, o.Report = "none", func(line string) { said = append(said, line) }
	if _, err := Take(t.Context(), o); err != nil || !strings.Contains(kept.String(), "("+value+")") {
		t.Errorf("%v; the dump is\n%s", err, kept.String())
	}
	if len(said) == 0 || !strings.Contains(said[0], says) {
		t.Errorf("it says %q, want %q", said, says)
	}
}

// What the server still does for others when a dump is to begin is in the dump, or there is none: their processes may have been killed long ago.
func TestTakeWaitsForTheServer(t *testing.T) {
	s := source(t)
	s.Feed(t, "CREATE DATABASE app; CREATE TABLE app.a (x INT PRIMARY KEY)")
	settled(t, s)
	s.Feed(t, "CREATE DATABASE failoverd; CREATE TABLE failoverd.other (x INT); CREATE EVENT app.once ON SCHEDULE AT NOW() + INTERVAL 1 DAY DO DELETE FROM app.a;\n"+
		"DELIMITER //\nCREATE PROCEDURE app.p() BEGIN DO SLEEP(1); DO SLEEP(1.5); INSERT INTO app.a VALUES (4712); END//\nDELIMITER ;\nDO SLEEP(1.1)")
	for name, tt := range map[string]struct{ does, shows, makes, says string }{
		"a statement":                    {"INSERT INTO app.a SELECT 4711 + SLEEP(3)", "4711", "4711", "the statement of connection %s (root)"},
		"one of another database's":      {"USE failoverd; INSERT INTO app.a SELECT 4713 + SLEEP(3)", "4713", "4713", "the statement of connection %s (root)"},
		"a procedure of many statements": {"USE failoverd; CALL app.p()", "SLEEP(1)", "4712", "the statement of connection %s (root)"},
	} {
		t.Run(name, func(t *testing.T) {
			c, id := atWork(t, s)
			ended := make(chan error, 1)
			go func() {
				for text := range strings.SplitSeq(tt.does, "; ") {
					if _, err := c.ExecContext(context.Background(), text); err != nil {
						ended <- err
						return
					}
				}
				ended <- nil
			}()
			shown(t, s, "ID="+id, tt.shows)
			takenWith(t, s, tt.makes, fmt.Sprintf(tt.says, id))
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("an event", func(t *testing.T) {
		s.Feed(t, "SET GLOBAL event_scheduler=ON; ALTER EVENT app.once ON SCHEDULE AT NOW() DO INSERT INTO app.a SELECT 4714 + SLEEP(3)")
		defer s.Feed(t, "SET GLOBAL event_scheduler=OFF")
		id := shown(t, s, "COMMAND='Connect'", "4714")
		if names, err := Scheduled(t.Context(), account(s)); err != nil || len(names) != 1 || names[0] != "app.once" {
			t.Errorf("%q, %v", names, err)
		}
		takenWith(t, s, "4714", "the event of connection "+id+" (root)")
	})
	t.Run("a statement whose transaction stays open", func(t *testing.T) {
		c, id := atWork(t, s)
		if _, err := c.ExecContext(t.Context(), "BEGIN"); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := c.ExecContext(context.Background(), "INSERT INTO app.a SELECT 4715 + SLEEP(1.5)")
			ended <- err
		}()
		shown(t, s, "ID="+id, "4715")
		var kept bytes.Buffer
		o := taking(s, &kept, "app")
		o.Patience = 3 * time.Second
		if _, err := Take(t.Context(), o); err == nil || !strings.Contains(err.Error(), "the transaction of connection "+id+" since ") {
			t.Errorf("%v", err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
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

// A server that others use is never without work, and somebody may hang in mid-login: what begins after a dump was asked for is not waited for.
func TestTakeOfABusyServer(t *testing.T) {
	s := source(t)
	s.Feed(t, "CREATE DATABASE app; CREATE TABLE app.a (x INT PRIMARY KEY); CREATE DATABASE failoverd; CREATE TABLE failoverd.other (x INT)")
	settled(t, s)
	for range 3 {
		c, err := net.Dial("tcp", s.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 6)
	for i := range cap(ended) {
		c, _ := atWork(t, s)
		go func() {
			for n := 0; ctx.Err() == nil; n++ {
				for _, text := range []string{"BEGIN", "INSERT INTO failoverd.other VALUES (1)", "DO SLEEP(0.3)", "COMMIT"} {
					if _, err := c.ExecContext(context.Background(), text); err != nil {
						ended <- err
						return
					}
				}
				<-time.After(time.Duration(50+10*i) * time.Millisecond)
			}
			ended <- nil
		}()
	}
	shown(t, s, "INFO LIKE 'DO %' LIMIT 1", "SLEEP(0.3)")
	var kept bytes.Buffer
	o := taking(s, &kept, "app")
	o.Patience = 5 * time.Second
	if _, err := Take(t.Context(), o); err != nil {
		t.Error(err)
	}
	cancel()
	for range cap(ended) {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// A change of which no table has the time is in the binary log. What is written to other databases alone, such as a canary, is nobody's.
func TestTakeSeesTheBinaryLog(t *testing.T) {
	s := source(t)
	s.Feed(t, "CREATE DATABASE app; CREATE TABLE app.a (x INT); CREATE SEQUENCE app.seq; CREATE DATABASE nobody; CREATE DATABASE failoverd; CREATE TABLE failoverd.canary (x INT)")
	settled(t, s)
	for i, tt := range []struct{ does, want string }{
		{"DO NEXTVAL(app.seq)", "which should be fenced: its binary log went on from 0-1-"},
		{"CREATE TABLE nobody.new (x INT); DROP TABLE nobody.new", "which should be fenced: its binary log went on from 0-1-"},
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
