package fence

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// rig is an agent with a worker, a leader and a clock that a test drives.
type rig struct {
	t      *testing.T
	agent  *Agent
	worker *fakeWorker
	leader *fakeLeader
	clock  *fakeClock
	cancel context.CancelFunc
	done   chan error
}

type fakeClock struct {
	mu         sync.Mutex
	start      time.Time
	boot, real time.Duration // jumps
}

func (c *fakeClock) Boot() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.start) + c.boot + time.Hour
}

func (c *fakeClock) Real() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.real)
}

func (c *fakeClock) jump(boot, wall time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.boot += boot
	c.real += wall
}

// fakeWorker dies a second after SIGTERM, unless it is stubborn, and at its
// kill time like any process behind a guard.
type fakeWorker struct {
	clock *fakeClock

	mu       sync.Mutex
	running  bool
	stubborn bool
	killAt   time.Duration
	diesAt   time.Duration
	starts   int
	died     time.Duration
	closed   bool
	exited   chan int
}

func (w *fakeWorker) Start(dl Deadlines) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running, w.killAt, w.diesAt = true, dl.Kill, 0
	w.starts++
	return nil
}

func (w *fakeWorker) Extend(dl Deadlines) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.killAt = dl.Kill
	return nil
}

func (w *fakeWorker) Stop(killAt time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.killAt = killAt
	if w.diesAt == 0 && !w.stubborn {
		w.diesAt = w.clock.Boot() + time.Second
	}
	return nil
}

func (w *fakeWorker) Running() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock.Boot()
	if w.running && (w.killAt > 0 && now >= w.killAt || w.diesAt > 0 && now >= w.diesAt) {
		w.running, w.died = false, now
	}
	return w.running
}

func (w *fakeWorker) facts() (starts int, killAt time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.starts, w.killAt
}

func (w *fakeWorker) Exited() <-chan int { return w.exited }
func (w *fakeWorker) Close() error       { w.closed = true; return nil }

// fakeLeader answers as it is told, and remembers what it was asked.
type fakeLeader struct {
	mu     sync.Mutex
	silent bool
	delay  time.Duration
	grant  failover.Grant
	asked  []Ask
	// script, if set, answers instead.
	script func(a Ask) (g failover.Grant, delay time.Duration)
}

func (l *fakeLeader) set(change func(*fakeLeader)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

func (l *fakeLeader) Ask(ctx context.Context, a Ask) (Answer, error) {
	l.mu.Lock()
	l.asked = append(l.asked, a)
	silent, delay, grant := l.silent, l.delay, l.grant
	if l.script != nil {
		grant, delay = l.script(a)
	}
	l.mu.Unlock()
	if silent {
		<-ctx.Done()
		return Answer{}, ctx.Err()
	}
	time.Sleep(delay)
	return Answer{Request: a.Request, Grant: grant}, nil
}

func (l *fakeLeader) last() Ask {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked[len(l.asked)-1]
}

// agentIn runs fn with a running agent in a bubble.
func agentIn(t *testing.T, change func(*Config), fn func(r *rig)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		clock := &fakeClock{start: time.Now()}
		r := &rig{t: t, clock: clock, worker: &fakeWorker{clock: clock, exited: make(chan int, 1)}, leader: &fakeLeader{grant: granted("").Grant}, done: make(chan error, 1)}
		n := 0
		cfg := Config{
			Agent: "w1", Region: "us-east-1", Component: "workers", Terms: terms(), Arming: failover.ArmEnforced, OnIsolation: "stop",
			RPCTimeout: 4 * time.Second, LeaseFile: filepath.Join(dir, "lease"), EpochFile: filepath.Join(dir, "epoch"),
			Asker: r.leader, Worker: r.worker, Clock: clock, BootID: "boot", NewID: func() string { n++; return strconv.Itoa(n) },
			Log: slog.New(slog.DiscardHandler),
		}
		if change != nil {
			change(&cfg)
		}
		agent, err := NewAgent(cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.agent = agent
		ctx, cancel := context.WithCancel(context.Background())
		r.cancel = cancel
		go func() { r.done <- agent.Run(ctx) }()
		defer func() {
			cancel()
			<-r.done
		}()
		fn(r)
	})
}

