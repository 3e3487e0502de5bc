package probes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/replset"
)

// MongoConfig looks at the members of a replica set, each by itself.
type MongoConfig struct {
	// ReplicaSet is the set's name; a member of another set is a mistake.
	ReplicaSet string `toml:"replica_set" json:"replica_set"`
	// Members are the host:port of the members by region.
	Members map[failover.Region][]string `toml:"members" json:"members"`
	// TLS dials with TLS. CAFile holds the certificates by which members are known; empty: those of the host.
	TLS    bool   `toml:"tls" json:"tls,omitempty"`
	CAFile string `toml:"ca_file" json:"ca_file,omitempty"`
	// Username authenticates against the database "admin". Empty: nothing is
	// authenticated; hello and ping need no user.
	Username string `toml:"username" json:"username,omitempty"`
	// PasswordFile holds the user's password.
	PasswordFile string `toml:"password_file" json:"password_file,omitempty"`
	// Slow is the time after which a member's answer counts as slow. Zero: never.
	Slow failover.Duration `toml:"slow" json:"slow,omitempty"`
	// Stale is the time after which a member has failed whose newest write does not move, although it is primary or follows one. Zero: a
	// minute. A primary that nobody writes to writes a no-op every ten seconds, unless writePeriodicNoops was turned off.
	Stale failover.Duration `toml:"stale" json:"stale,omitempty"`
}

// Validate reports the first wrong parameter.
func (c *MongoConfig) Validate() error {
	if c.ReplicaSet == "" {
		return badParam("replica_set", "is missing")
	}
	if len(c.Members) == 0 {
		return badParam("members", "is missing; list the members by region")
	}
	for _, r := range sortedKeys(c.Members) {
		for _, m := range c.Members[r] {
			if err := validHostPort("members", m); err != nil {
				return err
			}
		}
	}
	if (c.Username == "") != (c.PasswordFile == "") {
		return badParam("username", "and password_file belong together; give both or neither")
	}
	if c.Stale != 0 && c.Stale.D() < leastStale {
		return badParam("stale", "%s is less than %s: a primary that nobody writes to writes every ten seconds, and would be seen to fail", c.Stale, leastStale)
	}
	return notNegative("slow", c.Slow)
}

// leastStale is two of the times between a primary's no-ops.
const leastStale = 20 * time.Second

// Regions are the regions that have members, sorted.
func (c *MongoConfig) Regions() []failover.Region { return sortedKeys(c.Members) }

func sortedKeys[V any](m map[failover.Region]V) []failover.Region {
	out := make([]failover.Region, 0, len(m))
	for r := range m {
		out = append(out, r)
	}
	slices.Sort(out)
	return out
}

func (c *MongoConfig) hosts(r failover.Region) []string { return hostsOf(c.Members[r]...) }

// mongoProbe asks the region's members, each over its own direct connection, so
// that the driver's opinion of the whole set does not get in between.
type mongoProbe struct {
	cfg     *MongoConfig
	deps    Deps
	members []string
	clients []*mongo.Client
	moves   []movement // of each member; one look at a time
}

// movement is when a member's newest write was last seen to be another one.
type movement struct {
	last  time.Time // by its primary's clock
	since time.Time // by ours; zero: nothing is to be expected of it
}

// still is how long the newest write has not moved, of a member of which that is to be expected.
func (m *movement) still(h hello, now time.Time) time.Duration {
	switch {
	case !h.Writable && (!h.Secondary || h.Primary == ""):
		m.since = time.Time{} // nobody writes
	case m.since.IsZero() || !h.LastWrite.Date.Equal(m.last):
		m.last, m.since = h.LastWrite.Date, now
	default:
		return now.Sub(m.since)
	}
	return 0
}

// New implements Config. The probe has a Close method: the driver's clients
// keep watching their members until then.
func (c *MongoConfig) New(d Deps) (Probe, error) {
	p := &mongoProbe{cfg: c, deps: d, members: c.Members[d.Region]}
	for _, m := range p.members {
		client, err := c.client(d, m)
		if err != nil {
			_ = p.Close()
			return nil, fmt.Errorf("member %s: %w", m, err)
		}
		p.clients = append(p.clients, client)
	}
	p.moves = make([]movement, len(p.clients))
	return p, nil
}

// client connects to one member. Its watch outlives the probe's looks: a member that came back is noticed by it.
func (c *MongoConfig) client(d Deps, member string) (*mongo.Client, error) {
	a := replset.Access{Set: c.ReplicaSet, TLS: c.TLS, CAFile: c.CAFile, Username: c.Username, PasswordFile: c.PasswordFile, Dialer: d.dns()}
	return a.Client(member, cmp.Or(max(0, d.Timeout), time.Second))
}

