package probes

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/failoverd/failoverd/failover"
)

// points scripts GetMetricData: values by how many periods ago they end, 1 being the
// last whole one. Each comes on a page of its own, behind an empty one that is partial.
func (a *api) points(period time.Duration, values map[int]float64) {
	a.on("GetMetricData", func(in call) any {
		start, _ := cbor.AsTime(in.cbor["StartTime"])
		end, _ := cbor.AsTime(in.cbor["EndTime"])
		token, _ := in.cbor["NextToken"].(cbor.String)
		if token == "" {
			return cbor.Map{"MetricDataResults": cbor.List{cbor.Map{"Id": cbor.String("m"), "StatusCode": cbor.String("PartialData")}}, "NextToken": cbor.String("x")}
		}
		var times, all cbor.List
		for ago, v := range values {
			at := time.Now().Truncate(period).Add(-time.Duration(ago) * period)
			if !at.Before(start) && at.Before(end) {
				times, all = append(times, &cbor.Tag{ID: 1, Value: cbor.Float64(at.Unix())}), append(all, cbor.Float64(v))
			}
		}
		return cbor.Map{"MetricDataResults": cbor.List{cbor.Map{"Id": cbor.String("m"), "StatusCode": cbor.String("Complete"), "Timestamps": times, "Values": all}}}
	})
}

