package actions

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mongotest"
)

// testedElsewhere are the kinds that are no subjects of the suite, why, and the tests that hold them to what it holds the others to.
var testedElsewhere = map[string]struct {
	why   string
	tests []string
}{
	"approval": {"it has no action: a person passes it, and the executor notes that", []string{"TestBuild"}},
	"gate": {"its only change is an entry of the log, which the executor commits, and a gate that is silent or lies counts as one that says \"serve\"",
		[]string{"TestGate", "TestTheFlipIsCommittedOnce", "TestCancelOfTheOthers"}},
	"mariadb_restore": {"its world is a real server and no API, its death between any two statements is tried out there, and what it reads from S3 is compared byte by byte",
		[]string{"TestMariaDBRestore", "TestMariaDBRestoreBesideTheLooks", "TestMariaDBRestoreLacks", "TestDeath", "TestStale", "TestCancelOfTheOthers"}},
	"mariadb_dump": {"its world is a real server and a program that is killed, and its one change is an object that appears as a whole or not at all",
		[]string{"TestMariaDBDump", "TestMariaDBDumpChangesHands", "TestMariaDBDumpNothingOlder", "TestASwitchoverChangesHands", "TestTakeIsWholeOrNothing", "TestTakeEndsItsChildren", "TestCancelOfTheOthers"}},
	"mongo_promote": {"each of its changes is one command to one member that is judged again by what all members say, and it is never taken back",
		[]string{"TestMongoPromoteForces", "TestMongoPromoteThawsNobodyBesideAnEarlierAttempt", "TestMongoFenceWaitsForNobody", "TestMongoPromoteIsNotSentLate", "TestCancelOfTheOthers"}},
}

// No kind is forgotten: each is a subject, or stands in the table above with tests that there are.
func TestConformanceOfEveryKind(t *testing.T) {
	tested := map[string]bool{}
	for _, s := range subjects(t, trafficZone()) {
		kind, _, _ := strings.Cut(s.name, " ")
		tested[kind] = true
	}
	var source strings.Builder
	for _, pattern := range []string{"*_test.go", "../internal/restore/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(b)
		}
	}
	for f := range reflect.TypeFor[Kinds]().Fields() {
		kind := f.Tag.Get("toml")
		other, ok := testedElsewhere[kind]
		switch {
		case tested[kind] == ok:
			t.Errorf("%s: a subject: %t, tested elsewhere: %t; it has to be one of both", kind, tested[kind], ok)
		case ok && (other.why == "" || len(other.tests) == 0):
			t.Errorf("%s is said to be tested elsewhere, and not why, or where", kind)
		}
		for _, name := range other.tests {
			if !strings.Contains(source.String(), "\nfunc "+name+"(t *testing.T)") {
				t.Errorf("%s is said to be tested by %s, which there is not", kind, name)
			}
		}
	}
}

