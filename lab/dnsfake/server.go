package dnsfake

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/failoverd/failoverd/lab/faults"
)

// Count is how often an answer was given, in one second of the world's clock.
type Count struct {
	Second int64  `json:"second"` // unix time
	Server string `json:"server"` // ns1…, or resolver
	Name   string `json:"name"`
	Region string `json:"region"` // of the first address, by the RegionOf function; "" if none
	N      int    `json:"n"`
}

// Counter counts answers per second, server, name and region. It is safe for concurrent use.
type Counter struct {
	// RegionOf maps an address to a region.
	RegionOf func(ip string) string

	mu     sync.Mutex
	counts []Count
}

func (c *Counter) add(server, name, ip string) {
	k := Count{Second: time.Now().Unix(), Server: server, Name: name}
	if ip != "" {
		k.Region = c.RegionOf(ip)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.counts) - 1; i >= 0 && c.counts[i].Second == k.Second; i-- {
		if o := c.counts[i]; o.Server == k.Server && o.Name == k.Name && o.Region == k.Region {
			c.counts[i].N++
			return
		}
	}
	k.N = 1
	c.counts = append(c.counts, k)
}

// Counts returns everything counted so far, oldest first.
func (c *Counter) Counts() []Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Count{}, c.counts...)
}

// Authority is one authoritative name server of a zone.
type Authority struct {
	Zone    *Zone
	Index   int // from 0; its name for faults and counts is ns<Index+1>
	Faults  *faults.Set
	Counter *Counter
}

// ServeDNS implements dns.Handler.
func (a *Authority) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	name := fmt.Sprintf("ns%d", a.Index+1)
	m := new(dns.Msg)
	m.SetReply(q)
	if f, hit := a.Faults.Match("dns", "", name); hit {
		switch f.Mode {
		case faults.Error, faults.Throttle:
			m.Rcode = dns.RcodeServerFailure
			_ = w.WriteMsg(m)
			return
		case faults.Slow:
			faults.Sleep(context.Background(), f.Delay())
		case faults.Refuse:
			m.Rcode = dns.RcodeRefused
			_ = w.WriteMsg(m)
			return
		default:
			return // the query is lost
		}
	}
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		_ = w.WriteMsg(m)
		return
	}
	m.Authoritative = true
	qn := q.Question[0]
	ans := a.Zone.Lookup(a.Index, qn.Name, dns.TypeToString[qn.Qtype])
	var first string
	for _, s := range ans.Sets {
		for _, v := range s.Values {
			rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", s.Name, s.TTL, s.Type, v))
			if err != nil || rr == nil {
				m.Rcode = dns.RcodeServerFailure
				continue
			}
			m.Answer = append(m.Answer, rr)
			if s.Type == "A" && first == "" {
				first = v
			}
		}
	}
	switch {
	case !ans.In:
		m.Rcode, m.Authoritative = dns.RcodeRefused, false
	case len(m.Answer) == 0: // NXDOMAIN, or NODATA if the name exists with other types (RFC 2308)
		if !ans.Exists {
			m.Rcode = dns.RcodeNameError
		}
		soa, err := dns.NewRR(a.Zone.Name + " 5 IN SOA ns1." + a.Zone.Name + " awsdns-hostmaster.amazon.com. 1 7200 900 1209600 5")
		if err == nil {
			m.Ns = append(m.Ns, soa)
		}
	}
	a.Counter.add(name, qn.Name, first)
	_ = w.WriteMsg(m)
}

// Serve answers DNS on addr, UDP and TCP, until ctx ends. It returns once both sockets are open.
func Serve(ctx context.Context, addr string, h dns.Handler, log *slog.Logger) error {
	pc, err := net.ListenPacket("udp", addr)
	if err != nil {
		return fmt.Errorf("listen for DNS on udp %s: %w", addr, err)
	}
	ln, err := net.Listen("tcp", pc.LocalAddr().String())
	if err != nil {
		pc.Close()
		return fmt.Errorf("listen for DNS on tcp %s: %w", addr, err)
	}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: h}, {Listener: ln, Handler: h}} {
		go func() {
			if err := s.ActivateAndServe(); err != nil && ctx.Err() == nil {
				log.Error("dns server ended", "addr", addr, "err", err)
			}
		}()
	}
	go func() {
		<-ctx.Done()
		pc.Close()
		ln.Close()
	}()
	return nil
}

// Resolver is a caching recursive resolver: it asks one authoritative server, the next one if that fails, and keeps the
// answer for its TTL.
type Resolver struct {
	Servers []string // host:port of the authoritative servers
	Counter *Counter
	Timeout time.Duration // per server

	mu    sync.Mutex
	cache map[string]cached
	turn  int
}

type cached struct {
	msg   *dns.Msg
	until time.Time
}

// ServeDNS implements dns.Handler.
func (r *Resolver) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	if len(q.Question) != 1 {
		m.SetRcode(q, dns.RcodeFormatError)
		_ = w.WriteMsg(m)
		return
	}
	key := strings.ToLower(q.Question[0].Name) + "|" + dns.TypeToString[q.Question[0].Qtype]
	r.mu.Lock()
	c, hit := r.cache[key]
	r.turn++
	turn := r.turn
	r.mu.Unlock()
	if left := time.Until(c.until); hit && left > 0 {
		m = c.msg.Copy()
		for _, rr := range m.Answer {
			rr.Header().Ttl = min(rr.Header().Ttl, uint32(left/time.Second)+1)
		}
	} else {
		m = r.ask(q.Question[0], turn)
		if m != nil {
			r.store(key, m)
		}
	}
	if m == nil {
		m = new(dns.Msg)
		m.SetRcode(q, dns.RcodeServerFailure)
	} else {
		m = m.Copy()
		m.Id, m.Response, m.RecursionAvailable, m.Authoritative = q.Id, true, true, false
		m.RecursionDesired, m.Question = q.RecursionDesired, q.Question
	}
	var first string
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok && first == "" {
			first = a.A.String()
		}
	}
	r.Counter.add("resolver", q.Question[0].Name, first)
	_ = w.WriteMsg(m)
}

func (r *Resolver) ask(q dns.Question, turn int) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(q.Name, q.Qtype)
	c := &dns.Client{Timeout: r.Timeout}
	for i := range r.Servers {
		in, _, err := c.Exchange(m, r.Servers[(turn+i)%len(r.Servers)])
		if err == nil && (in.Rcode == dns.RcodeSuccess || in.Rcode == dns.RcodeNameError) {
			return in
		}
	}
	return nil
}

func (r *Resolver) store(key string, m *dns.Msg) {
	ttl := uint32(1 << 30)
	for _, rr := range append(append([]dns.RR{}, m.Answer...), m.Ns...) {
		ttl = min(ttl, rr.Header().Ttl)
	}
	if ttl == 1<<30 {
		ttl = 1
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cache == nil {
		r.cache = map[string]cached{}
	}
	r.cache[key] = cached{m, time.Now().Add(time.Duration(ttl) * time.Second)}
}
