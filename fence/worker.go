package fence

import (
	"bufio"
	"bytes"
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

// Child runs a worker behind a guard process.
type Child struct {
	guardArgv []string // the guard's own command line, the worker's after it
	env       []string
	clock     boottime.Clock
	unit      *Unit // the worker is a systemd unit; nil: a child of the guard
	loose     loose // the unit without a guard

	mu     sync.Mutex
	proc   *os.Process // the guard; nil: none
	stdin  *os.File    // the guard's
	stdout *os.File
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

// NewUnitWorker returns a worker that is a systemd unit behind a guard.
func NewUnitWorker(guardArgv []string, unit *Unit, clock boottime.Clock) *Child {
	c := NewChild(guardArgv, nil, clock)
	c.unit = unit
	return c
}

// Start implements Worker.
func (c *Child) Start(d Deadlines) error {
	cmd := exec.Command(c.guardArgv[0], c.guardArgv[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stderr = os.Stderr
	// The guard must outlive a dying agent only long enough to kill: it sees
	// the end of its standard input. PDEATHSIG would end it without killing.
	its, stdin, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	stdout, theirs, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("guard: %w", err), its.Close(), stdin.Close())
	}
	cmd.Stdin, cmd.Stdout = its, theirs
	err = orphans.start(cmd)
	// The guard has its own: as long as ours were open, nobody would see it end.
	_, _ = its.Close(), theirs.Close()
	if err != nil {
		return errors.Join(fmt.Errorf("the guard cannot be started: %w", err), stdin.Close(), stdout.Close())
	}
	started := make(chan int, 1)
	c.mu.Lock()
	c.proc, c.stdin, c.stdout, c.pgid, c.told = cmd.Process, stdin, stdout, 0, ""
	c.mu.Unlock()
	go c.listen(cmd.Process, stdout, started)
	if err := c.tell(d); err != nil {
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
func (c *Child) listen(proc *os.Process, out io.Reader, started chan<- int) {
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
	_, _ = proc.Wait() // its status is the worker's, which was read above
	orphans.ended(proc.Pid)
	c.clean()
	c.mu.Lock()
	_, _ = c.stdin.Close(), c.stdout.Close() // nobody is at the other end
	c.proc, c.stdin, c.stdout = nil, nil, nil
	c.mu.Unlock()
	select {
	case c.exited <- status:
	default:
	}
}

// clean makes sure that nothing of the worker is left when its guard has ended.
// If the guard was killed, a worker of its own died by PDEATHSIG, and this
// process has become the parent of what that one had left behind.
func (c *Child) clean() {
	c.mu.Lock()
	pgid := c.pgid
	c.mu.Unlock()
	if c.unit != nil {
		_ = c.unit.Term() // a start may stand in systemd's queue, if its guard was killed over it
		for c.unit.Alive() {
			_ = c.unit.Kill() // until it is dead
			time.Sleep(maxTick)
		}
		return
	}
	if pgid != 0 {
		_ = syscall.Kill(-pgid, syscall.SIGKILL) // ESRCH when nothing is left
	}
	orphans.killAll()
}

// orphans are what the workers of killed guards leave behind: every child of
// this process that is no guard.
var orphans = &nursery{guards: map[int]bool{}}

// nursery knows which children of this process are guards. Until AdoptOrphans
// nothing else becomes its child, and it kills nothing.
type nursery struct {
	mu     sync.Mutex
	adopts bool
	guards map[int]bool
}

// AdoptOrphans makes this process, which must run nothing but workers behind
// guards, the parent of what a worker leaves behind when its guard is killed,
// and lets it kill that.
func AdoptOrphans() error {
	if err := adoptOrphans(); err != nil {
		return err
	}
	orphans.mu.Lock()
	defer orphans.mu.Unlock()
	orphans.adopts = true
	return nil
}

// start starts a guard; its children are not mistaken for orphans meanwhile.
func (n *nursery) start(cmd *exec.Cmd) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	n.guards[cmd.Process.Pid] = true
	return nil
}

// Output runs a program that is no worker and returns what it prints, on either of its
// outputs. It is not mistaken for an orphan meanwhile.
func Output(cmd *exec.Cmd) ([]byte, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := orphans.start(cmd); err != nil {
		return nil, err
	}
	defer orphans.ended(cmd.Process.Pid)
	err := cmd.Wait()
	return out.Bytes(), err
}

// adopt takes over a guard that an earlier program of this process has started.
func (n *nursery) adopt(pid int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.guards[pid] = true
}

// ended forgets a guard that was waited for.
func (n *nursery) ended(pid int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.guards, pid)
}

// killAll kills orphans, and theirs, until there are none.
func (n *nursery) killAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.adopts {
		left := 0
		for _, pid := range descendants(os.Getpid()) {
			if ppid, ok := parentOf(pid); !ok || ppid != os.Getpid() || n.guards[pid] {
				continue
			}
			left++
			_ = syscall.Kill(pid, syscall.SIGKILL)               // already dead is fine
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil) // not dead yet: the next time
		}
		if left == 0 {
			return
		}
		time.Sleep(maxTick)
	}
}

// Extend implements Worker.
func (c *Child) Extend(d Deadlines) error {
	if !c.guarded() && c.unit != nil {
		return c.Start(d) // somebody else has started it: systemd changes nothing, and it has a guard
	}
	return c.tell(d)
}

// tell tells the guard the deadlines.
func (c *Child) tell(d Deadlines) error {
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
	if !c.guarded() && c.unit != nil {
		return c.loose.stop(c.unit, c.clock.Boot() >= killAt)
	}
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

// guardPatience is how long a guard may take to make room for a line.
const guardPatience = 50 * time.Millisecond

func (c *Child) say(line string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stdin == nil {
		return nil // it has ended
	}
	// A guard that has been stopped for hours has filled its pipe. The agent, whose lock is
	// held, must go on all the same: it kills by itself. What is so short is written whole or
	// not at all (PIPE_BUF, pipe(7)).
	if err := c.stdin.SetWriteDeadline(time.Now().Add(guardPatience)); err != nil {
		return fmt.Errorf("speaking to the guard: %w", err)
	}
	if _, err := io.WriteString(c.stdin, line); err != nil {
		return fmt.Errorf("speaking to the guard: %w", err)
	}
	return nil
}

// Running implements Worker.
func (c *Child) Running() bool {
	switch {
	case c.guarded():
		return true
	case c.unit != nil:
		return c.loose.alive(c.unit, c.clock.Boot())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// The group is what counts: a worker may have left children.
	return c.pgid != 0 && syscall.Kill(-c.pgid, 0) == nil
}

func (c *Child) guarded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proc != nil
}

// Exited implements Worker.
func (c *Child) Exited() <-chan int { return c.exited }

// Close implements Worker.
func (c *Child) Close() error { return nil }
