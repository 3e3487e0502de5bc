package consensus

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/failover"
)

// Replay reads what a data directory holds: its newest snapshot and every entry
// of its log, committed or not. Nothing is changed.
func (d *Disk) Replay(log *slog.Logger) (*failover.State, error) {
	var fatal error
	f := newFSM(NewCodec(), log, func(err error) { fatal = errors.Join(fatal, err) }, nil)
	last := uint64(0)
	list, err := d.Snapshots.List()
	if err != nil {
		return nil, fmt.Errorf("reading the snapshots: %w", err)
	}
	if len(list) > 0 {
		_, r, err := d.Snapshots.Open(list[0].ID)
		if err != nil {
			return nil, fmt.Errorf("reading snapshot %s: %w", list[0].ID, err)
		}
		if err := f.Restore(r); err != nil {
			return nil, err
		}
		last = list[0].Index
	}
	end, err := d.Store.LastIndex()
	if err != nil {
		return nil, fmt.Errorf("reading the log: %w", err)
	}
	for i := last + 1; i <= end; i++ {
		var l raft.Log
		if err := d.Store.GetLog(i, &l); err != nil {
			return nil, fmt.Errorf("reading log entry %d: %w", i, err)
		}
		if l.Type == raft.LogCommand {
			f.Apply(&l)
		}
	}
	return f.view(), fatal
}

// reborn is the state machine that a recovery replays the log into: what it
// snapshots is the beginning of the new generation.
type reborn struct {
	*fsm
	order failover.RecoverOrder
}

// Snapshot implements raft.FSM.
func (r *reborn) Snapshot() (raft.FSMSnapshot, error) {
	s := r.view().Clone()
	if r.broken != nil {
		return nil, r.broken
	}
	if err := s.Recover(r.order); err != nil {
		return nil, err
	}
	return &snapshot{state: s}, nil
}

// Restore implements raft.FSM.
func (r *reborn) Restore(rc io.ReadCloser) error { return r.fsm.Restore(rc) }

// Recover begins a new generation of the cluster on this disk, with its node as
// the only voter. Every entry of the log counts as committed. The node must not
// run; that the data directory is open here sees to it.
func (d *Disk) Recover(order failover.RecoverOrder, log *slog.Logger) (*failover.State, error) {
	spec, ok := failover.NodeSpec{}, false
	before, err := d.Replay(log)
	if err != nil {
		return nil, err
	}
	if before.Settings != nil {
		spec, ok = before.Settings.Nodes[order.Survivor]
	}
	if err := before.Clone().Recover(order); err != nil || !ok {
		return nil, errors.Join(errors.New("the cluster was not recovered, nothing has changed"), err)
	}
	var fatal error
	f := &reborn{newFSM(NewCodec(), log, func(err error) { fatal = errors.Join(fatal, err) }, nil), order}
	rc := raft.DefaultConfig()
	rc.LocalID, rc.Logger = raft.ServerID(order.Survivor), NewRaftLogger(log)
	rc.HeartbeatTimeout, rc.ElectionTimeout, rc.LeaderLeaseTimeout = time.Second, time.Second, time.Second
	// Only its encoding of addresses is used.
	_, trans := raft.NewInmemTransport(raft.ServerAddress(spec.Address))
	only := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(order.Survivor), Address: raft.ServerAddress(spec.Address)}}}
	if err := raft.RecoverCluster(rc, f, d.Store, d.Store, d.Snapshots, trans, only); err != nil || fatal != nil {
		return nil, fmt.Errorf("recovering the cluster: %w; the data directory may be half changed: put a copy of it back before you try again", errors.Join(err, fatal))
	}
	return d.Replay(log)
}
