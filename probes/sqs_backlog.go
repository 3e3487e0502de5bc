package probes

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/failoverd/failoverd/failover"
)

// SQSBacklogConfig asserts that a queue is being worked off.
type SQSBacklogConfig struct {
	// Queue is the queue's name. Nothing is received from it.
	Queue string `toml:"queue" json:"queue"`
	// Max is the largest ApproximateNumberOfMessages that passes.
	Max int `toml:"max" json:"max"`
	// DrainedWithin lets more pass when they become fewer, so fast that Max is
	// reached within this time: what piled up in an outage may take hours. The
	// queue is watched for one Trend in any case. Zero: only Max counts, at once.
	DrainedWithin failover.Duration `toml:"drained_within" json:"drained_within,omitempty"`
	// Trend is how long the queue must have been watched before its pace counts:
	// the number is approximate, and lags. Zero: 2 minutes.
	Trend failover.Duration `toml:"trend" json:"trend,omitempty"`
	// For is how long it is asked again before it has failed. Zero: 2 minutes, and
	// with DrainedWithin as long as Trend more.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

// Validate reports the first wrong parameter.
func (c *SQSBacklogConfig) Validate() error {
	if err := validQueue(c.Queue); err != nil {
		return err
	}
	if c.Max < 0 {
		return badParam("max", "%d is negative", c.Max)
	}
	for _, d := range []struct {
		field string
		value failover.Duration
	}{{"drained_within", c.DrainedWithin}, {"trend", c.Trend}, {"within", c.For}} {
		if err := notNegative(d.field, d.value); err != nil {
			return err
		}
	}
	if c.DrainedWithin > 0 && c.For > 0 && c.For.D() <= c.trend() {
		return badParam("within", "%s is over before the trend of %s is known", c.For, c.trend())
	}
	return nil
}

func (c *SQSBacklogConfig) trend() time.Duration {
	if c.Trend == 0 {
		return 2 * time.Minute
	}
	return c.Trend.D()
}

// Within implements CheckConfig.
func (c *SQSBacklogConfig) Within() time.Duration {
	if c.For == 0 && c.DrainedWithin > 0 {
		return DefaultWithin + c.trend()
	}
	return within(c.For)
}

type sqsBacklog struct {
	cfg *SQSBacklogConfig
	*sqsQueue
	samples []depth // of the last trend and a little more, oldest first
	now     func() time.Time
}

// depth is how many messages waited at a moment.
type depth struct {
	at time.Time
	n  int
}

// NewCheck implements CheckConfig.
func (c *SQSBacklogConfig) NewCheck(d Deps) (Check, error) {
	q, err := newSQSQueue(d, c.Queue)
	if err != nil {
		return nil, err
	}
	return &sqsBacklog{cfg: c, sqsQueue: q, now: time.Now}, nil
}

// Check implements Check.
func (b *sqsBacklog) Check(ctx context.Context) Finding {
	ctx, cancel := b.deps.within(ctx)
	defer cancel()
	if err := b.find(ctx); err != nil {
		return Finding{Unknown, awsError("GetQueueUrl", err).detail}
	}
	n, err := b.depth(ctx, types.QueueAttributeNameApproximateNumberOfMessages)
	if err != nil {
		return Finding{Unknown, err.Error()}
	}
	detail := fmt.Sprintf("about %d messages wait in %s in %s, %d may", n, b.name, b.deps.Region, b.cfg.Max)
	if b.cfg.DrainedWithin == 0 {
		if n > b.cfg.Max {
			return Finding{Fail, detail}
		}
		return Finding{Pass, detail}
	}
	// A queue that is empty at the moment of the switch says nothing: what piled up
	// comes with the clients.
	pace, watched := b.pace(n)
	minutes := float64(n-b.cfg.Max) / -pace // until Max is reached; of no meaning unless they become fewer
	switch {
	case watched < b.cfg.trend():
		return Finding{Fail, fmt.Sprintf("%s; watched for %s of %s", detail, watched.Round(time.Second), b.cfg.trend())}
	case n <= b.cfg.Max:
		return Finding{Pass, detail}
	case pace > -1: // a queue that nobody reads has the slope of its rounding errors
		return Finding{Fail, fmt.Sprintf("%s, and they do not become fewer: %+.0f a minute", detail, pace)}
	}
	left := time.Duration(minutes * float64(time.Minute)).Round(time.Second)
	if minutes > b.cfg.DrainedWithin.D().Minutes() {
		return Finding{Fail, fmt.Sprintf("%s; %.0f a minute, so that %d are left in %s; it may take %s", detail, pace, b.cfg.Max, left, b.cfg.DrainedWithin)}
	}
	return Finding{Pass, fmt.Sprintf("%s; %.0f a minute, so that %d are left in %s", detail, pace, b.cfg.Max, left)}
}

// pace is by how many messages a minute the queue grows, from the least squares
// through the samples of one trend, and how long it has been watched.
func (b *sqsBacklog) pace(n int) (perMinute float64, watched time.Duration) {
	now := b.now()
	b.samples = append(b.samples, depth{now, n})
	for len(b.samples) > 2 && now.Sub(b.samples[1].at) >= b.cfg.trend() {
		b.samples = b.samples[1:]
	}
	first := b.samples[0].at
	var x, y, xx, xy float64
	for _, s := range b.samples {
		t := s.at.Sub(first).Minutes()
		x, y, xx, xy = x+t, y+float64(s.n), xx+t*t, xy+t*float64(s.n)
	}
	k := float64(len(b.samples))
	if d := k*xx - x*x; d > 0 {
		perMinute = (k*xy - x*y) / d
	}
	return perMinute, now.Sub(first)
}
