package sim

import (
	"testing"

	"github.com/hashicorp/raft"
)

// Raft of a process that has ended goes on for a moment, and reads what it has
// just written. On the disk it is not.
func TestEndedProcessWritesNothing(t *testing.T) {
	d := newDisk()
	h := d.open()
	if err := h.StoreLog(&raft.Log{Index: 1, Data: []byte("kept")}); err != nil {
		t.Fatal(err)
	}
	h.dead.Store(true)
	if err := h.StoreLog(&raft.Log{Index: 2, Data: []byte("too late")}); err != nil {
		t.Fatal(err)
	}
	var l raft.Log
	for i, want := range map[uint64]string{1: "kept", 2: "too late"} {
		if err := h.GetLog(i, &l); err != nil || string(l.Data) != want {
			t.Errorf("the ended process reads %q at %d, %v", l.Data, i, err)
		}
	}
	if err := d.open().GetLog(2, &l); err == nil {
		t.Error("the next process finds what was written too late")
	}
}
