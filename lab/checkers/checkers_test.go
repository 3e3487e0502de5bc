package checkers

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// endpoint answers with what it is told.
type endpoint struct {
	*httptest.Server
	status atomic.Int64
	body   atomic.Value
	asked  atomic.Int64
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.status.Store(200)
	e.body.Store("")
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		e.asked.Add(1)
		w.WriteHeader(int(e.status.Load()))
		fmt.Fprint(w, e.body.Load())
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) check(id, typ string) Config {
	host, port, _ := net.SplitHostPort(strings.TrimPrefix(e.URL, "http://"))
	n, _ := strconv.Atoi(port)
	return Config{ID: id, Type: typ, Host: host, Port: n, Path: "/", Interval: 10 * time.Second, Threshold: 3}
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("not within 15 s: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func newSet(t *testing.T) *Set {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := New(ctx, 200) // an interval of 10 s takes 50 ms
	t.Cleanup(func() { cancel(); s.Wait() })
	return s
}

// An endpoint is down after its threshold of looks, up again likewise; inverted, the other way round; a disabled check is
// healthy, and inverted as well it is not.
func TestEndpoint(t *testing.T) {
	s, e := newSet(t), newEndpoint(t)
	s.Put(e.check("plain", "HTTP"))
	inverted := e.check("inverted", "HTTP")
	inverted.Inverted = true
	s.Put(inverted)
	if !s.Healthy("plain") || s.Healthy("inverted") {
		t.Error("before there are data a check is healthy, and an inverted one is not")
	}
	eventually(t, "a first look", func() bool { return s.Report("plain")[0] != "" && e.asked.Load() > 10 })
	if !s.Healthy("plain") || s.Healthy("inverted") {
		t.Error("an endpoint that answers is not healthy")
	}
	e.status.Store(503)
	eventually(t, "503 to count", func() bool { return !s.Healthy("plain") && s.Healthy("inverted") })
	e.status.Store(302)
	eventually(t, "302 to count as healthy", func() bool { return s.Healthy("plain") && !s.Healthy("inverted") })
	inverted.Disabled = true
	e.status.Store(503)
	s.Put(inverted)
	if s.Healthy("inverted") {
		t.Error("disabled and inverted is healthy")
	}
	s.Delete("plain")
	if !s.Healthy("plain") {
		t.Error("a check that does not exist is unhealthy")
	}
}

// The text must be within the first 5,120 bytes.
func TestStringMatch(t *testing.T) {
	s, e := newSet(t), newEndpoint(t)
	c := e.check("text", "HTTP_STR_MATCH")
	c.Search = "region=us-east-2 "
	s.Put(c)
	e.body.Store("failoverd region=us-east-1 token=3")
	eventually(t, "another text to count", func() bool { return !s.Healthy("text") })
	e.body.Store(strings.Repeat("x", 5110) + "region=us-east-2 ")
	at := e.asked.Load()
	eventually(t, "ten looks", func() bool { return e.asked.Load() > at+5*Places })
	if s.Healthy("text") {
		t.Error("a text that ends after 5,120 bytes was found")
	}
	e.body.Store("failoverd region=us-east-2 token=4")
	eventually(t, "the text", func() bool { return s.Healthy("text") })
}

// More than 18 % of the checkers make an endpoint healthy: of eight, two do and one does not.
func TestShare(t *testing.T) {
	s := newSet(t)
	c := &check{Config: Config{ID: "x", Type: "HTTP"}, cancel: func() {}, places: make([]place, Places)}
	s.checks["x"] = c
	for i := range c.places {
		c.places[i].seen = true
	}
	for n, want := range []bool{false, false, true, true} {
		if n > 0 {
			c.places[n-1].healthy = true
		}
		if got := s.Healthy("x"); got != want {
			t.Errorf("with %d of %d the endpoint is healthy: %t", n, Places, got)
		}
	}
}

// A calculated check counts its healthy children, and may be inverted itself.
func TestCalculated(t *testing.T) {
	s, e := newSet(t), newEndpoint(t)
	down := newEndpoint(t)
	down.status.Store(500)
	for i, ep := range []*endpoint{e, e, down} {
		s.Put(ep.check(fmt.Sprint("c", i), "HTTP"))
	}
	for n, want := range map[int]bool{1: true, 2: true, 3: false} {
		s.Put(Config{ID: fmt.Sprint("at-least-", n), Type: "CALCULATED", Children: []string{"c0", "c1", "c2"}, Healthy: n})
		eventually(t, fmt.Sprintf("at least %d of two healthy ones: %t", n, want), func() bool { return s.Healthy(fmt.Sprint("at-least-", n)) == want && !s.Healthy("c2") })
	}
	s.Put(Config{ID: "not", Type: "CALCULATED", Children: []string{"at-least-3"}, Healthy: 1, Inverted: true})
	if !s.Healthy("not") {
		t.Error("an inverted calculated check of an unhealthy child is unhealthy")
	}
}
