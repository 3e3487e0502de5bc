package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"
)

// decideTimeout bounds what a click may take. Slack has its acknowledgement
// long before.
const decideTimeout = 15 * time.Second

// listen keeps a connection for clicks. The library reconnects when Slack asks
// for it; after an error it would wait for minutes, so that each error ends the
// client and a new one is made here.
func (n *Notifier) listen(ctx context.Context) {
	backoff := n.o.Backoff
	for ctx.Err() == nil {
		connected, err := n.connection(ctx)
		n.setConnected(false)
		if ctx.Err() != nil {
			return
		}
		if connected {
			backoff = n.o.Backoff
		}
		n.note(err)
		n.o.Log.Warn("no connection for slack's buttons; commands on the machine still work", "error", err, "pause", backoff)
		timer := time.NewTimer(backoff)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		backoff = min(2*backoff, longestBackoff)
	}
}

func (n *Notifier) setConnected(yes bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.status.Connected = yes
}

// connection runs one client until its first error. It reports whether it was
// ever connected.
func (n *Notifier) connection(life context.Context) (connected bool, err error) {
	ctx, cancel := context.WithCancel(life)
	defer cancel()
	client := socketmode.New(slack.New(n.o.BotToken, n.apiOptions()...),
		socketmode.OptionDialer(&websocket.Dialer{NetDialContext: n.o.Dial, HandshakeTimeout: 5 * time.Second}),
		socketmode.OptionLog(log.New(io.Discard, "", 0)))
	done := make(chan error, 1)
	go func() { done <- client.RunContext(ctx) }()
	var clicks sync.WaitGroup
	defer clicks.Wait()
	for {
		select {
		case e := <-done:
			if err == nil {
				err = e
			}
			return connected, err
		case event := <-client.Events:
			switch event.Type {
			case socketmode.EventTypeConnected:
				connected = true
				n.setConnected(true)
				n.note(nil)
			case socketmode.EventTypeConnecting, socketmode.EventTypeDisconnect:
				n.setConnected(false)
			case socketmode.EventTypeConnectionError:
				if ce, ok := event.Data.(*slack.ConnectionErrorEvent); ok {
					err = ce.ErrorObj
				}
				cancel()
			case socketmode.EventTypeInvalidAuth:
				err = fmt.Errorf("slack does not accept the app token")
				cancel()
			case socketmode.EventTypeInteractive:
				callback, ok := event.Data.(slack.InteractionCallback)
				if event.Request == nil {
					continue
				}
				// First of all Slack wants to know within three seconds that it
				// arrived; whether it is any good is for later.
				if err := client.AckCtx(ctx, event.Request.EnvelopeID, nil); err != nil {
					n.o.Log.Warn("a click was not acknowledged; slack may deliver it again", "error", err)
				}
				if ok && n.seen.first("envelope "+event.Request.EnvelopeID) {
					// A decision outlives the connection that brought it.
					clicks.Go(func() { n.click(life, callback) })
				}
			}
		}
	}
}

// click checks who clicked what and where, carries it out and tells the result
// to that person alone. The message itself follows with the next update.
func (n *Notifier) click(ctx context.Context, cb slack.InteractionCallback) {
	if cb.Type != slack.InteractionTypeBlockActions || len(cb.ActionCallback.BlockActions) != 1 {
		return
	}
	action := cb.ActionCallback.BlockActions[0]
	channel := cb.Channel.ID
	if channel == "" {
		channel = cb.Container.ChannelID
	}
	logger := n.o.Log.With("user", cb.User.ID, "team", cb.Team.ID, "channel", channel, "action", action.ActionID)
	if cb.Team.ID != n.o.Team || channel != n.o.Channel {
		logger.Warn("a click from elsewhere was ignored")
		return
	}
	// The same click may come in two envelopes.
	if !n.seen.first(fmt.Sprintf("click %s %s %s %s %s", cb.Container.MessageTs, cb.Message.Timestamp, action.ActionTs, action.ActionID, cb.User.ID)) {
		return
	}
	if !slices.Contains(n.o.Approvers, cb.User.ID) {
		logger.Warn("a click of somebody who may not decide was refused")
		n.tell(ctx, cb.User.ID, "You are not on the list of approvers in failoverd's configuration, so nothing was done.")
		return
	}
	var v value
	if err := json.Unmarshal([]byte(action.Value), &v); err != nil || v.Action != action.ActionID {
		logger.Warn("a click with a value that is not ours was refused", "error", err)
		n.tell(ctx, cb.User.ID, "This button is not one of failoverd's, so nothing was done.")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, decideTimeout)
	defer cancel()
	reply, err := n.o.Decide(ctx, Click{User: cb.User.ID, UserName: cb.User.Name, Action: v.Action, Execution: v.Execution, Epoch: v.Epoch, Nonce: v.Nonce})
	if err != nil {
		logger.Warn("a click was refused", "error", err)
		reply = fmt.Sprintf("Not done: %v", err)
	}
	n.tell(ctx, cb.User.ID, reply)
}

// tell shows a line to one person. It is a courtesy: when it fails, the message
// itself still shows the state.
func (n *Notifier) tell(ctx context.Context, user, text string) {
	if text == "" {
		return
	}
	if _, err := n.api.PostEphemeralContext(ctx, n.o.Channel, user, slack.MsgOptionText(clip(escape(text), sectionLimit), false)); err != nil {
		n.o.Log.Warn("an answer was not shown", "user", user, "error", err)
	}
}

// recent remembers the newest keys.
type recent struct {
	mu    sync.Mutex
	most  int
	known map[string]bool
	order []string
}

func newRecent(most int) *recent { return &recent{most: most, known: map[string]bool{}} }

// first reports whether the key is new, and remembers it.
func (r *recent) first(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[key] {
		return false
	}
	r.known[key] = true
	if r.order = append(r.order, key); len(r.order) > r.most {
		delete(r.known, r.order[0])
		r.order = r.order[1:]
	}
	return true
}
