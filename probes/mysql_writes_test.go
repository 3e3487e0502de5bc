package probes

import (
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
