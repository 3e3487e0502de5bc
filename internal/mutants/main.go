// Command mutants takes one safety rule after another out of the code and shows
// that a test which judges by behaviour turns red. Nothing in the tree is
// touched: a mutant is built with `go test -overlay`.
//
// The table is in the files rules_*.go; docs/mutants.md is written from it.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"regexp"
	"sync"
	"time"
)

func main() {
	only := flag.String("only", "", "run the mutants whose names match this expression; the last line then speaks of these")
	find := flag.String("find", "", "instead, run these packages on each mutant (comma-separated; PACKAGE:EXPRESSION for some of its tests) and list the tests that turn red: how a new row finds its tests")
	jobs := flag.Int("parallel", 2, "how many mutants to build and run at once")
	flag.Parse()
	ok, err := run(*only, *find, *jobs)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// result is what became of one mutant.
type result struct {
	mutant mutant
	red    []string // what each named test said when it failed
	left   []string // why it survives; none: every named test turned red
	err    error    // the table is wrong: it does not apply, or does not build
	shown  bool     // one of the tests is behavioural
	took   time.Duration
}

func run(only, find string, jobs int) (bool, error) {
	root, err := os.Getwd()
	if err != nil {
		return false, err
	}
	match, err := regexp.Compile("^(?:" + cmp.Or(only, ".*") + ")$")
	if err != nil {
		return false, fmt.Errorf("-only: %w", err)
	}
	var chosen []mutant
	for _, m := range table() {
		if match.MatchString(m.name) {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		return false, fmt.Errorf("no mutant is called %q", only)
	}
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	w := &workshop{root: root, dir: dir}
	if find != "" {
		w.find(chosen, find, jobs)
		return true, nil
	}
	began := time.Now()
	if err := w.baseline(chosen, jobs); err != nil {
		return false, err
	}
	fmt.Printf("the named tests pass without a mutation: %.0f s\n", time.Since(began).Seconds())
	kinds := &behaviours{root: root}
	shown := make([]bool, len(chosen))
	for i, m := range chosen {
		if shown[i], err = kinds.shown(m); err != nil {
			return false, err
		}
	}
	results := make([]result, len(chosen))
	var mu sync.Mutex
	done := 0
	each(len(chosen), jobs, func(i int) {
		start := time.Now()
		r := w.judge(chosen[i])
		r.took, r.shown = time.Since(start), shown[i]
		mu.Lock()
		defer mu.Unlock()
		results[i] = r
		done++
		fmt.Printf("%3d/%d %4.0f s  %s\n", done, len(chosen), time.Since(began).Seconds(), r.line())
	})
	line, ok := verdict(results)
	fmt.Println(line)
	return ok, nil
}

// each calls fn for 0 to n-1, at most jobs at once.
func each(n, jobs int, fn func(int)) {
	next := make(chan int)
	var wg sync.WaitGroup
	for range max(1, jobs) {
		wg.Go(func() {
			for i := range next {
				fn(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// line is a mutant and its test for a reader.
func (r result) line() string {
	name := fmt.Sprintf("%-4s %-34s", r.mutant.rule, r.mutant.name)
	switch {
	case r.err != nil:
		return name + " ERROR: " + r.err.Error()
	case len(r.left) > 0:
		out := name + " SURVIVED"
		for _, why := range r.left {
			out += "\n         " + why
		}
		return out
	}
	out := name + " caught"
	for i, said := range r.red {
		out += "\n         " + r.mutant.tests[i].String() + ": " + said
	}
	return out
}

// verdict is the last line. A mutant that cannot be applied or built is not
// caught: nothing was shown.
func verdict(results []result) (line string, ok bool) {
	caught, behavioural := 0, 0
	for _, r := range results {
		if r.err == nil && len(r.left) == 0 && len(r.red) > 0 {
			caught++
			if r.shown {
				behavioural++
			}
		}
	}
	survived := len(results) - caught
	return fmt.Sprintf("mutants: total=%d caught=%d survived=%d behavioural=%d", len(results), caught, survived, behavioural), survived == 0 && caught > 0
}
