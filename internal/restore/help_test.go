package restore

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/failoverd/failoverd/internal/backup"
	"github.com/failoverd/failoverd/internal/mariadbtest"
)

func TestMain(m *testing.M) {
	if how := os.Getenv("RESTORE_DIES"); how != "" {
		die(how)
	}
	mariadbtest.Main(m)
}

// die is a process of its own that restores and is killed at a statement, or while the server is at it.
func die(how string) {
	var file string
	var at, us, connections int
	s := new(mariadbtest.Server)
	if _, err := fmt.Sscan(how, &s.Addr, &tokens, &at, &us, &connections, &file); err != nil {
		panic(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	o := options(s, text, "app")
	o.Connections = connections
	o.Step = func(_ context.Context, i int, _ string) error {
		if i == at {
			time.AfterFunc(time.Duration(us)*time.Microsecond, func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) })
			if us == 0 {
				select {}
			}
		}
		return nil
	}
	_, err = Run(context.Background(), o)
	fmt.Println("it lived:", err)
	os.Exit(3)
}

// server is a target as docs/operations.md describes it: the binary log is on, the account has no SUPER, and functions are trusted.
func server(t testing.TB) *mariadbtest.Server {
	t.Helper()
	s := mariadbtest.Shared(t, "target", "--log-bin-trust-function-creators=1", "--max-allowed-packet=17M", "--event-scheduler=ON")
	s.Feed(t, grants)
	return s
}

// grants are those of docs/operations.md.
const grants = "CREATE USER restorer@'127.0.0.1' IDENTIFIED BY 'secret';" +
	"GRANT ALL ON `app`.* TO restorer@'127.0.0.1'; GRANT ALL ON `app\\_\\_re%`.* TO restorer@'127.0.0.1';" +
	"GRANT ALL ON `shop``s`.* TO restorer@'127.0.0.1'; GRANT ALL ON `shop``s\\_\\_re%`.* TO restorer@'127.0.0.1'; GRANT ALL ON `failoverd`.* TO restorer@'127.0.0.1';"

// account is how the restore's account gets to a server.
func account(s *mariadbtest.Server) *mysql.Config {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd = "tcp", s.Addr, "restorer", "secret"
	return c
}

var tokens = uint64(100)

// options are a restore of a file, with a token of its own.
func options(s *mariadbtest.Server, file []byte, databases ...string) Options {
	tokens++
	return Options{
		Server: account(s), Databases: databases, Token: tokens, Epoch: 2,
		Candidate: backup.Candidate{File: backup.File{Key: "app/1.sql", ETag: `"1"`, Size: int64(len(file)), AsOf: time.Now().Add(-3 * time.Hour).Truncate(time.Second)}},
		Open: func(context.Context, backup.File) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(file)), nil
		},
	}
}

func zipped(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, 1)
	if err == nil {
		_, err = z.Write(text)
	}
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var (
	definers = regexp.MustCompile("DEFINER=[`\"][^`\"]*[`\"]@[`\"][^`\"]*[`\"]")
	enabled  = regexp.MustCompile("(ON COMPLETION (?:NOT )?PRESERVE) ENABLE")
)

// everything is all that there is in databases, as mariadb-dump writes it, but for whose name things run in and whether events are on.
func everything(t testing.TB, s *mariadbtest.Server, databases ...string) string {
	t.Helper()
	text := s.Dumped(t, append([]string{"--skip-dump-date", "--order-by-primary", "--routines", "--events", "--hex-blob", "--force", "--max-allowed-packet=64M", "--databases"}, databases...)...)
	// A trigger is made without the name of its database.
	text = bytes.ReplaceAll(text, []byte("TRIGGER app.Hen_qualified AFTER UPDATE ON `app` . hen"), []byte("TRIGGER Hen_qualified AFTER UPDATE ON hen"))
	return enabled.ReplaceAllString(definers.ReplaceAllString(string(text), "DEFINER=x"), "$1 DISABLE")
}

// same fails at the first line in which two texts differ.
func same(t testing.TB, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Fatalf("%s: line %d is\n%.600s\nand should be\n%.600s", what, i, a[i], b[i])
		}
	}
	t.Fatalf("%s: %d lines, and %d should be; got ...%.300q, want ...%.300q", what, len(a), len(b), strings.Join(a[min(len(a), len(b)):], "\n"), strings.Join(b[min(len(a), len(b)):], "\n"))
}

// schemas are those that are no part of the server.
func schemas(t testing.TB, s *mariadbtest.Server) string {
	t.Helper()
	return strings.Join(strings.Fields(s.Feed(t, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN ('mysql','sys','information_schema','performance_schema') ORDER BY 1")), " ")
}
