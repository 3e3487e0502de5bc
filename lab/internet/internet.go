// Package internet is everything of the simulated world that belongs to no region, in one process: Route 53's control
// plane, the zone's name servers, a caching resolver, two neutral references, Slack, and the providers whose messages the
// service exists for.
package internet

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/failoverd/failoverd/lab/app"
	"github.com/failoverd/failoverd/lab/awsfake"
	"github.com/failoverd/failoverd/lab/checkers"
	"github.com/failoverd/failoverd/lab/ctl"
	"github.com/failoverd/failoverd/lab/dnsfake"
	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/hooks"
	"github.com/failoverd/failoverd/lab/iam"
	"github.com/failoverd/failoverd/lab/ledger"
	"github.com/failoverd/failoverd/lab/slackfake"
)

// Config is the internet's set-up, in the units of the real world; TimeFactor divides them.
type Config struct {
	World       string              `json:"world"`
	Site        string              `json:"site"`
	TimeFactor  float64             `json:"timeFactor"`
	Route53     string              `json:"route53"`  // listen address
	NS          []string            `json:"ns"`       // addresses (port 53) of the zone's name servers
	Resolver    string              `json:"resolver"` // address (port 53) of the caching resolver
	References  []string            `json:"references"`
	Slack       string              `json:"slack"`
	Ledger      string              `json:"ledger"`  // listen address of GET /duplicates
	Hooks       string              `json:"hooks"`   // listen address of the partner's gateway
	Regions     map[string][]string `json:"regions"` // region → addresses of its load balancer
	Active      string              `json:"active"`
	Rate        float64             `json:"rate"`        // provider's messages per second of the world's (scaled) time
	TTL         time.Duration       `json:"ttl"`         // 0 means 60 s
	Propagation time.Duration       `json:"propagation"` // of a change to the slowest name server; 0 means 30 s
}

// The zone of the world.
const (
	ZoneName = "example.net."
	ZoneID   = "Z0123456789"
)

// Run starts the internet and waits for ctx to end.
func Run(ctx context.Context, c Config, log *slog.Logger) error {
	scale := func(d, def time.Duration) time.Duration {
		if d == 0 {
			d = def
		}
		return time.Duration(float64(d) / c.TimeFactor)
	}
	set := faults.NewSet(9)
	ttl := uint32(max(1, scale(c.TTL, 60*time.Second).Seconds()))
	zone := dnsfake.NewZone(ZoneName, len(c.NS), scale(c.Propagation, 30*time.Second), ttl, 9)
	var names []string
	for i := range c.NS {
		names = append(names, fmt.Sprintf("ns%d.%s", i+1, strings.TrimSuffix(ZoneName, ".")))
	}
	checks := checkers.New(ctx, c.TimeFactor)
	zone.Healthy = checks.Healthy
	r53 := awsfake.NewRoute53(ZoneID, names, zone, checks, records(c, ttl))
	policies, err := iam.Load(filepath.Join(c.World, iam.Dir))
	if err != nil {
		return err
	}
	aws := &awsfake.Server{Region: "global", Policies: policies, Route53: r53, Faults: set, Log: log}
	if err := ctl.ListenHTTP(ctx, c.Route53, aws); err != nil {
		return err
	}
	counter := &dnsfake.Counter{RegionOf: func(ip string) string {
		for r, ips := range c.Regions {
			for _, a := range ips {
				if a == ip {
					return r
				}
			}
		}
		return ""
	}}
	var servers []string
	for i, ip := range c.NS {
		addr := net.JoinHostPort(ip, "53")
		if err := dnsfake.Serve(ctx, addr, &dnsfake.Authority{Zone: zone, Index: i, Faults: set, Counter: counter}, log); err != nil {
			return err
		}
		servers = append(servers, addr)
	}
	resolver := net.JoinHostPort(c.Resolver, "53")
	if err := dnsfake.Serve(ctx, resolver, &dnsfake.Resolver{Servers: servers, Counter: counter, Timeout: 500 * time.Millisecond}, log); err != nil {
		return err
	}
	for _, addr := range c.References {
		if err := ctl.ListenHTTP(ctx, addr, reference(set, addr)); err != nil {
			return err
		}
	}
	slack := slackfake.New(c.Slack, set, 9, log)
	if err := ctl.ListenHTTP(ctx, c.Slack, slack); err != nil {
		return err
	}
	if err := ctl.ListenHTTP(ctx, c.Ledger, duplicates(c.World)); err != nil {
		return err
	}
	gateway := hooks.New(c.Active, scale(0, 6*time.Second), set)
	if err := ctl.ListenHTTP(ctx, c.Hooks, gateway); err != nil {
		return err
	}
	provider, err := app.NewProvider(app.ProviderOptions{World: c.World, URL: "http://api." + strings.TrimSuffix(ZoneName, ".") + "/messages", Resolver: resolver,
		Rate: c.Rate * c.TimeFactor, Resend: max(500*time.Millisecond, scale(0, 5*time.Second)), StaleDNS: scale(0, 10*time.Minute), Log: log})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	set.Register(mux)
	slack.Register(mux)
	gateway.Register(mux)
	register(ctx, mux, aws, r53, zone, counter, provider)
	if err := ctl.Serve(ctx, filepath.Join(c.World, "ctl", c.Site+".sock"), mux); err != nil {
		return err
	}
	log.Info("the internet is up", "route53", c.Route53, "ttl", ttl)
	if c.Rate > 0 {
		provider.Run(ctx)
	}
	<-ctx.Done()
	return nil
}

