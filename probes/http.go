package probes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/dnsq"
)

// HTTPConfig looks at an HTTP endpoint: every address behind its name, each over
// a new connection and over one that is kept alive.
type HTTPConfig struct {
	// URL is asked with GET. Redirects are not followed.
	URL string `toml:"url" json:"url"`
	// Host is sent as Host and as the TLS server name instead of the URL's own.
	Host string `toml:"host" json:"host,omitempty"`
	// Status lists the accepted status codes. Empty: 200 to 299.
	Status []int `toml:"status" json:"status,omitempty"`
	// Contains must be found in the first 64 KiB of the body.
	Contains string `toml:"contains" json:"contains,omitempty"`
	// Slow is the time after which a correct answer counts as slow. Zero: never.
	Slow failover.Duration `toml:"slow" json:"slow,omitempty"`
}

// Validate reports the first wrong parameter.
func (c *HTTPConfig) Validate() error {
	if err := validURL("url", c.URL); err != nil {
		return err
	}
	for _, s := range c.Status {
		if s < 100 || s > 599 {
			return badParam("status", "%d is not an HTTP status", s)
		}
	}
	return notNegative("slow", c.Slow)
}

// HTTPCheckConfig asserts that every address of an endpoint answers well.
type HTTPCheckConfig struct {
	HTTPConfig
	// For is how long it is asked again before it has failed. Zero: 2 minutes.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

// Validate reports the first wrong parameter.
func (c *HTTPCheckConfig) Validate() error {
	if err := c.HTTPConfig.Validate(); err != nil {
		return err
	}
	return notNegative("within", c.For)
}

// Within implements CheckConfig.
func (c *HTTPCheckConfig) Within() time.Duration { return within(c.For) }

func (c *HTTPConfig) hosts(failover.Region) []string {
	if u, err := url.Parse(c.URL); err == nil {
		return []string{u.Hostname()}
	}
	return nil
}

// httpProbe asks every address of a URL. It keeps one connection per address
// alive and opens another one for each probe: a balancer that still serves old
// connections but accepts no new ones, or the other way round, shows.
type httpProbe struct {
	cfg    *HTTPConfig
	deps   Deps
	url    *url.URL
	port   string
	dns    *dnsq.Client
	dialer net.Dialer
	fresh  *http.Transport
	kept   map[netip.Addr]*http.Transport
	log    *slog.Logger
}

// New implements Config.
func (c *HTTPConfig) New(d Deps) (Probe, error) { return c.probe(d) }

func (c *HTTPConfig) probe(d Deps) (*httpProbe, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	p := &httpProbe{cfg: c, deps: d, url: u, port: u.Port(), dns: d.dns(), kept: map[netip.Addr]*http.Transport{}, log: d.Log}
	if p.port == "" {
		p.port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	p.fresh = p.transport(func(ctx context.Context) netip.Addr {
		ip, _ := ctx.Value(pinned{}).(netip.Addr)
		return ip
	})
	p.fresh.DisableKeepAlives = true
	return p, nil
}

// pinned is the context key of the address that a fresh connection goes to.
type pinned struct{}

// transport dials only the given address. HTTP/1.1 is used on purpose: a
// multiplexed connection would hide which exchange failed.
func (p *httpProbe) transport(where func(context.Context) netip.Addr) *http.Transport {
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return p.dialer.DialContext(ctx, network, net.JoinHostPort(where(ctx).String(), p.port))
		},
		TLSNextProto:    map[string]func(string, *tls.Conn) http.RoundTripper{},
		MaxIdleConns:    1,
		IdleConnTimeout: 5 * time.Minute,
		// Most answers are a few hundred bytes, and each target keeps a connection.
		ReadBufferSize: 1 << 10, WriteBufferSize: 1 << 10,
	}
	if p.cfg.Host != "" {
		name, _, err := net.SplitHostPort(p.cfg.Host)
		if err != nil {
			name = p.cfg.Host
		}
		t.TLSClientConfig = &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12}
	}
	return t
}

// Probe implements Probe.
func (p *httpProbe) Probe(ctx context.Context) failover.Observation {
	o := p.deps.observation("http", p.cfg.URL)
	ctx, cancel := p.deps.within(ctx)
	defer cancel()
	addrs, err := p.dns.Addrs(ctx, p.url.Hostname())
	resolved := time.Since(o.At)
	if err != nil {
		outcome, reason := networkError(err)
		return result{outcome: outcome, reason: reason, detail: err.Error(), latency: resolved}.finish(o)
	}
	o = fold(o, p.ask(ctx, addrs))
	if o.Phases == nil {
		o.Phases = map[string]time.Duration{}
	}
	o.Phases["dns"] = resolved
	return o
}

// ask asks all addresses at once, each twice.
func (p *httpProbe) ask(ctx context.Context, addrs []netip.Addr) []result {
	for ip, t := range p.kept {
		if !slices.Contains(addrs, ip) {
			t.CloseIdleConnections()
			delete(p.kept, ip)
		}
	}
	results := make([]result, len(addrs))
	var wg sync.WaitGroup
	for i, ip := range addrs {
		kept := p.kept[ip]
		if kept == nil {
			kept = p.transport(func(context.Context) netip.Addr { return ip })
			p.kept[ip] = kept
		}
		wg.Go(func() {
			old := make(chan result, 1)
			go func() { old <- p.exchange(ctx, kept, ip) }()
			results[i] = bothWays(p.exchange(context.WithValue(ctx, pinned{}, ip), p.fresh, ip), <-old)
		})
	}
	wg.Wait()
	return results
}

