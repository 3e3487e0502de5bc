package mongotest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Config is a replica set configuration. Term is -1 after a forced reconfiguration.
type Config struct {
	Set     string `bson:"set"`
	Version int64  `bson:"version"`
	Term    int64  `bson:"term"`
	Members []MemberConfig
	ID      bson.ObjectID // settings.replicaSetId
	// Settings are the other settings that somebody has written. The zero value: none.
	Settings bson.D
}

// MemberConfig is one member of a Config.
type MemberConfig struct {
	ID       int32
	Host     string
	Priority float64
	Votes    int32
	Hidden   bool
	Arbiter  bool  // of priority 0
	Delay    int64 // seconds
	Tags     bson.D
}

// newer orders configurations: by term and version, and if a forced one (term -1) is on either side, by version alone
// (ConfigVersionAndTerm in the server's repl_set_config.h).
func newer(a, b *Config) bool {
	if a == nil || b == nil {
		return a != nil
	}
	if a.Term == -1 || b.Term == -1 || a.Term == b.Term {
		return a.Version > b.Version
	}
	return a.Term > b.Term
}

func (c *Config) member(host string) *MemberConfig {
	if c == nil {
		return nil
	}
	for i := range c.Members {
		if c.Members[i].Host == host {
			return &c.Members[i]
		}
	}
	return nil
}

func (c *Config) majority() int {
	v := 0
	for _, m := range c.Members {
		v += int(m.Votes)
	}
	return v/2 + 1
}

// implicitMajority reports whether the default write concern is a majority's where nobody has set it.
func (c *Config) implicitMajority() bool {
	voters, arbiters := 0, 0
	for _, m := range c.Members {
		voters += int(m.Votes)
		if m.Arbiter {
			arbiters++
		}
	}
	return arbiters == 0 || voters-arbiters > c.majority()
}

// doc renders the configuration as replSetGetConfig does.
func (c *Config) doc(electionTimeout time.Duration) bson.D {
	ms := bson.A{}
	for _, m := range c.Members {
		ms = append(ms, bson.D{{Key: "_id", Value: m.ID}, {Key: "host", Value: m.Host}, {Key: "arbiterOnly", Value: m.Arbiter}, {Key: "buildIndexes", Value: true},
			{Key: "hidden", Value: m.Hidden}, {Key: "priority", Value: m.Priority}, {Key: "tags", Value: append(bson.D{}, m.Tags...)}, {Key: "slaveDelay", Value: m.Delay}, {Key: "votes", Value: m.Votes}})
	}
	settings := bson.D{{Key: "chainingAllowed", Value: true}, {Key: "heartbeatIntervalMillis", Value: int32(2000)}, {Key: "heartbeatTimeoutSecs", Value: int32(10)},
		{Key: "electionTimeoutMillis", Value: int32(electionTimeout.Milliseconds())}, {Key: "catchUpTimeoutMillis", Value: int32(-1)}, {Key: "replicaSetId", Value: c.ID}}
	for _, e := range c.Settings {
		settings = put(settings, e.Key, e.Value)
	}
	d := bson.D{{Key: "_id", Value: c.Set}, {Key: "version", Value: int32(c.Version)}}
	if c.Term != -1 {
		d = append(d, bson.E{Key: "term", Value: c.Term})
	}
	return append(d, bson.E{Key: "members", Value: ms}, bson.E{Key: "protocolVersion", Value: int64(1)}, bson.E{Key: "writeConcernMajorityJournalDefault", Value: true},
		bson.E{Key: "settings", Value: settings})
}

// put sets a field of a document.
func put(d bson.D, key string, value any) bson.D {
	for i := range d {
		if d[i].Key == key {
			d[i].Value = value
			return d
		}
	}
	return append(d, bson.E{Key: key, Value: value})
}

func parseConfig(d bson.D) (*Config, error) {
	c := &Config{Version: int64(number(d, "version", 1)), Term: int64(number(d, "term", 0))}
	c.Set, _ = get(d, "_id").(string)
	list, ok := get(d, "members").(bson.A)
	if !ok || len(list) == 0 {
		return nil, fmt.Errorf("the configuration has no members")
	}
	for _, x := range list {
		m, ok := x.(bson.D)
		if !ok {
			return nil, fmt.Errorf("a member of the configuration is not a document")
		}
		host, _ := get(m, "host").(string)
		tags, _ := get(m, "tags").(bson.D)
		c.Members = append(c.Members, MemberConfig{ID: int32(number(m, "_id", 0)), Host: host, Priority: number(m, "priority", 1), Votes: int32(number(m, "votes", 1)),
			Hidden: number(m, "hidden", 0) == 1, Arbiter: number(m, "arbiterOnly", 0) == 1, Delay: int64(number(m, "slaveDelay", number(m, "secondaryDelaySecs", 0))), Tags: tags})
	}
	c.Settings, _ = get(d, "settings").(bson.D)
	c.ID, _ = get(c.Settings, "replicaSetId").(bson.ObjectID)
	return c, nil
}

