package probes

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// look makes one observation and closes the probe.
func look(t *testing.T, c Config, d Deps) failover.Observation {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	p, err := c.New(d)
	if err != nil {
		t.Fatal(err)
	}
	if cl, ok := p.(io.Closer); ok {
		defer func() { _ = cl.Close() }()
	}
	ctx, cancel := context.WithTimeout(t.Context(), d.Timeout)
	defer cancel()
	o := p.Probe(ctx)
	if took := time.Since(o.At); took > d.Timeout+300*time.Millisecond {
		t.Errorf("the probe took %s, its time-out is %s", took, d.Timeout)
	}
	if o.Component != "c" || o.Region != "us-east-1" || o.Target == "" || o.Kind == "" {
		t.Errorf("the observation does not say what it is of: %+v", o)
	}
	return o
}

func expect(t *testing.T, o failover.Observation, outcome failover.Outcome, reason failover.ReasonCode, detail string) {
	t.Helper()
	if o.Outcome != outcome || o.Reason != reason || !strings.Contains(o.Detail, detail) {
		t.Errorf("got %s/%s %q, want %s/%s with %q", o.Outcome, o.Reason, o.Detail, outcome, reason, detail)
	}
}

func TestHTTP(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/bad":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/busy":
			w.WriteHeader(http.StatusTooManyRequests)
		case "/late":
			select {
			case <-time.After(80 * time.Millisecond):
			case <-r.Context().Done():
			}
		case "/host":
			_, _ = io.WriteString(w, r.Host)
		}
		_, _ = io.WriteString(w, "fine")
	}))
	defer srv.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains about the handshake that the test wants to fail
	secure.StartTLS()
	defer secure.Close()
	d := deps(t)
	expect(t, look(t, &HTTPConfig{URL: srv.URL}, d), failover.OK, "", "")
	expect(t, look(t, &HTTPConfig{URL: srv.URL + "/host", Host: "api.example.net", Contains: "api.example.net"}, d), failover.OK, "", "")
	expect(t, look(t, &HTTPConfig{URL: srv.URL + "/bad"}, d), failover.Failed, failover.ReasonStatus, "answered 503")
	expect(t, look(t, &HTTPConfig{URL: srv.URL + "/bad", Status: []int{503}}, d), failover.OK, "", "")
	expect(t, look(t, &HTTPConfig{URL: srv.URL + "/busy"}, d), failover.Slow, failover.ReasonThrottled, "answered 429")
	expect(t, look(t, &HTTPConfig{URL: srv.URL, Contains: "missing"}, d), failover.Failed, failover.ReasonContent, `without "missing"`)
	expect(t, look(t, &HTTPConfig{URL: srv.URL + "/late", Slow: failover.Duration(10 * time.Millisecond)}, d), failover.Slow, failover.ReasonSlow, "slow is 10ms")
	expect(t, look(t, &HTTPConfig{URL: "http://" + closedPort(t)}, d), failover.Failed, failover.ReasonRefused, "refused the connection")
	expect(t, look(t, &HTTPConfig{URL: "http://" + blackHole(t, "127.0.0.1:0")}, d), failover.Failed, failover.ReasonTimeout, "did not answer in time (no response)")
	expect(t, look(t, &HTTPConfig{URL: "https://" + blackHole(t, "127.0.0.1:0")}, d), failover.Failed, failover.ReasonTimeout, "(in the TLS handshake)")
	expect(t, look(t, &HTTPConfig{URL: secure.URL}, d), failover.Misconfigured, failover.ReasonTLS, "certificate")
	expect(t, look(t, &HTTPConfig{URL: strings.Replace(srv.URL, "http:", "https:", 1)}, d), failover.Failed, failover.ReasonTLS, "")

	d.Resolvers = []string{dnsServer(t, "txt.example.net. 60 IN TXT x")}
	expect(t, look(t, &HTTPConfig{URL: "http://nobody.example.net/"}, d), failover.Failed, failover.ReasonDNS, "nobody.example.net does not exist")
	expect(t, look(t, &HTTPConfig{URL: "http://txt.example.net/"}, d), failover.Failed, failover.ReasonNoData, "has no")
}

