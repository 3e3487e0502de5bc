package replset

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Config is a replica set's configuration: what is read of it, and the document as the server gave it.
type Config struct {
	Set     string
	Version int64
	// Term is -1 after a forced reconfiguration, which has none.
	Term    int64
	Members []Member
	doc     bson.D
}

// Member is one of a configuration.
type Member struct {
	ID       int32
	Host     string
	Votes    int32
	Priority float64
	Hidden   bool
	Delay    int64 // seconds
	Arbiter  bool
	// Indexed is false of a member that builds no indexes; it can never be primary.
	Indexed bool
	doc     bson.D
}

// Bearing reports whether the member holds data and may become primary once its entry allows it.
func (m Member) Bearing() bool { return !m.Arbiter && m.Indexed }

// electable reports whether the member may be elected as its entry is.
func (m Member) electable() bool { return m.Votes > 0 && m.Priority > 0 && m.Bearing() }

// movable reports whether nothing but its priority keeps the member from being primary.
func (m Member) movable() bool { return m.Votes > 0 && !m.Hidden && m.Delay == 0 && m.Bearing() }

func readConfig(d bson.D) (*Config, error) {
	c := &Config{doc: d, Version: int64(num(d, "version", 0)), Term: int64(num(d, "term", -1))}
	c.Set, _ = val(d, "_id").(string)
	members, _ := val(d, "members").(bson.A)
	for _, x := range members {
		m, ok := x.(bson.D)
		host, named := val(m, "host").(string)
		if !ok || !named {
			return nil, fmt.Errorf("the configuration of %q has a member without a host", c.Set)
		}
		c.Members = append(c.Members, Member{
			ID: int32(num(m, "_id", 0)), Host: host, Votes: int32(num(m, "votes", 1)), Priority: num(m, "priority", 1), Hidden: num(m, "hidden", 0) == 1,
			Delay:   int64(num(m, "secondaryDelaySecs", num(m, "slaveDelay", 0))), // the name until 4.4
			Arbiter: num(m, "arbiterOnly", 0) == 1, Indexed: num(m, "buildIndexes", 1) == 1, doc: m,
		})
	}
	if c.Set == "" || len(c.Members) == 0 {
		return nil, fmt.Errorf("the configuration names no set or no members: %v", d)
	}
	return c, nil
}

// Newer orders configurations as members do: by term and version, and by version alone if one of them was forced
// (ConfigVersionAndTerm in the server's repl_set_config.h).
func (c *Config) Newer(than *Config) bool {
	switch {
	case than == nil:
		return c != nil
	case c == nil:
		return false
	case c.Term == -1 || than.Term == -1 || c.Term == than.Term:
		return c.Version > than.Version
	}
	return c.Term > than.Term
}

// Member is the one with a host; nil if there is none.
func (c *Config) Member(host string) *Member {
	if c == nil {
		return nil
	}
	i := slices.IndexFunc(c.Members, func(m Member) bool { return m.Host == host })
	if i < 0 {
		return nil
	}
	return &c.Members[i]
}

// ID is what tells the set from every other one, also of the same name; "" where it does not say.
func (c *Config) ID() string {
	settings, _ := val(c.doc, "settings").(bson.D)
	switch id := val(settings, "replicaSetId").(type) {
	case bson.ObjectID:
		return id.Hex()
	case string:
		return id
	}
	return ""
}

// sharesWith reports whether a member stands in both configurations, or nobody says what one of them is.
func (c *Config) sharesWith(other *Config) bool {
	return c == nil || other == nil || slices.ContainsFunc(c.Members, func(m Member) bool { return other.Member(m.Host) != nil })
}

// election is the time-out after which members elect a new primary.
func (c *Config) election() time.Duration {
	settings, _ := val(c.doc, "settings").(bson.D)
	return time.Duration(num(settings, "electionTimeoutMillis", 10_000)) * time.Millisecond
}

// chained reports whether a secondary may copy from another one.
func (c *Config) chained() bool {
	settings, _ := val(c.doc, "settings").(bson.D)
	return num(settings, "chainingAllowed", 1) == 1
}

