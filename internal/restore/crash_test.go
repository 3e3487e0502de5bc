package restore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/internal/mariadbtest"
)

// small is a live schema and a backup of another state of it, with something of each sort.
func small(t testing.TB, s *mariadbtest.Server) (backup []byte, before, after string, live func()) {
	t.Helper()
	const made = "CREATE DATABASE app; USE app; CREATE TABLE hen (id INT PRIMARY KEY, egg INT); CREATE TABLE egg (id INT PRIMARY KEY, hen INT, CONSTRAINT egg_of FOREIGN KEY (hen) REFERENCES hen (id));" +
		"ALTER TABLE hen ADD CONSTRAINT hen_from FOREIGN KEY (egg) REFERENCES egg (id); CREATE VIEW z AS SELECT id FROM hen; CREATE VIEW a AS SELECT id FROM z;" +
		"CREATE TRIGGER t BEFORE INSERT ON hen FOR EACH ROW SET NEW.id = NEW.id + 1; CREATE TRIGGER u AFTER DELETE ON egg FOR EACH ROW SET @x = 1;" +
		"CREATE PROCEDURE p() SELECT 1; CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1; CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2020-01-01 00:00:00' DISABLE DO SELECT 1;"
	clean(t, s)
	s.Feed(t, made+"INSERT INTO hen VALUES (1, NULL), (2, NULL), (3, NULL); INSERT INTO egg VALUES (1, 2); UPDATE hen SET egg = 1;")
	backup = s.Dumped(t, "--databases", "app", "--routines", "--events")
	after = everything(t, s, "app")
	live = func() {
		clean(t, s)
		s.Feed(t, made+"INSERT INTO egg VALUES (7, NULL); ALTER TABLE egg ADD COLUMN extra INT; CREATE TABLE only_live (id INT PRIMARY KEY);")
	}
	live()
	return backup, everything(t, s, "app"), after, live
}

// points is at how many statements a run dies, or stands still; all of them take half an hour. With kill9 each death is that of a
// process that is killed (make restore-kills); otherwise every third one.
var (
	points = flag.Int("points", 8, "statements at which a restore is killed")
	kill9  = flag.Bool("kill9", false, "a restore dies by kill -9 only, and a process that outlived its point does not count")
)

// some are places among n statements: more of those about the swap, which come late.
func some(n int, random *rand.Rand) (all []int) {
	for i := range *points {
		all = append(all, 1+random.IntN(n))
		if i%2 == 0 {
			all[i] = n*2/3 + random.IntN(n/3)
		}
	}
	return all
}

// whole fails unless the live schema's tables are all from before a swap or all from behind it.
func whole(t *testing.T, s *mariadbtest.Server, what string) (swapped bool) {
	t.Helper()
	got := strings.Fields(s.Feed(t, "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA='app' AND TABLE_NAME='only_live'; SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA='app' AND COLUMN_NAME='extra';"+
		"SELECT COUNT(*) FROM app.hen; SELECT COALESCE(MIN(id), 0) FROM app.egg"))
	switch strings.Join(got, " ") {
	case "1 1 0 7":
		return false
	case "0 0 3 1":
		return true
	}
	t.Fatalf("%s: the live schema is half swapped: %q", what, got)
	return false
}

