package main

import (
	"flag"
	"fmt"
	"go/format"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/mutants.md from the table")

const root = "../.."

var (
	nameForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	ruleForm = regexp.MustCompile(`^[GEDTSL][0-9]+$`)
)

// Every mutation still applies to the code as it is, and names tests that exist.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range table() {
		switch {
		case seen[m.name]:
			t.Errorf("two mutants are called %s", m.name)
		case !nameForm.MatchString(m.name) || !ruleForm.MatchString(m.rule) || m.says == "" || len(m.edits) == 0 || len(m.tests) == 0:
			t.Errorf("%s needs a name, a rule, a sentence, an edit and a test: %+v", m.name, m)
		}
		seen[m.name] = true
		files, err := m.mutate(root)
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		for file, text := range files {
			if _, err := parser.ParseFile(token.NewFileSet(), file, text, 0); err != nil {
				t.Errorf("%s: what it makes of %s is no Go: %v", m.name, file, err)
			}
			was, err := os.ReadFile(filepath.Join(root, file))
			if err != nil || bare(t, text) == bare(t, string(was)) {
				t.Errorf("%s changes nothing but comments in %s (%v)", m.name, file, err)
			}
		}
		for _, named := range m.tests {
			if !exists(t, named) {
				t.Errorf("%s: there is no %s in %s", m.name, named.name, named.pkg)
			}
		}
	}
	if n := len(table()); n < 200 {
		t.Errorf("only %d mutants", n)
	}
}

// bare is a file without comments.
func bare(t *testing.T, text string) string {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "", text, 0)
	if err != nil {
		return text
	}
	var b strings.Builder
	if err := format.Node(&b, fset, f); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// exists looks a test up in the files of its package, and the transcript of a
// case that is one.
func exists(t *testing.T, named test) bool {
	t.Helper()
	top, transcript, _ := strings.Cut(named.name, "/")
	files, err := filepath.Glob(filepath.Join(root, named.pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(text), "\nfunc "+top+"(t *testing.T)")
	})
	if found && named.pkg == "failover" && top == "TestDecide" {
		_, err := os.Stat(filepath.Join(root, "failover/testdata/decide", transcript+".txt"))
		return err == nil
	}
	return found
}

// Each mutation of the review has a mutant, and a behavioural test that turns red:
// all tests named for a mutant must.
func TestEveryReviewedMutationIsThere(t *testing.T) {
	taken := map[string]bool{}
	kinds := &behaviours{root: root}
	for _, m := range table() {
		if m.takes == "" {
			continue
		}
		if !slices.Contains(mustBeCaught, m.takes) {
			t.Errorf("%s takes %q, which is not in the list", m.name, m.takes)
		}
		if shown, err := kinds.shown(m); err != nil || !shown {
			t.Errorf("%s takes %q, and none of its tests is behavioural (%v): see behaviour.go", m.name, m.takes, err)
		}
		taken[m.takes] = true
	}
	for _, what := range mustBeCaught {
		if !taken[what] {
			t.Errorf("%q has no mutant", what)
		}
	}
}

// A test is behavioural by what it reaches, on whatever way, and by nothing else.
func TestBehavioural(t *testing.T) {
	kinds := &behaviours{root: root}
	for _, c := range []struct {
		test test
		want bool
	}{
		{test{pkg: "internal/sim", name: "TestStories/G1"}, true},
		{test{pkg: "internal/sim", name: "TestLeaveByLeaseAlone"}, true},
		{test{pkg: "internal/sim", name: "TestSim"}, true}, // through a method
		{test{pkg: "internal/sim", name: "TestSettingsAreTheExamples"}, false},
		{test{pkg: "failover", name: "TestProperties"}, true},
		{test{pkg: "failover", name: "TestDecide/pause"}, true},
		{test{pkg: "failover", name: "TestFreeze"}, false},
		{test{pkg: "actions", name: "TestLeaseEvidence"}, true},
		{test{pkg: "actions", name: "TestEmptySelector"}, false},
		{test{pkg: "consensus", name: "TestTenure"}, true},
		{test{pkg: "consensus", name: "TestGreet"}, false},
		{test{pkg: "internal/daemon", name: "TestGateOutlivesARestart"}, true},
		{test{pkg: "fence", name: "TestHolderNeverGoesBack"}, false},
		{test{pkg: "monitor", name: "TestVerdict"}, false},
	} {
		if got, err := kinds.of(c.test); got != c.want || err != nil {
			t.Errorf("%s: %t, %v", c.test, got, err)
		}
	}
	if _, err := kinds.of(test{pkg: "fence", name: "TestThatIsNotThere"}); err == nil {
		t.Error("a test that is not there has a kind")
	}
	for _, s := range settings {
		calls, err := kinds.pkg(s.pkg)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range s.sets {
			if !slices.ContainsFunc(slices.Collect(maps.Values(calls)), func(c []string) bool { return slices.Contains(c, name) }) {
				t.Errorf("no test of %s calls %s any more", s.pkg, name)
			}
		}
	}
}

