package consensus

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/failoverd/failoverd/internal/durable"
)

// Disk is a node's data directory: the raft log, its snapshots, and who it
// belongs to.
type Disk struct {
	Store     *raftboltdb.BoltStore
	Snapshots raft.SnapshotStore
	// Identity is the disk's own name and how often it was started, with this start
	// (rule T3). It is kept by CountStart.
	Identity DiskIdentity
	// Empty says that the directory holds nothing of any cluster.
	Empty bool

	identity string // its file
}

// DiskIdentity tells a disk that was set back or replaced from the one that the
// cluster knows.
type DiskIdentity struct {
	Node   string `json:"node"`
	Disk   string `json:"disk"`
	Starts uint64 `json:"starts"`
}

// OpenDisk opens or makes the data directory of a node. Only one process can
// have it open.
func OpenDisk(dir, node string, log *slog.Logger) (*Disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory %s cannot be made: %w; make it, owned by the user that runs failoverd", dir, err)
	}
	store, err := openBolt(filepath.Join(dir, "raft.db"))
	if err != nil {
		return nil, err
	}
	d := &Disk{Store: store}
	d.Snapshots, err = raft.NewFileSnapshotStoreWithLogger(dir, 2, NewRaftLogger(log))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("snapshots in %s: %w", dir, err), store.Close())
	}
	has, err := raft.HasExistingState(store, store, d.Snapshots)
	if err != nil {
		return nil, errors.Join(corrupt(filepath.Join(dir, "raft.db"), err), store.Close())
	}
	d.Empty = !has
	d.identity = filepath.Join(dir, "identity.json")
	d.Identity, err = thisStart(d.identity, node)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	if _, err := os.Stat(filepath.Join(dir, knownFile)); d.Empty && err == nil {
		// It was one of a cluster, and its log is gone: with the votes that it has given.
		d.Identity.Disk, d.Identity.Starts = NewID(), 1
	}
	return d, nil
}

// CountStart keeps that the disk was started. It is called once the others have
// had nothing against it, and before raft can give a vote: if a start that they
// refuse counted, the counter of a disk that was set back would catch up with the
// recorded one while its service manager tries again.
func (d *Disk) CountStart() error {
	data, err := json.Marshal(d.Identity)
	if err != nil {
		return fmt.Errorf("writing %s: %w", d.identity, err)
	}
	return durable.Replace(d.identity, data, 0o600)
}

// Close releases the directory.
func (d *Disk) Close() error { return d.Store.Close() }

func openBolt(path string) (store *raftboltdb.BoltStore, err error) {
	// bbolt panics on some kinds of damage while it reads the file, and a file
	// that was cut short faults in its memory map.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			store, err = nil, corrupt(path, fmt.Errorf("%v", p))
		}
	}()
	store, err = raftboltdb.New(raftboltdb.Options{
		Path: path,
		// Without a time-out the second process on a directory waits for ever.
		BoltOptions: &bbolt.Options{Timeout: time.Second},
	})
	switch {
	case err == nil:
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("%s is in use: another failoverd runs on this data directory; stop it, or give this one its own", path)
	case errors.Is(err, syscall.ENOSPC):
		return nil, fmt.Errorf("%s cannot be opened: the disk is full; make room and start again", path)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return nil, fmt.Errorf("%s cannot be written: %w; the directory must be writable for the user that runs failoverd", path, err)
	default:
		return nil, corrupt(path, err)
	}
	if err := readEnds(store); err != nil {
		return nil, errors.Join(corrupt(path, err), store.Close())
	}
	return store, nil
}

// readEnds reads the first and the last entry: damage is better found here than
// by raft in mid-flight.
func readEnds(store *raftboltdb.BoltStore) error {
	first, err := store.FirstIndex()
	if err != nil || first == 0 {
		return err
	}
	last, err := store.LastIndex()
	var l raft.Log
	return errors.Join(err, store.GetLog(first, &l), store.GetLog(last, &l))
}

func corrupt(path string, err error) error {
	return fmt.Errorf("the raft store %s cannot be read: %w; if the file is damaged, remove this node from the cluster and let it join with an empty data directory under a new name", path, err)
}

// thisStart reads the disk's identity and counts this start.
func thisStart(path, node string) (DiskIdentity, error) {
	var id DiskIdentity
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		id = DiskIdentity{Node: node, Disk: NewID()}
	case err != nil:
		return id, fmt.Errorf("reading %s: %w", path, err)
	default:
		if err := json.Unmarshal(data, &id); err != nil {
			return id, fmt.Errorf("%s is damaged: %w; remove this node from the cluster and let it join with an empty data directory under a new name", path, err)
		}
		if id.Node != node {
			return id, fmt.Errorf("the data directory belongs to node %s, not to %s: give each node its own (%s)", id.Node, node, filepath.Dir(path))
		}
	}
	id.Starts++
	return id, nil
}
