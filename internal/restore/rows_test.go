package restore

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/failoverd/failoverd/internal/mariadbtest"
)

// elsewhere is a server that has its own idea of the time of day, with rows of one minute before, at and after 04:00 UTC in each type of column.
func elsewhere(t *testing.T) (*mariadbtest.Server, time.Time) {
	t.Helper()
	s := mariadbtest.Shared(t, "elsewhere", "--default-time-zone=-07:00", "--log-bin-trust-function-creators=1")
	s.Feed(t, grants+`CREATE DATABASE app; USE app; SET time_zone='+00:00';
		CREATE TABLE orders (n INT, at TIMESTAMP(3) NOT NULL DEFAULT 0, said DATETIME, epoch BIGINT);
		INSERT INTO orders VALUES (1, '2026-11-29 03:59:00', '2026-11-29 03:59:00', 0), (2, '2026-11-29 04:00:00', '2026-11-29 04:00:00', 0),
			(3, '2026-11-29 04:01:00', '2026-11-29 04:01:00', 0), (4, '2026-11-29 11:01:00', '2026-11-29 11:01:00', 0);
		UPDATE orders SET at=at, epoch=UNIX_TIMESTAMP(at);
		CREATE TABLE noted (n INT); CREATE SEQUENCE numbers;
		CREATE FUNCTION notes(x DATETIME) RETURNS INT MODIFIES SQL DATA BEGIN INSERT INTO app.noted VALUES (1); RETURN 1; END`, "--delimiter=;;")
	return s, time.Date(2026, 11, 29, 4, 0, 0, 0, time.UTC)
}

// The time of the backup means the same in every type of column, whatever the server takes for the time of day.
func TestRows(t *testing.T) {
	s, at := elsewhere(t)
	tokyo := time.FixedZone("", 9*3600)
	got, err := Rows(t.Context(), account(s), at.In(tokyo), []string{
		"SELECT COUNT(*) FROM app.orders WHERE at > ?",
		"SELECT COUNT(*) FROM app.orders WHERE said > ?",
		"SELECT COUNT(*) FROM app.orders WHERE epoch > UNIX_TIMESTAMP(?)",
		"select sum(n) from app.orders where at >= ?",
		"SELECT COUNT(*) FROM app.orders WHERE at > CONVERT_TZ(?, '+00:00', '+07:00')",
		"SELECT COUNT(*) FROM app.orders WHERE at > ? + INTERVAL 1 YEAR",
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{2, 2, 2, 9, 1, 0} {
		if got[i].Err != nil || got[i].Rows != want {
			t.Errorf("query %d: %+v, want %d", i, got[i], want)
		}
	}
}

// What is no number of rows is never a zero, and nothing is written; one query that is wrong leaves the others.
func TestRowsRefusesWhatIsNoCount(t *testing.T) {
	s, at := elsewhere(t)
	s.Feed(t, "CREATE DATABASE secret; CREATE TABLE secret.a (at DATETIME); INSERT INTO app.noted VALUES (7)")
	queries := map[string]string{
		"SELECT n, n FROM app.orders WHERE at > ? LIMIT 1":               "it answers with 2 columns; it has to select one number of rows",
		"SELECT n FROM app.orders WHERE at > ?":                          "it answers with more than one row",
		"SELECT n FROM app.orders WHERE at > ? + INTERVAL 1 YEAR":        "it answers with no row",
		"SELECT MAX(n) FROM app.orders WHERE at > ? + INTERVAL 1 YEAR":   "it answers with NULL",
		"SELECT -COUNT(*) FROM app.orders WHERE at > ?":                  `it answers with "-2"`,
		"SELECT AVG(n) FROM app.orders WHERE at > ?":                     `it answers with "3.5000"`,
		"SELECT MAX(at) FROM app.orders WHERE at > ?":                    `it answers with "2026-11-29 11:01:00.000"`,
		"SELECT COUNT(*) FROM app.gone WHERE at > ?":                     "doesn't exist",
		"SELECT COUNT(*) FROM secret.a WHERE at > ?":                     "the account may not read that there; GRANT SELECT on it",
		"SELECT app.notes(?)":                                            "it would write, and may only read",
		"SELECT NEXTVAL(app.numbers) FROM app.noted WHERE ? IS NOT NULL": "it would write, and may only read",
		"SELECT SLEEP(20) FROM app.orders WHERE at > ?":                  "it takes the server longer than 2s, and was ended",
	}
	var texts []string
	for q := range queries {
		texts = append(texts, q)
	}
	texts = append(texts, "SELECT COUNT(*) FROM app.orders WHERE at > ?")
	begun := time.Now()
	got, err := Rows(t.Context(), account(s), at, texts)
	if err != nil {
		t.Fatal(err)
	}
	for i, q := range texts[:len(queries)] {
		if got[i].Err == nil || !strings.Contains(got[i].Err.Error(), queries[q]) {
			t.Errorf("%s: %+v, want %q", q, got[i], queries[q])
		}
	}
	if last := got[len(queries)]; last.Err != nil || last.Rows != 2 {
		t.Errorf("the good one: %+v", last)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if noted := strings.TrimSpace(s.Feed(t, "SELECT GROUP_CONCAT(n) FROM app.noted; SELECT NEXTVAL(app.numbers)")); noted != "7\n1" {
		t.Errorf("a query has written: %q", noted)
	}
}

// A server that says nothing, or nothing any more, is waited for as long as the caller does.
func TestRowsOfAServerThatHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd = "tcp", l.Addr().String(), "restorer", "secret"
	s, at := elsewhere(t)
	for name, ask := range map[string]func(ctx context.Context) error{
		"from the first": func(ctx context.Context) error { _, err := Rows(ctx, c, at, []string{"SELECT ?"}); return err },
		"in mid-query": func(ctx context.Context) error {
			_, err := Rows(ctx, account(s), at, []string{"SELECT SLEEP(1.5) FROM app.orders WHERE at > ?"})
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		begun := time.Now()
		if err := ask(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 5*time.Second {
			t.Errorf("%s: %v after %s", name, err, time.Since(begun))
		}
		cancel()
	}
}
