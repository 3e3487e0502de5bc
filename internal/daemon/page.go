package daemon

import (
	"fmt"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/notify"
)

// Pager tells people of what has a name but no incident: one message for each
// suspicion that outlasts prepare_after, updated in place until it has passed;
// one for each standing hold that was found violated; one when a region is heard
// again that was left without having been seen to stop; and one for each order that
// waits for a second node. What passes sooner wakes
// nobody; it stands in the timeline.
type Pager struct {
	open     *failover.Suspicion  // that people were told of
	holds    map[uint64]int       // how often a hold had been applied when people were told last
	rivals   map[uint64]time.Time // since when a hold was violated of which people were told that nothing is done about it
	returned uint64               // the execution of whose region people were told that it is heard again
	half     uint64               // the newest order through one node that people were told of
}

// Next returns the messages that the state asks for.
func (p *Pager) Next(s *failover.State, now time.Time) []notify.Update {
	if s.Settings == nil {
		return nil
	}
	var out []notify.Update
	after := s.Settings.Policy.PrepareAfter.D()
	cur := s.Suspicion
	if p.open != nil && (cur == nil || !cur.Since.Equal(p.open.Since)) {
		if s.Incident == nil && s.Execution == nil {
			out = append(out, renderSuspicion(s, p.open, fmt.Sprintf("It has passed by itself after %s; nothing was moved.", endOf(s, p.open).Sub(p.open.Since).Round(time.Second))))
		}
		p.open = nil
	}
	if cur != nil && s.Incident == nil && s.Execution == nil && now.Sub(cur.Since) >= after {
		p.open = cur
		out = append(out, renderSuspicion(s, cur, ""))
	}
	for _, h := range s.Holds {
		if n := len(h.Applied); n > p.holds[h.ID] {
			if p.holds == nil {
				p.holds = map[uint64]int{}
			}
			p.holds[h.ID] = n
			out = append(out, renderHold(s, h))
		}
		if unmended(h, now) && !p.rivals[h.ID].Equal(h.At) {
			if p.rivals == nil {
				p.rivals = map[uint64]time.Time{}
			}
			p.rivals[h.ID] = h.At
			out = append(out, renderUnmended(s, h))
		}
	}
	if e := heardAgain(s); e != nil && e.ID != p.returned {
		p.returned = e.ID
		out = append(out, renderReturn(s, e))
	}
	for _, h := range s.HalfOrders {
		if h.ID > p.half && now.Before(h.Until()) {
			p.half = h.ID
			out = append(out, renderHalf(s, h))
		}
	}
	return out
}

// unmended reports whether what a promotion has made to lead has a rival, and nothing is done about it: what is done follows at once, unless it is a
// person's, or the tries of the hour are used up.
func unmended(h failover.StandingHold, now time.Time) bool {
	n := len(h.Applied)
	return h.Step.Kind == failover.KindStart && h.Status == failover.HoldViolated && h.Running == nil && now.Sub(h.At) >= 10*time.Second &&
		(n == 0 || h.Applied[n-1].Before(h.At))
}

// heardAgain is the newest failover, if the region that it left is heard again and
// something critical there was not seen to stop: whoever compares the two regions'
// data has to know it. nil: nothing of the kind.
func heardAgain(s *failover.State) *failover.Execution {
	if s.Execution != nil || len(s.History) == 0 {
		return nil
	}
	e := s.History[len(s.History)-1]
	if !e.Kind.Leaves() || e.From == s.Active || len(unseen(e)) == 0 {
		return nil
	}
	fenced := e.Step("fence").Last()
	if fenced == nil || fenced.FinishedAt.IsZero() {
		return nil
	}
	for _, a := range s.Agents {
		if a.Region == e.From && a.LastAsked.After(fenced.FinishedAt) {
			return e
		}
	}
	for _, h := range s.Holds {
		if h.Step.Kind == failover.KindStop && h.Step.Region == e.From && h.Status != failover.HoldUnseen && h.At.After(fenced.FinishedAt) {
			return e
		}
	}
	return nil
}

// unseen is the evidence, in force, of what was proven to have stopped although
// nobody has seen it.
func unseen(e *failover.Execution) []failover.Evidence {
	seen := map[failover.Component]bool{}
	for _, ev := range e.Evidence {
		if ev.Void == "" && (ev.Class == failover.Confirmed || ev.Class == failover.Resource) {
			seen[ev.Component] = true
		}
	}
	var out []failover.Evidence
	for _, ev := range e.Evidence {
		if ev.Void == "" && !seen[ev.Component] {
			out = append(out, ev)
		}
	}
	return out
}

// endOf is when a suspicion ended: the newest note about it in the timeline.
func endOf(s *failover.State, over *failover.Suspicion) time.Time {
	for i := len(s.Events) - 1; i >= 0; i-- {
		if ev := s.Events[i]; ev.Kind == (failover.NoteSuspicion{}).Name() && ev.At.After(over.Since) {
			return ev.At
		}
	}
	return s.Time
}

