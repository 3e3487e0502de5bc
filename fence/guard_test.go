package fence

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/failoverd/failoverd/internal/boottime"
)

// TestMain lets the test binary be the guard and the agent of its own tests.
func TestMain(m *testing.M) {
	switch os.Getenv("FENCE_TEST_ROLE") {
	case "guard":
		status, err := RunGuard(os.Args[1:], os.Stdin, os.Stdout, boottime.System{})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(status)
	case "unit-guard":
		status, err := RunUnitGuard(os.Args[1], os.Stdin, os.Stdout, boottime.System{})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(status)
	case "canary":
		fmt.Fprintln(os.Stderr, RunCanary(len(os.Args) == 2))
	case "adopting-agent":
		if err := AdoptOrphans(); err != nil {
			panic(err)
		}
		fakeAgent()
	case "agent":
		fakeAgent()
	case "paused-worker":
		pausedWorker()
	case "replaced-agent":
		replacedAgent()
	default:
		os.Exit(m.Run())
	}
}

// fakeAgent starts a worker with two seconds to live, says so, and goes on
// renewing for ever: unless it is stopped.
func fakeAgent() {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	clock := boottime.System{}
	c := NewChild(append([]string{self}, os.Args[1:]...), []string{"FENCE_TEST_ROLE=guard"}, clock)
	life := func() Deadlines {
		now := clock.Boot()
		return Deadlines{Term: now + time.Second, Kill: now + 1500*time.Millisecond}
	}
	if err := c.Start(life()); err != nil {
		panic(err)
	}
	fmt.Println("ready")
	for range time.Tick(100 * time.Millisecond) {
		_ = c.Extend(life()) // a guard that has just been killed hears nothing; an agent goes on
	}
}

// guarded is a guard process with a worker that is a shell script.
type guarded struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	pid int // of the worker
}

func startGuard(t *testing.T, argv ...string) *guarded {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, argv...) //nolint:gosec // this test's own binary
	cmd.Env = append(os.Environ(), "FENCE_TEST_ROLE=guard")
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	g := &guarded{Cmd: cmd, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	g.say(t, "unbound") // no worker before its deadline is known
	if _, err := fmt.Fscanf(g.out, "started %d\n", &g.pid); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *guarded) say(t *testing.T, format string, args ...any) {
	t.Helper()
	if _, err := fmt.Fprintf(g.in, format+"\n", args...); err != nil {
		t.Fatal(err)
	}
}

// wait returns the guard's exit status and its last words.
func (g *guarded) wait(t *testing.T) (int, string) {
	t.Helper()
	timer := time.AfterFunc(20*time.Second, func() { _ = g.Process.Kill() })
	defer timer.Stop()
	words, err := io.ReadAll(g.out)
	if err != nil {
		t.Fatal(err)
	}
	_ = g.Wait() // its status is read below
	return g.ProcessState.ExitCode(), strings.TrimSpace(string(words))
}

func (g *guarded) alive() bool { return alive(g.pid) }

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(b, []byte(") "))
	return len(rest) > 0 && rest[0] != 'Z'
}

// gone waits until a process has ended.
func gone(t *testing.T, pid int, within time.Duration) {
	t.Helper()
	for end := time.Now().Add(within); alive(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d is alive after %s", pid, within)
		}
	}
}

