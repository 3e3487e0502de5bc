package awsfake

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func TestSQS(t *testing.T) {
	f, ctx := newFixture(t), t.Context()
	created, err := f.sqs.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("messages")})
	if err != nil {
		t.Fatal(err)
	}
	url := created.QueueUrl
	receive := func(wait int32) []types.Message {
		t.Helper()
		out, err := f.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 10, WaitTimeSeconds: wait,
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll}})
		if err != nil {
			t.Fatal(err)
		}
		return out.Messages
	}
	send := func(body string) {
		t.Helper()
		if _, err := f.sqs.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: url, MessageBody: &body}); err != nil {
			t.Error(err)
		}
	}

	t.Run("long polling ends when a message arrives", func(t *testing.T) {
		begin := time.Now()
		got := make(chan int)
		go func() { got <- len(receive(10)) }()
		send("one")
		if n := <-got; n != 1 || time.Since(begin) > 5*time.Second {
			t.Errorf("%d messages after %v", n, time.Since(begin))
		}
	})
	t.Run("a message comes back after the visibility timeout and its old handle deletes nothing", func(t *testing.T) {
		if n := len(receive(0)); n != 0 {
			t.Fatalf("%d messages are visible while one is in flight", n)
		}
		again := receive(5)
		if len(again) != 1 || again[0].Attributes["ApproximateReceiveCount"] != "2" {
			t.Fatalf("redelivery: %+v", again)
		}
		old := again[0].ReceiptHandle
		third := receive(5)
		if len(third) != 1 {
			t.Fatal("no third delivery")
		}
		for _, h := range []*string{old, third[0].ReceiptHandle} {
			if _, err := f.sqs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: h}); err != nil {
				t.Errorf("delete: %v", err)
			}
			v, n := f.SQS.Depth("messages")
			if want := map[*string]int{old: 1}[h]; v+n != want {
				t.Errorf("%d messages left, want %d", v+n, want)
			}
		}
	})
	t.Run("the counters lag behind", func(t *testing.T) {
		count := func() string {
			out, err := f.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameApproximateNumberOfMessages}})
			if err != nil {
				t.Fatal(err)
			}
			return out.Attributes["ApproximateNumberOfMessages"]
		}
		before := count()
		send("two")
		if n := count(); n != before {
			t.Logf("counter was %s before the message and %s right after: slow machine?", before, n)
		}
		eventually(t, "the counter says 1", func() bool { return count() == "1" })
	})
	t.Run("errors", func(t *testing.T) {
		_, err := f.sqs.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String("none")})
		wantCode(t, err, "AWS.SimpleQueueService.NonExistentQueue")
		_, err = f.sqs.ReceiveMessage(context.WithoutCancel(ctx), &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 11})
		wantCode(t, err, "InvalidParameterValue")
	})
}