// Each data point of the window since the clients moved must be there and within the
// bounds; one that is missing is never good.
func TestCloudWatchMetric(t *testing.T) {
	a, d := newAPI(t)
	const hour = failover.Duration(time.Hour) // no period ends while the test runs
	c := &CloudWatchMetricConfig{Namespace: "AWS/SQS", Metric: "NumberOfMessagesDeleted", Dimensions: map[string]string{"QueueName": "messages"}, Statistic: "Sum",
		Min: aws.Float64(1), Period: hour, Window: 3 * hour, Late: 2 * hour}
	d.Moved = time.Now().Add(-10 * time.Hour)
	for _, tt := range []struct {
		values map[int]float64 // by hours ago
		max    *float64
		want   Status
		detail string
	}{
		{map[int]float64{1: 5, 2: 7, 3: 6}, nil, Pass, "Sum of NumberOfMessagesDeleted in us-east-1 over 1h0m0s was 5 to 7 from "},
		{map[int]float64{1: 5, 2: 7, 3: 6, 4: 0}, nil, Pass, "was 5 to 7"},                                 // the newest window counts
		{map[int]float64{3: 5, 4: 7, 5: 6}, nil, Pass, "was 5 to 7"},                                       // two are late
		{map[int]float64{4: 5, 5: 7, 6: 6}, nil, Unknown, "which is not taken for good: it may be late; "}, // three are not
		{map[int]float64{1: 5, 3: 6, 4: 7, 5: 8}, nil, Pass, "was 5 to 8"},                                 // one is on its way
		{map[int]float64{1: 5, 2: 5, 4: 6, 5: 7}, nil, Unknown, "has no data at "},                         // no three in a row
		{map[int]float64{1: 0, 3: 6, 4: 7, 5: 8}, nil, Fail, "0 at "},                                      // what has come since is bad
		{map[int]float64{1: 5, 2: 0.5, 3: 6}, nil, Fail, "0.5 at "},
		{map[int]float64{1: 5, 2: 7, 3: 6}, aws.Float64(6), Fail, "; it must be from 1 to 6"},
		{map[int]float64{1: 0}, nil, Fail, "1 at least"}, // what is seen is bad, whatever the rest
		{nil, nil, Unknown, "look at namespace, name and all dimensions (QueueName=messages)"},
	} {
		a.points(time.Hour, tt.values)
		c.Max = tt.max
		verify(t, mustCheck(t, c, d), tt.want, tt.detail)
	}
	c.Max = nil
	a.points(time.Hour, map[int]float64{1: 5, 2: 7, 3: 6, 4: 8})
	// What may still change is not looked at.
	c.Settle = hour
	verify(t, mustCheck(t, c, d), Pass, "was 6 to 8")
	c.Settle = 0
	// What was before the clients came says nothing, and the hour in which they came is not whole.
	d.Moved = time.Now().Truncate(time.Hour).Add(-3*time.Hour + time.Minute)
	verify(t, mustCheck(t, c, d), Unknown, "no window of 3h0m0s is over since the clients moved, at ")
	d.Moved = time.Now().Truncate(time.Hour).Add(-3 * time.Hour)
	verify(t, mustCheck(t, c, d), Pass, "was 5 to 7")
	a.points(time.Hour, map[int]float64{2: 7, 3: 6, 4: 8})
	verify(t, mustCheck(t, c, d), Unknown, "has no data at ")
	d.Moved = time.Time{} // beside an action there is no such moment
	verify(t, mustCheck(t, c, d), Pass, "was 6 to 8")
	for status, want := range map[string]string{"Forbidden": "but not with the metric: Forbidden", "InternalError": "but not with the metric: InternalError"} {
		a.says("GetMetricData", cbor.Map{"MetricDataResults": cbor.List{cbor.Map{"Id": cbor.String("m"), "StatusCode": cbor.String(status)}}})
		verify(t, mustCheck(t, c, d), Unknown, want)
	}
	a.says("GetMetricData", cbor.Map{"MetricDataResults": cbor.List{}, "NextToken": cbor.String("again")})
	a.calls = nil
	verify(t, mustCheck(t, c, d), Unknown, "more pages than are asked for")
	if len(a.calls) > 10 {
		t.Errorf("an answer without an end was asked for %d times", len(a.calls))
	}
	unread(t, a, "GetMetricData", d, c)

	if got := (&CloudWatchMetricConfig{}).Within(); got != 7*time.Minute {
		t.Errorf("a period, a window and 3 minutes of lateness within %s", got)
	}
	ok := CloudWatchMetricConfig{Namespace: "n", Metric: "m", Statistic: "p99.9", Max: aws.Float64(1)}
	if err := ok.Validate(); err != nil {
		t.Error(err)
	}
	bad := map[string]*CloudWatchMetricConfig{}
	for want, change := range map[string]func(c *CloudWatchMetricConfig){
		"namespace: is missing":                      func(c *CloudWatchMetricConfig) { c.Namespace = "" },
		"metric: is missing":                         func(c *CloudWatchMetricConfig) { c.Metric = "" },
		`statistic: "sum" is not Sum`:                func(c *CloudWatchMetricConfig) { c.Statistic = "sum" },
		`statistic: "p101" is not`:                   func(c *CloudWatchMetricConfig) { c.Statistic = "p101" },
		"max: is missing, and so is min":             func(c *CloudWatchMetricConfig) { c.Max = nil },
		"min: 2 is above max, 1":                     func(c *CloudWatchMetricConfig) { c.Min = aws.Float64(2) },
		"period: 1.5s is not":                        func(c *CloudWatchMetricConfig) { c.Period = failover.Duration(1500 * time.Millisecond) },
		"period: 1m30s is not":                       func(c *CloudWatchMetricConfig) { c.Period = failover.Duration(90 * time.Second) },
		"window: 1m30s is not a whole number":        func(c *CloudWatchMetricConfig) { c.Window = failover.Duration(90 * time.Second) },
		"window: 2h0m0s are more than 60":            func(c *CloudWatchMetricConfig) { c.Window = 2 * hour },
		`dimensions: "QueueName" = "": neither`:      func(c *CloudWatchMetricConfig) { c.Dimensions = map[string]string{"QueueName": ""} },
		"late: -1ns is negative":                     func(c *CloudWatchMetricConfig) { c.Late = -1 },
		"late: 2h0m0s are more than 60":              func(c *CloudWatchMetricConfig) { c.Late = 2 * hour },
		"settle: -1ns is negative":                   func(c *CloudWatchMetricConfig) { c.Settle = -1 },
		"within: -1ns is negative":                   func(c *CloudWatchMetricConfig) { c.For = -1 },
		"within: 5m0s is over before a period of 1m": func(c *CloudWatchMetricConfig) { c.For = failover.Duration(5 * time.Minute) },
	} {
		c := ok
		change(&c)
		bad[want] = &c
	}
	refused(t, bad)
}