func (r *rig) lease() Status {
	r.t.Helper()
	var st Status
	b, err := os.ReadFile(r.agent.cfg.LeaseFile)
	if err := errors.Join(err, json.Unmarshal(b, &st)); err != nil {
		r.t.Fatalf("%s: %v", b, err)
	}
	return st
}

func (r *rig) runs(want bool) {
	r.t.Helper()
	if got := r.worker.Running(); got != want {
		r.t.Fatalf("after %s the worker runs: %t, want %t (%s)", time.Since(r.clock.start), got, want, r.agent.Status().Sentence)
	}
}

// The lease ends when the leader falls silent: stopping begins at the stop time
// and the worker is dead by the kill time; a new grant starts it again.
func TestAgentStopsWithItsLease(t *testing.T) {
	for _, stubborn := range []bool{false, true} {
		agentIn(t, nil, func(r *rig) {
			time.Sleep(time.Second)
			r.runs(true)
			if st := r.lease(); !st.Active || !st.Running || st.Epoch != 1 || st.BootID != "boot" || st.DeadlineNS != int64(time.Hour+63*time.Second) {
				t.Errorf("lease file %+v", st)
			}
			r.worker.mu.Lock()
			r.worker.stubborn = stubborn
			r.worker.mu.Unlock()
			time.Sleep(14500 * time.Millisecond) // last asked at 15 s
			r.leader.set(func(l *fakeLeader) { l.silent = true })
			sent := time.Hour + 15*time.Second
			time.Sleep(sent + 63*time.Second - r.clock.Boot() - 200*time.Millisecond)
			r.runs(true)
			if !r.agent.Status().Active {
				t.Error("not active before the end")
			}
			time.Sleep(400 * time.Millisecond)
			if st := r.agent.Status(); st.Active || st.DeadlineNS != 0 || r.lease().Active {
				t.Errorf("still active after the stop time: %+v", st)
			}
			time.Sleep(12 * time.Second)
			r.runs(false)
			if limit := sent + 71*time.Second + 2*tick; r.worker.died > limit || r.worker.died < sent+63*time.Second {
				t.Errorf("stubborn %t: dead at %s, limit %s", stubborn, r.worker.died, limit)
			}
			r.leader.set(func(l *fakeLeader) { l.silent = false })
			time.Sleep(10 * time.Second)
			r.runs(true)
			if r.worker.starts != 2 {
				t.Errorf("%d starts", r.worker.starts)
			}
		})
	}
}

// Freeze: the workers are stopped, and only when they are dead it is said, for
// that freeze; earlier requests count no more (G7).
func TestAgentReportsForAFreeze(t *testing.T) {
	agentIn(t, nil, func(r *rig) {
		time.Sleep(time.Second)
		r.runs(true)
		r.worker.mu.Lock()
		r.worker.stubborn = true
		r.worker.mu.Unlock()
		r.leader.set(func(l *fakeLeader) { l.grant.Granted, l.grant.Freeze = false, 7 })
		time.Sleep(8 * time.Second)
		r.runs(true) // in its grace
		if a := r.leader.last(); a.Stopped != 0 || !a.Running {
			t.Fatalf("reported before the workers were dead: %+v", a)
		}
		time.Sleep(8 * time.Second)
		r.runs(false)
		if a := r.leader.last(); a.Stopped != 7 || a.Running {
			t.Fatalf("no report: %+v", a)
		}
		r.leader.set(func(l *fakeLeader) { l.grant.Granted, l.grant.Freeze = true, 0 })
		time.Sleep(11 * time.Second)
		r.runs(true)
		if a := r.leader.last(); a.Stopped != 0 {
			t.Errorf("the report outlives the freeze: %+v", a)
		}
		// Another region: stopped at once.
		r.leader.set(func(l *fakeLeader) { l.grant.Granted, l.grant.Gone, l.grant.Epoch = false, true, 2 })
		r.worker.mu.Lock()
		r.worker.stubborn = false
		r.worker.mu.Unlock()
		time.Sleep(8 * time.Second)
		r.runs(false)
	})
}

