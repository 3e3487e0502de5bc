package actions

import "time"

// ApprovalConfig is a step that a person does or permits. It changes nothing
// itself.
type ApprovalConfig struct {
	// Message says what the person has to do or to look at.
	Message string `toml:"message" json:"message"`
}

// Validate implements Config.
func (c *ApprovalConfig) Validate(role Role) error {
	switch {
	case role == RoleStop:
		return badParam("message", "is no way to stop something; leave the stop to agents, or attest when asked")
	case c.Message == "":
		return badParam("message", "is missing; say what the person has to do")
	}
	return nil
}

// Version implements Config.
func (c *ApprovalConfig) Version() int { return 1 }

// Timeout implements Config. People are asked for as long as it takes.
func (c *ApprovalConfig) Timeout() time.Duration { return 0 }

// New implements Config. The executor handles the kind.
func (c *ApprovalConfig) New(Deps) (Action, error) { return nil, nil } //nolint:nilnil // documented in Config
