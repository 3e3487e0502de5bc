package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/failoverd/failoverd/internal/backup"
	"github.com/failoverd/failoverd/internal/dump"
	"github.com/failoverd/failoverd/internal/mariadbtest"
)

// source is a server as docs/operations.md describes the one that is left.
func source(t testing.TB) *mariadbtest.Server {
	t.Helper()
	s := mariadbtest.Shared(t, "source")
	s.Feed(t, grants+"GRANT SELECT ON mysql.proc TO restorer@'127.0.0.1'; GRANT PROCESS ON *.* TO restorer@'127.0.0.1'")
	return s
}

// taking is a dump into memory.
func taking(s *mariadbtest.Server, to *bytes.Buffer, databases ...string) TakeOptions {
	return TakeOptions{
		Program: "mariadb-dump", Server: account(s), Databases: databases, Compression: "zstd", Report: func(string) {},
		Put: func(_ context.Context, from io.Reader) (backup.File, error) {
			n, err := io.Copy(to, from)
			return backup.File{Key: "app/1.sql", Size: n}, err
		},
	}
}

// settled waits until what was written last is older than the second in which a dump begins: that is all that a server tells.
func settled(t testing.TB, s *mariadbtest.Server) {
	t.Helper()
	s.Feed(t, "DO SLEEP(1.1)")
}

// What is taken from one server and restored into another is what the first one holds, with everything that mariadb-dump writes, however it
// is compressed; neither name nor password of the account is anywhere but in the program's hands.
func TestTakeAndRestore(t *testing.T) {
	from, to := source(t), server(t)
	both := []string{"app", "shop`s"}
	text := rich(t, from, append([]string{"--databases"}, both...)...)
	from.Feed(t, "SET GLOBAL event_scheduler=OFF;"+string(text))
	settled(t, from)
	want := everything(t, from, both...)
	for how := range Compressions {
		clean(t, to)
		var file bytes.Buffer
		var said []string
		o := taking(from, &file, both...)
		o.Allow = []Override{AllowHistory}
		o.Compression, o.Report = how, func(line string) { said = append(said, line) }
		o.Server.Passwd = `p"a'ss\w#rd ;=[x]`
		from.Feed(t, `ALTER USER restorer@'127.0.0.1' IDENTIFIED BY 'p"a\'ss\\w#rd ;=[x]'`)
		got, err := Take(t.Context(), o)
		from.Feed(t, "ALTER USER restorer@'127.0.0.1' IDENTIFIED BY 'secret'")
		if err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		sum, err := dump.Read(bytes.NewReader(file.Bytes()))
		if err != nil || !sum.Complete || sum.Bytes != got.Bytes || sum.Tables != got.Tables || len(said) == 0 || !strings.Contains(said[0], " of SQL") && !strings.Contains(said[0], "tables") {
			t.Errorf("%s: %+v of %+v, %v; said %q", how, got, sum, err, said)
		}
		if _, err := Run(t.Context(), options(to, file.Bytes(), both...)); err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		same(t, how, everything(t, to, both...), want)
	}
}

