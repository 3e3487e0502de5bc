package oracle

import (
	"fmt"
	"time"
)

// office knows what is open, and who had the right to begin it.
type office struct {
	rules       Rules
	dark        map[string]span // by region: the newest darkness
	asked       []time.Time     // orders of a person that are under way
	incident    bool
	execution   bool // open
	preparation bool
	undo        bool   // a person ordered the open one to be undone
	worked      bool   // in the region that it enters, since it began
	behind      bool   // its fence: the newest execution has left a region
	left        string // the region that was left last; empty: none was
	last        string // how the newest execution ended
	out         []string
}

// orders finds what nobody had the right to begin (S5, S6, S3):
//   - an incident opens, and a preparation begins, only after the region was dark for
//     as long as the policy wants, up to now;
//   - an execution begins because a person asked for it, or after an incident,
//     while the primary is dark or was until a moment ago; one at a time;
//   - one that is carried on was ended by a person, behind the fence;
//   - what changes the world is part of an execution or a preparation that is open,
//     or keeps what a completed one has reached;
//   - what is undone was prepared, or a person ordered it, before anything worked
//     in the new region;
//   - nothing begins by itself while the service is away from the primary.
func orders(record []Entry, rules Rules) []string {
	o := &office{rules: rules, dark: map[string]span{}}
	for _, e := range record {
		o.take(e)
	}
	return o.out
}

// span is a darkness.
type span struct{ since, until time.Time }

// length is how long the darkness is, or was if it has lasted until a moment
// before at.
func (s span) length(at time.Time, linger time.Duration) time.Duration {
	switch {
	case s.since.IsZero():
		return 0
	case s.until.IsZero():
		return at.Sub(s.since)
	case at.Sub(s.until) <= linger:
		return s.until.Sub(s.since)
	}
	return 0
}

func (o *office) complain(format string, args ...any) {
	o.out = append(o.out, fmt.Sprintf(format, args...))
}

func (o *office) take(e Entry) {
	hasty := func(what, region string, need time.Duration) {
		if dark := o.dark[region].length(e.At, o.rules.Linger); dark < need-o.rules.Slack {
			o.complain("S6: %s at %s although %s was dark for no longer than %s", what, clock(e.At), region, dark)
		}
	}
	switch e.Kind {
	case Dark:
		was := o.dark[e.Region]
		if was.until.IsZero() || e.At.Sub(was.until) > o.rules.Recover {
			was.since = e.At
		}
		o.dark[e.Region] = span{since: was.since}
	case Lit:
		o.dark[e.Region] = span{since: o.dark[e.Region].since, until: e.At}
	case WorkerUp:
		o.worked = o.worked || e.Region == o.enters()
	case Asked:
		o.asked = append(o.asked, e.At)
	case Refused:
		if n := len(o.asked); n > 0 {
			o.asked = o.asked[:n-1]
		}
	case Ordered:
		o.undo = o.undo || e.What == OrderUndo
	case Incident:
		hasty("an incident opens", e.Region, o.rules.Hold)
		o.incident = true
	case Began:
		o.began(e, hasty)
	case Ended:
		if e.What == Preparation {
			o.preparation = false
			return
		}
		if !o.execution {
			o.complain("S5: an execution ended at %s that was not open", clock(e.At))
		}
		o.execution, o.incident, o.undo, o.last = false, false, false, e.Detail
	case Fenced:
		if !o.execution {
			o.complain("S6: %s is left at %s, and no execution is open", e.Region, clock(e.At))
		}
		o.behind, o.left = true, e.Region
	case Sent:
		o.sent(e)
	case Flip:
		if e.What == Gates && e.Region == o.rules.Secondary && !o.execution && o.left == "" {
			o.complain("S6: the gates move clients to %s at %s, and no execution is open", e.Region, clock(e.At))
		}
	}
}

func (o *office) began(e Entry, hasty func(what, region string, need time.Duration)) {
	if e.What == Preparation {
		if o.preparation || o.execution {
			o.complain("S5: a preparation begins at %s while something else is open", clock(e.At))
		}
		hasty("a preparation begins", o.rules.Primary, o.rules.Prepare)
		o.away("a preparation begins", e.At)
		o.preparation = true
		return
	}
	if o.execution {
		o.complain("S5: an execution begins at %s while another is open", clock(e.At))
	}
	switch {
	case e.Detail == CarriedOn:
		if !o.behind || o.last != Aborted {
			o.complain("S6: an execution is carried on at %s, and none was ended behind the fence", clock(e.At))
		}
	case e.Detail == ByPerson:
		// An order may have been refused, or lost, that stands here as under way.
		for len(o.asked) > 0 && e.At.Sub(o.asked[0]) > o.rules.Patience {
			o.asked = o.asked[1:]
		}
		if len(o.asked) == 0 {
			o.complain("S6: an execution begins at %s because a person asked for it, and nobody had", clock(e.At))
		}
	case !o.incident:
		o.complain("S6: an execution begins at %s without an incident", clock(e.At))
	default:
		hasty("an execution begins", o.rules.Primary, o.rules.Hold)
		o.away("an execution begins by itself", e.At)
	}
	o.asked = nil
	o.execution, o.preparation, o.undo, o.worked = true, false, false, false
	o.behind = o.behind && e.Detail == CarriedOn
}

// away complains of what automation does while the service is where it does not protect it.
func (o *office) away(what string, at time.Time) {
	if o.left == o.rules.Primary {
		o.complain("S6: %s at %s, and the service is away from %s", what, clock(at), o.rules.Primary)
	}
}

// enters is the region that the newest execution enters.
func (o *office) enters() string {
	switch {
	case o.behind:
		return o.rules.other(o.left)
	case o.left == "":
		return o.rules.Secondary
	}
	return o.left
}

// sent judges a call when it leaves its node: where it lands is the world's
// business, and how late.
func (o *office) sent(e Entry) {
	name := fmt.Sprintf("%s of %s (token %d) is sent by %s at %s", e.What, e.Step, e.Token, e.Who, clock(e.At))
	switch {
	case e.What == Burn:
		if !o.execution && o.left == "" {
			o.complain("E4: %s, and no execution is open", name)
		}
	case e.What == Undo:
		if o.worked || o.behind {
			o.complain("S3: %s after %s was left", name, o.rules.other(o.enters()))
		}
		if !o.preparation && !o.undo && !(o.execution && e.Acts == string(Start)) {
			o.complain("S6: %s, and nobody ordered that", name)
		}
	case e.Acts == string(Restore) && !o.behind:
		o.complain("S1: %s, and %s is not left yet", name, o.rules.other(o.enters()))
	case o.execution, o.preparation && e.Acts == string(Start):
	case o.left != "" && (e.Acts == string(Stop) && e.Region == o.left || e.Acts == "switch" && e.Region == o.rules.other(o.left)):
	default:
		o.complain("S6: %s, and nothing is open that it could be part of", name)
	}
}
