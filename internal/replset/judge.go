package replset

import (
	"fmt"
	"slices"
	"strings"
)

// Way is what is to be done so that a region leads a set.
type Way uint8

// The ways.
const (
	// Blind: no member of the region could be asked.
	Blind Way = iota
	// Led: a member of the region is the only writable primary that anybody sees, and a majority has acknowledged a write of its
	// own to it.
	Led
	// Rivals: it leads, and another member calls itself writable primary as well.
	Rivals
	// Wait: the set is about to do it by itself.
	Wait
	// Move: a majority is alive and its primary stands elsewhere. Priorities move it, and nothing is lost.
	Move
	// Force: the region's members have lost the majority, and go on only by force.
	Force
	// Stuck: nothing that is done to the set would be right. Detail says why, and what a person can do.
	Stuck
)

// Finding is a judgement.
type Finding struct {
	Way    Way
	Detail string // for a person
	// Primary is the one that leads now; "": none is seen.
	Primary string
	// Target is whom a command goes to: the primary for Move, the freshest member of the region for Force.
	Target string
	// Keep are the members, as the configuration names them, that go on after Force, the target among them, or that Move prefers; Drop
	// are those that Force drops.
	Keep, Drop []string
	// Rivals are other members that call themselves writable primary.
	Rivals []string
	// Alive are members that Force drops and that were asked: they must be fenced first, each of them. They, Rivals, Primary and
	// Target are named as we reach them.
	Alive []string
	// Config is the newest configuration that anybody has. Nil: there is none.
	Config *Config
	// Lacks is what a promotion would not be whole for, although the set is well; "" if nothing.
	Lacks string
	// Advice is how the set would be laid out anew so that no region can take its majority along, as commands; "" where none can. It is
	// for a quiet day, and for nobody who has to decide now.
	Advice string
	// Override is what allow would have to hold for Stuck to be none; "": nothing that it can hold.
	Override string
}

// Judge tells what is to be done so that region leads the set. It is pure: the same views give the same finding.
//
// alive permits a forced promotion although members elsewhere that are a majority were asked: they have to be fenced first. Without
// it that is Stuck, since a pure partition loses everything that one of its sides has acknowledged. forced is the newest forced promotion that
// is known of; nil: none.
func Judge(name, region string, views []View, alive bool, forced *Forced) Finding {
	var f Finding
	for _, v := range views {
		if forced.newer(v.Config, f.Config) {
			f.Config = v.Config
		}
		if v.Name != "" && v.Name != name {
			f.Way, f.Detail = Stuck, fmt.Sprintf("%s belongs to the replica set %q, not %q: the configuration names a wrong member or set", v.Host, v.Name, name)
			return f
		}
	}
	var mine []View // of the region, that take part or once did
	var silent []string
	for _, v := range views {
		switch {
		case v.Region != region:
		case v.Err != nil:
			silent = append(silent, fmt.Sprintf("%s: %v", v.Host, v.Err))
		case v.Arbiter && v.Config == nil:
			silent = append(silent, v.Host+" is an arbiter")
		default:
			mine = append(mine, v)
		}
	}
	if len(mine) == 0 {
		f.Detail = fmt.Sprintf("no member in %s could be asked: %s", region, strings.Join(silent, "; "))
		return f
	}
	if f.Config == nil {
		f.Way, f.Detail = Stuck, fmt.Sprintf("no member of %s has a configuration: nobody has initiated the set", name)
		return f
	}
	if why := forced.missing(f.Config, views); why != "" {
		f.Way, f.Detail, f.Override = Stuck, why, LeftBehind
		return f
	}
	f.primaries(views, forced)
	if at := slices.IndexFunc(mine, func(v View) bool { return v.Host == f.Primary }); at >= 0 {
		f.led(mine[at])
		f.stays(region, mine)
		return f
	}
	if at := slices.IndexFunc(views, func(v View) bool { return v.Host == f.Primary && v.Region == region }); at >= 0 {
		f.Way, f.Detail = Wait, fmt.Sprintf("%s is a writable primary, and has not answered all that it was asked: %v", f.Primary, views[at].Err)
		return f
	}
	able := f.able(mine)
	if len(able) == 0 {
		f.Way, f.Detail = Stuck, fmt.Sprintf("no member in %s that answers holds data and stands in the configuration of %s (version %d, members %s): %s", region, name, f.Config.Version, strings.Join(f.hosts(), ", "), f.outside(mine))
		return f
	}
	// One that hears a majority loses nothing, however fresh another one is.
	target, hears := able[0], f.hearsMajority(able[0])
	for _, v := range able[1:] {
		if h := f.hearsMajority(v); h && !hears || h == hears && v.Applied.After(target.Applied) {
			target, hears = v, h
		}
	}
	switch {
	case !hears:
		f.lost(target, able, views, alive, target.Host+" hears no majority")
	case f.Primary == "" && !slices.ContainsFunc(f.Config.Members, func(m Member) bool { return m.electable() && target.Healthy[m.Host] }):
		f.lost(target, able, views, alive, target.Host+" hears a majority of which the configuration lets none be elected")
	default:
		f.whole(region, target, able)
		f.layout(region, views)
	}
	f.defaults(views)
	return f
}