// alarms scripts DescribeAlarms, which answers with what it finds of the names; a name
// that begins with composite is one, and is left out unless it is asked for.
func (a *api) alarms(state map[string]string) {
	a.on("DescribeAlarms", func(in call) any {
		var metric, composite cbor.List
		types := fmt.Sprint(in.cbor["AlarmTypes"])
		for _, n := range in.cbor["AlarmNames"].(cbor.List) {
			value, evaluation, _ := strings.Cut(state[string(n.(cbor.String))], " ")
			alarm := cbor.Map{"AlarmName": n, "StateValue": cbor.String(value), "StateReason": cbor.String("because"), "StateTransitionedTimestamp": &cbor.Tag{ID: 1, Value: cbor.Float64(1e9)}}
			if evaluation != "" {
				alarm["EvaluationState"] = cbor.String(evaluation)
			}
			switch {
			case value == "":
			case strings.HasPrefix(string(n.(cbor.String)), "composite"):
				if strings.Contains(types, "CompositeAlarm") {
					composite = append(composite, alarm)
				}
			default:
				metric = append(metric, alarm)
			}
		}
		return cbor.Map{"MetricAlarms": metric, "CompositeAlarms": composite}
	})
}

// Only OK passes: what fires fails, what has no data or no name is not known.
func TestCloudWatchAlarm(t *testing.T) {
	a, d := newAPI(t)
	d.Moved = time.Now().Add(-time.Hour)
	c := &CloudWatchAlarmConfig{Names: []string{"errors", "composite"}}
	for _, tt := range []struct {
		errors, composite string
		want              Status
		detail            string
	}{
		{"OK", "OK", Pass, "2 of 2 alarms in us-east-1 are OK: errors, composite"},
		{"ALARM", "OK", Fail, "in ALARM in us-east-1: errors since 01:46:40Z (because)"},
		{"OK", "ALARM", Fail, "in ALARM in us-east-1: composite since"},
		{"INSUFFICIENT_DATA", "OK", Unknown, "not known in us-east-1: errors is INSUFFICIENT_DATA (because)"},
		{"OK PARTIAL_DATA", "OK", Unknown, "errors is OK with PARTIAL_DATA"},
		{"", "OK", Unknown, "there is no alarm errors in us-east-1: create it there, or correct its name"},
		{"OK", "", Unknown, "there is no alarm composite in us-east-1"},
		{"ALARM", "", Fail, "in ALARM"},
		{"INSUFFICIENT_DATA", "ALARM", Fail, "in ALARM in us-east-1: composite"},
	} {
		a.alarms(map[string]string{"errors": tt.errors, "composite": tt.composite})
		verify(t, mustCheck(t, c, d), tt.want, tt.detail)
	}
	if n := len(a.calls); n != 9 {
		t.Errorf("9 looks made %d calls", n)
	}
	// An OK of before the clients came is no news, and needs no watch where none have come.
	a.alarms(map[string]string{"errors": "OK", "composite": "OK"})
	d.Moved = time.Now().Add(-time.Minute)
	verify(t, mustCheck(t, c, d), Unknown, "2 alarms in us-east-1 are OK; watched for 1m0s of 3m0s since the clients moved")
	a.alarms(map[string]string{"errors": "ALARM", "composite": "OK"})
	verify(t, mustCheck(t, c, d), Fail, "in ALARM")
	a.alarms(map[string]string{"errors": "OK", "composite": "OK"})
	d.Moved = time.Time{}
	verify(t, mustCheck(t, c, d), Pass, "2 of 2 alarms")
	unread(t, a, "DescribeAlarms", d, c)
	refused(t, map[string]*CloudWatchAlarmConfig{
		"names: is empty: without a name CloudWatch would answer with every alarm": {},
		"names: holds an empty name":                 {Names: []string{""}},
		`names: "a" is listed twice`:                 {Names: []string{"a", "a"}},
		`names: "arn:x" is an ARN`:                   {Names: []string{"arn:x"}},
		"names: 101 are more than the 100":           {Names: make([]string, 101)},
		"watch: -1ns is negative":                    {Names: []string{"a"}, Watch: -1},
		"within: -1ns is negative":                   {Names: []string{"a"}, For: -1},
		"within: 2m0s is over before the watch of 3": {Names: []string{"a"}, For: failover.Duration(2 * time.Minute)},
	})
	if got := c.Within(); got != 5*time.Minute {
		t.Errorf("within %s", got)
	}
}

