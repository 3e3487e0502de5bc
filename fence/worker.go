package fence

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/failoverd/failoverd/internal/boottime"
)

// Worker is what an agent starts and stops. Methods are called by one
// goroutine; Exited may be read from another.
type Worker interface {
	// Start starts the worker with the given deadlines. It is called only when
	// the worker does not run.
	Start(d Deadlines) error
	// Extend moves the deadlines of a running worker.
	Extend(d Deadlines) error
	// Stop asks the worker to end, and kills it at killAt on CLOCK_BOOTTIME. It
	// returns at once; Running tells when it is dead.
	Stop(killAt time.Duration) error
	// Running reports whether any process of the worker may be alive. When in
	// doubt it is true.
	Running() bool
	// Exited is signalled when the worker ends, for whatever reason.
	Exited() <-chan int
	// Close releases what the worker needs; the worker does not run.
	Close() error
}

// Deadlines are CLOCK_BOOTTIME readings. Zero values mean unbound.
type Deadlines struct{ Term, Kill time.Duration }

// Child runs a command as the agent's own worker, behind a guard process.
type Child struct {
	guardArgv []string // the guard's own command line, the worker's after it
	env       []string
	clock     boottime.Clock

	mu     sync.Mutex
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	pgid   int
	told   string // the last deadline that was written to the guard
	exited chan int
}

// NewChild returns a worker that runs as the child of a guard: guardArgv is the
// guard's command line including the worker's own, env is added to the
// environment.
func NewChild(guardArgv, env []string, clock boottime.Clock) *Child {
	return &Child{guardArgv: guardArgv, env: env, clock: clock, exited: make(chan int, 1)}
}

// Start implements Worker.
func (c *Child) Start(d Deadlines) error {
	cmd := exec.Command(c.guardArgv[0], c.guardArgv[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stderr = os.Stderr
	// The guard must outlive a dying agent only long enough to kill: it sees
	// the end of its standard input. PDEATHSIG would end it without killing.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("the guard cannot be started: %w", err)
	}
	started := make(chan int, 1)
	go c.listen(cmd, stdout, started)
	c.mu.Lock()
	c.cmd, c.stdin, c.pgid, c.told = cmd, stdin, 0, ""
	c.mu.Unlock()
	if err := c.Extend(d); err != nil {
		return err
	}
	pgid, ok := <-started
	if !ok {
		return errors.New("the worker did not start: see the guard's message above")
	}
	c.mu.Lock()
	c.pgid = pgid
	c.mu.Unlock()
	return nil
}

// listen follows one guard until it ends.
func (c *Child) listen(cmd *exec.Cmd, out io.Reader, started chan<- int) {
	status := 1
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		word, arg, _ := strings.Cut(sc.Text(), " ")
		n, _ := strconv.Atoi(arg) // a word without a number is only shown
		switch word {
		case "started":
			started <- n
		case "exited":
			status = n
		}
	}
	close(started)
	_ = cmd.Wait() // its status is the worker's, which was read above
	c.mu.Lock()
	if c.pgid != 0 {
		// If the guard was killed, the worker died by PDEATHSIG; make sure of
		// its whole group.
		_ = syscall.Kill(-c.pgid, syscall.SIGKILL) // ESRCH when nothing is left
	}
	c.cmd, c.stdin = nil, nil
	c.mu.Unlock()
	select {
	case c.exited <- status:
	default:
	}
}

// Extend implements Worker.
func (c *Child) Extend(d Deadlines) error {
	line := "unbound\n"
	if d.Kill != 0 {
		line = fmt.Sprintf("deadline %d %d\n", d.Term, d.Kill)
	}
	c.mu.Lock()
	known := line == c.told
	c.told = line
	c.mu.Unlock()
	if known {
		return nil // a guard that does not read must not fill its pipe
	}
	return c.say(line)
}

// Stop implements Worker.
func (c *Child) Stop(killAt time.Duration) error {
	err := c.say(fmt.Sprintf("stop %d\n", killAt))
	// The guard may itself be stopped: the agent kills as well.
	c.mu.Lock()
	pgid := c.pgid
	c.mu.Unlock()
	if pgid != 0 && c.clock.Boot() >= killAt {
		_ = syscall.Kill(-pgid, syscall.SIGKILL) // already gone is fine
	}
	return err
}

func (c *Child) say(line string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stdin == nil {
		return nil // it has ended
	}
	if _, err := io.WriteString(c.stdin, line); err != nil {
		return fmt.Errorf("speaking to the guard: %w", err)
	}
	return nil
}

// Running implements Worker.
func (c *Child) Running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd != nil {
		return true
	}
	// The group is what counts: a worker may have left children.
	return c.pgid != 0 && syscall.Kill(-c.pgid, 0) == nil
}

// Exited implements Worker.
func (c *Child) Exited() <-chan int { return c.exited }

// Close implements Worker.
func (c *Child) Close() error { return nil }

// Commands runs a worker by commands, such as those of systemd.
type Commands struct {
	StartCmd, StopCmd, KillCmd, CheckCmd []string
	// Timeout bounds each command.
	Timeout time.Duration
	clock   boottime.Clock
	exited  chan int
}

// SystemdUnit returns a worker that is a systemd unit. The unit itself should
// be bound to the agent (BindsTo=), so that it cannot outlive it.
func SystemdUnit(unit string, clock boottime.Clock) *Commands {
	return &Commands{
		StartCmd: []string{"systemctl", "start", unit}, StopCmd: []string{"systemctl", "stop", "--no-block", unit},
		KillCmd: []string{"systemctl", "kill", "--signal=SIGKILL", unit}, CheckCmd: []string{"systemctl", "is-active", "--quiet", unit},
		Timeout: 10 * time.Second, clock: clock, exited: make(chan int),
	}
}

// NewCommands returns a worker that is driven by commands. check exits with 0
// while the worker runs and with 3 when it does not, as systemctl does.
func NewCommands(start, stop, kill, check []string, timeout time.Duration, clock boottime.Clock) *Commands {
	return &Commands{StartCmd: start, StopCmd: stop, KillCmd: kill, CheckCmd: check, Timeout: timeout, clock: clock, exited: make(chan int)}
}

// Start implements Worker. The deadlines are the agent's to keep: there is no
// guard.
func (c *Commands) Start(Deadlines) error { return c.run(c.StartCmd) }

// Extend implements Worker.
func (c *Commands) Extend(Deadlines) error { return nil }

// Stop implements Worker.
func (c *Commands) Stop(killAt time.Duration) error {
	if c.clock.Boot() >= killAt {
		return c.run(c.KillCmd)
	}
	return c.run(c.StopCmd)
}

// Running implements Worker: only the documented status 3 means stopped.
func (c *Commands) Running() bool {
	var ee *exec.ExitError
	err := c.run(c.CheckCmd)
	return !errors.As(err, &ee) || ee.ExitCode() != 3
}

// Exited implements Worker. The agent polls Running instead.
func (c *Commands) Exited() <-chan int { return c.exited }

// Close implements Worker.
func (c *Commands) Close() error { return nil }

func (c *Commands) run(argv []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
