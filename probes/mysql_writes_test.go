package probes

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mariadbtest"
)

// replicating makes replica follow source, from now on; use is MASTER_USE_GTID.
func replicating(t *testing.T, replica, source *mariadbtest.Server, use string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(source.Addr)
	at := strings.Fields(source.Feed(t, "SHOW MASTER STATUS; SELECT @@gtid_binlog_pos"))
	source.Feed(t, "CREATE USER repl@'127.0.0.1' IDENTIFIED BY 'r'; GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'; CREATE DATABASE app; CREATE TABLE app.t (a INT PRIMARY KEY)")
	replica.Feed(t, fmt.Sprintf("SET GLOBAL gtid_slave_pos='%s'; CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%s, MASTER_USER='repl', MASTER_PASSWORD='r', MASTER_LOG_FILE='%s', MASTER_LOG_POS=%s; CHANGE MASTER TO MASTER_USE_GTID=%s; START SLAVE", at[2], host, port, at[0], at[1], use))
	t.Cleanup(func() { replica.Feed(t, "STOP ALL SLAVES; RESET SLAVE ALL; SET GLOBAL gtid_slave_pos=''") })
}

// arrives waits until what the source was told has been applied by the replica.
func arrives(t *testing.T, replica, source *mariadbtest.Server, n int) {
	t.Helper()
	source.Feed(t, fmt.Sprintf("INSERT INTO app.t VALUES (%d)", n))
	for end := time.Now().Add(20 * time.Second); ; {
		if replica.Feed(t, "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA='app'") == "1\n" &&
			replica.Feed(t, fmt.Sprintf("SELECT COUNT(*) FROM app.t WHERE a=%d", n)) == "1\n" {
			return
		}
		if said := replica.Feed(t, "SHOW ALL SLAVES STATUS\\G"); strings.Contains(said, "Error_code:") || time.Now().After(end) {
			t.Fatalf("the replication does not go on: %s", said)
		}
	}
}

// Nothing is written to a server that replicates, whatever the configuration says of its region: a row there is an obstacle to its
// replication, and a transaction that its source knows nothing of.
func TestMySQLWritesToNoReplica(t *testing.T) {
	for _, use := range []string{"no", "slave_pos"} {
		t.Run("MASTER_USE_GTID="+use, func(t *testing.T) {
			source, replica := mysqlServerOf(t, "mysql"), mysqlServerOf(t, "replica", "--server-id=2")
			source.Feed(t, "SET GLOBAL binlog_format=ROW")
			defer source.Feed(t, "SET GLOBAL binlog_format=DEFAULT")
			replicating(t, replica, source, use)
			d := mysqlDeps(t)
			c := mysqlConfig(t, source.Addr, replica.Addr)
			c.Write, c.ReadOnly = true, map[failover.Region]bool{e1: false}
			arrives(t, replica, source, 1)
			before := replica.Feed(t, "SELECT @@gtid_binlog_pos")
			// What the source is told arrives after what the replica was told.
			replica.Feed(t, "STOP SLAVE SQL_THREAD")
			expect(t, look(t, c, d), failover.OK, "", replica.Addr+" is")
			replica.Feed(t, "START SLAVE SQL_THREAD")
			arrives(t, replica, source, 2)
			expect(t, look(t, c, d), failover.OK, "", "takes writes, is not written to since it replicates, replicates from "+source.Addr)
			arrives(t, replica, source, 3)
			if after := replica.Feed(t, "SELECT @@gtid_binlog_pos"); after != before {
				t.Errorf("the replica has transactions of its own: %s, then %s", before, after)
			}
			// Also when its replication stands still: it would go on at any time.
			replica.Feed(t, "STOP SLAVE")
			c.Servers[e1] = []string{replica.Addr}
			expect(t, look(t, c, d), failover.OK, "", "is not written to since it replicates")
			replica.Feed(t, "RESET SLAVE ALL")
			expect(t, look(t, c, d), failover.OK, "", "has written a row")
		})
	}
}

// The row is the node's own in this server, however long their names are: the nodes of a Galera cluster are servers of one region, and
// of those that write the same row at the same instant all but one are refused.
func TestMySQLWritesARowOfItsOwn(t *testing.T) {
	s := mysqlServerOf(t, "mysql")
	d := mysqlDeps(t)
	c := mysqlConfig(t, s.Addr)
	c.Write, c.ReadOnly = true, map[failover.Region]bool{e1: false}
	p, err := c.probe(d)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	long := strings.Repeat("n", 64) + "@" + strings.Repeat("h", 253) + ":65535"
	for _, row := range []string{p.servers[0].row, long + "1", long + "2"} {
		p.servers[0].row = row
		expect(t, p.Probe(t.Context()), failover.OK, "", "has written a row")
	}
	if rows := s.Feed(t, "SELECT node FROM failoverd.canary ORDER BY node"); rows != "n1@"+s.Addr+"\n"+long+"1\n"+long+"2\n" {
		t.Errorf("the rows are %s", rows)
	}
}

