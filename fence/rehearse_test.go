package fence

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/failoverd/failoverd/internal/boottime"
)

// A process that left the worker's group and session dies with the worker, at
// the deadline and also when the guard has to end it early.
func TestGuardKillsWhatLeftTheGroup(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, g *guarded){
		"deadline":   func(t *testing.T, g *guarded) { g.say(t, "stop 1") },
		"agent gone": func(_ *testing.T, g *guarded) { _ = g.in.Close() },
		"worker ends": func(_ *testing.T, g *guarded) {
			_ = syscall.Kill(g.pid, syscall.SIGKILL)
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			g := startGuard(t, "/bin/sh", "-c", "setsid sh -c 'trap \"\" TERM; echo $$ > "+file+"; while :; do sleep 0.05; done' & while :; do sleep 0.05; done")
			stray := number(t, file)
			end(t, g)
			g.wait(t)
			if alive(stray) {
				t.Error("a process in a session of its own outlived the worker")
			}
		})
	}
}

// An agent that has become the parent of what its guard's worker left behind
// kills it when the guard itself is killed.
func TestAgentKillsOrphans(t *testing.T) {
	if os.Getenv("FENCE_TEST_ROLE") != "" {
		t.Skip("a helper")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	agent := exec.Command(self, "/bin/sh", "-c", "setsid sh -c 'trap \"\" TERM; echo $$ > "+dir+"/stray; while :; do sleep 0.05; done' & echo $PPID > "+dir+"/guard; while :; do sleep 0.05; done") //nolint:gosec // this test's own binary
	agent.Env = append(os.Environ(), "FENCE_TEST_ROLE=adopting-agent")
	agent.Stderr = os.Stderr
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Process.Kill(); _ = agent.Wait() })
	stray, guard := number(t, dir+"/stray"), number(t, dir+"/guard")
	t.Cleanup(func() { _ = syscall.Kill(stray, syscall.SIGKILL) }) // it has ended, unless the test has failed
	if err := syscall.Kill(guard, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, stray, 10*time.Second)
}

func TestRehearse(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The roles are told by the environment: env(1) stands in for the command
	// line of the real binary.
	guard := []string{"/usr/bin/env", "FENCE_TEST_ROLE=guard", self}
	canary := []string{"/usr/bin/env", "FENCE_TEST_ROLE=canary", self, "canary"}
	detail, err := Rehearse(guard, canary, time.Second, boottime.System{})
	if err != nil || !strings.Contains(detail, "was dead") {
		t.Fatalf("%q, %v", detail, err)
	}
	// A canary that ends by itself proves nothing, and a kill that takes longer
	// than the budget fails.
	if _, err := Rehearse(guard, []string{"/bin/true"}, time.Second, boottime.System{}); err == nil {
		t.Error("a canary that ended by itself was taken for a kill")
	}
	if _, err := Rehearse(guard, canary, time.Nanosecond, boottime.System{}); err == nil || !strings.Contains(err.Error(), "stop budget") {
		t.Errorf("a late kill: %v", err)
	}
	// On a busy host it may not ignore SIGTERM yet when it is sent: it has three times as long then.
	slow := []string{"/bin/sh", "-c", "sleep 1.4; trap '' TERM; while :; do sleep 0.05; done"}
	if detail, err := Rehearse(guard, slow, 2*time.Second, boottime.System{}); err != nil || !strings.Contains(detail, "was dead") {
		t.Errorf("a busy host: %q, %v", detail, err)
	}
	if _, err := Rehearse([]string{"/nowhere/guard"}, canary, time.Second, boottime.System{}); err == nil {
		t.Error("a guard that does not exist passed")
	}
}
