package daemon

import (
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/internal/web"
)

// sluice is a raft log whose writes can be held back.
type sluice struct {
	raft.LogStore
	mu   sync.Mutex
	shut chan struct{}
}

func (s *sluice) hold(shut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if shut {
		s.shut = make(chan struct{})
	} else if s.shut != nil {
		close(s.shut)
		s.shut = nil
	}
}

func (s *sluice) StoreLogs(ls []*raft.Log) error {
	s.mu.Lock()
	shut := s.shut
	s.mu.Unlock()
	if shut != nil {
		<-shut
	}
	return s.LogStore.StoreLogs(ls)
}

// P11, P12 with whole nodes: the leader's disk hangs. The others have a new
// leader soon, status, metrics and health of the hung node answer meanwhile, and
// it ends with a sentence; nothing of its ending waits for the disk.
func TestHungDiskOfAWholeNode(t *testing.T) {
	h := newHouse(t)
	text := h.text("a b c")
	disks := map[string]*sluice{}
	for _, id := range []string{"a", "b", "c"} {
		h.logs = func(s raft.LogStore) raft.LogStore {
			disks[id] = &sluice{LogStore: s}
			return disks[id]
		}
		h.start(id, text)
	}
	h.newestLevel()
	h.until("a leader outside the active region", func(r *resident) bool { l := r.core.node.Leader(); return l != "" && l != "a" })
	old := h.leader()
	id := string(old.this.ID)
	disks[id].hold(true)
	defer disks[id].hold(false)
	at := time.Now()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		_, _ = h.ask(old, "1") // it hangs with the disk; that is what makes the leader write
	}()

	// While raft stands still, everything that looks at the node answers.
	srv := web.Server(old, old.metrics, old.log)
	looks := 0
	var err error
	for over := false; !over; {
		begin := time.Now()
		_ = old.Status(t.Context())
		for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
			srv.Handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
		}
		_ = old.Config()
		if d := time.Since(begin); d > viewTimeout+500*time.Millisecond {
			t.Errorf("looking at the node took %s", d)
		}
		looks++
		select {
		case err = <-old.ended:
			over = true
		default:
		}
		if time.Since(at) > 20*time.Second {
			t.Fatal("the node with the hung disk goes on")
		}
	}
	if err == nil || !strings.Contains(err.Error(), "the disk of the data directory hangs: writing log entries has not returned after 900ms") {
		t.Errorf("it said %v", err)
	}
	t.Logf("ended after %s, looked at %d times", time.Since(at).Round(10*time.Millisecond), looks)
	begin := time.Now()
	if err := old.Stop(); err == nil || !strings.Contains(err.Error(), "raft was left behind") || time.Since(begin) > 10*time.Second {
		t.Errorf("stopping took %s: %v", time.Since(begin), err)
	}
	delete(h.nodes, id)
	old.cancel()
	fresh := h.leader()
	if d := time.Since(at); d > 15*time.Second {
		t.Errorf("the new leader came after %s", d)
	}
	if ans, err := h.ask(fresh, "2"); err != nil || !ans.Grant.Granted {
		t.Errorf("%+v, %v", ans.Grant, err)
	}
	<-asked
}
