package probes

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/failoverd/failoverd/failover"
)

// mysqlServer is one server, behind one connection of its own. There is no pool: nothing queues, and whatever a server says, the driver
// reads it in the probe's own goroutine.
type mysqlServer struct {
	at        string
	connector driver.Connector
	table     string
	row       string // the key of the row that is written
	writes    bool   // it is written to, unless it replicates
	follows   bool   // its replication is looked at in any case

	conn mysqlConn // nil: there is none
	made time.Time // when conn was
	// hung says that the last look ended without an answer: what it asked may be under way in the server still.
	hung bool
}

// mysqlConn is what the driver's connections can do.
type mysqlConn interface {
	driver.Conn
	driver.QueryerContext
	driver.ExecerContext
	driver.SessionResetter
}

// mysqlRenew is how long a connection is used: a new one sees a name that has moved, a renewed certificate, and whether anybody is
// still let in.
const mysqlRenew = time.Minute

// server makes the access to one server. It dials nothing, and reads no secret before it does.
func (c *MySQLConfig) server(d Deps, at string) (*mysqlServer, error) {
	m := mysql.NewConfig()
	m.Net, m.Addr, m.User, m.InterpolateParams = "tcp", at, c.User, true
	m.DialFunc, m.Logger = d.dns().DialContext, &mysql.NopLogger{} // an error is an outcome
	m.ConnectionAttributes = "program_name:failoverd-probe"
	// What waits for a lock in the server ends there as well, or a server that hangs would collect our connections.
	patience := strconv.Itoa(max(1, int(cmp.Or(d.Timeout, leastMySQL)/(2*time.Second))))
	m.Params = map[string]string{"lock_wait_timeout": patience, "innodb_lock_wait_timeout": patience, "autocommit": "1"}
	if err := m.Apply(mysql.BeforeConnect(c.secrets)); err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(m)
	if err != nil {
		return nil, err
	}
	return &mysqlServer{at: at, connector: connector, table: cmp.Or(c.Table, MySQLTable), row: string(d.Node) + "@" + at, writes: c.writes(d.Region), follows: c.ReplicaOf[d.Region] != ""}, nil
}

// errSecret is a file of ours that cannot be used.
type errSecret struct{ error }

// secrets reads password and certificates, each time: they may be renewed.
func (c *MySQLConfig) secrets(_ context.Context, m *mysql.Config) error {
	password, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return errSecret{fmt.Errorf("the password of %s: %w", c.User, err)}
	}
	m.Passwd = strings.TrimSpace(string(password))
	if c.CAFile == "" {
		return nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return errSecret{fmt.Errorf("the certificates by which it is known: %w", err)}
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return errSecret{fmt.Errorf("%s holds no certificate", c.CAFile)}
	}
	host, _, _ := net.SplitHostPort(m.Addr)
	m.TLS = &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12}
	return nil
}

// mysqlState is what a server says of itself.
type mysqlState struct {
	version  string
	readOnly string // what makes it refuse writes, such as "read_only=ON"; "" if nothing
	events   string // of the event scheduler: ON, OFF or DISABLED
	wrote    bool
	spared   bool          // it takes writes, and was not written to
	sources  []mysqlSource // from which it replicates, if that was looked at
}

func (s mysqlState) String() string {
	out := "is " + s.version
	switch {
	case s.wrote:
		out += ", has written a row"
	case s.spared:
		out += ", takes writes, is not written to since it replicates"
	case s.readOnly == "":
		out += ", takes writes"
	default:
		out += ", takes no writes (" + s.readOnly + ")"
	}
	for _, f := range s.sources {
		out += ", " + f.String()
	}
	return out
}

// errPanic is what the driver makes of an answer that no server gives.
type errPanic struct{ said any }

func (e errPanic) Error() string {
	return fmt.Sprintf("its answer is in no form that a server gives (%v)", e.said)
}

// look asks the server, over the connection that there is or a new one. Afterwards there is one only if every statement was answered.
func (s *mysqlServer) look(ctx context.Context) (st mysqlState, err error) {
	defer func() {
		if said := recover(); said != nil { // the driver trusts the lengths that it is told
			err = errPanic{said}
		}
		if err != nil && mysqlCode(err) == 0 {
			s.drop()
		}
	}()
	if err := s.connect(ctx); err != nil {
		return st, err
	}
	return s.ask(ctx)
}

func (s *mysqlServer) connect(ctx context.Context) error {
	if s.conn != nil && (time.Since(s.made) > mysqlRenew || s.conn.ResetSession(ctx) != nil) {
		s.drop() // the server may have closed it for being idle, which is no failure of it
	}
	if s.conn != nil {
		return nil
	}
	c, err := s.connector.Connect(ctx)
	if err != nil {
		return err
	}
	s.conn, s.made = c.(mysqlConn), time.Now()
	return nil
}

// drop gives the connection back.
func (s *mysqlServer) drop() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// mostRows bounds what is taken of an answer.
const mostRows = 100

