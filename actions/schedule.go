package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// ScheduleConfig turns off or on what starts work by the clock: EventBridge rules
// and the schedules of EventBridge Scheduler. Nothing may fire in two regions.
type ScheduleConfig struct {
	// Rules are EventBridge rules: "name" on the default bus, or "bus/name".
	Rules []string `toml:"rules" json:"rules,omitempty"`
	// Schedules are EventBridge Scheduler's: "name" in the default group, or
	// "group/name".
	Schedules []string `toml:"schedules" json:"schedules,omitempty"`
	// Enabled is false for a stop and true for a start.
	Enabled bool `toml:"enabled" json:"enabled"`
	// LongestRun is how long what they start may run. A stop needs it.
	LongestRun failover.Duration `toml:"longest_run" json:"longest_run,omitempty"`
	// Settle is how long a rule or schedule that reads DISABLED may still fire. AWS
	// says "a short period of time" and no number. Zero means a minute.
	Settle failover.Duration `toml:"settle" json:"settle,omitempty"`
}

// Validate implements Config.
func (c *ScheduleConfig) Validate(role Role) error {
	switch {
	case role == RoleSwitch:
		return badParam("schedules", "cannot move clients; a switch needs a kind such as route53_weights")
	case len(c.Rules)+len(c.Schedules) == 0:
		return badParam("schedules", "is empty, and so is rules; an empty list never means all of them")
	case c.LongestRun < 0:
		return badParam("longest_run", "%s is negative", c.LongestRun)
	case c.Settle < 0:
		return badParam("settle", "%s is negative", c.Settle)
	case role == RoleStart && !c.Enabled:
		return badParam("enabled", "is false, which starts nothing")
	case role == RoleStop && c.Enabled:
		return badParam("enabled", "is true, which stops nothing")
	case role == RoleStop && c.LongestRun == 0:
		return badParam("longest_run", "is missing: how long may what they start run? Until then nobody knows that it has ended")
	}
	for _, list := range []struct {
		field string
		names []string
	}{{"rules", c.Rules}, {"schedules", c.Schedules}} {
		for i, n := range list.names {
			if n == "" || strings.HasPrefix(n, "/") || strings.HasSuffix(n, "/") || slices.Contains(list.names[:i], n) {
				return badParam(list.field, "%q is no name, or listed twice", n)
			}
		}
	}
	for _, n := range c.Schedules {
		if strings.Count(n, "/") > 1 {
			return badParam("schedules", "%q is neither a name nor group/name", n)
		}
	}
	return nil
}

// Version implements Config.
func (c *ScheduleConfig) Version() int { return 1 }

// Timeout implements Config.
func (c *ScheduleConfig) Timeout() time.Duration {
	if c.Enabled {
		return 2 * time.Minute
	}
	return c.LongestRun.D() + c.settle() + 2*time.Minute
}

func (c *ScheduleConfig) settle() time.Duration {
	if c.Settle == 0 {
		return time.Minute
	}
	return c.Settle.D()
}

// New implements Config.
func (c *ScheduleConfig) New(d Deps) (Action, error) {
	if d.Cloud == nil {
		return nil, errors.New("there are no AWS clients")
	}
	region := string(d.Region)
	s := &schedule{cfg: c, region: region, quiet: d.quiet()}
	for _, n := range c.Rules {
		s.clocks = append(s.clocks, newRule(d.Cloud, region, n))
	}
	for _, n := range c.Schedules {
		s.clocks = append(s.clocks, newScheduler(d.Cloud, region, n))
	}
	return s, nil
}

// clock is one thing that fires: a rule, or a schedule.
type clock interface {
	String() string // "rule default/hourly"
	look(ctx context.Context) (ticking, error)
	set(ctx context.Context, on bool) error
}

// ticking is what was seen of a clock.
type ticking struct {
	state string
	on    bool
	mark  string // changes with each change; "" if the service does not tell
	// late is how long after its time it may still deliver: retries of what could
	// not be delivered, and a flexible time window.
	late time.Duration
	why  string // what makes it so long
}

// schedule believes a state, and for what was started before nothing but the time
// that it may take.
type schedule struct {
	cfg    *ScheduleConfig
	region string
	clocks []clock
	quiet  *Quiet
}

