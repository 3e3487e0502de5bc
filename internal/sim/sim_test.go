package sim

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"
)

var (
	seeds = flag.Uint64("seeds", 12, "how many seeds to run")
	first = flag.Uint64("seed", 1, "the first seed")
)

// tally is what many runs showed.
type tally struct {
	mu         sync.Mutex
	ends       map[string]int
	cells      map[cell]map[string]int // how runs ended in which a fault was played in a phase
	virtual    time.Duration
	violations int
	executions uint64
	failed     []uint64
}

func (t *tally) add(out Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ends[out.End]++
	t.virtual += out.Virtual
	if out.Executions > 0 {
		t.executions++
	}
	t.violations += len(out.Violations)
	if len(out.Violations) > 0 {
		t.failed = append(t.failed, out.Seed)
	}
	for c, n := range out.Cells {
		if t.cells[c] == nil {
			t.cells[c] = map[string]int{}
		}
		t.cells[c][out.End] += n
	}
}

// enough is how many seeds fill every cell of the table: several aim at each.
func enough() uint64 { return 3 * uint64(len(faults)*len(phases)) }

// table shows per fault and phase how often it took effect, and by the first
// letters of their ends how those runs ended.
func (t *tally) table() (text string, empty []string) {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "fault\t"+strings.Join(phases, "\t")+"\t")
	for _, f := range faults {
		fmt.Fprint(tw, f.name)
		for _, p := range phases {
			n, how := 0, ""
			ends := t.cells[cell{f.name, p}]
			for _, end := range slices.Sorted(maps.Keys(ends)) {
				n += ends[end]
				how += fmt.Sprintf(" %s%d", short[end], ends[end])
			}
			fmt.Fprintf(tw, "\t%d:%s", n, how)
			if n == 0 {
				empty = append(empty, f.name+" × "+p)
			}
		}
		fmt.Fprintln(tw, "\t")
	}
	_ = tw.Flush() // a string does not fail
	return "cell: " + strings.ReplaceAll(strings.TrimRight(b.String(), "\n"), "\n", "\ncell: ") + "\n", empty
}

// short are the ends as the table has them.
var short = map[string]string{"quiet": "q", "stable": "s", "undone": "u", "aborted": "b", "asked": "a"}

// TestSim runs whole clusters under faults and holds each run against the
// oracle.
func TestSim(t *testing.T) {
	began := time.Now()
	all := &tally{ends: map[string]int{}, cells: map[cell]map[string]int{}}
	t.Run("seeds", func(t *testing.T) {
		for i := range *seeds {
			seed := *first + i
			t.Run(fmt.Sprintf("%d", seed), func(t *testing.T) {
				t.Parallel()
				var out Outcome
				synctest.Test(t, func(*testing.T) {
					out = Run(seed, slog.New(slog.NewTextHandler(io.Discard, nil)))
				})
				all.add(out)
				if len(out.Violations) > 0 {
					for _, v := range out.Violations {
						t.Error(v)
					}
					t.Logf("again: make sim SEED=%d SEEDS=1 (or: go test ./internal/sim -run TestSim -seed %d -seeds 1 -v)\n%s", seed, seed, out.History())
				} else if *seeds == 1 {
					t.Log("\n" + out.History())
				}
			})
		}
	})
	text, empty := all.table()
	fmt.Printf("ends: %v, with an execution: %d of %d\n", all.ends, all.executions, *seeds)
	fmt.Print("cell: how often a fault took effect in a phase, and how those runs ended: q nothing was done, s stable, u undone, b aborted as it stood, a a person is asked\n" + text)
	if *seeds >= 50 && all.executions*10 < *seeds*3 {
		t.Errorf("only %d of %d runs had an execution: the schedule shows too little", all.executions, *seeds)
	}
	if *seeds >= enough() && len(empty) > 0 {
		t.Errorf("never played: %s", strings.Join(empty, ", "))
	}
	fmt.Printf("sim: seeds=%d violations=%d virtual_hours=%.1f real_s=%.0f\n", *seeds, all.violations, all.virtual.Hours(), time.Since(began).Seconds())
}
