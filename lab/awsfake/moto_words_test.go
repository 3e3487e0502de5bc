package awsfake

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// messageSteps are what becomes of messages, and what is said of a queue.
func messageSteps() []step {
	attributes := func(names ...sqstypes.QueueAttributeName) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &s.orders, AttributeNames: names})
			return or(out, err, func(o *sqs.GetQueueAttributesOutput) string {
				var all []string
				for _, n := range names {
					all = append(all, o.Attributes[string(n)])
				}
				return strings.Join(all, " ")
			})
		}
	}
	counts := attributes(sqstypes.QueueAttributeNameApproximateNumberOfMessages, sqstypes.QueueAttributeNameApproximateNumberOfMessagesNotVisible)
	settings := attributes(sqstypes.QueueAttributeNameVisibilityTimeout, sqstypes.QueueAttributeNameMessageRetentionPeriod)
	set := func(name, value string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			_, err := s.sqs.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: &s.orders, Attributes: map[string]string{name: value}})
			return code(err)
		}
	}
	queues := func(prefix string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.sqs.ListQueues(ctx, &sqs.ListQueuesInput{QueueNamePrefix: &prefix})
			return or(out, err, func(o *sqs.ListQueuesOutput) string { return fmt.Sprint(len(o.QueueUrls)) })
		}
	}
	batch := func(ids ...string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			in := &sqs.SendMessageBatchInput{QueueUrl: &s.orders}
			for _, id := range ids {
				in.Entries = append(in.Entries, sqstypes.SendMessageBatchRequestEntry{Id: &id, MessageBody: aws.String("order " + id)})
			}
			out, err := s.sqs.SendMessageBatch(ctx, in)
			return or(out, err, func(o *sqs.SendMessageBatchOutput) string {
				return fmt.Sprint(len(o.Successful), " and ", len(o.Failed))
			})
		}
	}
	receive := func(ctx context.Context, s *sides) string {
		out, err := s.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &s.orders, MaxNumberOfMessages: 10,
			MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{sqstypes.MessageSystemAttributeNameApproximateReceiveCount}})
		return or(out, err, func(o *sqs.ReceiveMessageOutput) string {
			var all []string
			s.handles = nil
			for _, m := range o.Messages {
				s.handles = append(s.handles, *m.ReceiptHandle)
				all = append(all, fmt.Sprintf("%s (%s)", *m.Body, m.Attributes["ApproximateReceiveCount"]))
			}
			return strings.Join(all, ", ")
		})
	}
	remove := func(handle func(*sides) string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			_, err := s.sqs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &s.orders, ReceiptHandle: aws.String(handle(s))})
			return code(err)
		}
	}
	hide := func(handle func(*sides) string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			_, err := s.sqs.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: &s.orders, ReceiptHandle: aws.String(handle(s)), VisibilityTimeout: 0})
			return code(err)
		}
	}
	first := func(s *sides) string { return s.handles[0] }
	many := strings.Split("a b c d e f g h i j k", " ")
	return []step{
		{"sqs a queue", func(ctx context.Context, s *sides) string {
			out, err := s.sqs.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("orders")})
			return or(out, err, func(o *sqs.CreateQueueOutput) string { s.orders = *o.QueueUrl; return "ok" })
		}},
		{"sqs the same queue once more", func(ctx context.Context, s *sides) string {
			out, err := s.sqs.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("orders")})
			return or(out, err, func(o *sqs.CreateQueueOutput) string { return fmt.Sprint(*o.QueueUrl == s.orders) })
		}},
		{"sqs GetQueueUrl of it", func(ctx context.Context, s *sides) string {
			out, err := s.sqs.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String("orders")})
			return or(out, err, func(o *sqs.GetQueueUrlOutput) string { return fmt.Sprint(*o.QueueUrl == s.orders) })
		}},
		{"sqs queues by prefix", queues("ord")}, {"sqs queues by a prefix that none has", queues("none")},
		{"sqs what a queue begins with", settings},
		{"sqs a longer visibility time-out", set("VisibilityTimeout", "60")}, {"sqs that then", settings},
		{"sqs an attribute that there is none", set("Colour", "1")},
		{"sqs a word for a number", set("VisibilityTimeout", "long")},
		{"sqs its ARN", attributes(sqstypes.QueueAttributeNameQueueArn)},
		{"sqs attributes of a queue that is not there", func(ctx context.Context, s *sides) string {
			_, err := s.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: aws.String(s.orders + "-none")})
			return code(err)
		}},
		{"sqs SendMessage to a queue that is not there", func(ctx context.Context, s *sides) string {
			_, err := s.sqs.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String(s.orders + "-none"), MessageBody: aws.String("x")})
			return code(err)
		}},
		{"sqs nothing received from an empty queue", receive},
		{"sqs a batch of eleven", batch(many...)},
		{"sqs a batch with one ID twice", batch("1", "1")},
		{"sqs a batch of two", batch("1", "2")}, {"sqs two wait", counts},
		{"sqs both received", receive}, {"sqs both in flight", counts}, {"sqs nothing is received while they are", receive},
		{"sqs a batch of one", batch("3")}, {"sqs that received", receive}, {"sqs three in flight", counts},
		{"sqs given back", hide(first)}, {"sqs one waits again", counts},
		{"sqs received a second time", func(ctx context.Context, s *sides) string {
			s.old = s.handles
			return receive(ctx, s)
		}},
		{"sqs deleted by the handle of before", remove(func(s *sides) string { return s.old[0] })}, {"sqs after that", counts},
		{"sqs deleted", remove(first)}, {"sqs deleted once more", remove(first)}, {"sqs two are left", counts},
		{"sqs a handle that is none", remove(func(*sides) string { return "none" })},
		{"sqs given back by a handle that is none", hide(func(*sides) string { return "none" })},
		{"sqs the queue deleted", func(ctx context.Context, s *sides) string {
			_, err := s.sqs.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: &s.orders})
			return code(err)
		}},
		{"sqs queues by prefix then", queues("ord")},
		{"sts AssumeRole", func(ctx context.Context, s *sides) string {
			out, err := s.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + AccountID + ":role/failoverd-act"), RoleSessionName: aws.String("incident-7")})
			return or(out, err, func(o *sts.AssumeRoleOutput) string {
				return fmt.Sprint(strings.HasSuffix(*o.AssumedRoleUser.Arn, "/incident-7"), " ", strings.HasPrefix(*o.Credentials.AccessKeyId, "ASIA"), " ", *o.Credentials.SessionToken != "")
			})
		}},
	}
}

