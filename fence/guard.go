package fence

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/failoverd/failoverd/internal/boottime"
)

// The guard is a second, dumber process between an agent and its worker: it
// starts the worker and kills it when the deadline that it was last told has
// passed, whatever has become of the agent. An agent that is paused, stuck or
// dead cannot keep a worker alive beyond its lease.
//
// The agent speaks to it on standard input, one line each:
//
//	deadline TERM_NS KILL_NS   SIGTERM and SIGKILL at these CLOCK_BOOTTIME readings
//	unbound                    no deadline (arming below enforced)
//	stop KILL_NS               SIGTERM now, SIGKILL then
//
// The end of standard input means that the agent is gone: the worker is killed
// at once. The guard answers on standard output with "started PID" and
// "exited STATUS", and ends when nothing of its worker is left.

// maxTick bounds how late the guard notices a deadline after the machine slept:
// Go's timers stand still then, CLOCK_BOOTTIME does not.
const maxTick = 20 * time.Millisecond

// victim is what a guard starts and kills.
type victim interface {
	// start starts it; id is shown to the agent.
	start() (id int, err error)
	// exited yields the exit status once the main process has ended. Others of
	// the worker may still live.
	exited() <-chan int
	// term asks it to end; kill ends all of it and may be called again and again.
	term()
	kill()
	// alive reports whether anything of it is left. When in doubt it is true.
	alive() bool
}

// guard is the guard's state.
type guard struct {
	clock        boottime.Clock
	out          io.Writer
	victim       victim
	termAt       time.Duration // 0: none
	killAt       time.Duration // 0: none
	termed       bool
	agentPresent bool
}

// RunGuard is the guard process of a command: it starts argv and returns its
// exit status. The process must have been made for nothing else.
func RunGuard(argv []string, in io.Reader, out io.Writer, clock boottime.Clock) (int, error) {
	if len(argv) == 0 {
		return 2, errors.New("the guard needs a command to guard")
	}
	return runGuard(&command{argv: argv}, in, out, clock)
}

// RunUnitGuard is the guard process of a systemd unit.
func RunUnitGuard(unit string, in io.Reader, out io.Writer, clock boottime.Clock) (int, error) {
	return runGuard(&unitVictim{unit: NewUnit(unit)}, in, out, clock)
}

func runGuard(v victim, in io.Reader, out io.Writer, clock boottime.Clock) (int, error) {
	// PDEATHSIG is bound to the thread that forked: keep it.
	runtime.LockOSThread()
	// The guard ends with its worker, not before it. The signals are caught and
	// not read: ignored ones the worker would inherit, and never hear SIGTERM.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)

	// No worker before its deadline is known.
	g := &guard{clock: clock, out: out, victim: v, agentPresent: true}
	sc := bufio.NewScanner(in)
	if !sc.Scan() {
		return 1, errors.New("the agent ended before it named a deadline: the worker was not started")
	}
	if err := g.obey(sc.Text()); err != nil {
		return 2, err
	}
	id, err := v.start()
	if err != nil {
		return 127, err
	}
	fmt.Fprintf(out, "started %d\n", id)

	lines := make(chan string)
	go func() {
		defer close(lines)
		for sc.Scan() {
			lines <- sc.Text()
		}
	}()
	status := g.watch(lines)
	// Whatever the worker left behind ends with it, wherever it went.
	for v.alive() {
		v.kill()
		time.Sleep(maxTick)
	}
	fmt.Fprintf(out, "exited %d\n", status)
	return status, nil
}

func (g *guard) watch(lines <-chan string) int {
	for {
		timer := time.NewTimer(g.enforce())
		select {
		case line, ok := <-lines:
			if !ok {
				lines = nil
				g.agentPresent = false
			} else if err := g.obey(line); err != nil {
				// An agent that speaks nonsense is no agent.
				fmt.Fprintf(g.out, "error %v\n", err)
				g.agentPresent = false
			}
		case status := <-g.victim.exited():
			timer.Stop()
			return status
		case <-timer.C:
		}
		timer.Stop()
	}
}

// enforce kills what is due and returns how long to sleep at most.
func (g *guard) enforce() time.Duration {
	now := g.clock.Boot()
	switch {
	case !g.agentPresent, g.killAt > 0 && now >= g.killAt:
		g.victim.kill()
		return maxTick
	case g.termAt > 0 && now >= g.termAt:
		if !g.termed {
			g.termed = true
			g.victim.term()
		}
	default:
		g.termed = false // a renewed lease: a later end sends the signal anew
	}
	return maxTick
}

func (g *guard) obey(line string) error {
	f := strings.Fields(line)
	num := func(i int) (time.Duration, error) {
		if i >= len(f) {
			return 0, fmt.Errorf("%q lacks a time", line)
		}
		n, err := strconv.ParseInt(f[i], 10, 64)
		return time.Duration(n), err
	}
	if len(f) == 0 {
		return errors.New("an empty line")
	}
	switch f[0] {
	case "deadline":
		term, err1 := num(1)
		kill, err2 := num(2)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		g.termAt, g.killAt = term, kill
	case "unbound":
		g.termAt, g.killAt = 0, 0
	case "stop":
		kill, err := num(1)
		if err != nil {
			return err
		}
		g.termAt, g.killAt = 1, kill
	default:
		return fmt.Errorf("%q is not understood", line)
	}
	return nil
}
