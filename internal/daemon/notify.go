package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/internal/dnsq"
	"github.com/failoverd/failoverd/internal/notify"
)

// notifier makes what tells people, if Slack is configured; nil otherwise. Every
// node listens for clicks; the leader posts.
func (d *Daemon) notifier(cfg *config.Config) (*notify.Notifier, error) {
	sl := cfg.Slack
	if sl == nil {
		return nil, nil
	}
	bot, app, err := sl.Tokens()
	if err != nil {
		return nil, err
	}
	dns := &dnsq.Client{Resolvers: cfg.Probes.Resolvers}
	return notify.New(notify.Options{
		BotToken: bot.Reveal(), AppToken: app.Reveal(), APIURL: sl.APIURL, Channel: sl.Channel, Team: sl.Team, Approvers: sl.Approvers,
		Decide: d.decideClick, Saved: d.savedMessage, Dial: dns.DialContext, Log: d.log.With("to", "slack"),
	})
}

// post shows every change of an incident or execution while this node leads.
func (d *Daemon) post(ctx context.Context, n *notify.Notifier) {
	closed := map[uint64]time.Time{} // when those ended that were shown as ended; one may be carried on, and end again
	for _, e := range d.State().History {
		closed[e.ID] = e.FinishedAt
	}
	var page Pager
	for {
		changed := d.Changed()
		if d.core.Leads() {
			s := d.State()
			for _, u := range page.Next(s, time.Now()) {
				n.Post(u)
			}
			for _, e := range s.History {
				if at, ok := closed[e.ID]; !ok || !at.Equal(e.FinishedAt) {
					n.Post(renderExecution(s, e, nil))
					closed[e.ID] = e.FinishedAt
				}
			}
			switch v, err := d.core.LocalView(); {
			case s.Execution != nil && err == nil:
				n.Post(renderExecution(s, s.Execution, v.Progress))
			case s.Incident != nil:
				n.Post(renderIncident(s))
			}
		}
		t := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-changed:
		case <-t.C:
		}
		t.Stop()
	}
}

// messageKey names the one message of an incident and of its execution.
func messageKey(incident, execution uint64) string {
	if incident != 0 {
		return fmt.Sprintf("incident-%020d", incident)
	}
	return fmt.Sprintf("execution-%020d", execution)
}

func message(s *failover.State, key string) notify.Message {
	ref := s.Messages[key]
	return notify.Message{Channel: ref.Channel, TS: ref.TS, Details: ref.Details}
}

func renderIncident(s *failover.State) notify.Update {
	inc := s.Incident
	key := messageKey(inc.ID, 0)
	u := notify.Update{
		ID: key, Epoch: s.Epoch, Title: fmt.Sprintf("%s: %s is down", s.Settings.Service, inc.Region),
		Lines:   []string{inc.Condition.Meaning(), fmt.Sprintf("seen for %s by every vantage outside", inc.Held.D().Round(time.Second))},
		Message: message(s, key),
	}
	if p, err := plan.Derive(s.Settings, s.Active); err == nil { // why there is none is said where the plan is asked for
		u.Lines = append(u.Lines, prices(s, &p)...)
	}
	if inc.Refusal != "" {
		u.Lines = append(u.Lines, "Nothing was started: "+inc.Refusal)
	}
	return u
}

