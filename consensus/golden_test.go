package consensus

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/failoverd/failoverd/failover"
)

// paths are the names of all fields below a value.
func paths(v any, at string, out map[string]bool) {
	switch x := v.(type) {
	case map[string]any:
		for k, below := range x {
			out[at+"."+k] = true
			paths(below, at+"."+k, out)
		}
	case []any:
		for _, below := range x {
			paths(below, at, out)
		}
	}
}

func pathsOf(t *testing.T, text []byte, out map[string]bool) {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	paths(v, "", out)
}

// unshown are the fields of a whole value that no golden file has.
func unshown(t *testing.T, whole []byte, files ...string) []string {
	t.Helper()
	have, want := map[string]bool{}, map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		pathsOf(t, text, have)
	}
	pathsOf(t, whole, want)
	return slices.DeleteFunc(slices.Sorted(maps.Keys(want)), func(p string) bool { return have[p] })
}

// A field that no golden file has could be renamed, and what an earlier version wrote of it would be lost without a word. A release that
// adds fields adds files, beside those of earlier ones.
func TestGoldenFilesShowEveryField(t *testing.T) {
	c := NewCodec()
	for _, name := range slices.Sorted(maps.Keys(newDecoders())) {
		whole, err := c.Encode(meta(3), example(t, name))
		if err != nil {
			t.Fatal(err)
		}
		files := []string{filepath.Join("testdata", "commands", name+".json"), filepath.Join("testdata", "commands-level3", name+".json")}
		next := files[1] // the first name that is free: one that exists is never changed
		for n := 2; ; n++ {
			if _, err := os.Stat(next); errors.Is(err, os.ErrNotExist) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			next = filepath.Join("testdata", "commands-level3", fmt.Sprintf("%s.%d.json", name, n))
			files = append(files, next)
		}
		lacks := unshown(t, whole, files...)
		if len(lacks) > 0 && *update {
			if err := os.WriteFile(next, append(whole, '\n'), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if len(lacks) > 0 {
			t.Errorf("no golden file of %s has %s", name, strings.Join(lacks, ", "))
		}
	}
	s := failover.NewState()
	full(reflect.ValueOf(s).Elem(), "state")
	s.Features = failover.Features
	var sink memorySink
	if err := (&snapshot{state: s}).Persist(&sink); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/snapshot-*.json")
	if err != nil {
		t.Fatal(err)
	}
	lacks := unshown(t, sink.Bytes(), files...)
	if len(lacks) > 0 && *update {
		added := fmt.Sprintf("testdata/snapshot-v1-level%d-%d.json", failover.Features, len(files)+1)
		if err := os.WriteFile(added, sink.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if len(lacks) > 0 {
		t.Errorf("no golden snapshot has %s", strings.Join(lacks, ", "))
	}
	// What is read of the additional ones is whole, too.
	more, err := filepath.Glob("testdata/commands-level3/*.json")
	if err != nil || len(more) == 0 {
		t.Fatalf("%d files, %v", len(more), err)
	}
	for _, file := range more {
		golden, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, cmd, skip, err := c.Decode(golden)
		if err != nil || skip {
			t.Errorf("%s: %v (skip %t)", file, err, skip)
			continue
		}
		again, err := c.Encode(m, cmd)
		if err != nil {
			t.Fatal(err)
		}
		if l := missing(t, golden, again); l != "" {
			t.Errorf("%s: lost when it is read: %s", file, l)
		}
	}
}
