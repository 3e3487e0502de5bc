package restore

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
)

// That a process has stopped does not say that the server has stopped working for it: a statement whose client was killed runs on, and commits.

const (
	// stillPatience is how long what the server still does for others may take before a dump begins.
	stillPatience = 30 * time.Second
	stillPause    = 200 * time.Millisecond // the server renews its list of transactions ten times a second
)

// still waits until the server does nothing for others any more that could change these databases.
func (o *TakeOptions) still(ctx context.Context, s *session) error {
	end := time.Now().Add(cmp.Or(o.Patience, stillPatience))
	for waited := false; ; waited = true {
		busy, err := busy(ctx, s, o.Databases)
		switch {
		case err != nil:
			return err
		case len(busy) == 0 && waited:
			// Times of writes are whole seconds: what was waited for is older than the one in which the dump begins.
			_, err := s.value(ctx, "SELECT SLEEP(1)")
			return err
		case len(busy) == 0:
			return nil
		case time.Now().After(end) && slices.Contains(o.Allow, AllowRows):
			return nil
		case time.Now().After(end):
			return refuse(o.allow(AllowRows, "wait for them, or KILL these connections"), "the server at %s still works for others, and a dump would lack what they commit: %s", o.Server.Addr, strings.Join(busy, ", "))
		}
		o.Report("waiting until the server at " + o.Server.Addr + " has ended what it does for others: " + strings.Join(busy, ", "))
		select {
		case <-time.After(stillPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// busy names what the server does for others: transactions that have changed rows, wherever, and statements on these databases, or on nobody knows
// which; at most three of each.
func busy(ctx context.Context, s *session, databases []string) ([]string, error) {
	changing, err := s.column(ctx, `SELECT CONCAT('the transaction of connection ', trx_mysql_thread_id, ' since ', trx_started) FROM information_schema.INNODB_TRX
		WHERE trx_mysql_thread_id <> CONNECTION_ID() AND trx_rows_modified > 0 ORDER BY trx_started LIMIT 3`)
	if err != nil {
		return nil, err
	}
	running, err := s.column(ctx, `SELECT CONCAT('the statement of connection ', ID, ' (', USER, ')') FROM information_schema.PROCESSLIST
		WHERE ID <> CONNECTION_ID() AND COMMAND IN ('Query', 'Execute') AND (DB IS NULL OR DB IN (`+literals(databases)+`)) ORDER BY TIME_MS DESC LIMIT 3`)
	return append(changing, running...), err
}

// literals are texts as a list of SQL.
func literals(all []string) string {
	var out []string
	for _, text := range all {
		out = append(out, literal(text))
	}
	return strings.Join(out, ",")
}

// binlogPos is how far the binary log is; "" where the server keeps none.
func binlogPos(ctx context.Context, s *session) (string, error) {
	return s.value(ctx, "SELECT @@GLOBAL.gtid_binlog_pos")
}

// unexplained says that the binary log went on since a time of the server's own, and that nothing that was written to other databases is why: a table was
// made or dropped, or a sequence gave a number, of which the server keeps no time. "" if not.
func unexplained(ctx context.Context, s *session, databases []string, pos, since string) (string, error) {
	now, err := binlogPos(ctx, s)
	if err != nil || now == pos {
		return "", err
	}
	elsewhere, err := s.value(ctx, "SELECT 1 FROM information_schema.TABLES WHERE "+holdsRows+" AND TABLE_SCHEMA NOT IN ('mysql','sys','performance_schema','information_schema',"+literals(databases)+") AND UPDATE_TIME >= ? LIMIT 1", since)
	if err != nil || elsewhere != "" {
		return "", err
	}
	return "its binary log went on from " + cmp.Or(pos, "nothing") + " to " + now + ", and no table of another database that the account " + s.cfg.User + " can see was written to", nil
}
