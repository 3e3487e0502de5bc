package probes

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/failoverd/failoverd/failover"
)

// SQSConfig sends a message through a canary queue and waits for it.
type SQSConfig struct {
	// Queue is the canary queue's name. Each node needs its own in each region:
	// SQS cannot receive selectively, and nodes would eat each other's messages.
	// Everything in it is deleted.
	Queue string `toml:"queue" json:"queue"`
	// Wait is the long poll for the message, in whole seconds. Zero: 2 s.
	Wait failover.Duration `toml:"wait" json:"wait,omitempty"`
	// Waiting names the queues whose messages would wait in a region that is left: they are counted for the price, and say nothing of the
	// region's health. Empty: none are.
	Waiting []string `toml:"waiting" json:"waiting,omitempty"`
	// Slow is the time after which a message that came through counts as slow.
	// Zero: never.
	Slow failover.Duration `toml:"slow" json:"slow,omitempty"`
}

// defaultSQSWait is long enough for a long poll to ask every SQS server.
const defaultSQSWait = 2 * time.Second

// Validate reports the first wrong parameter.
func (c *SQSConfig) Validate() error {
	if err := validQueue(c.Queue); err != nil {
		return err
	}
	if w := c.Wait.D(); w != 0 && (w < time.Second || w > 20*time.Second || w%time.Second != 0) {
		return badParam("wait", "%s is not a whole number of seconds from 1s to 20s", c.Wait)
	}
	for i, name := range c.Waiting {
		if err := validQueue(name); err != nil {
			return badParam("waiting", "%q is not the name of a queue (letters, digits, - and _)", name)
		}
		if name == c.Queue || slices.Contains(c.Waiting[:i], name) {
			return badParam("waiting", "%q is named twice, or is the canary's own queue", name)
		}
	}
	return notNegative("slow", c.Slow)
}

// LongPoll is how long a receive waits at the queue.
func (c *SQSConfig) LongPoll() time.Duration {
	if c.Wait == 0 {
		return defaultSQSWait
	}
	return c.Wait.D()
}

// MinTimeout leaves room for the long poll and the calls around it.
func (c *SQSConfig) MinTimeout() time.Duration { return c.LongPoll() + 2*time.Second }

func validQueue(name string) error {
	switch {
	case name == "":
		return badParam("queue", "is missing")
	case len(name) > 80:
		return badParam("queue", "%q is longer than the 80 characters that SQS allows", name)
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.' {
			return badParam("queue", "%q is not the name of a queue (letters, digits, - and _)", name)
		}
	}
	return nil
}

// sqsQueue is a queue found by name. It is used by one goroutine at a time.
type sqsQueue struct {
	client *sqs.Client
	deps   Deps
	name   string
	url    string // found once; queues do not move
}

func newSQSQueue(d Deps, name string) (*sqsQueue, error) {
	if d.Cloud == nil {
		return nil, fmt.Errorf("queue %s: there are no AWS clients", name)
	}
	return &sqsQueue{client: d.Cloud.SQS(string(d.Region)), deps: d, name: name}, nil
}

// once asks without the SDK's retries: a probe is repeated anyway, and a retry
// would hide the failure that it is there to see.
func once(o *sqs.Options) { o.RetryMaxAttempts = 1 }

// find fills in the queue's URL. Missing credentials are told apart from a
// region that does not answer.
func (q *sqsQueue) find(ctx context.Context) error {
	if err := q.deps.Cloud.Credentials(ctx); err != nil {
		return err
	}
	if q.url != "" {
		return nil
	}
	out, err := q.client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &q.name}, once)
	if err != nil {
		return err
	}
	q.url = aws.ToString(out.QueueUrl)
	return nil
}

type sqsProbe struct {
	cfg *SQSConfig
	*sqsQueue
	waiting []*sqsQueue
	counted time.Time        // when they were last asked, with or without success
	atRisk  *failover.AtRisk // what they said then; nil: nobody has asked
}

// New implements Config.
func (c *SQSConfig) New(d Deps) (Probe, error) {
	q, err := newSQSQueue(d, c.Queue)
	if err != nil {
		return nil, err
	}
	p := &sqsProbe{cfg: c, sqsQueue: q}
	for _, name := range c.Waiting {
		w, err := newSQSQueue(d, name)
		if err != nil {
			return nil, err
		}
		p.waiting = append(p.waiting, w)
	}
	return p, nil
}

