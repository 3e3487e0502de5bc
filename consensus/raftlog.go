package consensus

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// raftLogger bridges raft's hclog to slog. Raft logs an error for each failing
// heartbeat, many a second while a peer is away: equal messages are shown once
// per repeatWindow, with a count of those left out.
type raftLogger struct {
	log  *slog.Logger
	name string
	args []any
	seen *repeats
}

const repeatWindow = 10 * time.Second

type repeats struct {
	mu   sync.Mutex
	last map[string]*repeat
}

type repeat struct {
	at      time.Time
	dropped int
}

// NewRaftLogger returns an hclog.Logger that writes to log.
func NewRaftLogger(log *slog.Logger) hclog.Logger {
	return &raftLogger{log: log, seen: &repeats{last: map[string]*repeat{}}}
}

// allow says whether a message may be shown, and how many equal ones were
// dropped before it.
func (r *repeats) allow(msg string, now time.Time) (bool, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.last[msg]
	if e == nil {
		r.last[msg] = &repeat{at: now}
		return true, 0
	}
	if now.Sub(e.at) < repeatWindow {
		e.dropped++
		return false, 0
	}
	dropped := e.dropped
	e.at, e.dropped = now, 0
	return true, dropped
}

func (l *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	lv := slog.LevelDebug
	switch {
	case level >= hclog.Error:
		// To raft a failing peer is an error; to the operator the daemon's own
		// judgement is what counts.
		lv = slog.LevelWarn
	case level >= hclog.Warn:
		lv = slog.LevelInfo
	}
	if !l.log.Enabled(context.Background(), lv) {
		return
	}
	ok, dropped := l.seen.allow(l.name+msg, time.Now())
	if !ok {
		return
	}
	all := append([]any{}, l.args...)
	for i := 0; i+1 < len(args); i += 2 {
		all = append(all, fmt.Sprint(args[i]), fmt.Sprint(args[i+1]))
	}
	if dropped > 0 {
		all = append(all, "repeated", dropped)
	}
	l.log.Log(context.Background(), lv, "raft: "+msg, all...)
}

func (l *raftLogger) Trace(string, ...any)          {}
func (l *raftLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *raftLogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *raftLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }
func (l *raftLogger) IsTrace() bool                 { return false }
func (l *raftLogger) IsDebug() bool                 { return true }
func (l *raftLogger) IsInfo() bool                  { return true }
func (l *raftLogger) IsWarn() bool                  { return true }
func (l *raftLogger) IsError() bool                 { return true }
func (l *raftLogger) ImpliedArgs() []any            { return l.args }
func (l *raftLogger) Name() string                  { return l.name }
func (l *raftLogger) SetLevel(hclog.Level)          {}
func (l *raftLogger) GetLevel() hclog.Level         { return hclog.Debug }

func (l *raftLogger) With(args ...any) hclog.Logger {
	c := *l
	c.args = append(append([]any{}, l.args...), args...)
	return &c
}

func (l *raftLogger) Named(name string) hclog.Logger {
	c := *l
	if c.name != "" {
		name = c.name + "." + name
	}
	c.name = name
	return &c
}

func (l *raftLogger) ResetNamed(name string) hclog.Logger {
	c := *l
	c.name = name
	return &c
}

func (l *raftLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(l.log.Handler(), slog.LevelInfo)
}

func (l *raftLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return l.StandardLogger(nil).Writer()
}
