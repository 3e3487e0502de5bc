package actions

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/scheduler"

	"github.com/failoverd/failoverd/failover"
)

// fakeClocks is EventBridge with rules and Scheduler with schedules. A schedule is
// kept as what was last sent: what an update leaves out is gone.
type fakeClocks struct {
	mu        sync.Mutex
	rules     map[string]map[string]any // "bus/name" → DescribeRule
	targets   map[string][]any          // of a rule, a page each
	schedules map[string]map[string]any // "group/name" → GetSchedule
	refuse    string                    // the name that answers with a conflict
	oldStarts bool                      // takes a StartDate of long ago
	changes   []string
}

func (f *fakeClocks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	in := map[string]any{}
	_ = json.Unmarshal(body, &in)
	fail := func(status int, code, text string) {
		w.Header().Set("X-Amzn-Errortype", code)
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"__type":%q,"Message":%q,"message":%q}`, code, text, text)
	}
	if op, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "AWSEvents."); ok {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		name, _ := in["Name"].(string)
		if name == "" {
			name, _ = in["Rule"].(string)
		}
		key := fmt.Sprintf("%s/%s", in["EventBusName"], name)
		seen := f.rules[key]
		switch {
		case seen == nil:
			fail(http.StatusBadRequest, "ResourceNotFoundException", "Rule "+name+" does not exist")
		case op == "DescribeRule":
			_ = json.NewEncoder(w).Encode(seen)
		case op == "ListTargetsByRule":
			page := 0
			if next, ok := in["NextToken"].(string); ok {
				_, _ = fmt.Sscan(next, &page)
			}
			out := map[string]any{"Targets": []any{}}
			if page < len(f.targets[key]) {
				out["Targets"] = []any{f.targets[key][page]}
			}
			if page+1 < len(f.targets[key]) {
				out["NextToken"] = fmt.Sprint(page + 1)
			}
			_ = json.NewEncoder(w).Encode(out)
		case f.refuse == name:
			fail(http.StatusBadRequest, "ConcurrentModificationException", "somebody else is at it")
		default:
			seen["State"] = map[string]string{"EnableRule": "ENABLED", "DisableRule": "DISABLED"}[op]
			f.changes = append(f.changes, op+" "+key)
		}
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/schedules/")
	group := r.URL.Query().Get("groupName")
	if g, ok := in["GroupName"].(string); ok {
		group = g
	}
	key := group + "/" + name
	seen := f.schedules[key]
	start, _ := in["StartDate"].(float64)
	switch {
	case seen == nil:
		fail(http.StatusNotFound, "ResourceNotFoundException", "Schedule "+name+" does not exist.")
	case r.Method == http.MethodGet:
		_ = json.NewEncoder(w).Encode(seen)
	case start != 0 && !f.oldStarts && time.Since(time.Unix(int64(start), 0)) > 5*time.Minute:
		fail(http.StatusBadRequest, "ValidationException", "The StartDate you specify cannot be earlier than 5 minutes ago.")
	default:
		delete(in, "ClientToken")
		in["Name"], in["Arn"], in["CreationDate"], in["LastModificationDate"] = name, seen["Arn"], seen["CreationDate"], float64(time.Now().UnixNano())/1e9
		f.schedules[key] = in
		f.changes = append(f.changes, fmt.Sprintf("UpdateSchedule %s %s", key, in["State"]))
		_, _ = io.WriteString(w, `{"ScheduleArn":"arn:x"}`)
	}
}

func (f *fakeClocks) changed() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.changes, ", ")
}

func newClocks() *fakeClocks {
	once := map[string]any{"MaximumRetryAttempts": 0}
	return &fakeClocks{
		rules: map[string]map[string]any{
			"default/hourly": {"Name": "hourly", "State": "ENABLED", "ScheduleExpression": "rate(1 hour)"},
			"jobs/daily":     {"Name": "daily", "State": "DISABLED", "ScheduleExpression": "rate(1 day)"},
			"default/owned":  {"Name": "owned", "State": "ENABLED", "ManagedBy": "backup.amazonaws.com"},
			"default/trail":  {"Name": "trail", "State": "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"},
		},
		targets: map[string][]any{"default/hourly": {map[string]any{"Id": "1", "Arn": "arn:f", "RetryPolicy": once}, map[string]any{"Id": "2", "Arn": "arn:g", "RetryPolicy": once}}},
		schedules: map[string]map[string]any{"default/nightly": {
			"Name": "nightly", "GroupName": "default", "Arn": "arn:s", "State": "ENABLED", "CreationDate": 1.7e9, "LastModificationDate": 1.7e9,
			"ScheduleExpression": "cron(0 3 * * ? *)", "ScheduleExpressionTimezone": "Europe/Berlin", "Description": "the report", "EndDate": 4e9,
			"KmsKeyArn": "arn:k", "ActionAfterCompletion": "NONE", "FlexibleTimeWindow": map[string]any{"Mode": "OFF"},
			"Target": map[string]any{"Arn": "arn:t", "RoleArn": "arn:r", "Input": "{}", "RetryPolicy": once, "DeadLetterConfig": map[string]any{"Arn": "arn:d"}},
		}},
	}
}

func TestSchedule(t *testing.T) {
	f := newClocks()
	d := testDeps(t, f)
	cfg := ScheduleConfig{Rules: []string{"hourly", "jobs/daily"}, Schedules: []string{"nightly"}, LongestRun: failover.Duration(300 * time.Millisecond), Settle: failover.Duration(300 * time.Millisecond)}
	a, err := cfg.New(d)
	if err != nil {
		t.Fatal(err)
	}
	before := inspect(t, a, Partial, "in us-east-2: rule default/hourly ENABLED, rule jobs/daily DISABLED, schedule default/nightly ENABLED")
	if before.Inventory != 3 {
		t.Errorf("an inventory of %d", before.Inventory)
	}
	was := f.schedules["default/nightly"]
	// One that refuses does not keep the others from being turned off, and is named.
	f.refuse = "hourly"
	if err := a.Do(t.Context(), Attempt{Token: 1}); err == nil || !strings.Contains(err.Error(), "rule default/hourly in us-east-2, enabled false") {
		t.Errorf("a rule that is being changed gives %v", err)
	}
	inspect(t, a, Partial, "schedule default/nightly DISABLED")
	f.refuse = ""
	do(t, a.Do, 2, before.Previous)
	do(t, a.Do, 3, before.Previous)
	if got := f.changed(); got != "UpdateSchedule default/nightly DISABLED, DisableRule default/hourly" {
		t.Errorf("changed %s: what is off is left alone", got)
	}
	// DISABLED is not ended: it may fire for a moment, and what it started runs.
	inspect(t, a, Unknown, "not surely over for another 1s: ")
	for end := time.Now().Add(10 * time.Second); ; <-time.After(20 * time.Millisecond) {
		if e, err := a.Inspect(t.Context()); err == nil && e.State == Present {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%+v, %v", e, err)
		}
	}
	// Undo puts each one back as it was, and loses nothing of a schedule.
	do(t, a.Undo, 4, before.Previous)
	now := inspect(t, a, Partial, "rule default/hourly ENABLED, rule jobs/daily DISABLED, schedule default/nightly ENABLED")
	if !a.(Restorer).Restored(now, before.Previous) {
		t.Errorf("not as it was: %s, %s", now.Previous, before.Previous)
	}
	got := f.schedules["default/nightly"]
	got["LastModificationDate"] = was["LastModificationDate"]
	if b, w := asJSON(t, got), asJSON(t, was); b != w {
		t.Errorf("the schedule is now\n%s\nand was\n%s", b, w)
	}

	on := ScheduleConfig{Rules: cfg.Rules, Schedules: cfg.Schedules, Enabled: true}
	start, err := on.New(d)
	if err != nil {
		t.Fatal(err)
	}
	do(t, start.Do, 5, inspect(t, start, Partial, "").Previous)
	inspect(t, start, Present, "rule jobs/daily ENABLED")
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A start date of long ago is refused; without it the schedule goes on as it was.
func TestScheduleThatBeganLongAgo(t *testing.T) {
	for _, takes := range []bool{true, false} {
		f := newClocks()
		f.oldStarts = takes
		f.schedules["default/nightly"]["StartDate"] = float64(1.7e9)
		a, err := (&ScheduleConfig{Schedules: []string{"default/nightly"}, LongestRun: 1}).New(testDeps(t, f))
		if err != nil {
			t.Fatal(err)
		}
		do(t, a.Do, 1, inspect(t, a, Absent, "ENABLED").Previous)
		inspect(t, a, Unknown, "schedule default/nightly DISABLED")
		if _, has := f.schedules["default/nightly"]["StartDate"]; has != takes {
			t.Errorf("takes old start dates %t: has one %t", takes, has)
		}
	}
}

// What EventBridge may still deliver late is waited for, and said.
func TestScheduleDeliversLate(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(f *fakeClocks)
		want   string
	}{
		"retries of a rule": {func(f *fakeClocks) {
			f.targets["default/hourly"] = append(f.targets["default/hourly"], map[string]any{"Id": "3", "Arn": "arn:h"})
		}, "rule default/hourly may still fire for 24h1m0s after it was turned off (its retry policy is the default: set MaximumRetryAttempts to 0), and what it starts runs for up to 5m0s"},
		"a bound on retries": {func(f *fakeClocks) {
			f.schedules["default/nightly"]["Target"] = map[string]any{"Arn": "arn:t", "RoleArn": "arn:r", "RetryPolicy": map[string]any{"MaximumEventAgeInSeconds": 120, "MaximumRetryAttempts": 3}}
		}, "schedule default/nightly may still fire for 3m0s after it was turned off (its retry policy: set MaximumRetryAttempts to 0)"},
		"no retry policy": {func(f *fakeClocks) {
			f.schedules["default/nightly"]["Target"] = map[string]any{"Arn": "arn:t", "RoleArn": "arn:r"}
		}, "schedule default/nightly may still fire for 24h1m0s after"},
		"a flexible window": {func(f *fakeClocks) {
			f.schedules["default/nightly"]["FlexibleTimeWindow"] = map[string]any{"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15}
		}, "schedule default/nightly may still fire for 16m0s after"},
		"nothing": {func(*fakeClocks) {}, "not surely over for another 6m0s: rule default/hourly may still fire for 1m0s after it was turned off, and"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newClocks()
			f.rules["default/hourly"]["State"], f.schedules["default/nightly"]["State"] = "DISABLED", "DISABLED"
			tt.change(f)
			a, err := (&ScheduleConfig{Rules: []string{"hourly"}, Schedules: []string{"nightly"}, LongestRun: failover.Duration(5 * time.Minute)}).New(testDeps(t, f))
			if err != nil {
				t.Fatal(err)
			}
			inspect(t, a, Unknown, tt.want)
		})
	}
}

// What cannot be turned off, or not put back, is said before anything is touched.
func TestScheduleThatCannotBe(t *testing.T) {
	f := newClocks()
	d := testDeps(t, f)
	for want, c := range map[string]ScheduleConfig{
		"rule default/none does not exist in us-east-2: check the name":         {Rules: []string{"none"}},
		"schedule night/ly does not exist in us-east-2: check the name":         {Schedules: []string{"night/ly"}},
		"rule default/owned in us-east-2 is managed by backup.amazonaws.com":    {Rules: []string{"owned"}},
		"rule default/trail in us-east-2 is ENABLED_WITH_ALL_CLOUDTRAIL_MANAGE": {Rules: []string{"trail"}},
	} {
		a, err := c.New(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if err := a.Do(t.Context(), Attempt{}); err == nil {
			t.Errorf("done, although %s", want)
		}
	}
	if got := f.changed(); got != "" {
		t.Errorf("changed %s", got)
	}
}

// Each field of an update is one of what was read, so that a new version of the SDK
// that has another one is noticed: it would be reset.
func TestScheduleRepeatsEveryField(t *testing.T) {
	ours := []string{"ClientToken"} // the SDK fills it in
	read := reflect.ValueOf(&scheduler.GetScheduleOutput{}).Elem()
	for f, v := range read.Fields() {
		if f.IsExported() && f.Name != "ResultMetadata" {
			switch v.Kind() {
			case reflect.Pointer:
				v.Set(reflect.New(v.Type().Elem()))
			case reflect.String:
				v.SetString("x")
			}
		}
	}
	was, _ := read.Addr().Interface().(*scheduler.GetScheduleOutput)
	for f, v := range reflect.ValueOf(repeat(was)).Elem().Fields() {
		if f.IsExported() && !slices.Contains(ours, f.Name) && v.IsZero() {
			t.Errorf("UpdateSchedule.%s is not repeated: the service would reset it", f.Name)
		}
	}
}

func TestScheduleParameters(t *testing.T) {
	min := failover.Duration(time.Minute)
	for _, tt := range []struct {
		c    ScheduleConfig
		role Role
		want string
	}{
		{ScheduleConfig{Rules: []string{"r"}, LongestRun: min}, RoleStop, ""},
		{ScheduleConfig{Schedules: []string{"g/s"}, Enabled: true}, RoleStart, ""},
		{ScheduleConfig{Rules: []string{"aws.partner/x.com/y/r"}, LongestRun: min}, RoleStop, ""},
		{ScheduleConfig{LongestRun: min}, RoleStop, "an empty list never means all"},
		{ScheduleConfig{Rules: []string{"r"}}, RoleStop, "longest_run: is missing"},
		{ScheduleConfig{Rules: []string{"r", "r"}, LongestRun: min}, RoleStop, "listed twice"},
		{ScheduleConfig{Schedules: []string{"g/"}, LongestRun: min}, RoleStop, "no name"},
		{ScheduleConfig{Schedules: []string{"a/b/c"}, LongestRun: min}, RoleStop, "neither a name nor group/name"},
		{ScheduleConfig{Rules: []string{"r"}, LongestRun: -min}, RoleStop, "negative"},
		{ScheduleConfig{Rules: []string{"r"}, Settle: -min}, RoleStop, "negative"},
		{ScheduleConfig{Rules: []string{"r"}}, RoleStart, "starts nothing"},
		{ScheduleConfig{Rules: []string{"r"}, Enabled: true}, RoleStop, "stops nothing"},
		{ScheduleConfig{Rules: []string{"r"}}, RoleSwitch, "cannot move clients"},
	} {
		if err := tt.c.Validate(tt.role); (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v as %s: %v, want %q", tt.c, tt.role, err, tt.want)
		}
	}
	if _, err := (&ScheduleConfig{}).New(Deps{}); err == nil {
		t.Error("without clients it was made")
	}
}
