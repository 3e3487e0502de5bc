package actions

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/dnsq"
)

// fakeObject is one object of S3 that honours conditions.
type fakeObject struct {
	mu     sync.Mutex
	body   string
	there  bool
	writes int
	lose   bool // take the next write and lose its reply
}

func (o *fakeObject) etag() string {
	sum := sha256.Sum256([]byte(o.body))
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

func (o *fakeObject) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fail := func(status int, code string) {
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", code)
	}
	switch {
	case r.URL.Path != "/bucket/key":
		fail(http.StatusNotFound, "NoSuchBucket")
	case r.Method == http.MethodPut:
		match := r.Header.Get("If-Match")
		switch {
		case r.Header.Get("If-None-Match") == "" && match == "":
			fail(http.StatusBadRequest, "AWriteWithoutACondition")
		case r.Header.Get("If-None-Match") == "*" && o.there, match != "" && match != o.etag():
			fail(http.StatusPreconditionFailed, "PreconditionFailed")
		default:
			body, _ := io.ReadAll(r.Body)
			o.body, o.there = string(body), true
			if _, rest, chunked := strings.Cut(o.body, "\r\n"); chunked { // the first chunk of aws-chunked is all of it
				o.body, _, _ = strings.Cut(rest, "\r\n")
			}
			if o.writes++; o.lose {
				o.lose = false
				fail(http.StatusBadRequest, "Lost")
			}
		}
	case !o.there:
		fail(http.StatusNotFound, "NoSuchKey")
	default:
		w.Header().Set("ETag", o.etag())
		_, _ = io.WriteString(w, o.body)
	}
}

// trafficZone leads api to us-east-1, until it is told otherwise.
func trafficZone() *fakeZone {
	z := zone()
	for _, r := range []record{
		{Name: "example.net", Type: "NS", TTL: weight(60), Values: values("ns1.example.net.")},
		{Name: "api.us-east-2.example.net", Type: "A", TTL: weight(60), Values: values("10.2.0.1")},
	} {
		r.Name += "."
		z.records[r.key()] = r
	}
	return z
}

// answer makes the zone's name server lead api to a region.
func (z *fakeZone) answer(region failover.Region) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for key, r := range z.records {
		if r.SetID == "" {
			continue
		}
		r.Weight = weight(0)
		if strings.Contains(r.SetID, string(region)) {
			r.Weight = weight(255)
		}
		z.records[key] = r
	}
}

func located(t *testing.T, d *Deps, z *fakeZone) (port string) {
	t.Helper()
	server := z.serveDNS(t)
	d.Resolvers, d.Service = []string{server}, "messaging"
	return server[strings.LastIndex(server, ":")+1:]
}

func objectSwitch(t *testing.T, o *fakeObject, z *fakeZone) *s3Object {
	t.Helper()
	d := testDeps(t, o)
	port := located(t, &d, z)
	a, err := (&S3ObjectConfig{Bucket: "bucket", Key: "key", Region: "us-east-2", Names: []string{"api.example.net"}, SameAs: "api.us-east-2.example.net"}).New(d)
	if err != nil {
		t.Fatal(err)
	}
	s := a.(*s3Object)
	s.places.dns.Port = port
	return s
}

