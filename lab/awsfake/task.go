package awsfake

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/failoverd/failoverd/lab/procs"
)

// taskEnv marks every process of a task, children in other process groups included: it stands for the container's cgroup.
const taskEnv = "LAB_ECS_TASK"

// TaskState is a task's lifecycle state:
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
type TaskState string

// The states that are simulated.
const (
	Provisioning TaskState = "PROVISIONING"
	Pending      TaskState = "PENDING"
	Running      TaskState = "RUNNING"
	Stopping     TaskState = "STOPPING"
	Stopped      TaskState = "STOPPED"
)

// task is one ECS task. Its fields are guarded by ECS.mu, except the channels.
type task struct {
	id, ip    string
	service   *service
	def       *TaskDef
	state     TaskState
	created   time.Time
	started   time.Time
	stopped   time.Time
	reason    string // why it is being or was stopped
	code      string // stopCode
	exit      *int
	pid       int
	stop      chan struct{} // closed to ask for the stop
	stopAsked bool
	told      bool // of being ill, in the service's events
}

// askStop requests the stop once. ECS.mu is held.
func (t *task) askStop(code, reason string) {
	if !t.stopAsked {
		t.stopAsked, t.code, t.reason = true, code, reason
		close(t.stop)
	}
}

// run takes a task through its life. It is the only goroutine that changes the task's state.
func (e *ECS) run(t *task) {
	defer e.wg.Done()
	for _, s := range []TaskState{Provisioning, Pending} {
		e.setState(t, s)
		select {
		case <-time.After(e.opt.StartDelay / 2):
		case <-t.stop:
			e.finish(t, nil)
			return
		case <-e.ctx.Done():
			e.finish(t, nil)
			return
		}
	}
	cmd, log, err := e.start(t)
	if err != nil {
		e.mu.Lock()
		t.askStop("TaskFailedToStart", err.Error())
		e.mu.Unlock()
		e.finish(t, nil)
		return
	}
	defer log.Close()
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the exit code is read from ProcessState
		close(exited)
	}()
	e.mu.Lock()
	t.pid, t.started = cmd.Process.Pid, time.Now()
	e.mu.Unlock()
	e.setState(t, Running)
	select {
	case <-exited:
		e.mu.Lock()
		t.askStop("EssentialContainerExited", "Essential container in task exited")
		e.mu.Unlock()
	case <-t.stop:
		// "SIGTERM … and a default 30-second timeout, after which the SIGKILL value is sent":
		// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopTask.html
		e.setState(t, Stopping)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(e.opt.scale(t.def.StopTimeout)):
		case <-e.ctx.Done():
		}
	case <-e.ctx.Done():
	}
	// Whatever is left in the container dies with its main process.
	for killMarked(t.id) > 0 {
		time.Sleep(5 * time.Millisecond)
	}
	<-exited
	code := cmd.ProcessState.ExitCode()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	e.finish(t, &code)
}

// start launches a task's process in its own directory and process group.
func (e *ECS) start(t *task) (*exec.Cmd, *os.File, error) {
	dir := filepath.Join(e.opt.Dir, "tasks", t.id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, fmt.Errorf("CannotCreateContainerError: task directory: %w", err)
	}
	fill := strings.NewReplacer("{task}", t.id, "{region}", e.opt.Region, "{dir}", dir, "{ip}", t.ip, "{world}", e.opt.Dir).Replace
	argv := make([]string, len(t.def.Command))
	for i, a := range t.def.Command {
		argv[i] = fill(a)
	}
	if len(argv) == 0 {
		return nil, nil, fmt.Errorf("CannotStartContainerError: task definition %s has no command", t.def.arn(e.opt.Region))
	}
	if t.def.Within != nil {
		argv = t.def.Within(argv...)
	}
	logs := filepath.Join(e.opt.Dir, "log")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, nil, fmt.Errorf("CannotCreateContainerError: log directory: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(logs, fmt.Sprintf("%s-%s-%s.log", e.opt.Region, t.service.name, t.id)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("CannotCreateContainerError: log file: %w", err)
	}
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // the scheduler ends it, with a grace period
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = append(os.Environ(), taskEnv+"="+t.id)
	for k, v := range t.def.Env {
		cmd.Env = append(cmd.Env, k+"="+fill(v))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		log.Close()
		return nil, nil, fmt.Errorf("CannotStartContainerError: %w", err)
	}
	return cmd, log, nil
}

// killMarked kills all processes that carry a task's mark and returns how many there were.
func killMarked(taskID string) int {
	pids := procs.Marked(taskEnv + "=" + taskID)
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return len(pids)
}

func (e *ECS) setState(t *task, s TaskState) {
	e.mu.Lock()
	t.state = s
	e.sample()
	reason := t.reason
	e.mu.Unlock()
	e.event(t, s, reason)
}

// finish marks a task stopped and lets the scheduler replace it.
func (e *ECS) finish(t *task, exit *int) {
	e.mu.Lock()
	t.state, t.exit, t.stopped = Stopped, exit, time.Now()
	if t.code == "EssentialContainerExited" && t.stopped.Sub(t.started) < 2*e.opt.StartDelay {
		// The scheduler throttles services whose tasks keep dying:
		// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-throttle-logic.html
		t.service.notBefore = t.stopped.Add(e.opt.StartDelay)
	}
	delete(e.ips, t.ip)
	e.sample()
	reason := t.reason
	e.mu.Unlock()
	e.event(t, Stopped, reason)
}

func (e *ECS) event(t *task, s TaskState, reason string) {
	e.opt.Log.Info("ecs task", "task", t.id, "service", t.service.name, "state", string(s), "reason", reason)
	if e.opt.OnTask != nil {
		e.opt.OnTask(t.service.name, t.id, s)
	}
}
