package mariadbtest

import (
	_ "embed" // Rich
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

var (
	mu     sync.Mutex
	opened = map[string]*Server{}
)

// Main is what a package's TestMain calls: it ends the servers that its tests share.
func Main(m *testing.M) {
	code := m.Run()
	mu.Lock()
	defer mu.Unlock()
	for _, s := range opened {
		if err := s.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// Shared is the server with these flags that all tests of the package use; name tells several
// apart. It has no databases when a test gets it, and no accounts but root. A test that shares
// one runs alone. Without MariaDB the test fails: what rests on the real server is not skipped.
func Shared(t testing.TB, name string, flags ...string) *Server {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	key := strings.Join(append([]string{name}, flags...), " ")
	s := opened[key]
	if s == nil {
		var err error
		if s, err = Open(flags...); err != nil {
			t.Fatal(err)
		}
		opened[key] = s
	}
	s.wipe(t)
	return s
}

// wipe removes all databases and accounts of earlier tests.
func (s *Server) wipe(t testing.TB) {
	t.Helper()
	out, err := s.Client([]byte(`SELECT CONCAT('DROP DATABASE `+"`', REPLACE(SCHEMA_NAME, '`', '``'), '`;'"+`) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN ('mysql','sys','information_schema','performance_schema');
SELECT CONCAT('DROP USER ', QUOTE(User), '@', QUOTE(Host), ';') FROM mysql.user WHERE User NOT IN ('root','mariadb.sys','mysql','PUBLIC','');`), "-N", "-B", "--raw")
	if err != nil {
		t.Fatal(err)
	}
	if len(out) > 0 {
		s.Feed(t, "SET foreign_key_checks=0;"+string(out))
	}
}

// Feed feeds statements to mariadb's own client, comments and all, and gives what it prints.
func (s *Server) Feed(t testing.TB, text string, args ...string) string {
	t.Helper()
	out, err := s.Client([]byte(text), slices.Concat([]string{"--comments", "-N", "-B"}, args)...)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// Dumped is what mariadb-dump writes.
func (s *Server) Dumped(t testing.TB, args ...string) []byte {
	t.Helper()
	out, err := s.Dump(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Rich is a script for Feed that makes the databases app and shop`s, in which there is of everything something that
// mariadb-dump writes.
//
//go:embed rich.sql
var Rich string
