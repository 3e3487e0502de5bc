package config

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/internal/iam"
	"github.com/failoverd/failoverd/probes"
)

// Policy document, as IAM takes it.
type (
	policyDocument struct {
		Version   string
		Statement []policyStatement
	}
	policyStatement struct {
		Effect    string
		Action    []string
		Resource  []string
		Condition iam.Condition `json:",omitempty"`
	}
)

// IAMPolicy is the least that a node needs: what looks, or what acts as well in a
// failover in either direction. The account stands as "*" in the ARNs.
func (c *Config) IAMPolicy(acts bool) (string, error) {
	byPlace := map[string]*policyStatement{}
	for _, p := range c.permissions() {
		if p.Acts != acts {
			continue
		}
		condition, err := json.Marshal(p.Condition)
		if err != nil {
			return "", err
		}
		place := strings.Join(p.Resources, " ") + string(condition)
		s := byPlace[place]
		if s == nil {
			s = &policyStatement{Effect: "Allow", Resource: p.Resources, Condition: p.Condition}
			byPlace[place] = s
		}
		s.Action = append(s.Action, p.Actions...)
	}
	doc := policyDocument{Version: "2012-10-17"}
	for _, place := range slices.Sorted(maps.Keys(byPlace)) {
		s := byPlace[place]
		slices.Sort(s.Action)
		s.Action = slices.Compact(s.Action)
		doc.Statement = append(doc.Statement, *s)
	}
	b, err := json.MarshalIndent(doc, "", "  ")
	return string(b) + "\n", err
}

// permissions gathers what every kind of the configuration needs in both regions.
func (c *Config) permissions() []iam.Permission {
	var out []iam.Permission
	for _, r := range c.Regions() {
		act := func(kinds actions.Kinds) {
			for _, k := range kindsOf[actions.Permitted](kinds) {
				out = append(out, fill(k.Config, r, "").Permissions(r)...)
			}
		}
		look := func(kinds any) {
			for _, k := range kindsOf[probes.Permitted](kinds) {
				out = append(out, fill(k.Config, r, "").Permissions(r)...)
			}
		}
		common := func(o Common) {
			look(o.Require)
			look(o.Verify)
		}
		for _, name := range c.ComponentNames() {
			p := c.Component[name]
			look(p.See.Kinds)
			look(p.Check)
			if p.Stop != nil {
				act(p.Stop.Kinds)
				common(p.Stop.Common)
			}
			if p.Start != nil {
				act(p.Start.Kinds)
				common(p.Start.Common)
			}
		}
		act(c.Traffic.Switch.Kinds)
		common(c.Traffic.Switch.Common)
		look(c.Traffic.Check)
	}
	// Readiness looks at the records that hang on health checks, whichever switch needs those.
	if len(c.HealthChecks()) > 0 {
		records := c.Records()
		out = append(out, records.Reading()...)
	}
	return out
}
