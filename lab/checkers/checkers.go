// Package checkers imitates Route 53's health checkers: many places that look at an endpoint without knowing of each other, the
// rule by which their opinions become one, and calculated checks.
//
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/dns-failover-determining-health-of-endpoints.html
package checkers

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Config is a health check. Times are of the real world.
type Config struct {
	ID        string        `json:"id"`
	Type      string        `json:"type"` // HTTP, HTTP_STR_MATCH, TCP, CALCULATED
	Host      string        `json:"host"` // address or name
	Port      int           `json:"port"`
	Path      string        `json:"path"`
	Search    string        `json:"search"`
	Interval  time.Duration `json:"interval"`
	Threshold int           `json:"threshold"` // looks in a row that change a checker's mind
	Inverted  bool          `json:"inverted"`
	Disabled  bool          `json:"disabled"`
	Children  []string      `json:"children"`
	Healthy   int           `json:"healthy"` // of a calculated one: children that must be
}

// Places is how many checkers look at each endpoint. One of them is 12.5 %, two are 25 %.
const Places = 8

// share is how many of the checkers must find an endpoint healthy: "If more than 18% of health checkers report that an
// endpoint is healthy, Route 53 considers it healthy."
const share = 0.18

// Set is all health checks. It is safe for concurrent use.
type Set struct {
	factor float64
	ctx    context.Context
	wg     sync.WaitGroup

	mu     sync.Mutex
	checks map[string]*check
}

type check struct {
	Config
	cancel context.CancelFunc
	places []place
}

// place is one checker's mind.
type place struct {
	seen    bool // it has made up its mind
	healthy bool
	run     int // looks in a row that differ from it
}

// New makes an empty set whose times are divided by factor. Checkers look until ctx ends.
func New(ctx context.Context, factor float64) *Set {
	return &Set{factor: factor, ctx: ctx, checks: map[string]*check{}}
}

// Wait waits until all checkers have ended.
func (s *Set) Wait() { s.wg.Wait() }

// Put adds a check, or replaces it.
func (s *Set) Put(c Config) {
	ctx, cancel := context.WithCancel(s.ctx)
	ch := &check{Config: c, cancel: cancel, places: make([]place, Places)}
	s.mu.Lock()
	if old := s.checks[c.ID]; old != nil {
		old.cancel()
		if old.Host == c.Host && old.Port == c.Port && old.Path == c.Path {
			copy(ch.places, old.places)
		}
	}
	s.checks[c.ID] = ch
	s.mu.Unlock()
	if c.Type == "CALCULATED" || c.Disabled {
		return
	}
	for i := range ch.places {
		s.wg.Go(func() { s.look(ctx, ch, i) })
	}
}

// Delete removes a check.
func (s *Set) Delete(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.checks[id]; c != nil {
		c.cancel()
		delete(s.checks, id)
	}
}

func (s *Set) scale(d time.Duration) time.Duration { return time.Duration(float64(d) / s.factor) }

// look is one checker: it begins whenever it happens to, and then looks once per interval.
func (s *Set) look(ctx context.Context, c *check, i int) {
	every := s.scale(c.Interval)
	t := time.NewTimer(time.Duration(rand.Int64N(int64(every))))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		t.Reset(every)
		good := s.ask(ctx, c.Config) == nil
		s.mu.Lock()
		p := &c.places[i]
		switch {
		case !p.seen:
			// The first look begins the opinion; it takes as many as any other change.
			p.seen, p.healthy, p.run = true, true, 0
			if !good {
				p.run = 1
			}
		case good == p.healthy:
			p.run = 0
		default:
			p.run++
		}
		if p.run >= c.Threshold {
			p.healthy, p.run = good, 0
		}
		s.mu.Unlock()
	}
}

// ask looks once: a connection within four seconds, a status of 2xx or 3xx within two more, and the text within two more and
// within the first 5,120 bytes.
func (s *Set) ask(ctx context.Context, c Config) error {
	addr := net.JoinHostPort(c.Host, fmt.Sprint(c.Port))
	dialer := &net.Dialer{Timeout: max(300*time.Millisecond, s.scale(4*time.Second))}
	if c.Type == "TCP" {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	tr := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, ResponseHeaderTimeout: max(300*time.Millisecond, s.scale(2*time.Second))}
	client := &http.Client{Transport: tr, Timeout: max(time.Second, s.scale(8*time.Second)), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+c.Path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "Amazon-Route53-Health-Check-Service (ref lab)")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 399 {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	if !strings.HasSuffix(c.Type, "_STR_MATCH") {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 5120))
	if err != nil {
		return err
	}
	if !strings.Contains(string(body), c.Search) {
		return fmt.Errorf("no %q in the first 5,120 bytes", c.Search)
	}
	return nil
}

// Healthy tells how a check stands. One that does not exist is healthy, as a record without a check is.
func (s *Set) Healthy(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.healthy(id, 0)
}

func (s *Set) healthy(id string, depth int) bool {
	c := s.checks[id]
	if c == nil || depth > 8 {
		return true
	}
	return c.status(s, depth) != c.Inverted
}

// status is the check's own opinion, before it is inverted. "Route 53 considers a new health check to be healthy until there's
// enough data"; "after you disable a health check, Route 53 considers the status of the health check to always be healthy".
func (c *check) status(s *Set, depth int) bool {
	if c.Disabled {
		return true
	}
	if c.Type == "CALCULATED" {
		n := 0
		for _, child := range c.Children {
			if s.healthy(child, depth+1) {
				n++
			}
		}
		return n >= c.Config.Healthy
	}
	good, seen := 0, 0
	for _, p := range c.places {
		if p.seen {
			seen++
		}
		if p.seen && p.healthy {
			good++
		}
	}
	return seen == 0 || float64(good) > share*Places
}

// Report is what each checker of a check thinks: "Success" or "Failure", "" before it has looked.
func (s *Set) Report(id string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.checks[id]
	if c == nil || c.Type == "CALCULATED" {
		return nil
	}
	var out []string
	for _, p := range c.places {
		switch {
		case !p.seen:
			out = append(out, "")
		case p.healthy:
			out = append(out, "Success: HTTP Status Code 200, OK")
		default:
			out = append(out, "Failure: the endpoint does not answer as it should")
		}
	}
	return out
}
