package fence

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// command is a worker that a guard runs as its own child. The guard is the
// reaper of everything that comes from it, so that a process that has left the
// worker's group or session is still found and killed.
type command struct {
	argv []string
	cmd  *exec.Cmd
	done chan int
}

func (c *command) start() (int, error) {
	if err := adoptOrphans(); err != nil {
		return 0, err
	}
	c.cmd = exec.Command(c.argv[0], c.argv[1:]...)
	c.cmd.Stdout, c.cmd.Stderr = os.Stderr, os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		return 0, fmt.Errorf("the worker %s cannot be started: %w", c.argv[0], err)
	}
	c.done = make(chan int, 1)
	go func() { c.done <- exitStatus(c.cmd.Wait()) }()
	return c.cmd.Process.Pid, nil
}

func (c *command) exited() <-chan int { return c.done }

func (c *command) term() {
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGTERM) // already gone is fine
}

func (c *command) kill() {
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // ESRCH when nothing is left, which is what we want
	killDescendants(os.Getpid(), c.cmd.Process.Pid)
}

func (c *command) alive() bool { return len(descendants(os.Getpid())) > 0 }

// adoptOrphans makes this process the parent of whatever its descendants leave
// behind.
func adoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming the reaper of the worker's processes: %w", err)
	}
	return nil
}

// killDescendants kills every process below root and reaps those that have ended,
// but for the one that somebody else waits for.
func killDescendants(root, waitedFor int) {
	for _, pid := range descendants(root) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // gone is fine
		if pid != waitedFor {
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil) // not ours, or not dead yet: the next time
		}
	}
}

// descendants lists the processes below root, from /proc. A process that ended
// and waits to be reaped is listed as well.
func descendants(root int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[int][]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if ppid, ok := parentOf(pid); ok {
			children[ppid] = append(children[ppid], pid)
		}
	}
	var out []int
	for queue := children[root]; len(queue) > 0; {
		pid := queue[0]
		queue = append(queue[1:], children[pid]...)
		out = append(out, pid)
	}
	return out
}

// parentOf reads field 4 of /proc/PID/stat; see proc_pid_stat(5). The command's
// name, field 2, may hold anything and ends with the last parenthesis.
func parentOf(pid int) (int, bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	rest := string(data[strings.LastIndexByte(string(data), ')')+1:])
	f := strings.Fields(rest)
	if len(f) < 2 {
		return 0, false
	}
	ppid, err := strconv.Atoi(f[1])
	return ppid, err == nil
}

func exitStatus(err error) int {
	var ee *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ee):
		if ws, ok := ee.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return ee.ExitCode()
	}
	return 1
}
