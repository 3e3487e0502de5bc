package oracle

import (
	"fmt"
	"maps"
	"time"
)

// traffic finds clients that are sent back (S3): once something leads them to
// another region it leads nowhere else, whatever becomes of nodes, until that region
// is left as well. The exceptions are a person's order to undo while nothing has
// worked there yet; gates that too few living nodes speak for, before anything else
// has moved the clients; and, once the service has come home, gates of nodes that
// have not heard of it.
func traffic(record []Entry, rules Rules) (out []string) {
	at := map[string]string{}                        // what leads clients → where to, once it has moved them
	says, up := map[string]bool{}, map[string]bool{} // nodes
	worked := map[string]bool{}                      // regions in which processes have run
	undo, closed := false, false                     // a person ordered it; an execution has ended stable
	left := ""                                       // the region that was left last
	for _, e := range record {
		switch e.Kind {
		case Fenced:
			left = e.Region
		case NodeUp:
			up[e.Who] = true
		case NodeDown:
			up[e.Who] = false
		case Says:
			says[e.Who], up[e.Who] = true, true
		case Forgets:
			delete(says, e.Who)
		case WorkerUp:
			worked[e.Region] = true
		case Began:
			undo = false
		case Ended:
			closed = closed || e.Detail == Stable
		case Ordered:
			undo = undo || e.What == OrderUndo
		case Flip:
			before, moved := at[e.What]
			at[e.What] = e.Region
			if !moved && e.Region == left && e.Region == rules.Secondary && e.What != Gates {
				out = append(out, fmt.Sprintf("S3: %s leads to %s since %s (token %d of %s), which was left", e.What, e.Region, clock(e.At), e.Token, e.Who))
			}
			if !moved || before == e.Region || before == left {
				continue
			}
			speak := 0
			for node := range says {
				if up[node] {
					speak++
				}
			}
			elsewhere := false // clients are kept away by something else
			for what, region := range at {
				elsewhere = elsewhere || what != Gates && region == before
			}
			switch {
			case e.What == Gates && speak < 2 && (elsewhere || !closed):
				delete(at, Gates) // they may move them once more
			case e.What == Gates && left == rules.Secondary:
			case undo && !worked[before]:
				delete(at, e.What)
			default:
				out = append(out, fmt.Sprintf("S3: %s led to %s and leads to %s since %s (token %d of %s)", e.What, before, e.Region, clock(e.At), e.Token, e.Who))
			}
		}
	}
	return out
}

// tokens finds effects of an older token after those of a newer one, at what
// checks tokens (S2): each write brings a token that is newer than the one that
// it replaces, which is the one that is there.
func tokens(record []Entry) (out []string) {
	held := map[string]uint64{}
	for _, e := range record {
		if e.Kind != Flip && e.Kind != Write && e.Kind != Restore && e.Kind != Unrestore || e.What == Gates {
			continue
		}
		if e.Replaces != held[e.What] {
			out = append(out, fmt.Sprintf("S2: at %s %s took token %d, which replaces %d, while it held %d", clock(e.At), e.What, e.Token, e.Replaces, held[e.What]))
		}
		if e.Token <= held[e.What] {
			out = append(out, fmt.Sprintf("S2: at %s the effect of token %d took place at %s after that of %d", clock(e.At), e.Token, e.What, held[e.What]))
		}
		held[e.What] = e.Token
	}
	return out
}

// data finds restores that lose what the service has written since (E2), and processes that begin to work on data that nobody
// has restored (E1), unless a person took that upon himself.
func data(record []Entry, rules Rules) (out []string) {
	if rules.Restore == "" {
		return nil
	}
	restored, wrote := map[string]bool{rules.Primary: true}, map[string]string{} // by region
	skipped := false
	for _, e := range record {
		switch {
		case e.Kind == Fenced: // to enter it again takes what is written elsewhere meanwhile
			delete(restored, e.Region)
			delete(wrote, e.Region)
		case e.Kind == Ordered && e.What == OrderSkip:
			skipped = skipped || e.Step == rules.Restore
		case e.Kind == Restore:
			if who := wrote[e.Region]; who != "" {
				out = append(out, fmt.Sprintf("E2: the restore of %s at %s (token %d of %s) loses what %s has written", e.Region, clock(e.At), e.Token, e.Who, who))
			}
			restored[e.Region], wrote[e.Region] = true, ""
		case e.Kind == Unrestore:
			delete(restored, e.Region)
			delete(wrote, e.Region)
		case e.Kind == WorkerUp:
			if !restored[e.Region] && !skipped {
				out = append(out, fmt.Sprintf("E1: %s begins to work in %s at %s, whose data nobody has restored", e.Who, e.Region, clock(e.At)))
			}
			wrote[e.Region] = e.Who
		}
	}
	return out
}

// call is one call of the record.
type call struct {
	Entry
	answered, failed bool
	landed           bool // before the answer
	changed          bool // it changed something
}

// perHour is how often a standing hold may be applied within an hour.
const perHour = 6

