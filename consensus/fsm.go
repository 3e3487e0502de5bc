package consensus

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/failover"
)

// fsm is the thin adapter between raft and failover.State: decode, apply, wake
// the readers. It holds no rule of its own.
type fsm struct {
	codec *Codec
	log   *slog.Logger
	fatal func(error)

	mu      sync.Mutex
	state   *failover.State
	shared  *failover.State // a clone of state that readers may keep; nil when stale
	changed chan struct{}   // closed and replaced on each change
	broken  error           // set once an entry could not be applied
	onApply func(failover.Result, failover.Command)
}

func newFSM(codec *Codec, log *slog.Logger, fatal func(error), onApply func(failover.Result, failover.Command)) *fsm {
	return &fsm{
		codec: codec, log: log, fatal: fatal, onApply: onApply,
		state: failover.NewState(), changed: make(chan struct{}),
	}
}

// Apply implements raft.FSM. The result is a failover.Result.
func (f *fsm) Apply(l *raft.Log) any {
	f.mu.Lock()
	if f.broken != nil {
		err := f.broken
		f.mu.Unlock()
		return failover.Result{Index: l.Index, Term: l.Term, Err: err}
	}
	m, cmd, skip, err := f.codec.Decode(l.Data)
	if err != nil {
		f.broken = fmt.Errorf("log entry %d: %w", l.Index, err)
		f.mu.Unlock()
		f.fatal(f.broken)
		return failover.Result{Index: l.Index, Term: l.Term, Err: f.broken}
	}
	if skip {
		f.mu.Unlock()
		f.log.Warn("skipped a log entry of a newer version", "index", l.Index)
		return failover.Result{Index: l.Index, Term: l.Term}
	}
	m.Index, m.Term = l.Index, l.Term
	res := f.state.Apply(m, cmd)
	f.shared = nil
	wake := f.changed
	f.changed = make(chan struct{})
	if f.onApply != nil {
		// Under the lock, in log order, before anybody can see the state: what
		// must happen at Apply (such as starting to count a freeze) cannot be
		// overtaken.
		f.onApply(res, cmd)
	}
	f.mu.Unlock()
	close(wake)
	return res
}

// snapshotFrame is a snapshot as it is stored.
type snapshotFrame struct {
	V     int             `json:"v"`
	State *failover.State `json:"state"`
}

const snapshotVersion = 1

// Snapshot implements raft.FSM. It captures a copy; Persist runs beside Apply.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.Lock()
	broken := f.broken
	f.mu.Unlock()
	if broken != nil {
		return nil, broken // entries of its index are missing in the state
	}
	return &snapshot{state: f.view()}, nil
}

// Restore implements raft.FSM: it builds a new state and swaps it in.
func (f *fsm) Restore(r io.ReadCloser) error {
	defer func() { _ = r.Close() }() // read to its end: nothing is lost by a failing close
	state, err := decodeSnapshot(r)
	if err != nil {
		f.fatal(err)
		return err
	}
	f.mu.Lock()
	f.state, f.shared = state, nil
	wake := f.changed
	f.changed = make(chan struct{})
	f.mu.Unlock()
	close(wake)
	return nil
}

func decodeSnapshot(r io.Reader) (*failover.State, error) {
	frame := snapshotFrame{State: failover.NewState()}
	if err := json.NewDecoder(r).Decode(&frame); err != nil {
		return nil, fmt.Errorf("the snapshot is not readable: %w", err)
	}
	if frame.V != snapshotVersion {
		return nil, fmt.Errorf("the snapshot has version %d, this failoverd reads version %d: run a version that knows it", frame.V, snapshotVersion)
	}
	if l := frame.State.Level(); l > failover.Features {
		return nil, fmt.Errorf("the snapshot belongs to a cluster at feature level %d, this failoverd understands level %d: run the version that the other nodes run", l, failover.Features)
	}
	return frame.State, nil
}

// view returns a copy of the state that never changes.
func (f *fsm) view() *failover.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shared == nil {
		f.shared = f.state.Clone()
	}
	return f.shared
}

// wait returns a channel that is closed at the next change.
func (f *fsm) wait() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

type snapshot struct{ state *failover.State }

// Persist implements raft.FSMSnapshot.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	err := json.NewEncoder(sink).Encode(snapshotFrame{V: snapshotVersion, State: s.state})
	if err != nil {
		_ = sink.Cancel() // the write error is the one that matters
		return fmt.Errorf("writing a snapshot: %w", err)
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("closing a snapshot: %w", err)
	}
	return nil
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() {}
