package actions

import (
	"strings"
	"time"
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
}

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
	}
	return nil
}

// Version implements Config.
func (c *ExecConfig) Version() int { return 1 }

// Timeout implements Config.
func (c *ExecConfig) Timeout() time.Duration { return 5 * time.Minute }
