package world

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
)

// ProcOptions are the optional parts of Exec.
type ProcOptions struct {
	Name string   // of the log file log/<name>.log; "" takes the program's name
	Dir  string   // working directory; "" means the world's
	Env  []string // added to the environment, KEY=value
}

// Proc is a process inside a site. It dies with the process that started it. Its methods are safe for concurrent use.
type Proc struct {
	Name    string
	Site    string
	LogPath string

	cmd    *exec.Cmd
	done   chan struct{}
	err    error // valid after done
	exited atomic.Bool
}

// Exec starts a program inside a site; "" means outside of all sites. Its output is appended to a log file. Inside, the
// system's resolver is the world's caching resolver.
func (w *World) Exec(_ context.Context, site string, argv []string, opt ProcOptions) (*Proc, error) {
	if opt.Name == "" {
		opt.Name = filepath.Base(argv[0])
	}
	p := &Proc{Name: opt.Name, Site: site, LogPath: filepath.Join(w.Dir, "log", opt.Name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: log: %w", opt.Name, err)
	}
	defer log.Close()
	full := argv
	if site != "" {
		full = w.net.Argv(site, argv...)
	}
	p.cmd = exec.Command(full[0], full[1:]...) //nolint:noctx // its life is the Proc's
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Dir = opt.Dir
	if p.cmd.Dir == "" {
		p.cmd.Dir = w.Dir
	}
	p.cmd.Env = append(os.Environ(), opt.Env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s in %q: %w", opt.Name, site, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		p.exited.Store(true)
		close(p.done)
	}()
	w.mu.Lock()
	w.procs = append(w.procs, p)
	w.mu.Unlock()
	return p, nil
}

// lab starts one of the lab's own processes.
func (w *World) lab(ctx context.Context, site, name string, args ...string) (*Proc, error) {
	return w.Exec(ctx, site, append([]string{w.opt.Lab}, args...), ProcOptions{Name: name, Env: []string{"LAB_COMMAND=1"}})
}

// find returns the newest process of a name.
func (w *World) find(name string) *Proc {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.procs) - 1; i >= 0; i-- {
		if w.procs[i].Name == name {
			return w.procs[i]
		}
	}
	return nil
}

// Pid is the process ID, which is also that of its process group.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Exited tells whether the process has ended.
func (p *Proc) Exited() bool { return p.exited.Load() }

// Signal sends a signal to the process alone.
func (p *Proc) Signal(s syscall.Signal) error {
	if p.Exited() {
		return nil
	}
	if err := p.cmd.Process.Signal(s); err != nil && !p.Exited() {
		return fmt.Errorf("signal %v to %s: %w", s, p.Name, err)
	}
	return nil
}

// Kill sends SIGKILL to the process group.
func (p *Proc) Kill() error {
	if p.Exited() {
		return nil
	}
	if err := syscall.Kill(-p.Pid(), syscall.SIGKILL); err != nil && err != syscall.ESRCH { //nolint:errorlint // an errno
		return fmt.Errorf("kill the process group of %s: %w", p.Name, err)
	}
	return nil
}

// Stop freezes the process (SIGSTOP); Cont lets it go on.
func (p *Proc) Stop() error { return p.Signal(syscall.SIGSTOP) }

// Cont lets a frozen process go on.
func (p *Proc) Cont() error { return p.Signal(syscall.SIGCONT) }

// Wait waits for the process to end and returns its exit status as os/exec does.
func (p *Proc) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", p.Name, ctx.Err())
	}
}

// Said is the newest line of the process's log that says why it ended, or its end.
func (p *Proc) Said() string {
	b, err := os.ReadFile(p.LogPath)
	if err != nil {
		return err.Error()
	}
	for _, line := range slices.Backward(strings.Split(string(b), "\n")) {
		if strings.HasPrefix(line, "failoverd: ") || strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return line
		}
	}
	return p.tail()
}

// tail is the end of the process's log, for error messages.
func (p *Proc) tail() string {
	b, err := os.ReadFile(p.LogPath)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], " | ")
}
