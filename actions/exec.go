package actions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// ExecConfig runs a command on the leader. The command must be idempotent and
// must not depend on the region being left.
type ExecConfig struct {
	// Command is the program, as an absolute path.
	Command string   `toml:"command" json:"command"`
	Args    []string `toml:"args" json:"args,omitempty"`
	// Inspect is a command line that tells whether the effect is there: exit
	// status 0 means present, 1 absent, anything else unknown.
	Inspect []string `toml:"inspect" json:"inspect"`
	// Undo is a command line that takes the effect back. Empty: it cannot be
	// taken back.
	Undo []string `toml:"undo" json:"undo,omitempty"`
	// Env is added to a minimal environment (PATH, HOME, LANG).
	Env map[string]string `toml:"env" json:"env,omitempty"`
	// Proves is the class of evidence that a stop gives when Inspect sees it:
	// "confirmed" (default) or "resource", for a command that fences at what the
	// component would change.
	Proves failover.EvidenceClass `toml:"proves" json:"proves,omitempty"`
}

// Evidence says what a stop of this kind proves.
func (c *ExecConfig) Evidence() failover.EvidenceClass { return c.Proves }

// Validate implements Config.
func (c *ExecConfig) Validate(Role) error {
	switch {
	case c.Command == "":
		return badParam("command", "is missing")
	case !strings.HasPrefix(c.Command, "/"):
		return badParam("command", "%q is not an absolute path", c.Command)
	case len(c.Inspect) == 0:
		return badParam("inspect", "is missing; without it nobody can tell whether the command took effect")
	case !strings.HasPrefix(c.Inspect[0], "/"):
		return badParam("inspect", "%q is not an absolute path", c.Inspect[0])
	case len(c.Undo) > 0 && !strings.HasPrefix(c.Undo[0], "/"):
		return badParam("undo", "%q is not an absolute path", c.Undo[0])
	case c.Proves != "" && c.Proves != failover.Confirmed && c.Proves != failover.Resource:
		return badParam("proves", "%q is neither \"confirmed\" nor \"resource\"", c.Proves)
	}
	return nil
}

// Version implements Config.
func (c *ExecConfig) Version() int { return 1 }

// Timeout implements Config.
func (c *ExecConfig) Timeout() time.Duration { return 5 * time.Minute }

type execAction struct {
	cfg  *ExecConfig
	deps Deps
}

// New implements Config.
func (c *ExecConfig) New(d Deps) (Action, error) { return &execAction{c, d}, nil }

// execPrevious is what an undo command needs to be told: nothing. That it stands
// in the log shows that the world was read before the change (rule E2).
var execPrevious = json.RawMessage(`{}`)

// Inspect implements Action.
func (x *execAction) Inspect(ctx context.Context) (Effect, error) {
	out, err := x.run(ctx, x.cfg.Inspect, Attempt{})
	var exit *exec.ExitError
	switch {
	case err == nil:
		return Effect{State: Present, Detail: lastLine(out, "present"), Previous: execPrevious}, nil
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		return Effect{State: Absent, Detail: lastLine(out, "absent"), Previous: execPrevious}, nil
	}
	return Effect{}, fmt.Errorf("running %s to inspect: %w%s", x.cfg.Inspect[0], err, said(out))
}

// Do implements Action.
func (x *execAction) Do(ctx context.Context, a Attempt) error {
	return x.act(ctx, a, append([]string{x.cfg.Command}, x.cfg.Args...))
}

// Undo implements Action.
func (x *execAction) Undo(ctx context.Context, a Attempt) error {
	if len(x.cfg.Undo) == 0 {
		return fmt.Errorf("%s cannot be undone: the configuration names no undo command", x.cfg.Command)
	}
	return x.act(ctx, a, x.cfg.Undo)
}

func (x *execAction) act(ctx context.Context, a Attempt, argv []string) error {
	if err := cloud.CheckEffectDeadline(ctx, argv[0]); err != nil {
		return err
	}
	a.Report("running %s", strings.Join(argv, " "))
	if out, err := x.run(ctx, argv, a); err != nil {
		return fmt.Errorf("running %s: %w%s", argv[0], err, said(out))
	}
	return nil
}

// run runs a command in a process group of its own and kills all of it when ctx
// ends: a script that is stopped must not leave its children at work.
func (x *execAction) run(ctx context.Context, argv []string, a Attempt) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = x.env(a)
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("killed with its children: %w", ctx.Err())
	}
	return out.buf, err
}

func (x *execAction) env(a Attempt) []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LANG=C.UTF-8",
		"FAILOVERD_REGION=" + string(x.deps.Region), "FAILOVERD_NODE=" + string(x.deps.Node),
	}
	if a.Token != 0 {
		env = append(env, "FAILOVERD_STEP="+string(a.Step), "FAILOVERD_EXECUTION="+strconv.FormatUint(a.Execution, 10),
			"FAILOVERD_EPOCH="+strconv.FormatUint(a.Epoch, 10), "FAILOVERD_TOKEN="+strconv.FormatUint(a.Token, 10))
	}
	names := make([]string, 0, len(x.cfg.Env))
	for k := range x.cfg.Env {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		env = append(env, k+"="+x.cfg.Env[k])
	}
	return env
}

// tail keeps the last part of what a command says.
type tail struct{ buf []byte }

const tailSize = 2048

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if extra := len(t.buf) - tailSize; extra > 0 {
		t.buf = t.buf[extra:]
	}
	return len(p), nil
}

func said(out []byte) string {
	if out = bytes.TrimSpace(out); len(out) == 0 {
		return "; it said nothing"
	}
	return fmt.Sprintf("; it said: %s", out)
}

func lastLine(out []byte, otherwise string) string {
	out = bytes.TrimSpace(out)
	if i := bytes.LastIndexByte(out, '\n'); i >= 0 {
		out = out[i+1:]
	}
	if len(out) == 0 {
		return otherwise
	}
	return string(out)
}
