package probes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/kube"
)

// PodsCheckConfig asserts that Deployments and StatefulSets have pods that are ready.
type PodsCheckConfig struct {
	kube.Access
	Namespace    string   `toml:"namespace" json:"namespace"`
	Deployments  []string `toml:"deployments" json:"deployments,omitempty"`
	StatefulSets []string `toml:"statefulsets" json:"statefulsets,omitempty"`
	// Ready is how many pods of each must be ready.
	Ready int `toml:"ready" json:"ready"`
	// For is how long it is asked again before it has failed. Zero: 2 minutes.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

// Validate reports the first wrong parameter.
func (c *PodsCheckConfig) Validate() error {
	if field, problem := c.Check(); field != "" {
		return badParam(field, "%s", problem)
	}
	switch {
	case c.Namespace == "":
		return badParam("namespace", "is missing")
	case len(c.Deployments)+len(c.StatefulSets) == 0:
		return badParam("deployments", "is empty, and so is statefulsets: nothing would be looked at")
	case slices.Contains(c.Deployments, "") || slices.Contains(c.StatefulSets, ""):
		return badParam("deployments", "holds an empty name")
	case c.Ready < 1:
		return badParam("ready", "%d asserts nothing", c.Ready)
	}
	return notNegative("within", c.For)
}

// Within implements CheckConfig.
func (c *PodsCheckConfig) Within() time.Duration { return within(c.For) }

// NewCheck implements CheckConfig.
func (c *PodsCheckConfig) NewCheck(d Deps) (Check, error) {
	client, err := c.Open(string(d.Region), d.Cloud)
	if err != nil {
		return nil, err
	}
	return &podsCheck{c, client, d}, nil
}

type podsCheck struct {
	cfg    *PodsCheckConfig
	client *kube.Client
	deps   Deps
}

// Check implements Check.
func (p *podsCheck) Check(ctx context.Context) Finding {
	ctx, cancel := p.deps.within(ctx)
	defer cancel()
	status := Pass
	var says []string
	for _, list := range []struct {
		kind  schema.GroupVersionResource
		names []string
	}{{kube.Deployments, p.cfg.Deployments}, {kube.StatefulSets, p.cfg.StatefulSets}} {
		for _, name := range list.names {
			o, err := p.client.Get(ctx, list.kind, p.cfg.Namespace, name)
			if err != nil {
				return Finding{Unknown, err.Error()}
			}
			n, err := p.client.PodsOf(ctx, o)
			if err != nil {
				return Finding{Unknown, err.Error()}
			}
			if n.Ready < p.cfg.Ready {
				status = Fail
			}
			says = append(says, fmt.Sprintf("%s: %s", name, n))
		}
	}
	return Finding{status, fmt.Sprintf("%s; %d of each must be ready", strings.Join(says, "; "), p.cfg.Ready)}
}
