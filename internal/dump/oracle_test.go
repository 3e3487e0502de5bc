package dump

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/failoverd/failoverd/internal/mariadbtest"
)

func TestMain(m *testing.M) { mariadbtest.Main(m) }

// sent is what mariadb's own client sends to the server when it is fed text.
func sent(t *testing.T, s *mariadbtest.Server, text []byte) []string {
	t.Helper()
	s.Feed(t, "SET GLOBAL log_output='TABLE'; TRUNCATE mysql.general_log; SET GLOBAL general_log=1;")
	_, err := s.Client(text, "--comments", "--binary-mode", "-N", "-B", "--force", "--max-allowed-packet=64M")
	s.Feed(t, "SET GLOBAL general_log=0;")
	if err != nil && !strings.Contains(err.Error(), "ERROR") {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(s.Feed(t, "SELECT HEX(argument) FROM mysql.general_log WHERE command_type IN ('Query','Init DB') ORDER BY event_time, thread_id;", "--max-allowed-packet=256M")) {
		b, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		if string(b) != "SET GLOBAL general_log=0" { // ours
			all = append(all, string(b))
		}
	}
	return all
}

// before is what stands before a statement and is no part of it.
var before = regexp.MustCompile(`(?s)^(?:\s+|--(?:[ \t][^\n]*)?(?:\n|$)|#[^\n]*(?:\n|$)|/\*M!999999.*?\*/|/\*(?:[^!M].*?)?\*/)+`)

// What the client sends of a real dump is what the splitter gives.
func TestSplitAsTheClient(t *testing.T) {
	s := mariadbtest.Shared(t, "oracle", "--max-allowed-packet=64M")
	s.Feed(t, mariadbtest.Rich)
	s.Feed(t, "USE app; INSERT INTO types (id, u) SELECT 9, REPEAT(UNHEX('00010a0d1a22275c3bff'), 100000); INSERT INTO types (s) VALUES (UNHEX('5CFF783431')); INSERT INTO types (s) SELECT RANDOM_BYTES(1000) FROM seq_1_to_200;")
	for name, args := range map[string][]string{
		"all":              {"--databases", "app", "shop`s", "--routines", "--events", "--triggers", "--single-transaction"},
		"one":              {"app", "--routines", "--events", "--hex-blob", "--skip-extended-insert"},
		"with its place":   {"--databases", "app", "--routines", "--events", "--master-data=2", "--gtid", "--flush-logs"},
		"dropping":         {"--databases", "app", "shop`s", "--add-drop-database", "--add-drop-trigger", "--no-autocommit", "--complete-insert", "--replace"},
		"without comments": {"app", "--skip-comments", "--routines"},
		"compact":          {"app", "--compact", "--routines"},
	} {
		text := s.Dumped(t, append(args, "--max-allowed-packet=64M")...)
		compare(t, s, name, text)
	}
	for _, name := range []string{"two", "one", "bare"} {
		text, err := os.ReadFile("testdata/" + name + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		compare(t, s, name, text)
	}
}

// ascii is a statement with one mark for each run of what the server's log writes in its own way, the bytes that are
// no ASCII. Without the mark, what stands on its two sides could come to look like such a byte.
func ascii(text string) string { return foreign.ReplaceAllString(text, "\uFFFD") }

var foreign = regexp.MustCompile(`(?s)(?:\\x[0-9A-F]{2}|[^\x00-\x7f])+`)

func compare(t *testing.T, s *mariadbtest.Server, name string, text []byte) {
	t.Helper()
	want := sent(t, s, text)
	got, _, err := split(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for i := 0; len(want) > 0 && i < len(got); want = want[1:] {
		w := strings.TrimRight(before.ReplaceAllString(want[0], ""), space)
		// The client asks some things for itself, and turns USE into a call.
		use := regexp.MustCompile("^USE `(.*)`$").FindStringSubmatch(got[i])
		switch {
		case ascii(w) == ascii(string(bytes.ToValidUTF8([]byte(got[i]), []byte("\uFFFD")))), use != nil && w == strings.ReplaceAll(use[1], "``", "`"):
			i++
		case w == "select @@version_comment limit 1", w == "SELECT DATABASE()", w == "":
		default:
			t.Fatalf("%s, statement %d: the client sends\n%.300q\nand the splitter gives\n%.300q", name, i, w, got[i])
		}
		if i == len(got) && len(want) > 1 && before.ReplaceAllString(want[1], "") != "" {
			t.Fatalf("%s: the client sends more: %.300q", name, want[1])
		}
		if len(want) == 1 && i < len(got) {
			t.Fatalf("%s: the splitter gives more: %.300q", name, got[i])
		}
	}
	if len(got) < 50 {
		t.Errorf("%s: %d statements", name, len(got))
	}
}