func TestS3Object(t *testing.T) {
	o, z := &fakeObject{}, trafficZone()
	s := objectSwitch(t, o, z)
	before := inspect(t, s, Absent, "s3://bucket/key does not exist: clients stay in us-east-1")
	do(t, s.Do, 41, before.Previous)
	if o.body != "failoverd service=messaging region=us-east-2 token=41 epoch=2\n" || !strings.Contains(o.body, MatchRegion("us-east-2")) {
		t.Fatalf("the object says %q", o.body)
	}
	// Written is not moved: the health checks and the name servers must have followed.
	inspect(t, s, Partial, "s3://bucket/key names us-east-2, but not every name server answers so: ns1.example.net (127.0.0.1")
	z.answer("us-east-2")
	after := inspect(t, s, Present, "4 answers of all name servers lead to api.us-east-2.example.net")
	if after.Token != 41 {
		t.Errorf("token %d", after.Token)
	}
	// Done twice equals done once, with a new token.
	do(t, s.Do, 42, after.Previous)
	if e := inspect(t, s, Present, ""); e.Token != 42 {
		t.Errorf("token %d", e.Token)
	}
	// Undone, it names the region that was left; it is never deleted.
	do(t, s.Undo, 43, before.Previous)
	back := inspect(t, s, Absent, "s3://bucket/key names us-east-1")
	if !s.Restored(back, before.Previous) || s.Restored(after, before.Previous) || o.writes != 3 {
		t.Errorf("restored %t, %t; %d writes", s.Restored(back, before.Previous), s.Restored(after, before.Previous), o.writes)
	}
	do(t, s.Burn, 44, nil)
	if o.body != "failoverd service=messaging region=us-east-1 token=44 epoch=2\n" {
		t.Errorf("burnt, the object says %q", o.body)
	}
}

func TestAStaleObjectWriterChangesNothing(t *testing.T) {
	o, z := &fakeObject{}, trafficZone()
	s := objectSwitch(t, o, z)
	before := inspect(t, s, Absent, "")
	do(t, s.Do, 50, before.Previous)
	do(t, s.Undo, 51, before.Previous)
	now := o.body
	// A write of the first attempt, held up somewhere, arrives now: it saw no object.
	late := Attempt{Token: 50, Epoch: 2, Previous: before.Previous, Deadline: time.Now().Add(time.Minute)}
	if err := s.Do(t.Context(), late); !errors.Is(err, ErrStaleToken) {
		t.Errorf("the stale write gives %v", err)
	}
	// So does one that names the current object but carries an older token.
	late.Previous = inspect(t, s, Absent, "").Previous
	if err := s.Do(t.Context(), late); !errors.Is(err, ErrStaleToken) {
		t.Errorf("an older token gives %v", err)
	}
	late.Token, late.Deadline = 60, time.Now().Add(-time.Second)
	var deadline *cloud.EffectDeadlineError
	if err := s.Do(t.Context(), late); !errors.As(err, &deadline) {
		t.Errorf("after its deadline Do gives %v", err)
	}
	if o.body != now {
		t.Errorf("the object says %q", o.body)
	}
	// A lost reply is read from the token.
	o.lose = true
	late.Deadline = time.Now().Add(time.Minute)
	if err := s.Do(t.Context(), late); err == nil {
		t.Error("the lost reply gives no error")
	}
	if e := inspect(t, s, Partial, ""); e.Token != 60 {
		t.Errorf("token %d", e.Token)
	}
	o.body = "something else"
	if _, err := s.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "which failoverd did not write for the service messaging") {
		t.Errorf("a foreign object gives %v", err)
	}
}

