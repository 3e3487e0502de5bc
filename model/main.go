// Command model searches the protocol models in this directory exhaustively
// with spin: every configuration must be free of errors, every rule that is
// taken out must give a counter-example, and every state that should be
// reachable must be. README.md says what is modelled.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"time"
)

func main() {
	src := flag.String("dir", "model", "directory of the models")
	only := flag.String("only", "", "run the cases whose names match this expression; the last line then speaks of these")
	show := flag.String("trail", "", "print the shortest way to the counter-example, or to the reachable state, of the named case")
	flag.Parse()
	ok, err := check(*src, *only, *show)
	if err != nil {
		fmt.Fprintln(os.Stderr, "model:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// tally counts what the last line says.
type tally struct {
	states            int64
	errors            int
	found, mutations  int
	reached, reaches  int
	missing, mistakes []string
}

func check(src, only, show string) (bool, error) {
	for _, tool := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			return false, fmt.Errorf("%s is not installed (apt-get install %s): %w", tool, tool, err)
		}
	}
	match, err := regexp.Compile(only)
	if err != nil {
		return false, fmt.Errorf("-only: %w", err)
	}
	dir, err := os.MkdirTemp("", "model-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	if show != "" {
		for _, c := range cases {
			if c.name == show {
				return true, trail(src, dir, c)
			}
		}
		return false, fmt.Errorf("no case is called %q", show)
	}
	var t tally
	began := time.Now()
	for _, c := range cases {
		if !match.MatchString(c.name) {
			continue
		}
		start := time.Now()
		r, err := search(src, dir, c)
		t.add(c, r, err)
		outcome := word(c, r)
		if err != nil {
			outcome = "FAILED: " + err.Error()
		}
		fmt.Printf("%-12s %-27s %10d states %6.1f s  %s: %s\n", kindName[c.kind], c.name, r.states, time.Since(start).Seconds(), outcome, c.text)
	}
	for _, m := range append(t.missing, t.mistakes...) {
		fmt.Println("short:", m)
	}
	fmt.Printf("model: states=%d errors=%d counterexamples=%d/%d reached=%d/%d real_s=%.0f\n",
		t.states, t.errors, t.found, t.mutations, t.reached, t.reaches, time.Since(began).Seconds())
	return len(t.missing)+len(t.mistakes) == 0, nil
}

var kindName = map[kind]string{clean: "clean", mutation: "mutation", reach: "reach", spare: "spare rule"}

func word(c testcase, r result) string {
	switch {
	case c.kind == mutation && r.errors > 0:
		return "counter-example"
	case c.kind == reach && r.errors > 0:
		return "reached"
	case c.kind == mutation:
		return "NO COUNTER-EXAMPLE"
	case c.kind == reach:
		return "NOT REACHED"
	case r.errors > 0:
		return "VIOLATED"
	}
	return "no error"
}

// add takes a case's result in. States count where a search was complete.
func (t *tally) add(c testcase, r result, err error) {
	switch c.kind {
	case mutation:
		t.mutations++
	case reach:
		t.reaches++
	}
	if err != nil {
		t.errors++
		t.mistakes = append(t.mistakes, fmt.Sprintf("%s %s could not be searched", kindName[c.kind], c.name))
		return
	}
	switch c.kind {
	case clean, spare:
		t.states += r.states
		if r.errors > 0 {
			t.errors += r.errors
			t.mistakes = append(t.mistakes, fmt.Sprintf("%s is violated; -trail %q shows how", c.name, c.name))
		}
	case mutation:
		if r.errors > 0 {
			t.found++
		} else {
			t.missing = append(t.missing, "no counter-example to mutation "+c.name)
		}
	case reach:
		if r.errors > 0 {
			t.reached++
		} else {
			t.missing = append(t.missing, c.name+" is not reached")
		}
	}
}
