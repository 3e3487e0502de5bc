package consensus

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// hungAfter is how long a write of a node that does not lead may take before its
// disk counts as hung. Nobody waits for a follower as long as the others are a
// majority, so it gets time for what passes by itself: a storage failover, a
// snapshot of the volume. It must end all the same: it neither votes nor keeps
// entries meanwhile, and yet looks like a member.
const hungAfter = 10 * time.Second

// watchful stands between raft and the disk. hashicorp/raft panics when it
// cannot save its term or its vote, and waits for ever for a disk that hangs,
// while its heartbeats, which touch no disk, keep the others from electing
// somebody else. Here the node ends with a sentence instead: raft never learns
// of a failed write, so that it cannot act on a vote that was not kept, and a
// leader whose write takes too long gives up its place.
type watchful struct {
	raft.LogStore
	stable raft.StableStore
	fatal  func(error)
	// leads reports whether this node leads. It reads an atomic: raft's main loop
	// stands still in the write that is being judged.
	leads func() bool
	// limit is how long a write may take while this node leads.
	limit time.Duration
	// hang is called once, before fatal, when a write has hung: it takes the node
	// off the network. It must not wait for raft.
	hang func()
	once sync.Once
}

// newWatchful wraps both stores of a node. It judges the time of writes once
// watch was called.
func newWatchful(logs raft.LogStore, stable raft.StableStore, fatal func(error)) *watchful {
	return &watchful{LogStore: logs, stable: stable, fatal: fatal, leads: func() bool { return false }, hang: func() {}}
}

// watch sets what counts as hung for a leader, and what is done about it. Call
// it before raft is started with the stores.
func (w *watchful) watch(limit time.Duration, leads func() bool, hang func()) {
	w.limit, w.leads, w.hang = limit, leads, hang
}

// timed runs one write and ends the node when it does not come back in time. The
// write is not given up: nothing can take it back from the kernel. Should it
// return later, raft goes on, but speaks to nobody any more.
func (w *watchful) timed(what string, write func() error) error {
	if w.limit > 0 {
		asLeader := time.AfterFunc(w.limit, func() {
			if w.leads() {
				w.hung(what, w.limit, "as leader it would keep the others from electing one that works")
			}
		})
		defer asLeader.Stop()
		asAny := time.AfterFunc(max(hungAfter, w.limit), func() {
			w.hung(what, max(hungAfter, w.limit), "it can neither vote nor keep entries")
		})
		defer asAny.Stop()
	}
	return write()
}

func (w *watchful) hung(what string, after time.Duration, why string) {
	w.once.Do(func() {
		w.hang()
		w.fatal(fmt.Errorf("the disk of the data directory hangs: writing %s has not returned after %s, and %s; this node leaves the cluster's work and ends, its service manager starts it again; look at the disk (dmesg, iostat), nothing that was committed is lost", what, after, why))
	})
}

// lost tells the node to end and never returns: the caller must not go on as if
// the write had been kept. The process ends meanwhile.
func (w *watchful) lost(what string, err error) {
	hint := "look at the disk of the data directory"
	switch {
	case errors.Is(err, syscall.ENOSPC):
		hint = "the disk is full: make room and start the node again; nothing that was committed is lost"
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EIO):
		hint = "the disk failed or became read-only: repair it, or remove this node and let a new one join with an empty data directory under a new name"
	}
	w.fatal(fmt.Errorf("the raft store could not keep %s: %w; %s", what, err, hint))
	select {}
}

// StoreLog implements raft.LogStore.
func (w *watchful) StoreLog(l *raft.Log) error { return w.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (w *watchful) StoreLogs(ls []*raft.Log) error {
	if err := w.timed("log entries", func() error { return w.LogStore.StoreLogs(ls) }); err != nil {
		w.lost("log entries", err)
	}
	return nil
}

// Set implements raft.StableStore.
func (w *watchful) Set(key, val []byte) error {
	if err := w.timed("its vote", func() error { return w.stable.Set(key, val) }); err != nil {
		w.lost("its vote", err)
	}
	return nil
}

// SetUint64 implements raft.StableStore.
func (w *watchful) SetUint64(key []byte, val uint64) error {
	if err := w.timed("its term", func() error { return w.stable.SetUint64(key, val) }); err != nil {
		w.lost("its term", err)
	}
	return nil
}

// Get implements raft.StableStore.
func (w *watchful) Get(key []byte) ([]byte, error) { return w.stable.Get(key) }

// GetUint64 implements raft.StableStore.
func (w *watchful) GetUint64(key []byte) (uint64, error) { return w.stable.GetUint64(key) }

// place is raft's place as the watchdog of the disk reads it: nothing before
// raft has started.
type place struct{ raft atomic.Pointer[raft.Raft] }

func (p *place) leads() bool {
	r := p.raft.Load()
	return r != nil && r.State() == raft.Leader
}

// leadsIn reports whether this node leads in the term and has the peer in its
// newest configuration. It never waits for raft's main loop.
func (p *place) leadsIn(term uint64, peer raft.ServerID) bool {
	r := p.raft.Load()
	if r == nil || r.State() != raft.Leader || r.CurrentTerm() != term {
		return false
	}
	for _, s := range r.GetConfiguration().Configuration().Servers {
		if s.ID == peer {
			return true
		}
	}
	return false
}
