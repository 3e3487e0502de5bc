package probes

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/dnsq"
)

func mustCloud(t *testing.T) *cloud.Clients {
	t.Helper()
	c, err := cloud.Open(t.Context(), cloud.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func verify(t *testing.T, c Check, want Status, detail string) {
	t.Helper()
	if f := c.Check(t.Context()); f.Status != want || !strings.Contains(f.Detail, detail) {
		t.Errorf("got %s %q, want %s with %q", f.Status, f.Detail, want, detail)
	}
}

func TestDNSAnswer(t *testing.T) {
	zone := []string{
		"example.net. 60 IN NS ns1.example.net.", "ns1.example.net. 60 IN A 127.0.0.1",
		"api.us-east-2.example.net. 60 IN A 10.2.0.1", "api.us-east-2.example.net. 60 IN A 10.2.0.2",
	}
	check := func(records ...string) Check {
		server := dnsServer(t, append(records, zone...)...)
		d := deps(t)
		d.Resolvers, d.Timeout = []string{server}, 0
		return &dnsAnswer{
			cfg: &DNSAnswerConfig{Name: "api.example.net", SameAs: "api.us-east-2.example.net"}, deps: d,
			dns: &dnsq.Client{Resolvers: []string{server}, Port: server[strings.LastIndex(server, ":")+1:]},
		}
	}
	verify(t, check("api.example.net. 60 IN A 10.2.0.2"), Pass, "lead to 10.2.0.1, 10.2.0.2")
	verify(t, check("api.example.net. 60 IN CNAME api.us-east-2.example.net."), Unknown, "has no A record") // the fake adds no chain
	verify(t, check("api.example.net. 60 IN A 10.1.0.1"), Fail, "answers 10.1.0.1")
	verify(t, check("api.example.net. 60 IN A 10.2.0.1", "api.example.net. 60 IN A 10.1.0.1"), Fail, "should lead to")
	verify(t, check(), Unknown, "does not exist")
	// By IPv6, too: a record that was forgotten leads those who have it to the old region.
	verify(t, check("api.example.net. 60 IN A 10.2.0.2", "api.example.net. 60 IN AAAA 2001:db8:1::1"), Fail, "answers 2001:db8:1::1 for api.example.net")
	verify(t, check("api.example.net. 60 IN A 10.2.0.2", "api.example.net. 60 IN AAAA 2001:db8:2::1", "api.us-east-2.example.net. 60 IN AAAA 2001:db8:2::1"), Pass, "lead to 10.2.0.1, 10.2.0.2, 2001:db8:2::1")
	// A resolver keeps what it has for the rest of the TTL, and every name counts.
	verify(t, check("api.example.net. 60 IN A 10.1.0.1"), Fail, "answers 10.1.0.1 for api.example.net for another 60s")
	more := check("api.example.net. 60 IN A 10.2.0.1", "ws.example.net. 60 IN A 10.1.0.1").(*dnsAnswer)
	more.cfg.Names = []string{"ws.example.net"}
	verify(t, more, Fail, "answers 10.1.0.1 for ws.example.net")
	partner := check("api.example.net. 60 IN A 10.2.0.1").(*dnsAnswer)
	partner.cfg.Resolvers = []string{dnsServer(t, "api.example.net. 60 IN A 10.1.0.1")}
	verify(t, partner, Fail, "resolver "+partner.cfg.Resolvers[0]+" answers 10.1.0.1 for api.example.net for another 60s")
	for _, bad := range []*DNSAnswerConfig{
		{Name: "b.example.net", SameAs: "a.example.net", Resolvers: []string{"10.0.0.1"}},
		{SameAs: "a.example.net"}, {Name: "b.example.net", Names: []string{"b.example.net"}, SameAs: "a.example.net"}, {Names: []string{"b c"}, SameAs: "a.example.net"}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func TestSQSBacklog(t *testing.T) {
	f := &fakeSQS{}
	d := sqsDeps(t, f)
	d.Timeout = 0
	c, err := (&SQSBacklogConfig{Queue: "messages", Max: 1}).NewCheck(d)
	if err != nil {
		t.Fatal(err)
	}
	verify(t, c, Pass, "about 1 messages wait")
	f.mu.Lock()
	f.messages["more"] = "x"
	f.mu.Unlock()
	verify(t, c, Fail, "about 2 messages wait")
}

// What piled up in an outage may pass when it becomes less, fast enough and for
// long enough to believe it.
func TestSQSBacklogTrend(t *testing.T) {
	f := &fakeSQS{messages: map[string]string{}}
	d := sqsDeps(t, f)
	d.Timeout = 0
	wait := func(n int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		clear(f.messages)
		for i := range n {
			f.messages[strconv.Itoa(i)] = "x"
		}
	}
	cfg := &SQSBacklogConfig{Queue: "messages", Max: 100, DrainedWithin: failover.Duration(10 * time.Minute)}
	c, err := cfg.NewCheck(d)
	if err != nil {
		t.Fatal(err)
	}
	b, now := c.(*sqsBacklog), time.Now()
	b.now = func() time.Time { return now }
	wait(0)
	verify(t, c, Fail, "about 0 messages wait in messages in us-east-1, 100 may; watched for 0s") // clients have not come yet
	b.samples = nil
	wait(4000)
	verify(t, c, Fail, "about 4000 messages wait in messages in us-east-1, 100 may; watched for 0s of 2m0s")
	for _, n := range []int{3980, 4020, 3990} { // approximate
		now = now.Add(30 * time.Second)
		wait(n)
		verify(t, c, Fail, "watched for")
	}
	now = now.Add(30 * time.Second)
	wait(4100)
	verify(t, c, Fail, "and they do not become fewer: +42 a minute")
	for n := 4000; n > 2000; n -= 250 { // 500 a minute
		now = now.Add(30 * time.Second)
		wait(n)
		c.Check(t.Context())
	}
	now = now.Add(30 * time.Second)
	wait(2000)
	verify(t, c, Pass, "about 2000 messages wait in messages in us-east-1, 100 may; -500 a minute, so that 100 are left in 3m48s")
	// A queue that nobody reads stands still, whenever it is looked at.
	b.samples = nil
	for range 200 {
		now = now.Add(time.Second + time.Duration(now.UnixNano()%37_000_000))
		verify(t, c, Fail, "about 2000 messages")
	}
	verify(t, c, Fail, "and they do not become fewer: ")
	b.samples = []depth{{now.Add(-2 * time.Minute), 3000}}
	now = now.Add(time.Second)
	cfg.DrainedWithin = failover.Duration(3 * time.Minute)
	verify(t, c, Fail, "it may take 3m0s")
	wait(100)
	verify(t, c, Pass, "about 100 messages wait")
	if err := (&SQSBacklogConfig{Queue: "q", DrainedWithin: 1, For: failover.Duration(time.Minute)}).Validate(); err == nil || !strings.Contains(err.Error(), "is over before the trend of 2m0s is known") {
		t.Errorf("%v", err)
	}
}

func TestDuplicates(t *testing.T) {
	answer := `{"duplicates": 0}`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
	defer srv.Close()
	c, err := (&DuplicatesConfig{URL: srv.URL}).NewCheck(deps(t))
	if err != nil {
		t.Fatal(err)
	}
	verify(t, c, Pass, "0 duplicates")
	answer = `{"duplicates": 3}`
	verify(t, c, Fail, "3 duplicates")
	answer = `{}`
	verify(t, c, Unknown, "does not answer like")
	file := filepath.Join(t.TempDir(), "dsn")
	if err := os.WriteFile(file, []byte("user:hunter2@tcp(127.0.0.1"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err = (&DuplicatesConfig{DSNFile: file, Query: "SELECT 0"}).NewCheck(deps(t))
	if err != nil {
		t.Fatal(err)
	}
	verify(t, c, Unknown, "does not hold a data source name")
	if f := c.Check(t.Context()); strings.Contains(f.Detail, "hunter2") {
		t.Errorf("the password leaks: %s", f.Detail)
	}
}

func TestBuildCheck(t *testing.T) {
	for _, tt := range []struct{ kind, params, want string }{
		{"http", `{"url":"http://api.example.net/","within":"1m0s"}`, ""},
		{"http", `{"url":"http://api.example.net/","wihtin":"1m0s"}`, `unknown field "wihtin"`},
		{"http", `{"url":"nonsense"}`, `url: "nonsense" is not`},
		{"smtp", `{}`, `check kind "smtp" is unknown to this node; the kinds are http, http_file, dns_answer, sqs_backlog, pods, alb, tls_expiry, websocket, duplicates`},
	} {
		_, within, err := BuildCheck(tt.kind, CheckVersion, json.RawMessage(tt.params), deps(t))
		switch {
		case tt.want == "" && (err != nil || within != time.Minute):
			t.Errorf("%s %s: %v, within %s", tt.kind, tt.params, err, within)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s %s: got %v, want %q", tt.kind, tt.params, err, tt.want)
		}
	}
	if _, _, err := BuildCheck("http", CheckVersion+1, nil, deps(t)); err == nil || !strings.Contains(err.Error(), "version 2 is unknown") {
		t.Errorf("a later version gives %v", err)
	}
}
