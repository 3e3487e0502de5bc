package awsfake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
)

// Function is a Lambda function with one event source mapping, to a queue of the region.
type Function struct {
	Name    string
	Queue   string
	Timeout time.Duration // whole seconds, at least one
	Enabled bool          // of the mapping, at the beginning
	// Handle is one invocation; ctx ends with the time-out. An error leaves the message in the queue.
	Handle func(ctx context.Context, body string) error
}

// Lambda imitates event source mappings and what they start. A mapping that is turned off goes on for a while ("Disabling"),
// and invocations that have begun run on:
// https://docs.aws.amazon.com/lambda/latest/dg/API_UpdateEventSourceMapping.html
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
// It is safe for concurrent use.
type Lambda struct {
	sqs *SQS
	lag time.Duration
	// Logs is where invocations write, in the group of their function; nil: nowhere.
	Logs *Logs
	// Faults of the service "function", with a function's name as their target, say that it is Failed (error), Inactive (refuse)
	// or being updated (slow); nil: none. Only what is told of it changes.
	Faults *faults.Set

	mu  sync.Mutex
	fns []*lambdaFn
}

type lambdaFn struct {
	Function
	uuid    string
	enabled bool
	changed time.Time
}

// NewLambda makes the functions; lag is how long a mapping takes to follow a change.
func NewLambda(sqs *SQS, lag time.Duration, functions ...Function) *Lambda {
	l := &Lambda{sqs: sqs, lag: lag}
	for _, f := range functions {
		l.fns = append(l.fns, &lambdaFn{Function: f, uuid: uuid(), enabled: f.Enabled, changed: time.Now().Add(-time.Hour)})
	}
	return l
}

// Run polls until ctx ends, and waits for the invocations.
func (l *Lambda) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, f := range l.fns {
		wg.Go(func() { l.poll(ctx, f) })
	}
	wg.Wait()
}

// polling reports whether a mapping hands out messages.
func (l *Lambda) polling(f *lambdaFn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return f.enabled != (time.Since(f.changed) < l.lag) // while it follows a change it is still what it was
}

func (l *Lambda) poll(ctx context.Context, f *lambdaFn) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, 2) // concurrent invocations
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !l.polling(f) {
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			continue
		}
		body, handle, ok := l.sqs.take(f.Queue)
		if !ok {
			<-slots
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			ictx, cancel := context.WithTimeout(ctx, f.Timeout)
			defer cancel()
			if l.invoke(ictx, f, body) == nil {
				l.sqs.drop(f.Queue, handle)
			}
		})
	}
}

// ErrNotNow is what a handler returns that has left an event for later; it is no error of the function.
var ErrNotNow = errors.New("not now")

// invoke runs a function, and writes what Lambda and the function write:
// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-loggroups.html
func (l *Lambda) invoke(ctx context.Context, f *lambdaFn, body string) error {
	group, request, begin := "/aws/lambda/"+f.Name, uuid(), time.Now()
	l.Logs.Write(group, "START RequestId: %s Version: $LATEST", request)
	err := f.Handle(ctx, body)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		l.Logs.Write(group, "%s %s Task timed out after %.2f seconds", time.Now().UTC().Format(time.RFC3339), request, f.Timeout.Seconds())
	case errors.Is(err, ErrNotNow):
		l.Logs.Write(group, "[INFO] %s %s is left for later: %v", request, body, err)
	case err != nil:
		l.Logs.Write(group, "[ERROR] %s %s: %v", request, body, err)
	}
	l.Logs.Write(group, "REPORT RequestId: %s Duration: %.2f ms", request, float64(time.Since(begin).Microseconds())/1000)
	return err
}

// take receives one message without waiting.
func (s *SQS) take(name string) (body, handle string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[name]
	if q == nil {
		return "", "", false
	}
	got := q.take(1, q.visibility, time.Now(), sqsInput{})
	if len(got) == 0 {
		return "", "", false
	}
	m, _ := got[0].(map[string]any)
	body, _ = m["Body"].(string)
	handle, _ = m["ReceiptHandle"].(string)
	return body, handle, true
}

func (s *SQS) drop(name, handle string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.queues[name]; q != nil {
		q.remove(handle)
	}
}

// Put sends a message.
func (s *SQS) Put(name, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.queues[name]; q != nil {
		q.send(body, time.Now())
	}
}

const lambdaPath = "/2015-03-31/"

