package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
)

// A test is behavioural if it plays something out and judges what comes of it. It
// stands on one of few stages, and a mutant's line is far away. A test that reaches
// none of them is a unit test.

// setting is what behavioural tests of a package stand on.
type setting struct {
	pkg  string
	sets []string // functions; a test that reaches one is behavioural
	what string   // for a reader
}

var settings = []setting{
	{"internal/sim", []string{"perform", "playOut", "Run", "newCluster", "newClusterOf"}, "whole clusters in fake time, with the daemon's own raft, agents and executors, under faults: the simulation, its stories and its scripts"},
	{"failover", []string{"rapid.Check"}, "random logs, and what must be true of each: the property test of the state machine"},
	{"failover", []string{"newWatch"}, "what vantages say, second by second, and what a leader makes of it: the transcripts of the decision"},
	{"actions", []string{"inStage"}, "an executor, its log and a scripted world, with leaders that die and take over"},
	{"actions", []string{"twoAndOne"}, "a replica set of protocol servers whose members die, are cut off and come back"},
	{"consensus", []string{"bubble", "Open"}, "three nodes with real raft that are cut off, stopped and healed"},
	{"internal/daemon", []string{"newHouse"}, "whole daemons with disks and certificates that are stopped and started again"},
	{"fence", []string{"agentIn"}, "a whole agent with its worker, and a leader and clocks that are scripted"},
	{"fence", []string{"startGuard", "startReplaced"}, "real processes: a guard, its worker and what that leaves behind, an agent that is replaced"},
}

// behaviours tells behavioural tests from others. It reads the tests as text.
type behaviours struct {
	root  string
	calls map[string]map[string][]string // package → function of its tests → what it calls
}

// of reports whether a test is behavioural.
func (b *behaviours) of(t test) (bool, error) {
	calls, err := b.pkg(t.pkg)
	if err != nil {
		return false, err
	}
	top, _, _ := strings.Cut(t.name, "/")
	if _, ok := calls[top]; !ok {
		return false, fmt.Errorf("there is no %s in %s", top, t.pkg)
	}
	for _, s := range settings {
		if s.pkg != t.pkg {
			continue
		}
		for _, name := range s.sets {
			if reaches(calls, top, name, map[string]bool{}) {
				return true, nil
			}
		}
	}
	return false, nil
}

// shown is of for a mutant: one of its tests is behavioural.
func (b *behaviours) shown(m mutant) (bool, error) {
	for _, t := range m.tests {
		if ok, err := b.of(t); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func reaches(calls map[string][]string, from, name string, seen map[string]bool) bool {
	if seen[from] {
		return false
	}
	seen[from] = true
	for _, c := range calls[from] {
		if c == name || reaches(calls, c, name, seen) {
			return true
		}
	}
	return false
}

// pkg is what each function and method of a package's tests calls.
func (b *behaviours) pkg(pkg string) (map[string][]string, error) {
	if b.calls[pkg] != nil {
		return b.calls[pkg], nil
	}
	files, err := filepath.Glob(filepath.Join(b.root, pkg, "*_test.go"))
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			name := fn.Name.Name
			if fn.Recv != nil {
				name = "." + name // of whatever type: this is text
			}
			out[name] = append(out[name], called(fn.Body)...)
		}
	}
	if b.calls == nil {
		b.calls = map[string]map[string][]string{}
	}
	b.calls[pkg] = out
	return out, nil
}

// called are the names of the functions and methods that a body calls: of a
// method ".name", of a function of another package "package.name".
func called(body ast.Node) (out []string) {
	ast.Inspect(body, func(n ast.Node) bool {
		c, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch fn := c.Fun.(type) {
		case *ast.Ident:
			out = append(out, fn.Name)
		case *ast.SelectorExpr:
			out = append(out, "."+fn.Sel.Name)
			if x, ok := fn.X.(*ast.Ident); ok {
				out = append(out, x.Name+"."+fn.Sel.Name)
			}
		}
		return true
	})
	return out
}