func renderSuspicion(s *failover.State, c *failover.Suspicion, passed string) notify.Update {
	key := fmt.Sprintf("suspicion-%020d", c.Since.UnixMilli())
	u := notify.Update{
		ID: key, Epoch: s.Epoch, Done: passed != "", Message: message(s, key),
		Title: fmt.Sprintf("%s: %s in %s", s.Settings.Service, c.Condition, c.Region),
		Lines: []string{c.Condition.Meaning(), "Seen: " + c.Sentence, "What may follow by itself: " + c.Condition.Info().Allows},
	}
	if p := s.Preparation; p != nil && passed == "" {
		var steps []string
		for _, st := range p.Plan.Steps {
			steps = append(steps, fmt.Sprintf("%s %s", stepMark(p.Step(st.ID).State), st.ID))
		}
		u.Execution = p.ID
		u.Lines = append(u.Lines, "Prepared, and undone if it passes: "+strings.Join(steps, ", "))
		u.Buttons = append(u.Buttons, notify.Button{ID: "abort", Label: "Undo the preparation"})
	}
	if passed != "" {
		u.Title += " – passed"
		u.Lines = append(u.Lines, passed)
	}
	return u
}

func renderHold(s *failover.State, h failover.StandingHold) notify.Update {
	key := fmt.Sprintf("hold-%020d-%d", h.ID, len(h.Applied))
	title, again := fmt.Sprintf("%s: %s was running in %s, which was left", s.Settings.Service, h.Component, h.Step.Region), "It is being stopped again: "
	switch h.Step.Kind {
	case failover.KindStart:
		title, again = rivalTitle(s, h), "What is written elsewhere will be lost. It is being fenced: "
	case failover.KindSwitch:
		title, again = fmt.Sprintf("%s: %s does not lead clients to %s", s.Settings.Service, h.Step.Action, h.Step.Region), "They are being sent there again: "
	}
	return notify.Update{
		ID: key, Epoch: s.Epoch, Done: true, Message: message(s, key),
		Title: title,
		Lines: []string{
			again + h.Detail,
			fmt.Sprintf("This is the %d. time within an hour; after %d it needs you. Find out what changes it.", len(h.Applied), failover.ReapplyPerHour),
			"Or: failoverd release " + string(h.Component) + " --why …",
		},
	}
}

func rivalTitle(s *failover.State, h failover.StandingHold) string {
	return fmt.Sprintf("%s: %s HAS A RIVAL: it is not led by %s alone", s.Settings.Service, h.Component, h.Step.Region)
}

func renderUnmended(s *failover.State, h failover.StandingHold) notify.Update {
	key := fmt.Sprintf("rival-%020d-%d", h.ID, h.At.Unix())
	return notify.Update{
		ID: key, Epoch: s.Epoch, Done: true, Message: message(s, key), Title: rivalTitle(s, h),
		Lines: []string{
			"NOTHING IS DONE ABOUT IT until you do. What is written elsewhere will be lost. Seen: " + h.Detail,
			"Or: failoverd release " + string(h.Component) + " --why …",
		},
	}
}

func renderHalf(s *failover.State, h failover.HalfOrder) notify.Update {
	key := fmt.Sprintf("order-%020d", h.ID)
	return notify.Update{
		ID: key, Epoch: s.Epoch, Done: true, Message: message(s, key),
		Title: fmt.Sprintf("%s: %s waits for a second node", s.Settings.Service, h.Command),
		Lines: []string{
			fmt.Sprintf("%s gave it through node %s (%q): %s", h.By, h.Node, h.Why, h.Text),
			fmt.Sprintf("It counts when the same command is given on another node by %s, and is forgotten otherwise. If nobody of you gave it, node %s is in the wrong hands.", h.Until().UTC().Format(time.TimeOnly)+"Z", h.Node),
		},
	}
}

// renderReturn is the report for who compares what the two regions hold. The
// interval is the widest in which the region can have worked unseen: what is in it
// before the first suspicion is as long as misses take to be one.
func renderReturn(s *failover.State, e *failover.Execution) notify.Update {
	clock := func(t time.Time) string { return t.UTC().Format(time.DateTime) + "Z" }
	key := fmt.Sprintf("return-%020d", e.ID)
	lines := []string{fmt.Sprintf("Execution %d left it at %s for %s. Nothing goes back by itself.", e.ID, clock(e.Step("fence").Last().FinishedAt), e.To)}
	from := darkSince(s, e)
	for _, ev := range unseen(e) {
		lines = append(lines, fmt.Sprintf("%s was not seen to stop (%s: %s). What it took in, wrote or sent in %s between some seconds before %s and %s may be missing in %s, or stand in both: compare the two before you go back.",
			ev.Component, ev.Class, ev.Detail, e.From, clock(from), clock(ev.At), e.To))
	}
	for _, h := range s.Holds {
		if h.Step.Region == e.From && h.Step.Kind == failover.KindStop {
			lines = append(lines, fmt.Sprintf("Standing hold: %s is %s in %s.", h.Component, h.Status, e.From))
		}
	}
	return notify.Update{
		ID: key, Epoch: s.Epoch, Done: true, Message: message(s, key), Execution: e.ID,
		Title: fmt.Sprintf("%s: %s is heard again, which was left without being seen to stop", s.Settings.Service, e.From),
		Lines: append(lines, "More: failoverd events"),
	}
}

// darkSince is when the region was first suspected before it was left; when a
// person asked without that, when the execution began.
func darkSince(s *failover.State, e *failover.Execution) time.Time {
	since := e.StartedAt
	for i := len(s.Events) - 1; i >= 0; i-- {
		ev := s.Events[i]
		if ev.Kind != (failover.NoteSuspicion{}).Name() || ev.At.After(e.StartedAt) {
			continue
		}
		if !strings.HasPrefix(ev.Text, string(e.From)+" ") {
			break // another region's, or the word that it is well again
		}
		since = ev.At
	}
	return since
}
