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
// and one for each standing hold that was found violated. What passes sooner
// wakes nobody; it stands in the timeline.
type Pager struct {
	open  *failover.Suspicion // that people were told of
	holds map[uint64]int      // how often a hold had been applied when people were told last
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
	if h.Step.Kind == failover.KindSwitch {
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
