package durable_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/failoverd/failoverd/internal/durable"
	"github.com/failoverd/failoverd/internal/durabletest"
)

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kept")
	for name, write := range map[string]func([]byte) error{
		"replace": func(b []byte) error { return durable.Replace(path, b, 0o640) },
		"refresh": func(b []byte) error { return durable.Refresh(path, b, 0o640) },
	} {
		var wg sync.WaitGroup
		for i := range 20 { // whoever reads sees one of them, whole
			wg.Go(func() {
				if err := write(bytes.Repeat([]byte{byte('a' + i)}, 1<<16)); err != nil {
					t.Error(name, err)
				}
				if b, err := os.ReadFile(path); err != nil || len(b) != 1<<16 || len(bytes.Trim(b, string(b[:1]))) != 0 {
					t.Errorf("%s: read %d bytes, %v", name, len(b), err)
				}
			})
		}
		wg.Wait()
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	err := durable.Replace(filepath.Join(dir, "none", "kept"), nil, 0o600)
	if err == nil || !strings.Contains(err.Error(), "writing ") {
		t.Errorf("into a directory that is not there: %v", err)
	}
}

// What cannot be replaced stays as it was, and nothing is left beside it.
func TestNothingIsLostOnAnError(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kept")
	if err := os.MkdirAll(filepath.Join(path, "in"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.Replace(path, []byte("two"), 0o600); err == nil {
		t.Error("a directory was replaced by a file")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || !left[0].IsDir() {
		t.Errorf("left %v, %v", left, err)
	}
}

// What Replace has written outlives the machine's power; Refresh waits for no disk.
func TestReplaceIsDurable(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kept")
	if !durabletest.Synced(t, dir, func() error { return durable.Replace(path, nil, 0o600) }) {
		t.Error("the file may have its old data")
	}
	if durabletest.Synced(t, dir, func() error { return durable.Refresh(path, nil, 0o600) }) {
		t.Error("it waits for the disk each time")
	}
}
