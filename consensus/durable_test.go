package consensus

import (
	"testing"

	"github.com/failoverd/failoverd/internal/durabletest"
)

// A machine that loses its power right after a flip still says where the traffic goes (T1), and one that loses it
// right after a start has counted that start (T3): a file has its name only once its directory is kept.
func TestKeptFilesAreDurable(t *testing.T) {
	dir := t.TempDir()
	f, err := OpenTrafficFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !durabletest.Synced(t, dir, func() error { return f.Keep(Traffic{"s", "east2", "east1", 2}) }) {
		t.Error("where the traffic goes may be forgotten")
	}
	d, err := OpenDisk(dir, "third", quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if !durabletest.Synced(t, dir, d.CountStart) {
		t.Error("the start may be forgotten")
	}
}