// A machine that was suspended, or paused by its host, has no lease when it
// wakes up (G6).
func TestAgentAfterAPause(t *testing.T) {
	for name, jump := range map[string][2]time.Duration{
		"suspended":          {70 * time.Second, 70 * time.Second},
		"suspended for long": {time.Hour, time.Hour},
		"paused by its host": {0, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			agentIn(t, nil, func(r *rig) {
				time.Sleep(time.Second)
				r.runs(true)
				r.leader.set(func(l *fakeLeader) { l.silent = true })
				r.clock.jump(jump[0], jump[1])
				time.Sleep(2*tick + time.Millisecond)
				if st := r.agent.Status(); st.Active {
					t.Errorf("active after the pause: %+v", st)
				}
				time.Sleep(2 * time.Second)
				r.runs(false)
			})
		})
	}
	t.Run("a clock that is set a little", func(t *testing.T) {
		agentIn(t, nil, func(r *rig) {
			time.Sleep(time.Second)
			r.clock.jump(0, 2*time.Second)
			time.Sleep(time.Second)
			r.runs(true)
			r.clock.jump(0, -time.Hour)
			time.Sleep(time.Second)
			r.runs(true)
		})
	})
}

// Below the enforced rung, and with keep, a lease that ends stops nothing.
func TestAgentOnLowerRungs(t *testing.T) {
	for name, change := range map[string]func(*failover.Grant){
		"observe":  func(g *failover.Grant) { g.Arming = failover.ArmObserve },
		"advisory": func(g *failover.Grant) { g.Arming = failover.ArmAdvisory },
		"keep":     func(g *failover.Grant) { g.OnIsol = "keep" },
	} {
		t.Run(name, func(t *testing.T) {
			// Before the first answer: what has been bound stays bound.
			agentIn(t, func(c *Config) { change(&c.Asker.(*fakeLeader).grant) }, func(r *rig) {
				time.Sleep(20 * time.Second)
				r.runs(true)
				for i := range uint64(2) {
					r.leader.set(func(l *fakeLeader) { l.silent = true })
					time.Sleep(2 * time.Minute)
					r.runs(true)
					if st := r.agent.Status(); !st.Active || st.WouldHave != i+1 {
						t.Errorf("%+v", st)
					}
					r.leader.set(func(l *fakeLeader) { l.silent = false })
					time.Sleep(10 * time.Second)
				}
				if starts, kill := r.worker.facts(); starts != 1 || kill != 0 {
					t.Errorf("%d starts, kill at %s", starts, kill)
				}
				// Nothing critical starts, or goes on, in a standby region.
				r.leader.set(func(l *fakeLeader) { l.grant.Granted, l.grant.Gone = false, true })
				time.Sleep(15 * time.Second)
				r.runs(false)
			})
		})
	}
}

// What the agent says of itself when it asks is what it would do (G4).
func TestAgentSaysItsMode(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   bool
	}{
		"enforced": {func(*Config) {}, true},
		"advisory": {func(c *Config) { c.Arming = failover.ArmAdvisory }, false},
		"keep":     {func(c *Config) { c.OnIsolation = "keep" }, false},
	} {
		agentIn(t, c.change, func(r *rig) {
			time.Sleep(time.Second)
			if a := r.leader.last(); a.Enforced != c.want || a.Lease != terms().Length || a.Agent != "w1" || a.Component != "workers" {
				t.Errorf("%s: %+v", name, a)
			}
		})
	}
}

