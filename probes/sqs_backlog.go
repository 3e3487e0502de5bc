package probes

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/failoverd/failoverd/failover"
)

// SQSBacklogConfig asserts that a queue is being worked off.
type SQSBacklogConfig struct {
	// Queue is the queue's name. Nothing is received from it.
	Queue string `toml:"queue" json:"queue"`
	// Max is the largest ApproximateNumberOfMessages that passes.
	Max int `toml:"max" json:"max"`
	// For is how long it is asked again before it has failed. Zero: 2 minutes.
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
	return notNegative("within", c.For)
}

// Within implements CheckConfig.
func (c *SQSBacklogConfig) Within() time.Duration { return within(c.For) }

type sqsBacklog struct {
	cfg *SQSBacklogConfig
	*sqsQueue
}

// NewCheck implements CheckConfig.
func (c *SQSBacklogConfig) NewCheck(d Deps) (Check, error) {
	q, err := newSQSQueue(d, c.Queue)
	if err != nil {
		return nil, err
	}
	return &sqsBacklog{c, q}, nil
}

// Check implements Check.
func (b *sqsBacklog) Check(ctx context.Context) Finding {
	ctx, cancel := b.deps.within(ctx)
	defer cancel()
	if err := b.find(ctx); err != nil {
		return Finding{Unknown, awsError("GetQueueUrl", err).detail}
	}
	const attribute = types.QueueAttributeNameApproximateNumberOfMessages
	out, err := b.client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &b.url, AttributeNames: []types.QueueAttributeName{attribute}}, once)
	if err != nil {
		return Finding{Unknown, awsError("GetQueueAttributes", err).detail}
	}
	n, err := strconv.Atoi(out.Attributes[string(attribute)])
	if err != nil {
		return Finding{Unknown, fmt.Sprintf("queue %s reports %q messages", b.name, out.Attributes[string(attribute)])}
	}
	detail := fmt.Sprintf("about %d messages wait in %s in %s, %d may", n, b.name, b.deps.Region, b.cfg.Max)
	if n > b.cfg.Max {
		return Finding{Fail, detail}
	}
	return Finding{Pass, detail}
}
