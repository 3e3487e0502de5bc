package consensus

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/failover"
)

var update = flag.Bool("update", false, "write golden files that are missing; one that exists is never changed")

// full sets every field below v to something that is not its zero value, so
// that a golden file shows them all.
func full(v reflect.Value, name string) {
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)
		return
	case *json.RawMessage:
		*x = json.RawMessage(`{"cluster":"prod"}`)
		return
	case *failover.Duration:
		*x = failover.Duration(90 * time.Second)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			full(v.Field(i), v.Type().Field(i).Name)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		full(v.Elem(), name)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		full(v.Index(0), name)
	case reflect.Map:
		key, val := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		full(key, name+"-key")
		full(val, name)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, val)
	case reflect.String:
		v.SetString("some-" + strings.ToLower(name))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8:
		v.SetUint(3) // the enumerations have at least four values
	case reflect.Uint64:
		v.SetUint(7)
	case reflect.Int, reflect.Int64:
		v.SetInt(5)
	default:
		panic(fmt.Sprintf("%s: a field of kind %s", name, v.Kind()))
	}
}

// example is a command with every field set.
func example(t *testing.T, name string) failover.Command {
	t.Helper()
	c, err := newDecoders()[name](json.RawMessage(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.New(reflect.TypeOf(c)).Elem()
	full(v, name)
	return v.Interface().(failover.Command)
}

func meta(term uint64) failover.Meta {
	return failover.Meta{
		At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), ProposedTerm: term, Node: "use2a", ID: "0123456789ab", By: "uid 0 (root)", Why: "region lost",
	}
}

// TestGoldenCommands: what an earlier version wrote is read for ever, and no
// field of it is lost. Never change a golden file; a command whose meaning
// changes gets a new name.
func TestGoldenCommands(t *testing.T) {
	c := NewCodec()
	names := slices.Sorted(maps.Keys(newDecoders()))
	for _, name := range names {
		file := filepath.Join("testdata", "commands", name+".json")
		golden, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) && *update {
			if golden, err = c.Encode(meta(3), example(t, name)); err == nil {
				err = os.WriteFile(file, append(golden, '\n'), 0o600)
			}
		}
		if err != nil {
			t.Errorf("command %s has no golden file: %v", name, err)
			continue
		}
		m, cmd, skip, err := c.Decode(golden)
		if err != nil || skip || cmd.Name() != name {
			t.Errorf("%s: %v (skip %t)", file, err, skip)
			continue
		}
		again, err := c.Encode(m, cmd)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if lost := missing(t, golden, again); lost != "" {
			t.Errorf("%s: lost when it is read: %s", file, lost)
		}
	}
	files, err := filepath.Glob("testdata/commands/*.json")
	if err != nil || len(files) != len(names) {
		t.Errorf("%d golden files for %d commands (%v): a command was taken out of the decoder's table", len(files), len(names), err)
	}
}

// missing names the first thing of a that b does not have.
func missing(t *testing.T, a, b []byte) string {
	t.Helper()
	var x, y any
	if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
		t.Fatal(err)
	}
	return lost("", x, y)
}

func lost(path string, a, b any) string {
	switch x := a.(type) {
	case map[string]any:
		y, _ := b.(map[string]any)
		for k, v := range x {
			if l := lost(path+"."+k, v, y[k]); l != "" {
				return l
			}
		}
	case []any:
		y, _ := b.([]any)
		for i, v := range x {
			if i >= len(y) {
				return fmt.Sprintf("%s[%d]", path, i)
			}
			if l := lost(fmt.Sprintf("%s[%d]", path, i), v, y[i]); l != "" {
				return l
			}
		}
	default:
		if !reflect.DeepEqual(a, b) {
			return fmt.Sprintf("%s: %v became %v", path, a, b)
		}
	}
	return ""
}

func TestGoldenSnapshots(t *testing.T) {
	// Each release that adds fields adds a file: TestGoldenFilesShowEveryField.
	files, err := filepath.Glob("testdata/snapshot-*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		golden, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := decodeSnapshot(bytes.NewReader(golden))
		if err != nil {
			t.Fatal(err)
		}
		var sink memorySink
		if err := (&snapshot{state: s}).Persist(&sink); err != nil {
			t.Fatal(err)
		}
		if l := missing(t, golden, sink.Bytes()); l != "" {
			t.Errorf("%s: lost when it is read: %s", file, l)
		}
		if s.Execution == nil || s.Execution.Plan == nil || len(s.Events) == 0 || s.Settings == nil {
			t.Errorf("%s shows too little", file)
		}
	}
}

// A snapshot of a cluster at a level that this version does not understand is
// not read.
func TestSnapshotOfNewerLevel(t *testing.T) {
	_, err := decodeSnapshot(strings.NewReader(`{"v":1,"state":{"features":9}}`))
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("understands level %d: run the version that the other nodes run", failover.Features)) {
		t.Errorf("%v", err)
	}
}

