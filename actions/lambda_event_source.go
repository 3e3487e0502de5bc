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

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/failoverd/failoverd/internal/cloud"
)

// LambdaEventSourceConfig turns the event source mappings of functions off or on:
// what lets Lambda read from a queue or a stream. Reserved concurrency is left
// alone: with it at 0 the pollers go on receiving, and messages end in the
// dead-letter queue.
type LambdaEventSourceConfig struct {
	// Functions are the functions' names. All mappings of each are meant.
	Functions []string `toml:"functions" json:"functions"`
	// Enabled is false for a stop and true for a start.
	Enabled bool `toml:"enabled" json:"enabled"`
}

// Validate implements Config.
func (c *LambdaEventSourceConfig) Validate(role Role) error {
	switch {
	case role == RoleSwitch:
		return badParam("functions", "cannot move clients; a switch needs a kind such as route53_weights")
	case len(c.Functions) == 0:
		return badParam("functions", "is empty; an empty list never means all functions")
	case role == RoleStart && !c.Enabled:
		return badParam("enabled", "is false, which starts nothing")
	case role == RoleStop && c.Enabled:
		return badParam("enabled", "is true, which stops nothing")
	}
	for i, f := range c.Functions {
		if f == "" || slices.Contains(c.Functions[:i], f) {
			return badParam("functions", "%q is empty or listed twice", f)
		}
	}
	return nil
}

// Version implements Config.
func (c *LambdaEventSourceConfig) Version() int { return 1 }

// Timeout implements Config. A mapping takes up to a minute; a function runs for
// up to 15 minutes after it was turned off.
func (c *LambdaEventSourceConfig) Timeout() time.Duration {
	if c.Enabled {
		return 3 * time.Minute
	}
	return 17 * time.Minute
}

// New implements Config.
func (c *LambdaEventSourceConfig) New(d Deps) (Action, error) {
	if d.Cloud == nil {
		return nil, errors.New("there are no AWS clients")
	}
	return &eventSource{cfg: c, region: string(d.Region), client: d.Cloud.Lambda(string(d.Region)), quiet: d.quiet()}, nil
}

// eventSource believes a mapping's state, and for the functions behind it nothing
// but their time-out: an invocation that has begun is not to be seen from outside.
type eventSource struct {
	cfg    *LambdaEventSourceConfig
	region string
	client *lambda.Client
	quiet  *Quiet // since when all mappings have been seen disabled
}

// key is what Quiet knows the functions by.
func (s *eventSource) key() string {
	return "lambda " + s.region + " " + strings.Join(s.cfg.Functions, " ")
}

// Idempotent says that Do is absolute.
func (s *eventSource) Idempotent() {}

// Ages implements Aging: AWS accepts a signed request for five minutes.
func (s *eventSource) Ages() time.Duration { return cloud.SignatureLife }

// mapping is an event source mapping.
type mapping struct {
	uuid, function, state string
	changed               time.Time // by AWS's clock
}

func (m mapping) enabled() bool { return m.state == "Enabled" || m.state == "Enabling" }

// clocksDiffer is more than the clocks of AWS and of this machine can be apart.
const clocksDiffer = 15 * time.Minute

// list finds the mappings of all functions.
func (s *eventSource) list(ctx context.Context) ([]mapping, error) {
	var out []mapping
	for _, f := range s.cfg.Functions {
		found := 0
		pages := lambda.NewListEventSourceMappingsPaginator(s.client, &lambda.ListEventSourceMappingsInput{FunctionName: &f})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, fmt.Errorf("listing the event source mappings of %s in %s: %w", f, s.region, err)
			}
			for _, m := range page.EventSourceMappings {
				found++
				out = append(out, mapping{aws.ToString(m.UUID), f, aws.ToString(m.State), aws.ToTime(m.LastModified)})
			}
		}
		if found == 0 {
			return nil, fmt.Errorf("function %s in %s has no event source mapping: check the name, and that it was made there", f, s.region)
		}
	}
	return out, nil
}

// longest is the longest time-out of the functions.
func (s *eventSource) longest(ctx context.Context) (time.Duration, error) {
	var out time.Duration
	for _, f := range s.cfg.Functions {
		c, err := s.client.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &f})
		if err != nil {
			return 0, fmt.Errorf("reading the time-out of function %s in %s: %w", f, s.region, err)
		}
		out = max(out, time.Duration(aws.ToInt32(c.Timeout))*time.Second)
	}
	return out, nil
}

