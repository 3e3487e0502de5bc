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
// then. On a busy host one that does not yet is tried again with three times as long, this often in all.
const (
	rehearseTerm  = time.Second
	rehearseKill  = 1500 * time.Millisecond
	rehearseTries = 3
)

// Rehearse proves on a process that is no worker that a worker would die in time:
// it runs canary, which ignores SIGTERM and leaves a child in a session of its
// own, behind a guard, lets its deadline pass without a word to the guard, and
// measures when everything is dead. kill is how long after the deadline that may
// take (StopBudget.Kill). The detail is a sentence for a person.
func Rehearse(guardArgv, canary []string, kill time.Duration, clock boottime.Clock) (detail string, err error) {
	var status int
	var late time.Duration
	const killed, terminated = 128 + int(syscall.SIGKILL), 128 + int(syscall.SIGTERM)
	for n, times := 1, time.Duration(1); ; n, times = n+1, 3*times {
		if status, late, err = rehearse(append(append([]string{}, guardArgv...), canary...), times, kill, clock); err != nil {
			return "", err
		}
		if status != terminated || n == rehearseTries {
			break
		}
	}
	switch {
	case status == terminated:
		return "", fmt.Errorf("within %s a process of this host could not be brought to ignore SIGTERM: it is too busy for a rehearsal, and nothing was proven", 9*rehearseTerm)
	case status != killed:
		return "", errors.New("the canary ended by itself, before its deadline: nothing was proven")
	case late > kill:
		return "", fmt.Errorf("the canary died %s after its deadline; the stop budget allows %s for that: make lease.stop.kill larger, or find out why this host is slow", late.Round(time.Millisecond), kill)
	}
	return fmt.Sprintf("a process that ignores SIGTERM, with a child in another session, was dead %s after its deadline; %s are allowed", late.Round(time.Millisecond), kill), nil
}

// rehearse lets one canary die, with times times the usual times, and says how it ended and how late.
func rehearse(argv []string, times, kill time.Duration, clock boottime.Clock) (status int, late time.Duration, err error) {
	c := NewChild(argv, nil, clock)
	began := clock.Boot()
	deadline := began + times*rehearseKill
	if err := c.Start(Deadlines{Term: began + times*rehearseTerm, Kill: deadline}); err != nil {
		return 0, 0, fmt.Errorf("the canary did not start: %w", err)
	}
	for c.Running() {
		if now := clock.Boot(); now > deadline+kill+5*time.Second {
			return 0, 0, errors.New("the canary does not die: this host cannot keep the fence")
		}
		time.Sleep(5 * time.Millisecond)
	}
	late = max(0, clock.Boot()-deadline)
	return <-c.Exited(), late, nil
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
