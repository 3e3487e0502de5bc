package fence

import (
	"path/filepath"
	"testing"

	"github.com/failoverd/failoverd/internal/durabletest"
)

// The highest epoch that an agent has seen outlives its machine's power (G2): a file has its name only once its
// directory is kept.
func TestEpochIsDurable(t *testing.T) {
	dir := t.TempDir()
	if !durabletest.Synced(t, dir, func() error { return writeEpoch(filepath.Join(dir, "epoch"), 7) }) {
		t.Error("the epoch may be forgotten")
	}
}

// Agents of one host share the file, and one of them may hear of an epoch after another has heard of a later one.
func TestEpochFileNeverFalls(t *testing.T) {
	file := filepath.Join(t.TempDir(), "epoch")
	for _, epoch := range []uint64{6, 7, 6} {
		if err := writeEpoch(file, epoch); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := readEpoch(file); n != 7 || err != nil {
		t.Errorf("epoch %d, %v after 7 was seen", n, err)
	}
}
