package consensus

import (
	"flag"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/failover"
)

// entries is how many the log is given; `make incidents` gives it a million.
var entries = flag.Int("entries", 100_000, "how many entries TestIncidentP12LogStaysBounded writes")

// The log stays bounded however long the cluster runs: rounds in which an agent asks
// for its lease leave a few thousand entries on the disk and a snapshot that does not
// grow (incident P12).
func TestIncidentP12LogStaysBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, snaps := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
		_, trans := raft.NewInmemTransport("n1")
		n, err := Open(Config{
			ID: "n1", Voters: []raft.Server{{ID: "n1", Address: "n1"}}, Transport: trans, Logs: store, Stable: store, Snapshots: snaps,
			Timers: Timers{Heartbeat: 500 * time.Millisecond, Election: 500 * time.Millisecond, LeaderLease: 400 * time.Millisecond, Commit: 20 * time.Millisecond},
			Log:    slog.New(slog.DiscardHandler), Fatal: func(err error) { t.Error(err) },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(5 * time.Second)
		tn := &Tenure{node: n, Term: n.raft.CurrentTerm()}
		if _, err := tn.Propose(t.Context(), failover.Lead{Node: "n1"}, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := tn.Propose(t.Context(), failover.Configure{Settings: failover.Settings{
			Service: "s", Primary: "east1", Secondary: "east2", Nodes: map[failover.NodeID]failover.NodeSpec{"n1": {}},
			Components: []failover.ComponentSpec{{Name: "workers", Agent: true, Arming: failover.ArmEnforced, OnIsolation: "stop"}},
			Policy:     failover.Policy{Lease: failover.LeaseTerms{Length: failover.Duration(time.Minute)}},
		}, Hash: "h"}, ""); err != nil {
			t.Fatal(err)
		}
		rounds := *entries
		held, size := uint64(0), map[int]int64{}
		for i := 1; i <= rounds; i++ {
			round := failover.Round{Requests: []failover.LeaseRequest{{Agent: failover.AgentID(fmt.Sprint("w", i%20)), Region: "east1", Component: "workers", Lease: failover.Duration(time.Minute), Enforced: true, Running: true}}}
			if _, err := tn.Propose(t.Context(), round, ""); err != nil {
				t.Fatal(err)
			}
			if i%20 != 0 {
				continue
			}
			time.Sleep(time.Second)        // twenty rounds a second is four times what a large fleet needs
			first, _ := store.FirstIndex() // the store is in memory
			last, _ := store.LastIndex()
			held = max(held, last-first)
			if list, _ := snaps.List(); len(list) > 0 {
				size[i*4/rounds] = list[0].Size
			}
		}
		if held > 10_000 {
			t.Errorf("the store held up to %d entries", held)
		}
		if size[1] == 0 || size[4] > size[1]*11/10 {
			t.Errorf("snapshots grow: %v bytes at each quarter", size)
		}
		t.Logf("at most %d entries, snapshots of %v bytes", held, size)
	})
}
