package consensus

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/durable"
)

// Traffic is where the log last sent the clients, as this node has kept it.
type Traffic struct {
	Service string          `json:"service"`
	Region  failover.Region `json:"region"`
	// Left is the region of the pair where it does not go.
	Left failover.Region `json:"left"`
	// Epoch is the one in which the traffic was sent there.
	Epoch uint64 `json:"epoch"`
}

// TrafficFile keeps where the traffic goes beside the log (rule T1). What
// watches this node from outside is answered from it and never from the state
// machine: after a restart without a quorum that is an old snapshot, and would
// send the clients back to the region that was left. The epoch of the file never
// falls. Safe for concurrent use.
type TrafficFile struct {
	path string
	mu   sync.Mutex
	kept Traffic
}

// OpenTrafficFile reads the file of a data directory. A node that has none yet
// has nothing to say.
func OpenTrafficFile(dir string) (*TrafficFile, error) {
	f := &TrafficFile{path: filepath.Join(dir, "traffic.json")}
	data, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &f.kept)
	}
	if err != nil {
		return nil, fmt.Errorf("%s, which says where the traffic goes, cannot be read: %w; put it back, or remove it: then this node says nothing until it has caught up with the log", f.path, err)
	}
	return f, nil
}

// Keep writes where the traffic goes, with fsync, before it returns. It does
// nothing when what is kept is of the same epoch or a later one.
func (f *TrafficFile) Keep(t Traffic) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.Region == "" || t.Epoch <= f.kept.Epoch {
		return nil
	}
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := durable.Replace(f.path, data, 0o600); err != nil {
		return fmt.Errorf("where the traffic goes (%s since epoch %d) could not be kept: %w; this node ends rather than answer from memory", t.Region, t.Epoch, err)
	}
	f.kept = t
	return nil
}

// Kept is what the file says; ok is false when it says nothing.
func (f *TrafficFile) Kept() (t Traffic, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kept, f.kept.Region != ""
}
