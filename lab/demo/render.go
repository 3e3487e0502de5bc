package demo

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/world"
)

const (
	columns = 98
	bold    = "\x1b[1m"
	dim     = "\x1b[2m"
	red     = "\x1b[31m"
	green   = "\x1b[32m"
	yellow  = "\x1b[33m"
	cyan    = "\x1b[36m"
	off     = "\x1b[0m"
)

// render draws one picture, at most 100 columns and 40 rows.
func render(f frame) string {
	var b strings.Builder
	line := func(format string, args ...any) { b.WriteString(" " + fmt.Sprintf(format, args...) + "\n") }
	state := green + "us-east-1 serves" + off
	if !f.lossAt.IsZero() {
		state = red + fmt.Sprintf("us-east-1 was lost %.1f s ago", f.now.Sub(f.lossAt).Seconds()) + off
		if f.home {
			state = green + fmt.Sprintf("there and back, ordered %.1f s ago", f.now.Sub(f.lossAt).Seconds()) + off
		}
	}
	line("%sfailoverd%s  %s   %stime ÷ %g, %.0f s since the start%s", bold, off, state, dim, f.factor, f.now.Sub(f.begin).Seconds(), off)
	line("%s", rule(""))
	for _, r := range []string{world.Primary, world.Secondary} {
		line("%s", regionLine(f, r))
	}
	dup := green
	if f.ledger.Duplicates > 0 || f.ledger.DualActiveMs > 0 {
		dup = red + bold
	}
	line("messages %d accepted, %d processed   %sduplicates %d, both regions active %d ms%s", f.ledger.Acked, f.ledger.Processed,
		dup, f.ledger.Duplicates, f.ledger.DualActiveMs, off)
	s := f.status
	if s == nil {
		line("%s", rule("no node answers yet"))
	} else {
		watching(line, s)
		deciding(line, s)
		if e := s.Current(); e != nil {
			executing(line, f, s, e)
		}
	}
	line("%s", rule(""))
	for _, t := range f.says {
		line("%s", cut(t, columns-1))
	}
	if f.waiting != "" {
		line("%s%s%s", dim, cut("waiting for: "+f.waiting, columns-1), off)
	}
	return b.String()
}

func regionLine(f frame, r string) string {
	share := f.share[r]
	word := dim + "standby" + off
	if f.status != nil && f.status.Active == r {
		word = green + "active " + off
	}
	if r == world.Primary && !f.lossAt.IsZero() && f.status != nil && f.status.Active != r {
		word = red + "left   " + off
	}
	return fmt.Sprintf("%s%-10s%s %s  workers %d   clients %s %3.0f %%   %5.1f messages/s", bold, r, off, word, f.ledger.Alive[r],
		bar(share, 20, cyan), share*100, f.rate[r])
}

// watching shows who sees what.
func watching(line func(string, ...any), s *harness.Status) {
	line("%s", rule(fmt.Sprintf("who sees what of %s · leader %s, term %d", orDash(s.Active), orDash(s.Raft.Leader), s.Raft.Term)))
	if s.LeaderError != "" {
		line("%sno leader is heard: %s%s", yellow, cut(s.LeaderError, 70), off)
	}
	for _, v := range s.Views {
		in := ""
		if v.Inside {
			in = " inside"
		}
		line("%-18s %s  %s%s%s", v.Vantage+in, health(v.Health), dim, cut(v.Why, columns-32), off)
	}
}

