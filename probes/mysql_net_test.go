package probes

import (
	"crypto/x509"
	"database/sql/driver"
	"encoding/pem"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// mysqlFake says to each that connects what is given, packet by packet, each after the client has said something; then it is silent,
// or leaves.
func mysqlFake(t *testing.T, leave bool, packets ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				buf := make([]byte, 4096)
				for i, p := range packets {
					if i > 0 {
						if _, err := c.Read(buf); err != nil {
							return
						}
					}
					if _, err := io.WriteString(c, p); err != nil {
						return
					}
				}
				if !leave {
					_, _ = io.Copy(io.Discard, c) // until the client leaves
				}
			}()
		}
	}()
	return l.Addr().String()
}

func packet(seq byte, payload string) string {
	return string([]byte{byte(len(payload)), byte(len(payload) >> 8), 0, seq}) + payload
}

// A server that hangs, wherever in the conversation, is one that did not answer in time, and one that talks nonsense is none that serves.
// https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html
func TestMySQLHangs(t *testing.T) {
	greeting := packet(0, "\x0a5.5.5-10.11.19-MariaDB\x00\x01\x00\x00\x00abcdefgh\x00\xff\xf7\x2d\x02\x00\xff\x81\x15"+strings.Repeat("\x00", 10)+"abcdefghijkl\x00mysql_native_password\x00")
	welcome := packet(2, "\x00\x00\x00\x02\x00\x00\x00")
	d := mysqlDeps(t)
	for what, tt := range map[string]struct {
		at     string
		reason failover.ReasonCode
		detail string
	}{
		"never speaks":                    {blackHole(t, "127.0.0.1:0"), failover.ReasonTimeout, "did not answer in time"},
		"stops in its greeting":           {mysqlFake(t, false, greeting[:20]), failover.ReasonTimeout, "did not answer in time"},
		"stops after its greeting":        {mysqlFake(t, false, greeting), failover.ReasonTimeout, "did not answer in time"},
		"stops once it has let us in":     {mysqlFake(t, false, greeting, welcome), failover.ReasonTimeout, "did not answer in time"},
		"leaves in its greeting":          {mysqlFake(t, true, greeting[:20]), failover.ReasonReset, "cut the connection"},
		"leaves after its greeting":       {mysqlFake(t, true, greeting), failover.ReasonReset, "cut the connection"},
		"leaves once it has let us in":    {mysqlFake(t, true, greeting, welcome), failover.ReasonReset, "cut the connection"},
		"an error without a number's end": {mysqlFake(t, false, packet(0, "\xff\x10\x04")), failover.ReasonOther, "in no form that a server gives"},
		"an empty greeting":               {mysqlFake(t, false, packet(0, "\x0a")), failover.ReasonOther, ""},
		"another protocol":                {mysqlFake(t, false, "HTTP/1.1 400 Bad Request\r\n\r\n"), "", ""},
		"its own error, while it starts":  {mysqlFake(t, true, packet(0, "\xff\x1d\x04#08S01Server shutdown in progress")), failover.ReasonServerError, "Server shutdown in progress"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			o := look(t, mysqlConfig(t, tt.at), d)
			if o.Outcome != failover.Failed || tt.reason != "" && o.Reason != tt.reason || !strings.Contains(o.Detail, tt.detail) {
				t.Errorf("got %s/%s %q, want failed/%s with %q", o.Outcome, o.Reason, o.Detail, tt.reason, tt.detail)
			}
		})
	}
	t.Run("lets nobody in any more", func(t *testing.T) {
		t.Parallel()
		expect(t, look(t, mysqlConfig(t, mysqlFake(t, true, packet(0, "\xff\x10\x04Too many connections"))), d), failover.Slow, failover.ReasonThrottled, "Too many connections")
		expect(t, look(t, mysqlConfig(t, mysqlFake(t, true, packet(0, "\xff\x69\x04Host is blocked"))), d), failover.Misconfigured, failover.ReasonAuth, "Host is blocked")
	})
}

