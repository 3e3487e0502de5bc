package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/failoverd/failoverd/lab/awsfake"
	"github.com/failoverd/failoverd/lab/iam"
	"github.com/failoverd/failoverd/lab/procs"
	"github.com/failoverd/failoverd/lab/world"
)

// Ops are the AWS operations that the nodes have called, "service:Operation", and how often, in all the world that still lives.
func (c *Cluster) Ops(ctx context.Context) map[string]awsfake.OpCount {
	out := map[string]awsfake.OpCount{}
	for _, site := range []string{world.E1, world.E2, world.Net} {
		var ops map[string]map[string]awsfake.OpCount
		if err := c.W.Control(site).Call(ctx, "GET", "/ops", nil, &ops); err != nil {
			continue // the region is dead, and its record with it
		}
		for key, counts := range ops {
			if !strings.HasPrefix(key, KeyPrefix) {
				continue
			}
			for op, n := range counts {
				n.Calls += out[op].Calls
				out[op] = n
			}
		}
	}
	return out
}

// The roles of the example configuration.
const (
	ObserveRole = "failoverd-observe"
	ActRole     = "failoverd-act"
)

// grant writes the policies of `failoverd iam` where the world's AWS reads them: it refuses what they do not allow. "The acting
// role needs both" (docs/operations.md).
func (c *Cluster) grant(ctx context.Context) error {
	for which, roles := range map[string][]string{"observe": {ObserveRole, ActRole}, "act": {ActRole}} {
		policy, err := c.output(ctx, "iam", which, "--config", c.Config)
		if err != nil {
			return err
		}
		for _, r := range roles {
			dir := filepath.Join(c.Dir, iam.Dir, r)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("make the directory of a role's policies: %w", err)
			}
			if err := os.WriteFile(filepath.Join(dir, which+".json"), []byte(policy), 0o600); err != nil {
				return fmt.Errorf("write a role's policy: %w", err)
			}
		}
	}
	return nil
}

// Judgements are what IAM was asked about the nodes' calls, in all the world that still lives.
func (c *Cluster) Judgements(ctx context.Context) (out []awsfake.Judgement) {
	for _, site := range []string{world.E1, world.E2, world.Net} {
		var some []awsfake.Judgement
		if err := c.W.Control(site).Call(ctx, "GET", "/iam", nil, &some); err != nil {
			continue // the region is dead, and its record with it
		}
		for _, j := range some {
			if strings.HasPrefix(j.AccessKey, KeyPrefix) {
				out = append(out, j)
			}
		}
	}
	return out
}

// Renew makes new certificates for all nodes and agents, under the same authority.
func (c *Cluster) Renew(ctx context.Context) error {
	return c.run(ctx, "--config", c.Config, "certs", "--dir", filepath.Join(c.Dir, "tls"))
}

// Agents are the processes of all agents that run now with the world's configuration.
func (c *Cluster) Agents() []int {
	return procs.Running(func(argv []string) bool {
		return len(argv) > 3 && argv[0] == c.opt.Failoverd && argv[1] == "agent" && argv[3] == c.Config
	})
}