// repeated finds effects that are made more often than the protocol allows (S4):
//   - an effect belongs to a call, and changes the world once, or twice if the
//     world itself carried it out twice;
//   - a step that is written down as finished is not made again, unless it was undone
//     or a person asks for it;
//   - another step's call is made again only if nobody who lives knows that the one
//     before came to its end – its caller has died since, had an error or no answer,
//     or was told of a success that had not come –, or if its effect was overturned
//     since, or undone. Absolute numbers may also be set again by a later leader, who
//     sees an effect that is not complete; what carries a token may not;
//   - what keeps a region down after its execution does so perHour times.
func repeated(record []Entry) (out []string) {
	calls := map[int]*call{}
	newest := map[string]*call{} // by step: the last one, while nothing excuses another
	done := map[string]string{}  // by step: it is written down that this was done last
	was := map[string]string{}   // done, when the newest execution ended
	kept := map[string][]Entry{} // by step: what was sent for a hold
	closed := false              // no execution is open: what is sent keeps what was reached
	left := ""                   // the region that was left: stops there keep it so
	complain := func(e Entry, format string, args ...any) {
		out = append(out, fmt.Sprintf("S4: at %s ", clock(e.At))+fmt.Sprintf(format, args...))
	}
	for _, e := range record {
		switch e.Kind {
		case Began:
			closed = false
			if e.Detail == CarriedOn {
				done = maps.Clone(was)
			}
		case Fenced:
			left = e.Region
			maps.DeleteFunc(newest, func(_ string, c *call) bool { return c.Acts == string(Stop) })
		case Ended:
			closed = true
			clear(newest)
			was = done
			done = map[string]string{}
		case Finished:
			done[e.Step] = e.What
		case Leads:
			maps.DeleteFunc(newest, func(_ string, c *call) bool { return c.Acts != "switch" && c.Acts != "restore" })
		case Ordered:
			if e.What == OrderRetry {
				delete(newest, e.Step)
				delete(done, e.Step)
			}
		case NodeDown:
			for step, p := range newest {
				if p.Who == e.Who {
					delete(newest, step)
				}
			}
		case Sent:
			c := &call{Entry: e}
			calls[e.Call] = c
			switch {
			case e.What == Burn: // a burnt token is none that was spent
			case closed || e.Acts == string(Stop) && e.Region == left:
				kept[e.Step] = append(kept[e.Step], e)
				if n := len(kept[e.Step]); n > perHour && e.At.Sub(kept[e.Step][n-1-perHour].At) < time.Hour {
					complain(e, "%s was sent for the %d. time within an hour, and nobody is asked what undoes it", e.Step, perHour+1)
				}
			default:
				if done[e.Step] == e.What {
					complain(e, "%s sent %s of %s with token %d, although it is written down as finished", e.Who, e.What, e.Step, e.Token)
				}
				if p := newest[e.Step]; p != nil && p.What == e.What {
					switch {
					case !p.answered && p.Who == e.Who:
						complain(e, "%s sent %s of %s with token %d while its own call with token %d was under way", e.Who, e.What, e.Step, e.Token, p.Token)
					case p.answered && !p.failed && p.landed:
						complain(e, "%s sent %s of %s with token %d, although token %d has done it and %s knows", e.Who, e.What, e.Step, e.Token, p.Token, p.Who)
					}
				}
				newest[e.Step] = c
			}
		case Answered:
			if c := calls[e.Call]; c != nil {
				c.answered, c.failed = true, e.Detail != ""
			}
		case Stop, Unstop, Start, Unstart, Landed, Flip, Write, Restore, Unrestore, Stale:
			if e.What == Gates {
				continue
			}
			c := calls[e.Call]
			if c == nil {
				complain(e, "%s took effect in %s, and nobody had sent it", e.Kind, e.Region)
				continue
			}
			changes := e.Kind != Stale && e.Kind != Landed
			if changes && c.changed && !e.Again {
				complain(e, "one call of %s, token %d, took effect twice", c.Step, c.Token)
			}
			c.landed = c.landed || !c.answered && e.Kind != Stale
			c.changed = c.changed || changes
			if p := newest[c.Step]; changes && p != nil && p != c {
				delete(newest, c.Step) // overturned
			}
		}
	}
	return out
}

// stale finds effects of an older token that took place after those of a newer
// one where no token is checked, and that nobody has taken back in time (S2). It
// looks at the record up to its end, at.
func stale(record []Entry, rules Rules, at time.Time) (out []string) {
	type pool struct {
		newest Entry // by token
		is     int
		since  time.Time // it differs from what the newest token had set
		by     Entry
	}
	pools := map[string]*pool{}
	healed := at
	late := func(name string, p *pool, until time.Time) {
		from := p.since
		if from.Before(healed) {
			from = healed
		}
		if !p.since.IsZero() && until.Sub(from) > rules.Repair {
			out = append(out, fmt.Sprintf("S2: %s of %s with token %d took place at %s after token %d had set %d; %d stood until %s",
				p.by.Kind, name, p.by.Token, clock(p.by.At), p.newest.Token, p.newest.Is, p.by.Is, clock(until)))
		}
		p.since = time.Time{}
	}
	for _, e := range record {
		switch e.Kind {
		case Healed:
			healed = e.At
		case Stop, Unstop, Start, Unstart, Landed:
			p := pools[e.What]
			if p == nil {
				p = &pool{}
				pools[e.What] = p
			}
			if e.Token >= p.newest.Token {
				p.newest = e
			}
			switch p.is = e.Is; {
			case p.is == p.newest.Is:
				late(e.What, p, e.At)
			case p.since.IsZero():
				p.since, p.by = e.At, e
			}
		}
	}
	for _, name := range keys(pools) {
		late(name, pools[name], at)
	}
	return out
}
