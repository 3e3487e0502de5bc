// Package dnsfake is the DNS of the simulated world: the record sets of a hosted zone, the authoritative name servers that
// answer from them with a propagation delay, and a caching recursive resolver that honours TTLs.
package dnsfake

import (
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"time"
)

// RecordSet is one resource record set as Route 53 keeps it: identified by name, type and, in a weighted group, SetID.
type RecordSet struct {
	Name     string   `json:"name"` // lower case, with the trailing dot
	Type     string   `json:"type"`
	TTL      uint32   `json:"ttl,omitempty"` // seconds; an alias has none
	Values   []string `json:"values,omitempty"`
	SetID    string   `json:"setId,omitempty"`
	Weight   int      `json:"weight"` // 0-255; only with SetID
	Alias    string   `json:"alias,omitempty"`
	AliasZ   string   `json:"aliasZone,omitempty"`
	Evaluate bool     `json:"evaluateTargetHealth,omitempty"`
	Check    string   `json:"healthCheckId,omitempty"`
}

// Key identifies a record set in its zone.
func (r RecordSet) Key() string { return r.Name + "|" + r.Type + "|" + r.SetID }

// version is the zone's content from one moment on.
type version struct {
	at   time.Time
	sets []RecordSet
}

// Zone holds a zone's versions. Each name server serves the newest version that has reached it. It is safe for concurrent
// use.
type Zone struct {
	Name     string // with the trailing dot
	AliasTTL uint32 // seconds, of answers made from aliases
	// Healthy tells how a health check stands; nil means that there are none. It is set before the first Lookup and must be
	// safe for concurrent use.
	Healthy func(id string) bool

	mu       sync.Mutex
	versions []version
	delays   []time.Duration // by name server
	rnd      *rand.Rand
}

// NewZone makes a zone with `servers` name servers, the slowest of which follows a change after `propagation`.
func NewZone(name string, servers int, propagation time.Duration, aliasTTL uint32, seed uint64) *Zone {
	z := &Zone{Name: name, AliasTTL: aliasTTL, rnd: rand.New(rand.NewPCG(seed, 2))}
	for i := range servers {
		z.delays = append(z.delays, propagation*time.Duration(i+1)/time.Duration(servers))
	}
	return z
}

// Publish makes sets the zone's content. It returns when every name server will serve it.
func (z *Zone) Publish(sets []RecordSet) (insync time.Time) {
	z.mu.Lock()
	defer z.mu.Unlock()
	now := time.Now()
	at := now
	if len(z.versions) == 0 {
		at = time.Time{} // the first content was always there
	}
	z.versions = append(z.versions, version{at, append([]RecordSet{}, sets...)})
	slowest := z.delays[len(z.delays)-1]
	for len(z.versions) > 1 && z.versions[1].at.Add(slowest).Before(now) {
		z.versions = z.versions[1:]
	}
	return now.Add(slowest)
}

// at returns the content that a name server (from 0) serves now.
func (z *Zone) at(server int) []RecordSet {
	now := time.Now()
	for i := len(z.versions) - 1; i > 0; i-- {
		if !z.versions[i].at.Add(z.delays[server]).After(now) {
			return z.versions[i].sets
		}
	}
	if len(z.versions) == 0 {
		return nil
	}
	return z.versions[0].sets
}

// Answer is what a name server says about one name and type.
type Answer struct {
	Sets   []RecordSet // in the order of the answer section: CNAMEs before what they lead to
	Exists bool        // the name exists, if only with other types or as an empty node above others
	In     bool        // the name is inside the zone
}