// A server that hangs in mid-life, as one that is stopped or whose disk is stuck: the connection that was kept is given up, and it is
// seen again when it answers again.
func TestMySQLHangsForAWhile(t *testing.T) {
	s := mysqlServerOf(t, "mysql")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var stuck atomic.Bool
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", s.Addr)
			if err != nil {
				_ = c.Close()
				continue
			}
			carry := func(to, from net.Conn) {
				buf := make([]byte, 4096)
				for {
					n, err := from.Read(buf)
					if err != nil {
						break
					}
					if stuck.Load() {
						continue // lost on its way
					}
					if _, err := to.Write(buf[:n]); err != nil {
						break
					}
				}
				_, _ = c.Close(), up.Close()
			}
			go carry(up, c)
			go carry(c, up)
		}
	}()
	d := mysqlDeps(t)
	d.Timeout = 500 * time.Millisecond
	p, err := mysqlConfig(t, l.Addr().String()).probe(d)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	expect(t, p.Probe(t.Context()), failover.OK, "", "")
	stuck.Store(true)
	for range 2 {
		o := p.Probe(t.Context())
		expect(t, o, failover.Failed, failover.ReasonTimeout, "did not answer in time")
		if took := time.Since(o.At); took > d.Timeout+300*time.Millisecond || !p.servers[0].hung {
			t.Errorf("took %s, hung %t", took, p.servers[0].hung)
		}
	}
	stuck.Store(false)
	expect(t, p.Probe(t.Context()), failover.OK, "", "")
	if p.servers[0].hung {
		t.Error("it answers, and is still taken for one that hangs")
	}
}

func TestMySQLCertificates(t *testing.T) {
	root, other := issue(t, nil, 365*day, "root"), issue(t, nil, 365*day, "other")
	dir, err := os.MkdirTemp("", "mysqltls")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // mariadbd is another user
		t.Fatal(err)
	}
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	leaf := issue(t, root, 90*day, "localhost", "localhost")
	key, err := x509.MarshalECPrivateKey(leaf.key)
	if err != nil {
		t.Fatal(err)
	}
	ca, otherCA := write("ca.pem", pemOf(root.cert)), write("other.pem", pemOf(other.cert))
	s := mysqlServerOf(t, "tls", "--ssl-cert="+write("cert.pem", pemOf(leaf.cert)), "--ssl-key="+write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key})))
	plain := mysqlServerOf(t, "mysql")
	s.Feed(t, "ALTER USER watcher@'127.0.0.1' REQUIRE SSL")
	d := mysqlDeps(t)
	_, port, _ := net.SplitHostPort(s.Addr)
	c := mysqlConfig(t, "localhost:"+port)
	expect(t, look(t, c, d), failover.Misconfigured, failover.ReasonAuth, "does not accept our user") // in the clear
	c.CAFile = ca
	expect(t, look(t, c, d), failover.OK, "", "")
	c.CAFile = otherCA
	expect(t, look(t, c, d), failover.Misconfigured, failover.ReasonTLS, "certificate")
	c.CAFile, c.Servers[e1] = ca, []string{s.Addr}
	expect(t, look(t, c, d), failover.Misconfigured, failover.ReasonTLS, "127.0.0.1")
	c.Servers[e1] = []string{plain.Addr}
	expect(t, look(t, c, d), failover.Misconfigured, failover.ReasonTLS, "speaks no TLS, and ca_file wants it")
}

// MySQL has called the same columns by other names since 8.0.22.
func TestMySQLSourceNames(t *testing.T) {
	for _, names := range [][]string{
		{"Connection_name", "Master_Host", "Master_Port", "Slave_IO_Running", "Slave_SQL_Running", "Last_IO_Error", "Last_SQL_Error", "Seconds_Behind_Master"},
		{"Channel_Name", "Source_Host", "Source_Port", "Replica_IO_Running", "Replica_SQL_Running", "Last_IO_Error", "Last_SQL_Error", "Seconds_Behind_Source"},
	} {
		for _, tt := range []struct {
			io, sql string
			lag     driver.Value
			last    string
			why     string
		}{
			{"Yes", "Yes", int64(60), "", ""},
			{"Yes", "Yes", uint64(61), "", "it is 61 s behind, and may be 1m0s"},
			{"Yes", "Yes", nil, "", "it cannot tell how far it is behind"},
			{"Connecting", "Yes", nil, "connecting: refused", `its replication has stopped: the thread that reads says "Connecting", the one that applies "Yes"; its last error: connecting: refused`},
			{"Yes", "No", int64(0), "", `the one that applies "No"`},
		} {
			f := sourceOf(names, []driver.Value{"c", "db.example.net", int64(3306), tt.io, tt.sql, tt.last, "", tt.lag})
			why, stale := mysqlState{sources: []mysqlSource{f}}.follows("DB.example.net:3306", time.Minute)
			if (tt.why == "") != (why == "") || !strings.Contains(why, tt.why) || stale != (why != "") || f.name != "c" {
				t.Errorf("%v of %v: %q, stale %t; want %q", f, names[0], why, stale, tt.why)
			}
		}
	}
}

