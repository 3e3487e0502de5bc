package fence

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// This file keeps the highest epoch that an agent has seen: without a durable
// memory of it a restored cluster could grant an old one (rules G2, T4).

func readEpoch(path string) (uint64, error) {
	if path == "" {
		return 0, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the epoch that was seen last: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is damaged (%q): write the epoch that `failoverd status` shows into it", path, string(b))
	}
	return n, nil
}

func writeEpoch(path string, epoch uint64) error {
	if path == "" {
		return nil
	}
	// Another agent of this host may have seen a later one. A file that cannot be read is
	// written over: what it held was read when this agent began.
	if kept, err := readEpoch(path); err == nil && kept >= epoch {
		return nil
	}
	return replace(path, []byte(strconv.FormatUint(epoch, 10)+"\n"), true)
}

// replace writes a file as a whole or not at all, also when another agent of this
// host writes the same file.
func replace(path string, data []byte, sync bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.new")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	tmp := f.Name()
	defer func() { _ = os.Remove(tmp) }()  // nothing to remove once it has its name
	if err := f.Chmod(0o644); err != nil { // workers of other users read it
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), f.Close())
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if sync {
		if err := syncDir(filepath.Dir(path)); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
	}
	return nil
}

// syncDir keeps what files a directory names: without it a machine that loses its power
// finds the old file under the name (fsync(2)).
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
