package sim

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seeds = flag.Uint64("seeds", 6, "how many seeds to run")
	first = flag.Uint64("seed", 1, "the first seed")
)

// TestSim runs whole clusters under faults and holds each run against the
// oracle.
func TestSim(t *testing.T) {
	began := time.Now()
	var mu sync.Mutex
	ends := map[string]int{}
	var virtual time.Duration
	violations, executions := 0, 0
	t.Run("seeds", func(t *testing.T) {
		for i := range *seeds {
			seed := *first + i
			t.Run(fmt.Sprintf("%d", seed), func(t *testing.T) {
				t.Parallel()
				var out Outcome
				synctest.Test(t, func(*testing.T) {
					out = Run(seed, slog.New(slog.NewTextHandler(io.Discard, nil)))
				})
				mu.Lock()
				defer mu.Unlock()
				ends[out.End]++
				virtual += out.Virtual
				if out.Executions > 0 {
					executions++
				}
				violations += len(out.Violations)
				if len(out.Violations) > 0 {
					for _, v := range out.Violations {
						t.Error(v)
					}
					t.Logf("again: go test ./internal/sim -run TestSim -seed %d -seeds 1 -v\n%s", seed, out.History())
				} else if *seeds == 1 {
					t.Log("\n" + out.History())
				}
			})
		}
	})
	t.Logf("ends: %v, with an execution: %d of %d", ends, executions, *seeds)
	if *seeds >= 50 && uint64(executions)*10 < *seeds*3 {
		t.Errorf("only %d of %d runs had an execution: the schedule shows too little", executions, *seeds)
	}
	fmt.Printf("sim: seeds=%d violations=%d virtual_hours=%.1f real_s=%.0f\n", *seeds, violations, virtual.Hours(), time.Since(began).Seconds())
}
