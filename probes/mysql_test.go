package probes

import (
	"database/sql"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mariadbtest"
)

func TestMain(m *testing.M) { mariadbtest.Main(m) }

// mysqlGrants is what docs/operations.md asks for.
const mysqlGrants = "CREATE USER watcher@'127.0.0.1' IDENTIFIED BY 'hunter2'; GRANT SELECT, INSERT, DELETE ON failoverd.canary TO watcher@'127.0.0.1'; GRANT SLAVE MONITOR ON *.* TO watcher@'127.0.0.1';"

// mysqlServerOf is a server with the table and the account.
func mysqlServerOf(t *testing.T, name string, flags ...string) *mariadbtest.Server {
	t.Helper()
	s := mariadbtest.Shared(t, name, flags...)
	s.Feed(t, "SET GLOBAL read_only=OFF; SET GLOBAL event_scheduler=OFF; CREATE DATABASE failoverd; "+fmt.Sprintf(canaryTable, "failoverd.canary")+";"+mysqlGrants)
	return s
}

const e1, e2 = failover.Region("us-east-1"), failover.Region("us-east-2")

func mysqlConfig(t *testing.T, servers ...string) *MySQLConfig {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &MySQLConfig{Servers: map[failover.Region][]string{e1: servers}, User: "watcher", PasswordFile: file}
}

func mysqlDeps(t *testing.T) Deps {
	d := deps(t)
	d.Timeout = 2 * time.Second
	return d
}

