package probes

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	logs "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/failoverd/failoverd/failover"
)

// CloudWatchLogsConfig asserts that what is logged since clients have been sent to the
// region holds no more than so many lines of a kind: errors, as a rule. A group in
// which nothing at all was logged since is unknown: silence is not health.
type CloudWatchLogsConfig struct {
	// Group is the log group's name, which is the same in both regions, as
	// "/aws/lambda/events-handler".
	Group string `toml:"group" json:"group"`
	// Pattern is a filter pattern of CloudWatch Logs: `ERROR`, `?ERROR ?"timed out"`,
	// `{ $.level = "error" }`.
	Pattern string `toml:"pattern" json:"pattern"`
	// Max is how many matches pass.
	Max int `toml:"max" json:"max"`
	// Watch is how long after the clients moved it begins to count that there are no
	// more. Zero: 2 minutes.
	Watch failover.Duration `toml:"watch" json:"watch,omitempty"`
	// For is how long it is asked again before it has failed. Zero: 2 minutes more
	// than Watch.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

// logGroup is what AWS allows (API_CreateLogGroup).
var logGroup = regexp.MustCompile(`^[.\-_/#A-Za-z0-9]{1,512}$`)

// mostMatches keeps a look from reading on for ever: more are no number that anybody
// would allow.
const mostMatches = 1000

// Validate reports the first wrong parameter.
func (c *CloudWatchLogsConfig) Validate() error {
	switch {
	case c.Group == "":
		return badParam("group", "is missing")
	case !logGroup.MatchString(c.Group):
		return badParam("group", "%q is not the name of a log group (letters, digits and . - _ / #)", c.Group)
	case c.Pattern == "":
		return badParam("pattern", "is missing: every line would match")
	case len(c.Pattern) > 1024:
		return badParam("pattern", "has %d characters, more than the 1024 that CloudWatch Logs takes", len(c.Pattern))
	case c.Max < 0:
		return badParam("max", "%d is negative", c.Max)
	case c.Max > mostMatches:
		return badParam("max", "%d are more than the %d that are counted: use a metric filter, and cloudwatch_metric", c.Max, mostMatches)
	}
	return watched(c.Watch, c.watch(), c.For)
}

func (c *CloudWatchLogsConfig) watch() time.Duration { return orElse(c.Watch, 2*time.Minute) }

// Within implements CheckConfig.
func (c *CloudWatchLogsConfig) Within() time.Duration {
	return orElse(c.For, c.watch()+DefaultWithin)
}

// NewCheck implements CheckConfig.
func (c *CloudWatchLogsConfig) NewCheck(d Deps) (Check, error) {
	if d.Cloud == nil {
		return nil, fmt.Errorf("log group %s: there are no AWS clients", c.Group)
	}
	since := d.Moved
	if since.IsZero() { // a plan that moves no clients
		since = time.Now()
	}
	return &cloudWatchLogs{c, d, d.Cloud.Logs(string(d.Region)), since}, nil
}

type cloudWatchLogs struct {
	cfg    *CloudWatchLogsConfig
	deps   Deps
	client *logs.Client
	since  time.Time
}

// Check implements Check.
func (l *cloudWatchLogs) Check(ctx context.Context) Finding { return l.deps.ask(ctx, l.look) }

func (l *cloudWatchLogs) look(ctx context.Context) Finding {
	where := fmt.Sprintf("%s in %s since %sZ", l.cfg.Group, l.deps.Region, l.since.UTC().Format(time.TimeOnly))
	n, last, err := l.count(ctx, &l.cfg.Pattern, l.cfg.Max+1)
	if n > l.cfg.Max { // however the rest may be
		return Finding{Fail, fmt.Sprintf("more than %d matches of %s in %s, the last that was read: %.200q", l.cfg.Max, l.cfg.Pattern, where, last)}
	}
	if err != nil {
		return l.unknown(where, err)
	}
	detail := fmt.Sprintf("%d matches of %s in %s, %d may be", n, l.cfg.Pattern, where, l.cfg.Max)
	if passed := time.Since(l.since); passed < l.cfg.watch() {
		return Finding{Unknown, fmt.Sprintf("%s; watched for %s of %s", detail, passed.Round(time.Second), l.cfg.watch())}
	}
	if n == 0 {
		switch lines, _, err := l.count(ctx, nil, 1); {
		case err != nil:
			return l.unknown(where, err)
		case lines == 0:
			return Finding{Unknown, detail + "; but nothing at all was logged there, and silence is not health: look at what writes it"}
		}
	}
	return Finding{Pass, detail}
}

func (l *cloudWatchLogs) unknown(where string, err error) Finding {
	if _, none := errors.AsType[*types.ResourceNotFoundException](err); none {
		return Finding{Unknown, fmt.Sprintf("there is no log group %s in %s: a function makes its own with the first line that it writes; correct the name, or create it", l.cfg.Group, l.deps.Region)}
	}
	return Finding{Unknown, where + ": " + awsError("FilterLogEvents", err).detail}
}

// mostPages bounds one look. A page may be empty and still have others behind it.
const mostPages = 20

// count counts matches since the clients moved, up to enough, and returns the last one
// that it read. An end that is reached after too many pages is not known.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
func (l *cloudWatchLogs) count(ctx context.Context, pattern *string, enough int) (n int, last string, err error) {
	in := &logs.FilterLogEventsInput{
		LogGroupName: &l.cfg.Group, FilterPattern: pattern, Limit: aws.Int32(int32(min(enough, mostMatches))), //nolint:gosec // at most a thousand
		StartTime: aws.Int64(l.since.UnixMilli()), EndTime: aws.Int64(time.Now().UnixMilli()),
	}
	for range mostPages {
		out, err := l.client.FilterLogEvents(ctx, in, func(o *logs.Options) { o.RetryMaxAttempts = 1 })
		if err != nil {
			return n, last, err
		}
		if len(out.Events) > 0 {
			n += len(out.Events)
			last = aws.ToString(out.Events[len(out.Events)-1].Message)
		}
		if n >= enough || aws.ToString(out.NextToken) == "" {
			return n, last, nil
		}
		in.NextToken = out.NextToken
	}
	return n, last, fmt.Errorf("%w (%d): give a pattern that fewer lines must be read for, or a group of its own", errPages, mostPages)
}
