package fence

import (
	"encoding/binary"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The highest epoch that an agent has seen outlives its machine's power (G2): a file has its name only once its
// directory is kept.
func TestEpochIsDurable(t *testing.T) {
	dir := t.TempDir()
	if !dirSynced(t, dir, func() error { return writeEpoch(filepath.Join(dir, "epoch"), 7) }) {
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

// dirSynced reports whether a directory was opened, as a sync of it needs, after a file had been given its
// name there. Whether it reaches the platter nobody can see from here.
func dirSynced(t *testing.T, dir string, write func() error) bool {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Skipf("no inotify here: %v", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_OPEN|unix.IN_MOVED_TO); err != nil {
		t.Fatal(err)
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	n, err := unix.Read(fd, buf)
	if err != nil {
		t.Fatal(err)
	}
	named, synced := false, false
	for at := 0; at+unix.SizeofInotifyEvent <= n; {
		mask, name := binary.NativeEndian.Uint32(buf[at+4:]), binary.NativeEndian.Uint32(buf[at+12:])
		named = named || mask&unix.IN_MOVED_TO != 0
		synced = synced || named && mask&unix.IN_OPEN != 0 && mask&unix.IN_ISDIR != 0 && name == 0
		at += unix.SizeofInotifyEvent + int(name)
	}
	return synced
}