// deciding shows what the leader makes of it, and how far hold and lease have run.
func deciding(line func(string, ...any), s *harness.Status) {
	line("%s", rule("decision"))
	cond := green + "healthy" + off
	if s.Condition != "" {
		cond = red + bold + s.Condition + off
	}
	line("condition          %s", cond)
	hold := float64(0)
	if s.Hold > 0 {
		hold = s.HoldElapsed.D().Seconds() / s.Hold.D().Seconds()
	}
	line("hold               %s  %4.1f s of %.1f s", bar(hold, 34, yellow), min(s.HoldElapsed.D(), s.Hold.D()).Seconds(), s.Hold.D().Seconds())
	if s.Freeze == nil {
		line("lease of %-9s %srenewed; workers run under it%s", s.Active, dim, off)
		return
	}
	kind := "frozen"
	if s.Freeze.Provisional {
		kind = "frozen, provisionally"
	}
	wait := s.FreezeAge.D().Seconds() / max(s.FreezeWait.D().Seconds(), 0.001)
	line("lease runs out     %s  %4.1f s of %.1f s  %s", bar(wait, 34, yellow), min(s.FreezeAge.D(), s.FreezeWait.D()).Seconds(), s.FreezeWait.D().Seconds(), kind)
}

// executing shows the plan's steps, the evidence and the question, if there is one.
func executing(line func(string, ...any), f frame, s *harness.Status, e *harness.Execution) {
	line("%s", rule(fmt.Sprintf("failover, execution %d: %s · epoch %d", e.ID, e.State, s.Epoch)))
	for _, c := range e.Plan.Fenced {
		class, detail := e.Proven(c.Component)
		if class == "" {
			line("%-10s %snot proven to have stopped; accepted is %s%s", c.Component, yellow, strings.Join(c.Proof, " or "), off)
			continue
		}
		line("%-10s %sstopped%s, evidence %s: %s", c.Component, green, off, class, cut(detail, columns-40))
	}
	for _, st := range e.Plan.Steps {
		rec, state := e.Steps[st.ID], e.StepState(st.ID)
		detail := rec.Detail
		if p := s.Progress[st.ID]; p != "" && state == "running" {
			detail = p
		}
		line("%s %-26s %8s  %s%s%s", mark(state), st.ID, took(rec, f.now), dim, cut(detail, columns-42), off)
		if st.NoReturn {
			line("%s  · · · · point of no return%s", dim, off)
		}
	}
	if q := e.Question; q != nil {
		line("%s%s? %s%s", yellow, bold, cut(q.Text, columns-4), off)
		line("%s  answers: %s%s", yellow, cut(strings.Join(q.Ways, " | "), columns-14), off)
	}
}

// took is how long a step has taken, to now if it still runs.
func took(s harness.Step, now time.Time) string {
	if len(s.Attempts) == 0 {
		return ""
	}
	end := s.Attempts[len(s.Attempts)-1].FinishedAt
	if end.IsZero() {
		if end = now; end.IsZero() {
			return ""
		}
	}
	return fmt.Sprintf("%.1f s", max(0, end.Sub(s.Attempts[0].StartedAt).Seconds()))
}

func mark(state string) string {
	switch state {
	case "done":
		return green + "✓" + off
	case "running", "undoing":
		return cyan + "▶" + off
	case "failed", "unclear":
		return red + "✗" + off
	case "unproven", "skipped":
		return yellow + "~" + off
	}
	return dim + "·" + off
}

func health(h string) string {
	color := map[string]string{"healthy": green, "degraded": yellow, "down": red}[h]
	return color + fmt.Sprintf("%-9s", h) + off
}

func bar(part float64, width int, color string) string {
	n := int(min(max(part, 0), 1)*float64(width) + 0.5)
	return color + strings.Repeat("█", n) + off + dim + strings.Repeat("░", width-n) + off
}

func rule(title string) string {
	if title != "" {
		title = " " + cut(title, columns-6) + " "
	}
	return dim + "──" + off + title + dim + strings.Repeat("─", max(0, columns-2-utf8.RuneCountInString(title))) + off
}

// cut shortens a text to n columns, and to its first line.
func cut(s string, n int) string {
	s, _, _ = strings.Cut(s, "\n")
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:max(0, n-1)]) + "…"
}

func orDash(s string) string { return or(s, "-") }
