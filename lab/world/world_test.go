package world

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/cli"
)

// TestMain lets the test binary stand in for the lab binary: the world starts it again for its processes.
func TestMain(m *testing.M) {
	if os.Getenv("LAB_COMMAND") == "1" {
		os.Exit(cli.Main(os.Args[1:], os.Stderr))
	}
	os.Exit(m.Run())
}

const factor = 12 // solo after 7.5 s, work 40 to 250 ms

func start(t *testing.T, opt Options) *World {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: the simulated world needs root for its network namespaces")
	}
	opt.TimeFactor = factor
	opt.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	w, err := Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range []string{"ledger", Net, E1, E2} {
				t.Logf("log of %s: %s", n, w.find(n).tail())
			}
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// until polls the record until cond holds.
func until(t *testing.T, w *World, limit time.Duration, what string, cond func(Record) bool) Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		r, err := w.Record(ctx)
		if err == nil && cond(r) {
			return r
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waiting %v for %s: last record %+v, error %v", limit, what, r, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// A failover that is done right processes nothing twice, although every message that was not claimed before the cut is
// known to both regions and providers send again what was not acknowledged.
func TestFencedFailoverMakesNoDuplicates(t *testing.T) {
	t.Parallel()
	w := start(t, Options{Prefix: "labt1"})
	ctx := t.Context()
	until(t, w, 20*time.Second, "us-east-1 to process", func(r Record) bool { return r.Regions[Primary].Processed > 10 && r.Stores[Primary].LinkUp })
	if err := w.Cut(ctx, E1); err != nil {
		t.Fatal(err)
	}
	if err := w.scaleTo(ctx, E1, "workers", 0); err != nil {
		t.Fatal(err)
	}
	until(t, w, 20*time.Second, "the workers of us-east-1 to die", func(r Record) bool { return r.Alive[Primary] == 0 })
	if err := w.scaleTo(ctx, E2, "workers", 3); err != nil {
		t.Fatal(err)
	}
	if err := w.flip(ctx); err != nil {
		t.Fatal(err)
	}
	r := until(t, w, 40*time.Second, "us-east-2 to work", func(r Record) bool { return r.Regions[Secondary].Processed > 20 && r.Regions[Secondary].Acked > 5 })
	if r.Duplicates != 0 || r.DualActiveMs != 0 || len(r.Lost) != 0 {
		t.Errorf("duplicates %d %v, dual active %d ms, lost %v: want none", r.Duplicates, r.DuplicateKeys, r.DualActiveMs, r.Lost)
	}
	if err := w.Heal(ctx, E1); err != nil {
		t.Fatal(err)
	}
	until(t, w, 20*time.Second, "the stores to merge", func(r Record) bool { return r.Stores[Primary].LinkUp && r.Stores[Secondary].LinkUp })
	changes, err := w.Route53Changes(ctx)
	if err != nil || len(changes) != 1 || changes[0].AccessKey != "AKIATEST" {
		t.Errorf("Route 53 history %+v, error %v: want the one batch of AKIATEST", changes, err)
	}
}

// A failover without a fence is found out: workers that go on behind a cut meet the same backlog as the new region's.
func TestUnfencedFailoverIsFoundOut(t *testing.T) {
	t.Parallel()
	w := start(t, Options{Prefix: "labt2"})
	ctx := t.Context()
	until(t, w, 20*time.Second, "us-east-1 to process with a backlog", func(r Record) bool {
		return r.Regions[Primary].Processed > 10 && r.Stores[Primary].LinkUp && len(r.Stores[Secondary].New) > 2
	})
	if err := w.Cut(ctx, E1); err != nil {
		t.Fatal(err)
	}
	if err := w.scaleTo(ctx, E2, "workers", 3); err != nil {
		t.Fatal(err)
	}
	r := until(t, w, 40*time.Second, "duplicates", func(r Record) bool { return r.Duplicates > 0 })
	if r.DualActiveMs <= 0 || r.Alive[Primary] != 3 || r.Alive[Secondary] == 0 {
		t.Errorf("dual active %d ms, alive %v: want workers of both regions at once", r.DualActiveMs, r.Alive)
	}
}