// Majority is how many votes elect a primary.
func (c *Config) Majority() int {
	n := 0
	for _, m := range c.Members {
		n += int(m.Votes)
	}
	return n/2 + 1
}

// votes counts those of the members that ok names.
func (c *Config) votes(ok func(host string) bool) int {
	n := 0
	for _, m := range c.Members {
		if ok(m.Host) {
			n += int(m.Votes)
		}
	}
	return n
}

// arbiters counts the members that vote and hold nothing.
func (c *Config) arbiters() (n int) {
	for _, m := range c.Members {
		if m.Arbiter {
			n++
		}
	}
	return n
}

// waits reports whether the default write concern of such a set is a majority's where nobody has set it, and one member's otherwise
// (https://www.mongodb.com/docs/manual/reference/mongodb-defaults/).
func (c *Config) waits() bool {
	arbiters := c.arbiters()
	return arbiters == 0 || c.votes(func(string) bool { return true })-arbiters > c.Majority()
}

// Forced is the configuration with which the members in keep go on alone. The others are dropped: kept as members without a
// vote they made the survivor roll its own writes back, or diverged from it in silence. Entries are built from scratch, since
// one that is hidden, delayed or of priority 0 can never be primary; their number, host, tags and horizons stay, and so do the set's settings.
func (c *Config) Forced(keep []string) bson.D {
	members := bson.A{}
	for _, m := range c.Members {
		if !slices.Contains(keep, m.Host) {
			continue
		}
		e := bson.D{{Key: "_id", Value: m.ID}, {Key: "host", Value: m.Host}, {Key: "votes", Value: 1}, {Key: "priority", Value: 1}}
		for _, kept := range []string{"tags", "horizons"} {
			if v := val(m.doc, kept); v != nil {
				e = append(e, bson.E{Key: kept, Value: v})
			}
		}
		members = append(members, e)
	}
	return c.with(members)
}

// Preferred is the configuration with which one of the members in of is primary as soon as it has caught up: their priorities
// are above all others, in the order in which they stood. Nil if that is so already.
func (c *Config) Preferred(of []string) bson.D {
	others := 0.0
	var raised []Member // in the order in which they stood
	for _, m := range c.Members {
		if !slices.Contains(of, m.Host) {
			others = max(others, m.Priority)
		} else if m.movable() {
			raised = append(raised, m)
		}
	}
	slices.SortStableFunc(raised, func(a, b Member) int { return cmp.Compare(a.Priority, b.Priority) })
	if len(raised) == 0 || raised[0].Priority > others {
		return nil
	}
	scale := 1.0 // the highest priority is 1000
	if others+float64(len(raised)) > highest {
		scale = (highest - float64(len(raised))) / others
	}
	members := bson.A{}
	for _, m := range c.Members {
		d := slices.Clone(m.doc)
		if i := slices.IndexFunc(raised, func(r Member) bool { return r.Host == m.Host }); i >= 0 {
			d = set(d, "priority", others*scale+float64(i+1))
		} else if scale < 1 {
			d = set(d, "priority", m.Priority*scale)
		}
		members = append(members, d)
	}
	return c.with(members)
}

// highest is the highest priority that a member may have.
const highest = 1000

// with is the configuration with other members, and the next version.
func (c *Config) with(members bson.A) bson.D {
	var out bson.D
	for _, e := range c.doc {
		switch e.Key {
		case "members":
			e.Value = members
		case "version":
			e.Value = c.Version + 1
		case "term":
			continue // the server sets it
		}
		out = append(out, e)
	}
	return out
}

func val(d bson.D, key string) any {
	for _, e := range d {
		if e.Key == key {
			return e.Value
		}
	}
	return nil
}

func set(d bson.D, key string, value any) bson.D {
	for i := range d {
		if d[i].Key == key {
			d[i].Value = value
			return d
		}
	}
	return append(d, bson.E{Key: key, Value: value})
}

func num(d bson.D, key string, missing float64) float64 {
	switch x := val(d, key).(type) {
	case int32:
		return float64(x)
	case int64:
		return float64(x)
	case float64:
		return x
	case bool:
		if x {
			return 1
		}
		return 0
	}
	return missing
}
