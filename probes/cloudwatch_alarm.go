package probes

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/failoverd/failoverd/failover"
)

// CloudWatchAlarmConfig asserts that alarms of the region are OK. INSUFFICIENT_DATA is
// unknown: an alarm without data watches nothing.
type CloudWatchAlarmConfig struct {
	// Names are metric alarms and composite alarms, which are called the same in both
	// regions; at most 100, and the case of letters counts.
	Names []string `toml:"names" json:"names"`
	// Watch is how long after the clients moved an OK begins to count: an alarm needs
	// its periods to notice anything, and until then says what was before. Zero: 3
	// minutes. Where no clients have moved yet it does not count.
	Watch failover.Duration `toml:"watch" json:"watch,omitempty"`
	// For is how long it is asked again before it has failed. Zero: 2 minutes more
	// than Watch.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

// mostAlarms is how many names one call takes (API_DescribeAlarms).
const mostAlarms = 100

// Validate reports the first wrong parameter.
func (c *CloudWatchAlarmConfig) Validate() error {
	switch {
	case len(c.Names) == 0:
		return badParam("names", "is empty: without a name CloudWatch would answer with every alarm, and none of them would be meant")
	case len(c.Names) > mostAlarms:
		return badParam("names", "%d are more than the %d that can be asked for at once: a composite alarm stands for many", len(c.Names), mostAlarms)
	}
	if err := validNames("names", c.Names); err != nil {
		return err
	}
	return watched(c.Watch, c.watch(), c.For)
}

// watched checks how long something is watched, and that it fits.
func watched(set failover.Duration, watch time.Duration, within failover.Duration) error {
	if err := notNegative("watch", set); err != nil {
		return err
	}
	if err := notNegative("within", within); err != nil {
		return err
	}
	if within > 0 && within.D() <= watch {
		return badParam("within", "%s is over before the watch of %s is", within, watch)
	}
	return nil
}

func (c *CloudWatchAlarmConfig) watch() time.Duration { return orElse(c.Watch, 3*time.Minute) }

// Within implements CheckConfig.
func (c *CloudWatchAlarmConfig) Within() time.Duration {
	return orElse(c.For, c.watch()+DefaultWithin)
}

// NewCheck implements CheckConfig.
func (c *CloudWatchAlarmConfig) NewCheck(d Deps) (Check, error) {
	if d.Cloud == nil {
		return nil, fmt.Errorf("alarms %s: there are no AWS clients", strings.Join(c.Names, ", "))
	}
	return &cloudWatchAlarm{c, d, d.Cloud.CloudWatch(string(d.Region))}, nil
}

type cloudWatchAlarm struct {
	cfg    *CloudWatchAlarmConfig
	deps   Deps
	client *cloudwatch.Client
}

// alarm is what CloudWatch says of one.
type alarm struct {
	state      types.StateValue
	reason     string
	evaluation types.EvaluationState // "": in full
	changed    time.Time
}

// Check implements Check. One alarm that fires outweighs everything; then what is not
// known; then one watches for a while.
func (a *cloudWatchAlarm) Check(ctx context.Context) Finding { return a.deps.ask(ctx, a.look) }

func (a *cloudWatchAlarm) look(ctx context.Context) Finding {
	seen, err := a.read(ctx)
	if err != nil {
		return Finding{Unknown, awsError("DescribeAlarms", err).detail}
	}
	var fire, dim, none []string
	for _, name := range a.cfg.Names {
		switch s, ok := seen[name]; {
		case !ok:
			none = append(none, name)
		case s.state == types.StateValueAlarm:
			fire = append(fire, fmt.Sprintf("%s since %sZ (%s)", name, s.changed.UTC().Format(time.TimeOnly), s.reason))
		case s.state != types.StateValueOk:
			dim = append(dim, fmt.Sprintf("%s is %s (%s)", name, s.state, s.reason))
		case s.evaluation != "": // OK as of when it could be told last
			dim = append(dim, fmt.Sprintf("%s is OK with %s (%s)", name, s.evaluation, s.reason))
		}
	}
	in := " in " + string(a.deps.Region)
	switch passed := time.Since(a.deps.Moved); {
	case len(fire) > 0:
		return Finding{Fail, "in ALARM" + in + ": " + few(fire)}
	case len(none) > 0:
		return Finding{Unknown, "there is no alarm " + few(none) + in + ": create it there, or correct its name; the case of letters counts"}
	case len(dim) > 0:
		return Finding{Unknown, "not known" + in + ": " + few(dim)}
	case !a.deps.Moved.IsZero() && passed < a.cfg.watch():
		return Finding{Unknown, fmt.Sprintf("%d alarms%s are OK; watched for %s of %s since the clients moved", len(seen), in, passed.Round(time.Second), a.cfg.watch())}
	}
	return Finding{Pass, fmt.Sprintf("%d of %d alarms%s are OK: %s", len(a.cfg.Names), len(a.cfg.Names), in, few(a.cfg.Names))}
}

// read asks for all alarms at once. Without AlarmTypes composite alarms are left out,
// and a name that is none is left out of the answer without an error.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
func (a *cloudWatchAlarm) read(ctx context.Context) (map[string]alarm, error) {
	out := map[string]alarm{}
	in := &cloudwatch.DescribeAlarmsInput{AlarmNames: a.cfg.Names, AlarmTypes: []types.AlarmType{types.AlarmTypeMetricAlarm, types.AlarmTypeCompositeAlarm}, MaxRecords: aws.Int32(mostAlarms)}
	err := everyPage(ctx, cloudwatch.NewDescribeAlarmsPaginator(a.client, in), func(page *cloudwatch.DescribeAlarmsOutput) error {
		for _, m := range page.MetricAlarms {
			out[aws.ToString(m.AlarmName)] = alarm{m.StateValue, aws.ToString(m.StateReason), m.EvaluationState, aws.ToTime(m.StateTransitionedTimestamp)}
		}
		for _, c := range page.CompositeAlarms {
			out[aws.ToString(c.AlarmName)] = alarm{c.StateValue, aws.ToString(c.StateReason), "", aws.ToTime(c.StateTransitionedTimestamp)}
		}
		return nil
	})
	return out, err
}
