package awsfake

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/lab/checkers"
	"github.com/failoverd/failoverd/lab/dnsfake"
)

// Change is one entry of a change batch, in the zone's history.
type Change struct {
	Action string            `json:"action"`
	Set    dnsfake.RecordSet `json:"set"`
}

// Batch is an accepted change batch: the world's record of who moved the traffic, and when.
type Batch struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at"`
	InSync    time.Time `json:"inSync"`
	AccessKey string    `json:"accessKey"`
	Session   string    `json:"session,omitempty"`
	From      string    `json:"from"`
	Comment   string    `json:"comment,omitempty"`
	Changes   []Change  `json:"changes"`
}

// Route53 imitates the control plane of one hosted zone. It is safe for concurrent use.
type Route53 struct {
	zoneID  string
	servers []string // names of the delegation set
	zone    *dnsfake.Zone
	checks  *checkers.Set

	mu      sync.Mutex
	sets    map[string]dnsfake.RecordSet // by Key
	health  map[string]*HealthCheck
	history []Batch
	tokens  float64 // of the request rate limit
	filled  time.Time
}

// NewRoute53 makes the control plane for a zone and publishes its first content.
func NewRoute53(zoneID string, servers []string, zone *dnsfake.Zone, checks *checkers.Set, sets []dnsfake.RecordSet) *Route53 {
	r := &Route53{zoneID: zoneID, servers: servers, zone: zone, checks: checks, health: map[string]*HealthCheck{}, sets: map[string]dnsfake.RecordSet{}, tokens: 50, filled: time.Now()}
	for _, s := range sets {
		r.sets[s.Key()] = s
	}
	zone.Publish(r.list())
	return r
}

// History returns the accepted batches, oldest first.
func (r *Route53) History() []Batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Batch{}, r.history...)
}

// Sets returns the zone's record sets as the control plane knows them.
func (r *Route53) Sets() []dnsfake.RecordSet {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list()
}

func (r *Route53) list() []dnsfake.RecordSet {
	out := make([]dnsfake.RecordSet, 0, len(r.sets))
	for _, s := range r.sets {
		out = append(out, s)
	}
	dnsfake.Sort(out)
	return out
}

// throttled takes a token from the account's bucket, 10 per second and a burst of 50, over all operations:
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DNSLimitations.html#limits-api-requests
func (r *Route53) throttled() bool {
	now := time.Now()
	r.tokens = min(50, r.tokens+10*now.Sub(r.filled).Seconds())
	r.filled = now
	if r.tokens < 1 {
		return true
	}
	r.tokens--
	return false
}

func describe(s dnsfake.RecordSet) string {
	if s.SetID != "" {
		return fmt.Sprintf("[name='%s', type='%s', set-identifier='%s']", s.Name, s.Type, s.SetID)
	}
	return fmt.Sprintf("[name='%s', type='%s']", s.Name, s.Type)
}

