package harness

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/failoverd/failoverd/lab/awsfake"
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
