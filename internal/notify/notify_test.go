package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// call is one call of the Web API.
type call struct {
	method, channel, ts, thread, user, text, blocks string
}

// fakeSlack is the Web API and the Socket Mode endpoint in one.
type fakeSlack struct {
	t     *testing.T
	srv   *httptest.Server
	calls chan call
	conns chan *websocket.Conn
	acks  chan string

	mu     sync.Mutex
	refuse []func(w http.ResponseWriter) // answers to the next calls of chat.*
	posted int
}

func newFake(t *testing.T) *fakeSlack {
	t.Helper()
	f := &fakeSlack{t: t, calls: make(chan call, 100), conns: make(chan *websocket.Conn, 10), acks: make(chan string, 100)}
	f.srv = httptest.NewServer(f)
	t.Cleanup(f.srv.Close)
	return f
}

func (f *fakeSlack) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := strings.TrimPrefix(r.URL.Path, "/api/")
	switch method {
	case "apps.connections.open":
		_, _ = fmt.Fprintf(w, `{"ok":true,"url":"ws%s/link"}`, strings.TrimPrefix(f.srv.URL, "http"))
		return
	case "/link":
		conn, err := (&websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		_ = conn.WriteJSON(map[string]any{"type": "hello", "num_connections": 1})
		f.conns <- conn
		for {
			var ack struct {
				EnvelopeID string `json:"envelope_id"`
			}
			if conn.ReadJSON(&ack) != nil {
				return
			}
			f.acks <- ack.EnvelopeID
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.refuse) > 0 && method != "chat.postEphemeral" {
		answer := f.refuse[0]
		f.refuse = f.refuse[1:]
		answer(w)
		return
	}
	c := call{method: method, channel: r.FormValue("channel"), ts: r.FormValue("ts"), thread: r.FormValue("thread_ts"), user: r.FormValue("user"), text: r.FormValue("text"), blocks: r.FormValue("blocks")}
	if c.ts == "" {
		f.posted++
		c.ts = fmt.Sprint("1.", f.posted)
	}
	f.calls <- c
	_, _ = fmt.Fprintf(w, `{"ok":true,"channel":%q,"ts":%q,"message_ts":%q}`, c.channel, c.ts, c.ts)
}

func next[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("no %s came", what)
		panic("unreachable")
	}
}

func (f *fakeSlack) call(method string) call {
	f.t.Helper()
	c := next(f.t, f.calls, method)
	if c.method != method {
		f.t.Fatalf("%s was called instead of %s: %q", c.method, method, c.text)
	}
	return c
}

// click delivers a click over a connection.
func (f *fakeSlack) click(conn *websocket.Conn, envelope, team, channel, user, actionTS string, v value) {
	f.t.Helper()
	b, _ := json.Marshal(v)
	if err := conn.WriteJSON(map[string]any{
		"type": "interactive", "envelope_id": envelope, "accepts_response_payload": true,
		"payload": map[string]any{
			"type": "block_actions", "team": map[string]string{"id": team}, "channel": map[string]string{"id": channel},
			"user": map[string]string{"id": user, "name": "someone"}, "message": map[string]string{"ts": "1.1"},
			"actions": []any{map[string]any{"type": "button", "action_id": v.Action, "block_id": "decision", "action_ts": actionTS, "value": string(b)}},
		},
	}); err != nil {
		f.t.Fatal(err)
	}
}