// apply makes a batch of changes or none: "either all the changes are made, or none".
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeResourceRecordSets.html
func (r *Route53) apply(b Batch) (Batch, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := map[string]dnsfake.RecordSet{}
	for k, s := range r.sets {
		next[k] = s
	}
	var wrong []string
	var touched []dnsfake.RecordSet
	for _, c := range b.Changes {
		s := c.Set
		old, exists := next[s.Key()]
		if msg := r.valid(s); msg != "" {
			return Batch{}, badRequest("InvalidInput", "%s", msg)
		}
		if s.Name != r.zone.Name && !strings.HasSuffix(s.Name, "."+r.zone.Name) {
			wrong = append(wrong, fmt.Sprintf("RRSet with DNS name %s is not permitted in zone %s", s.Name, r.zone.Name))
			continue
		}
		switch c.Action {
		case "CREATE":
			if exists {
				wrong = append(wrong, "Tried to create resource record set "+describe(s)+" but it already exists")
				continue
			}
			next[s.Key()] = s
			touched = append(touched, s)
		case "UPSERT":
			next[s.Key()] = s
			touched = append(touched, s)
		case "DELETE":
			switch {
			case !exists:
				wrong = append(wrong, "Tried to delete resource record set "+describe(s)+" but it was not found")
			case !same(old, s):
				wrong = append(wrong, "Tried to delete resource record set "+describe(s)+" but the values provided do not match the current values")
			default:
				delete(next, s.Key())
			}
		default:
			return Batch{}, badRequest("InvalidInput", "Invalid XML ; cvc-enumeration-valid: Value '%s' is not facet-valid with respect to enumeration '[CREATE, DELETE, UPSERT]'.", c.Action)
		}
	}
	for _, s := range touched {
		wrong = append(wrong, conflicts(s, next, r.zone.Name)...)
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return Batch{}, badRequest("InvalidChangeBatch", "%s", "["+strings.Join(slices.Compact(wrong), ", ")+"]")
	}
	r.sets = next
	b.ID, b.At = "C"+strings.ToUpper(id(10)), time.Now()
	b.InSync = r.zone.Publish(r.list())
	r.history = append(r.history, b)
	return b, nil
}

// valid checks one record set by itself.
func (r *Route53) valid(s dnsfake.RecordSet) string {
	switch {
	case s.Weight < 0:
		return fmt.Sprintf("Invalid XML ; cvc-minInclusive-valid: Value '%d' is not facet-valid with respect to minInclusive '0' for type 'ResourceRecordSetWeight'.", s.Weight)
	case s.Weight > 255:
		return fmt.Sprintf("Invalid XML ; cvc-maxInclusive-valid: Value '%d' is not facet-valid with respect to maxInclusive '255' for type 'ResourceRecordSetWeight'.", s.Weight)
	case s.Alias == "" && len(s.Values) == 0:
		return "Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords], or TrafficPolicyInstanceId], but found none in Change with [Action, Name=" + s.Name + ", Type=" + s.Type + ", SetIdentifier=" + s.SetID + "]"
	}
	return ""
}

// conflicts checks a changed record set against the others of the new content.
func conflicts(s dnsfake.RecordSet, all map[string]dnsfake.RecordSet, zone string) (wrong []string) {
	if _, there := all[s.Key()]; !there {
		return nil // deleted again later in the batch
	}
	for k, o := range all {
		if k == s.Key() || o.Name != s.Name {
			continue
		}
		switch {
		case o.Type != s.Type && (o.Type == "CNAME" || s.Type == "CNAME"):
			wrong = append(wrong, fmt.Sprintf("RRSet of type %s with DNS name %s is not permitted because a conflicting RRSet of type %s with the same DNS name already exists in zone %s.", s.Type, s.Name, o.Type, zone))
		case o.Type != s.Type:
		case (o.SetID == "") != (s.SetID == ""):
			wrong = append(wrong, fmt.Sprintf("RRSet with DNS name %s, type %s, SetIdentifier %s cannot be created as other RRSets exist with the same name and type.", s.Name, s.Type, s.SetID))
		case o.Alias == "" && s.Alias == "" && o.TTL != s.TTL:
			// "all of the resource record sets in this group must have the same TTL":
			// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ResourceRecordSet.html
			wrong = append(wrong, fmt.Sprintf("RRSet with DNS name %s, type %s, SetIdentifier %s cannot be created as weighted sets must contain the same TTL.", s.Name, s.Type, s.SetID))
		}
	}
	return wrong
}

// same tells whether a DELETE names the current record set exactly; the order of values does not matter.
func same(a, b dnsfake.RecordSet) bool {
	va, vb := slices.Sorted(slices.Values(a.Values)), slices.Sorted(slices.Values(b.Values))
	return a.TTL == b.TTL && a.Weight == b.Weight && a.Alias == b.Alias && a.AliasZ == b.AliasZ && a.Evaluate == b.Evaluate &&
		a.Check == b.Check && slices.Equal(va, vb)
}