// What the kinds that are tested elsewhere wait for may hang as well.
func TestCancelOfTheOthers(t *testing.T) {
	t.Run("gate", func(t *testing.T) {
		c := conform(t, 0)
		at := strings.TrimPrefix(c.host, "http://")
		a, err := (&GateConfig{Nodes: map[failover.NodeID]string{"a": at, "b": at}, Names: []string{"api.example.net"}, SameAs: "api.us-east-2.example.net"}).New(c.deps)
		if err != nil {
			t.Fatal(err)
		}
		leavesNothing(t, interrupted{
			"Inspect", func(hanging func()) { c.feelsFrom(hangs, 1, hanging) },
			func(ctx context.Context) error { _, err := a.Inspect(ctx); return err },
		})
	})
	t.Run("name servers", func(t *testing.T) {
		server, hang := mute(t)
		for n, s := range subjects(t, trafficZone()) {
			if !s.tokens {
				continue
			}
			c := conform(t, n)
			c.deps.Resolvers, c.port = []string{server}, server[strings.LastIndexByte(server, ':')+1:]
			a := c.action()
			before := Effect{Previous: s.goes(t, n).before.Previous}
			if err := a.Do(t.Context(), c.next(before)); err != nil {
				t.Fatal(err)
			}
			leavesNothing(t, interrupted{s.name, hang, func(ctx context.Context) error { _, err := a.Inspect(ctx); return err }})
		}
	})
	t.Run("mongo_promote", func(t *testing.T) {
		s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
		lose(s)
		becomes(t, a, Absent, "FORCED")
		before := Effect{Previous: begun(t, a)}
		for _, cmd := range []string{"hello", "replSetGetStatus", "replSetGetConfig", "replSetReconfig"} {
			var over chan struct{} // the member learns that nobody waits any more
			hang := func(hanging func()) {
				ends := make(chan struct{})
				over = ends
				s.SetMoodAt(2, cmd, mongotest.Mood{Hang: func(context.Context) bool { hanging(); <-ends; return false }})
			}
			until := func(call func(context.Context) error) func(context.Context) error {
				return func(ctx context.Context) error { defer close(over); return call(ctx) }
			}
			do := interrupted{"Do at " + cmd, hang, until(func(ctx context.Context) error { return a.Do(ctx, attempt(7, before)) })}
			if cmd == "replSetReconfig" {
				leavesNothing(t, do)
				continue
			}
			for _, x := range []interrupted{do, {"Inspect at " + cmd, hang, until(func(ctx context.Context) error { _, err := a.Inspect(ctx); return err })},
				{"Watch at " + cmd, hang, until(func(ctx context.Context) error { _, err := a.Watch(ctx); return err })},
				{"Mend at " + cmd, hang, until(func(ctx context.Context) error { return a.Mend(ctx, attempt(7, before)) })}} {
				x.isCancelled(t)
				if cmd == "hello" {
					leavesNothing(t, x)
				}
			}
			s.SetMoodAt(2, cmd, mongotest.Mood{})
		}
	})
	t.Run("mariadb_dump", func(t *testing.T) {
		h := goingHome(t)
		m := &moody{fake: h.bucket, gone: make(chan struct{})}
		h.deps.Cloud = testDeps(t, m).Cloud
		t.Cleanup(func() { close(m.gone) })
		p := pass(t, h.left.Addr)
		h.cfg.Servers["us-east-1"] = p.addr
		x, _ := h.steps(t)
		before := inspect(t, x, Absent, "")
		token := uint64(10)
		calm := func() {
			m.feels("")
			p.hang(0, nil)
			if err := x.now.end(t.Context()); err != nil {
				t.Fatal(err)
			}
			x.now = nil
		}
		bucket := func(call int) func(func()) {
			return func(hanging func()) { calm(); m.feelsFrom(hangs, call, hanging) }
		}
		server := func(packet int) func(func()) {
			return func(hanging func()) { calm(); p.hang(packet, hanging) }
		}
		do := func(ctx context.Context) error {
			token++
			h.begins(token)
			a := attempt(token, before)
			a.Epoch = token // each makes a dump of its own
			return x.Do(ctx, a)
		}
		for call := 1; call <= 3; call++ { // what earlier ones have left, the beginning of the upload, its part
			interrupted{"Do at S3", bucket(call), do}.isCancelled(t)
		}
		for _, packet := range []int{1, 3, 8, 13, 20, 30} { // of those that are sent by us, and then by mariadb-dump
			interrupted{"Do at the server", server(packet), do}.isCancelled(t)
		}
		inspects := func(ctx context.Context) error { _, err := x.Inspect(ctx); return err }
		leavesNothing(t, interrupted{"Inspect at S3", bucket(1), inspects}, interrupted{"Inspect", server(2), inspects},
			interrupted{"Do at S3", bucket(3), do}, interrupted{"Do", server(13), do})
		calm()
	})
	t.Run("mariadb_restore", func(t *testing.T) {
		_, f, c, d := restorable(t)
		m := &moody{fake: f, gone: make(chan struct{})}
		s3 := testDeps(t, m)
		t.Cleanup(func() { close(m.gone) })
		d.Cloud = s3.Cloud
		p := pass(t, c.Servers["us-east-2"])
		c.Servers = map[failover.Region]string{"us-east-2": p.addr}
		x := restorer(t, c, d)
		before := inspect(t, x, Absent, "")
		token := uint64(10)
		next := func() Attempt { token++; a := attempt(token, before); a.Epoch = 2; return a }
		inspects := func(ctx context.Context) error { _, err := x.Inspect(ctx); return err }
		do := func(ctx context.Context) error { return x.Do(ctx, next()) }
		calm := func() { // nothing hangs, and what was begun has ended
			m.feels("")
			p.hang(0, nil)
			if err := x.end(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		bucket := func(call int) func(func()) {
			return func(hanging func()) { calm(); m.feelsFrom(hangs, call, hanging) }
		}
		server := func(packet int) func(func()) {
			return func(hanging func()) { calm(); p.hang(packet, hanging) }
		}
		for call := 1; call <= 3; call++ { // the list, the end of the file, its beginning
			interrupted{"Do at S3", bucket(call), do}.isCancelled(t)
		}
		for _, packet := range []int{1, 2, 3, 5, 8, 13, 21, 34, 55} { // of those that a restore sends
			interrupted{"Do at the server", server(packet), do}.isCancelled(t)
		}
		leavesNothing(t, interrupted{"Inspect at S3", bucket(1), inspects}, interrupted{"Inspect", server(2), inspects},
			interrupted{"Undo", server(2), func(ctx context.Context) error { return x.Undo(ctx, next()) }},
			interrupted{"Burn", server(2), func(ctx context.Context) error { return x.Burn(ctx, next()) }},
			interrupted{"Do at S3", bucket(2), do}, interrupted{"Do", server(8), do})
		calm()
	})
}

// mute is a name server that never answers, and says when it was asked.
func mute(t *testing.T) (addr string, hang func(hanging func())) {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	var mu sync.Mutex
	asked := func() {}
	go func() {
		for b := make([]byte, 1500); ; {
			if _, _, err := c.ReadFrom(b); err != nil {
				return
			}
			mu.Lock()
			asked()
			mu.Unlock()
		}
	}()
	return c.LocalAddr().String(), func(hanging func()) {
		mu.Lock()
		defer mu.Unlock()
		asked = hanging
	}
}

// passage leads connections to a server, until it hangs.
type passage struct {
	addr, to string

	mu      sync.Mutex
	from    int // the first packet that is passed on no more; zero: all are
	packets int // since that was said
	hanging func()
	hung    []net.Conn
}

func pass(t *testing.T, to string) *passage {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p := &passage{addr: l.Addr().String(), to: to}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.lead(c)
		}
	}()
	return p
}

// hang stops passing on what clients send from a packet on. What hung before is closed.
func (p *passage) hang(packet int, hanging func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.hung {
		_ = c.Close()
	}
	p.from, p.packets, p.hanging, p.hung = packet, 0, hanging, nil
}

func (p *passage) lead(c net.Conn) {
	defer c.Close()
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer up.Close()
	go func() {
		defer c.Close()
		_, _ = up.(*net.TCPConn).WriteTo(c)
	}()
	for b := make([]byte, 64<<10); ; {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.packets++
		hung, say := p.from > 0 && p.packets >= p.from, p.hanging
		if hung {
			p.hung = append(p.hung, c)
		}
		p.mu.Unlock()
		if hung {
			say()
			continue
		}
		if _, err := up.Write(b[:n]); err != nil {
			return
		}
	}
}