func start(t *testing.T, f *fakeSlack, change func(*Options)) *Notifier {
	t.Helper()
	o := Options{
		BotToken: "xoxb-1", AppToken: "xapp-1", APIURL: f.srv.URL + "/api", Channel: "C1", Team: "T1", Approvers: []string{"U1"},
		Decide:   func(context.Context, Click) (string, error) { return "ok", nil },
		Interval: time.Millisecond, Backoff: time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	n, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return n
}

func question() Update {
	return Update{
		ID: "17", Execution: 17, Epoch: 3, Nonce: 99, Title: "us-east-1 is down <!channel>", Lines: []string{"a & b"},
		Buttons: []Button{{ID: "approve", Label: "Go", Style: "primary"}, {ID: "abort", Label: "Stop", Style: "danger"}},
	}
}

func TestOneMessageIsUpdatedInPlace(t *testing.T) {
	f := newFake(t)
	saved := make(chan Message, 10)
	n := start(t, f, func(o *Options) { o.Saved = func(_ string, m Message) { saved <- m } })
	u := question()
	n.Post(u)
	first := f.call("chat.postMessage")
	if first.channel != "C1" || !strings.Contains(first.text, "us-east-1 is down &lt;!channel&gt;\na &amp; b") ||
		!strings.Contains(first.blocks, `{\"execution\":17,\"epoch\":3,\"nonce\":99,\"action\":\"approve\"}`) {
		t.Errorf("the message is %+v", first)
	}
	if m := next(t, saved, "saved message"); m != (Message{Channel: "C1", TS: "1.1"}) {
		t.Errorf("saved as %+v", m)
	}
	n.Post(u) // nothing new
	u.Title, u.Details = "stopping", []string{"09:00 frozen", "09:01 <stopped>"}
	n.Post(u)
	if c := f.call("chat.update"); c.ts != "1.1" || !strings.Contains(c.text, "stopping") {
		t.Errorf("the update is %+v", c)
	}
	if c := f.call("chat.postMessage"); c.thread != "1.1" || c.text != "09:00 frozen\n09:01 &lt;stopped&gt;" {
		t.Errorf("the thread got %+v", c)
	}
	if m := next(t, saved, "saved message"); m.Details != 2 {
		t.Errorf("saved as %+v", m)
	}
	u.Details, u.Done = append(u.Details, "09:02 done"), true
	n.Post(u)
	if c := f.call("chat.update"); strings.Contains(c.blocks, "button") {
		t.Errorf("a finished message still has buttons: %s", c.blocks)
	}
	if c := f.call("chat.postMessage"); c.text != "09:02 done" {
		t.Errorf("the thread got %+v", c)
	}
}

func TestANewLeaderGoesOnWithTheSameMessage(t *testing.T) {
	f := newFake(t)
	n := start(t, f, nil)
	u := question()
	u.Message, u.Details = Message{Channel: "C1", TS: "5.5", Details: 1}, []string{"old", "new"}
	n.Post(u)
	if c := f.call("chat.update"); c.ts != "5.5" {
		t.Errorf("the update is %+v", c)
	}
	if c := f.call("chat.postMessage"); c.thread != "5.5" || c.text != "new" {
		t.Errorf("the thread got %+v", c)
	}
}

func TestLimitsAndErrorsKeepTheNewest(t *testing.T) {
	f := newFake(t)
	f.refuse = []func(http.ResponseWriter){
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		func(w http.ResponseWriter) { _, _ = fmt.Fprint(w, `{"ok":false,"error":"fatal_error"}`) },
	}
	n := start(t, f, nil)
	begin := time.Now()
	u := question()
	for i := range 20 {
		u.Title = fmt.Sprint("state ", i)
		n.Post(u) // returns at once, whatever Slack does
	}
	if took := time.Since(begin); took > 500*time.Millisecond {
		t.Errorf("posting took %s", took)
	}
	if c := f.call("chat.postMessage"); !strings.Contains(c.text, "state 19") || time.Since(begin) < time.Second {
		t.Errorf("after %s the message is %q; Retry-After was a second", time.Since(begin), c.text)
	}
}

// A Slack that takes connections and says nothing holds nobody up: neither who posts nor who ends.
func TestASlackThatHangs(t *testing.T) {
	hung := make(chan struct{})
	asked := make(chan struct{}, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-hung:
		case <-r.Context().Done():
		}
	}))
	defer srv.Close()
	defer close(hung)
	n, err := New(Options{
		BotToken: "xoxb-1", AppToken: "xapp-1", APIURL: srv.URL + "/api", Channel: "C1", Team: "T1",
		Decide: func(context.Context, Click) (string, error) { return "ok", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }()
	n.Post(question())
	next(t, asked, "call")
	next(t, asked, "other call") // one sends, one listens
	begin := time.Now()
	u := question()
	for i := range 1000 {
		u.Title = fmt.Sprint("state ", i)
		n.Post(u)
	}
	if took := time.Since(begin); took > 500*time.Millisecond {
		t.Errorf("posting took %s", took)
	}
	if s := n.Status(); s.Connected || s.Pending != 1 {
		t.Errorf("the status is %+v", s)
	}
	begin = time.Now()
	cancel()
	<-done
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("ending took %s", took)
	}
}

