package actions

import (
	"time"
)

// ECSServiceConfig sets the desired count of an ECS service.
type ECSServiceConfig struct {
	Cluster string `toml:"cluster" json:"cluster"`
	Service string `toml:"service" json:"service"`
	// Count is the number of tasks. Zero stops the service; more starts it and
	// never scales it down.
	Count int `toml:"count" json:"count"`
}

// Validate implements Config.
func (c *ECSServiceConfig) Validate(role Role) error {
	switch {
	case role == RoleSwitch:
		return badParam("service", "cannot move clients; a switch needs a kind such as route53_weights")
	case c.Cluster == "":
		return badParam("cluster", "is missing")
	case c.Service == "":
		return badParam("service", "is missing")
	case c.Count < 0:
		return badParam("count", "%d is negative", c.Count)
	case role == RoleStart && c.Count == 0:
		return badParam("count", "is 0, which starts nothing; give the number of tasks that carry the whole load")
	case role == RoleStop && c.Count != 0:
		return badParam("count", "is %d, which leaves tasks running; a stop needs 0", c.Count)
	}
	return nil
}

// Version implements Config.
func (c *ECSServiceConfig) Version() int { return 1 }

// Timeout implements Config.
func (c *ECSServiceConfig) Timeout() time.Duration {
	if c.Count == 0 {
		return time.Minute
	}
	return 10 * time.Minute
}
