package awsfake

import (
	"context"
	"crypto/md5" //nolint:gosec // the SQS protocol asks for MD5
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// SQS imitates standard queues: at-least-once delivery with a visibility timeout, long polling, and counters that lag.
// It is safe for concurrent use.
type SQS struct {
	region   string
	endpoint string        // http://host:port, the base of queue URLs
	lag      time.Duration // how far ApproximateNumberOf… is behind
	visible  time.Duration // default visibility timeout

	mu     sync.Mutex
	queues map[string]*queue
}

type queue struct {
	name       string
	visibility time.Duration
	retention  time.Duration
	created    time.Time
	messages   []*message
	wake       chan struct{} // closed and replaced when a message arrives
	history    []depth       // for the lagging counters
	active     bool          // since something was sent to it or asked of it
	deleted    int
}

type message struct {
	id, body  string
	sent      time.Time
	visibleAt time.Time
	receives  int
	firstRecv time.Time
	handle    string
}

type depth struct {
	at                 time.Time
	visible, notVisibl int
}

// NewSQS makes the queues' service of one region. Times are already divided by the world's time factor.
func NewSQS(region, endpoint string, visibility, lag time.Duration) *SQS {
	return &SQS{region: region, endpoint: endpoint, lag: lag, visible: visibility, queues: map[string]*queue{}}
}

// CreateQueue makes a queue unless it is there.
func (s *SQS) CreateQueue(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queues[name] == nil {
		s.queues[name] = &queue{name: name, visibility: s.visible, retention: 4 * 24 * time.Hour, created: time.Now(), wake: make(chan struct{})}
	}
	return s.url(name)
}

func (s *SQS) url(name string) string { return s.endpoint + "/" + AccountID + "/" + name }

// Depth counts a queue's messages now, without lag: the world's own view.
func (s *SQS) Depth(name string) (visible, notVisible int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.queues[name]; q != nil {
		return q.count(time.Now())
	}
	return 0, 0
}

func (q *queue) count(now time.Time) (visible, notVisible int) {
	for _, m := range q.messages {
		if m.visibleAt.After(now) {
			notVisible++
		} else {
			visible++
		}
	}
	return visible, notVisible
}

// sample notes the present depth, so that readers can be given an older one.
func (q *queue) sample(now time.Time, lag time.Duration) depth {
	v, n := q.count(now)
	q.history = append(q.history, depth{now, v, n})
	for len(q.history) > 1 && !q.history[1].at.After(now.Add(-lag)) {
		q.history = q.history[1:]
	}
	return q.history[0]
}

type sqsInput struct {
	QueueName, QueueUrl, QueueNamePrefix, MessageBody, ReceiptHandle string //nolint:revive // names of the protocol
	MaxNumberOfMessages                                              int
	WaitTimeSeconds, VisibilityTimeout                               *int
	Attributes                                                       map[string]string
	AttributeNames, MessageSystemAttributeNames                      []string
	Entries                                                          []struct {
		Id, MessageBody, ReceiptHandle string //nolint:revive // names of the protocol
		VisibilityTimeout              int
	}
}

// call runs one operation of the JSON protocol.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html
func (s *SQS) call(ctx context.Context, op string, body []byte) (any, error) {
	var in sqsInput
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, badRequest("SerializationException", "%v", err)
	}
	if op == "CreateQueue" {
		return map[string]string{"QueueUrl": s.CreateQueue(in.QueueName)}, nil
	}
	if op == "ListQueues" {
		return s.list(in.QueueNamePrefix), nil
	}
	name := in.QueueName
	if name == "" {
		name = in.QueueUrl[strings.LastIndexByte(in.QueueUrl, '/')+1:]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[name]
	if q == nil {
		return nil, badRequest("QueueDoesNotExist", "The specified queue does not exist.")
	}
	now := time.Now()
	defer func() { q.sample(time.Now(), s.lag) }()
	switch op {
	case "GetQueueUrl":
		return map[string]string{"QueueUrl": s.url(name)}, nil
	case "GetQueueAttributes":
		return map[string]any{"Attributes": s.attributes(q, in.AttributeNames, now)}, nil
	case "SetQueueAttributes":
		return struct{}{}, q.set(in.Attributes)
	case "SendMessage":
		m := q.send(in.MessageBody, now)
		return map[string]string{"MessageId": m.id, "MD5OfMessageBody": digest(m.body)}, nil
	case "SendMessageBatch":
		if err := in.batch(); err != nil {
			return nil, err
		}
		var ok []any
		for _, e := range in.Entries {
			m := q.send(e.MessageBody, now)
			ok = append(ok, map[string]string{"Id": e.Id, "MessageId": m.id, "MD5OfMessageBody": digest(m.body)})
		}
		return map[string]any{"Successful": ok, "Failed": []any{}}, nil
	case "ReceiveMessage":
		return s.receive(ctx, q, in)
	case "DeleteMessage":
		if !q.issued(in.ReceiptHandle) {
			return nil, badRequest("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
		}
		q.remove(in.ReceiptHandle)
		return struct{}{}, nil
	case "DeleteMessageBatch":
		if err := in.batch(); err != nil {
			return nil, err
		}
		ok, failed := []any{}, []any{}
		for _, e := range in.Entries {
			if !q.issued(e.ReceiptHandle) {
				failed = append(failed, map[string]any{"Id": e.Id, "Code": "ReceiptHandleIsInvalid", "SenderFault": true, "Message": "The input receipt handle is invalid."})
				continue
			}
			q.remove(e.ReceiptHandle)
			ok = append(ok, map[string]string{"Id": e.Id})
		}
		return map[string]any{"Successful": ok, "Failed": failed}, nil
	case "ChangeMessageVisibility":
		for _, m := range q.messages {
			if m.handle == in.ReceiptHandle && in.VisibilityTimeout != nil {
				m.visibleAt = now.Add(time.Duration(*in.VisibilityTimeout) * time.Second)
				return struct{}{}, nil
			}
		}
		return nil, badRequest("ReceiptHandleIsInvalid", "The specified receipt handle isn't valid.")
	case "DeleteQueue":
		delete(s.queues, name)
		return struct{}{}, nil
	}
	return nil, badRequest("UnsupportedOperation", "%s is not simulated", op)
}

// batch is what is asked of every batch.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html#API_SendMessageBatch_Errors
func (in sqsInput) batch() error {
	ids := map[string]bool{}
	for _, e := range in.Entries {
		ids[e.Id] = true
	}
	switch {
	case len(in.Entries) == 0:
		return badRequest("AWS.SimpleQueueService.EmptyBatchRequest", "There should be at least one entry in the request.")
	case len(in.Entries) > 10:
		return badRequest("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10. You have sent %d.", len(in.Entries))
	case len(ids) < len(in.Entries):
		return badRequest("AWS.SimpleQueueService.BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")
	}
	return nil
}

func (s *SQS) list(prefix string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	urls := []string{}
	for n := range s.queues {
		if strings.HasPrefix(n, prefix) {
			urls = append(urls, s.url(n))
		}
	}
	sort.Strings(urls)
	return map[string]any{"QueueUrls": urls}
}

// attributes lag: "ApproximateNumberOfMessages… metrics may not achieve consistency until at least 1 minute after the
// producers stop sending messages".
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
func (s *SQS) attributes(q *queue, names []string, now time.Time) map[string]string {
	d := q.sample(now, s.lag)
	all := map[string]string{
		"ApproximateNumberOfMessages":           strconv.Itoa(d.visible),
		"ApproximateNumberOfMessagesNotVisible": strconv.Itoa(d.notVisibl),
		"ApproximateNumberOfMessagesDelayed":    "0",
		"VisibilityTimeout":                     strconv.Itoa(int(q.visibility.Seconds())),
		"MessageRetentionPeriod":                strconv.Itoa(int(q.retention.Seconds())),
		"CreatedTimestamp":                      strconv.FormatInt(q.created.Unix(), 10),
		"QueueArn":                              fmt.Sprintf("arn:aws:sqs:%s:%s:%s", s.region, AccountID, q.name),
	}
	out := map[string]string{}
	for _, n := range names {
		if n == "All" {
			return all
		}
		if v, ok := all[n]; ok {
			out[n] = v
		}
	}
	return out
}

func (q *queue) set(attrs map[string]string) error {
	for k, v := range attrs {
		n, err := strconv.Atoi(v)
		switch {
		case k == "Policy":
		case err != nil:
			return badRequest("InvalidAttributeValue", "Invalid value for the parameter %s.", k)
		case k == "VisibilityTimeout":
			q.visibility = time.Duration(n) * time.Second
		case k == "MessageRetentionPeriod":
			q.retention = time.Duration(n) * time.Second
		default:
			return badRequest("InvalidAttributeName", "Unknown Attribute %s.", k)
		}
	}
	return nil
}

func (q *queue) send(body string, now time.Time) *message {
	q.active = true
	m := &message{id: id(16), body: body, sent: now}
	q.messages = append(q.messages, m)
	close(q.wake)
	q.wake = make(chan struct{})
	return m
}

// receive waits for messages, at most WaitTimeSeconds. s.mu is held on entry and exit, and released while waiting.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
func (s *SQS) receive(ctx context.Context, q *queue, in sqsInput) (any, error) {
	limit := in.MaxNumberOfMessages
	switch {
	case limit == 0:
		limit = 1
	case limit < 1 || limit > 10:
		return nil, badRequest("InvalidParameterValue", "Value %d for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.", limit)
	}
	wait, visibility := time.Duration(0), q.visibility
	if in.WaitTimeSeconds != nil {
		wait = time.Duration(*in.WaitTimeSeconds) * time.Second
	}
	if in.VisibilityTimeout != nil {
		visibility = time.Duration(*in.VisibilityTimeout) * time.Second
	}
	deadline := time.Now().Add(wait)
	for {
		now := time.Now()
		if got := q.take(limit, visibility, now, in); len(got) > 0 {
			return map[string]any{"Messages": got}, nil
		}
		if !now.Before(deadline) || ctx.Err() != nil {
			return struct{}{}, nil
		}
		// A message may also become visible again without a send; 100 ms is soon enough for that.
		wake, pause := q.wake, min(100*time.Millisecond, deadline.Sub(now))
		s.mu.Unlock()
		t := time.NewTimer(pause)
		select {
		case <-wake:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		s.mu.Lock()
	}
}

func (q *queue) take(limit int, visibility time.Duration, now time.Time, in sqsInput) (out []any) {
	q.active = true
	kept := q.messages[:0]
	for _, m := range q.messages {
		if now.Sub(m.sent) < q.retention {
			kept = append(kept, m)
		}
	}
	q.messages = kept
	for _, m := range q.messages {
		if len(out) == limit {
			break
		}
		if m.visibleAt.After(now) {
			continue
		}
		if m.receives++; m.receives == 1 {
			m.firstRecv = now
		}
		m.handle, m.visibleAt = m.id+"/"+id(8), now.Add(visibility)
		r := map[string]any{"MessageId": m.id, "ReceiptHandle": m.handle, "Body": m.body, "MD5OfBody": digest(m.body)}
		if len(in.AttributeNames)+len(in.MessageSystemAttributeNames) > 0 {
			r["Attributes"] = map[string]string{
				"ApproximateReceiveCount":          strconv.Itoa(m.receives),
				"SentTimestamp":                    strconv.FormatInt(m.sent.UnixMilli(), 10),
				"ApproximateFirstReceiveTimestamp": strconv.FormatInt(m.firstRecv.UnixMilli(), 10),
			}
		}
		out = append(out, r)
	}
	return out
}

// issued reports whether a receipt handle looks like one of a queue: what is read out of it is not written down.
func (*queue) issued(handle string) bool {
	message, nonce, ok := strings.Cut(handle, "/")
	_, err1 := hex.DecodeString(message)
	_, err2 := hex.DecodeString(nonce)
	return ok && message != "" && err1 == nil && err2 == nil
}

// remove deletes by receipt handle. Only the latest handle of a message deletes it; an older one is accepted and does
// nothing: "the request succeeds, but the message might not be deleted".
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html
func (q *queue) remove(handle string) {
	for i, m := range q.messages {
		if m.handle == handle && handle != "" {
			q.messages = append(q.messages[:i], q.messages[i+1:]...)
			q.deleted++
			return
		}
	}
}

func digest(s string) string {
	d := md5.Sum([]byte(s)) //nolint:gosec // the SQS protocol asks for MD5
	return hex.EncodeToString(d[:])
}
