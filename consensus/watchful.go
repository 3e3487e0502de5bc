package consensus

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/hashicorp/raft"
)

// watchful stands between raft and the disk. hashicorp/raft panics when it
// cannot save its term or its vote; here the node ends with a sentence instead,
// and raft never learns of the failure, so that it cannot act on a vote that was
// not kept.
type watchful struct {
	raft.LogStore
	stable raft.StableStore
	fatal  func(error)
}

// newWatchful wraps both stores of a node.
func newWatchful(logs raft.LogStore, stable raft.StableStore, fatal func(error)) *watchful {
	return &watchful{LogStore: logs, stable: stable, fatal: fatal}
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
	if err := w.LogStore.StoreLogs(ls); err != nil {
		w.lost("log entries", err)
	}
	return nil
}

// Set implements raft.StableStore.
func (w *watchful) Set(key, val []byte) error {
	if err := w.stable.Set(key, val); err != nil {
		w.lost("its vote", err)
	}
	return nil
}

// SetUint64 implements raft.StableStore.
func (w *watchful) SetUint64(key []byte, val uint64) error {
	if err := w.stable.SetUint64(key, val); err != nil {
		w.lost("its term", err)
	}
	return nil
}

// Get implements raft.StableStore.
func (w *watchful) Get(key []byte) ([]byte, error) { return w.stable.Get(key) }

// GetUint64 implements raft.StableStore.
func (w *watchful) GetUint64(key []byte) (uint64, error) { return w.stable.GetUint64(key) }