func TestGate(t *testing.T) {
	z := trafficZone()
	var mu sync.Mutex
	said := map[string]int{} // status by node
	d := Deps{Region: "us-east-2", Regions: []failover.Region{"us-east-1", "us-east-2"}, Service: "messaging"}
	port := located(t, &d, z)
	cfg := &GateConfig{Nodes: map[failover.NodeID]string{}, Names: []string{"api.example.net"}, SameAs: "api.us-east-2.example.net"}
	for _, id := range []string{"a", "b", "c", "d"} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			switch r.URL.Path {
			case "/gate/messaging/us-east-1":
				w.WriteHeader(said[id])
			case "/gate/messaging/us-east-2":
				w.WriteHeader(http.StatusOK)
			default:
				t.Errorf("asked for %s", r.URL.Path)
			}
		}))
		defer srv.Close()
		cfg.Nodes[failover.NodeID(id)] = strings.TrimPrefix(srv.URL, "http://")
		said[id] = http.StatusServiceUnavailable
	}
	cfg.Nodes["e"] = "127.0.0.1:1" // a node that is gone
	a, err := cfg.New(d)
	if err != nil {
		t.Fatal(err)
	}
	g := a.(*gate)
	g.places.dns.Port = port
	inspect(t, g, Absent, "0 of 5 nodes say that us-east-1 is to be left, 2 are needed (e does not answer)")
	mu.Lock()
	said["a"] = http.StatusOK
	mu.Unlock()
	inspect(t, g, Partial, "1 of 5 nodes say")
	mu.Lock()
	said["b"], said["c"] = http.StatusOK, http.StatusOK
	mu.Unlock()
	inspect(t, g, Partial, "3 of 5 nodes say that us-east-1 is to be left, 2 are needed (e does not answer): 1 more may be lost before clients are sent back, until a latched switch has followed, but not every name server")
	z.answer("us-east-2")
	inspect(t, g, Present, "")
	if err := g.Undo(t.Context(), Attempt{}); err == nil {
		t.Error("a committed flip was undone by a call")
	}
	// On the way home a node that is lost says "serve", which is what is wanted.
	d.Region = "us-east-1"
	if a, err = cfg.New(d); err != nil {
		t.Fatal(err)
	}
	a.(*gate).places.dns.Port = port
	if e := inspect(t, a, Present, "4 of 5 nodes say that us-east-2 is to be left, 2 are needed (e does not answer): a node that is lost keeps no client away"); strings.Contains(e.Detail, "before clients are sent back") {
		t.Error(e.Detail)
	}
}

// The checks are inverted where they look, and each calculated one says when the
// region is left: two of five nodes, or the object.
func TestHealthChecks(t *testing.T) {
	o := HealthCheckOptions{
		Service: "messaging", From: "us-east-1", To: "us-east-2",
		Gate:   &GateConfig{Nodes: map[failover.NodeID]string{"a": "192.0.2.1:7781", "b": "gate-b.example.net:7781", "c": "192.0.2.3:7781"}},
		Object: &S3ObjectConfig{Bucket: "bucket", Key: "some/key", Region: "us-east-2"},
	}
	checks := HealthChecks(o)
	byName := map[string]types.HealthCheckConfig{}
	for _, h := range checks {
		byName[h.Name] = h.Config
		if looks := len(h.Children) == 0; looks != aws.ToBool(h.Config.Inverted) {
			t.Errorf("%s is inverted: %t", h.Name, aws.ToBool(h.Config.Inverted))
		}
	}
	if *byName["gate"].HealthThreshold != 2 || *byName[Top].HealthThreshold != 2 || *byName["b"].FullyQualifiedDomainName != "gate-b.example.net" || *byName["a"].IPAddress != "192.0.2.1" ||
		*byName["object"].FullyQualifiedDomainName != "bucket.s3.us-east-2.amazonaws.com" || *byName["object"].SearchString != "region=us-east-2 " || checks[len(checks)-1].Name != Top {
		t.Errorf("%+v", byName)
	}
	// A real shell runs the script, with a command line that only notes what it is asked.
	script, err := HealthCheckScript("messaging", "us-east-1", checks)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	fake := "#!/bin/sh\ncase \"$*\" in *status*) echo healthy;; *) echo \"$6\" >> " + dir + "/log; echo id-$(wc -l < " + dir + "/log);; esac\n"
	for name, text := range map[string]string{"aws": fake, "sleep": "#!/bin/sh\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil { //nolint:gosec // a script
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "HealthCheckId of every weighted record of us-east-1: id-6") {
		t.Fatalf("%v: %s\n%s", err, out, script)
	}
	asked, _ := os.ReadFile(filepath.Join(dir, "log"))
	var children [][]string
	for line := range strings.Lines(string(asked)) {
		var c struct{ ChildHealthChecks []string }
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		children = append(children, c.ChildHealthChecks)
	}
	if want := [][]string{nil, nil, nil, {"id-1", "id-2", "id-3"}, nil, {"id-4", "id-5"}}; !reflect.DeepEqual(children, want) {
		t.Errorf("the children are %v, want %v", children, want)
	}
	if HealthChecks(HealthCheckOptions{}) != nil {
		t.Error("without a gate and an object there are health checks")
	}
}