// A run that dies before any of its statements, or while the server is at it, and is run again by another leader, ends as one
// that lives; the live schema is never half swapped.
func TestDeath(t *testing.T) {
	s := server(t)
	backup, before, after, live := small(t, s)
	// Over three connections as well, where which statement is the n-th differs from run to run.
	n := map[int]int{}
	for _, connections := range []int{1, 3} {
		live()
		o := options(s, backup, "app")
		o.Connections = connections
		o.Step = func(context.Context, int, string) error { n[connections]++; return nil }
		if _, err := Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		same(t, "undisturbed", everything(t, s, "app"), after)
	}
	t.Logf("statements by connections: %v", n)
	file := filepath.Join(t.TempDir(), "backup.sql")
	if err := os.WriteFile(file, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	swaps := map[bool]int{}
	again := before
	killed := 0
	for k, died := 0, 0; died < *points; k++ {
		connections := 1 + 2*(k%2)
		at := 1 + random.IntN(n[connections])
		if k%4 < 2 { // more of those about the swap, which come late
			at = n[connections]*2/3 + random.IntN(n[connections]/3)
		}
		live()
		what := fmt.Sprintf("statement %d over %d connections", at, connections)
		dies := options(s, backup, "app")
		dies.Connections = connections
		reached := false
		ctx, cancel := context.WithCancel(t.Context())
		how := k % 3
		if *kill9 {
			how = 2
		}
		dies.Step = func(_ context.Context, i int, text string) error {
			if i == at {
				reached = true
				what = fmt.Sprintf("%s, %d: %.80q", what, how, text)
				switch how {
				case 0: // its context ends before it, and whatever comes
					cancel()
				case 1: // and while the server is at it
					time.AfterFunc(time.Duration(random.IntN(3000))*time.Microsecond, cancel)
				}
			}
			return nil
		}
		var err error
		if how == 2 { // its process is killed, and tells nobody
			us := random.IntN(2) * random.IntN(3000)
			what += fmt.Sprintf(", kill -9 after %d µs", us)
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), fmt.Sprintf("RESTORE_DIES=%s %d %d %d %d %s", s.Addr, tokens, at, us, connections, file))
			tokens += 2
			var out []byte
			if out, err = cmd.CombinedOutput(); us == 0 && connections == 1 && cmd.ProcessState.ExitCode() != -1 {
				t.Fatalf("%s: %v, %s", what, err, out)
			}
			if cmd.ProcessState.ExitCode() == -1 {
				killed++
			}
		} else {
			_, err = Run(ctx, dies)
		}
		cancel()
		if died++; *kill9 {
			died = killed
		}
		if err == nil && how == 0 && reached {
			t.Fatalf("%s: it lived", what)
		}
		swapped := whole(t, s, what)
		swaps[swapped]++
		if st, err := Look(t.Context(), account(s), []string{"app"}); err != nil || st.Done && !swapped || st.Half && !swapped {
			t.Errorf("%s: %+v, %v", what, st, err)
		}
		next := options(s, backup, "app")
		if k%4 == 0 { // it goes home instead
			if err := Undo(t.Context(), next); err != nil {
				t.Fatalf("%s, undo: %v", what, err)
			}
			if got := everything(t, s, "app"); swapped {
				same(t, what+", undone", strip(got), strip(again))
			} else {
				same(t, what+", undone", got, again)
			}
			next = options(s, backup, "app")
		}
		if _, err := Run(t.Context(), next); err != nil {
			t.Fatalf("%s, then: %v", what, err)
		}
		same(t, what, everything(t, s, "app"), after)
		if got := schemas(t, s); strings.Contains(got, "__restore_") {
			t.Errorf("%s: there are %s", what, got)
		}
	}
	t.Logf("%d killed by kill -9; %d died before the swap, %d behind it", killed, swaps[false], swaps[true])
	if killed == 0 || swaps[true] == 0 || swaps[false] == 0 {
		t.Errorf("died before and behind the swap: %v", swaps)
	}
}

// strip leaves out routines and events, which an undo does not take back.
func strip(text string) string {
	before, _, _ := strings.Cut(text, "-- Dumping events")
	return before
}

// A leader that stood still and goes on when another one has long ended changes nothing, wherever it stood.
func TestStale(t *testing.T) {
	s := server(t)
	backup, _, after, live := small(t, s)
	n := 0
	count := options(s, backup, "app")
	count.Step = func(context.Context, int, string) error { n++; return nil }
	if _, err := Run(t.Context(), count); err != nil {
		t.Fatal(err)
	}
	for k, at := range some(n, rand.New(rand.NewPCG(3, 4)))[:(*points+1)/2] {
		live()
		old := options(s, backup, "app")
		old.Connections = 1 + 2*(k%2) // that many others go on as well
		what := ""
		old.Step = func(_ context.Context, i int, text string) error {
			if i == at {
				what = fmt.Sprintf("stopped before statement %d, %.80q", i, text)
				if _, err := Run(t.Context(), options(s, backup, "app")); err != nil {
					t.Fatalf("the next leader, %s: %v", what, err)
				}
				// And the application writes.
				s.Feed(t, "USE app; INSERT INTO hen (id) VALUES (70)")
			}
			return nil
		}
		if _, err := Run(t.Context(), old); err == nil {
			t.Errorf("%s: it has gone on to the end", what)
		}
		s.Feed(t, "USE app; DELETE FROM hen WHERE id=71")
		same(t, what, everything(t, s, "app"), after)
		if _, err := Run(t.Context(), old); !errors.Is(err, ErrStaleToken) {
			t.Errorf("%s: once more: %v", what, err)
		}
		same(t, what, everything(t, s, "app"), after)
	}
	// A token that was burnt is one that is stale.
	o := options(s, backup, "app")
	burnt := options(s, backup, "app")
	if err := Burn(t.Context(), account(s), []string{"app"}, burnt.Token); err != nil {
		t.Fatal(err)
	}
	o.Epoch = 9
	if _, err := Run(t.Context(), o); !errors.Is(err, ErrStaleToken) {
		t.Errorf("with an older token than the one that was burnt: %v", err)
	}
	if err := Burn(t.Context(), account(s), []string{"app"}, o.Token); !errors.Is(err, ErrStaleToken) {
		t.Errorf("burning with an older token: %v", err)
	}
	same(t, "burnt", everything(t, s, "app"), after)
}
