package fence

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/failoverd/failoverd/internal/boottime"
)

// The times of a rehearsal: from its beginning to SIGTERM and to SIGKILL. The canary must ignore signals by
// then, also on a busy host.
const (
	rehearseTerm = time.Second
	rehearseKill = 1500 * time.Millisecond
)

// Rehearse proves on a process that is no worker that a worker would die in time:
// it runs canary, which ignores SIGTERM and leaves a child in a session of its
// own, behind a guard, lets its deadline pass without a word to the guard, and
// measures when everything is dead. kill is how long after the deadline that may
// take (StopBudget.Kill). The detail is a sentence for a person.
func Rehearse(guardArgv, canary []string, kill time.Duration, clock boottime.Clock) (detail string, err error) {
	c := NewChild(append(append([]string{}, guardArgv...), canary...), nil, clock)
	began := clock.Boot()
	deadline := began + rehearseKill
	if err := c.Start(Deadlines{Term: began + rehearseTerm, Kill: deadline}); err != nil {
		return "", fmt.Errorf("the canary did not start: %w", err)
	}
	for c.Running() {
		if now := clock.Boot(); now > deadline+kill+5*time.Second {
			return "", errors.New("the canary does not die: this host cannot keep the fence")
		}
		time.Sleep(5 * time.Millisecond)
	}
	late := max(0, clock.Boot()-deadline)
	status := <-c.Exited()
	const killed = 128 + int(syscall.SIGKILL)
	switch {
	case status != killed:
		return "", errors.New("the canary ended by itself, before its deadline: nothing was proven")
	case late > kill:
		return "", fmt.Errorf("the canary died %s after its deadline; the stop budget allows %s for that: make lease.stop.kill larger, or find out why this host is slow", late.Round(time.Millisecond), kill)
	}
	return fmt.Sprintf("a process that ignores SIGTERM, with a child in another session, was dead %s after its deadline; %s are allowed", late.Round(time.Millisecond), kill), nil
}

// canaryLife bounds how long a canary lives that nobody kills.
const canaryLife = 30 * time.Second

// RunCanary is the process that a rehearsal kills: it ignores SIGTERM. The first
// one starts a second in a session of its own.
func RunCanary(first bool) error {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	if first {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("the path of this program cannot be found: %w", err)
		}
		cmd := exec.Command(self, "canary", "child")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("the canary's child cannot be started: %w", err)
		}
	}
	time.Sleep(canaryLife)
	return nil
}
