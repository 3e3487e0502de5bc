package actions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// GateConfig moves clients without any control plane: Route 53 health checks ask
// each node whether the region is to be left (GET /gate/SERVICE/REGION), and the
// record of that region hangs on them. The flip is a committed entry of the log.
//
// It is not latched: a node that does not answer counts as one that says "serve",
// so that too many lost nodes would send clients back. A latched switch must
// follow.
type GateConfig struct {
	// Nodes are the public addresses, host:port, at which the health checks reach
	// each node's gate ([node] gate).
	Nodes map[failover.NodeID]string `toml:"nodes" json:"nodes"`
	// Need is how many nodes must say that the region is to be left. Zero means 2:
	// one node that is wrong moves nobody.
	Need int `toml:"need" json:"need,omitempty"`
	// Interval of the health checks, 10 s or 30 s, and how many of their answers in
	// a row count. Zero: 10 s, 3.
	Interval  failover.Duration `toml:"interval" json:"interval,omitempty"`
	Threshold int               `toml:"threshold" json:"threshold,omitempty"`
	Names     []string          `toml:"names" json:"names"`
	SameAs    string            `toml:"same_as" json:"same_as"`
}

// Inherit takes what [traffic] says for all switches, where the kind says nothing.
func (c *GateConfig) Inherit(t Shared) {
	c.Names, c.SameAs = inherited(c.Names, t.Names), cmp.Or(c.SameAs, t.SameAs)
}

// Validate implements Config.
func (c *GateConfig) Validate(role Role) error {
	switch {
	case role == RoleStop || role == RoleStart:
		return badParam("nodes", "moves clients and can only stand under traffic.switch")
	case len(c.Nodes) < 2:
		return badParam("nodes", "names %d nodes: give the public address of each node's gate, as use1a = \"203.0.113.10:7781\"", len(c.Nodes))
	case c.Need < 0 || c.need() > len(c.Nodes):
		return badParam("need", "%d of %d nodes can never say that the region is to be left", c.Need, len(c.Nodes))
	case c.Interval != 0 && c.Interval.D() != 10*time.Second && c.Interval.D() != 30*time.Second && role != "":
		return badParam("interval", "%s is not 10s or 30s, the intervals that Route 53 has", c.Interval)
	case c.Threshold < 0 || c.Threshold > 10:
		return badParam("threshold", "%d is not from 1 to 10", c.Threshold)
	}
	for _, id := range slices.Sorted(maps.Keys(c.Nodes)) {
		if host, port, err := net.SplitHostPort(c.Nodes[id]); err != nil || host == "" || port == "" {
			return badParam("nodes", "%s: %q is not host:port", id, c.Nodes[id])
		}
	}
	return validPlaces(c.Names, c.SameAs)
}

func (c *GateConfig) need() int {
	if c.Need == 0 {
		return 2
	}
	return c.Need
}

// Version implements Config.
func (c *GateConfig) Version() int { return 1 }

// Timeout implements Config: the health checks' own time, the records' TTL and
// room for name servers that follow late.
func (c *GateConfig) Timeout() time.Duration { return 5 * time.Minute }

// New implements Config.
func (c *GateConfig) New(d Deps) (Action, error) {
	i := slices.IndexFunc(d.Regions, func(r failover.Region) bool { return r != d.Region })
	if i < 0 || len(d.Regions) != 2 {
		return nil, fmt.Errorf("clients cannot be sent to %q: the service has the regions %v", d.Region, d.Regions)
	}
	return &gate{
		cfg: c, service: d.Service, left: d.Regions[i], to: d.Region, home: i > 0,
		places: places{c.Names, c.SameAs, d.dns()},
		client: &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

type gate struct {
	cfg      *GateConfig
	service  string
	left, to failover.Region
	home     bool // it leads back to the primary, whose records hang on what all nodes say
	places   places
	client   *http.Client
}

// FlipsByLog implements LogFlip.
func (g *gate) FlipsByLog() {}

// Idempotent says that the flip, committed again, changes nothing.
func (g *gate) Idempotent() {}

// gatePrevious is the region that the gates served.
type gatePrevious struct {
	Region failover.Region `json:"region"`
}

// Inspect implements Action: it asks the gates as the health checks do, and the
// name servers.
func (g *gate) Inspect(ctx context.Context) (Effect, error) {
	previous, err := json.Marshal(gatePrevious{g.left})
	if err != nil {
		return Effect{}, err
	}
	stop, silent := g.ask(ctx)
	need := g.cfg.need()
	line := fmt.Sprintf("%d of %d nodes say that %s is to be left, %d are needed", stop, len(g.cfg.Nodes), g.left, need)
	if len(silent) > 0 {
		line += " (" + strings.Join(silent, "; ") + ")"
	}
	e := Effect{State: Absent, Detail: line}
	switch {
	case stop >= need && g.home:
		e = g.places.moved(ctx, line+": a node that is lost keeps no client away")
	case stop >= need:
		e = g.places.moved(ctx, fmt.Sprintf("%s: %d more may be lost before clients are sent back, until a latched switch has followed", line, stop-need))
	case stop > 0:
		e.State = Partial
	}
	e.Previous = previous
	return e, nil
}

// ask asks all gates at once, each for as long as a health checker waits.
func (g *gate) ask(ctx context.Context) (stop int, silent []string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for id, addr := range g.cfg.Nodes {
		wg.Go(func() {
			said, err := g.askOne(ctx, addr)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				silent = append(silent, fmt.Sprintf("%s does not answer", id))
			} else if said {
				stop++
			}
		})
	}
	wg.Wait()
	slices.Sort(silent)
	return stop, silent
}

func (g *gate) askOne(ctx context.Context, addr string) (stop bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+GatePath(g.service, g.left), nil)
	if err != nil {
		return false, err
	}
	res, err := g.client.Do(req)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 4<<10))
	return res.StatusCode == http.StatusOK, err
}

// GatePath is where a node's gate says whether a region is to be left.
func GatePath(service string, left failover.Region) string {
	return "/gate/" + service + "/" + string(left)
}

// Do implements Action: the executor has committed the flip.
func (g *gate) Do(_ context.Context, a Attempt) error {
	a.Report("the flip is committed; each node says so to the health checks")
	return nil
}

// Undo implements Action. The log cannot be moved back by a call: a flip the other
// way is an execution of its own.
func (g *gate) Undo(context.Context, Attempt) error {
	return errors.New("a committed flip is not undone; the way back is a failback")
}
