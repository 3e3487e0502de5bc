package awsfake

import (
	"maps"
	"slices"
	"time"
)

// Metrics reports what SQS sends to CloudWatch. A queue that is not active sends nothing; the age of the oldest message is sent
// only while there is one, and one that was received three times without being deleted counts no more:
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
func (s *SQS) Metrics() func() []Point {
	before := map[string]int{}
	return func() (out []Point) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, name := range slices.Sorted(maps.Keys(s.queues)) {
			q := s.queues[name]
			if !q.active {
				continue
			}
			out = append(out, Point{Metric{"AWS/SQS", "NumberOfMessagesDeleted", "QueueName", name}, float64(q.deleted - before[name])})
			before[name] = q.deleted
			oldest := time.Time{}
			for _, m := range q.messages {
				if m.receives < 3 && (oldest.IsZero() || m.sent.Before(oldest)) {
					oldest = m.sent
				}
			}
			if !oldest.IsZero() {
				out = append(out, Point{Metric{"AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", name}, time.Since(oldest).Seconds()})
			}
		}
		return out
	}
}
