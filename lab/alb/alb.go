// Package alb imitates an Application Load Balancer: one listener per zone, real reverse proxying to the region's running
// targets, active health checks, and the status codes that tell a dead target from a dead load balancer.
package alb

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
)

// Options sets up a load balancer. Durations are already divided by the time factor.
type Options struct {
	Zones    map[string]string // zone name → listen address
	TLSZones map[string]string // the same, with TLS
	// Certificate is what TLS clients are shown.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Targets     func() []string // host:port of the registered targets
	HealthPath  string
	HealthEvery time.Duration
	IdleTimeout time.Duration // until a target's silence becomes 504
	Drain       time.Duration // how long a target that was taken out is still described
	Faults      *faults.Set
	Log         *slog.Logger
}

// ALB is the load balancer. It is safe for concurrent use.
type ALB struct {
	opt   Options
	proxy *httputil.ReverseProxy
	check *http.Client
	turn  atomic.Uint64

	counted counters

	mu     sync.Mutex
	health map[string]*target
}

type target struct {
	healthy   bool
	good, bad int       // consecutive results
	why       result    // the newest check that failed
	gone      time.Time // when it was taken out; zero while it is registered
}

type targetKey struct{}

// New makes a load balancer; Run serves it.
func New(opt Options) *ALB {
	a := &ALB{opt: opt, health: map[string]*target{}, check: &http.Client{Timeout: opt.HealthEvery, Transport: &http.Transport{DisableKeepAlives: true}}}
	tr := &http.Transport{
		DialContext:           a.counted.dial(&net.Dialer{Timeout: opt.IdleTimeout}),
		ResponseHeaderTimeout: opt.IdleTimeout,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       opt.IdleTimeout,
	}
	a.proxy = &httputil.ReverseProxy{
		Transport: tr,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: p.In.Context().Value(targetKey{}).(string)})
			p.Out.Host = p.In.Host
			p.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			// 502: the target refused or closed the connection; 504: it did not answer in time.
			// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html
			status := http.StatusBadGateway
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				status = http.StatusGatewayTimeout
			}
			opt.Log.Debug("alb", "target", r.URL.Host, "status", status, "err", err)
			reply(w, status)
		},
		ErrorLog: slog.NewLogLogger(opt.Log.Handler(), slog.LevelDebug),
	}
	return a
}

func reply(w http.ResponseWriter, status int) {
	w.Header().Set("Server", "awselb/2.0")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<html><head><title>%d %s</title></head></html>\n", status, http.StatusText(status))
}

// Run opens the listeners and checks targets until ctx ends. It returns once all listeners are open.
func (a *ALB) Run(ctx context.Context) error {
	for zone, addr := range a.opt.Zones {
		if err := a.listen(ctx, zone, addr, nil); err != nil {
			return err
		}
	}
	for zone, addr := range a.opt.TLSZones {
		// HTTP/1.1 alone, since a WebSocket begins there.
		if err := a.listen(ctx, zone, addr, &tls.Config{GetCertificate: a.opt.Certificate, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}); err != nil {
			return err
		}
	}
	go func() {
		t := time.NewTicker(a.opt.HealthEvery)
		defer t.Stop()
		for {
			a.checkAll(ctx)
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
		}
	}()
	return nil
}

func (a *ALB) listen(ctx context.Context, zone, addr string, conf *tls.Config) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("load balancer zone %s: listen on %s: %w", zone, addr, err)
	}
	ln = trackedListener{ln, &a.counted}
	if conf != nil {
		ln = tls.NewListener(ln, conf)
	}
	srv := &http.Server{Handler: a.handler(zone), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(a.opt.Log.Handler(), slog.LevelDebug)}
	go func() { _ = srv.Serve(ln) }()
	go func() {
		<-ctx.Done()
		srv.Close()
	}()
	return nil
}

func (a *ALB) handler(zone string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f, hit := a.opt.Faults.Match("alb", "", zone); hit {
			switch f.Mode {
			case faults.Hang: // dark: accepted by the kernel, never answered
				if !a.opt.Faults.Hang(r.Context()) {
					return
				}
			case faults.Refuse:
				faults.Drop(w, true)
				return
			case faults.LostReply:
				w = discard{w}
				defer faults.Drop(w.(discard).ResponseWriter, false)
			case faults.Slow:
				faults.Sleep(r.Context(), f.Delay())
			default:
				status := http.StatusServiceUnavailable
				if f.Status != 0 {
					status = f.Status
				}
				if status == http.StatusServiceUnavailable {
					a.counted.refused.Add(1)
				}
				reply(w, status)
				return
			}
		}
		to := a.choose()
		if to == "" {
			a.counted.refused.Add(1)
			reply(w, http.StatusServiceUnavailable) // no registered targets
			return
		}
		a.counted.requests.Add(1)
		a.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), targetKey{}, to)))
	})
}

// discard takes a reply that the client shall not get.
type discard struct{ http.ResponseWriter }

func (d discard) Header() http.Header         { return http.Header{} }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// choose picks a healthy target in turn. If none is healthy it "fails open" and picks among all:
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health.html
func (a *ALB) choose() string {
	all := a.opt.Targets()
	a.mu.Lock()
	var good []string
	for _, t := range all {
		if h := a.health[t]; h != nil && h.healthy {
			good = append(good, t)
		}
	}
	a.mu.Unlock()
	if len(good) > 0 {
		all = good
	}
	if len(all) == 0 {
		return ""
	}
	return all[a.turn.Add(1)%uint64(len(all))]
}
