package sim

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// disk is a node's raft store: in memory, and able to hang. It survives the
// process. A write that hangs belongs to the process that made it, and the next
// process cannot start before it has returned, as with a locked file.
type disk struct {
	*raft.InmemStore
	mu    sync.Mutex
	hung  chan struct{} // nil: it works
	slow  time.Duration // how long each write takes
	first time.Time     // when a write first hung
}

func newDisk() *disk { return &disk{InmemStore: raft.NewInmemStore()} }

// copied is a copy of what the disk holds, as a backup has it.
func (d *disk) copied() (*disk, error) {
	out := newDisk()
	first, _ := d.FirstIndex()
	last, _ := d.LastIndex()
	for i := first; i > 0 && i <= last; i++ {
		var l raft.Log
		if err := errors.Join(d.GetLog(i, &l), out.StoreLog(&l)); err != nil {
			return nil, err
		}
	}
	for _, key := range []string{"CurrentTerm", "LastVoteTerm"} { // raft's own
		if v, err := d.GetUint64([]byte(key)); err == nil {
			_ = out.SetUint64([]byte(key), v) // in memory
		}
	}
	if v, err := d.Get([]byte("LastVoteCand")); err == nil {
		_ = out.Set([]byte("LastVoteCand"), v)
	}
	return out, nil
}

func (d *disk) hang() (release func()) {
	ch := make(chan struct{})
	d.mu.Lock()
	d.hung = ch
	d.mu.Unlock()
	return func() {
		d.mu.Lock()
		if d.hung == ch {
			d.hung = nil
		}
		d.mu.Unlock()
		close(ch)
	}
}

// slowBy makes every write take so long.
func (d *disk) slowBy(each time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = each
}

func (d *disk) hangs() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hung != nil
}

// stuckSince is when a write first hung; zero: none has.
func (d *disk) stuckSince() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.first
}

// wait returns when the disk works.
func (d *disk) wait() {
	d.mu.Lock()
	slow := d.slow
	d.mu.Unlock()
	if slow > 0 {
		sleep(slow)
	}
	for {
		d.mu.Lock()
		ch := d.hung
		if ch != nil && d.first.IsZero() {
			d.first = time.Now()
		}
		d.mu.Unlock()
		if ch == nil {
			return
		}
		<-ch
	}
}

// handle is the disk as one process has it open. A write of a process that has
// ended never lands.
type handle struct {
	*disk
	dead atomic.Bool
	// store is asked about writes of the log, if it is set.
	store func(ls []*raft.Log, write func() error) error
}

func (d *disk) open() *handle { return &handle{disk: d} }

func (h *handle) write(fn func() error) error {
	h.wait()
	if h.dead.Load() {
		return nil // nobody is there to read the answer
	}
	return fn()
}

// StoreLog implements raft.LogStore.
func (h *handle) StoreLog(l *raft.Log) error { return h.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (h *handle) StoreLogs(ls []*raft.Log) error {
	write := func() error { return h.write(func() error { return h.InmemStore.StoreLogs(ls) }) }
	if h.store == nil {
		return write()
	}
	return h.store(ls, write)
}

// GetLog implements raft.LogStore. A process that was killed while it waited for
// the disk goes on for a moment here, and looks for what it never wrote: it finds
// an entry that means nothing.
func (h *handle) GetLog(index uint64, l *raft.Log) error {
	err := h.InmemStore.GetLog(index, l)
	if err != nil && h.dead.Load() {
		*l = raft.Log{Index: index, Type: raft.LogNoop}
		return nil
	}
	return err
}

// DeleteRange implements raft.LogStore.
func (h *handle) DeleteRange(lo, hi uint64) error {
	return h.write(func() error { return h.InmemStore.DeleteRange(lo, hi) })
}

// Set implements raft.StableStore.
func (h *handle) Set(k, v []byte) error {
	return h.write(func() error { return h.InmemStore.Set(k, v) })
}

// SetUint64 implements raft.StableStore.
func (h *handle) SetUint64(k []byte, v uint64) error {
	return h.write(func() error { return h.InmemStore.SetUint64(k, v) })
}
