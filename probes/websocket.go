package probes

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/dnsq"
)

// WebSocketConfig asserts that a client gets a WebSocket (RFC 6455) at every address
// behind a name and can keep it: through the real handshake, with TLS where the URL
// says wss, an echo at once and another one after the connection has been held.
//
// A load balancer that answers /healthz may still refuse the upgrade, or drop the
// connection at its first idle second: only a connection that is held shows it.
type WebSocketConfig struct {
	// URL is ws:// or wss://. What answers there returns each text that it is sent.
	URL string `toml:"url" json:"url"`
	// CAFile holds the authorities that are trusted instead of the system's.
	CAFile string `toml:"ca_file" json:"ca_file,omitempty"`
	// Hold is how long the connection is held. Zero: 3 s.
	Hold failover.Duration `toml:"hold" json:"hold,omitempty"`
	// For is how long it is asked again before it has failed. Zero: 2 minutes.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

const (
	defaultHold = 3 * time.Second
	// longestHold leaves room for the handshake and two echoes in the 10 s that one
	// look of a check may take.
	longestHold = 6 * time.Second
	// closeWait is how long the peer may take to answer our close.
	closeWait = time.Second
	// longestEcho bounds what is read of a message; ours are below 100 bytes.
	longestEcho = 64 << 10
)

// Validate reports the first wrong parameter.
func (c *WebSocketConfig) Validate() error {
	if c.URL == "" {
		return badParam("url", "is missing")
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Hostname() == "" {
		return badParam("url", "%q is not a ws:// or wss:// URL with a host", c.URL)
	}
	if u.Fragment != "" {
		return badParam("url", "%q has a fragment, which RFC 6455 does not allow", c.URL)
	}
	if err := caFileFor(c.URL, c.CAFile, "wss"); err != nil {
		return err
	}
	if h := c.Hold.D(); h < 0 || h > longestHold {
		return badParam("hold", "%s is not between 0 and %s: one look of a check takes 10s at most", c.Hold, longestHold)
	}
	return notNegative("within", c.For)
}

// Within implements CheckConfig.
func (c *WebSocketConfig) Within() time.Duration { return within(c.For) }

// held is how long the connection is held.
func (c *WebSocketConfig) held() time.Duration {
	if c.Hold == 0 {
		return defaultHold
	}
	return c.Hold.D()
}

type webSocket struct {
	cfg  *WebSocketConfig
	deps Deps
	url  *url.URL
	dns  *dnsq.Client
}

// NewCheck implements CheckConfig.
func (c *WebSocketConfig) NewCheck(d Deps) (Check, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	return &webSocket{cfg: c, deps: d, url: u, dns: d.dns()}, nil
}

// Check implements Check.
func (w *webSocket) Check(ctx context.Context) Finding {
	o := w.deps.observation("websocket", w.cfg.URL)
	ctx, cancel := w.deps.within(ctx)
	defer cancel()
	addrs, err := w.dns.Addrs(ctx, w.url.Hostname())
	if err != nil {
		outcome, reason := networkError(err)
		return finding(result{outcome: outcome, reason: reason, detail: err.Error()}.finish(o), "")
	}
	roots, err := trustedRoots(w.cfg.CAFile)
	if err != nil {
		return Finding{Unknown, err.Error()}
	}
	results := make([]result, len(addrs))
	var wg sync.WaitGroup
	for i, ip := range addrs {
		wg.Go(func() {
			s := &socket{w: w, ip: ip, begin: time.Now(), texts: make(chan string), ended: make(chan error, 1), left: make(chan struct{})}
			results[i] = s.run(ctx, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
		})
	}
	wg.Wait()
	o = fold(o, results)
	return finding(o, fmt.Sprintf("%s: %s", w.cfg.URL, o.Detail))
}

// socket is one connection to one address.
type socket struct {
	w     *webSocket
	ip    netip.Addr
	begin time.Time
	conn  *websocket.Conn
	texts chan string   // what the peer sends
	ended chan error    // why reading ended, once
	left  chan struct{} // closed when nobody takes texts any more
	pings atomic.Int32  // of the peer, answered
}

// run holds one conversation from the handshake to the close.
func (s *socket) run(ctx context.Context, conf *tls.Config) result {
	r := result{target: s.ip.String(), outcome: failover.OK}
	fail := func(reason failover.ReasonCode, format string, args ...any) result {
		r.outcome, r.reason, r.detail, r.latency = failover.Failed, reason, fmt.Sprintf(format, args...), time.Since(s.begin)
		return r
	}
	if bad := s.dial(ctx, conf); bad != nil {
		bad.target = r.target
		return *bad
	}
	shook := time.Since(s.begin)
	// A read of the library ends with its connection alone.
	stop := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
	defer stop()
	defer func() { _ = s.conn.Close() }()
	defer close(s.left)
	go s.read()

	first, reason, wrong := s.echo(ctx)
	if wrong != "" {
		return fail(reason, "%s", wrong)
	}
	hold := s.w.cfg.held()
	t := time.NewTimer(hold)
	defer t.Stop()
	for waiting := true; waiting; {
		select {
		case <-t.C:
			waiting = false
		case <-s.texts: // what the service sends of its own accord is its business
		case err := <-s.ended:
			return fail(failover.ReasonReset, "%s, before it had been held for %s", s.ending(ctx, err), hold)
		case <-ctx.Done():
			return fail(failover.ReasonTimeout, "time ran out after %s, before it had been held for %s", since(s.begin), hold)
		}
	}
	second, reason, wrong := s.echo(ctx)
	if wrong != "" {
		return fail(reason, "after it had been held for %s: %s", hold, wrong)
	}
	if wrong := s.bye(ctx); wrong != "" {
		return fail(failover.ReasonOther, "it echoes, but is not closed properly: %s", wrong)
	}
	r.latency = time.Since(s.begin)
	r.detail = fmt.Sprintf("shook hands in %s, echoed in %s and, held for %s, in %s, answered %d pings, closed with 1000",
		ms(shook), ms(first), hold, ms(second), s.pings.Load())
	return r
}

// dial makes the handshake; nil if it came to a WebSocket.
func (s *socket) dial(ctx context.Context, conf *tls.Config) *result {
	d := websocket.Dialer{TLSClientConfig: conf, NetDialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(s.ip.String(), defaultPort(s.w.url)))
	}}
	conn, resp, err := d.DialContext(ctx, s.w.cfg.URL, http.Header{"User-Agent": {"failoverd"}})
	if resp != nil {
		_ = resp.Body.Close() // the library has read what there is of it
	}
	if err == nil {
		s.conn = conn
		conn.SetReadLimit(longestEcho)
		conn.SetPingHandler(func(data string) error {
			s.pings.Add(1)
			return conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(closeWait))
		})
		return nil
	}
	r := &result{outcome: failover.Failed, reason: failover.ReasonStatus, latency: time.Since(s.begin)}
	switch {
	case errors.Is(err, websocket.ErrBadHandshake) && resp != nil && resp.StatusCode == http.StatusSwitchingProtocols:
		r.reason, r.detail = failover.ReasonContent, "answered 101, but without the headers of RFC 6455: something between changes the handshake"
	case errors.Is(err, websocket.ErrBadHandshake) && resp != nil:
		r.detail = fmt.Sprintf("answered the handshake with %d, not with 101", resp.StatusCode)
	default:
		r.outcome, r.reason = networkError(err)
		if r.detail = untrusted(err, time.Now()); r.detail == "" {
			r.detail = short(unwrapOp(err), r.reason) + " (in the handshake)"
		}
	}
	return r
}