// A lock is no outage, of whatever it is: a failover would be no cure for it. What holds our own row after a look without an answer is
// what we asked ourselves: then the server has not answered it.
func TestMySQLWaitsForALock(t *testing.T) {
	s := mysqlServerOf(t, "mysql")
	c := mysqlConfig(t, s.Addr)
	c.Write, c.ReadOnly = true, map[failover.Region]bool{e1: false}
	p, err := c.probe(mysqlDeps(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	expect(t, p.Probe(t.Context()), failover.OK, "", "has written a row")
	for what, lock := range map[string]struct{ begin, end string }{
		"a backup of the table":      {"LOCK TABLES failoverd.canary READ", "UNLOCK TABLES"},
		"a change of the table":      {"LOCK TABLES failoverd.canary WRITE", "UNLOCK TABLES"},
		"a lock over everything":     {"FLUSH TABLES WITH READ LOCK", "UNLOCK TABLES"},
		"somebody else with our row": {"UPDATE failoverd.canary SET at=at + INTERVAL 1 SECOND", "ROLLBACK"},
	} {
		other := connected(t, s)
		for _, text := range []string{"SET autocommit=0", lock.begin} {
			if _, err := other.ExecContext(t.Context(), text); err != nil {
				t.Fatal(what, err)
			}
		}
		expect(t, p.Probe(t.Context()), failover.Slow, failover.ReasonTimeout, "Lock wait timeout exceeded")
		p.servers[0].hung = true
		for range 2 {
			expect(t, p.Probe(t.Context()), failover.Failed, failover.ReasonTimeout, "still has what was asked before and not answered")
		}
		if _, err := other.ExecContext(t.Context(), lock.end); err != nil {
			t.Fatal(what, err)
		}
		expect(t, p.Probe(t.Context()), failover.OK, "", "has written a row")
	}
}

// Somebody who ends our statement, as pt-kill does, has not ended the server.
func TestMySQLIsKilled(t *testing.T) {
	s := mysqlServerOf(t, "mysql")
	c := mysqlConfig(t, s.Addr)
	c.Write, c.ReadOnly = true, map[failover.Region]bool{e1: false}
	d := mysqlDeps(t)
	d.Timeout = 20 * time.Second // it waits for our lock until it is killed
	p, err := c.probe(d)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	expect(t, p.Probe(t.Context()), failover.OK, "", "has written a row")
	other := connected(t, s)
	if _, err := other.ExecContext(t.Context(), "LOCK TABLES failoverd.canary WRITE"); err != nil {
		t.Fatal(err)
	}
	saw := make(chan failover.Observation, 1)
	go func() { saw <- p.Probe(t.Context()) }()
	for end := time.Now().Add(10 * time.Second); ; {
		if id := s.Feed(t, "SELECT ID FROM information_schema.PROCESSLIST WHERE USER='watcher' AND STATE LIKE 'Waiting for%lock'"); id != "" {
			s.Feed(t, "KILL QUERY "+id)
			break
		}
		if time.Now().After(end) {
			t.Fatal("it does not wait")
		}
	}
	expect(t, <-saw, failover.Slow, failover.ReasonReset, "Query execution was interrupted")
	if _, err := other.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
		t.Fatal(err)
	}
	expect(t, p.Probe(t.Context()), failover.OK, "", "has written a row")
}

// A server that is alive and whose role nobody knows may be the one that takes writes: what does not is not blamed for it.
func TestMySQLBlamesNoReplica(t *testing.T) {
	primary, replica := mysqlServerOf(t, "mysql"), mysqlServerOf(t, "replica", "--server-id=2")
	d := mysqlDeps(t)
	c := mysqlConfig(t, primary.Addr, replica.Addr)
	c.ReadOnly = map[failover.Region]bool{e1: false}
	replica.Feed(t, "SET GLOBAL read_only=ON")
	root := connected(t, primary)
	if _, err := root.ExecContext(t.Context(), "SET GLOBAL max_connections=10"); err != nil {
		t.Fatal(err)
	}
	defer root.ExecContext(context.WithoutCancel(t.Context()), "SET GLOBAL max_connections=151") //nolint:errcheck // the connection is there
	db, err := sql.Open("mysql", primary.DSN("root", "", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for err == nil {
		_, err = db.Conn(t.Context())
	}
	if mysqlCode(err) != mysqlFull {
		t.Fatal(err)
	}
	if o := look(t, c, d); o.Outcome != failover.Slow || o.Reason != failover.ReasonThrottled || o.Part || strings.Contains(o.Detail, "none is seen that does") {
		t.Errorf("beside a primary that is full: %s/%s %q", o.Outcome, o.Reason, o.Detail)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := root.ExecContext(t.Context(), "SET GLOBAL max_connections=151"); err != nil {
		t.Fatal(err)
	}
	primary.Feed(t, "SET PASSWORD FOR watcher@'127.0.0.1' = PASSWORD('x')")
	if o := look(t, c, d); o.Outcome != failover.Slow || o.Reason != failover.ReasonAuth || o.Part || strings.Contains(o.Detail, "none is seen that does") {
		t.Errorf("beside a primary that does not accept us: %s/%s %q", o.Outcome, o.Reason, o.Detail)
	}
	// One that has said so before something went wrong is known to take none.
	primary.Feed(t, "SET PASSWORD FOR watcher@'127.0.0.1' = PASSWORD('hunter2'); SET GLOBAL read_only=ON; REVOKE SELECT ON failoverd.canary FROM watcher@'127.0.0.1'")
	if o := look(t, c, d); o.Outcome != failover.Misconfigured || !strings.Contains(o.Detail, "none is seen that does") {
		t.Errorf("beside one that takes no writes, and cannot be read: %s/%s %q", o.Outcome, o.Reason, o.Detail)
	}
}
