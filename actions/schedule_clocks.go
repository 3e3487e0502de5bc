package actions

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	ebtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"

	"github.com/failoverd/failoverd/internal/cloud"
)

// rule is an EventBridge rule.
type rule struct {
	bus, name, region string
	client            *eventbridge.Client
}

func newRule(c *cloud.Clients, region, full string) *rule {
	bus, name := splitName(full)
	return &rule{bus: bus, name: name, region: region, client: c.EventBridge(region)}
}

func (r *rule) String() string { return "rule " + r.bus + "/" + r.name }

func (r *rule) look(ctx context.Context) (ticking, error) {
	out, err := r.client.DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: &r.name, EventBusName: &r.bus})
	if missing, ok := errors.AsType[*ebtypes.ResourceNotFoundException](err); ok {
		return ticking{}, fmt.Errorf("%s does not exist in %s: check the name, and that it was made there: %w", r, r.region, missing)
	}
	if err != nil {
		return ticking{}, fmt.Errorf("describing %s in %s: %w", r, r.region, err)
	}
	seen := ticking{state: string(out.State), on: out.State != ebtypes.RuleStateDisabled}
	switch {
	case out.ManagedBy != nil:
		// API reference, ManagedRuleException: neither DisableRule nor EnableRule works.
		return ticking{}, fmt.Errorf("%s in %s is managed by %s and cannot be turned off here: turn it off in that service, and take it out of the list", r, r.region, *out.ManagedBy)
	case out.State == ebtypes.RuleStateEnabledWithAllCloudtrailManagementEvents:
		return ticking{}, fmt.Errorf("%s in %s is %s, which EnableRule cannot put back: such a rule must not be turned off here", r, r.region, out.State)
	}
	pages := eventbridge.ListTargetsByRuleInput{Rule: &r.name, EventBusName: &r.bus}
	for {
		targets, err := r.client.ListTargetsByRule(ctx, &pages)
		if err != nil {
			return ticking{}, fmt.Errorf("listing the targets of %s in %s: %w", r, r.region, err)
		}
		for _, t := range targets.Targets {
			late, why := retries(nil, nil)
			if p := t.RetryPolicy; p != nil {
				late, why = retries(p.MaximumEventAgeInSeconds, p.MaximumRetryAttempts)
			}
			if late > seen.late {
				seen.late, seen.why = late, why
			}
		}
		if aws.ToString(targets.NextToken) == "" {
			return seen, nil
		}
		pages.NextToken = targets.NextToken
	}
}

func (r *rule) set(ctx context.Context, on bool) (err error) {
	if on {
		_, err = r.client.EnableRule(ctx, &eventbridge.EnableRuleInput{Name: &r.name, EventBusName: &r.bus})
	} else {
		_, err = r.client.DisableRule(ctx, &eventbridge.DisableRuleInput{Name: &r.name, EventBusName: &r.bus})
	}
	if err != nil {
		return fmt.Errorf("%s in %s, enabled %t: %w", r, r.region, on, err)
	}
	return nil
}

// scheduled is a schedule of EventBridge Scheduler.
type scheduled struct {
	group, name, region string
	client              *scheduler.Client
}

func newScheduler(c *cloud.Clients, region, full string) *scheduled {
	group, name := splitName(full)
	return &scheduled{group: group, name: name, region: region, client: c.Scheduler(region)}
}

func (s *scheduled) String() string { return "schedule " + s.group + "/" + s.name }

func (s *scheduled) get(ctx context.Context) (*scheduler.GetScheduleOutput, error) {
	out, err := s.client.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: &s.name, GroupName: &s.group})
	if missing, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return nil, fmt.Errorf("%s does not exist in %s: check the name, and that it was made there (one that runs once may delete itself): %w", s, s.region, missing)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s in %s: %w", s, s.region, err)
	}
	return out, nil
}

func (s *scheduled) look(ctx context.Context) (ticking, error) {
	out, err := s.get(ctx)
	if err != nil {
		return ticking{}, err
	}
	seen := ticking{state: string(out.State), on: out.State != types.ScheduleStateDisabled}
	if out.LastModificationDate != nil {
		seen.mark = out.LastModificationDate.String()
	}
	seen.late, seen.why = retries(nil, nil)
	if out.Target != nil && out.Target.RetryPolicy != nil {
		seen.late, seen.why = retries(out.Target.RetryPolicy.MaximumEventAgeInSeconds, out.Target.RetryPolicy.MaximumRetryAttempts)
	}
	// Whether a schedule that is turned off within its window fires is not documented.
	if w := out.FlexibleTimeWindow; w != nil && w.Mode == types.FlexibleTimeWindowModeFlexible {
		seen.late += time.Duration(aws.ToInt32(w.MaximumWindowInMinutes)) * time.Minute
	}
	return seen, nil
}

// set repeats all that the schedule has: what UpdateSchedule is not told is set to its
// default (API reference). A change that somebody else makes in between is lost;
// the service offers nothing against it.
func (s *scheduled) set(ctx context.Context, on bool) error {
	was, err := s.get(ctx)
	if err != nil {
		return err
	}
	in := repeat(was)
	in.State = types.ScheduleStateDisabled
	if on {
		in.State = types.ScheduleStateEnabled
	}
	_, err = s.client.UpdateSchedule(ctx, in)
	// A StartDate of more than five minutes ago is refused, at least for a new schedule
	// ("The StartDate you specify cannot be earlier than 5 minutes ago"). It has done its
	// work then, but for the beat of a rate, which counts from it.
	if refused, ok := errors.AsType[*types.ValidationException](err); ok && in.StartDate != nil && in.StartDate.Before(time.Now()) && strings.Contains(aws.ToString(refused.Message), "StartDate") {
		in.StartDate = nil
		_, err = s.client.UpdateSchedule(ctx, in)
	}
	if err != nil {
		return fmt.Errorf("%s in %s, enabled %t: %w", s, s.region, on, err)
	}
	return nil
}

// repeat is the update that changes nothing.
func repeat(was *scheduler.GetScheduleOutput) *scheduler.UpdateScheduleInput {
	return &scheduler.UpdateScheduleInput{
		Name: was.Name, GroupName: was.GroupName, State: was.State, Target: was.Target,
		ScheduleExpression: was.ScheduleExpression, ScheduleExpressionTimezone: was.ScheduleExpressionTimezone,
		FlexibleTimeWindow: was.FlexibleTimeWindow, StartDate: was.StartDate, EndDate: was.EndDate,
		Description: was.Description, KmsKeyArn: was.KmsKeyArn, ActionAfterCompletion: was.ActionAfterCompletion,
	}
}
