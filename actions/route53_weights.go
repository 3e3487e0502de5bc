package actions

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// Route53WeightsConfig moves weighted records from one region to the other in
// one atomic batch.
type Route53WeightsConfig struct {
	Zone string `toml:"zone" json:"zone"` // the hosted zone's ID
	// Names are the weighted names. All their record types move together.
	Names []string `toml:"names" json:"names"`
	// Token is the name of the TXT record that holds the fencing token.
	Token string `toml:"token" json:"token"`
	// Identifiers are the records' SetIdentifier by region, where it does not
	// contain the region's name.
	Identifiers map[failover.Region]string `toml:"identifiers" json:"identifiers,omitempty"`
}

// Validate implements Config.
func (c *Route53WeightsConfig) Validate(role Role) error {
	switch {
	case role == RoleStop || role == RoleStart:
		return badParam("zone", "moves clients and can only stand under traffic.switch")
	case c.Zone == "":
		return badParam("zone", "is missing")
	case len(c.Names) == 0:
		return badParam("names", "is empty; list every weighted name that clients use")
	case c.Token == "":
		return badParam("token", "is missing; name a TXT record in the zone that nothing else uses")
	}
	for i, n := range c.Names {
		if n == "" || strings.ContainsAny(n, " /:") {
			return badParam("names", "%q is not a DNS name", n)
		}
		if slices.Contains(c.Names[:i], n) {
			return badParam("names", "%q is listed twice", n)
		}
		if n == c.Token {
			return badParam("token", "%q is also a name that clients use", n)
		}
	}
	return nil
}

// Version implements Config.
func (c *Route53WeightsConfig) Version() int { return 1 }

// Latches says that what it has moved stays moved without any node.
func (c *Route53WeightsConfig) Latches() {}

// Inherit takes what [traffic] says for all switches, where the kind says nothing.
func (c *Route53WeightsConfig) Inherit(t Shared) {
	c.Zone, c.Names = cmp.Or(c.Zone, t.Zone), inherited(c.Names, t.Names)
}

// HoldsToken says that the records are written together with a token.
func (c *Route53WeightsConfig) HoldsToken() {}

// Timeout implements Config. Route 53 is usually in sync within a minute, and
// may have to be asked again for an hour when its control plane is impaired.
func (c *Route53WeightsConfig) Timeout() time.Duration { return 10 * time.Minute }

// regionOf says which of the service's regions a record belongs to, by its
// SetIdentifier; "" if it is neither's.
func (c *Route53WeightsConfig) regionOf(identifier string, regions []failover.Region) failover.Region {
	var found failover.Region
	for _, r := range regions {
		if id, ok := c.Identifiers[r]; ok {
			if id == identifier {
				return r
			}
		} else if strings.Contains(identifier, string(r)) && len(r) > len(found) {
			found = r // the longest wins, so that us-east-10 is not us-east-1
		}
	}
	return found
}
