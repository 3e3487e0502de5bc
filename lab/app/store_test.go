package app

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stores starts two stores on loopback, each with its own context as its region's life.
func stores(t *testing.T) (dir string, opts [2]StoreOptions, run [2]*Store, kill [2]context.CancelFunc) {
	t.Helper()
	dir = t.TempDir()
	var addr [2]string
	for i := range addr {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr[i] = ln.Addr().String()
		ln.Close()
	}
	for i, r := range []string{"us-east-1", "us-east-2"} {
		ctx, cancel := context.WithCancel(t.Context())
		kill[i] = cancel
		opts[i] = StoreOptions{Region: r, Socket: filepath.Join(dir, r), Listen: addr[i], Peer: addr[1-i], Journal: filepath.Join(dir, r+".jsonl"),
			SoloAfter: 500 * time.Millisecond, LinkDown: 100 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}
		s, err := StartStore(ctx, opts[i])
		if err != nil {
			t.Fatal(err)
		}
		run[i] = s
	}
	for _, s := range run {
		wait(t, "the link", func() bool { return s.Status().LinkUp })
	}
	return dir, opts, run, kill
}

func wait(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func client(t *testing.T, o StoreOptions) *StoreClient {
	t.Helper()
	c, err := DialStore(o.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.c.Close() })
	return c
}

func call(t *testing.T, c *StoreClient, op, key string) Response {
	t.Helper()
	a, err := c.Call(Request{Op: op, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestClaimsAreAgreedWithTheOtherRegion(t *testing.T) {
	_, opts, run, _ := stores(t)
	w1, other, w2 := client(t, opts[0]), client(t, opts[0]), client(t, opts[1])
	for _, k := range []string{"a", "b", "c"} {
		if r := call(t, w1, "put", k); !r.OK || !r.Replicated {
			t.Fatalf("put %s: %+v", k, r)
		}
	}
	if r := call(t, w1, "claim", "a"); !r.OK {
		t.Fatalf("claim: %+v", r)
	}
	if r := call(t, other, "claim", "a"); r.OK || r.Why != "claimed by a living worker" {
		t.Errorf("claim of a colleague's message: %+v", r)
	}
	if r := call(t, w2, "claim", "a"); r.OK || !strings.HasPrefix(r.Why, "in doubt") {
		t.Errorf("claim of the other region's message: %+v", r)
	}
	call(t, w1, "done", "a")
	wait(t, "done reaches the other region", func() bool { return run[1].Status().Done == 1 })
	if r := call(t, w2, "claim", "b"); !r.OK {
		t.Errorf("the other region claims what is new: %+v", r)
	}
	// A worker that died leaves its claim to its colleagues, marked; never to the other region.
	if r := call(t, w1, "claim", "c"); !r.OK {
		t.Fatalf("claim: %+v", r)
	}
	w1.c.Close()
	wait(t, "the claim is free again", func() bool { r := call(t, other, "claim", "c"); return r.OK && r.Reclaimed })
}

func TestAloneOnlyAfterEveryLeaseHasEnded(t *testing.T) {
	_, opts, run, kill := stores(t)
	w1, w2 := client(t, opts[0]), client(t, opts[1])
	call(t, w1, "put", "a")
	call(t, w1, "put", "b")
	call(t, w1, "claim", "a")
	kill[0]()
	run[0].link.mu.Lock()
	if run[0].link.conn != nil {
		run[0].link.conn.Close()
	}
	run[0].link.mu.Unlock()
	run[1].link.mu.Lock() // the dead process's sockets close with it; here both live in one process
	run[1].link.conn.Close()
	run[1].link.mu.Unlock()
	wait(t, "the link is down", func() bool { return !run[1].Status().LinkUp })
	if r := call(t, w2, "claim", "b"); r.OK || !strings.HasPrefix(r.Why, "waiting") {
		t.Errorf("claim right after the link broke: %+v", r)
	}
	if r := call(t, w2, "put", "c"); !r.OK || r.Replicated {
		t.Errorf("put with the link down: %+v", r)
	}
	wait(t, "a solo claim", func() bool { return call(t, w2, "claim", "b").OK })
	if r := call(t, w2, "claim", "a"); r.OK || !strings.HasPrefix(r.Why, "in doubt") {
		t.Errorf("claim of what the lost region had claimed: %+v", r)
	}
	if s := run[1].Status(); len(s.InDoubt) != 1 || !s.Solo {
		t.Errorf("status %+v", s)
	}
	// The lost region comes back with its journal, and merges.
	s, err := StartStore(t.Context(), opts[0])
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "the stores merge", func() bool { st := s.Status(); return st.LinkUp && len(st.InDoubt) == 1 && len(st.New) == 1 })
}
