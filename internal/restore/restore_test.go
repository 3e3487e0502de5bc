package restore

import (
	"strings"
	"testing"

	"github.com/failoverd/failoverd/internal/mariadbtest"
)

// rich makes what is in mariadbtest.Rich and more, dumps it, and takes it away again.
func rich(t testing.TB, s *mariadbtest.Server, args ...string) []byte {
	t.Helper()
	s.Feed(t, "SET GLOBAL event_scheduler=OFF;"+mariadbtest.Rich)
	s.Feed(t, "USE app; INSERT INTO types (id, u) VALUES (9, REPEAT(UNHEX('00010a0d1a22275c3bff'), 524288)); INSERT INTO types (s) SELECT RANDOM_BYTES(1000) FROM seq_1_to_200; DELETE FROM log; CREATE TABLE heap (n INT, t CHAR(100)); INSERT INTO heap SELECT seq, MD5(seq) FROM seq_1_to_3000")
	text := s.Dumped(t, append([]string{"--routines", "--events", "--single-transaction", "--max-allowed-packet=64M"}, args...)...)
	clean(t, s)
	return text
}

func clean(t testing.TB, s *mariadbtest.Server) {
	t.Helper()
	all := s.Feed(t, "SELECT CONCAT('DROP DATABASE `', REPLACE(SCHEMA_NAME, '`', '``'), '`;') FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN ('mysql','sys','information_schema','performance_schema')", "--raw")
	s.Feed(t, "SET foreign_key_checks=0;"+all)
}

// What is restored is what mariadb's own client makes of the same dump, and nothing else stays; on a server that is empty and on
// one that is in use. An account without SUPER does it, with the binary log on.
func TestRestore(t *testing.T) {
	s := server(t)
	both := []string{"app", "shop`s"}
	for _, tt := range []struct {
		name      string
		args      []string
		databases []string
		over      bool // something is there already
		gzip      bool

		connections int
	}{
		{"of two databases", []string{"--databases", "app", "shop`s"}, both, false, false, 0},
		{"over what is there", []string{"--databases", "app", "shop`s", "--add-drop-database", "--add-drop-trigger", "--gtid", "--master-data=1", "--flush-logs"}, both, true, true, 4},
		{"of one", []string{"app", "--no-autocommit", "--skip-extended-insert"}, both[:1], true, true, 1},
		{"of one, over three connections", []string{"app", "--no-autocommit", "--skip-extended-insert"}, both[:1], true, false, 3},
		{"of two databases, over two", []string{"--databases", "app", "shop`s", "--net-buffer-length=4096"}, both, false, true, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clean(t, s)
			text := rich(t, s, tt.args...)
			if len(tt.databases) == 1 {
				s.Feed(t, "CREATE DATABASE app CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
				s.Feed(t, string(text), "app", "--max-allowed-packet=64M")
			} else {
				s.Feed(t, strings.ReplaceAll(string(text), "\nCHANGE MASTER", "\n-- CHANGE MASTER"), "--max-allowed-packet=64M")
			}
			want := everything(t, s, tt.databases...)
			if tt.over { // and is in use
				s.Feed(t, "USE app; DROP EVENT ev_soon; INSERT INTO hen VALUES (50, NULL, 'written meanwhile'); CREATE TABLE extra (id INT); CREATE VIEW extra_view AS SELECT 1; CREATE TRIGGER extra_trigger BEFORE INSERT ON extra FOR EACH ROW SET @x=1;")
			} else {
				clean(t, s)
			}
			if len(tt.databases) == 1 {
				s.Feed(t, "CREATE DATABASE IF NOT EXISTS app CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
			}
			s.Feed(t, "SET GLOBAL event_scheduler=ON")
			file := text
			if tt.gzip {
				file = zipped(t, text)
			}
			o := options(s, file, tt.databases...)
			o.Connections = tt.connections
			var said []string
			o.Report = func(line string) { said = append(said, line) }
			res, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "restored", everything(t, s, tt.databases...), want)
			t.Log(res.Text())
			if got := strings.Join(said, "\n"); !strings.Contains(got, "to its end before anything is touched") || !strings.Contains(got, "swapping") {
				t.Errorf("it says %s", got)
			}
			for _, want := range []string{"ALTER EVENT `app`.`ev` ENABLE; ALTER EVENT `app`.`ev_soon` ENABLE", "`root`@`127.0.0.1` (the account may not make anything for it without SET USER) runs in that of restorer@127.0.0.1 now"} {
				if !strings.Contains(res.Text(), want) {
					t.Errorf("%q is not in %s", want, res.Text())
				}
			}
			if got := s.Feed(t, "SELECT COUNT(*) FROM app.log; SELECT COUNT(*) FROM information_schema.EVENTS WHERE STATUS='ENABLED'"); strings.Join(strings.Fields(got), " ") != "0 0" {
				t.Errorf("events have run, or are on: %s", got)
			}
			if got := schemas(t, s); strings.Contains(got, "__restore_") || strings.Contains(got, "app__replaced_") != tt.over {
				t.Errorf("there are %s", got)
			}
			// Again is nothing new; in another epoch it is.
			o.Token++
			tokens++
			if res, err := Run(t.Context(), o); err != nil || !res.Already || len(res.Notes) < 2 {
				t.Errorf("again: %+v, %v", res, err)
			}
			if tt.over {
				return
			}
			s.Feed(t, "DELETE FROM app.tree WHERE id=3")
			o.Token, o.Epoch = o.Token+1, 3
			tokens++
			if res, err := Run(t.Context(), o); err != nil || res.Already {
				t.Errorf("in another epoch: %+v, %v", res, err)
			}
			same(t, "restored again", everything(t, s, tt.databases...), want)
		})
	}
}