// lambdaOp names the operation of a REST request.
func lambdaOp(r *http.Request) string {
	path := strings.Trim(strings.TrimPrefix(r.URL.Path, lambdaPath), "/")
	parts := strings.Split(path, "/")
	switch {
	case parts[0] == "event-source-mappings" && r.Method == http.MethodPut:
		return "UpdateEventSourceMapping"
	case parts[0] == "event-source-mappings" && len(parts) == 1:
		return "ListEventSourceMappings"
	case parts[0] == "event-source-mappings":
		return "GetEventSourceMapping"
	case parts[0] == "functions" && len(parts) == 3 && parts[2] == "configuration":
		return "GetFunctionConfiguration"
	case parts[0] == "functions" && len(parts) == 3 && parts[2] == "invocations" && r.Method == http.MethodPost:
		return "Invoke"
	}
	return "Unknown"
}

func (l *Lambda) view(f *lambdaFn) map[string]any {
	state := map[bool]string{true: "Enabled", false: "Disabled"}[f.enabled]
	if time.Since(f.changed) < l.lag {
		state = map[bool]string{true: "Enabling", false: "Disabling"}[f.enabled]
	}
	return map[string]any{"UUID": f.uuid, "State": state, "LastModified": epochSeconds(f.changed), "BatchSize": 1,
		"FunctionArn": "arn:aws:lambda:" + l.sqs.region + ":" + AccountID + ":function:" + f.Name}
}

// configuration is what Lambda says of a function's state.
// https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
func (l *Lambda) configuration(f *lambdaFn) map[string]any {
	out := map[string]any{"FunctionName": f.Name, "Timeout": int(f.Timeout / time.Second), "State": "Active", "LastUpdateStatus": "Successful"}
	if l.Faults == nil {
		return out
	}
	switch fault, _ := l.Faults.Match("function", "", f.Name); fault.Mode {
	case faults.Error:
		out["State"], out["StateReasonCode"], out["StateReason"] = "Failed", "InternalError", "as the fault has it"
	case faults.Refuse:
		out["State"], out["StateReasonCode"], out["StateReason"] = "Inactive", "Idle", "The function has been idle for too long."
	case faults.Slow:
		out["LastUpdateStatus"], out["LastUpdateStatusReasonCode"], out["LastUpdateStatusReason"] = "InProgress", "Creating", "The function is being created."
	}
	return out
}

// byMapping is the name of the function of an event source mapping, "" if there is none.
func (l *Lambda) byMapping(uuid string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.fns {
		if f.uuid == uuid {
			return f.Name
		}
	}
	return ""
}

// noContent is the answer to a dry run: 204, and nothing.
type noContent struct{}

func (l *Lambda) call(q *request) (any, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	parts := strings.Split(strings.Trim(strings.TrimPrefix(q.URL.Path, lambdaPath), "/"), "/")
	switch q.op {
	case "ListEventSourceMappings":
		out := []any{}
		for _, f := range l.fns {
			if name := q.URL.Query().Get("FunctionName"); name == "" || name == f.Name {
				out = append(out, l.view(f))
			}
		}
		return map[string]any{"EventSourceMappings": out}, nil
	case "GetFunctionConfiguration", "Invoke":
		for _, f := range l.fns {
			if f.Name != parts[1] {
				continue
			}
			if q.op == "GetFunctionConfiguration" {
				return l.configuration(f), nil
			}
			if q.Header.Get("X-Amz-Invocation-Type") != "DryRun" {
				return nil, badRequest("InvalidRequestContentException", "only dry runs are simulated")
			}
			return noContent{}, nil
		}
		return nil, &Error{http.StatusNotFound, "ResourceNotFoundException", "Function not found: " + parts[1]}
	case "GetEventSourceMapping", "UpdateEventSourceMapping":
		for _, f := range l.fns {
			if f.uuid != parts[1] {
				continue
			}
			if q.op == "UpdateEventSourceMapping" {
				if time.Since(f.changed) < l.lag {
					return nil, badRequest("ResourceInUseException", "Cannot update the event source mapping because it is in use.")
				}
				var in struct{ Enabled *bool }
				if err := json.Unmarshal(q.body, &in); err != nil {
					return nil, badRequest("InvalidParameterValueException", "%v", err)
				}
				if in.Enabled != nil && *in.Enabled != f.enabled {
					f.enabled, f.changed = *in.Enabled, time.Now()
				}
			}
			return l.view(f), nil
		}
		return nil, &Error{http.StatusNotFound, "ResourceNotFoundException", "The resource you requested does not exist."}
	}
	return nil, &Error{http.StatusNotFound, "ResourceNotFoundException", fmt.Sprintf("%s %s is not simulated", q.Method, q.URL.Path)}
}
