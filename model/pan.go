package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// limits of one search. A search that meets one of them is a failure, never a
// result.
const (
	depth    = 2_000_000
	memoryMB = 5500
)

// result is what a finished search said.
type result struct {
	states   int64
	errors   int
	violated bool // an assertion, and not something else
}

// search runs spin, the compiler and the verifier on one case.
func search(src, dir string, c testcase) (result, error) {
	// Counter-examples are found within seconds; compiling them fast is worth more.
	flags := []string{"-O0"}
	if c.kind == clean || c.kind == spare {
		flags = []string{"-O2"}
	}
	if err := compile(src, dir, c, flags); err != nil {
		return result{}, err
	}
	// -E: a state without a next step is no error here, all properties are assertions.
	out, err := run(dir, "./pan", "-E", "-w22", "-m"+strconv.Itoa(depth))
	if err != nil {
		return result{}, fmt.Errorf("pan: %w", err)
	}
	return parse(out)
}

// compile leaves dir/pan. There is one process and all state is global, so
// partial-order reduction has nothing to reduce and is left out. Nothing that
// could lose a state is used: no bit-state hashing, no hash compaction.
func compile(src, dir string, c testcase, flags []string) error {
	var b strings.Builder
	for _, d := range c.defs {
		name, value, _ := strings.Cut(d, "=")
		fmt.Fprintf(&b, "#define %s %s\n", name, value)
	}
	if c.cond != "" {
		fmt.Fprintf(&b, "#define REACH %s\n", c.cond)
	}
	fmt.Fprintf(&b, "#include %q\n", c.file)
	models, err := filepath.Glob(filepath.Join(src, "*.pml"))
	for _, m := range models {
		text, rerr := os.ReadFile(m)
		err = errors.Join(err, rerr, os.WriteFile(filepath.Join(dir, filepath.Base(m)), text, 0o600))
	}
	err = errors.Join(err, os.WriteFile(filepath.Join(dir, "case.pml"), []byte(b.String()), 0o600))
	if err != nil {
		return err
	}
	if out, err := run(dir, "spin", "-a", "case.pml"); err != nil || strings.Contains(out, "Error") {
		return fmt.Errorf("spin: %w\n%s", errors.Join(err, errors.New("the model was not accepted")), out)
	}
	args := append([]string{"-w", "-o", "pan", "pan.c", "-DSAFETY", "-DNOREDUCE", fmt.Sprintf("-DMEMLIM=%d", memoryMB)}, flags...)
	if out, err := run(dir, "gcc", args...); err != nil {
		return fmt.Errorf("gcc: %w\n%s", err, out)
	}
	return nil
}

func run(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...) //nolint:gosec // our own tools
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

var (
	verdictLine = regexp.MustCompile(`^State-vector \d+ byte, depth reached \d+(?:, ...)?, errors: (\d+)$`)
	harmless    = regexp.MustCompile(`^pan: (wrote|elapsed time|rate|resizing hashtable) `)
	statesLine  = regexp.MustCompile(`^\s*([0-9.e+]+) states, stored`)
)

// parse reads the verifier's report. A search that was cut short by anything
// but its first error is an error.
func parse(out string) (result, error) {
	var r result
	verdict, counted, exhaustive := false, false, false
	incomplete := false
	sc := bufio.NewScanner(strings.NewReader(out))
	for sc.Scan() {
		line := strings.TrimRight(sc.Text(), " ")
		switch {
		case strings.HasPrefix(line, "pan:1: assertion violated"):
			r.violated = true
		case strings.HasPrefix(line, "Full statespace search for:"):
			exhaustive = true
		case strings.Contains(line, "Search not completed"):
			incomplete = true
		case strings.Contains(line, "search depth too small"), strings.Contains(line, "out of memory"), strings.Contains(line, "reached -DMEMLIM"),
			strings.Contains(line, "truncated"), strings.HasPrefix(line, "Bit statespace"), strings.HasPrefix(line, "Hash-Compact"):
			return r, fmt.Errorf("the search is not exhaustive: %s", line)
		case strings.HasPrefix(line, "pan:") && !harmless.MatchString(line):
			return r, fmt.Errorf("the search went wrong: %s", line)
		}
		if m := verdictLine.FindStringSubmatch(line); m != nil {
			verdict = true
			r.errors, _ = strconv.Atoi(m[1]) // the expression admits digits only
		}
		if m := statesLine.FindStringSubmatch(line); m != nil {
			f, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				return r, fmt.Errorf("a number of states that cannot be read: %w", err)
			}
			r.states, counted = int64(f), true
		}
	}
	switch {
	case !verdict || !counted || !exhaustive:
		return r, errors.New("the verifier's report is not complete:\n" + out)
	case incomplete && r.errors == 0:
		return r, errors.New("the search was not completed")
	case r.errors > 0 && !r.violated:
		return r, errors.New("an error that is no violated assertion:\n" + out)
	}
	return r, nil
}

// trail prints the shortest way to a counter-example, or to a reachable state.
func trail(src, dir string, c testcase) error {
	if err := compile(src, dir, c, []string{"-O2", "-DBFS"}); err != nil {
		return err
	}
	out, err := run(dir, "./pan", "-E", "-w22", "-m"+strconv.Itoa(depth))
	if err != nil {
		return fmt.Errorf("pan: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "case.pml.trail")); err != nil {
		return fmt.Errorf("%s leads to no error:\n%s", c.name, out)
	}
	steps, err := run(dir, "spin", "-t", "-T", "-B", "case.pml")
	if err != nil {
		return fmt.Errorf("spin: %w\n%s", err, steps)
	}
	fmt.Printf("%s: %s\n", c.name, c.text)
	n := 0
	for line := range strings.Lines(steps) {
		if strings.HasPrefix(line, "spin: ") || strings.HasPrefix(line, "#processes") || strings.Contains(line, "proc ") || strings.HasPrefix(line, "1 process") {
			continue
		}
		n++
		fmt.Printf("%3d  %s", n, line)
	}
	return nil
}