// read passes on what comes until the connection ends. Pings are answered on the way.
func (s *socket) read() {
	for {
		_, text, err := s.conn.ReadMessage()
		if err != nil {
			s.ended <- err
			return
		}
		select {
		case s.texts <- string(text):
		case <-s.left:
		}
	}
}

// echo sends a text that nobody has sent before and waits for it.
func (s *socket) echo(ctx context.Context) (took time.Duration, reason failover.ReasonCode, wrong string) {
	text, begin := "failoverd "+rand.Text(), time.Now()
	if end, ok := ctx.Deadline(); ok {
		_ = s.conn.SetWriteDeadline(end)
	}
	if err := s.conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		select {
		case err = <-s.ended: // why the peer went says more
		default:
		}
		return 0, failover.ReasonReset, "a text could not be sent: " + s.ending(ctx, err)
	}
	select {
	case back := <-s.texts:
		if back != text {
			return 0, failover.ReasonContent, fmt.Sprintf("sent %q, but %q came back", text, clip(back, 80))
		}
		return time.Since(begin), "", ""
	case err := <-s.ended:
		return 0, failover.ReasonReset, s.ending(ctx, err) + ", without an echo"
	case <-ctx.Done():
		return 0, failover.ReasonTimeout, fmt.Sprintf("shook hands, but sent no echo within %s", since(begin))
	}
}

// bye closes the connection and says what was wrong about that.
func (s *socket) bye(ctx context.Context) string {
	if err := s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(closeWait)); err != nil {
		return "the close could not be sent: " + err.Error()
	}
	t := time.NewTimer(closeWait)
	defer t.Stop()
	for {
		select {
		case <-s.texts: // was on its way
		case err := <-s.ended:
			if websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseNoStatusReceived) {
				return ""
			}
			return s.ending(ctx, err)
		case <-t.C:
			return fmt.Sprintf("the close was not answered within %s", closeWait)
		case <-ctx.Done():
			return "time ran out while it was being closed"
		}
	}
}

// ending says how the peer left.
func (s *socket) ending(ctx context.Context, err error) string {
	after := since(s.begin)
	if ce, ok := errors.AsType[*websocket.CloseError](err); ok && ce.Code != websocket.CloseAbnormalClosure {
		text := fmt.Sprintf("closed after %s with code %d", after, ce.Code)
		if ce.Text != "" {
			text += fmt.Sprintf(" (%s)", clip(ce.Text, 80))
		}
		return text
	}
	if ctx.Err() != nil {
		return fmt.Sprintf("time ran out after %s", after)
	}
	return fmt.Sprintf("cut off after %s, without a close", after)
}

func since(t time.Time) time.Duration { return ms(time.Since(t)) }

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// clip shortens what a peer has sent.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