// reconfig validates and installs a new configuration; m.mu is held, and given up while other members are waited for. The
// codes and their order are those of a real 4.4.
func (m *Member) reconfig(d bson.D, force bool) bson.D {
	if !m.configured() {
		return fail(94, "NotYetInitialized", "no replset config has been received")
	}
	if m.reconfiguring {
		return fail(109, "ConfigurationInProgress", "Cannot run replSetReconfig because the node is currently updating its configuration")
	}
	m.reconfiguring = true
	defer func() { m.reconfiguring = false }()
	if !force && m.state != primary {
		return fail(10107, "NotWritablePrimary", "New config is rejected :: caused by :: replSetReconfig should only be run on a writable PRIMARY. Current state "+stateNames[m.state]+";")
	}
	c, err := parseConfig(d)
	if err != nil || c.Set != m.cfg.Set {
		return fail(93, "InvalidReplicaSetConfig", fmt.Sprintf("New and old configurations differ in the set name, or the new one is unreadable (%v)", err))
	}
	if c.ID.IsZero() {
		c.ID = m.cfg.ID
	}
	if c.ID != m.cfg.ID {
		return fail(103, "NewReplicaSetConfigurationIncompatible", "New and old configurations differ in replica set ID")
	}
	c.Term = m.term
	if force { // the random part keeps the two sides of a partition from choosing the same version
		c.Term, c.Version = -1, max(c.Version, m.cfg.Version)+10000+rand.Int64N(100000)
	}
	incompatible := func(why string) bson.D { return fail(103, "NewReplicaSetConfigurationIncompatible", why) }
	electable, voters, voting := 0, 0, 0
	for _, n := range c.Members {
		switch {
		case n.Priority > 0 && n.Votes == 0:
			return incompatible("priority must be 0 when non-voting (votes:0)")
		case n.Priority > 0 && n.Hidden:
			return incompatible("priority must be 0 when hidden=true")
		case n.Priority > 0 && n.Delay > 0:
			return incompatible("priority must be 0 when slaveDelay is used")
		}
		voting += int(n.Votes)
		if n.Priority > 0 {
			electable++
		}
		old := m.cfg.member(n.Host)
		if old != nil && old.ID != n.ID {
			return incompatible("the _id of member " + n.Host + " changed")
		}
		if (old == nil || old.Votes == 0) && n.Votes == 1 {
			voters++
		}
	}
	for _, old := range m.cfg.Members {
		if n := c.member(old.Host); old.Votes == 1 && (n == nil || n.Votes == 0) {
			voters++
		}
	}
	self := c.member(m.host)
	switch {
	case !newer(c, m.cfg):
		return incompatible(fmt.Sprintf("New replica set configuration version and term must be greater than old, but {version: %d, term: %d} is not greater than {version: %d, term: %d}", c.Version, c.Term, m.cfg.Version, m.cfg.Term))
	case voting == 0:
		return incompatible("Replica set configuration contains 0 voting members, but must be at least 1 and no more than 7")
	case electable == 0:
		return incompatible("Replica set configuration must contain at least one non-arbiter member with priority > 0")
	case !force && voters > 1:
		return incompatible("Non force replica set reconfig can only add or remove at most 1 voting member.")
	case self == nil:
		return fail(74, "NodeNotFound", "No host described in new configuration maps to this node")
	case m.opt.Implicit() && m.defaults() == nil && c.implicitMajority() != m.cfg.implicitMajority(): // also by force
		return incompatible("Reconfig attempted to install a config that would change the implicit default write concern. Use the setDefaultRWConcern command to set a cluster-wide write concern and try the reconfig again.")
	case !force && self.Priority == 0:
		return fail(104, "NodeNotElectable", "This node, "+m.host+", is not electable under the new configuration")
	}
	ok := bson.D{{Key: "ok", Value: 1.0}}
	if force {
		m.findSelf(c)
		if !newer(c, m.cfg) { // one came by heartbeat
			return incompatible("another configuration came meanwhile")
		}
		m.install(c)
		return ok
	}
	if m.findSelf(c); m.state != primary || !newer(c, m.cfg) {
		return fail(10107, "NotWritablePrimary", "stepped down while the configuration was looked at")
	}
	m.install(c)
	for deadline := time.Now().Add(4 * m.opt.ElectionTimeout); m.spread(c) < c.majority(); {
		if time.Now().After(deadline) || m.state != primary {
			return fail(11602, "InterruptedDueToReplStateChange", "Reconfig finished but failed to propagate to a majority")
		}
		m.pause()
	}
	return ok
}

// findSelf is what a reconfiguration does before it is applied: it connects to every member that is listed, to see which
// of them it is itself, and gives up after 30 s at each that does not answer (three election time-outs here). m.mu is held.
func (m *Member) findSelf(c *Config) {
	m.mu.Unlock()
	defer m.mu.Lock()
	for _, n := range c.Members {
		if n.Host == m.host {
			continue
		}
		if m.opt.Cut(n.Host) {
			time.Sleep(3 * m.opt.ElectionTimeout)
			continue
		}
		if conn, err := net.DialTimeout("tcp", n.Host, 3*m.opt.ElectionTimeout); err == nil {
			conn.Close()
		}
	}
}

// spread counts the votes of the members that have a configuration.
func (m *Member) spread(c *Config) int {
	n := 0
	for _, x := range c.Members {
		if v := m.peer(x.Host); x.Host == m.host || v.cfg != nil && !newer(c, v.cfg) {
			n += int(x.Votes)
		}
	}
	return n
}

// pause lets others in for a moment. m.mu is held.
func (m *Member) pause() {
	m.mu.Unlock()
	time.Sleep(2 * time.Millisecond)
	m.mu.Lock()
}
