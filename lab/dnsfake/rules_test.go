package dnsfake

import (
	"fmt"
	"slices"
	"testing"
)

// The documented rules by which Route 53 chooses a record, one by one.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/health-checks-how-route-53-chooses-records.html
func TestRulesOfSelection(t *testing.T) {
	rec := func(id string, weight int, check string) RecordSet {
		return RecordSet{Name: "api.example.net.", Type: "A", TTL: 60, SetID: id, Weight: weight, Values: []string{id}, Check: check}
	}
	alias := func(id string, weight int, evaluate bool) RecordSet {
		return RecordSet{Name: "api.example.net.", Type: "A", SetID: id, Weight: weight, Alias: id + ".example.net.", Evaluate: evaluate}
	}
	target := func(name, ip, check string) RecordSet {
		return RecordSet{Name: name + ".example.net.", Type: "A", TTL: 60, Values: []string{ip}, SetID: ip, Weight: 1, Check: check}
	}
	for _, tt := range []struct {
		rule string
		sets []RecordSet
		ill  []string
		want []string // every answer that may come
	}{
		{"a record of weight 0 is not answered while another has a weight", []RecordSet{rec("1", 255, ""), rec("2", 0, "")}, nil, []string{"1"}},
		{"all of weight 0: each is answered", []RecordSet{rec("1", 0, ""), rec("2", 0, "")}, nil, []string{"1", "2"}},
		{"two with weights: both are answered", []RecordSet{rec("1", 100, ""), rec("2", 100, "")}, nil, []string{"1", "2"}},
		{"an unhealthy record is not answered", []RecordSet{rec("1", 100, "c1"), rec("2", 100, "c2")}, []string{"c1"}, []string{"2"}},
		{"all with a weight are unhealthy: those of weight 0 are considered", []RecordSet{rec("1", 255, "c1"), rec("2", 0, "")}, []string{"c1"}, []string{"2"}},
		{"a record without a health check is healthy", []RecordSet{rec("1", 1, "c1"), rec("2", 1, "")}, []string{"c1"}, []string{"2"}},
		{"a record of weight 0 that is unhealthy as well is not better: all are treated as healthy", []RecordSet{rec("1", 255, "c1"), rec("2", 0, "c2")}, []string{"c1", "c2"}, []string{"1"}},
		{"of several of weight 0, the healthy one", []RecordSet{rec("1", 255, "c1"), rec("2", 0, "c2"), rec("3", 0, "")}, []string{"c1", "c2"}, []string{"3"}},
		{"an alias that evaluates its target is as healthy as that", []RecordSet{alias("1", 255, true), alias("2", 0, true), target("1", "10.1.0.1", "c1"), target("2", "10.2.0.1", "")}, []string{"c1"}, []string{"10.2.0.1"}},
		{"an alias of a group is healthy while one of the group is", []RecordSet{alias("1", 255, true), alias("2", 0, true), target("1", "10.1.0.1", "c1"), target("1", "10.1.0.2", ""), target("2", "10.2.0.1", "")}, []string{"c1"}, []string{"10.1.0.2"}},
		{"an alias that does not evaluate its target is healthy", []RecordSet{alias("1", 255, false), alias("2", 0, false), target("1", "10.1.0.1", "c1"), target("2", "10.2.0.1", "")}, []string{"c1"}, []string{"10.1.0.1"}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			z := NewZone("example.net.", 1, 0, 60, 1)
			z.Healthy = func(id string) bool { return !slices.Contains(tt.ill, id) }
			z.Publish(tt.sets)
			got := map[string]int{}
			for range 400 {
				for _, s := range z.Lookup(0, "api.example.net.", "A").Sets {
					got[s.Values[0]]++
				}
			}
			for v := range got {
				if !slices.Contains(tt.want, v) {
					t.Errorf("%s was answered %d times", v, got[v])
				}
			}
			for _, v := range tt.want {
				if got[v] < 100 {
					t.Errorf("%s was answered %d times of 400: %v", v, got[v], fmt.Sprint(got))
				}
			}
		})
	}
}