// defaults says of a set whose default write concern follows its arbiters that the server refuses a configuration without them, also by force.
func (f *Finding) defaults(views []View) {
	if f.Config.waits() || !slices.ContainsFunc(views, func(v View) bool { return v.Implicit }) {
		return // a forced configuration has no arbiters
	}
	why := "nobody has set the default write concern, which follows the arbiters: the server refuses a forced promotion, which drops them (error 103)"
	switch f.Way {
	case Move, Wait:
		why += `. On the primary, on a quiet day: db.adminCommand({setDefaultRWConcern: 1, defaultWriteConcern: {w: 1}}) keeps it as it is, {w: "majority"} waits for a majority`
	case Force:
		why += ", and nobody can set it without a primary"
	default:
		return
	}
	if f.Lacks != "" {
		why = f.Lacks + "; " + why
	}
	f.Lacks = why
}

// primaries finds who calls itself writable primary: the one of the newest configuration leads, and within that of the newest term. Whom
// the newest configuration does not name leads nothing, and is a rival.
func (f *Finding) primaries(views []View, forced *Forced) {
	var lead *View
	for i := range views {
		v := &views[i]
		if !v.Writable || f.Config.Member(v.name()) == nil {
			continue
		}
		if lead == nil || forced.newer(v.Config, lead.Config) || !forced.newer(lead.Config, v.Config) && v.Term > lead.Term {
			lead = v
		}
	}
	if lead != nil {
		f.Primary = lead.Host
	}
	for _, v := range views {
		if v.Writable && v.Host != f.Primary {
			f.Rivals = append(f.Rivals, v.Host)
		}
	}
}

// hearsMajority reports whether a member hears a majority of the newest configuration.
func (f *Finding) hearsMajority(v View) bool {
	return f.Config.votes(func(h string) bool { return v.Healthy[h] }) >= f.Config.Majority()
}

// forcedBy is by how much a forced reconfiguration raises the version at least (ReplSetConfig in the server's
// repl_set_config_checks.cpp); an ordinary one raises it by one.
const forcedBy = 10_000

// Rivalry is who leads a set beside the members of a region.
type Rivalry struct {
	// Rivals are writable primaries of a configuration that the region's members have left behind: dropped by theirs, or by a forced one
	// older. Who leads elsewhere by the same configuration, or by the one before it, has been elected and is none.
	Rivals []string
	// Followers are the members that would follow them.
	Followers []string
	// Left are those of them that a forced configuration of the region has left behind, which they do not know: without anything that keeps them from it
	// they elect one of themselves.
	Left []string
	// Beyond are writable primaries of a newer configuration than theirs that does not name the one that leads in the region, or of one that
	// has no member in common with theirs, whose version tells nothing: somebody has forced another side, and nobody can tell who is right.
	Beyond []string
	// Known is false if nobody in the region says which configuration it has, or a member is silent that may have a newer one, or a
	// primary does not say which is its.
	Known bool
}