func renderExecution(s *failover.State, e *failover.Execution, progress map[failover.StepID]string) notify.Update {
	key := messageKey(e.Incident, e.ID)
	u := notify.Update{
		ID: key, Execution: e.ID, Epoch: s.Epoch, Done: e.State.Final(),
		Title:   fmt.Sprintf("%s: %s from %s to %s – %s", s.Settings.Service, e.Kind, e.From, e.To, e.State),
		Message: message(s, key),
	}
	u.Lines = append(u.Lines, "Why: "+e.Why)
	for _, st := range e.Plan.Steps {
		rec := e.Step(st.ID)
		line := fmt.Sprintf("%s %s", stepMark(rec.State), st.ID)
		if p := progress[st.ID]; p != "" && rec.State == failover.StepRunning {
			line += ": " + p
		}
		u.Lines = append(u.Lines, line)
		if st.NoReturn {
			u.Lines = append(u.Lines, "— point of no return —")
		}
	}
	for _, ev := range e.Evidence {
		if ev.Void == "" {
			u.Lines = append(u.Lines, fmt.Sprintf("Stopped: %s (%s)", ev.Component, ev.Class))
		}
	}
	for _, ev := range s.Events {
		if ev.Index >= e.ID && (e.FinishedAt.IsZero() || !ev.At.After(e.FinishedAt)) && ev.Kind != "lead" {
			u.Details = append(u.Details, fmt.Sprintf("%s  %s  [%s]", ev.At.Format("15:04:05"), ev.Text, ev.By))
		}
	}
	if e.Outcome != "" {
		u.Lines = append(u.Lines, "Outcome: "+e.Outcome)
	}
	if q := e.Question; q != nil {
		u.Nonce = q.Nonce
		u.Lines = append(u.Lines, "*Waits for you:* "+q.Text, "Or: "+strings.Join(q.Ways, " · "))
		if back := s.Back(); back != "" {
			u.Lines = append(u.Lines, back)
		}
		if e.State == failover.ExecAwaiting {
			u.Lines = append(u.Lines, prices(s, e.Plan)...)
		}
		if q.Kind == "approval" {
			u.Buttons = append(u.Buttons, notify.Button{ID: "approve", Label: "Approve", Style: "primary"})
		}
	}
	if !u.Done {
		if e.State == failover.ExecRunning {
			u.Buttons = append(u.Buttons, notify.Button{ID: "hold", Label: "Hold"})
		}
		u.Buttons = append(u.Buttons, notify.Button{ID: "abort", Label: "Abort", Style: "danger"})
	}
	return u
}

// prices is what a plan would cost, for who has to decide.
func prices(s *failover.State, p *failover.Plan) []string {
	out := []string{"*What it would cost:*"}
	for _, line := range plan.PriceOf(s, p, time.Now()).Lines() {
		out = append(out, "• "+line)
	}
	return out
}

func stepMark(s failover.StepState) string {
	switch s {
	case failover.StepDone:
		return "✔"
	case failover.StepRunning, failover.StepUndoing:
		return "▶"
	case failover.StepSkipped, failover.StepUnproven, failover.StepUndone:
		return "–"
	case failover.StepFailed, failover.StepUnclear:
		return "✘"
	}
	return "·"
}

// decideClick turns a click into a command. The state decides whether it is
// still meant: execution, question and epoch stand in the button.
func (d *Daemon) decideClick(ctx context.Context, c notify.Click) (string, error) {
	if s := d.State(); s.Epoch > c.Epoch {
		return "", fmt.Errorf("this button is from epoch %d, it is %d by now: look at the newest message", c.Epoch, s.Epoch)
	}
	var cmd failover.Command
	switch c.Action {
	case "approve":
		cmd = failover.Approve{Execution: c.Execution, Nonce: c.Nonce}
	case "hold":
		cmd = failover.Hold{Execution: c.Execution}
	case "abort":
		cmd = failover.Abort{Execution: c.Execution}
	default:
		return "", fmt.Errorf("button %q means nothing here", c.Action)
	}
	who := "slack " + c.User
	if c.UserName != "" {
		who += " (" + c.UserName + ")"
	}
	_, err := d.Propose(ctx, who, "Slack button", "", cmd)
	var refusal *failover.Refusal
	if errors.As(err, &refusal) {
		return "", refusal
	}
	if err != nil {
		return "", fmt.Errorf("not carried out: %w", err)
	}
	return cmd.Name() + " accepted", nil
}

// savedMessage remembers in the log where a message is, so that the next leader
// updates the same one.
func (d *Daemon) savedMessage(id string, m notify.Message) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := d.core.Node().Propose(ctx, failover.Meta{By: "node " + string(d.this.ID)}, failover.SaveMessage{
		Key: id, Ref: failover.MessageRef{Channel: m.Channel, TS: m.TS, Details: m.Details},
	})
	if err != nil {
		d.log.Info("where the message is could not be kept; a new leader would post another", "error", err)
	}
}