// objectSteps are what becomes of an object.
func objectSteps() []step {
	key := aws.String("data/dump.sql")
	const text = "0123456789"
	get := func(in s3.GetObjectInput) func(context.Context, *sides) string {
		in.Bucket = aws.String("bucket")
		if in.Key == nil {
			in.Key = key
		}
		return func(ctx context.Context, s *sides) string {
			in := in
			for _, cond := range []**string{&in.IfMatch, &in.IfNoneMatch} {
				if *cond != nil && **cond == "current" {
					*cond = &s.dump
				}
			}
			out, err := s.s3.GetObject(ctx, &in)
			return or(out, err, func(o *s3.GetObjectOutput) string {
				defer o.Body.Close()
				b, err := io.ReadAll(o.Body)
				if err != nil {
					return code(err)
				}
				return fmt.Sprint(string(b), " of ", aws.ToInt64(o.ContentLength), " ", aws.ToString(o.ContentRange))
			})
		}
	}
	ranged := func(r string) func(context.Context, *sides) string { return get(s3.GetObjectInput{Range: &r}) }
	put := func(key, body string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: &key, Body: bytes.NewReader([]byte(body)), ContentType: aws.String("application/sql")})
			return or(out, err, func(o *s3.PutObjectOutput) string { s.dump = *o.ETag; return s.dump })
		}
	}
	head := func(ctx context.Context, s *sides) string {
		out, err := s.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("bucket"), Key: key})
		return or(out, err, func(o *s3.HeadObjectOutput) string {
			return fmt.Sprint(aws.ToInt64(o.ContentLength), " ", aws.ToString(o.ContentType), " ", aws.ToString(o.ETag))
		})
	}
	list := func(bucket, prefix string, page int32) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			in, said := &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix}, ""
			if page > 0 {
				in.MaxKeys = &page
			}
			for pages := s3.NewListObjectsV2Paginator(s.s3, in); pages.HasMorePages(); said += "| " {
				out, err := pages.NextPage(ctx)
				if err != nil {
					return code(err)
				}
				for _, o := range out.Contents {
					said += fmt.Sprint(*o.Key, " ", *o.Size, " ", *o.ETag, " ", o.LastModified != nil, " ")
				}
			}
			return said
		}
	}
	remove := func(ctx context.Context, s *sides) string {
		_, err := s.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("bucket"), Key: key})
		return code(err)
	}
	return []step{
		{"s3 HeadObject that is not there", head},
		{"s3 an object", put(*key, text)}, {"s3 HeadObject", head}, {"s3 all of it", get(s3.GetObjectInput{})},
		{"s3 a range", ranged("bytes=2-4")}, {"s3 from a byte on", ranged("bytes=7-")}, {"s3 its last bytes", ranged("bytes=-2")},
		{"s3 a range that goes beyond the end", ranged("bytes=8-99")}, {"s3 a range behind the end", ranged("bytes=10-")},
		{"s3 if it is still that one", get(s3.GetObjectInput{IfMatch: aws.String("current")})},
		{"s3 if it is another", get(s3.GetObjectInput{IfMatch: aws.String(`"0123"`)})},
		{"s3 unless it is that one", get(s3.GetObjectInput{IfNoneMatch: aws.String("current")})},
		{"s3 a range if it is another", get(s3.GetObjectInput{IfMatch: aws.String(`"0123"`), Range: aws.String("bytes=2-4")})},
		{"s3 another in its place", put(*key, "other")}, {"s3 that then", get(s3.GetObjectInput{})},
		{"s3 an empty object", put("data/empty", "")}, {"s3 that read", get(s3.GetObjectInput{Key: aws.String("data/empty")})},
		{"s3 DeleteObject", remove}, {"s3 DeleteObject once more", remove}, {"s3 HeadObject after it", head},
		{"s3 three more", func(ctx context.Context, s *sides) string {
			said := ""
			for _, k := range []string{"list/b", "list/a", "list/c/d", "listen"} {
				said += put(k, k)(ctx, s) + " "
			}
			return said
		}},
		{"s3 ListObjectsV2", list("bucket", "list/", 0)}, {"s3 ListObjectsV2 page by page", list("bucket", "list", 2)}, {"s3 ListObjectsV2 of a prefix that none has", list("bucket", "none/", 0)},
		{"s3 ListObjectsV2 of a bucket that is not there", list("none", "", 0)},
		{"s3 PutObject into a bucket that is not there", func(ctx context.Context, s *sides) string {
			_, err := s.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("none"), Key: key, Body: bytes.NewReader([]byte("x"))})
			return code(err)
		}},
	}
}
