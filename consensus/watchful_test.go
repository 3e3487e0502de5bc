package consensus

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// fullDisk fails every write as a full disk does.
type fullDisk struct{ *raft.InmemStore }

func (fullDisk) StoreLogs([]*raft.Log) error    { return syscall.ENOSPC }
func (fullDisk) Set([]byte, []byte) error       { return syscall.ENOSPC }
func (fullDisk) SetUint64([]byte, uint64) error { return syscall.ENOSPC }

// A write that cannot be kept ends the node with a sentence; raft never goes on
// as if it had been kept, and never panics.
func TestFullDiskEndsTheNode(t *testing.T) {
	disk := fullDisk{raft.NewInmemStore()}
	for name, write := range map[string]func(w *watchful) error{
		"log entries": func(w *watchful) error { return w.StoreLog(&raft.Log{Index: 1}) },
		"its vote":    func(w *watchful) error { return w.Set([]byte("k"), []byte("v")) },
		"its term":    func(w *watchful) error { return w.SetUint64([]byte("k"), 1) },
	} {
		t.Run(name, func(t *testing.T) {
			said := make(chan error, 1)
			w := newWatchful(disk, disk, func(err error) { said <- err })
			returned := make(chan struct{})
			go func() { _ = write(w); close(returned) }() // it never returns: the process ends
			select {
			case err := <-said:
				if !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "the disk is full") {
					t.Fatalf("said %q", err)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("nothing was said")
			}
			select {
			case <-returned:
				t.Fatal("raft was told that the write was kept")
			default:
			}
		})
	}
}