// rows is the answer to a statement.
func (s *mysqlServer) rows(ctx context.Context, text string) (names []string, all [][]driver.Value, err error) {
	rows, err := s.conn.QueryContext(ctx, text, nil)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = cmp.Or(err, rows.Close()) }()
	names = rows.Columns()
	for range mostRows {
		row := make([]driver.Value, len(names))
		if err := rows.Next(row); errors.Is(err, io.EOF) {
			return names, all, nil
		} else if err != nil {
			return nil, nil, err
		}
		for i, v := range row {
			if b, ok := v.([]byte); ok {
				row[i] = string(b) // the driver's, until it reads on
			}
		}
		all = append(all, row)
	}
	return names, all, nil
}

func (s *mysqlServer) ask(ctx context.Context) (mysqlState, error) {
	st, err := s.variables(ctx)
	if err != nil {
		return st, err
	}
	write := s.writes && st.readOnly == ""
	if s.follows || write {
		if st.sources, err = s.replication(ctx, st.version); mysqlRefused[mysqlCode(err)] {
			return st, fmt.Errorf("asking for its replication: %w; write and replica_of need the right SLAVE MONITOR (on MySQL, and before MariaDB 10.5: REPLICATION CLIENT)", err)
		} else if err != nil {
			return st, fmt.Errorf("asking for its replication: %w", err)
		}
	}
	// What the configuration says of the region is no word of this server. A row that is written to one that replicates stops its
	// replication as soon as its source's own row arrives, and is a transaction that its source knows nothing of: also where it
	// stands still, from which it may go on at any time.
	st.spared = write && len(st.sources) > 0
	if write && !st.spared {
		if err := s.write(ctx); err != nil {
			return st, fmt.Errorf("writing to %s: %w", s.table, err)
		}
		st.wrote = true
	}
	if _, _, err := s.rows(ctx, "SELECT 1 FROM "+s.table+" LIMIT 1"); err != nil {
		return st, fmt.Errorf("reading from %s: %w", s.table, err)
	}
	return st, nil
}

// variables reads what every version knows under the same statement; one that a version lacks is left out by it.
func (s *mysqlServer) variables(ctx context.Context) (mysqlState, error) {
	_, all, err := s.rows(ctx, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'read_only', 'super_read_only', 'innodb_read_only', 'event_scheduler')")
	var st mysqlState
	var locks []string
	for _, row := range all {
		switch name, value := fmt.Sprint(row[0]), fmt.Sprint(row[1]); {
		case name == "version":
			st.version = value
		case name == "event_scheduler":
			st.events = strings.ToUpper(value)
		case value != "OFF" && value != "0": // MariaDB 12 has ON, NO_LOCK and NO_LOCK_NO_ADMIN
			locks = append(locks, name+"="+value)
		}
	}
	st.readOnly = strings.Join(locks, ", ")
	if !strings.Contains(st.version, "MariaDB") {
		st.version = "MySQL " + st.version
	}
	return st, err
}

// canaryTable is the statement that makes the table in which each node has a row for each server that it writes to. A node's name, a host's of
// 253 letters and a port have room in its key, which any row format of InnoDB takes.
const canaryTable = "CREATE TABLE IF NOT EXISTS %s (node VARCHAR(400) CHARACTER SET ascii NOT NULL PRIMARY KEY, at DATETIME(6) NOT NULL) ENGINE=InnoDB"

// write replaces the node's row of this server, so that nothing grows and a write that took place after all does no harm. Were it the
// same row in each server, those of a Galera cluster would be told to write it at the same instant, of which all but one fail. The table
// is made where the account may.
func (s *mysqlServer) write(ctx context.Context) error {
	row := []driver.NamedValue{{Ordinal: 1, Value: s.row}, {Ordinal: 2, Value: time.Now().UTC().Format("2006-01-02 15:04:05.000000")}}
	replace := func() error {
		_, err := s.conn.ExecContext(ctx, "REPLACE INTO "+s.table+" (node, at) VALUES (?, ?)", row)
		return err
	}
	err := replace()
	if mysqlCode(err) != mysqlNoTable {
		return err
	}
	if _, made := s.conn.ExecContext(ctx, fmt.Sprintf(canaryTable, s.table), nil); mysqlRefused[mysqlCode(made)] {
		return err
	} else if made != nil {
		return made
	}
	return replace()
}

// The server's errors that are told apart: https://mariadb.com/kb/en/mariadb-error-codes/ and
// https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
const (
	mysqlFull     = 1040 // too many connections
	mysqlNoDB     = 1049
	mysqlNoTable  = 1146
	mysqlMine     = 1203 // too many connections of this account
	mysqlMyLimit  = 1226
	mysqlReadOnly = 1290
	mysqlNoSyntax = 1064
)

// mysqlRefused are those by which a server does not accept our account, or what it asks for: somebody's mistake.
var mysqlRefused = map[uint16]bool{
	1044: true, 1045: true, 1142: true, 1143: true, 1227: true, 1698: true, // no such account, password or right
	1129: true, 1130: true, // this host is blocked, or not let in
	1251: true, 1275: true, 1820: true, 1862: true, 3118: true, 4151: true, // way of authentication, expired password, locked account
}

