// Package slackfake imitates the part of Slack that a bot with buttons needs: the Web API for posting and updating
// messages, and Socket Mode (https://docs.slack.dev/apis/events-api/using-socket-mode) for the clicks.
package slackfake

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/failoverd/failoverd/lab/ctl"
	"github.com/failoverd/failoverd/lab/faults"
)

// Message is a message as it is shown now.
type Message struct {
	Channel   string          `json:"channel"`
	TS        string          `json:"ts"`
	ThreadTS  string          `json:"thread_ts,omitempty"`
	Text      string          `json:"text"`
	Blocks    json.RawMessage `json:"blocks,omitempty"`
	User      string          `json:"user,omitempty"` // the only reader of an ephemeral message
	Posted    time.Time       `json:"posted"`
	Updated   time.Time       `json:"updated"`
	Revisions int             `json:"revisions"` // how often it was updated
	Buttons   []Button        `json:"buttons,omitempty"`
}

// Button is a button of a message.
type Button struct {
	Type     string `json:"type"`
	ActionID string `json:"action_id"`
	BlockID  string `json:"block_id"`
	Text     string `json:"text"`
	Value    string `json:"value"`
}

// Click says which button to press, by action ID or by text, and who does. Without TS the newest message that has the
// button is meant.
type Click struct {
	ActionID string `json:"action_id,omitempty"`
	Button   string `json:"button,omitempty"`
	TS       string `json:"ts,omitempty"`
	User     string `json:"user"`
	Team     string `json:"team,omitempty"`    // "" means T1
	Twice    bool   `json:"twice,omitempty"`   // deliver the envelope a second time, as Slack may
	Channel  string `json:"channel,omitempty"` // instead of the message's, to try the bot's authorisation
}

// Delivered reports a click: which connection got it, and whether the bot acknowledged it within Slack's 3 seconds.
type Delivered struct {
	Envelope    string `json:"envelope_id"`
	Connections int    `json:"connections"`
	Acked       bool   `json:"acked"`
}

// deadAfter is how long a Socket Mode connection may be silent.
const deadAfter = 6 * time.Second

// Server is the fake. It is safe for concurrent use.
type Server struct {
	addr   string // host:port that clients reach it at
	faults *faults.Set
	log    *slog.Logger

	mu       sync.Mutex
	messages []*Message
	calls    map[string]int
	conns    []*conn
	next     int
	acks     map[string]chan struct{}
	rnd      *rand.Rand
}

type conn struct {
	mu sync.Mutex // one writer at a time
	ws *websocket.Conn
}

func (c *conn) send(v any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ws.WriteJSON(v)
}

// New makes a fake that clients reach at addr.
func New(addr string, f *faults.Set, seed uint64, log *slog.Logger) *Server {
	return &Server{addr: addr, faults: f, log: log, calls: map[string]int{}, acks: map[string]chan struct{}{}, rnd: rand.New(rand.NewPCG(seed, 3))}
}

// Messages returns what is on the screen, oldest first.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Message{}
	for _, m := range s.messages {
		out = append(out, *m)
	}
	return out
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := strings.TrimPrefix(r.URL.Path, "/api/")
	if f, hit := s.faults.Match("slack", method, ""); hit {
		switch f.Mode {
		case faults.Throttle: // https://docs.slack.dev/apis/web-api/rate-limits
			w.Header().Set("Retry-After", strconv.Itoa(max(1, f.DelayMs/1000)))
			w.WriteHeader(http.StatusTooManyRequests)
			return
		case faults.Error:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case faults.Auth:
			ctl.Reply(w, map[string]any{"ok": false, "error": "invalid_auth"})
			return
		case faults.Refuse:
			faults.Drop(w, true)
			return
		case faults.Hang:
			if !s.faults.Hang(r.Context()) {
				return
			}
		case faults.Slow:
			faults.Sleep(r.Context(), f.Delay())
		}
	}
	if r.URL.Path == "/link" {
		s.link(w, r)
		return
	}
	if err := r.ParseForm(); err != nil {
		ctl.Reply(w, map[string]any{"ok": false, "error": "invalid_form_data"})
		return
	}
	s.mu.Lock()
	s.calls[method]++
	s.mu.Unlock()
	switch method {
	case "auth.test":
		ctl.Reply(w, map[string]any{"ok": true, "url": "https://lab.slack.com/", "team": "lab", "user": "failoverd", "team_id": "T1", "user_id": "UBOT", "bot_id": "B1"})
	case "apps.connections.open":
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer xapp-") {
			ctl.Reply(w, map[string]any{"ok": false, "error": "not_allowed_token_type"})
			return
		}
		ctl.Reply(w, map[string]any{"ok": true, "url": "ws://" + s.addr + "/link"})
	case "chat.postMessage", "chat.postEphemeral":
		m := s.post(r)
		out := map[string]any{"ok": true, "channel": m.Channel, "ts": m.TS, "message": m}
		if method == "chat.postEphemeral" {
			out = map[string]any{"ok": true, "message_ts": m.TS}
		}
		ctl.Reply(w, out)
	case "chat.update":
		if !s.update(r) {
			ctl.Reply(w, map[string]any{"ok": false, "error": "message_not_found"})
			return
		}
		ctl.Reply(w, map[string]any{"ok": true, "channel": r.Form.Get("channel"), "ts": r.Form.Get("ts"), "text": r.Form.Get("text")})
	default:
		ctl.Reply(w, map[string]any{"ok": false, "error": "unknown_method"})
	}
}

