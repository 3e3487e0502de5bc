package consensus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// T1: what the file says outlives the process, and its epoch never falls.
func TestTrafficFile(t *testing.T) {
	dir := t.TempDir()
	open := func() *TrafficFile {
		t.Helper()
		f, err := OpenTrafficFile(dir)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := open()
	if _, ok := f.Kept(); ok {
		t.Error("an empty directory says where the traffic goes")
	}
	for _, step := range []struct {
		give Traffic
		want Traffic
	}{
		{Traffic{"s", "east1", "east2", 1}, Traffic{"s", "east1", "east2", 1}},
		{Traffic{"s", "east2", "east1", 2}, Traffic{"s", "east2", "east1", 2}},
		{Traffic{"s", "east1", "east2", 1}, Traffic{"s", "east2", "east1", 2}}, // an old snapshot, after a restart
		{Traffic{"s", "east1", "east2", 2}, Traffic{"s", "east2", "east1", 2}}, // half of one
		{Traffic{"s", "", "", 9}, Traffic{"s", "east2", "east1", 2}},           // no configuration yet
		{Traffic{"s", "east1", "east2", 3}, Traffic{"s", "east1", "east2", 3}},
	} {
		if err := f.Keep(step.give); err != nil {
			t.Fatal(err)
		}
		f = open() // each time from the disk
		if got, _ := f.Kept(); got != step.want {
			t.Errorf("after %+v the file says %+v, want %+v", step.give, got, step.want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "traffic.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTrafficFile(dir); err == nil || !strings.Contains(err.Error(), "put it back, or remove it") {
		t.Errorf("half a file: %v", err)
	}
}
