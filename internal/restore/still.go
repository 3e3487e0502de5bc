package restore

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"
)

// That a process has stopped does not say that the server has stopped working for it: a statement whose client was killed runs on, and commits.

const (
	// stillPatience is how long what the server still does for others may take before a dump begins.
	stillPatience = 30 * time.Second
	// stillPause is before each look at the transactions, in seconds: the server renews its list of them ten times a second.
	stillPause = "0.2"
	// stillGlances are the looks at the statements before one at the transactions, glancePause in seconds apart: a connection of a pool that was
	// idle between two statements, however shortly, has ended what it was noted for.
	stillGlances, glancePause = 10, "0.02"
)

// still waits until the server has ended what it does for others at this moment, whatever database they use: a statement names others than its
// own. What begins later is not waited for, since who is fenced begins nothing: a server that other applications use is never without work.
func (o *TakeOptions) still(ctx context.Context, s *session) error {
	end := time.Now().Add(cmp.Or(o.Patience, stillPatience))
	left, err := busy(ctx, s, 1)
	for waited := false; ; waited = true {
		switch {
		case err != nil:
			return err
		case left.none() && waited:
			// Times of writes are whole seconds: what was waited for is older than the one in which the dump begins.
			_, err := s.value(ctx, "SELECT SLEEP(1)")
			return err
		case left.none():
			return nil
		case time.Now().After(end) && slices.Contains(o.Allow, AllowRows):
			return nil
		case time.Now().After(end):
			return refuse(o.allow(AllowRows, "wait for them, or KILL these connections"), "the server at %s still works for others, and a dump would lack what they commit: %s", o.Server.Addr, left)
		}
		o.Report("waiting until the server at " + o.Server.Addr + " has ended what it does for others: " + left.String())
		var now work
		now, err = busy(ctx, s, stillGlances)
		left = left.after(now)
	}
}

// work is what a server does for others.
type work struct {
	running  map[string]piece // by the connection
	changing map[string]piece // transactions that have changed rows, by their own number
}

// piece is a statement or a transaction.
type piece struct{ connection, says string }

// notBusy are the connections for which the server does nothing: those that wait for their next statement or have not said yet who they are, and the
// server's own threads. An event at work has the name of its definer, and COMMAND 'Connect'.
// https://mariadb.com/docs/server/ha-and-performance/optimization-and-tuning/buffers-caches-and-threads/thread-command-values
const notBusy = `ID = CONNECTION_ID() OR COMMAND IN ('Sleep', 'Daemon', 'Binlog Dump') OR USER IN ('unauthenticated user', 'system user')
	OR COMMAND = 'Delayed insert' AND STATE <=> 'Waiting for INSERT'`

// busy looks at what the server does for others: what runs at all of some glances, and what changes rows. In this order: what a statement has
// changed when it is seen to have ended is in the list of transactions, if that is a newer one.
func busy(ctx context.Context, s *session, glances int) (work, error) {
	var running map[string]piece
	for n := range glances {
		if n > 0 {
			if _, err := s.value(ctx, "SELECT SLEEP("+glancePause+")"); err != nil {
				return work{}, err
			}
		}
		now, err := pieces(ctx, s, `SELECT CONCAT_WS(' ', ID, ID, IF(COMMAND = 'Connect', 'the event', 'the statement'), 'of connection', ID, CONCAT('(', USER, ')'))
			FROM information_schema.PROCESSLIST WHERE NOT (`+notBusy+`)`)
		if err != nil {
			return work{}, err
		}
		if n == 0 {
			running = now
		}
		maps.DeleteFunc(running, func(id string, _ piece) bool { _, still := now[id]; return !still })
	}
	if _, err := s.value(ctx, "SELECT SLEEP("+stillPause+")"); err != nil {
		return work{}, err
	}
	changing, err := pieces(ctx, s, `SELECT CONCAT_WS(' ', trx_id, trx_mysql_thread_id, 'the transaction of connection', trx_mysql_thread_id, 'since', trx_started)
		FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id <> CONNECTION_ID() AND trx_rows_modified > 0`)
	return work{running, changing}, err
}

// pieces reads them as lines: the key, the connection, and what is said of it.
func pieces(ctx context.Context, s *session, query string) (map[string]piece, error) {
	lines, err := s.column(ctx, query)
	out := map[string]piece{}
	for _, line := range lines {
		key, rest, _ := strings.Cut(line, " ")
		connection, says, _ := strings.Cut(rest, " ")
		out[key] = piece{connection, says}
	}
	return out, err
}

// after is what has not ended by a later look. A connection that was at work at both looks has not ended: within a procedure and an event each statement
// has a number (QUERY_ID) and a time of its own. What has ended may have left its transaction open.
func (w work) after(now work) work {
	left := work{map[string]piece{}, map[string]piece{}}
	for id, p := range now.running {
		if _, noted := w.running[id]; noted {
			left.running[id] = p
		}
	}
	for id, p := range now.changing {
		_, noted := w.changing[id]
		_, ran := w.running[p.connection]
		if noted || ran {
			left.changing[id] = p
		}
	}
	return left
}

func (w work) none() bool { return len(w.running)+len(w.changing) == 0 }

// String names all of it: who is to end these connections needs their numbers.
func (w work) String() string {
	var all []string
	for _, p := range w.changing {
		all = append(all, p.says)
	}
	for _, p := range w.running {
		all = append(all, p.says)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
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
	// A table has the time of a write only after the binary log has the write.
	if _, err := s.value(ctx, "SELECT SLEEP("+stillPause+")"); err != nil {
		return "", err
	}
	elsewhere, err := s.value(ctx, "SELECT 1 FROM information_schema.TABLES WHERE "+holdsRows+" AND TABLE_SCHEMA NOT IN ('mysql','sys','performance_schema','information_schema',"+literals(databases)+") AND UPDATE_TIME >= ? LIMIT 1", since)
	if err != nil || elsewhere != "" {
		return "", err
	}
	return "its binary log went on from " + cmp.Or(pos, "nothing") + " to " + now + ", and no table of another database that the account " + s.cfg.User + " can see was written to", nil
}
