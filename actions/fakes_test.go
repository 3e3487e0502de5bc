package actions

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

func testDeps(t *testing.T, h http.Handler) Deps {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, err := cloud.Open(t.Context(), cloud.Options{Endpoints: map[string]string{"us-east-1": srv.URL, "us-east-2": srv.URL, "global": srv.URL}, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return Deps{
		Region: "us-east-2", Regions: []failover.Region{"us-east-1", "us-east-2"}, Node: "n1", Cloud: c,
		Log: slog.New(slog.DiscardHandler),
	}
}

// fakeECS is one service; a test moves its counts.
type fakeECS struct {
	mu                        sync.Mutex
	desired, running, pending int
	tasks                     map[string]string // ARN to last status, all with desired status STOPPED
	missing                   bool
	controller                string // of deployments; "": ECS says nothing of it
	updates                   []int
	target                    *ecsScale         // of the autoscaler; nil: none
	scalerDown                bool              // Application Auto Scaling answers with an error
	instances                 map[string]string // task → container instance
	cutOff                    map[string]bool   // container instances that are not connected
	order                     []string          // changing calls
}

func (f *fakeECS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var in struct {
		DesiredCount  *int   `json:"desiredCount"`
		DesiredStatus string `json:"desiredStatus"`

		ContainerInstances []string
		MinCapacity        *int32
		MaxCapacity        *int32
		SuspendedState     struct{ DynamicScalingInSuspended, DynamicScalingOutSuspended, ScheduledScalingSuspended bool }
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	out := map[string]any{}
	if f.scalerDown && strings.HasPrefix(r.Header.Get("X-Amz-Target"), "AnyScaleFrontendService.") {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"__type":"InternalServiceException"}`))
		return
	}
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	switch op {
	case "DescribeScalableTargets":
		list := []any{}
		if t := f.target; t != nil {
			list = append(list, map[string]any{"MinCapacity": t.Min, "MaxCapacity": t.Max, "SuspendedState": map[string]bool{
				"DynamicScalingInSuspended": t.In, "DynamicScalingOutSuspended": t.Out, "ScheduledScalingSuspended": t.Scheduled}})
		}
		out["ScalableTargets"] = list
	case "RegisterScalableTarget":
		p := in.SuspendedState
		f.target = &ecsScale{Min: *in.MinCapacity, Max: *in.MaxCapacity, In: p.DynamicScalingInSuspended, Out: p.DynamicScalingOutSuspended, Scheduled: p.ScheduledScalingSuspended}
		f.order = append(f.order, op)
	case "DescribeContainerInstances":
		list := []any{}
		for _, arn := range in.ContainerInstances {
			list = append(list, map[string]any{"containerInstanceArn": arn, "agentConnected": !f.cutOff[arn]})
		}
		out["containerInstances"] = list
	case "DescribeServices":
		if f.missing {
			out["failures"] = []any{map[string]string{"reason": "MISSING", "arn": "x"}}
			break
		}
		svc := map[string]any{"status": "ACTIVE", "desiredCount": f.desired, "runningCount": f.running, "pendingCount": f.pending}
		if f.controller != "" {
			svc["deploymentController"] = map[string]string{"type": f.controller}
		}
		out["services"] = []any{svc}
	case "UpdateService":
		f.desired = *in.DesiredCount
		f.updates = append(f.updates, f.desired)
		f.order = append(f.order, op)
		out["service"] = map[string]any{}
	case "ListTasks":
		arns := []string{}
		for arn := range f.tasks {
			if in.DesiredStatus == "STOPPED" {
				arns = append(arns, arn)
			}
		}
		out["taskArns"] = arns
	case "DescribeTasks":
		tasks := []any{}
		for arn, status := range f.tasks {
			task := map[string]string{"taskArn": arn, "lastStatus": status}
			if i := f.instances[arn]; i != "" {
				task["containerInstanceArn"] = i
			}
			tasks = append(tasks, task)
		}
		out["tasks"] = tasks
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(out)
}

type value struct {
	V string `xml:"Value"`
}

func values(texts ...string) []value {
	var out []value
	for _, t := range texts {
		out = append(out, value{t})
	}
	return out
}

// record is a record set as the fake zone keeps it.
type record struct {
	XMLName xml.Name `xml:"ResourceRecordSet"`
	Name    string   `xml:"Name"`
	Type    string   `xml:"Type"`
	SetID   string   `xml:"SetIdentifier,omitempty"`
	Weight  *int     `xml:"Weight,omitempty"`
	TTL     *int     `xml:"TTL,omitempty"`
	Values  []value  `xml:"ResourceRecords>ResourceRecord,omitempty"`
	Alias   *struct {
		Zone     string `xml:"HostedZoneId"`
		Name     string `xml:"DNSName"`
		Evaluate bool   `xml:"EvaluateTargetHealth"`
	} `xml:"AliasTarget,omitempty"`
	Check string `xml:"HealthCheckId,omitempty"`
}

func (r record) key() string { return dns.Fqdn(r.Name) + " " + r.Type + " " + r.SetID }

func (r record) text() string { b, _ := xml.Marshal(r); return string(b) }

// fakeZone is a hosted zone and its only name server.
type fakeZone struct {
	mu        sync.Mutex
	records   map[string]record
	batches   int
	loseReply bool              // take the next batch and answer with an error
	strand    bool              // accept the next batch, and forget it
	busy      int               // refuse so many batches: an earlier one is not complete
	unread    bool              // take batches, and refuse every question
	hold      map[string]record // what the name server still answers with; nil: the records
	part      int               // how many values an answer has at most; others each time. Zero: all
	drawn     int
	private   bool
}

func newZone(records ...record) *fakeZone {
	z := &fakeZone{records: map[string]record{}}
	for _, r := range records {
		r.Name = dns.Fqdn(r.Name)
		z.records[r.key()] = r
	}
	return z
}

// set changes the zone while its servers run.
func (z *fakeZone) set(change func()) {
	z.mu.Lock()
	defer z.mu.Unlock()
	change()
}

func (z *fakeZone) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	z.mu.Lock()
	defer z.mu.Unlock()
	switch {
	case r.Method == http.MethodPost:
		z.change(w, r)
	case z.unread:
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprint(w, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not now</Message></Error></ErrorResponse>")
	case strings.HasSuffix(r.URL.Path, "/rrset"):
		var b strings.Builder
		for _, key := range slices.Sorted(maps.Keys(z.records)) { // AWS lists in an order, too
			rec := z.records[key]
			if strings.EqualFold(rec.Name, dns.Fqdn(r.URL.Query().Get("name"))) {
				b.WriteString(rec.text())
			}
		}
		_, _ = fmt.Fprintf(w, "<ListResourceRecordSetsResponse><ResourceRecordSets>%s</ResourceRecordSets><IsTruncated>false</IsTruncated><MaxItems>100</MaxItems></ListResourceRecordSetsResponse>", &b)
	case strings.Contains(r.URL.Path, "/change/"):
		_, _ = fmt.Fprint(w, "<GetChangeResponse><ChangeInfo><Id>C1</Id><Status>PENDING</Status></ChangeInfo></GetChangeResponse>")
	default:
		_, _ = fmt.Fprintf(w, "<GetHostedZoneResponse><HostedZone><Id>Z1</Id><Config><PrivateZone>%t</PrivateZone></Config></HostedZone><DelegationSet><NameServers><NameServer>ns1.example.net</NameServer></NameServers></DelegationSet></GetHostedZoneResponse>", z.private)
	}
}

func (z *fakeZone) change(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Changes []struct {
			Action string `xml:"Action"`
			Set    record `xml:"ResourceRecordSet"`
		} `xml:"ChangeBatch>Changes>Change"`
	}
	_ = xml.NewDecoder(r.Body).Decode(&in)
	if z.busy > 0 {
		z.busy--
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>PriorRequestNotComplete</Code><Message>The request was rejected because Route 53 was still processing a prior request.</Message></Error></ErrorResponse>`)
		return
	}
	next := map[string]record{}
	for k, v := range z.records {
		next[k] = v
	}
	for _, c := range in.Changes {
		c.Set.Name = dns.Fqdn(c.Set.Name)
		old, exists := next[c.Set.key()]
		if (c.Action == "DELETE" && (!exists || old.text() != c.Set.text())) || (c.Action == "CREATE" && exists) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>InvalidChangeBatch</Code><Message>[Tried to %s resource record set [name='%s', type='%s'] but it was not so]</Message></Error></ErrorResponse>`, c.Action, c.Set.Name, c.Set.Type)
			return
		}
		if next[c.Set.key()] = c.Set; c.Action == "DELETE" {
			delete(next, c.Set.key())
		}
	}
	if z.batches++; z.strand {
		z.strand, next = false, z.records
	}
	z.records = next
	if z.loseReply {
		z.loseReply = false
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, `<ErrorResponse><Error><Code>SomethingElse</Code><Message>lost</Message></Error></ErrorResponse>`)
		return
	}
	_, _ = fmt.Fprint(w, "<ChangeResourceRecordSetsResponse><ChangeInfo><Id>/change/C1</Id><Status>PENDING</Status></ChangeInfo></ChangeResourceRecordSetsResponse>")
}

// ServeDNS answers with all records of non-zero weight.
func (z *fakeZone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	records := z.records
	if z.hold != nil {
		records = z.hold
	}
	r := new(dns.Msg)
	r.SetReply(q)
	for _, rec := range records {
		// A name that is an alias has no other records, whatever is asked for.
		if !strings.EqualFold(rec.Name, q.Question[0].Name) || (rec.Type != dns.TypeToString[q.Question[0].Qtype] && rec.Type != "CNAME") || (rec.Weight != nil && *rec.Weight == 0) {
			continue
		}
		answers := rec.Values
		if rec.Alias != nil {
			answers = records[dns.Fqdn(rec.Alias.Name)+" "+rec.Type+" "].Values
		}
		if z.part > 0 && len(answers) > z.part {
			z.drawn += 5
			answers = slices.Concat(answers, answers)[z.drawn%len(answers):][:z.part]
		}
		for _, v := range answers {
			rr, err := dns.NewRR(rec.Name + " 60 IN " + rec.Type + " " + v.V)
			if err != nil {
				panic(err)
			}
			r.Answer = append(r.Answer, rr)
		}
	}
	_ = w.WriteMsg(r)
}

// serveDNS starts the zone's name server and returns its address.
func (z *fakeZone) serveDNS(t *testing.T) string {
	t.Helper()
	return "127.0.0.1:" + z.serveDNSAt(t, "127.0.0.1:0")
}

// serveDNSAt does so at an address, and returns the port.
func (z *fakeZone) serveDNSAt(t *testing.T, at string) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: pc, Handler: z}
	go func() { _ = s.ActivateAndServe() }()
	t.Cleanup(func() { _ = s.Shutdown() })
	_, port, _ := net.SplitHostPort(pc.LocalAddr().String())
	return port
}