// logged scripts FilterLogEvents: how many events match, and how many there are at all,
// one on each page behind an empty one.
func (a *api) logged(matches, all int) {
	a.on("FilterLogEvents", func(in call) any {
		n := all
		if in.json["filterPattern"] == "ERROR" {
			n = matches
		}
		token, _ := in.json["nextToken"].(string)
		out := map[string]any{"events": []any{}}
		if len(token) > 0 && len(token) <= n {
			out["events"] = []any{map[string]any{"message": fmt.Sprintf("ERROR number %d", len(token)), "timestamp": in.json["startTime"]}}
		}
		if len(token) < n {
			out["nextToken"] = token + "x"
		}
		return out
	})
}

// Matches are counted from the moment of the switch, page by page and to an end; a group
// in which nothing is logged at all says nothing.
func TestCloudWatchLogs(t *testing.T) {
	a, d := newAPI(t)
	d.Moved = time.Now().Add(-time.Hour)
	c := &CloudWatchLogsConfig{Group: "/aws/lambda/events", Pattern: "ERROR", Max: 2}
	for _, tt := range []struct {
		matches, all int
		want         Status
		detail       string
	}{
		{0, 1, Pass, "0 matches of ERROR in /aws/lambda/events in us-east-1 since "},
		{2, 5, Pass, "2 matches of ERROR"},
		{3, 5, Fail, `more than 2 matches of ERROR in /aws/lambda/events in us-east-1 since `},
		{300, 500, Fail, `the last that was read: "ERROR number 3"`},
		{0, 0, Unknown, "but nothing at all was logged there, and silence is not health"},
	} {
		a.logged(tt.matches, tt.all)
		verify(t, mustCheck(t, c, d), tt.want, tt.detail)
	}
	// The request names the moment, and no more than is needed.
	a.on("FilterLogEvents", func(in call) any {
		if got := int64(in.json["startTime"].(float64)); got != d.Moved.UnixMilli() || in.json["limit"] != 3.0 && in.json["limit"] != 1.0 {
			t.Errorf("asked for %v from %d, want %d", in.json["limit"], got, d.Moved.UnixMilli())
		}
		return map[string]any{"events": []any{map[string]any{"message": "ERROR"}}}
	})
	verify(t, mustCheck(t, c, d), Pass, "1 matches of ERROR")
	// An answer without an end is left after some pages.
	a.says("FilterLogEvents", map[string]any{"events": []any{}, "nextToken": "again"})
	a.calls = nil
	verify(t, mustCheck(t, c, d), Unknown, "more pages than are asked for (20): give a pattern")
	if len(a.calls) != mostPages {
		t.Errorf("%d calls", len(a.calls))
	}
	a.says("FilterLogEvents", failed("ResourceNotFoundException"))
	verify(t, mustCheck(t, c, d), Unknown, "there is no log group /aws/lambda/events in us-east-1")
	unread(t, a, "FilterLogEvents", d, c)
	// It watches for a while, and what is too much is too much at once. What is lost on the way to
	// the end is not known, and too much all the same.
	d.Moved = time.Now().Add(-time.Minute)
	a.logged(1, 5)
	verify(t, mustCheck(t, c, d), Unknown, "1 matches of ERROR in /aws/lambda/events in us-east-1 since ")
	verify(t, mustCheck(t, c, d), Unknown, "2 may be; watched for 1m0s of 2m0s")
	a.logged(3, 5)
	verify(t, mustCheck(t, c, d), Fail, "more than 2 matches")
	d.Moved = time.Time{} // a plan that moves no clients: from the first look on
	a.logged(0, 5)
	verify(t, mustCheck(t, c, d), Unknown, "watched for 0s of 2m0s")
	refused(t, map[string]*CloudWatchLogsConfig{
		"group: is missing":                             {},
		`group: "a b" is not the name`:                  {Group: "a b"},
		"pattern: is missing":                           {Group: "g"},
		"pattern: has 1025 characters":                  {Group: "g", Pattern: strings.Repeat("x", 1025)},
		"max: -1 is negative":                           {Group: "g", Pattern: "ERROR", Max: -1},
		"max: 1001 are more":                            {Group: "g", Pattern: "ERROR", Max: 1001},
		"watch: -1ns is negative":                       {Group: "g", Pattern: "ERROR", Watch: -1},
		"within: 1m0s is over before the watch of 2m0s": {Group: "g", Pattern: "ERROR", For: failover.Duration(time.Minute)},
	})
}
