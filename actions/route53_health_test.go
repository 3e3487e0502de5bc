package actions

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// What moves clients without a switch, what leads them to both regions, and what resolvers keep for too long is seen on a quiet day.
func TestCompareRecords(t *testing.T) {
	plain := func(id string, w, ttl int) record {
		return record{Name: "api.example.net", Type: "A", SetID: id, Weight: weight(w), TTL: weight(ttl), Values: values("10.1.0.1")}
	}
	checked := func(r record, id string) record { r.Check = id; return r }
	six := func(r record) record { r.Type = "AAAA"; return r }
	some := []HealthCheck{{Name: Top}}
	for name, tt := range map[string]struct {
		records []record
		want    []HealthCheck
		wrong   string
		slow    string
	}{
		"as it should be":         {records: []record{plain("us-east-1", 255, 60), plain("us-east-2", 0, 60)}},
		"the other way":           {records: []record{plain("us-east-1", 0, 60), plain("us-east-2", 255, 60)}},
		"no weight":               {records: []record{plain("us-east-1", 0, 60), plain("us-east-2", 0, 60)}, wrong: "api.example.net A: all weights are 0, and Route 53 answers with all of them at once"},
		"no weight of one type":   {records: []record{plain("us-east-1", 255, 60), plain("us-east-2", 0, 60), six(plain("us-east-1", 0, 60)), six(plain("us-east-2", 0, 60))}, wrong: "api.example.net AAAA: all weights are 0, and Route 53 answers with all of them at once"},
		"both":                    {records: []record{plain("us-east-1", 255, 60), plain("us-east-2", 1, 60)}, wrong: "api.example.net A: the records of both regions have a weight, and clients are led to both"},
		"several in one region":   {records: []record{plain("us-east-1 a", 9, 60), plain("us-east-1 b", 9, 60), plain("us-east-2", 0, 60)}},
		"a check that nobody set": {records: []record{checked(plain("us-east-1", 255, 60), "hc-9"), plain("us-east-2", 0, 60)}, wrong: "api.example.net A of us-east-1 has a health check, hc-9, and no switch needs one: Route 53 would move clients by itself, before anything is fenced"},
		"no check where one is needed": {records: []record{plain("us-east-1", 255, 60), plain("us-east-2", 0, 60)}, want: some,
			wrong: "api.example.net A of us-east-1 has no health check: neither the gate nor the object can move it"},
		"a check on the wrong side": {records: []record{plain("us-east-1", 255, 60), checked(plain("us-east-2", 0, 60), "hc-9")}, want: some,
			wrong: "api.example.net A of us-east-1 has no health check: neither the gate nor the object can move it; api.example.net A of us-east-2 has a health check: only the records of us-east-1 hang on one"},
		"a long TTL":      {records: []record{plain("us-east-1", 255, 3600), plain("us-east-2", 0, 60)}, slow: "api.example.net A of us-east-1 has a TTL of 1h0m0s, and the check after the switch waits 5m0s for resolvers to follow"},
		"a TTL as long":   {records: []record{plain("us-east-1", 255, 300), plain("us-east-2", 0, 300)}},
		"not weighted":    {records: []record{{Name: "api.example.net", Type: "TXT", TTL: weight(9999), Values: values("x")}}},
		"somebody else's": {records: []record{{Name: "www.example.net", Type: "A", SetID: "us-east-1", Weight: weight(0), TTL: weight(9999), Values: values("10.1.0.1")}}},
	} {
		t.Run(name, func(t *testing.T) {
			d := testDeps(t, newZone(tt.records...))
			c := Route53WeightsConfig{Zone: "Z1", Names: []string{"api.example.net"}}
			got, err := CompareRecords(t.Context(), d.Cloud.Route53(), c, "us-east-1", "us-east-2", tt.want, 5*time.Minute)
			if err != nil || strings.Join(got.Wrong, "; ") != tt.wrong || strings.Join(got.Slow, "; ") != tt.slow {
				t.Errorf("%v; wrong %q, slow %q", err, got.Wrong, got.Slow)
			}
		})
	}
	// Aliases that evaluate what they lead to: Route 53 leaves a region whose targets are unhealthy, whatever the weights say.
	d := testDeps(t, zone())
	got, err := CompareRecords(t.Context(), d.Cloud.Route53(), Route53WeightsConfig{Zone: "Z1", Names: []string{"ws.example.net"}}, "us-east-1", "us-east-2", nil, 0)
	for _, r := range []failover.Region{"us-east-1", "us-east-2"} {
		if want := "ws.example.net A of " + string(r) + " has EvaluateTargetHealth: Route 53 would move clients by itself"; err != nil || !strings.Contains(strings.Join(got.Wrong, "; "), want) {
			t.Errorf("%v, %q, not %q", err, got.Wrong, want)
		}
	}
}