// Idempotent says that Do is absolute.
func (s *schedule) Idempotent() {}

// Ages implements Aging: AWS accepts a signed request for five minutes.
func (s *schedule) Ages() time.Duration { return cloud.SignatureLife }

func (s *schedule) key(c clock) string { return s.region + " " + c.String() }

// Inspect implements Action.
func (s *schedule) Inspect(ctx context.Context) (Effect, error) {
	was := map[string]bool{}
	var says []string
	var left time.Duration
	why := ""
	right := 0
	for _, c := range s.clocks {
		seen, err := c.look(ctx)
		if err != nil {
			return Effect{}, err
		}
		was[c.String()] = seen.on
		says = append(says, fmt.Sprintf("%s %s", c, seen.state))
		if seen.on == s.cfg.Enabled {
			right++
		}
		if seen.on {
			s.quiet.on(s.key(c))
			continue
		}
		ends := s.cfg.settle() + seen.late + s.cfg.LongestRun.D() - s.quiet.off(s.key(c), seen.mark)
		if ends > left {
			left, why = ends, fmt.Sprintf("%s may still fire for %s after it was turned off%s, and what it starts runs for up to %s", c, s.cfg.settle()+seen.late, seen.why, s.cfg.LongestRun)
		}
	}
	previous, err := json.Marshal(was)
	if err != nil {
		return Effect{}, err
	}
	e := Effect{Previous: previous, Inventory: len(s.clocks), Detail: fmt.Sprintf("in %s: %s", s.region, strings.Join(says, ", "))}
	switch {
	case right == 0:
		e.State = Absent
	case right < len(s.clocks):
		e.State = Partial
	case s.cfg.Enabled || left <= 0:
		e.State = Present
	default:
		e.State = Unknown
		e.Detail += fmt.Sprintf("; not surely over for another %s: %s", left.Round(time.Second), why)
	}
	return e, nil
}

// Do implements Action.
func (s *schedule) Do(ctx context.Context, a Attempt) error {
	want := map[string]bool{}
	for _, c := range s.clocks {
		want[c.String()] = s.cfg.Enabled
	}
	return s.set(ctx, a, want)
}

// Undo implements Action: each one as it was.
func (s *schedule) Undo(ctx context.Context, a Attempt) error {
	var was map[string]bool
	if err := json.Unmarshal(a.Previous, &was); err != nil {
		return fmt.Errorf("reading the previous states: %w", err)
	}
	return s.set(ctx, a, was)
}

// set tells each one what it should be, and goes on to the next when one refuses.
func (s *schedule) set(ctx context.Context, a Attempt, want map[string]bool) error {
	var errs []error
	for _, c := range s.clocks {
		on, named := want[c.String()]
		if !named {
			continue
		}
		seen, err := c.look(ctx)
		if err == nil && seen.on != on {
			a.Report("%s in %s: enabled %t", c, s.region, on)
			err = c.set(ctx, on)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Untouched implements Untouchable: every rule and schedule is on.
func (s *schedule) Untouched(previous json.RawMessage) bool {
	return !s.cfg.Enabled && allOn(previous)
}

// Restored implements Restorer.
func (s *schedule) Restored(now Effect, previous json.RawMessage) bool {
	var was, is map[string]bool
	return json.Unmarshal(previous, &was) == nil && json.Unmarshal(now.Previous, &is) == nil && maps.Equal(was, is)
}

// splitName parts "first/name" at its last slash: buses of partners have slashes in
// their names, rules and schedules have none.
func splitName(s string) (first, name string) {
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		return s[:i], s[i+1:]
	}
	return "default", s
}

// defaultRetry is for how long EventBridge and Scheduler try to deliver when nothing
// else is set (API references, RetryPolicy: 86400 seconds, 185 times).
const defaultRetry = 24 * time.Hour

// retries is for how long a failed delivery is tried again.
func retries(age, attempts *int32) (time.Duration, string) {
	switch {
	case attempts != nil && *attempts == 0:
		return 0, ""
	case age == nil || *age == 0:
		return defaultRetry, " (its retry policy is the default: set MaximumRetryAttempts to 0)"
	}
	return time.Duration(*age) * time.Second, " (its retry policy: set MaximumRetryAttempts to 0)"
}
