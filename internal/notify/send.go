package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"slices"
	"strings"
	"time"

	"github.com/slack-go/slack"
)

const longestBackoff = 30 * time.Second

// apiOptions are the same for the client that sends and the one that listens.
func (n *Notifier) apiOptions() []slack.Option {
	o := []slack.Option{
		slack.OptionHTTPClient(n.http), slack.OptionAppLevelToken(n.o.AppToken),
		slack.OptionLog(log.New(io.Discard, "", 0)), // it would log to standard error
	}
	if n.o.APIURL != "" {
		o = append(o, slack.OptionAPIURL(strings.TrimSuffix(n.o.APIURL, "/")+"/"))
	}
	return o
}

// send makes one call at a time and leaves the interval between them, so that
// whatever happens meanwhile is merged into the next.
func (n *Notifier) send(ctx context.Context) {
	backoff := n.o.Backoff
	for ctx.Err() == nil {
		id, ok := n.next()
		if !ok {
			select {
			case <-ctx.Done():
			case <-n.wake:
			}
			continue
		}
		err := n.sendOne(ctx, id)
		if ctx.Err() != nil {
			return
		}
		n.note(err)
		pause := n.o.Interval
		var limited *slack.RateLimitedError
		switch {
		case err == nil:
			backoff = n.o.Backoff
		case errors.As(err, &limited):
			pause = max(limited.RetryAfter, n.o.Interval)
			n.o.Log.Warn("slack limits us; what is shown is late", "retry_after", pause, "message", id)
		default:
			pause, backoff = backoff, min(2*backoff, longestBackoff)
			n.o.Log.Warn("slack was not told; it is tried again with the state of then", "message", id, "pause", pause, "error", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// next is the message that has waited longest.
func (n *Notifier) next() (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.pending) > 0 {
		id := n.pending[0]
		if e := n.entries[id]; e != nil && e.stale() {
			return id, true
		}
		n.pending = n.pending[1:]
	}
	return "", false
}

// sendOne brings a message up to date by one call: first the message itself,
// then what is new in its thread.
func (n *Notifier) sendOne(ctx context.Context, id string) error {
	n.mu.Lock()
	e := n.entries[id]
	u, m, same := e.want, e.message, e.same()
	n.mu.Unlock()
	before := m
	var err error
	switch {
	case same:
		err = n.detail(ctx, &m, u)
	case m.TS == "":
		m.Channel = n.o.Channel
		_, m.TS, err = n.api.PostMessageContext(ctx, n.o.Channel, render(u)...)
	default:
		_, _, _, err = n.api.UpdateMessageContext(ctx, m.Channel, m.TS, render(u)...)
		if isGone(err) {
			m = Message{} // somebody deleted it: the next round posts it anew
			err = nil
			same = true
		}
	}
	if err != nil {
		return fmt.Errorf("slack: %w", err)
	}
	n.mu.Lock()
	e.message = m
	if !same {
		e.sent, e.shown = u, true
	} else if m.TS == "" {
		e.shown = false
	}
	// Others come first now, if there is more to send of this one.
	n.pending = slices.DeleteFunc(n.pending, func(p string) bool { return p == id })
	if e.stale() {
		n.pending = append(n.pending, id)
	}
	n.mu.Unlock()
	if m != before && n.o.Saved != nil {
		n.o.Saved(id, m)
	}
	return nil
}

// detail posts what is new in the thread, as much of it as one message takes.
func (n *Notifier) detail(ctx context.Context, m *Message, u Update) error {
	var b strings.Builder
	count := 0
	for _, d := range u.Details[m.Details:] {
		line := clip(escape(d), sectionLimit)
		if count > 0 && b.Len()+len(line) >= sectionLimit {
			break
		}
		if count > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(line)
		count++
	}
	_, _, err := n.api.PostMessageContext(ctx, m.Channel, slack.MsgOptionTS(m.TS), slack.MsgOptionText(b.String(), false), slack.MsgOptionDisableLinkUnfurl())
	if err == nil {
		m.Details += count
	}
	return err
}

func isGone(err error) bool {
	var se slack.SlackErrorResponse
	return errors.As(err, &se) && (se.Err == "message_not_found" || se.Err == "cant_update_message" || se.Err == "edit_window_closed")
}