// Only a named test that fails by what it found is a catch.
func TestRed(t *testing.T) {
	const found = `{"Action":"output","Test":"TestA","Output":"    a_test.go:7: two regions\n"}
{"Action":"output","Test":"TestA","Output":"        east1 and east2\n"}
`
	for _, c := range []struct {
		name, out string
		test      test
		said, err string
	}{
		{"found", found + `{"Action":"fail","Test":"TestA"}`, test{name: "TestA"}, "a_test.go:7: two regions; east1 and east2", ""},
		{"in a case", `{"Action":"output","Test":"TestA/x","Output":"    a_test.go:9: y\n"}` + "\n" + `{"Action":"fail","Test":"TestA/x"}` + "\n" + `{"Action":"fail","Test":"TestA"}`,
			test{name: "TestA"}, "a_test.go:9: y", ""},
		{"passes", `{"Action":"pass","Test":"TestA"}`, test{name: "TestA"}, "", "TestA: pass"},
		{"skipped", `{"Action":"skip","Test":"TestA"}`, test{name: "TestA"}, "", "TestA: skip"},
		{"another test", found + `{"Action":"fail","Test":"TestA"}`, test{name: "TestB"}, "", "did not run to its end"},
		{"a name that begins so", found + `{"Action":"fail","Test":"TestA"}`, test{name: "Test"}, "", "did not run to its end"},
		{"says nothing", `{"Action":"fail","Test":"TestA"}`, test{name: "TestA"}, "", "without saying what it found"},
		{"panic", found + `{"Action":"output","Test":"TestA","Output":"panic: nil map\n"}` + "\n" + `{"Action":"fail","Test":"TestA"}`, test{name: "TestA"}, "", "no verdict: panic: nil map"},
		{"time-out", `{"Action":"output","Test":"TestA","Output":"panic: test timed out after 1s\n"}` + "\n" + `{"Action":"fail","Test":"TestA"}`, test{name: "TestA"}, "", "no verdict: panic: test timed out"},
		{"fatal", `{"Action":"output","Output":"fatal error: all goroutines are asleep - deadlock!\n"}`, test{name: "TestA"}, "", "no verdict: fatal error"},
		{"the expected panic", `{"Action":"output","Test":"TestA","Output":"panic: deadlock: main bubble goroutine has exited\n"}`,
			test{name: "TestA", symptom: "panic: deadlock: main bubble"}, "panic: deadlock: main bubble", ""},
		{"nothing ran", ``, test{name: "TestA"}, "", "did not run to its end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			said, err := parse([]byte(c.out)).red(c.test)
			if said != c.said || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("said %q, %v", said, err)
			}
		})
	}
}

// The last line counts what was shown, and nothing else.
func TestVerdict(t *testing.T) {
	caught := result{red: []string{"x_test.go:1: y"}}
	shown := result{red: []string{"x_test.go:1: y"}, shown: true}
	for _, c := range []struct {
		results []result
		line    string
		ok      bool
	}{
		{[]result{caught, caught}, "mutants: total=2 caught=2 survived=0 behavioural=0", true},
		{[]result{caught, shown}, "mutants: total=2 caught=2 survived=0 behavioural=1", true},
		{[]result{{shown: true, left: []string{"TestA: pass"}}}, "mutants: total=1 caught=0 survived=1 behavioural=0", false},
		{[]result{caught, {left: []string{"TestA: pass"}}}, "mutants: total=2 caught=1 survived=1 behavioural=0", false},
		{[]result{{red: []string{"y"}, left: []string{"TestB: pass"}}}, "mutants: total=1 caught=0 survived=1 behavioural=0", false},
		{[]result{caught, {err: os.ErrNotExist}}, "mutants: total=2 caught=1 survived=1 behavioural=0", false},
		{[]result{{}}, "mutants: total=1 caught=0 survived=1 behavioural=0", false},
		{nil, "mutants: total=0 caught=0 survived=0 behavioural=0", false},
	} {
		if line, ok := verdict(c.results); line != c.line || ok != c.ok {
			t.Errorf("%q %t, want %q %t", line, ok, c.line, c.ok)
		}
	}
}

