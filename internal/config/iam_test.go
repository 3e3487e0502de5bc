package config

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// deploy/iam holds the policies of the example configuration; make them for your own with `failoverd iam`.
func TestIAMPolicies(t *testing.T) {
	c := example(t)
	all := ""
	for name, acts := range map[string]bool{"observe": false, "act": true} {
		got, err := c.IAMPolicy(acts)
		if err != nil {
			t.Fatal(err)
		}
		file := "../../deploy/iam/" + name + ".json"
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || got != string(want) {
			t.Errorf("%s (%v) is not what the example needs; it is\n%s", file, err, got)
		}
		var doc policyDocument
		if err := json.Unmarshal([]byte(got), &doc); err != nil {
			t.Fatal(err)
		}
		for _, s := range doc.Statement {
			for _, a := range s.Action {
				changes := !strings.Contains(a, ":Get") && !strings.Contains(a, ":List") && !strings.Contains(a, ":Describe") && a != "logs:FilterLogEvents"
				canary := strings.HasPrefix(a, "sqs:") && strings.Contains(strings.Join(s.Resource, ""), "canary")
				if changes && !acts && !canary {
					t.Errorf("%s may %s on %v", name, a, s.Resource)
				}
				if s.Resource[0] == "*" && s.Condition == nil && acts {
					t.Errorf("%s may %s on everything", name, a)
				}
			}
		}
		all += got
	}
	if strings.Contains(all, "{") && strings.Contains(all, "{region}") || strings.Contains(all, "{node}") {
		t.Errorf("something was not filled in:\n%s", all)
	}
}

// `failoverd readiness` reads the records and the health checks for the switches that need no control plane, too.
func TestAGateAloneIsLookedAt(t *testing.T) {
	c := example(t)
	c.Traffic.Switch.Route53Weights, c.Traffic.Switch.S3Object = nil, nil
	for which, want := range map[bool]string{false: "route53:GetHealthCheck route53:ListResourceRecordSets", true: ""} {
		text, err := c.IAMPolicy(which)
		if err != nil {
			t.Fatal(err)
		}
		var doc policyDocument
		if err := json.Unmarshal([]byte(text), &doc); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range doc.Statement {
			for _, a := range s.Action {
				if strings.HasPrefix(a, "route53:") {
					got = append(got, a)
				}
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("acts %t: %v, want %s", which, got, want)
		}
	}
}