// eventually reads a number from a file.
func number(t *testing.T, file string) int {
	t.Helper()
	for range 1000 {
		b, err := os.ReadFile(file)
		if n, perr := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && perr == nil {
			return n
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("%s does not appear", file)
	return 0
}

func TestGuardPassesTheStatusOn(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -KILL $$": 137, "kill -TERM $$": 143} {
		g := startGuard(t, "/bin/sh", "-c", script)
		if status, words := g.wait(t); status != want || words != fmt.Sprintf("exited %d", want) {
			t.Errorf("%s: status %d, %q", script, status, words)
		}
	}
}

func TestGuardRefusesNonsense(t *testing.T) {
	if status, err := RunGuard(nil, nil, nil, boottime.System{}); err == nil || status != 2 {
		t.Errorf("status %d, %v", status, err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "/nowhere/worker") //nolint:gosec // this test's own binary
	cmd.Env = append(os.Environ(), "FENCE_TEST_ROLE=guard")
	cmd.Stdin = strings.NewReader("unbound\n")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 127 || !strings.Contains(string(out), "the worker /nowhere/worker cannot be started") {
		t.Errorf("%v: %s", err, out)
	}
	// An agent that ends before it names a deadline starts no worker.
	if status, err := RunGuard([]string{"/bin/true"}, strings.NewReader(""), io.Discard, boottime.System{}); err == nil || status != 1 {
		t.Errorf("status %d, %v", status, err)
	}
	// An agent that speaks nonsense is no agent: the worker does not live on.
	for _, line := range []string{"hello", "", "deadline 1", "deadline x y", "stop", "stop soon"} {
		g := startGuard(t, "/bin/sleep", "60")
		g.say(t, "%s", line)
		if status, words := g.wait(t); status != 137 || !strings.Contains(words, "error ") {
			t.Errorf("%q: status %d, %q", line, status, words)
		}
	}
}

// SIGTERM first, SIGKILL at the deadline, and the whole process group with it.
func TestGuardEnforcesTheDeadline(t *testing.T) {
	dir := t.TempDir()
	clock := boottime.System{}
	g := startGuard(t, "/bin/sh", "-c", fmt.Sprintf(`trap "date +%%s%%N > %s/term" TERM; sleep 60 & echo $! > %s/child; while :; do sleep 0.01; done`, dir, dir))
	child := number(t, dir+"/child")
	now := clock.Boot()
	g.say(t, "deadline %d %d", now+300*time.Millisecond, now+700*time.Millisecond)
	time.Sleep(200 * time.Millisecond)
	if !g.alive() {
		t.Fatal("dead before the deadline")
	}
	if _, err := os.Stat(dir + "/term"); err == nil {
		t.Fatal("SIGTERM before its time")
	}
	// A renewal moves both.
	now = clock.Boot()
	g.say(t, "deadline %d %d", now+600*time.Millisecond, now+time.Second)
	number(t, dir+"/term")
	if d := clock.Boot() - now; d < 600*time.Millisecond || d > 950*time.Millisecond {
		t.Errorf("SIGTERM after %s", d)
	}
	if !g.alive() {
		t.Error("the worker got no time to end by itself")
	}
	status, _ := g.wait(t)
	if d := clock.Boot() - now; status != 137 || d < time.Second || d > 2*time.Second {
		t.Errorf("killed after %s, status %d", d, status)
	}
	gone(t, child, time.Second)
}

// What a worker leaves behind in its process group ends with it.
func TestGuardLeavesNobodyBehind(t *testing.T) {
	dir := t.TempDir()
	g := startGuard(t, "/bin/sh", "-c", fmt.Sprintf("sleep 60 & echo $! > %s/child", dir))
	child := number(t, dir+"/child")
	if status, _ := g.wait(t); status != 0 {
		t.Errorf("status %d", status)
	}
	gone(t, child, time.Second)
}

func TestGuardStopsWhenTold(t *testing.T) {
	g := startGuard(t, "/bin/sh", "-c", `trap "exit 5" TERM; while :; do sleep 0.01; done`)
	g.say(t, "unbound")
	time.Sleep(100 * time.Millisecond) // time for the trap
	g.say(t, "stop %d", boottime.System{}.Boot()+10*time.Second)
	if status, _ := g.wait(t); status != 5 {
		t.Errorf("status %d: the worker could not end by itself", status)
	}
}

// The end of the agent is the end of the worker.
func TestGuardKillsWhenTheAgentIsGone(t *testing.T) {
	g := startGuard(t, "/bin/sh", "-c", `trap "" TERM; while :; do sleep 0.01; done`)
	g.say(t, "unbound")
	time.Sleep(50 * time.Millisecond)
	if !g.alive() {
		t.Fatal("an unbound worker is dead")
	}
	if err := g.in.Close(); err != nil {
		t.Fatal(err)
	}
	if status, _ := g.wait(t); status != 137 {
		t.Errorf("status %d", status)
	}
	// A guard that is killed takes its worker along.
	g = startGuard(t, "/bin/sleep", "60")
	if err := g.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	gone(t, g.pid, time.Second)
	// It ignores what a terminal or a supervisor sends to the whole group.
	g = startGuard(t, "/bin/sh", "-c", "sleep 0.3; exit 4")
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		if err := g.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	if status, _ := g.wait(t); status != 4 {
		t.Errorf("status %d: the guard ended before its worker", status)
	}
}

// G5: an agent that is stopped (SIGSTOP), with its lease running out, cannot keep
// its worker alive; nor can one that is killed.
func TestStoppedAgentCannotKeepItsWorker(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, sig := range map[string]syscall.Signal{"stopped": syscall.SIGSTOP, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			cmd := exec.Command(self, "/bin/sh", "-c", "echo $$ > "+file+`; trap "" TERM; while :; do sleep 0.01; done`) //nolint:gosec // this test's own binary
			cmd.Env = append(os.Environ(), "FENCE_TEST_ROLE=agent")
			out, err := cmd.StdoutPipe()
			if err := errors.Join(err, cmd.Start()); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = cmd.Process.Kill() // it may be dead already
				_ = cmd.Wait()
			}()
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
				t.Fatalf("%q, %v", line, err)
			}
			pid := number(t, file)
			time.Sleep(1800 * time.Millisecond)
			if !alive(pid) {
				t.Fatal("the worker of a living agent died: renewals do not reach it")
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			gone(t, pid, 2500*time.Millisecond)
		})
	}
}

