package awsfake

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Logs imitates CloudWatch Logs, as far as it is searched. What makes it awkward:
//
//   - an event is found some time after it was written, and a group is there from its first event on;
//   - the first page of each search is empty and has others behind it: "Partially full or empty pages don't necessarily mean that
//     pagination is finished": https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
//
// It is safe for concurrent use.
type Logs struct {
	lag time.Duration

	mu     sync.Mutex
	groups map[string][]logEvent // oldest first
}

type logEvent struct {
	at      time.Time
	message string
}

// mostLogged is how many events a group keeps.
const mostLogged = 20_000

// NewLogs makes one without groups; lag is how long an event takes until it is found.
func NewLogs(lag time.Duration) *Logs {
	return &Logs{lag: lag, groups: map[string][]logEvent{}}
}

// Write adds an event to a group, which it makes if need be. A nil Logs forgets it.
func (l *Logs) Write(group, format string, args ...any) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	all := append(l.groups[group], logEvent{time.Now(), fmt.Sprintf(format, args...)})
	l.groups[group] = all[max(0, len(all)-mostLogged):]
}

// call answers FilterLogEvents.
func (l *Logs) call(op string, body []byte) (any, error) {
	var in struct {
		LogGroupName, FilterPattern, NextToken string
		StartTime, EndTime                     *int64
		Limit                                  *int
	}
	if op != "FilterLogEvents" {
		return nil, badRequest("UnknownOperationException", "the lab's CloudWatch Logs has no %s", op)
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, badRequest("SerializationException", "%v", err)
	}
	matches, err := logPattern(in.FilterPattern)
	if err != nil {
		return nil, err
	}
	limit := 10_000
	if in.Limit != nil {
		if limit = *in.Limit; limit < 1 || limit > 10_000 {
			return nil, badRequest("InvalidParameterException", "1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must be between 1 and 10000", limit)
		}
	}
	if in.StartTime != nil && in.EndTime != nil && *in.StartTime > *in.EndTime {
		return nil, badRequest("InvalidParameterException", "Start time must not be after end time")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	all, there := l.groups[in.LogGroupName]
	if !there {
		return nil, badRequest("ResourceNotFoundException", "The specified log group does not exist.")
	}
	if in.NextToken == "" {
		return map[string]any{"events": []any{}, "nextToken": "0"}, nil
	}
	skip, aerr := strconv.Atoi(in.NextToken)
	if aerr != nil {
		return nil, badRequest("InvalidParameterException", "The specified nextToken is invalid.")
	}
	events, token := []any{}, ""
	for i, e := range all {
		ms := e.at.UnixMilli()
		if i < skip || in.StartTime != nil && ms < *in.StartTime || in.EndTime != nil && ms > *in.EndTime || time.Since(e.at) < l.lag || !matches(e.message) {
			continue
		}
		if len(events) == limit {
			token = strconv.Itoa(i)
			break
		}
		events = append(events, map[string]any{"logStreamName": "lab", "timestamp": ms, "ingestionTime": ms, "message": e.message, "eventId": strconv.Itoa(i)})
	}
	out := map[string]any{"events": events}
	if token != "" {
		out["nextToken"] = token
	}
	return out, nil
}

// logPattern reads a pattern of terms: all must be in a line, or one of those with a question mark, and none with a minus; a term
// in quotes may hold blanks. Patterns for JSON, for columns and with regular expressions are not simulated.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
func logPattern(pattern string) (func(string) bool, error) {
	var all, some, none []string
	for rest := strings.TrimSpace(pattern); rest != ""; rest = strings.TrimSpace(rest) {
		to := &all
		switch rest[0] {
		case '?':
			to, rest = &some, rest[1:]
		case '-':
			to, rest = &none, rest[1:]
		case '{', '[', '%':
			return nil, badRequest("InvalidParameterException", "the lab's CloudWatch Logs knows patterns of terms alone, not %s", pattern)
		}
		var term string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			if term, rest, ok = strings.Cut(quoted, `"`); !ok {
				return nil, badRequest("InvalidParameterException", "Invalid filter pattern")
			}
		} else {
			term, rest, _ = strings.Cut(rest, " ")
		}
		if term == "" {
			return nil, badRequest("InvalidParameterException", "Invalid filter pattern")
		}
		*to = append(*to, term)
	}
	return func(line string) bool {
		hit := len(some) == 0
		for _, s := range some {
			hit = hit || strings.Contains(line, s)
		}
		for _, s := range all {
			hit = hit && strings.Contains(line, s)
		}
		for _, s := range none {
			hit = hit && !strings.Contains(line, s)
		}
		return hit
	}, nil
}
