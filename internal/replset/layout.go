package replset

import (
	"fmt"
	"strings"
)

// layout says of a set that is well which region alone can take its majority along, and how it is laid out so that none can.
func (f *Finding) layout(region string, views []View) {
	if f.Way != Move {
		return
	}
	in := map[string]string{} // the region of each member that has one
	for _, v := range views {
		if v.Region != "" {
			in[v.name()] = v.Region
		}
	}
	for _, m := range f.Config.Members {
		r := in[m.Host]
		left := f.Config.votes(func(h string) bool { return in[h] != r })
		if r == "" || r == region || left >= f.Config.Majority() {
			continue
		}
		f.Detail += fmt.Sprintf("; once %s is gone, %d of %d votes are left and it takes force: a member in a third region spares that (docs/mongodb.md, layouts)", r, left, f.Config.votes(func(string) bool { return true }))
		if c, ok := f.spread(r, region, in); ok {
			f.Advice = "on a quiet day, on " + f.Primary + " and one step at a time: " + c.commands(f.Config)
		}
		return
	}
}

// change is how a set is laid out anew: each member that is added votes, and holds data.
type change struct {
	third  bool   // a member in a third region is added
	here   bool   // and one in the region that is entered
	remove string // a member of the region with the majority that leaves the set; "": none
}

// spread finds the smallest change after which a majority of the votes is left without any one region: of the region full, which can take it
// along, or of entered, or of a third one.
func (f *Finding) spread(full, entered string, in map[string]string) (change, bool) {
	changes := []change{{third: true}}
	if m := f.spare(full, in); m != "" {
		changes = append(changes, change{third: true, remove: m})
	}
	for _, c := range append(changes, change{third: true, here: true}) {
		votes := map[string]int{}
		for _, m := range f.Config.Members {
			if m.Host != c.remove {
				votes[in[m.Host]] += int(m.Votes) // what stands in no region of ours counts as one place
			}
		}
		if c.third {
			votes[""]++
		}
		if c.here {
			votes[entered]++
		}
		if resilient(votes) {
			return c, true
		}
	}
	return change{}, false
}

// resilient reports whether a majority of the votes is left without any one place.
func resilient(votes map[string]int) bool {
	all := 0
	for _, n := range votes {
		all += n
	}
	for _, n := range votes {
		if all-n < all/2+1 {
			return false
		}
	}
	return true
}

// spare is the member of a region that the set misses least: it votes, does not lead, and has the lowest priority. "": there is none.
func (f *Finding) spare(region string, in map[string]string) (host string) {
	lowest, more := 0.0, 0
	for _, m := range f.Config.Members {
		if in[m.Host] != region || m.Votes == 0 {
			continue
		}
		more++
		if m.Host != f.Primary && (host == "" || m.Priority < lowest) {
			host, lowest = m.Host, m.Priority
		}
	}
	if more < 2 {
		return ""
	}
	return host
}

// commands are what is typed into mongosh. A member gets its vote when it has its data, and a third region leads only while both others are
// away: its priority is below all that can lead.
func (c change) commands(now *Config) string {
	third := 1.0
	for _, m := range now.Members {
		if m.electable() {
			third = min(third, m.Priority/2)
		}
	}
	var steps []string
	add := func(host string, priority float64) {
		steps = append(steps, fmt.Sprintf(`rs.add({host: "%s:27017", votes: 0, priority: 0})`, host),
			fmt.Sprintf(`when rs.status() shows it SECONDARY: c = rs.conf(); m = c.members.find(m => m.host == "%s:27017"); m.votes = 1; m.priority = %g; rs.reconfig(c)`, host, priority))
	}
	if c.third {
		add("<member in a third region>", third)
	}
	if c.here {
		add("<second member in the region to be entered>", 2*third)
	}
	if c.remove != "" {
		steps = append(steps, fmt.Sprintf("rs.remove(%q), unless it leads by then", c.remove))
	}
	return strings.Join(steps, "; ")
}
