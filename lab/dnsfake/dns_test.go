package dnsfake

import (
	"errors"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/failoverd/failoverd/lab/faults"
)

func content(w1, w2 int) []RecordSet {
	return []RecordSet{
		{Name: "api.example.net.", Type: "A", TTL: 1, SetID: "us-east-1", Weight: w1, Values: []string{"198.18.1.21"}},
		{Name: "api.example.net.", Type: "A", TTL: 1, SetID: "us-east-2", Weight: w2, Values: []string{"198.18.2.21"}},
		{Name: "lb.us-east-1.example.net.", Type: "A", TTL: 60, Values: []string{"198.18.1.21", "198.18.1.22"}},
		{Name: "ws.example.net.", Type: "CNAME", TTL: 60, Values: []string{"lb.us-east-1.example.net."}},
		{Name: "alias.example.net.", Type: "A", Alias: "lb.us-east-1.example.net."},
	}
}

// share counts how many of n answers of a server are us-east-1's.
func share(z *Zone, server, n int) (first int) {
	for range n {
		if z.Lookup(server, "api.example.net.", "A").Sets[0].SetID == "us-east-1" {
			first++
		}
	}
	return first
}

func TestWeights(t *testing.T) {
	for _, tc := range []struct {
		w1, w2   int
		min, max int // of 1000 answers
	}{
		{255, 0, 1000, 1000},
		{0, 255, 0, 0},
		{0, 0, 400, 600}, // all zero: all equal
		{192, 64, 700, 800},
	} {
		z := NewZone("example.net.", 4, time.Minute, 60, 1)
		z.Publish(content(tc.w1, tc.w2))
		if n := share(z, 3, 1000); n < tc.min || n > tc.max {
			t.Errorf("weights %d/%d: %d of 1000 answers, want %d to %d", tc.w1, tc.w2, n, tc.min, tc.max)
		}
	}
}

func TestPropagationReachesServersOneAfterTheOther(t *testing.T) {
	z := NewZone("example.net.", 2, 400*time.Millisecond, 60, 1)
	z.Publish(content(255, 0))
	insync := z.Publish(content(0, 255))
	if share(z, 0, 10) != 10 || share(z, 1, 10) != 10 {
		t.Error("a change is visible at once")
	}
	saw := false // the first server new, the second still old
	for time.Now().Before(insync.Add(time.Second)) {
		a, b := share(z, 0, 1), share(z, 1, 1)
		saw = saw || a == 0 && b == 1
		if a == 0 && b == 0 {
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	if !saw || share(z, 1, 10) != 0 {
		t.Errorf("servers did not change one after the other: %v", saw)
	}
}

func TestServersAndResolver(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	z := NewZone("example.net.", 1, 0, 60, 1)
	z.Publish(content(255, 0))
	free := func() string {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		return pc.LocalAddr().String()
	}
	counter := &Counter{RegionOf: func(ip string) string { return map[string]string{"198.18.1.21": "us-east-1"}[ip] }}
	set := faults.NewSet(1)
	serve := func(h dns.Handler) string {
		for range 20 {
			addr := free()
			err := Serve(t.Context(), addr, h, log)
			if err == nil {
				return addr
			}
			if !errors.Is(err, syscall.EADDRINUSE) { // a port that is free for UDP may be somebody's for TCP
				t.Fatal(err)
			}
		}
		t.Fatal("no port is free for UDP and TCP")
		return ""
	}
	auth := serve(&Authority{Zone: z, Faults: set, Counter: counter})
	rec := serve(&Resolver{Servers: []string{auth}, Counter: counter, Timeout: 200 * time.Millisecond})
	ask := func(network, server, name string, typ uint16) *dns.Msg {
		t.Helper()
		m := new(dns.Msg)
		m.SetQuestion(name, typ)
		in, _, err := (&dns.Client{Net: network, Timeout: 2 * time.Second}).Exchange(m, server)
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	for _, tc := range []struct {
		what, net, server, name string
		typ                     uint16
		rcode, answers          int
	}{
		{"A", "udp", auth, "api.example.net.", dns.TypeA, dns.RcodeSuccess, 1},
		{"over TCP, any case", "tcp", auth, "API.example.net.", dns.TypeA, dns.RcodeSuccess, 1},
		{"CNAME is followed", "udp", auth, "ws.example.net.", dns.TypeA, dns.RcodeSuccess, 3},
		{"alias", "udp", auth, "alias.example.net.", dns.TypeA, dns.RcodeSuccess, 2},
		{"NODATA", "udp", auth, "api.example.net.", dns.TypeAAAA, dns.RcodeSuccess, 0},
		{"empty node above a name", "udp", auth, "us-east-1.example.net.", dns.TypeA, dns.RcodeSuccess, 0},
		{"NXDOMAIN", "udp", auth, "none.example.net.", dns.TypeA, dns.RcodeNameError, 0},
		{"another zone", "udp", auth, "example.org.", dns.TypeA, dns.RcodeRefused, 0},
		{"through the resolver", "udp", rec, "api.example.net.", dns.TypeA, dns.RcodeSuccess, 1},
	} {
		if m := ask(tc.net, tc.server, tc.name, tc.typ); m.Rcode != tc.rcode || len(m.Answer) != tc.answers {
			t.Errorf("%s: %s with %d answers, want %s with %d", tc.what, dns.RcodeToString[m.Rcode], len(m.Answer), dns.RcodeToString[tc.rcode], tc.answers)
		}
	}
	// The resolver answers from its cache while the servers fail, and asks again after the TTL of one second.
	set.Add(faults.Fault{Service: "dns", Mode: faults.Hang})
	if m := ask("udp", rec, "api.example.net.", dns.TypeA); len(m.Answer) != 1 {
		t.Errorf("cached answer: %v", m)
	}
	deadline := time.Now().Add(5 * time.Second)
	for ask("udp", rec, "api.example.net.", dns.TypeA).Rcode != dns.RcodeServerFailure {
		if time.Now().After(deadline) {
			t.Fatal("the resolver ignores the TTL")
		}
		<-time.After(50 * time.Millisecond)
	}
	if len(counter.Counts()) == 0 || counter.Counts()[0].Region != "us-east-1" {
		t.Errorf("counts: %+v", counter.Counts())
	}
}
