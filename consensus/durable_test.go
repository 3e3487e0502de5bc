package consensus

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// A machine that loses its power right after a flip still says where the traffic goes (T1), and one that loses it
// right after a start has counted that start (T3): a file has its name only once its directory is kept.
func TestKeptFilesAreDurable(t *testing.T) {
	dir := t.TempDir()
	f, err := OpenTrafficFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !dirSynced(t, dir, func() error { return f.Keep(Traffic{"s", "east2", "east1", 2}) }) {
		t.Error("where the traffic goes may be forgotten")
	}
	d, err := OpenDisk(dir, "third", quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if !dirSynced(t, dir, d.CountStart) {
		t.Error("the start may be forgotten")
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