// Lookup answers as name server `server` (from 0) would.
func (z *Zone) Lookup(server int, name, typ string) Answer {
	z.mu.Lock()
	defer z.mu.Unlock()
	name = strings.ToLower(name)
	a := Answer{In: name == z.Name || strings.HasSuffix(name, "."+z.Name)}
	sets := z.at(server)
	for _, r := range sets {
		if r.Name == name || strings.HasSuffix(r.Name, "."+name) {
			a.Exists = true
		}
	}
	for range 8 { // bounds CNAME chains
		r, ok := z.pick(sets, name, typ)
		if !ok {
			if r, ok = z.pick(sets, name, "CNAME"); !ok {
				return a
			}
		}
		if r.Alias != "" {
			// An alias answers with the target's records under its own name:
			// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resource-record-sets-choosing-alias-non-alias.html
			target, found := z.pick(sets, fqdn(r.Alias), typ)
			if !found {
				return a
			}
			r.Values, r.TTL = target.Values, z.AliasTTL
		}
		a.Sets = append(a.Sets, r)
		if r.Type != "CNAME" || typ == "CNAME" {
			return a
		}
		name = fqdn(r.Values[0])
	}
	return a
}

// pick chooses one record set of a name and type, as documented in "How Amazon Route 53 chooses records when health checking is
// configured": among weighted ones, those of weight 0 are considered only when all others are unhealthy; when all are
// unhealthy, all count as healthy. What is left is chosen with probability weight/sum, and with equal probability if all its
// weights are zero.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/health-checks-how-route-53-chooses-records.html
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resource-record-sets-values-weighted.html
func (z *Zone) pick(sets []RecordSet, name, typ string) (RecordSet, bool) {
	var some, none []RecordSet // with a weight, and without
	for _, r := range sets {
		if r.Name != name || r.Type != typ {
			continue
		}
		if r.Weight > 0 {
			some = append(some, r)
		} else {
			none = append(none, r)
		}
	}
	for _, group := range [][]RecordSet{z.well(sets, some), z.well(sets, none), some, none} {
		if len(group) > 0 {
			return z.draw(group), true
		}
	}
	return RecordSet{}, false
}

// draw chooses by weight.
func (z *Zone) draw(group []RecordSet) RecordSet {
	sum := 0
	for _, r := range group {
		sum += r.Weight
	}
	if sum == 0 {
		return group[z.rnd.IntN(len(group))]
	}
	n := z.rnd.IntN(sum)
	for _, r := range group {
		if n -= r.Weight; n < 0 {
			return r
		}
	}
	return group[len(group)-1]
}

// well keeps the healthy ones.
func (z *Zone) well(sets, group []RecordSet) (out []RecordSet) {
	for _, r := range group {
		if z.healthy(sets, r, 0) {
			out = append(out, r)
		}
	}
	return out
}

// healthy tells whether a record set may be answered: its health check is, and what it is an alias of, if it evaluates that.
// "If you don't associate a health check with a record, Route 53 considers it healthy." An alias that refers to a group of
// records is healthy when one of them is.
func (z *Zone) healthy(sets []RecordSet, r RecordSet, depth int) bool {
	if r.Check != "" && z.Healthy != nil && !z.Healthy(r.Check) {
		return false
	}
	if r.Alias == "" || !r.Evaluate || depth > 8 {
		return true
	}
	found := false
	for _, t := range sets {
		if t.Name != fqdn(r.Alias) || t.Type != r.Type {
			continue
		}
		if found = true; z.healthy(sets, t, depth+1) {
			return true
		}
	}
	return !found
}

// Sort puts record sets into the order in which Route 53 lists them: names by reversed labels, then type, then set ID.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListResourceRecordSets.html
func Sort(sets []RecordSet) {
	sort.Slice(sets, func(i, j int) bool { return sortKey(sets[i]) < sortKey(sets[j]) })
}

func sortKey(r RecordSet) string { return ListKey(r.Name, r.Type, r.SetID) }

// ListKey orders record sets as Sort does; it positions a page of a listing.
func ListKey(name, typ, setID string) string {
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	for i, j := 0, len(labels)-1; i < j; i, j = i+1, j-1 {
		labels[i], labels[j] = labels[j], labels[i]
	}
	return strings.Join(labels, "\x01") + "\x00" + typ + "\x00" + setID
}

// FQDN normalises a name: lower case, with the trailing dot.
func FQDN(name string) string { return fqdn(name) }

func fqdn(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") + "." }