func TestTrafficParameters(t *testing.T) {
	two := map[failover.NodeID]string{"a": "192.0.2.1:1", "b": "192.0.2.2:1"}
	names := []string{"api.example.net"}
	for _, tt := range []struct {
		c    Config
		want string
	}{
		{&GateConfig{Nodes: two, Names: names, SameAs: "x"}, ""},
		{&GateConfig{Nodes: map[failover.NodeID]string{"a": "192.0.2.1:1"}, Names: names, SameAs: "x"}, "names 1 nodes"},
		{&GateConfig{Nodes: two, Need: 3, Names: names, SameAs: "x"}, "3 of 2 nodes can never say"},
		{&GateConfig{Nodes: map[failover.NodeID]string{"a": "192.0.2.1", "b": "c:1"}, Names: names, SameAs: "x"}, `a: "192.0.2.1" is not host:port`},
		{&GateConfig{Nodes: two, Interval: failover.Duration(time.Second), Names: names, SameAs: "x"}, "is not 10s or 30s"},
		{&GateConfig{Nodes: two, Names: names}, "name what always leads to the region"},
		{&S3ObjectConfig{Bucket: "b", Key: "k", Region: "us-east-2", Names: names, SameAs: "x"}, ""},
		{&S3ObjectConfig{Key: "k", Region: "us-east-2", Names: names, SameAs: "x"}, "name a bucket in the standby region"},
		{&S3ObjectConfig{Bucket: "b-{region}", Key: "k", Region: "us-east-2", Names: names, SameAs: "x"}, "one object for both directions"},
		{&S3ObjectConfig{Bucket: "b", Key: "/k", Region: "us-east-2", Names: names, SameAs: "x"}, "is not an object's key"},
		{&S3ObjectConfig{Bucket: "b", Key: "k", Names: names, SameAs: "x"}, "name the standby region"},
		{&S3ObjectConfig{Bucket: "b", Key: "k", Region: "us-east-2", SameAs: "x"}, "list every name that clients use"},
	} {
		err := tt.c.Validate(RoleSwitch)
		if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.c, err, tt.want)
		}
		if err := tt.c.Validate(RoleStop); err == nil {
			t.Errorf("%T may stop something", tt.c)
		}
	}
}

