package restore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

// session is a connection. That of a run is the one that changes anything but rows of its shadow schemas (fill.go), and is never made anew: when it is gone, the run is over.
type session struct {
	cfg  *mysql.Config
	db   *sql.DB
	conn *sql.Conn
	id   uint64 // the server's number of it
	*steps
}

// steps counts statements, over all connections of a run.
type steps struct {
	mu   sync.Mutex
	n    int
	step func(ctx context.Context, n int, statement string) error // or nil
}

// take is before each statement. One at a time: whoever looks need not be safe for more.
func (s *steps) take(ctx context.Context, text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	if s.step == nil {
		return nil
	}
	return s.step(ctx, s.n, text)
}

// The server's errors that are told apart. https://mariadb.com/kb/en/mariadb-error-codes/
const (
	errNoDB        = 1049
	errNoPrivilege = 1227
	errNoRight     = 1142 // to a table
	errNoTable     = 1146
	errNoThread    = 1094
	errNoFunction  = 1305
	errBadView     = 1356
	errNoDefiner   = 1449
	errBinlogOff   = 1419
	errNoVariable  = 1193
	errExists      = 1050
	errLockWait    = 1205
	errTrigger     = 1359 // exists
	errDeadlock    = 1213
)

// code is the server's number of an error; zero if it is none of the server's.
func code(err error) uint16 {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return e.Number
	}
	return 0
}

// dialTimeout bounds what is no work on data.
const dialTimeout = 5 * time.Second

// setup is what the server is told of a connection: it waits for no lock for a day, as it would otherwise, and for as long for the next
// statement, since the run's own connection says nothing while others put the rows of one large table. The next run ends it by KILL.
const setup = "SET NAMES utf8mb4, SESSION sql_mode='', time_zone='+00:00', autocommit=1, foreign_key_checks=1, unique_checks=1, lock_wait_timeout=20, innodb_lock_wait_timeout=20, wait_timeout=86400"

// config is a server's with the settings that this package rests on. The driver's own limit of a packet is lower than that of
// many servers (maxAllowedPacket=0 asks the server).
func config(of *mysql.Config) *mysql.Config {
	c := of.Clone()
	c.DBName, c.MaxAllowedPacket, c.MultiStatements, c.InterpolateParams = "", 0, false, true
	c.Timeout, c.ClientFoundRows, c.ParseTime = dialTimeout, true, false
	c.Logger = &mysql.NopLogger{} // an error is returned, or logged by whoever gets it
	c.ConnectionAttributes = "program_name:failoverd-restore"
	return c
}

func open(of *mysql.Config) (*sql.DB, error) {
	c, err := mysql.NewConnector(config(of))
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(c), nil
}

func dial(ctx context.Context, cfg *mysql.Config, step func(context.Context, int, string) error) (*session, error) {
	db, err := open(cfg)
	if err != nil {
		return nil, err
	}
	s := &session{cfg: cfg, db: db, steps: &steps{step: step}}
	if s.conn, err = db.Conn(ctx); err == nil {
		if err = s.conn.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&s.id); err == nil {
			_, err = s.conn.ExecContext(ctx, setup)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connecting to MariaDB at %s as %s: %w", cfg.Addr, cfg.User, err), db.Close())
	}
	return s, nil
}

// end closes the connection. Killed says that the server may still be at work for it.
func (s *session) end(killed bool) error {
	if !killed {
		_ = s.conn.Close() // into the pool, which is closed with it
		return s.db.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	_ = s.conn.Close()
	_ = s.db.Close()
	_ = kill(ctx, s.cfg, s.id)
	return nil
}

// kill ends a connection of the same account and what it is doing: closing it does not, and KILL QUERY alone would leave its lock.
func kill(ctx context.Context, cfg *mysql.Config, id uint64) error {
	db, err := open(cfg)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, "KILL "+strconv.FormatUint(id, 10))
	if code(err) == errNoThread {
		return nil
	}
	return err
}

// exec carries out one statement.
func (s *session) exec(ctx context.Context, text string, args ...any) error {
	if err := s.take(ctx, text); err != nil {
		return err
	}
	if _, err := s.conn.ExecContext(ctx, text, args...); err != nil {
		return fmt.Errorf("%.120q: %w", text, err)
	}
	return nil
}

// value reads one value; NULL and no row are "".
func (s *session) value(ctx context.Context, text string, args ...any) (string, error) {
	var v sql.NullString
	err := s.conn.QueryRowContext(ctx, text, args...).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("%.120q: %w", text, err)
	}
	return v.String, nil
}

// column reads the first column of all rows.
func (s *session) column(ctx context.Context, text string, args ...any) (all []string, err error) {
	rows, err := s.conn.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("%.120q: %w", text, err)
	}
	defer rows.Close()
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// record reads one row by the names of its columns, whatever they are; nil if there is none.
func (s *session) record(ctx context.Context, text string) (map[string]string, error) {
	rows, err := s.conn.QueryContext(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("%.120q: %w", text, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil || !rows.Next() {
		return nil, errors.Join(err, rows.Err())
	}
	values, to := make([]sql.NullString, len(names)), make([]any, len(names))
	for i := range values {
		to[i] = &values[i]
	}
	if err := rows.Scan(to...); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for i, n := range names {
		out[n] = values[i].String
	}
	return out, rows.Err()
}

// quote is a name as SQL has it.
func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }
