package consensus

import (
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

func gate(t *testing.T, dir string, h Hello) *Gatekeeper {
	t.Helper()
	g, err := NewGatekeeper(dir, h, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// meet lets two nodes greet each other and returns what each of them says of the
// connection.
func meet(a, b *Gatekeeper) (dialler, acceptor error) {
	x, y := net.Pipe()
	defer func() { _, _ = x.Close(), y.Close() }() // pipes
	done := make(chan error, 1)
	go func() { done <- b.Greet(y, false, a.Self().Node) }()
	dialler = a.Greet(x, true, b.Self().Node)
	return dialler, <-done
}

// T3 and T4 at the beginning of each raft connection: whoever knows something
// newer objects, and both sides say why and close.
func TestGreet(t *testing.T) {
	log := failover.NewState()
	log.Index = 9
	log.Nodes["n1"] = failover.NodeRecord{Disk: "d1", Starts: 4, Boot: "x"}
	log.Nodes["n2"] = failover.NodeRecord{Disk: "d2", Starts: 1, Boot: "y"}
	log.Removed = map[failover.NodeID]failover.RemovedNode{"n5": {By: "uid 7", Why: "broken"}}
	later := log.Clone()
	later.Generation = 1
	n2 := Hello{Node: "n2", Disk: "d2", Starts: 2, Boot: "z"}
	for name, c := range map[string]struct {
		knows *failover.State // what n2 has applied
		n1    Hello
		other *failover.State // what n1 has applied
		why   string          // "" for nothing
	}{
		"the same start":    {log, Hello{Node: "n1", Disk: "d1", Starts: 4, Boot: "x"}, log, ""},
		"a later start":     {log, Hello{Node: "n1", Disk: "d1", Starts: 5, Boot: "q"}, log, ""},
		"nothing is known":  {failover.NewState(), Hello{Node: "n1", Disk: "d1", Starts: 1}, failover.NewState(), ""},
		"set back":          {log, Hello{Node: "n1", Disk: "d1", Starts: 3}, failover.NewState(), "start counter 3, but 4 was recorded"},
		"set back by one":   {log, Hello{Node: "n1", Disk: "d1", Starts: 4, Boot: "q"}, failover.NewState(), "start counter 4, but 4 was recorded"},
		"replaced":          {log, Hello{Node: "n1", Disk: "d9", Starts: 1, Empty: true}, failover.NewState(), "another disk"},
		"removed":           {log, Hello{Node: "n5", Disk: "d5", Starts: 1}, failover.NewState(), "node n5 was removed from the cluster"},
		"left behind":       {later, Hello{Node: "n1", Disk: "d1", Starts: 5}, log, "node n1 belongs to generation 0 of this cluster, node n2 to generation 1"},
		"ahead":             {log, Hello{Node: "n1", Disk: "d1", Starts: 5}, later, "node n2 belongs to generation 0 of this cluster, node n1 to generation 1"},
		"new to the second": {later, Hello{Node: "n6", Disk: "d6", Starts: 1, Empty: true}, failover.NewState(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := gate(t, "", c.n1), gate(t, "", n2)
			if err := b.Learn(c.knows); err != nil {
				t.Fatal(err)
			}
			if err := a.Learn(c.other); err != nil {
				t.Fatal(err)
			}
			for _, pair := range [][2]*Gatekeeper{{a, b}, {b, a}} {
				x, y := meet(pair[0], pair[1])
				for _, err := range []error{x, y} {
					if c.why == "" && err != nil || c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)) {
						t.Errorf("%s dials %s: %v, want %q", pair[0].Self().Node, pair[1].Self().Node, err, c.why)
					}
				}
			}
		})
	}
	if x, _ := meet(gate(t, "", Hello{Node: "n1"}), gate(t, "", n2)); x != nil {
		t.Error(x)
	}
}

// What does not greet as it should is closed within the time-out, and nobody can
// use another's name.
func TestGreetRefusesNoise(t *testing.T) {
	for name, c := range map[string]struct{ sent, why string }{
		"silence":        {"", "i/o timeout"},
		"half a message": {"\x00\x10{", "i/o timeout"},
		"too long":       {"\xff\xff", "too long"},
		"no JSON":        {"\x00\x02ab", "invalid character"},
		"another's name": {"\x00\x16" + `{"hello":{"node":"n9"}`, "unexpected end"},
		"a name":         {"\x00\x17" + `{"hello":{"node":"n9"}}` + "\x00\x02{}", "n1 calls itself n9"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, y := net.Pipe()
				go func() { _, _ = io.WriteString(x, c.sent) }() // the other side may have had enough
				go func() { _, _ = io.Copy(io.Discard, x) }()
				begin := time.Now()
				err := gate(t, "", Hello{Node: "n2"}).Greet(y, false, "n1")
				if err == nil || !strings.Contains(err.Error(), c.why) || time.Since(begin) > greetTimeout {
					t.Errorf("after %s: %v", time.Since(begin), err)
				}
				_, _ = x.Close(), y.Close()
				synctest.Wait()
			})
		})
	}
}

