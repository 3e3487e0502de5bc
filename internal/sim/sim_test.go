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

	"github.com/failoverd/failoverd/internal/sim/oracle"
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
	returns    int // runs in which the region that was entered was left again
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
	if slices.ContainsFunc(out.Record, func(e oracle.Entry) bool { return e.Kind == oracle.Fenced && e.Region == east2 }) {
		t.returns++
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

// aims is how many cells there are to aim at: one seed after another.
func aims() uint64 { return uint64(len(faults) * len(phases)) }

// enough is how many seeds fill every cell of the table: several aim at each.
func enough() uint64 { return 3 * aims() }

// table shows per fault and phase how often it took effect, and by the first
// letters of their ends how those runs ended.
func (t *tally) table() (text string, empty []cell) {
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
				empty = append(empty, cell{f.name, p})
			}
		}
		fmt.Fprintln(tw, "\t")
	}
	_ = tw.Flush() // a string does not fail
	return "cell: " + strings.ReplaceAll(strings.TrimRight(b.String(), "\n"), "\n", "\ncell: ") + "\n", empty
}

// short are the ends as the table has them.
var short = map[string]string{"quiet": "q", "stable": "s", "undone": "u", "aborted": "b", "asked": "a"}

// further is how many more seeds aim at a cell that all others have left empty:
// what a run meets depends on how goroutines are scheduled, so that three aims
// in a row may miss a phase that is short.
const further = 6

// TestSim runs whole clusters under faults and holds each run against the
// oracle.
func TestSim(t *testing.T) {
	began := time.Now()
	all := &tally{ends: map[string]int{}, cells: map[cell]map[string]int{}}
	played := *seeds
	t.Run("seeds", func(t *testing.T) {
		for i := range *seeds {
			all.play(t, *first+i)
		}
	})
	text, empty := all.table()
	if *seeds >= enough() {
		next := *first + *seeds
		for round := 0; round < further && len(empty) > 0; round++ {
			t.Run("aimed", func(t *testing.T) {
				for seed := next; seed < next+aims(); seed++ {
					if f, p := targetOf(seed); slices.Contains(empty, cell{f.name, p}) {
						played++
						all.play(t, seed)
					}
				}
			})
			next += aims()
			text, empty = all.table()
		}
	}
	fmt.Printf("ends: %v, with an execution: %d of %d, with a way home: %d\n", all.ends, all.executions, played, all.returns)
	fmt.Print("cell: how often a fault took effect in a phase, and how those runs ended: q nothing was done, s stable, u undone, b aborted as it stood, a a person is asked\n" + text)
	if *seeds >= 50 && all.executions*10 < played*3 {
		t.Errorf("only %d of %d runs had an execution: the schedule shows too little", all.executions, played)
	}
	if *seeds >= enough() && all.returns == 0 {
		t.Error("no run left the region that was entered: the schedule shows nothing of the way home")
	}
	if *seeds >= enough() && len(empty) > 0 {
		t.Errorf("never played: %v", empty)
	}
	fmt.Printf("sim: seeds=%d violations=%d virtual_hours=%.1f real_s=%.0f\n", played, all.violations, all.virtual.Hours(), time.Since(began).Seconds())
}

// play runs a seed, beside others, and holds it against the oracle.
func (t *tally) play(tt *testing.T, seed uint64) {
	tt.Run(fmt.Sprintf("%d", seed), func(tt *testing.T) {
		tt.Parallel()
		var out Outcome
		synctest.Test(tt, func(*testing.T) {
			out = Run(seed, slog.New(slog.NewTextHandler(io.Discard, nil)))
		})
		t.add(out)
		if len(out.Violations) > 0 {
			for _, v := range out.Violations {
				tt.Error(v)
			}
			tt.Logf("again: make sim SEED=%d SEEDS=1 (or: go test ./internal/sim -run TestSim -seed %d -seeds 1 -v)\n%s", seed, seed, out.History())
		} else if *seeds == 1 {
			tt.Log("\n" + out.History())
		}
	})
}
