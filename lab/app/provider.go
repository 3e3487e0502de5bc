package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/failoverd/failoverd/lab/ledger"
)

// ProviderOptions sets up the providers: the outside parties that send messages and insist until each is accepted.
// Durations are already divided by the time factor.
type ProviderOptions struct {
	World    string
	URL      string        // e.g. http://api.example.net/messages
	Resolver string        // host:port of the caching resolver
	Rate     float64       // messages per second
	Resend   time.Duration // time-out of an attempt, and pause before the next
	StaleDNS time.Duration // how long the ill-behaved client keeps an address whatever the TTL
	Log      *slog.Logger
}

// ProviderStatus says how the providers see the service.
type ProviderStatus struct {
	Sent            int            `json:"sent"`
	Acked           int            `json:"acked"`
	Unacked         int            `json:"unacked"`
	Attempts        int            `json:"attempts"`
	Failures        int            `json:"failures"`
	OldestUnackedMs int64          `json:"oldestUnackedMs"`
	LastError       string         `json:"lastError"`
	ByRegion        map[string]int `json:"byRegion"` // acknowledgements
	Backlog         int            `json:"backlog"`  // last one reported by an API
	LastAck         time.Time      `json:"lastAck"`
}

// Provider sends messages through several clients of different behaviour. It is safe for concurrent use.
type Provider struct {
	opt     ProviderOptions
	clients []*http.Client
	ledger  *ledger.Client

	mu      sync.Mutex
	st      ProviderStatus
	unacked map[string]time.Time
	paused  bool
}

// NewProvider makes the clients: two that resolve for each request, one that keeps its connections, and one that ignores
// the TTL, as many real ones do.
func NewProvider(opt ProviderOptions) (*Provider, error) {
	l, err := ledger.Dial(opt.World+"/"+LedgerSocket, ledger.Event{Role: "provider"})
	if err != nil {
		return nil, err
	}
	p := &Provider{opt: opt, ledger: l, unacked: map[string]time.Time{}, st: ProviderStatus{ByRegion: map[string]int{}}}
	res := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: opt.Resend}).DialContext(ctx, network, opt.Resolver)
	}}
	dialer := &net.Dialer{Timeout: opt.Resend, Resolver: res}
	stale := &staleDialer{resolver: res, keep: opt.StaleDNS, dialer: dialer}
	for _, tr := range []*http.Transport{
		{DialContext: dialer.DialContext, DisableKeepAlives: true},
		{DialContext: dialer.DialContext},
		{DialContext: dialer.DialContext, DisableKeepAlives: true},
		{DialContext: stale.dial, DisableKeepAlives: true},
	} {
		p.clients = append(p.clients, &http.Client{Transport: tr, Timeout: opt.Resend})
	}
	return p, nil
}

// staleDialer resolves a name once and keeps the address.
type staleDialer struct {
	resolver *net.Resolver
	dialer   *net.Dialer
	keep     time.Duration
	mu       sync.Mutex
	ip       string
	until    time.Time
}

func (s *staleDialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	ip := s.ip
	if time.Now().After(s.until) {
		ip = ""
	}
	s.mu.Unlock()
	if ip == "" {
		ips, err := s.resolver.LookupHost(ctx, host)
		if err != nil {
			return nil, err
		}
		ip = ips[0]
		s.mu.Lock()
		s.ip, s.until = ip, time.Now().Add(s.keep)
		s.mu.Unlock()
	}
	return s.dialer.DialContext(ctx, network, net.JoinHostPort(ip, port))
}

// Run sends until ctx ends.
func (p *Provider) Run(ctx context.Context) {
	held := 0
	for n := 1; ctx.Err() == nil; n++ {
		p.mu.Lock()
		backlog, wait := p.st.Backlog, time.Duration(float64(time.Second)/p.opt.Rate)
		// A few messages shall always stand unclaimed, so that two regions that are active at once must collide; but a
		// region without workers shall not drown.
		if backlog < 4 {
			wait /= 3
		}
		paused := p.paused
		p.mu.Unlock()
		if held++; !paused && (backlog <= 40 || held > 10) { // now and then one goes out anyway, to learn the new backlog
			held = 0
			p.send(ctx, n, 50) // providers buffer only so much
		}
		pause(ctx, wait)
	}
}

// Flood sends n messages at once, without a thought for what waits already. They insist until ctx ends.
func (p *Provider) Flood(ctx context.Context, n int) {
	for i := range n {
		p.send(ctx, i, n+50)
	}
}

func (p *Provider) send(ctx context.Context, n, atMost int) {
	p.mu.Lock()
	if len(p.unacked) >= atMost {
		p.mu.Unlock()
		return
	}
	p.st.Sent++
	key := fmt.Sprintf("m-%06d", p.st.Sent)
	p.unacked[key] = time.Now()
	p.mu.Unlock()
	if err := p.ledger.Write(ledger.Event{Type: ledger.Sent, Key: key}); err != nil {
		p.opt.Log.Error("ledger", "err", err)
	}
	go p.insist(ctx, key, n)
}

// insist sends one message until it is accepted, each time through another client.
func (p *Provider) insist(ctx context.Context, key string, n int) {
	body, err := json.Marshal(Message{Key: key, Body: "order " + key})
	if err != nil {
		return
	}
	for try := 0; ctx.Err() == nil; try++ {
		a, err := p.post(ctx, p.clients[(n+try)%len(p.clients)], body)
		p.mu.Lock()
		p.st.Attempts++
		if err == nil {
			p.st.Acked++
			p.st.ByRegion[a.Region]++
			p.st.Backlog, p.st.LastAck = a.Backlog, time.Now()
			delete(p.unacked, key)
			p.mu.Unlock()
			if err := p.ledger.Write(ledger.Event{Type: ledger.Acked, Key: key, Region: a.Region}); err != nil {
				p.opt.Log.Error("ledger", "err", err)
			}
			return
		}
		p.st.Failures++
		p.st.LastError = err.Error()
		p.mu.Unlock()
		pause(ctx, p.opt.Resend)
	}
}

func (p *Provider) post(ctx context.Context, c *http.Client, body []byte) (a Accepted, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.opt.URL, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return a, err
	}
	if resp.StatusCode != http.StatusAccepted {
		return a, fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(b))
	}
	return a, json.Unmarshal(b, &a)
}

// Pause stops or resumes the sending of new messages; what is unacknowledged is still sent again.
func (p *Provider) Pause(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = on
}

// Status reports the providers' view.
func (p *Provider) Status() ProviderStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.st
	s.ByRegion = map[string]int{}
	for k, v := range p.st.ByRegion {
		s.ByRegion[k] = v
	}
	s.Unacked = len(p.unacked)
	for _, t := range p.unacked {
		s.OldestUnackedMs = max(s.OldestUnackedMs, time.Since(t).Milliseconds())
	}
	return s
}