// What was learned survives a restart, in which nothing has been applied yet; a
// log that is replayed takes nothing back.
func TestKnownSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	s := failover.NewState()
	s.Index = 9
	s.Settings = &failover.Settings{Nodes: map[failover.NodeID]failover.NodeSpec{"n1": {Address: "a:1"}}}
	s.Nodes["n1"] = failover.NodeRecord{Disk: "d1", Starts: 4, Boot: "x"}
	g := gate(t, dir, Hello{Node: "n2", Empty: true})
	if err := g.Learn(s); err != nil {
		t.Fatal(err)
	}
	if g.Self().Empty {
		t.Error("a node with a log is not empty")
	}
	again := gate(t, dir, Hello{Node: "n2"})
	old := failover.NewState()
	old.Index = 3
	old.Nodes["n1"] = failover.NodeRecord{Disk: "d1", Starts: 1}
	for _, replayed := range []*failover.State{failover.NewState(), old} {
		if err := again.Learn(replayed); err != nil {
			t.Fatal(err)
		}
		if err := again.Judge(Hello{Node: "n1", Disk: "d1", Starts: 3}); err == nil {
			t.Errorf("a disk that was set back is admitted after a restart, at index %d", replayed.Index)
		}
		if again.Members()["n1"].Address != "a:1" {
			t.Error("the membership is forgotten")
		}
	}
	if err := os.WriteFile(filepath.Join(dir, knownFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewGatekeeper(dir, Hello{}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("%v", err)
	}
}

// After a restart the state machine is an old snapshot until there is a leader, and without a quorum it stays so: what is known of who was
// removed, and that nobody speaks without a greeting any more, is not forgotten.
func TestAnOldSnapshotTeachesNothing(t *testing.T) {
	dir := t.TempDir()
	start := func() *Gatekeeper {
		g, err := NewGatekeeper(dir, Hello{Node: "a", Disk: "da", Starts: 2, Boot: "b"}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	old := failover.NewState()
	old.Index, old.Features = 5, 1
	old.Nodes["x"] = failover.NodeRecord{Disk: "dx", Starts: 1, Boot: "bx"}
	now := old.Clone()
	now.Index, now.Features = 50, 3
	delete(now.Nodes, "x")
	now.Removed = map[failover.NodeID]failover.RemovedNode{"x": {By: "uid 0", Why: "old disk"}}
	learn := func(g *Gatekeeper, s *failover.State) {
		t.Helper()
		if err := g.Learn(s); err != nil {
			t.Fatal(err)
		}
	}
	learn(start(), now)
	g := start()
	learn(g, old)
	if err := g.Judge(Hello{Node: "x", Disk: "dx", Starts: 1, Boot: "bx"}); err == nil || g.Plain() {
		t.Errorf("a removed node is let in (%v), and who does not greet is: %t", err, g.Plain())
	}
	// What comes later is believed again.
	later := now.Clone()
	later.Index, later.Removed = 60, nil
	later.Nodes["x"] = failover.NodeRecord{Disk: "dx2", Starts: 1, Boot: "bx2"}
	learn(g, later)
	if err := g.Judge(Hello{Node: "x", Disk: "dx2", Starts: 1, Boot: "bx2"}); err != nil {
		t.Error(err)
	}
}
