package replset

import (
	"fmt"
	"strings"
	"time"
)

// Forced is the newest forced promotion that was begun, as somebody remembers it who was there: the set itself remembers it only where it arrived. Those
// that were left behind have a configuration of their own, elect by it and look well.
type Forced struct {
	// Floor is the lowest version that its configuration can have: whatever is below was left behind.
	Floor int64
	// Hosts are the members that were to go on, as the configuration names them.
	Hosts []string
	At    time.Time
	// Set is the set's identity (settings.replicaSetId); of another one it says nothing. Empty: of any.
	Set string
}

// ForcedFrom is what a forced promotion of hosts from a configuration leaves to be remembered.
func ForcedFrom(version int64, set string, hosts []string, at time.Time) *Forced {
	return &Forced{Floor: version + forcedBy, Hosts: hosts, At: at, Set: set}
}

// of is f where it speaks of the set of a configuration.
func (f *Forced) of(c *Config) *Forced {
	if f == nil || c == nil || f.Set != "" && f.Set != c.ID() {
		return nil
	}
	return f
}

// newer orders configurations as Config.Newer does, among those that are on the same side of a forced promotion. It does not follow the members there:
// after a forced promotion and an ordinary reconfiguration terms count again, and a side that was left behind may have held more elections.
func (f *Forced) newer(a, b *Config) bool {
	if f = f.of(b); f != nil && a != nil && (a.Version >= f.Floor) != (b.Version >= f.Floor) {
		return a.Version >= f.Floor
	}
	return a.Newer(b)
}

// left reports whether a version was left behind by one that was not.
func (f *Forced) left(version, by int64) bool {
	return f != nil && version > 0 && version < f.Floor && by >= f.Floor
}

// missing says that the newest configuration that anybody has was left behind by a promotion of which nobody answers that took part in it; "" if not, or if
// those that answer show that it cannot have come to pass.
func (f *Forced) missing(newest *Config, views []View) string {
	if f = f.of(newest); f == nil || newest.Version >= f.Floor {
		return ""
	}
	without := 0 // of its members, those that answer and do not have it
	for _, h := range f.Hosts {
		for _, v := range views {
			if v.name() == h && v.Config != nil {
				without++
				break
			}
		}
	}
	if len(f.Hosts)-without < len(f.Hosts)/2+1 { // the others are no majority, and have acknowledged nothing
		return ""
	}
	who := strings.Join(f.Hosts, ", ")
	return fmt.Sprintf("a forced promotion of %s was begun at %s, and whoever answers now has an older configuration (%d, and that one is at least %d): it was left behind then, and lacks what was written since. Start %s and let it answer; or write allow = [\"left-behind\"], which gives up what only %s has",
		who, f.At.UTC().Format(time.RFC3339), newest.Version, f.Floor, who, who)
}