// bothWays folds the fresh and the kept connection to one address. One of them
// working is enough for the address to be alive.
func bothWays(fresh, kept result) result {
	good := func(r result) bool { return r.outcome == failover.OK || r.outcome == failover.Slow }
	switch {
	case good(fresh) && !good(kept):
		kept.outcome, kept.detail = failover.Slow, "works, but not over a kept-alive connection: "+kept.detail
		return kept
	case !good(fresh) && good(kept):
		fresh.outcome, fresh.detail = failover.Slow, "works, but not over a new connection: "+fresh.detail
		return fresh
	}
	return fresh
}

// exchange makes one request over one transport.
func (p *httpProbe) exchange(ctx context.Context, t *http.Transport, ip netip.Addr) result {
	begin := time.Now()
	r := result{target: ip.String()}
	var phases phaseClock
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, phases.trace()), http.MethodGet, p.cfg.URL, http.NoBody)
	if err != nil {
		r.outcome, r.reason, r.detail = failover.Misconfigured, failover.ReasonConfig, err.Error()
		return r
	}
	req.Host = p.cfg.Host // "" is the URL's own
	req.Header.Set("User-Agent", "failoverd")
	resp, err := t.RoundTrip(req)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		_ = resp.Body.Close()
	}
	r.latency = time.Since(begin)
	r.phases = phases.times(begin)
	r.phases["total"] = r.latency
	if err != nil {
		r.outcome, r.reason = networkError(err)
		if phases.inTLS() && r.reason == failover.ReasonOther {
			r.reason = failover.ReasonTLS
		}
		r.detail = short(unwrapOp(err), r.reason) + phases.where(r.reason)
		return r
	}
	switch {
	case !p.accepts(resp.StatusCode):
		r.outcome, r.reason, r.detail = failover.Failed, failover.ReasonStatus, fmt.Sprintf("answered %d", resp.StatusCode)
		if resp.StatusCode == http.StatusTooManyRequests {
			r.outcome, r.reason = failover.Slow, failover.ReasonThrottled
		}
	case !strings.Contains(string(body), p.cfg.Contains):
		r.outcome, r.reason, r.detail = failover.Failed, failover.ReasonContent, fmt.Sprintf("answered %d without %q", resp.StatusCode, p.cfg.Contains)
	default:
		r.outcome = failover.OK
	}
	return r.slower(p.cfg.Slow.D())
}

func (p *httpProbe) accepts(status int) bool {
	if len(p.cfg.Status) == 0 {
		return status >= 200 && status < 300
	}
	return slices.Contains(p.cfg.Status, status)
}

// unwrapOp takes the address, which is shown already, off a network error.
func unwrapOp(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return op.Err
	}
	return err
}

// phaseClock notes when the phases of an exchange ended. The transport may call
// it from its own goroutines, also after the exchange was given up.
type phaseClock struct {
	mu                               sync.Mutex
	dialed, connected, secured, said time.Time
	securing                         bool
}

func (c *phaseClock) note(into *time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*into = time.Now()
}

func (c *phaseClock) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		ConnectStart: func(string, string) { c.note(&c.dialed) },
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				c.note(&c.connected)
			}
		},
		TLSHandshakeStart: func() {
			c.mu.Lock()
			c.securing = true
			c.mu.Unlock()
		},
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err == nil {
				c.note(&c.secured)
			}
		},
		GotFirstResponseByte: func() { c.note(&c.said) },
	}
}

// times are the durations of the phases that took place.
func (c *phaseClock) times(begin time.Time) map[string]time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]time.Duration{}
	last := begin
	for _, ph := range []struct {
		name string
		end  time.Time
	}{{"connect", c.connected}, {"tls", c.secured}, {"first_byte", c.said}} {
		if !ph.end.IsZero() {
			out[ph.name] = ph.end.Sub(last)
			last = ph.end
		}
	}
	return out
}

func (c *phaseClock) inTLS() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.securing && c.secured.IsZero()
}

// where says in which phase time ran out.
func (c *phaseClock) where(reason failover.ReasonCode) string {
	if reason != failover.ReasonTimeout {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.said.IsZero():
		return " (in the body)"
	case c.securing && c.secured.IsZero():
		return " (in the TLS handshake)"
	case c.dialed.IsZero() || !c.connected.IsZero():
		return " (no response)"
	}
	return " (no connection)"
}

// httpCheck asserts that every address answers well.
type httpCheck struct{ probe *httpProbe }

// NewCheck implements CheckConfig.
func (c *HTTPCheckConfig) NewCheck(d Deps) (Check, error) {
	p, err := c.probe(d)
	if err != nil {
		return nil, err
	}
	return httpCheck{p}, nil
}

// Check implements Check.
func (c httpCheck) Check(ctx context.Context) Finding {
	return finding(c.probe.Probe(ctx), c.probe.cfg.URL+" answers well at every address")
}
