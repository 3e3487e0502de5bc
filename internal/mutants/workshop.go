package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// workshop builds test binaries and runs them.
type workshop struct {
	root string // of the module
	dir  string // for what is built
}

// build compiles the tests of a package with some files replaced. The directory
// is that of the mutant: overlays and binaries of two never meet.
func (w *workshop) build(dir, pkg string, files map[string]string) (binary string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, text := range files {
		tmp := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
			return "", err
		}
		overlay.Replace[filepath.Join(w.root, name)] = tmp
	}
	data, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, data, 0o600); err != nil {
		return "", err
	}
	binary = filepath.Join(dir, strings.ReplaceAll(pkg, "/", "_")+".test")
	cmd := exec.Command("go", "test", "-c", "-vet=off", "-overlay", list, "-o", binary, "./"+pkg)
	cmd.Dir = w.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the tests of %s: %w\n%s", pkg, err, out)
	}
	return binary, nil
}

// timeout ends a test that hangs. Being slow is not being caught.
const timeout = "150s"

// flags make a package's tests the same each time, and keep them from writing
// into the tree what they found.
var flags = map[string][]string{
	"failover": {"-rapid.seed=1", "-rapid.nofailfile"},
}

// report is what one run of tests showed.
type report struct {
	ended  map[string]string // test → pass, fail or skip
	output map[string][]string
	all    string
}

// start runs tests of a built package where `go test` would run them.
func (w *workshop) start(binary, pkg, pattern string) (report, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return report{}, err
	}
	args := append([]string{"tool", "test2json", binary, "-test.v=test2json", "-test.timeout=" + timeout, "-test.run=" + pattern}, flags[pkg]...)
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Join(w.root, pkg)
	out, err := cmd.Output()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		return report{}, err
	}
	return parse(out), nil
}

// parse reads what test2json prints.
func parse(out []byte) report {
	r := report{ended: map[string]string{}, output: map[string][]string{}}
	var all strings.Builder
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var ev struct{ Action, Test, Output string }
		if json.Unmarshal(sc.Bytes(), &ev) != nil {
			continue
		}
		switch ev.Action {
		case "pass", "fail", "skip":
			if ev.Test != "" {
				r.ended[ev.Test] = ev.Action
			}
		case "output":
			all.WriteString(ev.Output)
			r.output[ev.Test] = append(r.output[ev.Test], ev.Output)
		}
	}
	r.all = all.String()
	return r
}

// assertion is a line that t.Error and its like print.
var assertion = regexp.MustCompile(`^\s+([a-z0-9_]+_test\.go:\d+: .*)`)

// collapse are the ways in which a test binary falls over.
var collapse = regexp.MustCompile(`(?m)^(panic: .*|fatal error: .*|\t*panic: .*\[recovered.*)$`)

// red says what a named test found, or why its run is no verdict.
func (r report) red(t test) (said string, err error) {
	fell := collapse.FindString(r.all)
	switch {
	case t.symptom != "" && strings.Contains(r.all, t.symptom):
		return t.symptom, nil
	case fell != "":
		return "", fmt.Errorf("%s fell over, which is no verdict: %s", t, fell)
	case r.ended[t.name] == "":
		return "", fmt.Errorf("%s did not run to its end", t)
	case r.ended[t.name] != "fail":
		return "", fmt.Errorf("%s: %s", t, r.ended[t.name])
	}
	for _, name := range append(r.below(t.name), t.name) {
		if said := r.said(name); said != "" {
			return said, nil
		}
	}
	return "", fmt.Errorf("%s failed without saying what it found", t)
}

// said is the first thing that a test complained about; "" for nothing.
func (r report) said(name string) string {
	for i, line := range r.output[name] {
		if m := assertion.FindStringSubmatch(line); m != nil {
			return short(m[1], r.output[name][i+1:])
		}
	}
	return ""
}