// The harness at work on itself: a rule that is taken out is caught, a changed
// comment survives, and what does not build or does not apply is an error.
func TestJudge(t *testing.T) {
	abs, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	const file = "internal/mutants/mutant.go"
	here := []test{{pkg: "internal/mutants", name: "TestMutate"}}
	w := &workshop{root: abs, dir: t.TempDir()}
	for _, c := range []struct {
		name  string
		edits []edit
		line  string
		err   string
	}{
		{"comment", []edit{{file, "// mutate applies the edits and", "// mutate makes the edits and"}}, "mutants: total=1 caught=0 survived=1 behavioural=0", ""},
		{"rule", []edit{{file, "n != 1 {", "n < 1 {"}}, "mutants: total=1 caught=1 survived=0 behavioural=0", ""},
		{"nonsense", []edit{{file, "n != 1 {", "n != one {"}}, "mutants: total=1 caught=0 survived=1 behavioural=0", "undefined: one"},
		{"moved on", []edit{{file, "what was never there", ""}}, "mutants: total=1 caught=0 survived=1 behavioural=0", "occurs 0 times"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := w.judge(mutant{name: strings.ReplaceAll(c.name, " ", "-"), edits: c.edits, tests: here})
			line, ok := verdict([]result{r})
			if line != c.line || ok != strings.Contains(line, "survived=0 ") || (r.err == nil) != (c.err == "") || r.err != nil && !strings.Contains(r.err.Error(), c.err) {
				t.Errorf("%s: %s\n%v", line, r.line(), r.err)
			}
		})
	}
}

// What an edit replaces occurs exactly once, also after an earlier edit of the
// same file.
func TestMutate(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("one two two"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		edits []edit
		want  string
	}{
		{[]edit{{"f", "one", "1"}}, "1 two two"},
		{[]edit{{"f", "two", "2"}}, ""},
		{[]edit{{"f", "three", "3"}}, ""},
		{[]edit{{"f", " two two", ""}, {"f", "one", "1"}}, "1"},
		{[]edit{{"f", "one", "two"}, {"f", "two", "2"}}, ""},
	} {
		got, err := mutant{edits: c.edits}.mutate(dir)
		if got["f"] != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%v: %q, %v", c.edits, got["f"], err)
		}
	}
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{
		{[]string{"TestA"}, "^TestA$"},
		{[]string{"TestA/b-c"}, "^TestA$/^b-c$"},
		{[]string{"TestB", "TestA/b", "TestA/c"}, "^(TestA|TestB)$"},
	} {
		if got := pattern(c.names...); got != c.want {
			t.Errorf("%v: %s, want %s", c.names, got, c.want)
		}
	}
}

// docs/mutants.md is the table, and nothing else.
func TestMutantsDocument(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Mutants\n\nGenerated from the table in `internal/mutants` by `go test ./internal/mutants -run MutantsDocument -update`; do not edit.\n\n")
	kinds := &behaviours{root: root}
	behavioural := 0
	for _, m := range table() {
		if shown, err := kinds.shown(m); err != nil {
			t.Fatal(err)
		} else if shown {
			behavioural++
		}
	}
	fmt.Fprintf(&b, "`make mutants` takes each of these %d rules out of the code, one at a time, and shows that the named tests turn red: by what they\nfound, not by a panic, a time-out or a build that fails. All tests named for a mutant must. `make mutants ONLY=name` runs one.\n\n", len(table()))
	fmt.Fprintf(&b, "Tests in **bold** are behavioural: they play something out and judge what comes of it. A behavioural test stands on one of these, and\n`internal/mutants` looks whether it does; all others are unit tests. %d of the mutants have one, the rest only unit tests: what counts as\nstopped for one kind of resource, say.\n\n", behavioural)
	b.WriteString("| tests of | play |\n|---|---|\n")
	for _, s := range settings {
		fmt.Fprintf(&b, "| `%s` | %s |\n", s.pkg, s.what)
	}
	list := func(tests []test, all bool) string {
		var out []string
		for _, named := range tests {
			name := "`" + named.pkg + "` " + named.name
			switch shown, err := kinds.of(named); {
			case err != nil:
				t.Fatal(err)
			case shown && all:
				out = append(out, "**"+name+"**")
			case shown || all:
				out = append(out, name)
			}
		}
		return strings.Join(out, ", ")
	}
	b.WriteString("\n## What the protocol was reviewed with\n\nThese mutations, the obvious shorter rule in place of each, were thought of before the code. Each must turn a behavioural test red.\n\n")
	b.WriteString("| mutation | mutant | behavioural tests that turn red |\n|---|---|---|\n")
	for _, what := range mustBeCaught {
		for _, m := range table() {
			if m.takes == what {
				fmt.Fprintf(&b, "| %s | `%s` | %s |\n", what, m.name, list(m.tests, false))
			}
		}
	}
	b.WriteString("\n## All\n\n| rule | mutant | what the code does then | tests that turn red |\n|---|---|---|---|\n")
	for _, m := range table() {
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", m.rule, m.name, m.says, list(m.tests, true))
	}
	const file = root + "/docs/mutants.md"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != b.String() {
		t.Errorf("%s is not the table (%v): -update writes it", file, err)
	}
}