func TestADeletedMessageIsPostedAnew(t *testing.T) {
	f := newFake(t)
	n := start(t, f, nil)
	n.Post(question())
	f.call("chat.postMessage")
	f.mu.Lock()
	f.refuse = []func(http.ResponseWriter){func(w http.ResponseWriter) { _, _ = fmt.Fprint(w, `{"ok":false,"error":"message_not_found"}`) }}
	f.mu.Unlock()
	u := question()
	u.Title = "next"
	n.Post(u)
	if c := f.call("chat.postMessage"); !strings.Contains(c.text, "next") {
		t.Errorf("posted %+v", c)
	}
}

func TestClicks(t *testing.T) {
	f := newFake(t)
	clicks := make(chan Click, 10)
	n := start(t, f, func(o *Options) {
		o.Decide = func(_ context.Context, c Click) (string, error) {
			clicks <- c
			if c.Nonce != 99 {
				return "", errors.New("that question has been answered <already>")
			}
			return "approved", nil
		}
	})
	conn := next(t, f.conns, "connection")
	v := value{Execution: 17, Epoch: 3, Nonce: 99, Action: "approve"}
	f.click(conn, "e1", "T1", "C1", "U1", "1", v)
	if got := next(t, f.acks, "ack"); got != "e1" {
		t.Errorf("acknowledged %q", got)
	}
	if c := next(t, clicks, "click"); c != (Click{User: "U1", UserName: "someone", Action: "approve", Execution: 17, Epoch: 3, Nonce: 99}) {
		t.Errorf("the click is %+v", c)
	}
	if c := f.call("chat.postEphemeral"); c.user != "U1" || c.text != "approved" {
		t.Errorf("the answer is %+v", c)
	}
	// The same envelope, and the same click in another one, are acknowledged and
	// not carried out again.
	f.click(conn, "e1", "T1", "C1", "U1", "1", v)
	f.click(conn, "e2", "T1", "C1", "U1", "1", v)
	// Elsewhere and strangers.
	f.click(conn, "e3", "T2", "C1", "U1", "2", v)
	f.click(conn, "e4", "T1", "C2", "U1", "3", v)
	f.click(conn, "e5", "T1", "C1", "U9", "4", v)
	for _, want := range []string{"e1", "e2", "e3", "e4", "e5"} {
		if got := next(t, f.acks, "ack"); got != want {
			t.Errorf("acknowledged %q, want %q", got, want)
		}
	}
	if c := f.call("chat.postEphemeral"); c.user != "U9" || !strings.Contains(c.text, "not on the list of approvers") {
		t.Errorf("the stranger was told %+v", c)
	}
	v.Nonce = 98
	f.click(conn, "e6", "T1", "C1", "U1", "5", v)
	if c := next(t, clicks, "click"); c.Nonce != 98 {
		t.Errorf("a click that should have been refused was carried out: %+v", c)
	}
	if c := f.call("chat.postEphemeral"); c.text != "Not done: that question has been answered &lt;already&gt;" {
		t.Errorf("the answer to a stale click is %q", c.text)
	}
	if s := n.Status(); !s.Connected {
		t.Errorf("the status is %+v", s)
	}
}

func TestReconnects(t *testing.T) {
	f := newFake(t)
	clicks := make(chan Click, 10)
	start(t, f, func(o *Options) {
		o.Decide = func(_ context.Context, c Click) (string, error) { clicks <- c; return "", nil }
	})
	// Slack asks for a new connection, then one breaks.
	conn := next(t, f.conns, "connection")
	_ = conn.WriteJSON(map[string]any{"type": "disconnect", "reason": "refresh_requested"})
	conn = next(t, f.conns, "second connection")
	_ = conn.Close()
	conn = next(t, f.conns, "third connection")
	f.click(conn, "e1", "T1", "C1", "U1", "1", value{Nonce: 1, Action: "hold"})
	if c := next(t, clicks, "click"); c.Action != "hold" {
		t.Errorf("got %+v", c)
	}
}

func TestClip(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		n        int
	}{
		{"short", "short", 10},
		{"0123456789ab", "0123456…", 10},
		{"ééééééé", "ééé…", 10},
		{"01234&lt;89", "01234…", 10},
	} {
		if got := clip(tt.in, tt.n); got != tt.want {
			t.Errorf("clip(%q, %d) = %q, want %q", tt.in, tt.n, got, tt.want)
		}
	}
}
