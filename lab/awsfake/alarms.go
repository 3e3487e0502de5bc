package awsfake

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/failoverd/failoverd/lab/faults"
)

// Alarm watches a metric, or, as a composite alarm, other alarms.
type Alarm struct {
	Name   string
	Metric Metric
	// Above is the threshold: it breaches what is greater. Periods is how many minutes in a row must.
	Above   float64
	Periods int
	// Quiet treats a minute without data as not breaching; else an alarm that has no data at all is INSUFFICIENT_DATA.
	Quiet bool
	// Of makes it a composite alarm that fires when one of these does.
	Of []string
}

// The states of an alarm.
const (
	alarmOK      = "OK"
	alarmFiring  = "ALARM"
	alarmUnknown = "INSUFFICIENT_DATA"
)

type alarmState struct {
	Alarm
	value, reason string
	since         time.Time
}

// evaluate lets every alarm look at the minutes that can be read by now. It sees a change as late as everybody else, and one that
// has not looked yet has no state: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
func (c *CloudWatch) evaluate(now time.Time) {
	names := slices.Sorted(maps.Keys(c.alarms))
	for _, composite := range []bool{false, true} { // a composite alarm looks at the states of others
		for _, name := range names {
			if a := c.alarms[name]; (len(a.Of) > 0) == composite {
				c.enter(a, now)
			}
		}
	}
}

func (c *CloudWatch) enter(a *alarmState, now time.Time) {
	value, reason := c.judge(a, now)
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.value != value {
		a.since = now
	}
	a.value, a.reason = value, reason
}

func (c *CloudWatch) judge(a *alarmState, now time.Time) (value, reason string) {
	switch c.distorted("alarm", a.Name) {
	case faults.Error:
		return alarmFiring, "Threshold Crossed: as the fault has it"
	case faults.Hang:
		return alarmUnknown, "Insufficient Data: as the fault has it"
	}
	if len(a.Of) > 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, child := range a.Of {
			if c.alarms[child].value == alarmFiring {
				return alarmFiring, child + " transitioned to ALARM"
			}
		}
		return alarmOK, "no alarm of the rule is in ALARM" // its children's INSUFFICIENT_DATA is not ALARM
	}
	end := now.Add(-c.opt.Late).Truncate(c.opt.Minute)
	begin := end.Add(-time.Duration(a.Periods) * c.opt.Minute)
	points := c.read(a.Metric, begin, end, now)
	above := 0
	for _, v := range points {
		if v > a.Above {
			above++
		}
	}
	switch {
	case above == a.Periods:
		return alarmFiring, fmt.Sprintf("Threshold Crossed: %d datapoints were greater than the threshold (%g).", above, a.Above)
	case len(points) == 0 && !a.Quiet:
		return alarmUnknown, fmt.Sprintf("Insufficient Data: %d datapoints were unknown.", a.Periods)
	}
	return alarmOK, fmt.Sprintf("Threshold Crossed: %d out of the last %d datapoints were not greater than the threshold (%g).", a.Periods-above, a.Periods, a.Above)
}

// describeAlarms answers with those that it finds of the names; a name that is none is left out. Composite alarms come only when
// they are asked for by type. https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
func (c *CloudWatch) describeAlarms(in cbor.Map) (cbor.Map, error) {
	var names, types []string
	for from, to := range map[string]*[]string{"AlarmNames": &names, "AlarmTypes": &types} {
		list, _ := in[from].(cbor.List)
		for _, v := range list {
			s, _ := v.(cbor.String)
			*to = append(*to, string(s))
		}
	}
	if len(names) > 100 {
		return nil, badRequest("ValidationError", "1 validation error detected: Value at 'alarmNames' failed to satisfy constraint: Member must have length less than or equal to 100")
	}
	if len(types) == 0 {
		types = []string{"MetricAlarm"}
	}
	lists := map[string]cbor.List{"MetricAlarm": {}, "CompositeAlarm": {}}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(c.alarms)) {
		a, kind := c.alarms[name], "MetricAlarm"
		if len(a.Of) > 0 {
			kind = "CompositeAlarm"
		}
		if len(names) > 0 && !slices.Contains(names, name) || !slices.Contains(types, kind) {
			continue
		}
		at := &cbor.Tag{ID: 1, Value: cbor.Float64(epochSeconds(a.since))}
		lists[kind] = append(lists[kind], cbor.Map{"AlarmName": cbor.String(name), "StateValue": cbor.String(a.value), "StateReason": cbor.String(a.reason),
			"StateUpdatedTimestamp": at, "StateTransitionedTimestamp": at, "ActionsEnabled": cbor.Bool(true)})
	}
	return cbor.Map{"MetricAlarms": lists["MetricAlarm"], "CompositeAlarms": lists["CompositeAlarm"]}, nil
}
