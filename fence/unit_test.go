package fence

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/internal/boottime"
)

// fakeSystemd puts a systemctl into the PATH that keeps one unit, whose main
// process is a shell that ignores SIGTERM, and knows what systemd's own knows.
func fakeSystemd(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	script := `#!/bin/sh
dir=` + dir + `
alive() { test -e $dir/pid && kill -0 $(cat $dir/pid) 2>/dev/null; }
echo "$@" >> $dir/calls
test -e $dir/broken && exit 1
case "$1" in
start)
	alive && exit 0
	setsid sh -c 'trap "" TERM; while :; do sleep 0.05; done' >/dev/null 2>&1 </dev/null &
	echo $! > $dir/pid ;;
stop) kill -TERM $(cat $dir/pid) ;;
kill) kill -KILL $(cat $dir/pid) ;;
show)
	case "$2" in
	--property=ActiveState) if alive; then echo active; else echo inactive; fi ;;
	--property=ControlGroup) echo ;;
	--property=*) cat "$dir/$4 ${2#--property=}" 2>/dev/null || true ;;
	esac ;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

// unitWorker is a unit behind a guard that is this test's own binary.
func unitWorker(t *testing.T) *Child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := NewUnitWorker([]string{self, "mail.service"}, NewUnit("mail.service"), boottime.System{})
	c.env = []string{"FENCE_TEST_ROLE=unit-guard"}
	return c
}

func ended(t *testing.T, c *Child, within time.Duration) {
	t.Helper()
	for end := time.Now().Add(within); c.Running(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the unit runs after %s", within)
		}
	}
}

// A unit is killed at its deadline although it ignores SIGTERM and nobody says
// anything more to its guard.
func TestUnitDiesAtItsDeadline(t *testing.T) {
	dir := fakeSystemd(t)
	c, clock := unitWorker(t), boottime.System{}
	now := clock.Boot()
	if err := c.Start(Deadlines{Term: now + 500*time.Millisecond, Kill: now + time.Second}); err != nil {
		t.Fatal(err)
	}
	pid := number(t, filepath.Join(dir, "pid"))
	if !c.Running() || !alive(pid) {
		t.Fatal("the unit does not run")
	}
	ended(t, c, 10*time.Second)
	if alive(pid) {
		t.Error("the unit is said to be dead and is not")
	}
	if calls, _ := os.ReadFile(filepath.Join(dir, "calls")); !strings.Contains(string(calls), "stop --no-block mail.service") || !strings.Contains(string(calls), "kill --kill-whom=all --signal=SIGKILL mail.service") {
		t.Errorf("calls: %s", calls)
	}
}

// When its guard is killed, the agent kills the unit itself.
func TestUnitDiesWithItsGuard(t *testing.T) {
	dir := fakeSystemd(t)
	c := unitWorker(t)
	if err := c.Start(Deadlines{}); err != nil {
		t.Fatal(err)
	}
	pid := number(t, filepath.Join(dir, "pid"))
	c.mu.Lock()
	_ = c.proc.Kill()
	c.mu.Unlock()
	ended(t, c, 10*time.Second)
	if alive(pid) {
		t.Error("the unit outlives its guard")
	}
}

// A start that failed for the guard may still stand in systemd's queue, behind what the
// unit waits for: it is taken back, by the guard, and by the agent if that one was killed.
func TestUnitIsNotStartedLater(t *testing.T) {
	dir := fakeSystemd(t)
	u := NewUnit("mail.service")
	u.systemctl = func(args ...string) (string, error) {
		out, err := systemctl(append([]string{"queued"}, args...)...) // the unit's own state stays "inactive"
		if args[0] == "start" {
			err = errors.New("timed out")
		}
		if args[0] == "show" {
			out = "inactive"
		}
		return out, err
	}
	takenBack := func(who string) {
		t.Helper()
		if calls, _ := os.ReadFile(filepath.Join(dir, "calls")); !strings.Contains(string(calls), "queued stop --no-block mail.service") {
			t.Errorf("%s leaves the start in the queue: %s", who, calls)
		}
		_ = os.Remove(filepath.Join(dir, "calls"))
	}
	if _, err := (&unitVictim{unit: u}).start(); err == nil {
		t.Fatal("it was started")
	}
	takenBack("the guard")
	NewUnitWorker(nil, u, boottime.System{}).clean()
	takenBack("the agent")
}

// A unit of which nothing can be read counts as running.
func TestUnitInDoubtIsAlive(t *testing.T) {
	dir := fakeSystemd(t)
	u := NewUnit("mail.service")
	if u.Alive() {
		t.Error("runs before it was started")
	}
	if err := os.WriteFile(filepath.Join(dir, "broken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !u.Alive() {
		t.Error("a unit of which nothing is known counts as dead")
	}
}

// Each thing without which systemd would not end the unit with its agent, in time.
func TestUnitIsBound(t *testing.T) {
	dir := fakeSystemd(t)
	const agent, unit = "failoverd-agent@mail.service", "mail.service"
	set := func(of, property, value string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, of+" "+property), []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bound := func() error { return NewUnit(unit).BoundTo(agent, 8*time.Second) }
	if err := bound(); err == nil || !strings.Contains(err.Error(), "drop-in") {
		t.Errorf("an unbound unit: %v", err)
	}
	for _, p := range [][3]string{{unit, "BindsTo", "a.service " + agent}, {unit, "TimeoutStopUSec", "8s"}, {unit, "SendSIGKILL", "yes"},
		{unit, "KillMode", "control-group"}, {agent, "WatchdogSignal", "9"}, {agent, "RestartMode", ""}} {
		set(p[0], p[1], p[2])
	}
	if err := bound(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ of, property, value, good string }{
		{unit, "TimeoutStopUSec", "1min 30s", "7s 999ms 999us"},
		{unit, "TimeoutStopUSec", "infinity", "1.500000s"},
		{unit, "TimeoutStopUSec", "0", "8s"},
		{unit, "SendSIGKILL", "no", "yes"},
		{unit, "KillMode", "process", "mixed"},
		{agent, "WatchdogSignal", "6", "9"},
		{agent, "RestartMode", "direct", "normal"},
	} {
		set(tt.of, tt.property, tt.value)
		if err := bound(); err == nil || !strings.Contains(err.Error(), tt.of+" would not be ended in time") || !strings.Contains(err.Error(), tt.property) {
			t.Errorf("%s of %s is %s: %v", tt.property, tt.of, tt.value, err)
		}
		set(tt.of, tt.property, tt.good)
		if err := bound(); err != nil {
			t.Errorf("%s of %s is %s: %v", tt.property, tt.of, tt.good, err)
		}
	}
}

func TestUnitOf(t *testing.T) {
	for cgroup, want := range map[string]string{
		"0::/system.slice/failoverd-agent@mail.service\n":                        "failoverd-agent@mail.service",
		"12:memory:/x\n1:name=systemd:/system.slice/failoverd-agent@a.service\n": "failoverd-agent@a.service",
		"0::/user.slice/user-0.slice/session-3.scope\n":                          "",
		"12:cpu:/system.slice/other.service\n":                                   "",
		"":                                                                       "",
	} {
		if got := unitOf(cgroup); got != want {
			t.Errorf("%q: %q, not %q", cgroup, got, want)
		}
	}
}
