package harness

import (
	"context"
	"strings"

	"github.com/failoverd/failoverd/lab/world"
)

// Ops are the AWS operations that the nodes have called, "service:Operation", in all the world that still lives.
func (c *Cluster) Ops(ctx context.Context) map[string]bool {
	out := map[string]bool{}
	for _, site := range []string{world.E1, world.E2, world.Net} {
		var ops map[string][]string
		if err := c.W.Control(site).Call(ctx, "GET", "/ops", nil, &ops); err != nil {
			continue // the region is dead, and its record with it
		}
		for key, list := range ops {
			if strings.HasPrefix(key, KeyPrefix) {
				for _, op := range list {
					out[op] = true
				}
			}
		}
	}
	return out
}