// mysqlFailed are those by which a server says that it cannot serve anybody, whoever asks. Every other error is an answer to us, from
// something alive, and never a vote.
var mysqlFailed = map[uint16]failover.ReasonCode{
	1021: failover.ReasonServerError, 1026: failover.ReasonServerError, 1114: failover.ReasonServerError, // the disk or the table space is full
	1030: failover.ReasonServerError, 1034: failover.ReasonServerError, 1180: failover.ReasonServerError, 1194: failover.ReasonServerError, 1195: failover.ReasonServerError, 1932: failover.ReasonServerError, // the storage engine fails
	1037: failover.ReasonServerError, 1041: failover.ReasonServerError, // out of memory
	// Of Galera: it belongs to no majority, and answers nobody's queries.
	1047: failover.ReasonServerError,
	// It shuts down. MySQL says so as well to whom somebody has ended, which the next look tells apart.
	1053: failover.ReasonServerError,
	// It became read-only between two statements.
	mysqlReadOnly: failover.ReasonRole, 1792: failover.ReasonRole, 1836: failover.ReasonRole,
}

// mysqlPassing are those by which a server that is alive and well says that something of somebody else's came before this look: it is
// degraded. A failover would be no cure, and if nobody is served the time-outs of those who are not will tell.
var mysqlPassing = map[uint16]failover.ReasonCode{
	// A lock, of the table (a backup of it, ALTER TABLE) as well as of everything: they have the same number. What waits for a disk that
	// is stuck is not answered at all.
	1205: failover.ReasonTimeout, 1969: failover.ReasonTimeout, 3024: failover.ReasonTimeout,
	// A deadlock, or a transaction on another node of Galera that came first.
	1213: failover.ReasonOther,
	// Our statement or connection was ended: by KILL, pt-kill, a limit; or since it shuts down, and then the next look says so.
	1317: failover.ReasonReset, 1927: failover.ReasonReset,
}

func mysqlCode(err error) uint16 {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return e.Number
	}
	return 0
}

// wrong judges an error, of which it remembers whether the server hangs.
func (s *mysqlServer) wrong(err error) result {
	r, code := s.failure(err), mysqlCode(err)
	if (code == mysqlMine || code == mysqlMyLimit || mysqlPassing[code] == failover.ReasonTimeout) && s.hung {
		// The connections that the account has left are those that were never answered, and nobody else has our row.
		return result{outcome: failover.Failed, reason: failover.ReasonTimeout, detail: "still has what was asked before and not answered: " + r.detail}
	}
	s.hung = code == 0 && r.reason == failover.ReasonTimeout
	return r
}

func (s *mysqlServer) failure(err error) result {
	code := mysqlCode(err)
	reason, failed := mysqlFailed[code]
	mistake := func(reason failover.ReasonCode, format string, args ...any) result {
		return result{outcome: failover.Misconfigured, reason: reason, detail: fmt.Sprintf(format, args...)}
	}
	var ours errSecret
	switch {
	case errors.As(err, &ours):
		return mistake(failover.ReasonConfig, "was not asked: %v", err)
	case mysqlRefused[code]:
		return mistake(failover.ReasonAuth, "does not accept our user: %v", err)
	case errors.Is(err, mysql.ErrNativePassword), errors.Is(err, mysql.ErrCleartextPassword), errors.Is(err, mysql.ErrOldPassword), errors.Is(err, mysql.ErrUnknownPlugin):
		return mistake(failover.ReasonAuth, "wants our user to prove itself in a way that is not spoken here: %v", err)
	case errors.Is(err, mysql.ErrNoTLS):
		return mistake(failover.ReasonTLS, "speaks no TLS, and ca_file wants it: give it a certificate, or leave ca_file out")
	case code == mysqlNoDB, code == mysqlNoTable:
		return mistake(failover.ReasonConfig, "%v; make it there (%s), or name another table", err, fmt.Sprintf(canaryTable, s.table))
	case code == mysqlFull:
		// Those who are connected are served, so that it is no dead server: it has as many clients as it may have.
		return result{outcome: failover.Slow, reason: failover.ReasonThrottled, detail: "lets nobody else in: " + err.Error()}
	case mysqlPassing[code] != "":
		return result{outcome: failover.Slow, reason: mysqlPassing[code], detail: err.Error()}
	case failed:
		return result{outcome: failover.Failed, reason: reason, detail: err.Error()}
	case code != 0:
		return mistake(failover.ReasonConfig, "%v", err)
	case errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, driver.ErrBadConn):
		return result{outcome: failover.Failed, reason: failover.ReasonReset, detail: short(err, failover.ReasonReset)}
	}
	r := result{}
	r.outcome, r.reason = networkError(err)
	r.detail = short(err, r.reason)
	return r
}