func (s *Server) post(r *http.Request) Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	now := time.Now()
	m := &Message{Channel: r.Form.Get("channel"), TS: fmt.Sprintf("%d.%06d", now.Unix(), s.next), ThreadTS: r.Form.Get("thread_ts"),
		Text: r.Form.Get("text"), User: r.Form.Get("user"), Posted: now, Updated: now}
	m.setBlocks(r.Form.Get("blocks"))
	s.messages = append(s.messages, m)
	s.log.Info("slack message", "ts", m.TS, "thread", m.ThreadTS, "text", m.Text)
	return *m
}

func (s *Server) update(r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.messages {
		if m.TS == r.Form.Get("ts") && m.Channel == r.Form.Get("channel") {
			m.Text, m.Updated = r.Form.Get("text"), time.Now()
			m.Revisions++
			m.setBlocks(r.Form.Get("blocks"))
			return true
		}
	}
	return false
}

// setBlocks keeps the blocks and finds the buttons in them, those in section accessories too.
func (m *Message) setBlocks(raw string) {
	m.Blocks, m.Buttons = nil, nil
	if !json.Valid([]byte(raw)) {
		return
	}
	m.Blocks = json.RawMessage(raw)
	type element struct {
		Type     string `json:"type"`
		ActionID string `json:"action_id"`
		Value    string `json:"value"`
		Text     struct {
			Text string `json:"text"`
		} `json:"text"`
	}
	var blocks []struct {
		BlockID   string            `json:"block_id"`
		Elements  []json.RawMessage `json:"elements"`
		Accessory json.RawMessage   `json:"accessory"`
	}
	if json.Unmarshal(m.Blocks, &blocks) != nil {
		return
	}
	for _, b := range blocks {
		for _, raw := range append(b.Elements, b.Accessory) {
			var e element
			if len(raw) == 0 || json.Unmarshal(raw, &e) != nil || e.Type != "button" {
				continue
			}
			m.Buttons = append(m.Buttons, Button{e.Type, e.ActionID, b.BlockID, e.Text.Text, e.Value})
		}
	}
}

// link is one Socket Mode connection. slack-go sends the Origin of api.slack.com, hence the permissive check.
func (s *Server) link(w http.ResponseWriter, r *http.Request) {
	ws, err := (&websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}).Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	c := &conn{ws: ws}
	s.mu.Lock()
	s.conns = append(s.conns, c)
	n := len(s.conns)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.conns = slices.DeleteFunc(s.conns, func(o *conn) bool { return o == c })
		s.mu.Unlock()
		ws.Close()
	}()
	if c.send(map[string]any{"type": "hello", "num_connections": n, "connection_info": map[string]any{"app_id": "A1"}}) != nil {
		return
	}
	stop := make(chan struct{})
	defer close(stop)
	// A connection that answers no ping is closed: a client behind a cut gets no more clicks.
	_ = ws.SetReadDeadline(time.Now().Add(deadAfter))
	ws.SetPongHandler(func(string) error { return ws.SetReadDeadline(time.Now().Add(deadAfter)) })
	go func() { // Slack pings; clients reconnect when the pings stop
		t := time.NewTicker(deadAfter / 4)
		defer t.Stop()
		for {
			select {
			case <-stop:
				return
			case <-t.C:
				c.mu.Lock()
				err := ws.WriteControl(websocket.PingMessage, []byte("lab"), time.Now().Add(time.Second))
				c.mu.Unlock()
				if err != nil {
					return
				}
			}
		}
	}()
	for {
		var ack struct {
			EnvelopeID string `json:"envelope_id"`
		}
		if ws.ReadJSON(&ack) != nil {
			return
		}
		_ = ws.SetReadDeadline(time.Now().Add(deadAfter)) // fails only on a closed connection
		s.mu.Lock()
		if ch := s.acks[ack.EnvelopeID]; ch != nil {
			close(ch)
			delete(s.acks, ack.EnvelopeID)
		}
		s.mu.Unlock()
	}
}

