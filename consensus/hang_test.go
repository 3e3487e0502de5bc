package consensus

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/failover"
)

// tap is a store whose writes can be made slow, or made to hang until they are
// let go.
type tap struct {
	*raft.InmemStore
	mu   sync.Mutex
	slow time.Duration
	shut chan struct{}  // nil: open
	held chan time.Time // when each write began to hang
}

func newTap() *tap { return &tap{InmemStore: raft.NewInmemStore(), held: make(chan time.Time, 100)} }

func (s *tap) pass() {
	s.mu.Lock()
	slow, shut := s.slow, s.shut
	s.mu.Unlock()
	time.Sleep(slow)
	if shut != nil {
		s.held <- time.Now()
		<-shut
	}
}

func (s *tap) set(slow time.Duration, hang bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slow = slow
	if hang && s.shut == nil {
		s.shut = make(chan struct{})
	}
	if !hang && s.shut != nil {
		close(s.shut)
		s.shut = nil
	}
}

func (s *tap) StoreLog(l *raft.Log) error     { s.pass(); return s.InmemStore.StoreLog(l) }
func (s *tap) StoreLogs(ls []*raft.Log) error { s.pass(); return s.InmemStore.StoreLogs(ls) }
func (s *tap) Set(k, v []byte) error          { s.pass(); return s.InmemStore.Set(k, v) }
func (s *tap) SetUint64(k []byte, v uint64) error {
	s.pass()
	return s.InmemStore.SetUint64(k, v)
}

// A leader whose writes hang, or merely take two seconds each, falls silent, so
// that the others have a new leader soon; its tenure ends, and everything that
// people and machines ask of it still answers (incidents P11 and P12).
func TestLeaderWithHungDiskGivesUp(t *testing.T) {
	for name, slow := range map[string]time.Duration{"hangs": 0, "two seconds a write": 2 * time.Second} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(c *trio) {
				old, tn := c.tenure()
				disk := c.hosts[old.id].store
				at := time.Now()
				disk.set(slow, slow == 0)
				defer disk.set(0, false)
				// Somebody writes all the time: agents ask for their leases.
				asker := make(chan error, 1)
				go func() { asker <- tn.Prove(c.ctx) }()

				fresh, next := c.tenure(old.id)
				if d := time.Since(at); d > 5*time.Second {
					t.Errorf("the new leader came after %s", d)
				}
				if err := next.Prove(c.ctx); err != nil {
					t.Errorf("%s cannot commit: %v", fresh.id, err)
				}
				select {
				case err := <-c.fatals:
					if !strings.Contains(err.Error(), "hangs: writing log entries has not returned after 1.5s") {
						t.Errorf("said %v", err)
					}
				default:
					t.Error("the node with the hung disk goes on")
				}
				select {
				case <-tn.ctx.Done():
				default:
					t.Error("the tenure goes on")
				}
				// Its main loop stands still, or did; whoever asks is answered.
				n := old.live()
				n.Stats()
				_, _ = n.Members() // that it returns is all
				_, _, _ = n.State(), n.Leader(), n.LastContact()
				ctx, cancel := context.WithTimeout(c.ctx, time.Second)
				defer cancel()
				if _, err := n.Propose(ctx, by("x"), minute()); err == nil {
					t.Error("it took a proposal")
				}
				if err := n.TransferTo(fresh.id); err == nil {
					t.Error("it gave a leadership away that it has lost")
				}
				if slow == 0 {
					begin := time.Now()
					if err := n.Close(); err == nil || time.Since(begin) > time.Second {
						t.Errorf("closing took %s: %v", time.Since(begin), err)
					}
					select {
					case <-asker:
						t.Error("a write that hangs came back")
					default:
					}
				}
				c.converged(fresh.id, c.follower3(old, fresh).id)
				disk.set(0, false)
				c.abandon(old.id)
			})
		})
	}
}

// follower3 is the third node.
func (c *trio) follower3(a, b *host) *host {
	for _, id := range c.ids {
		if id != a.id && id != b.id {
			return c.hosts[id]
		}
	}
	return nil
}

// abandon lets a node whose disk hung end, whatever that gives.
func (c *trio) abandon(id failover.NodeID) {
	h := c.hosts[id]
	h.mu.Lock()
	node := h.node
	h.node = nil
	h.mu.Unlock()
	_ = node.Close()             // it says that raft was left behind
	time.Sleep(10 * time.Second) // what was in a write ends: nothing goes on after the bubble
}

// A follower whose disk hangs ends as well, later than a leader: nobody waits
// for it. One whose writes take two seconds goes on.
func TestFollowerWithHungDisk(t *testing.T) {
	bubble(t, func(c *trio) {
		lead, tn := c.tenure()
		f := c.follower(lead)
		disk := c.hosts[f.id].store
		disk.set(2*time.Second, false)
		if err := tn.Prove(c.ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		select {
		case err := <-c.fatals:
			t.Fatalf("slow is not dead: %v", err)
		default:
		}
		disk.set(0, true)
		if err := tn.Prove(c.ctx); err != nil {
			t.Fatal(err)
		}
		// The follower is sent entries when raft's pause after the slow ones is over:
		// the in-memory transport knows nothing of the real one's patience.
		at := <-disk.held
		err := <-c.fatals
		if d := time.Since(at); d < hungAfter || d > hungAfter+time.Second || !strings.Contains(err.Error(), "it can neither vote nor keep entries") {
			t.Errorf("after %s: %v", d, err)
		}
		if tn.ctx.Err() != nil {
			t.Error("the leader changed")
		}
		disk.set(0, false)
		c.abandon(f.id)
	})
}
