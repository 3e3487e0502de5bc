package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// FieldError is one mistake in the configuration.
type FieldError struct {
	File  string
	Line  int    // 1 is the first; 0 if the mistake is that something is missing from the whole file
	Path  string // dotted, e.g. "policy.hold"; "" for the file
	Value string // what stands there; "" if nothing does
	Msg   string
	Hint  string // what to do; may be ""
}

func (e *FieldError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.Msg)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Errors are all mistakes of a file, in the order of its lines.
type Errors []*FieldError

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, f := range e {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find a *FieldError.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, f := range e {
		out[i] = f
	}
	return out
}

func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b *FieldError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Path, b.Path))
	})
	return slices.CompactFunc(e, func(a, b *FieldError) bool { return *a == *b })
}

// didYouMean finds the known word that a typo is closest to. It returns "" if
// none is close.
func didYouMean(word string, known []string) string {
	best, bestDistance := "", (len(word)+2)/3+1
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := distance(word, k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// distance is the Levenshtein distance of two short words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// paths is the set of places that already have a mistake.
func (e Errors) paths() map[string]bool {
	out := map[string]bool{}
	for _, f := range e {
		out[f.Path] = true
	}
	return out
}