func TestHTTPAsksEveryAddress(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") }))
	defer srv.Close()
	u, _ := url.Parse(srv.URL)
	d := deps(t)
	d.Resolvers = []string{dnsServer(t, "api.example.net. 60 IN A 127.0.0.1", "api.example.net. 60 IN A 127.0.0.2")}
	target := &HTTPConfig{URL: "http://api.example.net:" + u.Port() + "/"}
	// Nothing listens at the second address: a dark zone degrades, it does not fail.
	o := look(t, target, d)
	expect(t, o, failover.Slow, failover.ReasonRefused, "1 of 2 dark: 127.0.0.2 refused the connection")
	if o.Phases["dns"] <= 0 {
		t.Errorf("the phases are %v", o.Phases)
	}
	check, err := (&HTTPCheckConfig{HTTPConfig: *target}).NewCheck(d)
	if err != nil {
		t.Fatal(err)
	}
	if f := check.Check(t.Context()); f.Status != Fail {
		t.Errorf("the check of a name with a dark address gives %+v", f)
	}
	srv.Close()
	expect(t, look(t, target, d), failover.Failed, failover.ReasonRefused, "127.0.0.1 refused the connection; 127.0.0.2 refused")
}

func TestHTTPKeepsAConnection(t *testing.T) {
	conns := map[string]int{}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	seen := make(chan string, 16)
	srv.Config.ConnState = func(c net.Conn, s http.ConnState) {
		if s == http.StateActive {
			seen <- c.RemoteAddr().String()
		}
	}
	srv.Start()
	defer srv.Close()
	p, err := (&HTTPConfig{URL: srv.URL}).New(deps(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if o := p.Probe(t.Context()); o.Outcome != failover.OK {
			t.Fatalf("got %+v", o)
		}
	}
	for range 6 {
		conns[<-seen]++
	}
	if len(conns) != 4 {
		t.Errorf("three probes used the connections %v, want three new ones and one that is kept", conns)
	}
}

func TestTCP(t *testing.T) {
	d := deps(t)
	expect(t, look(t, &TCPConfig{Address: blackHole(t, "127.0.0.1:0")}, d), failover.OK, "", "")
	expect(t, look(t, &TCPConfig{Address: closedPort(t)}, d), failover.Failed, failover.ReasonRefused, "refused")
}

func TestDNS(t *testing.T) {
	d := deps(t)
	server := dnsServer(t, "api.example.net. 60 IN A 10.0.0.1")
	expect(t, look(t, &DNSConfig{Name: "api.example.net", Servers: []string{server}}, d), failover.OK, "", "")
	expect(t, look(t, &DNSConfig{Name: "api.example.net", Servers: []string{server}, Want: "10.0.0.2"}, d), failover.Failed, failover.ReasonContent, "answers 10.0.0.1")
	expect(t, look(t, &DNSConfig{Name: "no.example.net", Servers: []string{server}}, d), failover.Failed, failover.ReasonDNS, "does not exist")
	expect(t, look(t, &DNSConfig{Name: "api.example.net", Type: "AAAA", Servers: []string{server}}, d), failover.Failed, failover.ReasonNoData, "")
}

func TestSQS(t *testing.T) {
	f := &fakeSQS{}
	d := sqsDeps(t, f)
	c := &SQSConfig{Queue: "canary"}
	expect(t, look(t, c, d), failover.OK, "", "")
	if len(f.messages) != 0 {
		t.Errorf("messages are left over: %v", f.messages)
	}
	if f.waits[0] != 2 {
		t.Errorf("the receive polls for %d s: a short poll may miss the message", f.waits[0])
	}
	type failure = struct {
		status int
		code   string
	}
	for _, tt := range []struct {
		op      string
		failure failure
		outcome failover.Outcome
		reason  failover.ReasonCode
		detail  string
	}{
		{"GetQueueUrl", failure{400, "QueueDoesNotExist"}, failover.Misconfigured, failover.ReasonConfig, "QueueDoesNotExist"},
		{"SendMessage", failure{403, "AccessDeniedException"}, failover.Misconfigured, failover.ReasonAuth, "AccessDenied"},
		{"SendMessage", failure{400, "ExpiredTokenException"}, failover.Misconfigured, failover.ReasonAuth, "ExpiredToken"},
		{"SendMessage", failure{400, "ThrottlingException"}, failover.Slow, failover.ReasonThrottled, "Throttling"},
		{"SendMessage", failure{503, "ServiceUnavailable"}, failover.Failed, failover.ReasonServerError, "ServiceUnavailable"},
		{"ReceiveMessage", failure{500, "InternalFailure"}, failover.Failed, failover.ReasonServerError, "ReceiveMessage"},
		{"DeleteMessageBatch", failure{500, "InternalFailure"}, failover.Slow, failover.ReasonServerError, "DeleteMessageBatch"},
	} {
		f.mu.Lock()
		f.fail = map[string]failure{tt.op: tt.failure}
		f.mu.Unlock()
		expect(t, look(t, c, d), tt.outcome, tt.reason, tt.detail)
	}
	f.fail, f.hang = nil, make(chan struct{})
	expect(t, look(t, c, d), failover.Failed, failover.ReasonTimeout, "did not answer in time")
	close(f.hang)
}

// What waits in the region's real queues is counted, with what a worker holds and what is delayed, now and then; a queue that cannot be
// asked makes it unknown and is no vote.
func TestSQSCountsWhatWaits(t *testing.T) {
	f := &fakeSQS{held: 5, delayed: 2}
	p, err := (&SQSConfig{Queue: "canary", Waiting: []string{"messages", "mail"}}).New(sqsDeps(t, f))
	if err != nil {
		t.Fatal(err)
	}
	x := p.(*sqsProbe)
	for range 3 { // counted once
		o := p.Probe(t.Context())
		if o.Outcome != failover.OK || o.AtRisk == nil || *o.AtRisk != (failover.AtRisk{Items: 14, Unit: "messages", Where: "queue messages, mail"}) {
			t.Fatalf("%+v, %+v", o, o.AtRisk)
		}
	}
	if f.looks != 2 {
		t.Errorf("asked %d times, want once for each queue", f.looks)
	}
	f.mu.Lock()
	f.held = 9
	f.mu.Unlock()
	x.counted = x.counted.Add(-countEvery)
	if o := p.Probe(t.Context()); o.AtRisk == nil || o.AtRisk.Items != 22 {
		t.Errorf("%+v", o.AtRisk)
	}
	f.mu.Lock()
	f.fail = map[string]struct {
		status int
		code   string
	}{"GetQueueAttributes": {403, "AccessDeniedException"}}
	f.mu.Unlock()
	x.counted = x.counted.Add(-countEvery)
	if o := p.Probe(t.Context()); o.Outcome != failover.OK || o.AtRisk == nil || o.AtRisk.Items != 0 || !strings.Contains(o.AtRisk.Lacks, "messages: ") || !strings.Contains(o.AtRisk.Lacks, "AccessDenied") {
		t.Errorf("%+v, %+v", o, o.AtRisk)
	}
	for _, bad := range []*SQSConfig{{Queue: "canary", Waiting: []string{"a b"}}, {Queue: "canary", Waiting: []string{"canary"}}, {Queue: "canary", Waiting: []string{"m", "m"}}} {
		if bad.Validate() == nil {
			t.Errorf("%v is accepted", bad.Waiting)
		}
	}
}

func TestSQSWithoutCredentials(t *testing.T) {
	f := &fakeSQS{}
	d := sqsDeps(t, f)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("HOME", t.TempDir())
	d.Cloud = mustCloud(t)
	expect(t, look(t, &SQSConfig{Queue: "canary"}, d), failover.Misconfigured, failover.ReasonAuth, "no AWS credentials")
}

func TestMongo(t *testing.T) {
	d := deps(t)
	primary := fakeMember(t, bson.D{{Key: "setName", Value: "rs0"}, {Key: "isWritablePrimary", Value: true}, {Key: "hosts", Value: bson.A{"a"}}, {Key: "me", Value: "a"}})
	secondary := fakeMember(t, bson.D{{Key: "setName", Value: "rs0"}, {Key: "secondary", Value: true}, {Key: "primary", Value: "a:1"}})
	starting := fakeMember(t, bson.D{{Key: "setName", Value: "rs0"}})
	other := fakeMember(t, bson.D{{Key: "setName", Value: "rs9"}, {Key: "secondary", Value: true}})
	dead, silent := closedPort(t), blackHole(t, "127.0.0.1:0")
	set := func(members ...string) *MongoConfig {
		return &MongoConfig{ReplicaSet: "rs0", Members: map[failover.Region][]string{"us-east-1": members}}
	}
	expect(t, look(t, set(primary, secondary), d), failover.OK, "", primary+" is primary; "+secondary+" is secondary of a:1")
	expect(t, look(t, set(starting), d), failover.Slow, failover.ReasonRole, "neither primary nor secondary")
	expect(t, look(t, set(other), d), failover.Misconfigured, failover.ReasonConfig, `replica set "rs9"`)
	expect(t, look(t, set(primary, dead), d), failover.Slow, failover.ReasonRefused, "1 of 2 dark")
	expect(t, look(t, set(dead), d), failover.Failed, failover.ReasonRefused, "refused")
	o := look(t, set(dead, silent), d)
	expect(t, o, failover.Failed, o.Reason, "did not answer in time") // whichever was last gives the reason
}

func TestFold(t *testing.T) {
	ok, slow, failed, mis := result{outcome: failover.OK}, result{outcome: failover.Slow}, result{outcome: failover.Failed}, result{outcome: failover.Misconfigured}
	for _, tt := range []struct {
		results []result
		want    failover.Outcome
	}{
		{nil, failover.Misconfigured},
		{[]result{ok, ok}, failover.OK},
		{[]result{ok, slow}, failover.Slow},
		{[]result{ok, failed}, failover.Slow},
		{[]result{ok, mis}, failover.Slow},
		{[]result{failed, failed}, failover.Failed},
		{[]result{failed, mis}, failover.Misconfigured},
		{[]result{mis, mis}, failover.Misconfigured},
		{[]result{slow, failed}, failover.Slow},
	} {
		if got := fold(failover.Observation{}, tt.results); got.Outcome != tt.want {
			t.Errorf("%v folds to %s, want %s", tt.results, got.Outcome, tt.want)
		}
	}
}

// A control plane is asked for real, and one of its services that does not answer
// is enough; what is seen never makes a region down.
func TestAWSAPI(t *testing.T) {
	var mu sync.Mutex
	broken := "" // ecs or sts
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		service := "sts"
		if strings.HasPrefix(r.Header.Get("X-Amz-Target"), "AmazonEC2ContainerServiceV20141113.DescribeClusters") {
			service = "ecs"
		}
		mu.Lock()
		ill := broken
		mu.Unlock()
		switch {
		case ill == service:
			w.WriteHeader(http.StatusServiceUnavailable)
		case ill == service+" throttles":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"ThrottlingException"}`)
		case ill == service+" hangs":
			<-hang
		case service == "ecs":
			_, _ = io.WriteString(w, `{"clusters":[]}`)
		default:
			_, _ = io.WriteString(w, `<GetCallerIdentityResponse><GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
		}
	}))
	defer srv.Close()
	defer close(hang)
	d := sqsDeps(t, &fakeSQS{})
	c, err := cloud.Open(t.Context(), cloud.Options{Endpoints: map[string]string{"us-east-1": srv.URL}, Timeout: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	d.Cloud = c
	for _, tt := range []struct {
		broken  string
		outcome failover.Outcome
		reason  failover.ReasonCode
		detail  string
	}{
		{"", failover.OK, "", ""},
		{"sts", failover.Failed, failover.ReasonServerError, "sts"},
		{"ecs", failover.Failed, failover.ReasonServerError, "ecs"},
		{"ecs throttles", failover.Slow, failover.ReasonThrottled, "ecs"},
		{"ecs hangs", failover.Failed, failover.ReasonTimeout, "ecs: did not answer in time"},
	} {
		mu.Lock()
		broken = tt.broken
		mu.Unlock()
		expect(t, look(t, &AWSAPIConfig{}, d), tt.outcome, tt.reason, tt.detail)
	}
	if (Spec{Config: &AWSAPIConfig{}}).Plane() != failover.PlaneControl || (Spec{Config: &SQSConfig{}}).Plane() != "" {
		t.Error("the plane is wrong")
	}
	if err := (&AWSAPIConfig{Services: []string{"ecs", "ecs"}}).Validate(); err == nil {
		t.Error("twice the same service")
	}
	if err := (&AWSAPIConfig{Services: []string{"s3"}}).Validate(); err == nil || !strings.Contains(err.Error(), `"s3" is not one of ecs, sts`) {
		t.Errorf("%v", err)
	}
}