// A dump that is not whole is no dump: whoever keeps it hears of an error before its end.
func TestTakeIsWholeOrNothing(t *testing.T) {
	s := source(t)
	s.Feed(t, "CREATE DATABASE app; CREATE TABLE app.a (x INT PRIMARY KEY, t LONGTEXT); INSERT INTO app.a SELECT seq, REPEAT(MD5(seq), 3000) FROM mysql.seq_1_to_300")
	script := func(text string) string {
		path := filepath.Join(t.TempDir(), "mariadb-dump")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		return path
	}
	settled(t, s)
	for name, tt := range map[string]struct {
		set  func(o *TakeOptions)
		want string
	}{
		"killed":          {func(o *TakeOptions) { o.Program = script(`mariadb-dump "$@" | head -c 100000; kill -9 $$`) }, "signal: killed"},
		"without its end": {func(o *TakeOptions) { o.Program = script(`mariadb-dump "$@" | head -c 100000`) }, `it does not end with "-- Dump completed"`},
		"fails at its end": {func(o *TakeOptions) {
			o.Program = script(`mariadb-dump "$@"; echo "no more" >&2; exit 3`)
		}, "exit status 3; it said: no more"},
		"no such program":  {func(o *TakeOptions) { o.Program = "mariadb-dump-9" }, `the program that dumps is not there: exec: "mariadb-dump-9"`},
		"no such account":  {func(o *TakeOptions) { o.Server.Passwd = "x" }, "Access denied"},
		"no such database": {func(o *TakeOptions) { o.Databases = []string{"shop`s"} }, "has no tables that the account restorer can see"},
		"somebody writes": {func(o *TakeOptions) {
			put := o.Put
			o.Put = func(ctx context.Context, from io.Reader) (backup.File, error) {
				s.Feed(t, "INSERT INTO app.a VALUES (1000, 'x')")
				return put(ctx, from)
			}
		}, `somebody writes to ` + s.Addr + `, which should be fenced: a at `},
		"somebody writes to a versioned table": {func(o *TakeOptions) {
			o.Allow = []Override{AllowHistory}
			s.Feed(t, "CREATE TABLE app.old (x INT) WITH SYSTEM VERSIONING; DO SLEEP(1.1)")
			put := o.Put
			o.Put = func(ctx context.Context, from io.Reader) (backup.File, error) {
				s.Feed(t, "INSERT INTO app.old VALUES (1)")
				return put(ctx, from)
			}
		}, `somebody writes to ` + s.Addr + `, which should be fenced: old at `},
	} {
		t.Run(name, func(t *testing.T) {
			var kept bytes.Buffer
			whole := false
			defer s.Feed(t, "DROP TABLE IF EXISTS app.old")
			o := taking(s, &kept, "app")
			tt.set(&o)
			put := o.Put
			o.Put = func(ctx context.Context, from io.Reader) (backup.File, error) {
				f, err := put(ctx, from)
				whole = err == nil
				return f, err
			}
			_, err := Take(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), tt.want) || whole {
				t.Errorf("%v, want %q; kept: %t", err, tt.want, whole)
			}
		})
	}
	t.Run("somebody may write", func(t *testing.T) {
		var kept bytes.Buffer
		o := taking(s, &kept, "app")
		o.Allow = []Override{AllowRows}
		put := o.Put
		o.Put = func(ctx context.Context, from io.Reader) (backup.File, error) {
			s.Feed(t, "INSERT INTO app.a VALUES (1001, 'x')")
			return put(ctx, from)
		}
		if _, err := Take(t.Context(), o); err != nil {
			t.Error(err)
		}
	})
	t.Run("it leaves somebody behind", func(t *testing.T) {
		settled(t, s)
		var kept bytes.Buffer
		o := taking(s, &kept, "app")
		o.Program = script(`mariadb-dump "$@"; sleep 30 2>/dev/null & exit 0`)
		put := o.Put
		o.Put = func(ctx context.Context, from io.Reader) (backup.File, error) {
			<-time.After(2 * killPatience) // what it has said is read all the same
			return put(ctx, from)
		}
		begun := time.Now()
		got, err := Take(t.Context(), o)
		if err != nil || got.Tables != 1 || time.Since(begun) > 20*time.Second {
			t.Errorf("after %s: %+v, %v", time.Since(begun), got, err)
		}
	})
	t.Run("it warns", func(t *testing.T) {
		settled(t, s)
		var kept bytes.Buffer
		o := taking(s, &kept, "app")
		// What it leaves behind holds on to its standard error.
		o.Program = script(`mariadb-dump "$@"; echo "careful: half of it" >&2; sleep 30 >/dev/null & exit 0`)
		begun := time.Now()
		got, err := Take(t.Context(), o)
		if err != nil || got.Said != "careful: half of it" || time.Since(begun) > 20*time.Second {
			t.Errorf("after %s: %+v, %v", time.Since(begun), got, err)
		}
	})
	t.Run("a history", func(t *testing.T) {
		s.Feed(t, "CREATE TABLE app.old (x INT) WITH SYSTEM VERSIONING; DO SLEEP(1.1)")
		defer s.Feed(t, "DROP TABLE app.old")
		var kept bytes.Buffer
		o := taking(s, &kept, "app")
		o.UnderWay = func(what Override) string { return "say " + string(what) }
		if _, err := Take(t.Context(), o); err == nil || kept.Len() > 0 || !strings.Contains(err.Error(), "a dump holds their rows of now alone: app.old; ") || !strings.Contains(err.Error(), "--dump-history") || !strings.Contains(err.Error(), ", or say history") {
			t.Errorf("%v", err)
		}
		o.Allow = []Override{AllowHistory}
		if _, err := Take(t.Context(), o); err != nil {
			t.Error(err)
		}
	})
	t.Run("a replica", func(t *testing.T) {
		s.Feed(t, "GRANT SLAVE MONITOR ON *.* TO restorer@'127.0.0.1'; CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=1, MASTER_USER='x'; DO SLEEP(1.1)")
		defer s.Feed(t, "RESET SLAVE ALL; REVOKE SLAVE MONITOR ON *.* FROM restorer@'127.0.0.1'")
		var kept bytes.Buffer
		o := taking(s, &kept, "app")
		o.UnderWay = func(what Override) string { return "say " + string(what) }
		if _, err := Take(t.Context(), o); err == nil || !strings.Contains(err.Error(), "replicates from 127.0.0.1: it may lack what was written last; name the server that it follows, or say replica") {
			t.Errorf("%v", err)
		}
		o.Allow = []Override{AllowReplica}
		if _, err := Take(t.Context(), o); err != nil {
			t.Error(err)
		}
	})
	t.Run("grants", func(t *testing.T) {
		s.Feed(t, "REVOKE PROCESS ON *.* FROM restorer@'127.0.0.1'; REVOKE SELECT ON mysql.proc FROM restorer@'127.0.0.1'; REVOKE TRIGGER ON app.* FROM restorer@'127.0.0.1'")
		var kept bytes.Buffer
		_, err := Take(t.Context(), taking(s, &kept, "app"))
		const want = "GRANT TRIGGER ON `app`.* TO 'restorer'@'127.0.0.1'; GRANT SELECT ON mysql.proc TO 'restorer'@'127.0.0.1'; GRANT PROCESS ON *.* TO 'restorer'@'127.0.0.1'"
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
		s.Feed(t, strings.ReplaceAll(want, "'restorer'", "restorer"))
		if of, err := LookSource(t.Context(), account(s), []string{"app"}); err != nil || of.Lacks != "" || of.Tables != 1 || of.Bytes == 0 {
			t.Errorf("%+v, %v", of, err)
		}
	})
}

