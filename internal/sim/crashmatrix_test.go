package sim

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/failoverd/failoverd/failover"
)

var (
	matrix    = flag.Bool("matrix", false, "play every cell of the crash matrix, not a sample")
	pointFlag = flag.String("point", "", "only this point of the crash matrix, as scene/point")
	faultFlag = flag.String("fault", "", "only this fault of the crash matrix, or a pair of faults with a comma")
	update    = flag.Bool("update", false, "write the documents that are generated from tests")
)

const matrixFile = "../../docs/crash-matrix.md"

// sampled is about how many cells are played without -matrix.
const sampled = 14

// spot is one cell of the matrix: a fault at a point, or two.
type spot struct {
	scene, point string
	faults       []string
}

func (s spot) String() string {
	return fmt.Sprintf("%s/%s × %s", s.scene, s.point, strings.Join(s.faults, ", then "))
}

func (s spot) blows() []blow {
	out := []blow{{s.point, s.faults[0]}}
	for _, f := range s.faults[1:] {
		out = append(out, blow{"", f})
	}
	return out
}

// outcome is how one cell ended.
type outcome struct {
	spot
	result
	wrong []string // what it fell short of
}

// paired reports whether pairs of faults begin at a point: it belongs to the
// fence or to the switch.
func paired(p failover.Plan, point string) bool {
	name, about, _ := strings.Cut(strings.Split(point, "#")[0], ":")
	switch name {
	case "freeze-lease", "record-evidence", "advance-epoch", "set-traffic":
		return about != "provisional"
	}
	st := p.Step(failover.StepID(about))
	return st != nil && slices.Contains([]failover.StepKind{failover.KindFreeze, failover.KindStop, failover.KindFence, failover.KindSwitch}, st.Kind)
}

// spots lists the cells: each fault at each point of each scene; and for the
// fence and the switch of a region that is ill each pair, the second one at the
// first point that the next leadership comes to.
func spots(p failover.Plan, points map[string][]string) (all []spot) {
	for _, scene := range scenes {
		for _, point := range points[scene] {
			for _, f := range blows {
				all = append(all, spot{scene, point, []string{f}})
			}
		}
	}
	for _, point := range points["ill"] {
		if !paired(p, point) {
			continue
		}
		for _, f := range blows {
			for _, then := range blows {
				all = append(all, spot{"ill", point, []string{f, then}})
			}
		}
	}
	return all
}

// wanted picks the cells to play.
func wanted(all []spot) (out []spot) {
	// A pair may be asked for at any point.
	if faults := strings.Split(*faultFlag, ","); len(faults) > 1 {
		all = slices.Clone(all)
		for i := range all {
			all[i].faults = faults
		}
		all = slices.CompactFunc(all, func(a, b spot) bool { return a.scene == b.scene && a.point == b.point })
	}
	every := 1
	if !*matrix && *pointFlag == "" {
		every = len(all)/sampled | 1 // odd: it walks through all faults
	}
	for i, s := range all {
		if *pointFlag != "" && s.scene+"/"+s.point != *pointFlag || *faultFlag != "" && strings.Join(s.faults, ",") != *faultFlag || i%every != 0 {
			continue
		}
		out = append(out, s)
	}
	return out
}

// strikeAll plays one cell. The points of two runs differ by chance now and then;
// a fault that found nothing to strike is tried again.
func strikeAll(t *testing.T, s spot, seed uint64, from result) outcome {
	var o outcome
	for try := range uint64(3) {
		o = outcome{spot: s, result: play(t, s.scene, seed+try*100_000, s.blows(), from.World)}
		if o.Unplayed == "" {
			break
		}
	}
	o.wrong = append(o.wrong, o.Violations...)
	o.wrong = append(o.wrong, o.Repeated...)
	if d := o.differs(from); d != "" {
		o.wrong = append(o.wrong, d)
	}
	if o.Unplayed != "" {
		o.wrong = append(o.wrong, "empty: "+o.Unplayed)
	}
	return o
}

// TestCrashMatrix plays a fault of the leader at each write of the log and each
// call of a failover with the plan of config.toml.example. However it is struck,
// the failover must end as the undisturbed one does: the same world, each effect
// once. make crashmatrix plays all of it, go test a sample.
func TestCrashMatrix(t *testing.T) {
	began := time.Now()
	_, _, p := reference(t)
	undisturbed, points := map[string]result{}, map[string][]string{}
	for _, scene := range scenes {
		r := play(t, scene, 1, nil, "")
		if len(r.Violations)+len(r.Repeated) > 0 || r.End != map[string]string{"ill": "stable", "cut": "stable", "undo": "undone"}[scene] {
			t.Fatalf("%s, undisturbed: %s %v %v\n%s", scene, r.End, r.Violations, r.Repeated, r.History)
		}
		undisturbed[scene], points[scene] = r, r.Points
	}
	all := spots(p, points)
	play := wanted(all)
	if len(play) == 0 {
		t.Fatalf("no cell %s × %s; the points are %v", *pointFlag, *faultFlag, points)
	}
	var mu sync.Mutex
	var outcomes []outcome
	t.Run("cells", func(t *testing.T) {
		for i, s := range play {
			t.Run(s.String(), func(t *testing.T) {
				t.Parallel()
				o := strikeAll(t, s, uint64(i)+2, undisturbed[s.scene])
				if len(o.wrong) > 0 {
					t.Errorf("%s\n  %s\nagain: make crashmatrix POINT=%s/%s FAULT=%s\n%s", s, strings.Join(o.wrong, "\n  "), s.scene, s.point, strings.Join(s.faults, ","), o.History)
				} else if len(play) == 1 {
					t.Logf("%s: %s\n%s\n%s\n%s", s, o.End, o.World, o.Effects, o.History)
				}
				if len(play) > 1 {
					o.History = ""
				}
				mu.Lock()
				defer mu.Unlock()
				outcomes = append(outcomes, o)
			})
		}
	})
	text := table(points, outcomes)
	t.Log("\n" + text)
	document(t, points, outcomes)
	fmt.Println(summary(points, outcomes, time.Since(began)))
}

