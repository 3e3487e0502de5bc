// Package mariadbtest runs private MariaDB servers for tests: real ones, on loopback, with a data
// directory of their own. Nothing of the daemon imports it.
package mariadbtest

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
)

// ErrNotInstalled says what to install.
var ErrNotInstalled = errors.New("mariadbd, mariadb-install-db, mariadb and mariadb-dump must be in the PATH: apt-get install --no-install-recommends mariadb-server (make deps does it)")

// Server is a running mariadbd with the binary log on. Its root has no password.
type Server struct {
	Addr string // host:port
	dir  string
	cmd  *exec.Cmd
	log  bytes.Buffer // what it says until it is stopped
	gone chan struct{}
}

// startPatience is how long a server may take to answer.
const startPatience = 60 * time.Second

// Open makes a data directory and starts a server in it; flags are mariadbd's. It must be closed.
func Open(flags ...string) (*Server, error) {
	for _, p := range []string{"mariadbd", "mariadb-install-db", "mariadb", "mariadb-dump"} {
		if _, err := exec.LookPath(p); err != nil {
			return nil, fmt.Errorf("%w (%w)", ErrNotInstalled, err)
		}
	}
	dir, err := os.MkdirTemp("", "mariadbtest")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, gone: make(chan struct{})}
	if err := s.start(flags); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// as is the user whom mariadbd accepts, which root is not; nil: this one.
func (s *Server) as() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("mysql")
	if err != nil {
		return nil, fmt.Errorf("mariadbd does not run as root, and there is no user mysql: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, os.Chown(s.dir, int(uid), int(gid))
}

func (s *Server) start(flags []string) error {
	as, err := s.as()
	if err != nil {
		return err
	}
	data := filepath.Join(s.dir, "data")
	// Nothing of it outlives the test: it need not survive the loss of the machine's power.
	lazy := []string{"--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-flush-method=nosync", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M"}
	// Temporary tables lie in a directory of its own, not in one that servers of other tests clear when they start.
	lazy = append(lazy, "--tmpdir="+s.dir)
	install := exec.Command("mariadb-install-db", append([]string{"--no-defaults", "--datadir=" + data, "--auth-root-authentication-method=normal", "--skip-test-db"}, lazy...)...)
	install.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("mariadb-install-db: %w; it said: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.Addr = l.Addr().String()
	_, port, _ := net.SplitHostPort(s.Addr)
	if err := l.Close(); err != nil {
		return err
	}
	args := []string{"--no-defaults", "--datadir=" + data, "--socket=" + filepath.Join(s.dir, "s"), "--pid-file=" + filepath.Join(s.dir, "pid"),
		"--bind-address=127.0.0.1", "--port=" + port, "--skip-name-resolve", "--log-bin=bin", "--server-id=1"}
	s.cmd = exec.Command("mariadbd", append(append(args, lazy...), flags...)...)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	// It is that user from the beginning: were it to become so itself (--user), the kernel would forget that it is to end with
	// the tests, and a test binary that is killed would leave it behind.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: as}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func() { _ = s.cmd.Wait(); close(s.gone) }()
	db, err := sql.Open("mysql", s.DSN("root", "", ""))
	if err != nil {
		return err
	}
	defer db.Close()
	for end := time.Now().Add(startPatience); ; {
		if err = db.Ping(); err == nil {
			return nil
		}
		select {
		case <-s.gone:
			return fmt.Errorf("mariadbd has ended; it said: %s", s.log.Bytes())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(end) {
			return errors.Join(fmt.Errorf("mariadbd does not answer within %s: %w", startPatience, err), s.Close())
		}
	}
}

// DSN is what go-sql-driver/mysql wants to hear.
func (s *Server) DSN(name, password, database string) string {
	return fmt.Sprintf("%s:%s@tcp(%s)/%s?maxAllowedPacket=0&interpolateParams=true", name, password, s.Addr, database)
}

// Close ends the server at once, and removes its data. One that has ended by itself is an error, with the last of what it said.
func (s *Server) Close() error {
	var crashed error
	select {
	case <-s.gone:
		said := s.log.Bytes()
		crashed = fmt.Errorf("mariadbd has ended by itself (%s); it said: %s", s.cmd.ProcessState, said[max(0, len(said)-lastWords):])
	default:
		_ = s.cmd.Process.Kill() // an error is that it has ended meanwhile
		<-s.gone
	}
	return errors.Join(crashed, os.RemoveAll(s.dir))
}

// lastWords is how much of what a server said before it ended by itself is repeated: a crash is told with its stack.
const lastWords = 8 << 10

// run runs one of MariaDB's programs against the server, as root.
func (s *Server) run(in []byte, program string, args ...string) ([]byte, error) {
	host, port, _ := net.SplitHostPort(s.Addr)
	cmd := exec.Command(program, append([]string{"--no-defaults", "--host=" + host, "--port=" + port, "--user=root"}, args...)...)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &said
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("%s %s: %w; it said: %s", program, strings.Join(args, " "), err, said.Bytes())
	}
	return out.Bytes(), nil
}

// Client feeds statements to mariadb's own client, and gives what it prints.
func (s *Server) Client(in []byte, args ...string) ([]byte, error) {
	return s.run(in, "mariadb", args...)
}

// Dump is what mariadb-dump writes.
func (s *Server) Dump(args ...string) ([]byte, error) { return s.run(nil, "mariadb-dump", args...) }
