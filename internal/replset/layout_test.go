package replset

import (
	"fmt"
	"strings"
	"testing"
)

// Of a set that one region can take along the advice is exact: the members' own names, one step at a time, and never the primary.
func TestLayoutAdvice(t *testing.T) {
	c := config(t, 1, 1)
	f := Judge("rs", "west", list(three(c, "e1a", "e1b", "w1")), false, nil)
	want := `on a quiet day, on e1a and one step at a time: ` +
		`rs.add({host: "<member in a third region>:27017", votes: 0, priority: 0}); ` +
		`when rs.status() shows it SECONDARY: c = rs.conf(); m = c.members.find(m => m.host == "<member in a third region>:27017"); m.votes = 1; m.priority = 0.5; rs.reconfig(c); ` +
		`rs.remove("e1b"), unless it leads by then`
	if f.Way != Move || f.Advice != want || strings.Contains(f.Detail, "rs.") {
		t.Errorf("%s; %s", f.Detail, f.Advice)
	}
	// Where the other one of the region leads, it is not the one to go, whatever its priority.
	all := three(c, "e1a", "e1b", "w1")
	for _, v := range all {
		v.Primary = "e1b"
	}
	all["e1a"].Writable, all["e1a"].Secondary, all["e1b"].Writable, all["e1b"].Secondary = false, true, true, false
	if f := Judge("rs", "west", list(all), false, nil); !strings.Contains(f.Advice, `on e1b and one`) || !strings.Contains(f.Advice, `rs.remove("e1a")`) {
		t.Errorf("%s", f.Advice)
	}
}

// Whatever the layout of two regions is, a change that is advised leaves a majority of the votes without any one region, takes no region its
// last member, and is the smallest: nothing is advised where nothing is needed.
func TestSpread(t *testing.T) {
	for here := range 4 {
		for there := range 6 {
			t.Run(fmt.Sprintf("%d+%d", there, here), func(t *testing.T) {
				var members []Member
				in := map[string]string{}
				for i := range here {
					members = append(members, Member{Host: fmt.Sprint("w", i), Votes: 1, Priority: 1})
				}
				for i := range there {
					members = append(members, Member{Host: fmt.Sprint("e", i), Votes: 1, Priority: float64(i + 1)})
				}
				for _, m := range members {
					in[m.Host] = map[byte]string{'w': "west", 'e': "east"}[m.Host[0]]
				}
				f := &Finding{Config: &Config{Members: members}, Primary: "e0"}
				c, ok := f.spread("east", "west", in)
				votes := map[string]int{"west": here, "east": there}
				if c.third {
					votes["third"]++
				}
				if c.here {
					votes["west"]++
				}
				if c.remove != "" {
					votes["east"]--
					if c.remove == "e0" || c.remove[0] != 'e' || votes["east"] == 0 {
						t.Errorf("removes %s", c.remove)
					}
				}
				whole := true
				for _, n := range votes {
					whole = whole && 2*(here+there) > 0 && 2*n < votes["west"]+votes["east"]+votes["third"]
				}
				if ok != whole {
					t.Errorf("%+v, %t: votes %v", c, ok, votes)
				}
				if there == 2 && here == 1 && (!ok || c.here || c.remove != "e1") || there == 1 && here == 1 && c != (change{third: true}) {
					t.Errorf("%+v", c)
				}
			})
		}
	}
}