// Click presses a button. Slack hands each payload to one arbitrary connection of the app; it is not sent again if that
// one does not acknowledge.
func (s *Server) Click(ctx context.Context, c Click) (Delivered, error) {
	m, b, err := s.find(c)
	if err != nil {
		return Delivered{}, err
	}
	if c.Team == "" {
		c.Team = "T1"
	}
	if c.Channel == "" {
		c.Channel = m.Channel
	}
	s.mu.Lock()
	if len(s.conns) == 0 {
		s.mu.Unlock()
		return Delivered{}, fmt.Errorf("click on %q: no Socket Mode connection is open, so Slack would show an error to the user", b.Text)
	}
	s.next++
	env := fmt.Sprintf("env-%d", s.next)
	target, n := s.conns[s.rnd.IntN(len(s.conns))], len(s.conns)
	acked := make(chan struct{})
	s.acks[env] = acked
	now := time.Now()
	s.mu.Unlock()
	// https://docs.slack.dev/reference/interaction-payloads/block_actions-payload
	payload := map[string]any{"type": "interactive", "envelope_id": env, "accepts_response_payload": true, "payload": map[string]any{
		"type": "block_actions", "user": map[string]any{"id": c.User, "username": strings.ToLower(c.User), "name": strings.ToLower(c.User), "team_id": c.Team},
		"team": map[string]any{"id": c.Team, "domain": "lab"}, "channel": map[string]any{"id": c.Channel, "name": "incidents"},
		"api_app_id": "A1", "trigger_id": env, "response_url": "http://" + s.addr + "/api/respond",
		"container": map[string]any{"type": "message", "message_ts": m.TS, "channel_id": c.Channel},
		"message":   map[string]any{"type": "message", "ts": m.TS, "text": m.Text, "thread_ts": m.ThreadTS},
		"actions": []any{map[string]any{"type": "button", "block_id": b.BlockID, "action_id": b.ActionID, "value": b.Value,
			"text": map[string]any{"type": "plain_text", "text": b.Text}, "action_ts": fmt.Sprintf("%d.%06d", now.Unix(), now.Nanosecond()/1000)}}}}
	for range map[bool]int{false: 1, true: 2}[c.Twice] {
		if err := target.send(payload); err != nil {
			return Delivered{}, fmt.Errorf("click on %q: the connection chosen for it broke: %w", b.Text, err)
		}
	}
	d := Delivered{Envelope: env, Connections: n}
	t := time.NewTimer(3 * time.Second) // Slack's limit for the acknowledgement
	defer t.Stop()
	select {
	case <-acked:
		d.Acked = true
	case <-t.C:
	case <-ctx.Done():
	}
	return d, nil
}

func (s *Server) find(c Click) (Message, Button, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var seen []string
	for _, m := range slices.Backward(s.messages) {
		for _, b := range m.Buttons {
			seen = append(seen, b.ActionID+"="+b.Text)
			if (c.TS == "" || c.TS == m.TS) && (c.ActionID != "" && b.ActionID == c.ActionID || c.Button != "" && b.Text == c.Button) {
				return *m, b, nil
			}
		}
	}
	return Message{}, Button{}, fmt.Errorf("no message has a button %q %q; buttons on screen: %v", c.ActionID, c.Button, seen)
}

// Disconnect asks every client to reconnect, as Slack does every hour or so.
func (s *Server) Disconnect() {
	s.mu.Lock()
	conns := slices.Clone(s.conns)
	s.mu.Unlock()
	for _, c := range conns {
		_ = c.send(map[string]any{"type": "disconnect", "reason": "refresh_requested"})
	}
}

// Register serves GET /slack/messages, POST /slack/click (a Click) and POST /slack/disconnect on a control socket.
func (s *Server) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /slack/messages", func(w http.ResponseWriter, _ *http.Request) { ctl.Reply(w, s.Messages()) })
	mux.HandleFunc("POST /slack/disconnect", func(w http.ResponseWriter, _ *http.Request) { s.Disconnect(); ctl.Reply(w, true) })
	mux.HandleFunc("POST /slack/click", func(w http.ResponseWriter, r *http.Request) {
		var c Click
		if !ctl.Read(w, r, &c) {
			return
		}
		d, err := s.Click(r.Context(), c)
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		ctl.Reply(w, d)
	})
}
