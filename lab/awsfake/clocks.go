package awsfake

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Timer is an EventBridge rule with a schedule expression, or a schedule of EventBridge Scheduler.
type Timer struct {
	Name    string
	Rule    bool // on the default bus; otherwise a schedule in the default group
	Every   time.Duration
	Enabled bool // at the beginning
	// Fire is what it starts; n counts. Nothing is delivered a second time: its retry policy has no attempts.
	Fire func(ctx context.Context, n int)
}

// Clocks imitates EventBridge's scheduled rules and EventBridge Scheduler. A rule that was disabled goes on for "a short period
// of time", one that was enabled begins after it:
// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DisableRule.html
// An update of a schedule replaces all of it, "including empty values":
// https://docs.aws.amazon.com/scheduler/latest/APIReference/API_UpdateSchedule.html
// A StartDate of more than five minutes ago is refused: documented nowhere, reported in https://github.com/getmoto/moto/pull/8172
// It is safe for concurrent use.
type Clocks struct {
	region string
	lag    time.Duration

	mu     sync.Mutex
	timers []*timer
}

type timer struct {
	Timer
	enabled bool
	changed time.Time
	made    time.Time
	fields  map[string]any // of a schedule: what was last sent
}

// NewClocks makes the timers; lag is how long they take to follow a change.
func NewClocks(region string, lag time.Duration, timers ...Timer) *Clocks {
	c := &Clocks{region: region, lag: lag}
	for _, t := range timers {
		n := &timer{Timer: t, enabled: t.Enabled, made: time.Now().Add(-time.Hour), changed: time.Now().Add(-time.Hour)}
		if !t.Rule {
			n.fields = map[string]any{"GroupName": "default", "State": stateOf(t.Enabled), "ScheduleExpression": "rate(1 minute)", "ScheduleExpressionTimezone": "UTC",
				"Description": "the job " + t.Name, "FlexibleTimeWindow": map[string]any{"Mode": "OFF"}, "ActionAfterCompletion": "NONE",
				"Target": map[string]any{"Arn": c.arn("lambda", "function:"+t.Name), "RoleArn": "arn:aws:iam::" + AccountID + ":role/scheduler", "RetryPolicy": never}}
		}
		c.timers = append(c.timers, n)
	}
	return c
}

// never is a retry policy: https://docs.aws.amazon.com/scheduler/latest/APIReference/API_RetryPolicy.html
var never = map[string]any{"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}

func stateOf(on bool) string { return map[bool]string{true: "ENABLED", false: "DISABLED"}[on] }

func (c *Clocks) arn(service, rest string) string {
	return "arn:aws:" + service + ":" + c.region + ":" + AccountID + ":" + rest
}

// Run fires until ctx ends, and waits for what it has started.
func (c *Clocks) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, t := range c.timers {
		wg.Go(func() {
			tick := time.NewTicker(t.Every)
			defer tick.Stop()
			for n := 1; ; n++ {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				if c.fires(t) {
					wg.Go(func() { t.Fire(ctx, n) })
				}
			}
		})
	}
}

// fires reports whether a timer fires now: while it follows a change it is still what it was.
func (c *Clocks) fires(t *timer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return t.enabled != (time.Since(t.changed) < c.lag)
}

func (c *Clocks) find(name string, rule bool) *timer {
	for _, t := range c.timers {
		if t.Name == name && t.Rule == rule {
			return t
		}
	}
	return nil
}

func (t *timer) set(on bool) {
	if t.enabled != on {
		t.enabled = on
		t.changed = time.Now()
	}
}

// events is EventBridge's JSON 1.1.
func (c *Clocks) events(op string, body []byte) (any, error) {
	var in struct{ Name, Rule, EventBusName string }
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, badRequest("SerializationException", "%v", err)
	}
	name := in.Name + in.Rule
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.find(name, true)
	if in.EventBusName != "" && in.EventBusName != "default" {
		return nil, badRequest("ResourceNotFoundException", "Event bus %s does not exist.", in.EventBusName)
	}
	if t == nil {
		return nil, badRequest("ResourceNotFoundException", "Rule %s does not exist on EventBus default.", name)
	}
	switch op {
	case "DescribeRule":
		return map[string]any{"Name": name, "Arn": c.arn("events", "rule/"+name), "EventBusName": "default", "ScheduleExpression": "rate(1 minute)", "State": stateOf(t.enabled)}, nil
	case "ListTargetsByRule":
		return map[string]any{"Targets": []any{map[string]any{"Id": "1", "Arn": c.arn("lambda", "function:"+name), "RetryPolicy": never}}}, nil
	case "EnableRule", "DisableRule":
		t.set(op == "EnableRule")
		return struct{}{}, nil
	}
	return nil, badRequest("UnknownOperationException", "%s is not simulated", op)
}

const schedulesPath = "/schedules/"

// schedulerOp names the operation of a REST request.
func schedulerOp(r *http.Request) string {
	switch r.Method {
	case http.MethodGet:
		return "GetSchedule"
	case http.MethodPut:
		return "UpdateSchedule"
	}
	return "Unknown"
}

// schedule is Scheduler's REST-JSON.
func (c *Clocks) schedule(q *request) (any, error) {
	name := strings.TrimPrefix(q.URL.Path, schedulesPath)
	in := map[string]any{}
	if q.op == "UpdateSchedule" {
		if err := json.Unmarshal(q.body, &in); err != nil {
			return nil, badRequest("ValidationException", "%v", err)
		}
	}
	group, _ := in["GroupName"].(string)
	if group == "" {
		group = q.URL.Query().Get("groupName")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.find(name, false)
	if t == nil || group != "" && group != "default" {
		return nil, &Error{http.StatusNotFound, "ResourceNotFoundException", "Schedule " + name + " does not exist."}
	}
	arn := c.arn("scheduler", "schedule/default/"+name)
	switch q.op {
	case "GetSchedule":
		out := map[string]any{"Name": name, "Arn": arn, "CreationDate": epochSeconds(t.made), "LastModificationDate": epochSeconds(t.changed)}
		for k, v := range t.fields {
			out[k] = v
		}
		return out, nil
	case "UpdateSchedule":
		for _, need := range []string{"ScheduleExpression", "FlexibleTimeWindow", "Target"} {
			if in[need] == nil {
				return nil, badRequest("ValidationException", "1 validation error detected: Value at '%s' failed to satisfy constraint: Member must not be null", need)
			}
		}
		if start, ok := in["StartDate"].(float64); ok && time.Since(time.Unix(int64(start), 0)) > 5*time.Minute {
			return nil, badRequest("ValidationException", "The StartDate you specify cannot be earlier than 5 minutes ago.")
		}
		defaults := map[string]any{"GroupName": "default", "State": "ENABLED", "ScheduleExpressionTimezone": "UTC", "ActionAfterCompletion": "NONE"}
		delete(in, "ClientToken")
		for k, v := range defaults {
			if in[k] == nil {
				in[k] = v
			}
		}
		if target, ok := in["Target"].(map[string]any); ok && target["RetryPolicy"] == nil {
			target["RetryPolicy"] = map[string]any{"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
		}
		state, _ := in["State"].(string)
		if state != "ENABLED" && state != "DISABLED" {
			return nil, badRequest("ValidationException", "State %q is not one of ENABLED, DISABLED", state)
		}
		t.fields = in
		t.set(state == "ENABLED")
		return map[string]any{"ScheduleArn": arn}, nil
	}
	return nil, &Error{http.StatusNotFound, "ResourceNotFoundException", fmt.Sprintf("%s %s is not simulated", q.Method, q.URL.Path)}
}