// What nobody can keep, or wants any more, is not read to its end: mariadb-dump ends at once, with all that it has started.
func TestTakeEndsItsChildren(t *testing.T) {
	s := source(t)
	s.Feed(t, "CREATE DATABASE app; CREATE TABLE app.a (x INT)")
	settled(t, s)
	pids := filepath.Join(t.TempDir(), "pids")
	hangs := filepath.Join(t.TempDir(), "mariadb-dump")
	if err := os.WriteFile(hangs, []byte("#!/bin/sh\nsleep 1000 & echo $$ $! > "+pids+".new\nmv "+pids+".new "+pids+"\necho begun\nwait\n"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	full := errors.New("the bucket is full")
	for name, put := range map[string]func(cancel func(), from io.Reader) error{
		"cancelled":             func(cancel func(), from io.Reader) error { cancel(); _, err := io.Copy(io.Discard, from); return err },
		"the upload is refused": func(_ func(), _ io.Reader) error { return full },
	} {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(pids)
			ctx, cancel := context.WithCancel(t.Context())
			var kept bytes.Buffer
			o := taking(s, &kept, "app")
			o.Program = hangs
			o.Put = func(_ context.Context, from io.Reader) (backup.File, error) {
				for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
					if _, err := os.Stat(pids); err == nil {
						break
					}
				}
				return backup.File{}, put(cancel, from)
			}
			begun := time.Now()
			_, err := Take(ctx, o)
			if name == "cancelled" && !errors.Is(err, context.Canceled) || name != "cancelled" && !errors.Is(err, full) || time.Since(begun) > 10*time.Second {
				t.Errorf("after %s: %v", time.Since(begun), err)
			}
			text, err := os.ReadFile(pids)
			if err != nil {
				t.Fatal(err)
			}
			var shell, sleep int
			if _, err := fmt.Sscan(string(text), &shell, &sleep); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(10 * time.Second); lives(sleep) || lives(shell); <-time.After(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d or %d lives on", shell, sleep)
				}
			}
		})
	}
}

// lives reports whether a process is there, and is more than the memory of one.
func lives(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// A server that ends in mid-dump leaves nothing that could be taken for one.
func TestTakeFromADyingServer(t *testing.T) {
	s, err := mariadbtest.Open()
	if err != nil {
		t.Fatal(err)
	}
	s.Feed(t, "CREATE DATABASE app; CREATE TABLE app.a (x INT PRIMARY KEY, t LONGTEXT); INSERT INTO app.a SELECT seq, REPEAT(MD5(seq), 30000) FROM mysql.seq_1_to_60;"+grants+"GRANT SELECT ON mysql.proc TO restorer@'127.0.0.1'; GRANT PROCESS ON *.* TO restorer@'127.0.0.1'")
	settled(t, s)
	var kept bytes.Buffer
	o := taking(s, &kept, "app")
	o.Compression = "none"
	whole := false
	o.Put = func(_ context.Context, from io.Reader) (backup.File, error) {
		if _, err := io.CopyN(&kept, from, 1<<20); err != nil {
			return backup.File{}, err
		}
		if err := s.Close(); err != nil {
			return backup.File{}, err
		}
		_, err := io.Copy(&kept, from)
		whole = err == nil
		return backup.File{}, err
	}
	if _, err := Take(t.Context(), o); err == nil || whole || !strings.Contains(err.Error(), "has failed after") {
		t.Errorf("%v; kept: %t", err, whole)
	}
}

// What stands on the border of two pieces is counted once.
func TestTakeCounts(t *testing.T) {
	text := []byte("-- head\n" + strings.Repeat("\nCREATE TABLE `t` (\n  `x` int\n);\nINSERT INTO `t` VALUES ('CREATE TABLE `');\n", 40) + "-- Dump completed on 2026-11-29 12:00:00\n")
	for size := 1; size < 60; size++ {
		x := &take{o: TakeOptions{Server: account(&mariadbtest.Server{}), Report: func(string) {}}}
		for rest := text; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			if _, err := x.Write(rest[:min(size, len(rest))]); err != nil {
				t.Fatal(err)
			}
		}
		if x.tables != 40 || x.bytes != int64(len(text)) || !dump.Ends(x.end) {
			t.Errorf("in pieces of %d bytes: %d tables, %d bytes, end %q", size, x.tables, x.bytes, x.end[max(0, len(x.end)-50):])
		}
	}
}