// memorySink is a raft.SnapshotSink in memory.
type memorySink struct {
	bytes.Buffer
	fails     bool
	cancelled bool
}

func (m *memorySink) ID() string { return "memory" }

func (m *memorySink) Write(p []byte) (int, error) {
	if m.fails {
		return 0, errors.New("disk full")
	}
	return m.Buffer.Write(p)
}

func (m *memorySink) Close() error {
	if m.fails {
		return errors.New("disk full")
	}
	return nil
}
func (m *memorySink) Cancel() error { m.cancelled = true; return nil }

func TestDecodeRefuses(t *testing.T) {
	c := NewCodec()
	good, err := c.Encode(meta(3), failover.Lead{Node: "use2a"})
	if err != nil {
		t.Fatal(err)
	}
	if m, _, _, err := c.Decode(good); err != nil || m.ProposedTerm != 3 || m.By != "uid 0 (root)" || m.Node != "use2a" {
		t.Fatalf("%+v, %v", m, err)
	}
	for name, in := range map[string]string{
		"nothing":                "",
		"no JSON":                "\x00\x01",
		"something after":        string(good) + `{}`,
		"rubbish after":          string(good) + `x`,
		"a bracket after":        string(good) + `}`,
		"unknown command":        `{"v":1,"type":"explode","node":"a","body":{}}`,
		"frame of another kind":  `{"v":2,"type":"lead","node":"a","body":{"node":"a"}}`,
		"unknown field":          `{"v":1,"type":"lead","node":"a","body":{"node":"a","colour":"red"}}`,
		"a word for a number":    `{"v":1,"type":"hold","node":"a","body":{"execution":"first"}}`,
		"duration without unit":  `{"v":1,"type":"pause","node":"a","body":{"for":"10"}}`,
		"body missing":           `{"v":1,"type":"lead","node":"a"}`,
		"something after a body": `{"v":1,"type":"lead","node":"a","body":"{} {}"}`,
	} {
		m, cmd, skip, err := c.Decode([]byte(in))
		if err == nil || cmd != nil || skip {
			t.Errorf("%s: decoded as %v, %v (skip %t)", name, m, cmd, skip)
		}
		if unknown := errors.Is(err, ErrUnknownCommand); unknown != (name == "unknown command" || name == "frame of another kind") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, in := range []string{`{"v":1,"type":"explode","ignorable":true,"body":{}}`, `{"v":9,"type":"lead","ignorable":true,"body":{}}`} {
		if _, cmd, skip, err := c.Decode([]byte(in)); err != nil || !skip || cmd != nil {
			t.Errorf("%s: skip %t, %v", in, skip, err)
		}
	}
}

// A command of a person carries no term, whatever its meta says (rule E1).
func TestOnlyLeadersCommandsCarryATerm(t *testing.T) {
	c := NewCodec()
	for _, name := range slices.Sorted(maps.Keys(newDecoders())) {
		cmd := example(t, name)
		data, err := c.Encode(meta(3), cmd)
		if err != nil {
			t.Fatal(err)
		}
		if m, _, _, _ := c.Decode(data); (m.ProposedTerm == 3) != cmd.LeaderOnly() {
			t.Errorf("%s: term %d, leader-only %t", name, m.ProposedTerm, cmd.LeaderOnly())
		}
	}
}

// FuzzDecode: nothing that stands in a log crashes a node, and what can be read
// can be written and read again as the same.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/commands/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"v":1,"type":"explode","ignorable":true}`))
	f.Add([]byte(`{"v":1,"type":"round","body":null}`))
	c := NewCodec()
	f.Fuzz(func(t *testing.T, data []byte) {
		m, cmd, skip, err := c.Decode(data)
		if err != nil || skip {
			if cmd != nil {
				t.Fatalf("a command came with %v, skip %t", err, skip)
			}
			return
		}
		again, err := c.Encode(m, cmd)
		if err != nil {
			return // such as a year that JSON cannot carry
		}
		_, cmd2, _, err := c.Decode(again)
		if err != nil {
			t.Fatalf("%s cannot be read again: %v", again, err)
		}
		a, errA := json.Marshal(cmd)
		b, errB := json.Marshal(cmd2)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Fatalf("%s became %s (%v, %v)", a, b, errA, errB)
		}
		// Apply takes whatever can be decoded.
		failover.NewState().Apply(m, cmd)
	})
}

// A state in which entries are missing is never kept as one of their index: after an upgrade it would differ from the others' for good.
func TestABrokenStateIsNotKept(t *testing.T) {
	f := newFSM(NewCodec(), slog.New(slog.DiscardHandler), func(error) {}, nil)
	if _, err := f.Snapshot(); err != nil {
		t.Fatal(err)
	}
	f.Apply(&raft.Log{Index: 1, Term: 1, Data: []byte(`{"v":1,"type":"explode","node":"a","body":{}}`)})
	if _, err := f.Snapshot(); !errors.Is(err, ErrUnknownCommand) {
		t.Errorf("%v", err)
	}
}
