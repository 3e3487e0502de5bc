package consensus

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/failover"
)

// valve is a transport whose exchanges can be held, as those of a process that
// stands still are: answers to heartbeats that wait to be read, and requests that
// have not left.
type valve struct {
	*raft.InmemTransport
	beats, all latch
	held       chan raft.ServerID // whose answer to a heartbeat waits
}

// latch is open until it is shut, and then once more when it is opened.
type latch struct {
	mu sync.Mutex
	ch chan struct{}
}

func (l *latch) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ch = make(chan struct{})
}

func (l *latch) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.ch)
	l.ch = nil
}

// pass waits while the latch is shut, after it has told so.
func (l *latch) pass(told func()) {
	l.mu.Lock()
	ch := l.ch
	l.mu.Unlock()
	if ch != nil {
		told()
		<-ch
	}
}

func (v *valve) AppendEntries(id raft.ServerID, to raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	beat := args.PrevLogEntry == 0 && args.PrevLogTerm == 0 && len(args.Entries) == 0 && args.LeaderCommitIndex == 0
	v.all.pass(func() {})
	err := v.InmemTransport.AppendEntries(id, to, args, resp)
	if beat {
		v.beats.pass(func() { v.held <- id })
	}
	return err
}

// AppendEntriesPipeline implements raft.Transport: every exchange goes through
// the valve.
func (v *valve) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func (v *valve) RequestPreVote(id raft.ServerID, to raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return v.InmemTransport.RequestPreVote(id, to, args, resp)
}

// G1: a leader that stood still through a takeover, with answers to its
// heartbeats on the way back, proves nothing with them: neither its right to act
// nor a lease. Its clock stands for the pause: it counts so slowly that it has
// noticed nothing when the answers arrive.
func TestOldAnswersProveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		quick := Timers{Heartbeat: 500 * time.Millisecond, Election: 500 * time.Millisecond, LeaderLease: 400 * time.Millisecond, Commit: 20 * time.Millisecond}
		slow := Timers{Heartbeat: time.Minute, Election: time.Minute, LeaderLease: time.Minute, Commit: 20 * time.Millisecond}
		ids := []raft.ServerID{"old", "n2", "n3"}
		valves, nodes, tenures := map[raft.ServerID]*valve{}, map[raft.ServerID]*Node{}, map[raft.ServerID]chan *Tenure{}
		var voters []raft.Server
		for _, id := range ids {
			_, tr := raft.NewInmemTransportWithTimeout(raft.ServerAddress(id), 500*time.Millisecond)
			valves[id], tenures[id] = &valve{InmemTransport: tr, held: make(chan raft.ServerID, 10)}, make(chan *Tenure, 10)
			for other, v := range valves {
				tr.Connect(raft.ServerAddress(other), v.InmemTransport)
				v.Connect(raft.ServerAddress(id), tr)
			}
			voters = append(voters, raft.Server{ID: id, Address: raft.ServerAddress(id)})
		}
		for _, id := range ids {
			timers := quick
			if id == "old" {
				timers = slow
			}
			store := raft.NewInmemStore()
			n, err := Open(Config{
				ID: failover.NodeID(id), Voters: voters, Timers: timers, Transport: valves[id], Logs: store, Stable: store,
				Snapshots: raft.NewInmemSnapshotStore(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Fatal: func(err error) { t.Error(err) },
			})
			if err != nil {
				t.Fatal(err)
			}
			nodes[id] = n
			wg.Go(func() {
				n.Lead(ctx, func(ctx context.Context, tn *Tenure) { tenures[id] <- tn; <-ctx.Done() })
			})
		}
		defer func() {
			cancel()
			for _, n := range nodes {
				if err := n.Close(); err != nil {
					t.Error(err)
				}
			}
			wg.Wait()
		}()
		first := <-anyOf(tenures["n2"], tenures["n3"])
		(&trio{t: t, ctx: ctx}).configure(&tenureOf{Tenure: first})
		if err := first.node.TransferTo("old"); err != nil {
			t.Fatal(err)
		}
		old := <-tenures["old"]
		if err := old.Prove(ctx); err != nil {
			t.Fatalf("while it leads: %v", err)
		}

		// Its last heartbeats are answered, and the answers wait to be read; then
		// nothing leaves it any more, and the others elect somebody else.
		v := valves["old"]
		v.beats.shut()
		<-v.held
		<-v.held
		v.all.shut()
		for _, id := range ids[1:] {
			valves[id].Disconnect("old") // nor does it read what they send
		}
		next := <-anyOf(tenures["n2"], tenures["n3"])
		if next.Term <= old.Term {
			t.Fatalf("term %d after %d", next.Term, old.Term)
		}
		if old.node.raft.State() != raft.Leader {
			t.Fatal("the old leader has noticed: the test shows nothing")
		}
		proof, granted := make(chan error, 1), make(chan bool, 1)
		g := NewGranter()
		wg.Go(func() { g.Run(ctx, old) })
		wg.Go(func() {
			pctx, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			proof <- old.Prove(pctx)
		})
		wg.Go(func() {
			gctx, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			grant, err := g.Ask(gctx, request("a"))
			granted <- err == nil && grant.Granted
		})
		time.Sleep(100 * time.Millisecond)
		v.beats.open() // what lay in its sockets comes first
		time.Sleep(100 * time.Millisecond)
		v.all.open()
		if err := <-proof; err == nil {
			t.Errorf("a leader of term %d proved its leadership in term %d", old.Term, next.Term)
		}
		if <-granted {
			t.Errorf("a leader of term %d granted a lease in term %d", old.Term, next.Term)
		}
	})
}

// anyOf yields the first tenure of either.
func anyOf(a, b chan *Tenure) <-chan *Tenure {
	out := make(chan *Tenure, 1)
	select {
	case tn := <-a:
		out <- tn
	case tn := <-b:
		out <- tn
	}
	return out
}