// What the name servers must say before clients count as moved, for names of every shape.
func TestPlaces(t *testing.T) {
	one, two := []value{{"10.1.0.1"}}, []value{{"10.2.0.1"}}
	six1, six2 := []value{{"2001:db8:1::1"}}, []value{{"2001:db8:2::1"}}
	base := []record{
		{Name: "example.net", Type: "NS", Values: []value{{"ns1.example.net."}}}, {Name: "ns1.example.net", Type: "A", Values: []value{{"127.0.0.1"}}},
		{Name: "use2.example.net", Type: "A", Values: two},
	}
	dual := record{Name: "use2.example.net", Type: "AAAA", Values: six2}
	for what, c := range map[string]struct {
		records []record
		want    string // in what is wrong; "" if clients have moved
		asked   int
	}{
		"an address":                       {[]record{{Name: "api.example.net", Type: "A", Values: two}}, "", 4},
		"the old address":                  {[]record{{Name: "api.example.net", Type: "A", Values: one}}, "answers 10.1.0.1 for api.example.net", 0},
		"one of two is old":                {[]record{{Name: "api.example.net", Type: "A", Values: append(one, two...)}}, "answers 10.1.0.1", 0},
		"IPv6 has moved too":               {[]record{dual, {Name: "api.example.net", Type: "A", Values: two}, {Name: "api.example.net", Type: "AAAA", Values: six2}}, "", 8},
		"IPv6 has not moved":               {[]record{dual, {Name: "api.example.net", Type: "A", Values: two}, {Name: "api.example.net", Type: "AAAA", Values: six1}}, "answers 2001:db8:1::1", 0},
		"old IPv6, and none where it goes": {[]record{{Name: "api.example.net", Type: "A", Values: two}, {Name: "api.example.net", Type: "AAAA", Values: six1}}, "answers 2001:db8:1::1", 0},
		"an alias elsewhere":               {[]record{{Name: "api.example.net", Type: "CNAME", Values: []value{{"lb2.elb.example."}}}, {Name: "lb2.elb.example", Type: "A", Values: two}}, "", 4},
		"an alias elsewhere, to the old":   {[]record{{Name: "api.example.net", Type: "CNAME", Values: []value{{"lb1.elb.example."}}}, {Name: "lb1.elb.example", Type: "A", Values: one}}, "answers 10.1.0.1", 0},
		"nothing":                          {nil, "has no A record", 0},
		"nothing but the old by IPv6":      {[]record{{Name: "api.example.net", Type: "AAAA", Values: six1}}, "has no A record", 0},
	} {
		z := newZone(append(slices.Clone(base), c.records...)...)
		server := z.serveDNS(t)
		_, port, _ := net.SplitHostPort(server)
		h := places{[]string{"api.example.net"}, "use2.example.net", &dnsq.Client{Resolvers: []string{server}, Port: port}}.ask(t.Context())
		if want := map[bool]EffectState{true: Present, false: Partial}[c.want == ""]; h.asked != c.asked || h.state() != want || !strings.Contains(h.why(), c.want) {
			t.Errorf("%s: %s, %+v", what, h.state(), h)
		}
	}
	// A large balancer's name answers with eight of its twelve addresses, others each time.
	large := newZone(base[:2]...)
	large.part = 8
	for i := range 12 {
		for _, name := range []string{"use2.example.net", "api.example.net", "lb2.elb.example"} {
			r := large.records[name+". A "]
			r.Name, r.Type, r.Values = name+".", "A", append(r.Values, value{fmt.Sprintf("10.2.0.%d", i+1)})
			large.records[name+". A "] = r
		}
	}
	server := large.serveDNS(t)
	_, itsPort, _ := net.SplitHostPort(server)
	many := places{[]string{"api.example.net"}, "use2.example.net", &dnsq.Client{Resolvers: []string{server}, Port: itsPort}}
	if h := many.ask(t.Context()); h.asked != 4 || h.state() != Present {
		t.Errorf("twelve addresses: %+v", h)
	}
	large.set(func() {
		r := large.records["api.example.net. A "]
		r.Values = append(r.Values, one...)
		large.records["api.example.net. A "] = r
	})
	if h := many.ask(t.Context()); h.state() != Partial || !strings.Contains(h.why(), "answers 10.1.0.1 for api.example.net") {
		t.Errorf("twelve addresses and an old one: %+v", h)
	}
	// Names in zones of their own: each zone's servers know its names and no others.
	one2, two2 := newZone(append(slices.Clone(base), record{Name: "api.example.net", Type: "A", Values: two})...), newZone(
		record{Name: "example.org", Type: "NS", Values: []value{{"ns1.example.org."}}}, record{Name: "ns1.example.org", Type: "A", Values: []value{{"127.0.0.2"}}}, record{Name: "api.example.org", Type: "A", Values: two})
	port := one2.serveDNSAt(t, "127.0.0.1:0")
	two2.serveDNSAt(t, "127.0.0.2:"+port)
	resolver := newZone()
	for _, z := range []*fakeZone{one2, two2} {
		maps.Copy(resolver.records, z.records)
	}
	both := places{[]string{"api.example.net", "api.example.org"}, "use2.example.net", &dnsq.Client{Resolvers: []string{resolver.serveDNS(t)}, Port: port}}
	if h := both.ask(t.Context()); h.asked != 8 || h.state() != Present {
		t.Errorf("two zones: %+v", h)
	}
	two2.set(func() { two2.records["api.example.org. A "] = record{Name: "api.example.org.", Type: "A", Values: one} })
	if h := both.ask(t.Context()); h.state() != Partial || !strings.Contains(h.why(), "answers 10.1.0.1 for api.example.org") {
		t.Errorf("the second zone has not moved: %+v", h)
	}
	if h := askAll(t.Context(), &dnsq.Client{}, nil, []question{{name: "api.example.net", typ: "A"}}); h.state() != Unknown || !strings.Contains(h.why(), "no name server could be asked") {
		t.Errorf("nobody was asked: %+v", h)
	}
	if h := askAll(t.Context(), &dnsq.Client{}, []dnsq.Server{{Name: "ns1", Addr: "127.0.0.1:1"}}, nil); h.state() != Unknown {
		t.Errorf("nothing was asked: %+v", h)
	}
}

