// Package notify tells people what happens and carries their answers back.
//
// It is never on the critical path: Post returns at once, and a Slack that is
// slow, limited or gone only makes the shown state older. One message per
// execution is updated in place; details go into its thread. Any node may
// receive a click, whoever leads, since Slack hands each payload to one
// arbitrary connection of the app.
package notify

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/slack-go/slack"
)

// Update is what a message has to show now. It replaces every earlier update of
// the same ID.
type Update struct {
	ID string // names the message; one per incident or execution
	// Execution, Epoch and Nonce bind the buttons to one question. A click on an
	// older one is refused by Decide.
	Execution, Epoch, Nonce uint64
	Title                   string
	Lines                   []string
	// Details is everything that belongs into the thread, oldest first. It only
	// grows: what was sent is not sent again.
	Details []string
	Buttons []Button
	// Done says that nothing follows: there is nothing left to click.
	Done bool
	// Message is where an earlier leader has put the message; zero: nowhere yet.
	Message Message
}

// Button is a possible answer.
type Button struct {
	ID    string // approve, hold, abort
	Label string
	Style string // "", "primary" or "danger"
}

// Message is a message in a channel.
type Message struct {
	Channel string `json:"channel"`
	TS      string `json:"ts"`
	Details int    `json:"details,omitempty"` // how many details are in its thread
}

// Click is a person's answer, checked against team, channel and approvers, and
// not yet against the state.
type Click struct {
	User      string `json:"user"` // Slack's user ID
	UserName  string `json:"user_name"`
	Action    string `json:"action"` // the button's ID
	Execution uint64 `json:"execution"`
	Epoch     uint64 `json:"epoch"`
	Nonce     uint64 `json:"nonce"`
}

// Options configure a Notifier.
type Options struct {
	BotToken, AppToken string
	APIURL             string   // "" for Slack's own
	Channel            string   // its ID
	Team               string   // clicks from other workspaces are refused
	Approvers          []string // user IDs that may click
	// Decide carries a click out and returns what its user is told. An error is
	// shown to the user as well. It is called on any node.
	Decide func(ctx context.Context, c Click) (reply string, err error)
	// Saved is told where a message is, so that the next leader updates the same
	// one. It is called from the goroutine that sends, and may block it.
	Saved func(id string, m Message)
	// Dial replaces the dialer of all connections. Nil: the host's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Interval is the shortest time between two calls for one channel: 1 s.
	Interval time.Duration
	// Backoff is the first pause after an error: 1 s. It doubles up to 30 s.
	Backoff time.Duration
	Log     *slog.Logger
}

// Notifier talks to Slack. It is safe for concurrent use.
type Notifier struct {
	o    Options
	api  *slack.Client
	http *http.Client
	wake chan struct{}
	seen *recent // envelopes and clicks that were taken

	mu      sync.Mutex
	pending []string // IDs that have something to send, in the order in which they changed
	entries map[string]*entry
	status  Status
}

// entry is one message.
type entry struct {
	want    Update
	sent    Update // what the message shows
	shown   bool   // sent means something
	message Message
}

// Status is how the notifier gets on.
type Status struct {
	Connected bool   // a connection for clicks stands
	Pending   int    // messages that are older than the state
	LastError string // "" after a success
}

// New checks the options and connects to nothing.
func New(o Options) (*Notifier, error) {
	switch {
	case o.BotToken == "" || o.AppToken == "":
		return nil, fmt.Errorf("slack: a bot token (xoxb-…) and an app token (xapp-…) are needed")
	case o.Channel == "" || o.Team == "":
		return nil, fmt.Errorf("slack: the channel's and the workspace's ID are needed")
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.Backoff <= 0 {
		o.Backoff = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	}
	n := &Notifier{
		o: o, wake: make(chan struct{}, 1), entries: map[string]*entry{}, seen: newRecent(512),
		// No proxy of the environment, and no call that lasts for ever.
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			DialContext: o.Dial, TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: time.Minute, MaxIdleConns: 4,
		}},
	}
	n.api = slack.New(o.BotToken, n.apiOptions()...)
	return n, nil
}

// Run sends updates and receives clicks until ctx ends.
func (n *Notifier) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { n.listen(ctx) })
	n.send(ctx)
	wg.Wait()
}

// Post shows an update as soon as Slack takes it. It never blocks. Updates that
// come faster than they can be sent are merged: only the newest is shown.
func (n *Notifier) Post(u Update) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.entries[u.ID]
	if e == nil {
		e = &entry{message: u.Message}
		n.entries[u.ID] = e
	}
	if e.message.TS == "" {
		e.message = u.Message
	}
	e.want = u
	if e.stale() && !slices.Contains(n.pending, u.ID) {
		n.pending = append(n.pending, u.ID)
	}
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Status tells how sending and receiving get on.
func (n *Notifier) Status() Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.status
	s.Pending = len(n.pending)
	return s
}

func (n *Notifier) note(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.status.LastError = ""; err != nil {
		n.status.LastError = err.Error()
	}
}

// stale reports whether the message shows something old.
func (e *entry) stale() bool { return !e.same() || e.message.Details < len(e.want.Details) }

// same reports whether the message itself, without its thread, is up to date.
func (e *entry) same() bool {
	a, b := e.sent, e.want
	a.Details, b.Details, a.Message, b.Message = nil, nil, Message{}, Message{}
	return e.shown && reflect.DeepEqual(a, b)
}
