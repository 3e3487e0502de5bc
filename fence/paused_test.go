package fence

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/failoverd/failoverd/internal/boottime"
)

// pausedWorker has asked whether it may work, is paused, and then writes into the sink
// os.Args[1], with the epoch that it was told, os.Args[2]. os.Args[3] is a file for its
// PID, written right before the pause.
func pausedWorker() {
	if err := os.WriteFile(os.Args[3], []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		panic(err)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	resp, err := http.Post(os.Args[1]+"?epoch="+os.Args[2], "text/plain", nil) //nolint:gosec,noctx // the test's own server
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	_ = resp.Body.Close()
	<-time.After(time.Minute)
}

// sink is where work lands. It takes nothing of an epoch before the newest that it has
// seen: the rule that docs/safety.md gives to databases.
type sink struct {
	mu      sync.Mutex
	newest  int
	taken   []int
	refused []int
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	epoch, _ := strconv.Atoi(r.URL.Query().Get("epoch")) // not a number is an old one
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch < s.newest {
		s.refused = append(s.refused, epoch)
		w.WriteHeader(http.StatusConflict)
		return
	}
	s.newest = epoch
	s.taken = append(s.taken, epoch)
	_, _ = io.WriteString(w, "taken")
}

// A worker has asked, may work, and is paused before its work lands. While it is, its
// lease ends and another region works. It is killed in its pause, and never writes.
// When the machine was paused as a whole, guard and all, nobody kills it in time: the
// sink refuses it by its epoch, and only the sink can.
func TestWorkerPausedBeforeTheSink(t *testing.T) {
	for name, whole := range map[string]bool{"the worker alone": false, "the whole machine": true} {
		t.Run(name, func(t *testing.T) {
			s := &sink{}
			srv := httptest.NewServer(s)
			defer srv.Close()
			pidFile := filepath.Join(t.TempDir(), "pid")
			clock := boottime.System{}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			g := startGuard(t, "/usr/bin/env", "FENCE_TEST_ROLE=paused-worker", self, srv.URL, "1", pidFile)
			worker := number(t, pidFile)
			now := clock.Boot()
			if whole {
				// First the guard: it must not see the deadline pass.
				_ = syscall.Kill(g.Process.Pid, syscall.SIGSTOP)
			}
			g.say(t, "deadline %d %d", now+100*time.Millisecond, now+200*time.Millisecond)
			if whole {
				<-time.After(300 * time.Millisecond)
				if !alive(worker) {
					t.Fatal("killed although its guard is paused as well")
				}
			} else {
				dead(t, worker)
			}
			other, err := http.Post(srv.URL+"?epoch=2", "text/plain", nil) //nolint:gosec,noctx // this test's own server
			if err != nil {
				t.Fatal(err)
			}
			_ = other.Body.Close()
			_ = syscall.Kill(worker, syscall.SIGCONT) // gone already is fine
			want := 0
			if whole {
				want = 1
			}
			for end := time.Now().Add(5 * time.Second); ; <-time.After(10 * time.Millisecond) {
				s.mu.Lock()
				refused, taken := len(s.refused), len(s.taken)
				s.mu.Unlock()
				if taken != 1 {
					t.Fatalf("the sink has taken %v", s.taken)
				}
				if refused == want && (whole || time.Until(end) < 4500*time.Millisecond) {
					break
				}
				if time.Now().After(end) || refused > want {
					t.Fatalf("the sink has refused %d writes, want %d", refused, want)
				}
			}
			_ = syscall.Kill(g.Process.Pid, syscall.SIGCONT)
			dead(t, worker) // the guard is back, and late
		})
	}
}