// connected is a connection of root's own.
func connected(t *testing.T, s *mariadbtest.Server) *sql.Conn {
	t.Helper()
	db, err := sql.Open("mysql", s.DSN("root", "", ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMySQL(t *testing.T) {
	s := mysqlServerOf(t, "mysql")
	d := mysqlDeps(t)
	c := mysqlConfig(t, s.Addr)
	expect(t, look(t, c, d), failover.OK, "", "-MariaDB")
	if rows := s.Feed(t, "SELECT COUNT(*) FROM failoverd.canary"); rows != "0\n" {
		t.Errorf("%s rows without write", rows)
	}
	c.Write, c.ReadOnly = true, map[failover.Region]bool{e1: false}
	expect(t, look(t, c, d), failover.OK, "", "has written a row")
	expect(t, look(t, c, d), failover.OK, "", "has written a row")
	if rows := s.Feed(t, "SELECT node, TIMESTAMPDIFF(SECOND, at, UTC_TIMESTAMP()) < 60 FROM failoverd.canary"); rows != "n1@"+s.Addr+"\t1\n" {
		t.Errorf("two looks have left %q", rows)
	}

	// read_only: what a region must not be makes it fail only where nobody can write.
	s.Feed(t, "SET GLOBAL read_only=ON")
	expect(t, look(t, c, d), failover.Failed, failover.ReasonRole, "takes no writes (read_only=ON); a server of us-east-1 must take writes, and none is seen that does")
	c.ReadOnly[e1], c.Write = true, false
	expect(t, look(t, c, d), failover.OK, "", "takes no writes (read_only=ON)")
	s.Feed(t, "SET GLOBAL read_only=OFF")
	expect(t, look(t, c, d), failover.Slow, failover.ReasonRole, "it takes writes, and read_only says that it must not")
	delete(c.ReadOnly, e1)

	c.Events = map[failover.Region]bool{e1: false}
	expect(t, look(t, c, d), failover.OK, "", "")
	s.Feed(t, "SET GLOBAL event_scheduler=ON")
	expect(t, look(t, c, d), failover.Slow, failover.ReasonRole, "its event scheduler is ON, and must be OFF")
	c.Events[e1] = true
	expect(t, look(t, c, d), failover.OK, "", "")
	s.Feed(t, "SET GLOBAL event_scheduler=OFF")
	expect(t, look(t, c, d), failover.Slow, failover.ReasonRole, "its event scheduler is OFF, and must be ON")
	c.Events = nil

	c.Slow = 1
	expect(t, look(t, c, d), failover.Slow, failover.ReasonSlow, "slow is 1ns")
}

// A mistake of ours says nothing of the region: it is never a vote.
func TestMySQLMistakes(t *testing.T) {
	s := mysqlServerOf(t, "mysql")
	d := mysqlDeps(t)
	good := mysqlConfig(t, s.Addr)
	good.ReadOnly = map[failover.Region]bool{e1: false}
	for _, tt := range []struct {
		what   string
		sql    string
		change func(c *MySQLConfig)
		reason failover.ReasonCode
		detail string
	}{
		{"another user", "", func(c *MySQLConfig) { c.User = "nobody" }, failover.ReasonAuth, "does not accept our user"},
		{"another password", "SET PASSWORD FOR watcher@'127.0.0.1' = PASSWORD('x')", nil, failover.ReasonAuth, "does not accept our user"},
		{"no right to read", "REVOKE SELECT ON failoverd.canary FROM watcher@'127.0.0.1'", nil, failover.ReasonAuth, "reading from failoverd.canary: Error 1142"},
		{"no right to write", "REVOKE INSERT ON failoverd.canary FROM watcher@'127.0.0.1'", func(c *MySQLConfig) { c.Write = true }, failover.ReasonAuth, "writing to failoverd.canary: Error 1142"},
		{"no table", "DROP TABLE failoverd.canary", nil, failover.ReasonConfig, "make it there (CREATE TABLE IF NOT EXISTS failoverd.canary"},
		{"no table, and no right to make one", "DROP TABLE failoverd.canary", func(c *MySQLConfig) { c.Write = true }, failover.ReasonConfig, "make it there (CREATE TABLE"},
		{"no database", "DROP DATABASE failoverd; GRANT ALL ON *.* TO watcher@'127.0.0.1'", func(c *MySQLConfig) { c.Write = true }, failover.ReasonConfig, "make it there (CREATE TABLE"},
		{"a table of another form", "ALTER TABLE failoverd.canary RENAME COLUMN at TO since", func(c *MySQLConfig) { c.Write = true }, failover.ReasonConfig, "Error 1054"},
		{"no right to see replication", "REVOKE SLAVE MONITOR ON *.* FROM watcher@'127.0.0.1'", func(c *MySQLConfig) { c.ReplicaOf = map[failover.Region]string{e1: "none"} }, failover.ReasonAuth, "asking for its replication: Error 1227"},
		{"no right to see whether it may be written to", "REVOKE SLAVE MONITOR ON *.* FROM watcher@'127.0.0.1'", func(c *MySQLConfig) { c.Write = true }, failover.ReasonAuth, "write and replica_of need the right SLAVE MONITOR"},
		{"no password", "", func(c *MySQLConfig) { c.PasswordFile = "/nowhere/password" }, failover.ReasonConfig, "was not asked: the password of watcher"},
		{"no authority", "", func(c *MySQLConfig) { c.CAFile = "/nowhere/ca" }, failover.ReasonConfig, "was not asked: the certificates by which it is known"},
		{"no certificate", "", func(c *MySQLConfig) { c.CAFile = c.PasswordFile }, failover.ReasonConfig, "holds no certificate"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			s := mysqlServerOf(t, "mysql")
			c := *good
			if tt.sql != "" {
				s.Feed(t, tt.sql)
			}
			if tt.change != nil {
				tt.change(&c)
			}
			o := look(t, &c, d)
			expect(t, o, failover.Misconfigured, tt.reason, tt.detail)
			if strings.Contains(o.Detail, "hunter2") {
				t.Errorf("the password leaks: %s", o.Detail)
			}
		})
	}
	t.Run("the table is made where the account may", func(t *testing.T) {
		s := mysqlServerOf(t, "mysql")
		s.Feed(t, "DROP TABLE failoverd.canary; GRANT SELECT, INSERT, DELETE, CREATE ON failoverd.* TO watcher@'127.0.0.1'")
		c := *good
		c.Write = true
		expect(t, look(t, &c, d), failover.OK, "", "has written a row")
	})
}

// What keeps everybody from being served is a failure, whoever notices it; what keeps only us out, or only newcomers, is not.
func TestMySQLServesNobody(t *testing.T) {
	d := mysqlDeps(t)
	s := mysqlServerOf(t, "mysql")
	c := mysqlConfig(t, s.Addr)
	c.Write, c.ReadOnly = true, map[failover.Region]bool{e1: false}
	t.Run("a lock over everything", func(t *testing.T) {
		other := connected(t, s)
		if _, err := other.ExecContext(t.Context(), "FLUSH TABLES WITH READ LOCK"); err != nil {
			t.Fatal(err)
		}
		// Our own time-out is two seconds, and the server gives the wait up after one. It is alive, and a failover would not unlock it.
		expect(t, look(t, c, d), failover.Slow, failover.ReasonTimeout, "Lock wait timeout exceeded")
		if _, err := other.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
			t.Fatal(err)
		}
		expect(t, look(t, c, d), failover.OK, "", "has written a row")
	})
	t.Run("as many clients as there may be", func(t *testing.T) {
		s.Feed(t, "SET GLOBAL max_connections=10")
		defer connected(t, s).ExecContext(t.Context(), "SET GLOBAL max_connections=151") //nolint:errcheck // the connection is there
		for range 9 {
			connected(t, s)
		}
		expect(t, look(t, c, d), failover.Slow, failover.ReasonThrottled, "lets nobody else in: Error 1040")
	})
	t.Run("as many connections as ours may have", func(t *testing.T) {
		s := mysqlServerOf(t, "mysql")
		s.Feed(t, "SET GLOBAL max_connections=151; ALTER USER watcher@'127.0.0.1' WITH MAX_USER_CONNECTIONS 1")
		db, err := sql.Open("mysql", s.DSN("watcher", "hunter2", ""))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		expect(t, look(t, c, d), failover.Misconfigured, failover.ReasonConfig, "Error 1226")
		// Those that a server which hangs still has are no mistake of ours.
		p, err := c.probe(d)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		p.servers[0].hung = true
		for range 2 {
			expect(t, p.Probe(t.Context()), failover.Failed, failover.ReasonTimeout, "still has what was asked before and not answered")
		}
	})
	expect(t, look(t, mysqlConfig(t, closedPort(t)), d), failover.Failed, failover.ReasonRefused, "refused the connection")
	d.Resolvers = []string{dnsServer(t)}
	expect(t, look(t, mysqlConfig(t, "db.example.net:3306"), d), failover.Failed, failover.ReasonDNS, "db.example.net does not exist")
}

// Which of the server's errors is a vote.
func TestMySQLErrors(t *testing.T) {
	for code, want := range map[uint16]failover.Outcome{
		1045: failover.Misconfigured, 1698: failover.Misconfigured, 1129: failover.Misconfigured, 1130: failover.Misconfigured, 1049: failover.Misconfigured, 1146: failover.Misconfigured, 1064: failover.Misconfigured, 9999: failover.Misconfigured,
		1040: failover.Slow, 1205: failover.Slow, 1969: failover.Slow, 3024: failover.Slow, 1213: failover.Slow, 1317: failover.Slow, 1927: failover.Slow,
		1290: failover.Failed, 1836: failover.Failed, 1114: failover.Failed, 1047: failover.Failed, 1030: failover.Failed, 1053: failover.Failed,
	} {
		r := new(mysqlServer).wrong(fmt.Errorf("writing: %w", &mysql.MySQLError{Number: code, Message: "no"}))
		if r.outcome != want || r.reason == "" || !strings.Contains(r.detail, fmt.Sprint(code)) {
			t.Errorf("%d is %s/%s %q, want %s", code, r.outcome, r.reason, r.detail, want)
		}
	}
}

// One connection is kept, and one that the server has closed meanwhile is no failure.
func TestMySQLKeepsItsConnection(t *testing.T) {
	s := mysqlServerOf(t, "mysql")
	p, err := mysqlConfig(t, s.Addr).probe(mysqlDeps(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ours := func() string {
		return strings.TrimSpace(s.Feed(t, "SELECT GROUP_CONCAT(ID) FROM information_schema.PROCESSLIST WHERE USER='watcher'"))
	}
	expect(t, p.Probe(t.Context()), failover.OK, "", "")
	first := ours()
	expect(t, p.Probe(t.Context()), failover.OK, "", "")
	if second := ours(); first == "NULL" || second != first {
		t.Errorf("connections %s, then %s", first, second)
	}
	s.Feed(t, "KILL "+first)
	for end := time.Now().Add(10 * time.Second); ours() != "NULL"; {
		if time.Now().After(end) {
			t.Fatal("the connection was not ended")
		}
	}
	expect(t, p.Probe(t.Context()), failover.OK, "", "")
	second := ours()
	p.servers[0].made = time.Now().Add(-2 * mysqlRenew)
	expect(t, p.Probe(t.Context()), failover.OK, "", "")
	if third := ours(); second == "NULL" || third == second || strings.Contains(third, ",") {
		t.Errorf("connection %s is used for ever: %s", second, third)
	}
}

// Of several servers one has to take writes, and a dark one degrades.
func TestMySQLSeveral(t *testing.T) {
	a, b := mysqlServerOf(t, "mysql"), mysqlServerOf(t, "replica", "--server-id=2")
	d := mysqlDeps(t)
	c := mysqlConfig(t, a.Addr, b.Addr)
	c.Write, c.ReadOnly = true, map[failover.Region]bool{e1: false}
	b.Feed(t, "SET GLOBAL read_only=ON")
	expect(t, look(t, c, d), failover.OK, "", b.Addr+" is")
	if rows := b.Feed(t, "SELECT COUNT(*) FROM failoverd.canary"); rows != "0\n" {
		t.Errorf("%s rows in the server that refuses writes", rows)
	}
	dark := closedPort(t)
	c.Servers[e1] = []string{a.Addr, dark}
	if o := look(t, c, d); !o.Part {
		t.Errorf("%+v", o)
	}
	// The one that takes writes is dark, and the other does not.
	c.Servers[e1] = []string{dark, b.Addr}
	expect(t, look(t, c, d), failover.Failed, failover.ReasonRole, "none is seen that does")
}

func TestMySQLCheck(t *testing.T) {
	s := mysqlServerOf(t, "mysql")
	// A user of its own: what it leaves is nobody else's.
	s.Feed(t, strings.ReplaceAll(mysqlGrants, "watcher", "checker"))
	c := &MySQLCheckConfig{MySQLConfig: *mysqlConfig(t, s.Addr)}
	c.User = "checker"
	c.Write, c.ReadOnly, c.Events = true, map[failover.Region]bool{e1: false}, map[failover.Region]bool{e1: true}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	d := deps(t)
	x, err := c.NewCheck(d)
	if err != nil {
		t.Fatal(err)
	}
	verify(t, x, Fail, "its event scheduler is OFF, and must be ON")
	s.Feed(t, "SET GLOBAL event_scheduler=ON")
	verify(t, x, Pass, "has written a row")
	for end := time.Now().Add(2 * time.Second); ; { // the server takes a moment to see that a client has left
		n := s.Feed(t, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER='checker'")
		if n == "0\n" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%s connections stay", n)
		}
	}
	s.Feed(t, "SET GLOBAL read_only=ON")
	verify(t, x, Fail, "none is seen that does")
	s.Feed(t, "DROP USER checker@'127.0.0.1'")
	verify(t, x, Unknown, "does not accept our user")
	d.Region = e2
	if _, err := c.NewCheck(d); err == nil || !strings.Contains(err.Error(), "servers names none in us-east-2") {
		t.Errorf("%v", err)
	}
}

func TestMySQLReplication(t *testing.T) {
	source, replica := mysqlServerOf(t, "mysql"), mysqlServerOf(t, "replica", "--server-id=2")
	host, port, _ := net.SplitHostPort(source.Addr)
	t.Cleanup(func() { replica.Feed(t, "STOP ALL SLAVES; RESET SLAVE ALL") })
	source.Feed(t, "CREATE USER repl@'127.0.0.1' IDENTIFIED BY 'r'; GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'; CREATE DATABASE app; CREATE TABLE app.t (a INT PRIMARY KEY)")
	d := mysqlDeps(t)
	c := mysqlConfig(t, replica.Addr)
	c.ReplicaOf = map[failover.Region]string{e1: source.Addr}
	expect(t, look(t, c, d), failover.Slow, failover.ReasonRole, "it does not replicate, and must from "+source.Addr)
	c.ReplicaOf[e1] = "none"
	expect(t, look(t, c, d), failover.OK, "", "")
	c.ReplicaOf[e1] = source.Addr

	at := strings.Fields(source.Feed(t, "SHOW MASTER STATUS"))
	replica.Feed(t, fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%s, MASTER_USER='repl', MASTER_PASSWORD='r', MASTER_LOG_FILE='%s', MASTER_LOG_POS=%s, MASTER_CONNECT_RETRY=1; START SLAVE", host, port, at[0], at[1]))
	until := func(outcome failover.Outcome, reason failover.ReasonCode, detail string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; {
			o := look(t, c, d)
			if o.Outcome == outcome && o.Reason == reason && strings.Contains(o.Detail, detail) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("got %s/%s %q, want %s/%s with %q", o.Outcome, o.Reason, o.Detail, outcome, reason, detail)
			}
		}
	}
	until(failover.OK, "", "replicates from "+source.Addr+", 0 s behind")
	c.ReplicaOf[e1] = "none"
	until(failover.Slow, failover.ReasonRole, "it must replicate from none")
	c.ReplicaOf[e1] = "db.example.net:3306"
	until(failover.Slow, failover.ReasonRole, "it replicates from "+source.Addr+", and must from db.example.net:3306")
	c.ReplicaOf[e1] = source.Addr

	replica.Feed(t, "STOP SLAVE IO_THREAD")
	until(failover.Slow, failover.ReasonStale, `its replication has stopped: the thread that reads says "No", the one that applies "Yes"`)
	replica.Feed(t, "START SLAVE; CREATE DATABASE app; CREATE TABLE app.t (a INT PRIMARY KEY); INSERT INTO app.t VALUES (1)")
	until(failover.OK, "", "")
	source.Feed(t, "INSERT INTO app.t VALUES (1)")
	until(failover.Slow, failover.ReasonStale, "its last error: ") // and says which
	if o := look(t, c, d); !strings.Contains(o.Detail, "Duplicate entry '1'") {
		t.Error(o.Detail)
	}
	replica.Feed(t, "SET GLOBAL sql_slave_skip_counter=1; START SLAVE")
	until(failover.OK, "", "")
	// The source's region is dark: its replica is not down for that, or no failover could go there.
	source.Feed(t, "DROP USER repl@'127.0.0.1'; SELECT CONCAT('KILL ', ID, ';') INTO @k FROM information_schema.PROCESSLIST WHERE USER='repl'; EXECUTE IMMEDIATE @k")
	until(failover.Slow, failover.ReasonStale, `the thread that reads says`)
}