// records is the zone's content at the beginning.
func records(c Config, ttl uint32) (out []dnsfake.RecordSet) {
	add := func(name, typ string, values ...string) {
		out = append(out, dnsfake.RecordSet{Name: dnsfake.FQDN(name + "." + ZoneName), Type: typ, TTL: ttl, Values: values})
	}
	for region, ips := range c.Regions {
		weight := 0
		if region == c.Active {
			weight = 255
		}
		for _, name := range []string{"api." + ZoneName, "ws." + ZoneName} {
			s := dnsfake.RecordSet{Name: name, Type: "A", TTL: ttl, Values: ips, SetID: region, Weight: weight}
			if name[0] == 'w' {
				s.Type, s.Values = "CNAME", []string{"lb." + region + "." + ZoneName}
			}
			out = append(out, s)
		}
		add("api."+region, "A", ips...)
		add("lb."+region, "A", ips...)
	}
	for i, ip := range c.NS {
		add(fmt.Sprintf("ns%d", i+1), "A", ip)
	}
	host := func(addr string) string { h, _, _ := net.SplitHostPort(addr); return h }
	add("slack", "A", host(c.Slack))
	add("ledger", "A", host(c.Ledger))
	add("hooks", "A", host(c.Hooks))
	for i, r := range c.References {
		add(fmt.Sprintf("ref%d", i+1), "A", host(r))
	}
	var ns []string
	for i := range c.NS {
		ns = append(ns, fmt.Sprintf("ns%d.%s", i+1, ZoneName))
	}
	out = append(out, dnsfake.RecordSet{Name: ZoneName, Type: "NS", TTL: 172800, Values: ns},
		dnsfake.RecordSet{Name: ZoneName, Type: "SOA", TTL: 900, Values: []string{"ns1." + ZoneName + " awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400"}})
	return out
}

// duplicates answers GET /duplicates with how many messages the ledger has seen processed twice: what a real service would
// ask its own books.
func duplicates(world string) http.Handler {
	witness := ctl.Dial(filepath.Join(world, "ctl", "ledger.sock"))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /duplicates", func(w http.ResponseWriter, r *http.Request) {
		var s ledger.Summary
		if err := witness.Call(r.Context(), "GET", "/summary", nil, &s); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		ctl.Reply(w, map[string]int{"duplicates": s.Duplicates})
	})
	return mux
}

// reference is a site that shares no fate with any region: a vantage that cannot reach it is cut off itself.
func reference(set *faults.Set, addr string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f, hit := set.Match("ref", "", addr); hit {
			switch f.Mode {
			case faults.Hang:
				if !set.Hang(r.Context()) {
					return
				}
			case faults.Slow:
				faults.Sleep(r.Context(), f.Delay())
			case faults.Refuse:
				faults.Drop(w, true)
				return
			default:
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// register serves the control socket, faults and Slack aside: GET /ready, /ops, /calls, /iam, /route53/changes, /route53/records,
// /route53/health, /dns/answers, /dns/lookup?server=0&name=N&type=T (what name server ns1 would answer now), /provider, and
// POST /provider/pause {"on"}.
func register(ctx context.Context, mux *http.ServeMux, aws *awsfake.Server, r53 *awsfake.Route53, zone *dnsfake.Zone, counter *dnsfake.Counter, provider *app.Provider) {
	get := func(path string, f func() any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { ctl.Reply(w, f()) })
	}
	get("/ready", func() any { return true })
	get("/ops", func() any { return aws.Ops() })
	get("/calls", func() any { return aws.Calls() })
	get("/iam", func() any { return aws.Judgements() })
	get("/route53/changes", func() any { return r53.History() })
	get("/route53/records", func() any { return r53.Sets() })
	get("/route53/health", func() any { return r53.Health() })
	get("/dns/answers", func() any { return counter.Counts() })
	get("/provider", func() any { return provider.Status() })
	mux.HandleFunc("GET /dns/lookup", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		n, err := strconv.Atoi(q.Get("server"))
		if err != nil || n < 0 || n > 3 {
			http.Error(w, "server: want 0 to 3", http.StatusBadRequest)
			return
		}
		ctl.Reply(w, zone.Lookup(n, dnsfake.FQDN(q.Get("name")), q.Get("type")).Sets)
	})
	mux.HandleFunc("POST /provider/flood", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Messages int `json:"messages"`
		}
		if ctl.Read(w, r, &in) {
			provider.Flood(ctx, in.Messages)
			ctl.Reply(w, provider.Status())
		}
	})
	mux.HandleFunc("POST /provider/pause", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			On bool `json:"on"`
		}
		if ctl.Read(w, r, &in) {
			provider.Pause(in.On)
			ctl.Reply(w, provider.Status())
		}
	})
}