// short says in a cell how it ended: "same" as the undisturbed run, and how many
// calls were made again because nobody knew what had become of them.
func (o outcome) short() string {
	switch {
	case o.Unplayed != "":
		return "EMPTY"
	case len(o.wrong) > 0:
		return "WRONG"
	case o.Again > 0:
		return fmt.Sprintf("same +%d", o.Again)
	}
	return "same"
}

// rows gives the cells of single faults, a row for each point.
func rows(points map[string][]string, outcomes []outcome) (out [][]string) {
	at := map[string]string{}
	pairs := map[string][]outcome{}
	for _, o := range outcomes {
		key := o.scene + "/" + o.point
		if len(o.faults) > 1 {
			pairs[key] = append(pairs[key], o)
			continue
		}
		at[key+o.faults[0]] = o.short()
	}
	for _, scene := range scenes {
		for _, point := range points[scene] {
			row := []string{scene + "/" + point}
			for _, f := range blows {
				row = append(row, at[scene+"/"+point+f])
			}
			both := ""
			if ps := pairs[scene+"/"+point]; len(ps) > 0 {
				good := 0
				for _, o := range ps {
					if len(o.wrong) == 0 {
						good++
					}
				}
				both = fmt.Sprintf("%d of %d", good, len(ps))
			}
			out = append(out, append(row, both))
		}
	}
	return out
}

func table(points map[string][]string, outcomes []outcome) string {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "point\t"+strings.Join(blows, "\t")+"\tpairs")
	for _, row := range rows(points, outcomes) {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	for i, row := range times(outcomes) {
		if i == 0 {
			fmt.Fprintln(tw)
		}
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	_ = tw.Flush() // a string does not fail
	return b.String()
}

// delays are the times of single faults of a kind, or of all for "", that took
// the leadership away: until the next leader's barrier, and until the next
// point.
func delays(outcomes []outcome, fault string) (takeover, resume []time.Duration) {
	for _, o := range outcomes {
		if len(o.faults) > 1 || fault != "" && o.faults[0] != fault {
			continue
		}
		for _, s := range o.Strikes {
			if s.takeover > 0 {
				takeover = append(takeover, s.takeover)
			}
			if s.resume > 0 {
				resume = append(resume, s.resume)
			}
		}
	}
	slices.Sort(takeover)
	slices.Sort(resume)
	return takeover, resume
}

// times are the delays by fault, a row for each figure.
func times(outcomes []outcome) (out [][]string) {
	figures := []string{"takeover p50", "takeover p99", "resumed p50", "resumed p99"}
	for i, name := range figures {
		row := []string{name}
		for _, f := range blows {
			takeover, resume := delays(outcomes, f)
			row = append(row, seconds([][]time.Duration{takeover, resume}[i/2], []float64{.5, .99}[i%2]))
		}
		out = append(out, append(row, ""))
	}
	return out
}

func seconds(d []time.Duration, q float64) string {
	if len(d) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", quantile(d, q).Seconds())
}

// summary is the one line for machines.
func summary(points map[string][]string, outcomes []outcome, took time.Duration) string {
	n, pairs, violations, differing, repeated, empty, again, late := 0, 0, 0, 0, 0, 0, 0, 0
	virtual := time.Duration(0)
	for _, scene := range scenes {
		n += len(points[scene])
	}
	for _, o := range outcomes {
		if len(o.faults) > 1 {
			pairs++
		}
		violations += len(o.Violations)
		repeated += len(o.Repeated)
		again += o.Again
		late += o.Late
		virtual += o.Virtual
		switch {
		case o.Unplayed != "":
			empty++
		case len(o.wrong) > len(o.Violations)+len(o.Repeated):
			differing++
		}
	}
	takeover, resume := delays(outcomes, "")
	return fmt.Sprintf("crashmatrix: points=%d runs=%d pairs=%d violations=%d differing=%d repeated=%d empty=%d made_again=%d landed_late=%d takeover_p50_s=%s takeover_p99_s=%s resumed_p50_s=%s resumed_p99_s=%s virtual_hours=%.1f real_s=%.0f",
		n, len(outcomes)-pairs, pairs, violations, differing, repeated, empty, again, late, seconds(takeover, .5), seconds(takeover, .99), seconds(resume, .5), seconds(resume, .99), virtual.Hours(), took.Seconds())
}

// document writes the table for readers, or holds the one that is there against
// the points: a plan with other points makes it out of date.
func document(t *testing.T, points map[string][]string, outcomes []outcome) {
	t.Helper()
	if *update && *matrix {
		if err := os.WriteFile(matrixFile, []byte(markdown(points, outcomes)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(matrixFile)
	if err != nil {
		t.Error(err)
	}
	var missing []string
	for _, scene := range scenes {
		for _, id := range points[scene] {
			if !strings.Contains(string(b), "| `"+scene+"/"+id+"` |") {
				missing = append(missing, scene+"/"+id)
			}
		}
	}
	if len(missing) > 0 {
		t.Errorf("%s lacks %s: go test ./internal/sim -run CrashMatrix -matrix -update writes it", matrixFile, strings.Join(missing, ", "))
	}
}
