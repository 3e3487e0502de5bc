package probes

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// MySQLConfig looks at MariaDB or MySQL, each server of a region by itself: whether it reads and writes, and whether it has the role
// that it should have there. What makes a region's signal fail is that nobody is served: no answer, an error of the server's own, or
// no server that takes writes where one should. Replication and the event scheduler are told and never fail it: a standby's
// replication ends with the region that it follows, and a standby that failed for that would keep a failover from beginning.
type MySQLConfig struct {
	// Servers are the host:port of the servers by region.
	Servers map[failover.Region][]string `toml:"servers" json:"servers"`
	// User needs what docs/operations.md lists, and no SUPER.
	User         string `toml:"user" json:"user"`
	PasswordFile string `toml:"password_file" json:"password_file"`
	// CAFile holds the certificates by which the servers are known. Empty: the connection is in the clear.
	CAFile string `toml:"ca_file" json:"ca_file,omitempty"`
	// Table is read at each look, "database.table". Empty: failoverd.canary.
	Table string `toml:"table" json:"table,omitempty"`
	// Write replaces the node's own row in Table before it is read, in regions of which ReadOnly says false and ReplicaOf no source, and
	// there in servers that replicate from none.
	Write bool `toml:"write" json:"write,omitempty"`
	// ReadOnly says of a region whether its servers refuse writes: true, all of them; false, all but one or more. A region that is not
	// named may do as it likes.
	ReadOnly map[failover.Region]bool `toml:"read_only" json:"read_only,omitempty"`
	// Events says of a region whether the event scheduler runs: events that fire in two regions do their work twice.
	Events map[failover.Region]bool `toml:"events" json:"events,omitempty"`
	// ReplicaOf is the host:port from which a region's servers replicate, as they were told it, or "none".
	ReplicaOf map[failover.Region]string `toml:"replica_of" json:"replica_of,omitempty"`
	// MaxLag is how far a replica may be behind. Zero: a minute.
	MaxLag failover.Duration `toml:"max_lag" json:"max_lag,omitempty"`
	// Slow is the time after which a server's answer counts as slow. Zero: never.
	Slow failover.Duration `toml:"slow" json:"slow,omitempty"`
}

