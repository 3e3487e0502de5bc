package main

import (
	"strings"
	"testing"
)

const complete = `
(Spin Version 6.5.2 -- 6 December 2019)

Full statespace search for:
	never claim         	- (none specified)

State-vector 44 byte, depth reached 67, errors: 0
     6154 states, stored
    18482 states, matched

pan: elapsed time 0.01 seconds
`

const violated = `
pan:1: assertion violated (x==0) (at depth 96)
pan: wrote case.pml.trail

Warning: Search not completed

Full statespace search for:

State-vector 44 byte, depth reached 96, errors: 1
     2673 states, stored
`

func TestParse(t *testing.T) {
	if r, err := parse(complete); err != nil || r.states != 6154 || r.errors != 0 {
		t.Errorf("a complete search: %+v, %v", r, err)
	}
	if r, err := parse(violated); err != nil || r.errors != 1 || !r.violated {
		t.Errorf("a violated assertion: %+v, %v", r, err)
	}
	// Nothing that may have left states out passes for a result.
	for name, out := range map[string]string{
		"empty":          "",
		"cut off":        complete[:strings.Index(complete, "State-vector")],
		"no count":       strings.ReplaceAll(complete, "states, stored", ""),
		"depth":          "error: max search depth too small\n" + complete,
		"memory":         "pan: reached -DMEMLIM bound\n" + complete,
		"memory, spin":   "pan: out of memory\n" + complete,
		"not completed":  "Warning: Search not completed\n" + complete,
		"bit state":      strings.ReplaceAll(complete, "Full statespace", "Bit statespace"),
		"other error":    strings.ReplaceAll(violated, "assertion violated", "invalid end state"),
		"unknown remark": "pan: something new\n" + complete,
	} {
		if r, err := parse(out); err == nil {
			t.Errorf("%s passes for a search: %+v", name, r)
		}
	}
}

// Every case can be told from every other, and says what it is.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range cases {
		if seen[c.name] || c.text == "" || (c.kind == reach) != (c.cond != "") {
			t.Errorf("case %q: twice, without a text, or without a condition", c.name)
		}
		seen[c.name] = true
		if mutated := strings.Contains(strings.Join(c.defs, " "), "M_"); mutated != (c.kind == mutation || c.kind == spare) {
			t.Errorf("case %q is not of its kind", c.name)
		}
	}
}