// A name server that says nothing shows nothing: clients have not been led elsewhere, and a standing hold writes nothing.
func TestASilentNameServerIsNoViolation(t *testing.T) {
	z := zone()
	w := weights(t, z)
	before := inspect(t, w, Absent, "")
	do(t, w.Do, 41, before.Previous)
	inspect(t, w, Present, "")
	z.set(func() { // nobody is there
		z.records["ns1.example.net. A "] = record{Name: "ns1.example.net.", Type: "A", Values: []value{{"127.0.0.1"}, {"127.0.0.9"}}}
	})
	inspect(t, w, Unknown, "but not every name server answers so: ns1.example.net: asking 127.0.0.9:")
	z.set(func() { // the one that answers does not know the name
		z.hold = maps.Clone(z.records)
		delete(z.hold, "api.example.net. A us-east-2")
	})
	inspect(t, w, Partial, "has no A record")
}

// An AAAA alias to a balancer without IPv6 leads nobody anywhere, and keeps nothing from being proven; one that leads to
// the old region does.
func TestAliasesWithoutIPv6(t *testing.T) {
	alias := func(typ, to string) record {
		r := record{Name: "api.example.net.", Type: typ}
		r.Alias = &struct {
			Zone     string `xml:"HostedZoneId"`
			Name     string `xml:"DNSName"`
			Evaluate bool   `xml:"EvaluateTargetHealth"`
		}{"Z2", to, false}
		return r
	}
	set := func(typ types.RRType) types.ResourceRecordSet {
		return types.ResourceRecordSet{
			Name: aws.String("api.example.net."), Type: typ, SetIdentifier: aws.String("us-east-2"), Weight: aws.Int64(255),
			AliasTarget: &types.AliasTarget{DNSName: aws.String("lb2.elb.example.")},
		}
	}
	z := newZone(alias("A", "lb2.elb.example"), alias("AAAA", "lb2.elb.example"), record{Name: "lb2.elb.example", Type: "A", Values: []value{{"10.2.0.1"}}},
		record{Name: "lb1.elb.example", Type: "AAAA", Values: []value{{"2001:db8:1::1"}}})
	server := z.serveDNS(t)
	w := &route53Weights{cfg: &Route53WeightsConfig{}, region: "us-east-2", regions: []failover.Region{"us-east-1", "us-east-2"}, dns: &dnsq.Client{Resolvers: []string{server}}}
	ask := func() heard {
		return w.ask(t.Context(), []dnsq.Server{{Name: "ns1", Addr: server}}, zoneRecords{Weighted: []types.ResourceRecordSet{set(types.RRTypeA), set(types.RRTypeAaaa)}})
	}
	if h := ask(); h.asked != asks || h.state() != Present {
		t.Errorf("%+v", h)
	}
	z.set(func() { z.records["api.example.net. AAAA "] = alias("AAAA", "lb1.elb.example") })
	if h := ask(); h.state() != Partial || !strings.Contains(h.why(), "answers 2001:db8:1::1 for api.example.net") {
		t.Errorf("to the old region: %+v", h)
	}
	z.set(func() {
		z.records["api.example.net. AAAA "] = alias("AAAA", "lb2.elb.example")
		z.records["lb2.elb.example. AAAA "] = record{Name: "lb2.elb.example.", Type: "AAAA", Values: []value{{"2001:db8:2::1"}}}
	})
	if h := ask(); h.asked != 2*asks || h.state() != Present {
		t.Errorf("with IPv6: %+v", h)
	}
}