// The highest epoch survives a restart of the agent, and an older one is
// refused (T4).
func TestAgentKeepsTheEpoch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "epoch")
	agentIn(t, func(c *Config) { c.EpochFile = file }, func(r *rig) {
		r.leader.set(func(l *fakeLeader) { l.grant.Epoch = 5 })
		time.Sleep(time.Second)
		r.runs(true)
	})
	if b, err := os.ReadFile(file); err != nil || string(b) != "5\n" {
		t.Fatalf("%q, %v", b, err)
	}
	agentIn(t, func(c *Config) { c.EpochFile = file }, func(r *rig) {
		r.leader.set(func(l *fakeLeader) { l.grant.Epoch = 4 })
		time.Sleep(20 * time.Second)
		r.runs(false)
		if a := r.leader.last(); a.SeenEpoch != 5 {
			t.Errorf("%+v", a)
		}
	})
	// An epoch that cannot be kept holds no lease.
	agentIn(t, func(c *Config) { c.EpochFile = filepath.Join(t.TempDir(), "nowhere", "epoch") }, func(r *rig) {
		time.Sleep(20 * time.Second)
		r.runs(false)
	})
	if err := os.WriteFile(file, []byte("five"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewAgent(Config{EpochFile: file}); err == nil {
		t.Error("a damaged epoch was read as one")
	}
}

// The agent ends with its worker, and says goodbye when it is dead.
func TestAgentEnds(t *testing.T) {
	agentIn(t, nil, func(r *rig) {
		time.Sleep(time.Second)
		r.worker.mu.Lock()
		r.worker.running = false
		r.worker.mu.Unlock()
		r.worker.exited <- 3
		err := <-r.done
		var ended *ErrWorkerEnded
		if !errors.As(err, &ended) || ended.Status != 3 {
			t.Errorf("%v", err)
		}
		if a := r.leader.last(); !a.Bye || a.Running {
			t.Errorf("no goodbye: %+v", a)
		}
		r.done <- nil
	})
	agentIn(t, nil, func(r *rig) {
		time.Sleep(time.Second)
		r.worker.mu.Lock()
		r.worker.stubborn = true
		r.worker.mu.Unlock()
		r.cancel()
		time.Sleep(7 * time.Second)
		if r.leader.last().Bye {
			t.Fatal("goodbye was said while the worker was alive")
		}
		if err := <-r.done; err != nil || r.worker.Running() || !r.worker.closed || !r.leader.last().Bye {
			t.Errorf("%v, running %t, closed %t", err, r.worker.Running(), r.worker.closed)
		}
		if _, err := os.Stat(r.agent.cfg.LeaseFile); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the lease file outlives the agent: %v", err)
		}
		r.done <- nil
	})
	agentIn(t, func(c *Config) { c.KeepRunning = true }, func(r *rig) {
		time.Sleep(time.Second)
		r.worker.mu.Lock()
		r.worker.running = false
		r.worker.mu.Unlock()
		r.worker.exited <- 3
		time.Sleep(time.Second)
		r.runs(true)
		if r.worker.starts != 2 {
			t.Errorf("%d starts", r.worker.starts)
		}
	})
}

// A grant that was on its way across the stop does not revive the lease.
func TestAgentIgnoresAGrantThatIsLate(t *testing.T) {
	agentIn(t, func(c *Config) { c.RPCTimeout = 100 * time.Second }, func(r *rig) {
		time.Sleep(time.Second)
		r.runs(true)
		r.leader.set(func(l *fakeLeader) { l.delay = 66 * time.Second }) // answers of 5 s and 10 s come at 71 s and 76 s
		time.Sleep(68 * time.Second)
		r.runs(false)
		time.Sleep(10 * time.Second)
		r.runs(false)
		if r.worker.starts != 1 {
			t.Errorf("%d starts", r.worker.starts)
		}
	})
}

// G7: once it is said that the workers are dead, a grant that was asked for
// before and comes late does not bring them back.
func TestAgentKeepsItsPromise(t *testing.T) {
	agentIn(t, func(c *Config) { c.RPCTimeout = 100 * time.Second }, func(r *rig) {
		r.leader.set(func(l *fakeLeader) {
			l.script = func(a Ask) (failover.Grant, time.Duration) {
				frozen := granted("").Grant
				frozen.Granted, frozen.Freeze = false, 7
				switch a.Request {
				case "1":
					return granted("").Grant, 0
				case "2":
					return granted("").Grant, 20 * time.Second // granted before the freeze, and on its way for long
				}
				return frozen, 0
			}
		})
		time.Sleep(18 * time.Second)
		r.runs(false)
		if a := r.leader.last(); a.Stopped != 7 {
			t.Fatalf("no report: %+v", a)
		}
		for range 300 {
			time.Sleep(100 * time.Millisecond)
			r.runs(false)
		}
		if starts, _ := r.worker.facts(); starts != 1 {
			t.Errorf("%d starts", starts)
		}
	})
}