// below are the failed cases of a test, or with "" all failed tests, sorted.
func (r report) below(name string) []string {
	var out []string
	for t, how := range r.ended {
		if how == "fail" && (name == "" || strings.HasPrefix(t, name+"/")) {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	return out
}

// short is what a test said in one line: the first line and those that belong to
// it, up to a length.
func short(line string, next []string) string {
	const limit = 170
	line = strings.TrimSpace(line)
	for _, more := range next[:min(3, len(next))] {
		if assertion.MatchString(more) || !strings.HasPrefix(more, "        ") {
			break
		}
		line += "; " + strings.TrimSpace(more)
	}
	if r := []rune(line); len(r) > limit {
		line = string(r[:limit]) + "…"
	}
	return line
}

// pattern makes -run take exactly the named test.
func pattern(names ...string) string {
	var tops []string
	for _, n := range names {
		parts := strings.Split(n, "/")
		for i := range parts {
			parts[i] = "^" + regexp.QuoteMeta(parts[i]) + "$"
		}
		if len(names) == 1 {
			return strings.Join(parts, "/")
		}
		tops = append(tops, regexp.QuoteMeta(strings.Split(n, "/")[0]))
	}
	slices.Sort(tops)
	return "^(" + strings.Join(slices.Compact(tops), "|") + ")$"
}

// judge builds a mutant and runs its tests.
func (w *workshop) judge(m mutant) result {
	r := result{mutant: m}
	files, err := m.mutate(w.root)
	if err != nil {
		r.err = err
		return r
	}
	dir := filepath.Join(w.dir, m.name)
	defer os.RemoveAll(dir)
	built := map[string]string{}
	for _, t := range m.tests {
		if built[t.pkg] == "" {
			if built[t.pkg], r.err = w.build(dir, t.pkg, files); r.err != nil {
				return r
			}
		}
		rep, err := w.start(built[t.pkg], t.pkg, pattern(t.name))
		if err != nil {
			r.err = err
			return r
		}
		said, err := rep.red(t)
		if err != nil {
			r.left = append(r.left, err.Error())
			continue
		}
		r.red = append(r.red, said)
	}
	if len(m.tests) == 0 {
		r.left = append(r.left, "no test is named")
	}
	return r
}

// baseline runs every named test without a mutation: a test that is red anyway
// shows nothing.
func (w *workshop) baseline(ms []mutant, jobs int) error {
	pkgs := packages(ms)
	errs := make([]error, len(pkgs))
	each(len(pkgs), jobs, func(i int) {
		pkg := pkgs[i]
		dir := filepath.Join(w.dir, "baseline")
		binary, err := w.build(filepath.Join(dir, strings.ReplaceAll(pkg, "/", "_")), pkg, nil)
		if err != nil {
			errs[i] = err
			return
		}
		var names []string
		for _, m := range ms {
			for _, t := range m.tests {
				if t.pkg == pkg {
					names = append(names, t.name)
				}
			}
		}
		slices.Sort(names)
		names = slices.Compact(names)
		rep, err := w.start(binary, pkg, pattern(names...))
		if err != nil {
			errs[i] = err
			return
		}
		for _, n := range names {
			if rep.ended[n] != "pass" {
				errs[i] = fmt.Errorf("%s %s does not pass without a mutation (%s):\n%s", pkg, n, rep.ended[n], tail(rep.all))
				return
			}
		}
	})
	return errors.Join(errs...)
}

func tail(s string) string {
	const limit = 3000
	return s[max(0, len(s)-limit):]
}

// find runs packages, or of "package:expression" the tests that match, on mutants and
// lists what turns red.
func (w *workshop) find(ms []mutant, pkgs string, jobs int) {
	var mu sync.Mutex
	each(len(ms), jobs, func(i int) {
		m := ms[i]
		var b strings.Builder
		fmt.Fprintf(&b, "%s: %s\n", m.name, m.says)
		files, err := m.mutate(w.root)
		for _, entry := range strings.Split(pkgs, ",") {
			pkg, which, some := strings.Cut(entry, ":")
			if !some {
				which = "."
			}
			if err != nil {
				break
			}
			var binary string
			if binary, err = w.build(filepath.Join(w.dir, m.name), pkg, files); err != nil {
				break
			}
			rep, rerr := w.start(binary, pkg, which)
			if rerr != nil {
				err = rerr
				break
			}
			if fell := collapse.FindString(rep.all); fell != "" {
				fmt.Fprintf(&b, "  %s fell over: %s\n", pkg, fell)
			}
			for _, name := range rep.below("") {
				if said := rep.said(name); said != "" {
					fmt.Fprintf(&b, "  %s %s: %s\n", pkg, name, said)
				}
			}
		}
		if err != nil {
			fmt.Fprintf(&b, "  ERROR: %v\n", err)
		}
		_ = os.RemoveAll(filepath.Join(w.dir, m.name))
		mu.Lock()
		defer mu.Unlock()
		fmt.Print(b.String())
	})
}