// Inspect implements Action.
func (s *eventSource) Inspect(ctx context.Context) (Effect, error) {
	all, err := s.list(ctx)
	if err != nil {
		return Effect{}, err
	}
	was := map[string]bool{}
	states := map[string]int{}
	right, wrong := 0, 0
	for _, m := range all {
		was[m.uuid] = m.enabled()
		states[m.state]++
		switch {
		case m.enabled() != s.cfg.Enabled:
			wrong++
		case m.state == "Enabled" || m.state == "Disabled":
			right++
		}
	}
	previous, err := json.Marshal(was)
	if err != nil {
		return Effect{}, err
	}
	var says []string
	for _, name := range slices.Sorted(maps.Keys(states)) {
		says = append(says, fmt.Sprintf("%d %s", states[name], name))
	}
	e := Effect{Previous: previous, Inventory: len(all), Detail: fmt.Sprintf("event source mappings of %s in %s: %s", strings.Join(s.cfg.Functions, ", "), s.region, strings.Join(says, ", "))}
	if states["Disabled"] != len(all) {
		// Not by what this action wants: the way back, which the survey looks at, wants
		// the same mappings on, and sees them off all the same.
		s.quiet.on(s.key())
	}
	switch {
	case wrong == len(all):
		e.State = Absent
	case right < len(all):
		e.State = Partial
	case s.cfg.Enabled:
		e.State = Present
	default:
		return s.ended(ctx, all, e)
	}
	return e, nil
}

// ended waits for the invocations that were under way: they may run until their
// function's time-out after the mapping has stopped handing anything out.
func (s *eventSource) ended(ctx context.Context, all []mapping, e Effect) (Effect, error) {
	newest := time.Time{}
	for _, m := range all {
		if m.changed.After(newest) {
			newest = m.changed
		}
	}
	off := s.quiet.off(s.key(), newest.String())
	longest, err := s.longest(ctx)
	if err != nil {
		return e, err
	}
	left := longest - off
	if left <= 0 || !newest.IsZero() && time.Since(newest) >= longest+clocksDiffer {
		e.State = Present
		e.Detail += fmt.Sprintf("; no invocation can be left, the longest time-out is %s", longest)
		return e, nil
	}
	e.State = Unknown
	e.Detail += fmt.Sprintf("; invocations that had begun may run for another %s, to their time-out of %s", left.Round(time.Second), longest)
	return e, nil
}

// Do implements Action.
func (s *eventSource) Do(ctx context.Context, a Attempt) error {
	all, err := s.list(ctx)
	if err != nil {
		return err
	}
	want := map[string]bool{}
	for _, m := range all {
		want[m.uuid] = s.cfg.Enabled
	}
	return s.set(ctx, a, all, want)
}

// Undo implements Action: each mapping as it was.
func (s *eventSource) Undo(ctx context.Context, a Attempt) error {
	var was map[string]bool
	if err := json.Unmarshal(a.Previous, &was); err != nil {
		return fmt.Errorf("reading the previous states: %w", err)
	}
	all, err := s.list(ctx)
	if err != nil {
		return err
	}
	return s.set(ctx, a, all, was)
}

// set tells each mapping what it should be, and goes on to the next one when one
// refuses: a mapping that is being changed is refused for some seconds.
func (s *eventSource) set(ctx context.Context, a Attempt, all []mapping, want map[string]bool) error {
	var errs []error
	for _, m := range all {
		on, named := want[m.uuid]
		if !named || m.enabled() == on {
			continue
		}
		a.Report("event source mapping %s of %s in %s: enabled %t", m.uuid, m.function, s.region, on)
		_, err := s.client.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: &m.uuid, Enabled: &on})
		if busy, ok := errors.AsType[*types.ResourceInUseException](err); ok {
			err = fmt.Errorf("it is being changed, and is tried again: %w", busy)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("event source mapping %s of %s in %s: %w", m.uuid, m.function, s.region, err))
		}
	}
	return errors.Join(errs...)
}

// Untouched implements Untouchable: every mapping is on.
func (s *eventSource) Untouched(previous json.RawMessage) bool {
	return !s.cfg.Enabled && allOn(previous)
}

// Restored implements Restorer.
func (s *eventSource) Restored(now Effect, previous json.RawMessage) bool {
	var was, is map[string]bool
	return json.Unmarshal(previous, &was) == nil && json.Unmarshal(now.Previous, &is) == nil && maps.Equal(was, is)
}