// RivalsOf tells who leads the set with that name beside the members of a region. forced is as for Judge.
func RivalsOf(name, region string, views []View, forced *Forced) (out Rivalry) {
	var ours *View
	silent := false
	for i, v := range views {
		if v.Region != region || v.Name != "" && v.Name != name {
			continue
		}
		silent = silent || v.Err != nil
		if v.Config.Member(v.name()) != nil && (ours == nil || forced.newer(v.Config, ours.Config)) {
			ours = &views[i]
		}
	}
	if ours == nil {
		return out
	}
	out.Known = ours.Writable || !silent
	forced = forced.of(ours.Config)
	for _, v := range views {
		if v.Name != name || v.Host == ours.Host {
			continue
		}
		version, named := v.version(), ours.Config.Member(v.name()) != nil
		switch {
		case v.Writable && version == 0:
			out.Known = false
		case v.Writable && forced.left(version, ours.Config.Version):
			out.Rivals = append(out.Rivals, v.Host)
		case v.Writable && !ours.Writable && !v.Config.sharesWith(ours.Config):
			out.Known = false
		case v.Writable && ours.Writable && v.Config != nil && v.Config.Member(ours.name()) == nil && (version > ours.Config.Version || !v.Config.sharesWith(ours.Config)):
			out.Beyond = append(out.Beyond, v.Host)
		case v.Writable && version < ours.Config.Version && (!named || ours.Config.Version-version >= forcedBy):
			out.Rivals = append(out.Rivals, v.Host)
		case v.Secondary && !named:
			out.Followers = append(out.Followers, v.Host)
			if forced.left(version, ours.Config.Version) || v.Config != nil && v.Config.sharesWith(ours.Config) && ours.Config.Version-version >= forcedBy {
				out.Left = append(out.Left, v.Host)
			}
		}
	}
	return out
}

func (f *Finding) led(by View) {
	switch {
	case len(f.Rivals) > 0:
		f.Way = Rivals
		f.Detail = fmt.Sprintf("TWO PRIMARIES: %s leads with configuration %d, and %s calls itself writable primary as well: what is written there will be lost", by.Host, by.Config.Version, strings.Join(f.Rivals, ", "))
	case by.Config.votes(func(h string) bool { return by.Healthy[h] }) < by.Config.Majority():
		f.Way, f.Detail = Wait, fmt.Sprintf("%s is primary and hears no majority: it will step down", by.Host)
	case by.Committed.Term < by.Term && by.Config.votes(func(h string) bool { return by.Healthy[h] && !by.Config.Member(h).Arbiter }) < by.Config.Majority():
		f.Way, f.Detail = Stuck, fmt.Sprintf("%s was elected with an arbiter's vote, and as long as %s is away no majority can acknowledge a write (w: \"majority\" waits for ever). On %s: c = rs.conf(), votes and priority of each of them to 0, rs.reconfig(c), one at a time", by.Host, strings.Join(by.away(), ", "), by.Host)
	case by.Committed.Term < by.Term:
		f.Way, f.Detail = Wait, fmt.Sprintf("%s is primary since term %d, and no majority has acknowledged a write of that term yet", by.Host, by.Term)
	default:
		f.Way, f.Detail = Led, fmt.Sprintf("%s is the writable primary, term %d, configuration %d of %d members", by.Host, by.Term, by.Config.Version, len(by.Config.Members))
	}
}

// stays is that the region goes on leading: where others have the higher priority, they take the primary back as soon as they have caught up.
func (f *Finding) stays(region string, mine []View) {
	if f.Way != Led {
		return
	}
	var keep []string
	for _, v := range mine {
		if m := f.Config.Member(v.name()); m != nil && m.movable() && v.Name != "" && (v.Secondary || v.Writable) {
			keep = append(keep, v.name())
		}
	}
	if f.Config.Preferred(keep) == nil {
		return
	}
	f.Way, f.Target, f.Keep = Move, f.Primary, keep
	f.Detail = fmt.Sprintf("%s leads, and members outside %s are of the same or a higher priority: they would take the primary back when they can. Priorities keep it here, and nothing is lost", f.Primary, region)
}

// able are the views of members that could become primary of the newest configuration.
func (f *Finding) able(mine []View) []View {
	var out []View
	for _, v := range mine {
		if m := f.Config.Member(v.name()); m != nil && m.Bearing() && v.Name != "" && v.Secondary {
			out = append(out, v)
		}
	}
	return out
}