var _ io.Closer = (*mongoProbe)(nil)

// Close gives the connections back. It waits for nothing.
func (p *mongoProbe) Close() error {
	for _, c := range p.clients {
		replset.Close(c)
	}
	return nil
}

// Probe implements Probe.
func (p *mongoProbe) Probe(ctx context.Context) failover.Observation {
	o := p.deps.observation("mongo", p.cfg.ReplicaSet)
	ctx, cancel := p.deps.within(ctx)
	defer cancel()
	results := make([]result, len(p.clients))
	var wg sync.WaitGroup
	for i, c := range p.clients {
		wg.Go(func() {
			begin := time.Now()
			r := p.ask(ctx, c, &p.moves[i])
			r.target, r.latency = p.members[i], time.Since(begin)
			results[i] = r.slower(p.cfg.Slow.D())
		})
	}
	wg.Wait()
	return fold(o, results)
}

// hello is the part of the answer that tells the member's role.
type hello struct {
	SetName   string `bson:"setName"`
	Writable  bool   `bson:"isWritablePrimary"`
	Secondary bool   `bson:"secondary"`
	Arbiter   bool   `bson:"arbiterOnly"`
	Primary   string `bson:"primary"`
	// LastWrite is when the newest operation that the member has applied was
	// written, by its primary's clock
	// (https://www.mongodb.com/docs/manual/reference/command/hello/).
	LastWrite struct {
		Date time.Time `bson:"lastWriteDate"`
	} `bson:"lastWrite"`
}

func (p *mongoProbe) ask(ctx context.Context, c *mongo.Client, m *movement) result {
	admin := c.Database("admin")
	var h hello
	if err := admin.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&h); err != nil {
		m.since = time.Time{} // what it did meanwhile nobody knows
		return mongoError(err)
	}
	if err := admin.RunCommand(ctx, bson.D{{Key: "ping", Value: 1}}).Err(); err != nil {
		return mongoError(err)
	}
	r := h.role(p.cfg.ReplicaSet)
	if r.outcome != failover.OK {
		m.since = time.Time{}
		return r
	}
	if still := m.still(h, time.Now()); still > orElse(p.cfg.Stale, time.Minute) {
		// It answers a ping, and would be taken for well for days.
		return result{outcome: failover.Failed, reason: failover.ReasonStale, detail: fmt.Sprintf("%s, and its newest write, of %s, has not moved for %s", r.detail, h.LastWrite.Date.UTC().Format(time.RFC3339), still.Round(time.Second))}
	}
	r.lastWrite = h.LastWrite.Date
	return r
}

// role judges a member by what it says of itself.
func (h hello) role(replicaSet string) result {
	switch {
	case h.SetName == "":
		return result{outcome: failover.Slow, reason: failover.ReasonRole, detail: "answers, but is in no replica set yet"}
	case h.SetName != replicaSet:
		return result{outcome: failover.Misconfigured, reason: failover.ReasonConfig, detail: fmt.Sprintf("belongs to replica set %q, not %q", h.SetName, replicaSet)}
	case h.Writable:
		return result{outcome: failover.OK, detail: "is primary"}
	case h.Secondary && h.Primary == "":
		return result{outcome: failover.OK, detail: "is secondary and knows no primary"}
	case h.Secondary:
		return result{outcome: failover.OK, detail: "is secondary of " + h.Primary}
	case h.Arbiter:
		return result{outcome: failover.OK, detail: "is arbiter"}
	}
	return result{outcome: failover.Slow, reason: failover.ReasonRole, detail: "answers, but is neither primary nor secondary"}
}

func mongoError(err error) result {
	var sel topology.ServerSelectionError
	if errors.As(err, &sel) {
		// The selection's own error is a time-out; why the member could not be
		// selected is what its last connection attempt met.
		for _, s := range sel.Desc.Servers {
			if s.LastError != nil {
				err = s.LastError
			}
		}
	}
	if replset.Refused(err) {
		return result{outcome: failover.Misconfigured, reason: failover.ReasonAuth, detail: "does not accept our user"}
	}
	r := result{}
	r.outcome, r.reason = networkError(err)
	if r.reason == failover.ReasonOther && mongo.IsTimeout(err) {
		r.reason = failover.ReasonTimeout
	}
	r.detail = short(err, r.reason)
	return r
}