// Child.Running tells the truth about the whole process group.
func TestChild(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	clock := boottime.System{}
	c := NewChild([]string{self, "/bin/sh", "-c", `trap "exit 6" TERM; echo $$ > ` + dir + `/pid; while :; do sleep 0.01; done`}, []string{"FENCE_TEST_ROLE=guard"}, clock)
	if c.Running() {
		t.Fatal("runs before it was started")
	}
	if err := errors.Join(c.Extend(Deadlines{}), c.Stop(clock.Boot())); err != nil {
		t.Errorf("speaking to nobody: %v", err)
	}
	for range 2 { // it can be started again
		_ = os.Remove(dir + "/pid") // absent the first time
		if err := c.Start(Deadlines{}); err != nil {
			t.Fatal(err)
		}
		pid := number(t, dir+"/pid")
		if !c.Running() || !alive(pid) {
			t.Fatal("does not run after its start")
		}
		if err := c.Stop(clock.Boot() + 10*time.Second); err != nil {
			t.Fatal(err)
		}
		select {
		case status := <-c.Exited():
			if status != 6 {
				t.Errorf("status %d", status)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no exit was reported")
		}
		if c.Running() || alive(pid) {
			t.Error("runs after its end")
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	bad := NewChild([]string{self, "/nowhere/worker"}, []string{"FENCE_TEST_ROLE=guard"}, clock)
	if err := bad.Start(Deadlines{}); err == nil {
		t.Error("a worker that does not exist was started")
	}
	if err := NewChild([]string{"/nowhere/guard"}, nil, clock).Start(Deadlines{}); err == nil {
		t.Error("a guard that does not exist was started")
	}
}

// S1: a guard that has been stopped for hours reads nothing, and its pipe is full. Its agent goes on, and kills by itself when the
// deadline has come. So does the program that takes the agent's place.
func TestStoppedGuardDoesNotHoldItsAgent(t *testing.T) {
	for _, taken := range []bool{false, true} {
		t.Run(fmt.Sprintf("replaced=%t", taken), func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			clock := boottime.System{}
			c := NewChild([]string{self, "/bin/sh", "-c", `echo $$ > ` + dir + `/pid; while :; do sleep 0.01; done`}, []string{"FENCE_TEST_ROLE=guard"}, clock)
			if err := c.Start(Deadlines{}); err != nil {
				t.Fatal(err)
			}
			pid, guard := number(t, dir+"/pid"), c.proc.Pid
			if taken {
				h := c.handOver()
				for _, fd := range []*int{&h.ToGuard, &h.OfGuard} { // an exec would end what this process polls
					if *fd, err = syscall.Dup(*fd); err != nil {
						t.Fatal(err)
					}
					if err := syscall.SetNonblock(*fd, false); err != nil { // as an earlier version left them
						t.Fatal(err)
					}
				}
				c = NewChild(nil, nil, clock)
				if err := c.adopt(h); err != nil {
					t.Fatal(err)
				}
			}
			if err := syscall.Kill(guard, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			defer syscall.Kill(guard, syscall.SIGCONT) //nolint:errcheck // it may have ended
			done := make(chan error)
			go func() {
				var err error
				for i := 1; i < 1<<16 && err == nil; i++ {
					err = c.Extend(Deadlines{Term: time.Duration(i) * time.Hour, Kill: time.Duration(i+1) * time.Hour})
				}
				_ = c.Stop(clock.Boot()) // the guard does not hear it
				done <- err
			}()
			select {
			case err := <-done:
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("a full pipe: %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the agent hangs in the pipe of its guard")
			}
			gone(t, pid, 5*time.Second)
		})
	}
}