// Probe implements Probe.
func (p *sqsProbe) Probe(ctx context.Context) failover.Observation {
	o := p.deps.observation("sqs", p.name)
	ctx, cancel := p.deps.within(ctx)
	defer cancel()
	r := p.canary(ctx)
	r.latency = time.Since(o.At)
	r.atRisk = p.count(ctx)
	return r.slower(p.cfg.Slow.D()).finish(o)
}

// countEvery is how often the messages are counted: a price needs them no more exactly, and each look is a call that AWS bills.
const countEvery = 15 * time.Second

// count is how many messages wait for the region. A queue that cannot be asked makes it unknown, never less, and says nothing of the
// region's health: the canary does.
func (p *sqsProbe) count(ctx context.Context) *failover.AtRisk {
	if len(p.waiting) == 0 || time.Since(p.counted) < countEvery {
		return p.atRisk
	}
	p.counted = time.Now()
	sum := failover.AtRisk{Unit: "messages", Where: "queue " + strings.Join(p.cfg.Waiting, ", ")}
	for _, q := range p.waiting {
		if err := q.find(ctx); err != nil {
			sum.Items, sum.Lacks = 0, awsError("GetQueueUrl of "+q.name, err).detail
			break
		}
		// Also those that a worker holds, or that are delayed: nobody there will finish them.
		n, err := q.depth(ctx, types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
			types.QueueAttributeNameApproximateNumberOfMessagesDelayed)
		if err != nil {
			sum.Items, sum.Lacks = 0, q.name+": "+err.Error()
			break
		}
		sum.Items += int64(n)
	}
	p.atRisk = &sum
	return p.atRisk
}

// depth is the sum of the given numbers of messages, as the queue reports them: approximate.
func (q *sqsQueue) depth(ctx context.Context, attributes ...types.QueueAttributeName) (int, error) {
	out, err := q.client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &q.url, AttributeNames: attributes}, once)
	if err != nil {
		return 0, errors.New(awsError("GetQueueAttributes", err).detail)
	}
	sum := 0
	for _, a := range attributes {
		n, err := strconv.Atoi(out.Attributes[string(a)])
		if err != nil {
			return 0, fmt.Errorf("queue %s reports %q messages", q.name, out.Attributes[string(a)])
		}
		sum += n
	}
	return sum, nil
}

// canary sends a message and receives until it comes back. Whatever else is in
// the queue is left over from earlier probes and deleted as well.
func (p *sqsProbe) canary(ctx context.Context) result {
	if err := p.find(ctx); err != nil {
		return awsError("GetQueueUrl", err)
	}
	nonce := rand.Text()
	if _, err := p.client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &p.url, MessageBody: &nonce}, once); err != nil {
		return awsError("SendMessage", err)
	}
	wait := p.cfg.LongPoll()
	if p.cfg.Wait == 0 { // the default gives way to a short time-out of the calls
		wait = min(wait, (p.deps.Cloud.Timeout() - 200*time.Millisecond).Truncate(time.Second))
	}
	for {
		out, err := p.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: &p.url, MaxNumberOfMessages: 10, WaitTimeSeconds: int32(max(0, wait) / time.Second),
		}, once)
		if err != nil {
			return awsError("ReceiveMessage", err)
		}
		found := false
		for _, m := range out.Messages {
			found = found || aws.ToString(m.Body) == nonce
		}
		r := p.remove(ctx, out.Messages)
		if found {
			return r
		}
		// A long poll that ends without the message may have missed it; within
		// the deadline it is worth another.
		if ctx.Err() != nil || len(out.Messages) == 0 {
			return result{outcome: failover.Failed, reason: failover.ReasonTimeout, detail: fmt.Sprintf("the message was sent but did not come back within %s", wait)}
		}
	}
}

// remove deletes what was received. A message that stays is deleted next time,
// so that a failure here only degrades.
func (p *sqsProbe) remove(ctx context.Context, messages []types.Message) result {
	if len(messages) == 0 {
		return result{outcome: failover.OK}
	}
	var entries []types.DeleteMessageBatchRequestEntry
	for i, m := range messages {
		entries = append(entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle})
	}
	if _, err := p.client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &p.url, Entries: entries}, once); err != nil {
		r := awsError("DeleteMessageBatch", err)
		if r.outcome == failover.Failed {
			r.outcome = failover.Slow
		}
		return r
	}
	return result{outcome: failover.OK}
}
