package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mutant is one rule taken out, or replaced by the obvious shorter one.
type mutant struct {
	name string // lower case, with dashes
	rule string // of docs/safety.md: G1, E4, S5, …
	// takes is the entry of mustBeCaught that this mutant stands for; "" for one
	// more.
	takes string
	says  string // one sentence: what the code does now
	edits []edit
	// tests must all turn red. Any would be enough; what the table claims is
	// checked all the same.
	tests []test
}

// edit replaces one piece of a file. old occurs in it exactly once. Where
// several rules keep the same thing, a mutant takes out all of them.
type edit struct{ file, old, new string }

// test is a test that must fail, by what it found and not by falling over.
type test struct {
	pkg  string // directory, such as "failover"
	name string // as -run takes it: TestX, or TestX/case
	// symptom is what the output must hold where the expected failure is a panic
	// or a deadlock. Empty: a panic is no verdict.
	symptom string
}

func (t test) String() string { return t.pkg + " " + t.name }

// mutate applies the edits and returns the new text of each file that changes.
func (m mutant) mutate(root string) (map[string]string, error) {
	out := map[string]string{}
	for _, e := range m.edits {
		text, ok := out[e.file]
		if !ok {
			data, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				return nil, err
			}
			text = string(data)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return nil, fmt.Errorf("%s: %q occurs %d times, not once: the code has moved on, the table must follow", e.file, firstLine(e.old), n)
		}
		out[e.file] = strings.Replace(text, e.old, e.new, 1)
	}
	return out, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// packages are the directories of the tests of some mutants, sorted.
func packages(ms []mutant) []string {
	var out []string
	for _, m := range ms {
		for _, t := range m.tests {
			out = append(out, t.pkg)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
