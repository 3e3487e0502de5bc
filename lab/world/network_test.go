package world

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/netns"
	"github.com/failoverd/failoverd/lab/slackfake"
)

// reach dials an address from a site and reports how it went: ok, refused, or silence.
func (w *World) reach(ctx context.Context, site, addr string) string {
	ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	c, err := w.Dial(ctx, site, "tcp", addr)
	switch {
	case err == nil:
		c.Close()
		return "ok"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "silence"
	}
	if e := net.Error(nil); errors.As(err, &e) && e.Timeout() {
		return "silence"
	}
	return err.Error()
}

// A world without providers and workers: what cuts, kills and faults do.
func TestFaultsOfTheWorld(t *testing.T) {
	t.Parallel()
	w := start(t, Options{Prefix: "labt3", Rate: -1, Propagation: time.Second, Desired: map[string]map[string]int{Primary: {"api": 1, "workers": 1}}})
	ctx := t.Context()
	const aws1, aws2, kube1, slack = "198.18.1.5:4566", "198.18.2.5:4566", "198.18.1.7:6443", "198.18.9.70:80"
	expect := func(what string, want map[[2]string]string) {
		t.Helper()
		for from, how := range want {
			if got := w.reach(ctx, from[0], from[1]); got != how {
				t.Errorf("%s: %s to %s: %s, want %s", what, from[0], from[1], got, how)
			}
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect("at peace", map[[2]string]string{{E1, aws2}: "ok", {E2, aws1}: "ok", {Third, aws1}: "ok", {E1, slack}: "ok", {Third, "198.18.1.11:1"}: "refused"})
	do(w.Cut(ctx, E1))
	expect("us-east-1 cut", map[[2]string]string{{E1, aws2}: "silence", {E2, aws1}: "silence", {Third, aws1}: "silence", {E1, slack}: "silence", {E1, aws1}: "ok", {Third, aws2}: "ok"})
	do(w.Heal(ctx, E1))
	do(w.CutPair(ctx, E1, E2))
	expect("regions cut from each other", map[[2]string]string{{E1, aws2}: "silence", {E2, aws1}: "silence", {Third, aws1}: "ok", {Third, aws2}: "ok", {E1, slack}: "ok"})
	do(w.Heal(ctx, E1))
	expect("healed", map[[2]string]string{{E1, aws2}: "ok", {E2, aws1}: "ok"})

	do(w.DarkServices(ctx, E1))
	expect("services of us-east-1 dark", map[[2]string]string{{Third, aws1}: "silence", {Third, kube1}: "silence", {Third, "198.18.1.11:1"}: "refused"})
	do(w.LightServices(ctx, E1))
	expect("services of us-east-1 back", map[[2]string]string{{Third, aws1}: "ok", {Third, kube1}: "ok"})

	// A fault is injected while the site is cut: control does not pass through the network.
	do(w.Cut(ctx, E1))
	do(w.Fault(ctx, E1, faults.Fault{Service: "ecs", Mode: faults.Throttle}))
	do(w.Heal(ctx, E1))
	if err := w.scaleTo(ctx, E1, "workers", 0); err == nil {
		t.Error("a throttled control plane takes a call")
	}
	do(w.ClearFaults(ctx, E1))

	// The system's resolver inside a site is the world's, and MongoDB has elected its preferred primary.
	p, err := w.Exec(ctx, Third, []string{"getent", "ahostsv4", "api.us-east-1.example.net"}, ProcOptions{})
	do(err)
	do(p.Wait(ctx))
	if got := p.tail(); len(got) < 11 || got[:11] != "198.18.1.21" && got[:11] != "198.18.1.22" && got[:11] != "198.18.1.23" {
		t.Errorf("getent: %s", got)
	}
	until(t, w, 20*time.Second, "mongo's primary and a worker", func(r Record) bool {
		m, err := w.Mongo(ctx, E1)
		return err == nil && m["198.18.1.31:27017"] == "PRIMARY" && r.Alive[Primary] == 1
	})
	if _, err := w.SlackClick(ctx, slackfake.Click{Button: "Approve", User: "U1"}); err == nil {
		t.Error("a click on nothing succeeds")
	}

	// Death: everything in the region ends, and the ledger has seen it. Then the region comes back.
	w.KillSite(ctx, E1)
	until(t, w, 10*time.Second, "the region's worker to die", func(r Record) bool { return r.Alive[Primary] == 0 })
	expect("us-east-1 dead", map[[2]string]string{{Third, aws1}: "refused", {E1, aws2}: "ok"})
	until(t, w, 20*time.Second, "us-east-2 to stay without a primary", func(Record) bool {
		m, err := w.Mongo(ctx, E2)
		return err == nil && m["198.18.2.31:27017"] == "SECONDARY"
	})
	do(w.StartSite(ctx, E1))
	expect("us-east-1 back", map[[2]string]string{{Third, aws1}: "ok"})

	do(w.flip(ctx))
	until(t, w, 10*time.Second, "all name servers to answer with us-east-2", func(Record) bool {
		all, err := w.Lookup(ctx, "api.example.net")
		for _, a := range all {
			if len(a) != 3 || a[0] != "198.18.2.21" {
				return false
			}
		}
		return err == nil
	})
}

// What a crashed test leaves is removed by prefix, without its World.
func TestCleanStale(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: the simulated world needs root for its network namespaces")
	}
	n, err := netns.New(t.Context(), "labt4", sites())
	if err != nil {
		t.Fatal(err)
	}
	if err := CleanStale(t.Context(), "labt4"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Dial(t.Context(), E1, "tcp", "198.18.1.5:4566"); err == nil {
		t.Error("the namespace is still there")
	}
}
