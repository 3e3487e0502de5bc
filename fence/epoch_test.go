package fence

import (
	"path/filepath"
	"sync"
	"testing"
)

// Agents of one host may share an epoch file.
func TestEpochFileIsShared(t *testing.T) {
	file := filepath.Join(t.TempDir(), "epoch")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := writeEpoch(file, 7); err != nil {
					t.Error(err)
				}
				if n, err := readEpoch(file); n != 7 || err != nil {
					t.Errorf("read %d, %v", n, err)
				}
			}
		})
	}
	wg.Wait()
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