func (f *Finding) hosts() []string {
	var out []string
	for _, m := range f.Config.Members {
		out = append(out, m.Host)
	}
	return out
}

// outside says why members of the region do not count.
func (f *Finding) outside(mine []View) string {
	var out []string
	for _, v := range mine {
		switch {
		case v.Removed:
			out = append(out, v.Host+" was dropped from the set by a forced promotion, and what it holds may have forked: it comes back only as docs/mongodb.md says")
		case v.Empty:
			out = append(out, v.Host+" is empty, and nobody has added it to the set")
		case v.Arbiter:
			out = append(out, v.Host+" is an arbiter")
		case f.Config.Member(v.name()) == nil:
			out = append(out, v.Host+" does not know the newest configuration, which does not name it")
		case !f.Config.Member(v.name()).Bearing():
			out = append(out, v.Host+" builds no indexes, and can never be primary")
		default:
			out = append(out, v.Host+" is neither primary nor secondary: it starts, recovers or copies its data")
		}
	}
	return strings.Join(out, "; ")
}

// whole is a set in which the region's members hear a majority.
func (f *Finding) whole(region string, target View, able []View) {
	for _, v := range able {
		if f.Config.Member(v.name()).movable() {
			f.Keep = append(f.Keep, v.name())
		}
	}
	votes := len(f.Keep) > 0
	if !votes {
		f.Lacks = fmt.Sprintf("no member in %s votes and is visible and without delay: it could be made primary only by force", region)
	}
	for _, v := range able {
		if m := f.Config.Member(v.name()); m.Hidden {
			f.Lacks = fmt.Sprintf("%s is hidden: clients drop it from their lists while all is well, and do not find it after a forced promotion; un-hide it in peace time (priority 0 is enough to keep it from becoming primary)", v.Host)
		}
	}
	switch {
	case f.Primary == "" && target.Healthy[target.Primary]: // a dead one is heard for ten seconds more
		f.Way, f.Detail = Wait, fmt.Sprintf("%s follows %s, which we do not reach: a primary that is alive is moved only by asking it", target.Host, target.Primary)
	case f.Primary == "":
		f.Way, f.Detail = Wait, fmt.Sprintf("a majority is alive and has no primary yet: it elects one by itself, once %s has all data", strings.Join(f.candidates(target), " or "))
	case !votes:
		f.Way, f.Detail = Stuck, f.Lacks
	default:
		f.Way, f.Target = Move, f.Primary
		f.Detail = fmt.Sprintf("%s leads, and a majority is alive: priorities move the primary to %s, and nothing is lost", f.Primary, region)
		if f.Config.Preferred(f.Keep) == nil {
			f.Way, f.Detail = Wait, fmt.Sprintf("%s leads, and %s has the higher priority: it takes over when it has caught up", f.Primary, region)
		}
	}
}

// candidates are the members that the target hears and that could be elected.
func (f *Finding) candidates(target View) (out []string) {
	for _, m := range f.Config.Members {
		if m.electable() && target.Healthy[m.Host] {
			out = append(out, m.Host)
		}
	}
	return out
}

// lost is a set that the region's members cannot make lead by an election; why says so.
func (f *Finding) lost(target View, able, views []View, alive bool, why string) {
	for _, v := range able { // one that the target does not hear would be half of a set without a majority
		if target.Healthy[v.name()] {
			f.Keep = append(f.Keep, v.name())
		}
	}
	for _, m := range f.Config.Members {
		if !slices.Contains(f.Keep, m.Host) {
			f.Drop = append(f.Drop, m.Host)
		}
	}
	var others []View // that are dropped, and that the configuration names
	for _, v := range views {
		if m := f.Config.Member(v.name()); m != nil && !slices.Contains(f.Keep, m.Host) {
			others = append(others, v)
			if v.Answers() && !m.Arbiter {
				f.Alive = append(f.Alive, v.Host)
			}
		}
	}
	f.Way, f.Detail = f.stands(target, others, views, alive, why)
	if f.Way != Force {
		return
	}
	f.Target = target.Host
	f.Detail = fmt.Sprintf("the majority is lost: %s goes on by a FORCED reconfiguration without %s, from its newest write of %s", strings.Join(f.Keep, ", "), strings.Join(f.Drop, ", "), target.Applied.At().Format("15:04:05"))
	if len(f.Alive) > 0 {
		f.Detail += fmt.Sprintf("; %s answers, and is frozen and stepped down first", strings.Join(f.Alive, ", "))
	}
}

