package fence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/boottime"
)

// replacedAgent is an agent in the directory os.Args[1] whose worker is the rest of
// the line. It is granted two-second leases until the file "silent" lies there, and
// is replaced on SIGHUP: by the program that the file "program" names, if there is one.
func replacedAgent() {
	dir := os.Args[1]
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	if err := AdoptOrphans(); err != nil {
		panic(err)
	}
	left, err := TakeHandover()
	if err != nil {
		panic(err)
	}
	replace := make(chan struct{}, 1)
	clock := boottime.System{}
	n := 0
	a, err := NewAgent(Config{
		Agent: "w1", Region: "us-east-1", Component: "workers", Terms: shortTerms(), Arming: failover.ArmEnforced, OnIsolation: "stop", RPCTimeout: time.Second,
		EpochFile: filepath.Join(dir, "epoch"), Asker: fileLeader(dir), Clock: clock, NewID: func() string { n++; return strconv.Itoa(n) },
		Worker:  NewChild(append([]string{self}, os.Args[2:]...), []string{"FENCE_TEST_ROLE=guard"}, clock),
		Replace: replace, Handover: left, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		panic(err)
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for range hup {
			replace <- struct{}{}
		}
	}()
	f, err := os.OpenFile(filepath.Join(dir, "lives"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(f, os.Getpid())
	for {
		err := a.Run(context.Background())
		r, ok := errors.AsType[*ErrReplaced](err)
		if !ok {
			panic(err)
		}
		program := self
		if b, err := os.ReadFile(filepath.Join(dir, "program")); err == nil {
			program = string(b)
		}
		fmt.Fprintln(f, Replace(program, os.Args, r.Handover))
	}
}

func shortTerms() failover.LeaseTerms {
	ms := func(n int) failover.Duration { return failover.Duration(time.Duration(n) * time.Millisecond) }
	return failover.LeaseTerms{Length: ms(2000), Renew: ms(300), Stop: failover.StopBudget{Grace: ms(200), Kill: ms(200), Safety: ms(200)}}
}

// fileLeader grants until the file "silent" lies in its directory.
type fileLeader string

func (l fileLeader) Ask(_ context.Context, a Ask) (Answer, error) {
	if _, err := os.Stat(filepath.Join(string(l), "silent")); err == nil {
		return Answer{}, errors.New("silent")
	}
	return Answer{Request: a.Request, Grant: failover.Grant{Granted: true, Epoch: 1, Terms: shortTerms(), Arming: failover.ArmEnforced, OnIsol: "stop"}}, nil
}

// startReplaced starts such an agent and returns it with its worker's PID.
func startReplaced(t *testing.T) (cmd *exec.Cmd, dir string, worker int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	cmd = exec.Command(self, dir, "sh", "-c", "echo $$ > "+dir+"/pid; exec sleep 1000") //nolint:gosec // this test's own binary
	cmd.Env = append(os.Environ(), "FENCE_TEST_ROLE=replaced-agent")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, dir, number(t, filepath.Join(dir, "pid"))
}

// lives are the lines of the file "lives", once there are n.
func lives(t *testing.T, dir string, n int) []string {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; <-time.After(20 * time.Millisecond) {
		b, _ := os.ReadFile(filepath.Join(dir, "lives"))
		if lines := strings.Fields(strings.ReplaceAll(strings.TrimSpace(string(b)), " ", "_")); len(lines) >= n {
			return lines
		}
		if time.Now().After(end) {
			t.Fatalf("only %q, want %d", b, n)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// dead waits for a process to end, and tells how long that took.
func dead(t *testing.T, pid int) time.Duration {
	t.Helper()
	begun := time.Now()
	for alive(pid) {
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("process %d lives on", pid)
		}
		<-time.After(10 * time.Millisecond)
	}
	return time.Since(begun)
}

// S8: an agent is replaced in its own place, again and again; its worker does not
// notice, its lease goes on, and it ends the worker with the lease as before.
func TestReplacedAgentKeepsItsWorker(t *testing.T) {
	cmd, dir, worker := startReplaced(t)
	for n := 2; n <= 4; n++ {
		lives(t, dir, n-1)
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for _, pid := range lives(t, dir, n) {
			if pid != strconv.Itoa(cmd.Process.Pid) {
				t.Fatalf("an agent lives as %s, not as %d", pid, cmd.Process.Pid)
			}
		}
	}
	<-time.After(2500 * time.Millisecond) // longer than a lease
	if now := number(t, filepath.Join(dir, "pid")); now != worker || !alive(worker) {
		t.Fatalf("the worker was %d, and is %d (alive: %t)", worker, now, alive(worker))
	}
	write(t, filepath.Join(dir, "silent"), "")
	if took := dead(t, worker); took > 3*time.Second {
		t.Errorf("it was dead %s after the last lease", took)
	}
}

// The guard still sees its agent's death by the end of its standard input: nothing
// has inherited the other end.
func TestReplacedAgentTakesItsWorkerAlong(t *testing.T) {
	cmd, dir, worker := startReplaced(t)
	lives(t, dir, 1)
	_ = cmd.Process.Signal(syscall.SIGHUP)
	lives(t, dir, 2)
	_ = cmd.Process.Kill()
	if took := dead(t, worker); took > time.Second {
		t.Errorf("the worker outlived its agent by %s", took)
	}
}

// A program that cannot be executed leaves everything as it is.
func TestAgentThatCannotBeReplacedGoesOn(t *testing.T) {
	cmd, dir, worker := startReplaced(t)
	lives(t, dir, 1)
	write(t, filepath.Join(dir, "program"), "/nowhere/failoverd")
	_ = cmd.Process.Signal(syscall.SIGHUP)
	if said := lives(t, dir, 2)[1]; !strings.Contains(said, "executing_/nowhere/failoverd") {
		t.Fatalf("said %q", said)
	}
	<-time.After(2500 * time.Millisecond)
	if !alive(worker) {
		t.Fatal("the worker was stopped")
	}
	write(t, filepath.Join(dir, "silent"), "")
	dead(t, worker)
}

// A new program that never speaks to the guard cannot keep the worker alive.
func TestReplacementThatHangsLosesItsWorker(t *testing.T) {
	cmd, dir, worker := startReplaced(t)
	lives(t, dir, 1)
	hang := filepath.Join(dir, "hang")
	write(t, hang, "#!/bin/sh\nexec sleep 1000\n")
	if err := os.Chmod(hang, 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "program"), hang)
	_ = cmd.Process.Signal(syscall.SIGHUP)
	if took := dead(t, worker); took > 3*time.Second {
		t.Errorf("it was dead %s after the last lease", took)
	}
}

// What is under way is not handed over: workers that are being stopped, a rehearsal.
func TestHandoverWaits(t *testing.T) {
	clock := &fakeClock{start: time.Now()}
	refused := func(change func(*Agent)) string {
		a, err := NewAgent(Config{Agent: "w1", Worker: NewServed(clock), Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		change(a)
		if _, err = a.handOver(); err != nil {
			return err.Error()
		}
		return ""
	}
	for want, change := range map[string]func(*Agent){
		"":                              func(*Agent) {},
		"its workers are being stopped": func(a *Agent) { a.stopping = true },
		"it rehearses its fence":        func(a *Agent) { a.rehearsing = 9 },
		"its worker cannot be handed over": func(a *Agent) {
			a.cfg.Worker = &fakeWorker{clock: clock}
		},
	} {
		if got := refused(change); got != want {
			t.Errorf("refused with %q, want %q", got, want)
		}
	}
}

// Leave that was given over the network counts on in the new program.
func TestServedIsHandedOver(t *testing.T) {
	clock := &fakeClock{start: time.Now()}
	old, next := NewServed(clock), NewServed(clock)
	if err := old.Start(Deadlines{Kill: clock.Boot() + time.Minute}); err != nil {
		t.Fatal(err)
	}
	if !old.Ask(30 * time.Second).Valid {
		t.Fatal("no leave")
	}
	left := old.handOver()
	// What the old program still answers, until the new one is there, nobody would know of.
	if l := old.Ask(30 * time.Second); l.Valid || !strings.Contains(l.Why, "is being replaced") {
		t.Errorf("leave given after the hand-over: %+v", l)
	}
	if err := next.adopt(left); err != nil {
		t.Fatal(err)
	}
	if next.Ask(2*time.Minute).Valid || !next.Ask(10*time.Second).Valid {
		t.Error("the lease is not the same")
	}
	_ = next.Stop(0)
	if !next.Running() {
		t.Error("the leave that the old one gave is forgotten")
	}
	// The new program could not be executed: the old one goes on.
	if err := old.Extend(Deadlines{Kill: clock.Boot() + time.Minute}); err != nil || !old.Ask(10*time.Second).Valid {
		t.Error("no leave is given any more", err)
	}
}
