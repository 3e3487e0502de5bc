package probes

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/failoverd/failoverd/failover"
)

// A WebSocket passes when it is shaken hands on, echoes, lives through the hold with
// its pings answered, echoes again, and is closed; and each thing that goes wrong is
// named as what it is.
func TestWebSocket(t *testing.T) {
	const hold = 60 * time.Millisecond
	up := websocket.Upgrader{}
	pong, done := make(chan string, 10), make(chan struct{})
	echo := func(c *websocket.Conn) error {
		kind, b, err := c.ReadMessage()
		if err != nil {
			return err
		}
		return c.WriteMessage(kind, b)
	}
	behave := map[string]func(c *websocket.Conn){
		"/ws": func(c *websocket.Conn) {
			c.SetPongHandler(func(data string) error {
				pong <- data
				return nil
			})
			_ = c.WriteControl(websocket.PingMessage, []byte("are you there"), time.Now().Add(time.Second))
			for echo(c) == nil {
			}
		},
		"/closes": func(c *websocket.Conn) {
			_ = c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1011, "no backend"), time.Now().Add(time.Second))
		},
		"/once": func(c *websocket.Conn) {
			_ = echo(c)
			_ = c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1001, ""), time.Now().Add(time.Second))
		},
		"/cut":    func(c *websocket.Conn) { _ = echo(c) },
		"/silent": func(c *websocket.Conn) { _, _, _ = c.ReadMessage(); _, _, _ = c.ReadMessage() },
		"/wrong": func(c *websocket.Conn) {
			_, _, _ = c.ReadMessage()
			_ = c.WriteMessage(websocket.TextMessage, []byte("welcome"))
		},
		"/later": func(c *websocket.Conn) {
			_ = echo(c)
			_, _, _ = c.ReadMessage()
			_ = c.WriteMessage(websocket.TextMessage, []byte("something else"))
		},
		"/rude": func(c *websocket.Conn) {
			c.SetCloseHandler(func(int, string) error { return nil })
			for echo(c) == nil {
			}
		},
		"/deaf": func(c *websocket.Conn) {
			_ = echo(c)
			_ = echo(c)
			<-done
		},
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if behave[r.URL.Path] == nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		behave[r.URL.Path](c)
	})
	plain, secure := httptest.NewServer(h), httptest.NewUnstartedServer(h)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains about the handshake that the test wants to fail
	secure.StartTLS()
	defer plain.Close()
	defer secure.Close()
	defer close(done)
	look := func(url, ca string, want Status, detail string) {
		t.Helper()
		cfg := &WebSocketConfig{URL: "ws" + strings.TrimPrefix(url, "http"), CAFile: ca, Hold: failover.Duration(hold)}
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		c, err := cfg.NewCheck(Deps{Region: "us-east-1"})
		if err != nil {
			t.Fatal(err)
		}
		limit := 2 * time.Second
		if strings.HasSuffix(url, "/deaf") {
			limit = 800 * time.Millisecond // less than it waits for the answer to its close
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		begin := time.Now()
		f := c.Check(ctx)
		if f.Status != want || !strings.Contains(f.Detail, detail) {
			t.Errorf("%s: got %s %q, want %s with %q", url, f.Status, f.Detail, want, detail)
		}
		if want == Pass && time.Since(begin) < hold {
			t.Errorf("%s passed after %s: it was not held for %s", url, time.Since(begin), hold)
		}
	}
	look(plain.URL+"/ws", "", Pass, "answered 1 pings, closed with 1000")
	select {
	case data := <-pong:
		if data != "are you there" {
			t.Errorf("the pong says %q", data)
		}
	default:
		t.Error("the ping was not answered")
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pemOf(secure.Certificate()), 0o600); err != nil {
		t.Fatal(err)
	}
	look(secure.URL+"/ws", ca, Pass, "held for 60ms")
	look(secure.URL+"/ws", "", Unknown, "its certificate is not trusted")
	look(plain.URL+"/none", "", Fail, "answered the handshake with 403, not with 101")
	look(plain.URL+"/closes", "", Fail, "with code 1011 (no backend)")
	look(plain.URL+"/once", "", Fail, "with code 1001, before it had been held for 60ms")
	look(plain.URL+"/cut", "", Fail, "without a close, before it had been held for 60ms")
	look(plain.URL+"/wrong", "", Fail, `but "welcome" came back`)
	look(plain.URL+"/later", "", Fail, `after it had been held for 60ms: sent "failoverd `)
	look(plain.URL+"/silent", "", Fail, "sent no echo within")
	look("http://"+closedPort(t), "", Fail, "refused the connection")
	look("http://"+blackHole(t, "127.0.0.1:0"), "", Fail, "did not answer in time (in the handshake)")
	look(plain.URL+"/rude", "", Fail, "it echoes, but is not closed properly: cut off after")
	look(plain.URL+"/deaf", "", Fail, "it echoes, but is not closed properly: time ran out")
}

func TestWebSocketValidate(t *testing.T) {
	for want, c := range map[string]WebSocketConfig{
		"url: is missing":                   {},
		"is not a ws:// or wss://":          {URL: "https://ws.example.net/"},
		"has a fragment":                    {URL: "wss://ws.example.net/#x"},
		"ca_file: has no use":               {URL: "ws://ws.example.net/", CAFile: "/ca.pem"},
		"hold: 7s is not between 0 and 6s":  {URL: "ws://ws.example.net/", Hold: failover.Duration(7 * time.Second)},
		"hold: -1s is not between 0 and 6s": {URL: "ws://ws.example.net/", Hold: failover.Duration(-time.Second)},
		"within: -1s is negative":           {URL: "ws://ws.example.net/", For: failover.Duration(-time.Second)},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := (&WebSocketConfig{URL: "wss://ws.example.net/ws", CAFile: "/ca.pem"}).Validate(); err != nil {
		t.Error(err)
	}
}
