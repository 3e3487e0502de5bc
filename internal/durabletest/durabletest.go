// Package durabletest tells whether what was written is kept. Nothing of the daemon imports it.
package durabletest

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// Synced reports whether a directory was opened, as a sync of it needs, after a file had been given its
// name there. Whether it reaches the platter nobody can see from here.
func Synced(t *testing.T, dir string, write func() error) bool {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatalf("no inotify here: %v", err)
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