// MySQLCheckConfig asserts the same. What a probe only tells – replication, the event scheduler, writes where none should be taken – a
// check holds against the region.
type MySQLCheckConfig struct {
	MySQLConfig
	// For is how long it is asked again before it has failed. Zero: 2 minutes.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

const (
	// MySQLTable is the table that is looked at unless another one is named.
	MySQLTable = "failoverd.canary"
	// none is a source of replication: there is to be none.
	none = "none"
	// leastMySQL is what a look takes over an ocean that has to connect first: some ten times there and back, with TLS.
	leastMySQL = 2 * time.Second
)

// tableName is a name that needs no backticks, of a database and of a table.
var tableName = regexp.MustCompile(`^[A-Za-z_][0-9A-Za-z_$]{0,63}\.[A-Za-z_][0-9A-Za-z_$]{0,63}$`)

// Validate reports the first wrong parameter.
func (c *MySQLConfig) Validate() error {
	if len(c.Servers) == 0 {
		return badParam("servers", "is missing; list MariaDB in each region, such as { us-east-2 = [\"db.us-east-2.example.net:3306\"] }")
	}
	seen := map[string]failover.Region{}
	for _, r := range c.Regions() {
		for _, s := range c.Servers[r] {
			if err := validHostPort("servers", s); err != nil {
				return err
			}
			if other, ok := seen[s]; ok {
				return badParam("servers", "%q is named for %s and for %s", s, other, r)
			}
			seen[s] = r
		}
	}
	switch {
	case c.User == "":
		return badParam("user", "is missing")
	case !strings.HasPrefix(c.PasswordFile, "/"):
		return badParam("password_file", "%q is not an absolute path", c.PasswordFile)
	case c.CAFile != "" && !strings.HasPrefix(c.CAFile, "/"):
		return badParam("ca_file", "%q is not an absolute path", c.CAFile)
	case c.Table != "" && !tableName.MatchString(c.Table):
		return badParam("table", "%q is not database.table, of letters, digits and underscores", c.Table)
	}
	for _, p := range []struct {
		field string
		keys  []failover.Region
	}{{"read_only", sortedKeys(c.ReadOnly)}, {"events", sortedKeys(c.Events)}, {"replica_of", sortedKeys(c.ReplicaOf)}} {
		for _, r := range p.keys {
			if len(c.Servers[r]) == 0 {
				return badParam(p.field, "names %s, in which servers names none", r)
			}
		}
	}
	follows := false
	for _, r := range sortedKeys(c.ReplicaOf) {
		source := c.ReplicaOf[r]
		if source == none {
			continue
		}
		follows = true
		if err := validHostPort("replica_of", source); err != nil {
			return badParam("replica_of", "%q of %s is neither host:port nor %q", source, r, none)
		}
		if slices.Contains(c.Servers[r], source) {
			return badParam("replica_of", "%q is one of the servers of %s itself: each of them would have to follow it", source, r)
		}
	}
	switch {
	case c.MaxLag != 0 && !follows:
		return badParam("max_lag", "says nothing without replica_of")
	case c.Write && !slices.ContainsFunc(c.Regions(), c.writes):
		return badParam("write", "would write nowhere: it does in regions of which read_only says false, such as read_only = { us-east-1 = false }, unless replica_of names a source")
	}
	if err := notNegative("max_lag", c.MaxLag); err != nil {
		return err
	}
	return notNegative("slow", c.Slow)
}

// Validate reports the first wrong parameter.
func (c *MySQLCheckConfig) Validate() error {
	if err := c.MySQLConfig.Validate(); err != nil {
		return err
	}
	return notNegative("within", c.For)
}

// writes reports whether the canary is written in a region, to those of its servers that say themselves that they replicate from none.
func (c *MySQLConfig) writes(r failover.Region) bool {
	readOnly, said := c.ReadOnly[r]
	return c.Write && said && !readOnly && cmp.Or(c.ReplicaOf[r], none) == none
}

// Inherit takes over from what the component is seen by where its servers are and who asks them.
func (c *MySQLCheckConfig) Inherit(see *MySQLConfig) {
	if len(c.Servers) == 0 {
		c.Servers = maps.Clone(see.Servers)
	}
	if c.User == "" && c.PasswordFile == "" {
		c.User, c.PasswordFile = see.User, see.PasswordFile
	}
	c.CAFile, c.Table = cmp.Or(c.CAFile, see.CAFile), cmp.Or(c.Table, see.Table)
}

// Regions are the regions that have servers, sorted.
func (c *MySQLConfig) Regions() []failover.Region { return sortedKeys(c.Servers) }

func (c *MySQLConfig) hosts(r failover.Region) []string { return hostsOf(c.Servers[r]...) }

// MinTimeout implements minimumTimeout.
func (c *MySQLConfig) MinTimeout() time.Duration { return leastMySQL }

// Within implements CheckConfig.
func (c *MySQLCheckConfig) Within() time.Duration { return within(c.For) }

// New implements Config. The probe has a Close method: its connections live as long as it does.
func (c *MySQLConfig) New(d Deps) (Probe, error) { return c.probe(d) }

func (c *MySQLConfig) probe(d Deps) (*mysqlProbe, error) {
	p := &mysqlProbe{cfg: c, deps: d}
	for _, at := range c.Servers[d.Region] {
		s, err := c.server(d, at)
		if err != nil {
			return nil, fmt.Errorf("server %s: %w", at, err)
		}
		p.servers = append(p.servers, s)
	}
	return p, nil
}

// NewCheck implements CheckConfig.
func (c *MySQLCheckConfig) NewCheck(d Deps) (Check, error) {
	if len(c.Servers[d.Region]) == 0 {
		return nil, fmt.Errorf("servers names none in %s", d.Region)
	}
	d.Timeout = max(d.Timeout, leastMySQL)
	return mysqlCheck{c, d}, nil
}

type mysqlCheck struct {
	cfg  *MySQLCheckConfig
	deps Deps
}

// Check implements Check. It connects anew: a check is asked a few times, and nobody would close what it kept.
func (x mysqlCheck) Check(ctx context.Context) Finding {
	p, err := x.cfg.probe(x.deps)
	if err != nil {
		return Finding{Unknown, err.Error()}
	}
	defer func() { _ = p.Close() }()
	o := p.Probe(ctx)
	return finding(o, o.Detail)
}

// mysqlProbe asks the region's servers side by side.
type mysqlProbe struct {
	cfg     *MySQLConfig
	deps    Deps
	servers []*mysqlServer
}

var _ io.Closer = (*mysqlProbe)(nil)

// Close gives the connections back. It waits for nothing.
func (p *mysqlProbe) Close() error {
	for _, s := range p.servers {
		s.drop()
	}
	return nil
}

// Probe implements Probe.
func (p *mysqlProbe) Probe(ctx context.Context) failover.Observation {
	o := p.deps.observation("mysql", strings.Join(p.cfg.Servers[p.deps.Region], ","))
	ctx, cancel := p.deps.within(ctx)
	defer cancel()
	results := make([]result, len(p.servers))
	states := make([]mysqlState, len(p.servers))
	var wg sync.WaitGroup
	for i, s := range p.servers {
		wg.Go(func() {
			begin := time.Now()
			state, err := s.look(ctx)
			states[i] = state
			if err != nil {
				results[i] = s.wrong(err)
			} else {
				s.hung = false
				results[i] = result{outcome: failover.OK, detail: state.String()}
			}
			results[i].target, results[i].latency = s.at, time.Since(begin)
		})
	}
	wg.Wait()
	p.judge(states, results)
	for i := range results {
		results[i] = results[i].slower(p.cfg.Slow.D())
	}
	return fold(o, results)
}

// judge holds what the servers that answered said of themselves against what they should be.
func (p *mysqlProbe) judge(states []mysqlState, results []result) {
	r := p.deps.Region
	readOnly, said := p.cfg.ReadOnly[r]
	// Also one that is alive and did not come to say whether it takes writes, since it is full or does not accept us, may do so: those
	// that do not are not to blame for it.
	writable := false
	for i, s := range states {
		writable = writable || results[i].outcome != failover.Failed && s.readOnly == ""
	}
	for i, s := range states {
		if results[i].outcome != failover.OK {
			continue
		}
		if said && !readOnly && !writable {
			results[i].outcome, results[i].reason = failover.Failed, failover.ReasonRole
			results[i].detail += "; a server of " + string(r) + " must take writes, and none is seen that does"
			continue
		}
		var odd []string
		reason := failover.ReasonRole
		if said && readOnly && s.readOnly == "" {
			odd = append(odd, "it takes writes, and read_only says that it must not")
		}
		if want, ok := p.cfg.Events[r]; ok && want != (s.events == "ON") {
			odd = append(odd, fmt.Sprintf("its event scheduler is %s, and must be %s", cmp.Or(s.events, "unknown"), onOff(want)))
		}
		if source := p.cfg.ReplicaOf[r]; source != "" {
			if why, stale := s.follows(source, orElse(p.cfg.MaxLag, time.Minute)); why != "" {
				odd = append(odd, why)
				if stale && len(odd) == 1 {
					reason = failover.ReasonStale
				}
			}
		}
		if len(odd) > 0 {
			results[i].outcome, results[i].reason = failover.Slow, reason
			results[i].detail += "; " + strings.Join(odd, "; ")
		}
	}
}

func onOff(on bool) string {
	if on {
		return "ON"
	}
	return "OFF"
}