// stands says what stands against a forced promotion, or Force.
func (f *Finding) stands(target View, others, views []View, alive bool, why string) (Way, string) {
	leaders := slices.Clone(f.Rivals)
	if f.Primary != "" {
		leaders = append(leaders, f.Primary)
	}
	asked := f.Config.votes(func(h string) bool {
		return slices.ContainsFunc(views, func(v View) bool { // an arbiter that cannot be asked may vote all the same
			return v.name() == h && (v.Answers() || v.Alive && f.Config.Member(h).Arbiter)
		})
	})
	able := slices.ContainsFunc(others, func(v View) bool { return v.Answers() && f.Config.Member(v.name()).electable() })
	hears := f.hearsMajority(target)
	if !alive && (len(leaders) > 0 || asked >= f.Config.Majority() && (able || !hears)) {
		who := slices.Clone(f.Alive)
		for _, l := range leaders {
			who = append(who, l+" is a writable primary")
		}
		f.Override = Alive
		return Stuck, fmt.Sprintf("%s, and we reach members that are one (%s): only the link between them is cut. A forced promotion would lose all that they acknowledge. Mend the link; or write allow = [\"alive\"], which fences them first", why, strings.Join(who, ", "))
	}
	for _, v := range views {
		m, mute := f.Config.Member(v.name()), ""
		// One that takes connections and has not said who it is may be any member, if somebody has listed it as one.
		stranger := m == nil && v.Err != nil && v.Region != "" && v.Me == "" && (v.Name != "" || !Refused(v.Err))
		switch {
		case m == nil && !stranger || m != nil && slices.Contains(f.Keep, m.Host):
			continue
		case v.Err != nil && v.Alive && (stranger || !m.Arbiter):
			mute = "is alive, but cannot be asked, nor kept from leading: " + v.Err.Error()
		case v.Empty:
			mute = "starts: it will find its data and may lead with its neighbours"
		case v.Removed && v.Config.Member(v.name()) != nil:
			mute = "does not find itself in a configuration that names it: it may lead once it does"
		default:
			continue
		}
		return Stuck, fmt.Sprintf("%s, and %s %s; stop it and keep it stopped, or let it answer", why, v.Host, mute)
	}
	for _, v := range views {
		if at, ok := v.follows(); ok && !slices.ContainsFunc(views, func(o View) bool { return o.name() == at && o.Answers() }) {
			return Wait, fmt.Sprintf("%s, but %s follows %s, which we do not reach: a primary that may be alive cannot be fenced", why, v.Host, at)
		}
	}
	if who, at := f.heard(views); at != "" {
		return Wait, fmt.Sprintf("%s, but %s hears %s, which we do not reach and which could lead: nobody can say that it does not", why, who, at)
	}
	for _, v := range others {
		if !v.Answers() || !v.Applied.After(target.Applied) {
			continue
		}
		ahead := fmt.Sprintf("%s, and %s has newer writes (until %s) than %s (until %s)", why, v.Host, v.Applied.At().Format("15:04:05"), target.Host, target.Applied.At().Format("15:04:05"))
		switch {
		case target.Healthy[v.name()] && f.Config.chained():
			return Wait, ahead + ", which copies them now"
		case !alive:
			f.Override = Alive
			return Stuck, ahead + ": a forced promotion would lose them. Let them reach each other; or write allow = [\"alive\"], which gives them up"
		}
	}
	return Force, ""
}

// heard is a member that could be elected without those that go on, that we do not reach, and that somebody else hears.
func (f *Finding) heard(views []View) (by, at string) {
	for _, m := range f.Config.Members {
		if !m.electable() || slices.Contains(f.Keep, m.Host) || slices.ContainsFunc(views, func(v View) bool { return v.name() == m.Host && v.Answers() }) {
			continue
		}
		for _, v := range views {
			if v.Answers() && v.name() != m.Host && (v.Healthy[m.Host] || v.Hears[m.Host]) {
				return v.Host, m.Host
			}
		}
	}
	return "", ""
}
