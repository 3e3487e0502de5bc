package probes

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