// Each product is told in its own words how replication is ended for good.
func TestMySQLReplicatesFromNone(t *testing.T) {
	for version, want := range map[string]string{"10.11.19-MariaDB": "(STOP ALL SLAVES; RESET SLAVE ALL)", "MySQL 8.4.3": "(STOP REPLICA; RESET REPLICA ALL)"} {
		if why, _ := (mysqlState{version: version, sources: []mysqlSource{{at: "db:3306"}}}).follows(none, time.Minute); !strings.Contains(why, want) {
			t.Errorf("%s is told %q, want %q", version, why, want)
		}
	}
}

func TestMySQLParameters(t *testing.T) {
	for want, change := range map[string]func(c *MySQLConfig){
		`servers: is missing; list MariaDB in each region`:           func(c *MySQLConfig) { c.Servers = nil },
		`servers: "db" is not host:port`:                             func(c *MySQLConfig) { c.Servers[e1] = []string{"db"} },
		`servers: "b:3306" is named for us-east-1 and for us-east-2`: func(c *MySQLConfig) { c.Servers[e1] = []string{"b:3306"} },
		`user: is missing`: func(c *MySQLConfig) { c.User = "" },
		`password_file: "pw" is not an absolute path`:                                                      func(c *MySQLConfig) { c.PasswordFile = "pw" },
		`ca_file: "ca" is not an absolute path`:                                                            func(c *MySQLConfig) { c.CAFile = "ca" },
		"table: \"a.b; DROP TABLE x\" is not database.table":                                               func(c *MySQLConfig) { c.Table = "a.b; DROP TABLE x" },
		`table: "canary" is not database.table`:                                                            func(c *MySQLConfig) { c.Table = "canary" },
		`read_only: names us-west-1, in which servers names none`:                                          func(c *MySQLConfig) { c.ReadOnly = map[failover.Region]bool{"us-west-1": true} },
		`events: names us-west-1, in which`:                                                                func(c *MySQLConfig) { c.Events = map[failover.Region]bool{"us-west-1": true} },
		`replica_of: names us-west-1, in which`:                                                            func(c *MySQLConfig) { c.ReplicaOf = map[failover.Region]string{"us-west-1": "none"} },
		`replica_of: "db" of us-east-2 is neither host:port nor "none"`:                                    func(c *MySQLConfig) { c.ReplicaOf = map[failover.Region]string{e2: "db"} },
		`replica_of: "b:3306" is one of the servers of us-east-2 itself`:                                   func(c *MySQLConfig) { c.ReplicaOf = map[failover.Region]string{e2: "b:3306"} },
		`max_lag: says nothing without replica_of`:                                                         func(c *MySQLConfig) { c.MaxLag, c.ReplicaOf = 1, map[failover.Region]string{e2: "none"} },
		`max_lag: -1ns is negative`:                                                                        func(c *MySQLConfig) { c.MaxLag, c.ReplicaOf = -1, map[failover.Region]string{e2: "a:3306"} },
		`slow: -1ns is negative`:                                                                           func(c *MySQLConfig) { c.Slow = -1 },
		`write: would write nowhere: it does in regions of which read_only says false`:                     func(c *MySQLConfig) { c.Write = true },
		`write: would write nowhere: it does in regions of which read_only says false, such as read_only `: func(c *MySQLConfig) { c.Write, c.ReadOnly = true, map[failover.Region]bool{e2: true} },
		`write: would write nowhere: it does in regions of which read_only says false, such`: func(c *MySQLConfig) {
			c.Write, c.ReadOnly, c.ReplicaOf = true, map[failover.Region]bool{e2: false}, map[failover.Region]string{e2: "a:3306"}
		},
		"": func(c *MySQLConfig) {
			c.Write, c.ReadOnly, c.ReplicaOf = true, map[failover.Region]bool{e1: false, e2: true}, map[failover.Region]string{e1: "none", e2: "a:3306"}
		},
	} {
		c := &MySQLConfig{Servers: map[failover.Region][]string{e1: {"a:3306"}, e2: {"b:3306"}}, User: "u", PasswordFile: "/pw", CAFile: "/ca", Table: "app.canary"}
		change(c)
		err := c.Validate()
		if want == "" && err == nil {
			continue
		}
		if err == nil || want == "" || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := (&MySQLCheckConfig{MySQLConfig: MySQLConfig{Servers: map[failover.Region][]string{e1: {"a:1"}}, User: "u", PasswordFile: "/p"}, For: -1}).Validate(); err == nil || !strings.Contains(err.Error(), "within") {
		t.Errorf("%v", err)
	}
}
