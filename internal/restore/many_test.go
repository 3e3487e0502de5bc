package restore

import (
	"fmt"
	"strings"
	"testing"
)

// manyTables is how many tables are swapped by one statement.
const manyTables = 500

// A database of 500 tables, in use: each has the checksum that it has when mariadb's own client is fed the same dump, all of them are
// swapped by one statement, and none is left of what was there before.
func TestManyTables(t *testing.T) {
	s := server(t)
	clean(t, s)
	var made, checksums, meanwhile strings.Builder
	made.WriteString("CREATE DATABASE app; USE app;")
	checksums.WriteString("CHECKSUM TABLE app.t000")
	for i := range manyTables {
		key := "id INT AUTO_INCREMENT PRIMARY KEY"
		if i%10 == 3 {
			key = "id INT"
		}
		fmt.Fprintf(&made, "CREATE TABLE t%03d (%s, n DECIMAL(20,6), s VARCHAR(%d) CHARACTER SET %s, b BLOB, at DATETIME(6), KEY (n), KEY (s(10)));", i, key, 60+i, []string{"utf8mb4", "latin1"}[i%2])
		fmt.Fprintf(&made, "INSERT INTO t%03d SELECT seq, seq * %d / 7, CONCAT('é\\'\\\\;\\n', MD5(seq + %[2]d)), UNHEX(SHA1(seq * %[2]d)), '2024-02-29 12:00:00' + INTERVAL seq SECOND FROM seq_1_to_%d;", i, i+1, 1+i%37)
		if i%25 == 7 {
			fmt.Fprintf(&made, "DELETE FROM t%03d;", i)
		}
		fmt.Fprintf(&meanwhile, "UPDATE t%03d SET n = n + 1; INSERT INTO t%03[1]d (id) VALUES (1000);", i)
		if i > 0 {
			fmt.Fprintf(&checksums, ", app.t%03d", i)
		}
	}
	checksums.WriteString(" EXTENDED")
	s.Feed(t, made.String())
	text := s.Dumped(t, "--databases", "app", "--routines", "--events", "--single-transaction")
	clean(t, s)
	s.Feed(t, string(text))
	want, all := s.Feed(t, checksums.String()), everything(t, s, "app")
	if n := strings.Count(want, "\n"); n != manyTables || strings.Contains(want, "NULL") {
		t.Fatalf("%d checksums: %.300s", n, want)
	}
	s.Feed(t, "USE app; "+meanwhile.String()+"CREATE TABLE only_live (id INT)")
	if s.Feed(t, checksums.String()) == want {
		t.Fatal("what was written meanwhile changes no checksum")
	}
	o := options(s, zipped(t, text), "app")
	o.Connections = 4
	res, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(res.Text())
	same(t, "checksums", s.Feed(t, checksums.String()), want)
	same(t, "all", everything(t, s, "app"), all)
}
