package sim

import (
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

// What stories look at.

// kinds counts the lines of the timeline since then, by kind.
func (s *stage) kinds(since time.Time) map[string]int {
	out := map[string]int{}
	for _, ev := range s.state().Events {
		if !ev.At.Before(since) {
			out[ev.Kind]++
		}
	}
	return out
}

// conditions are those that were named of the first active region since then, each
// once.
func (s *stage) conditions(since time.Time) []string { return s.conditionsOf(east1, since) }

func (s *stage) conditionsOf(region string, since time.Time) (out []string) {
	for _, ev := range s.state().Events {
		if ev.Kind != "note-suspicion" || ev.At.Before(since) {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(ev.Text, region+" "), ":")
		if strings.HasPrefix(ev.Text, region+": ") {
			name = "healthy"
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// last and first are when an entry of the record was the newest, or the oldest
// since then, of its kind and region; zero: none.
func (s *stage) last(kind oracle.Kind, region string) (at time.Time) {
	for _, e := range s.world.records(kind) {
		if e.Region == region {
			at = e.At
		}
	}
	return at
}

func (s *stage) first(kind oracle.Kind, region string, since time.Time) time.Time {
	for _, e := range s.world.records(kind) {
		if e.Region == region && !e.At.Before(since) {
			return e.At
		}
	}
	return time.Time{}
}

// dark lets every signal of a region fail, or work again.
func (s *stage) dark(region string, dark bool) {
	s.world.set(func() { s.world.sights.ill[region] = dark })
}

// noted reports whether the world's record has a note that contains the text.
func (s *stage) noted(text string) bool { return !s.notedAt(text).IsZero() }

// notedAt is when the first such note was made; zero: never.
func (s *stage) notedAt(text string) time.Time {
	for _, e := range s.world.records(oracle.Note) {
		if strings.Contains(e.Detail, text) {
			return e.At
		}
	}
	return time.Time{}
}

// noticed is when the first entry of a kind after a moment was made; zero: never.
func (s *stage) noticed(after time.Time, kind failover.Command) time.Time {
	for _, ev := range s.state().Events {
		if ev.Kind == kind.Name() && ev.At.After(after) {
			return ev.At
		}
	}
	return time.Time{}
}

// evidence is when a component was proven to have stopped, in the newest execution.
func (s *stage) evidence(c failover.Component) time.Time {
	for _, ev := range s.state().History[len(s.state().History)-1].Evidence {
		if ev.Component == c {
			return ev.At
		}
	}
	return time.Time{}
}

// question is the open question, if it says the text; nil: there is none.
func (s *stage) question(text string) *failover.Question {
	if e := s.state().Execution; e != nil && e.Question != nil && strings.Contains(e.Question.Text, text) {
		return e.Question
	}
	return nil
}

// sees reports whether the running steps, or the question that is open, say the
// text.
func (s *stage) sees(text string) bool {
	if s.question(text) != nil {
		return true
	}
	if l := s.leader(); l != nil {
		if v, err := l.live().LocalView(); err == nil {
			for _, line := range v.Progress {
				if strings.Contains(line, text) {
					return true
				}
			}
		}
	}
	return false
}

// refusesFile reports whether a configuration is refused with a line number and
// the text.
func (s *stage) refusesFile(file, text string) bool {
	_, err := config.Parse("my.toml", []byte(file))
	ok := err != nil && strings.Contains(err.Error(), "my.toml:") && strings.Contains(err.Error(), text)
	if !ok {
		s.t.Logf("%q is not refused for %q: %v", "my.toml", text, err)
	}
	return ok
}

// idle reports whether nothing is open and nobody is left, as when all is well.
func (s *stage) idle() bool {
	return s.waits() && s.state().Freeze == nil
}

// waits is the same while the hold runs: a lease may be frozen provisionally.
func (s *stage) waits() bool {
	st := s.state()
	return st.Incident == nil && st.Execution == nil && st.Preparation == nil && (st.Freeze == nil || st.Freeze.Provisional) && st.Epoch == 1 && st.Active == east1
}

// untouched reports whether nothing has been sent to change the world since then, and
// clients are where they were.
func (s *stage) untouched(since time.Time) bool {
	return s.world.trafficNow() == east1 && s.sent(since) == 0
}

// sent counts the calls to change the world since then.
func (s *stage) sent(since time.Time) int {
	n := 0
	for _, e := range s.world.records(oracle.Sent) {
		if !e.At.Before(since) {
			n++
		}
	}
	return n
}

// effects counts the entries of the record of a kind and a region since then.
func (s *stage) effects(kind oracle.Kind, region string, since time.Time) int {
	n := 0
	for _, e := range s.world.records(kind) {
		if e.Region == region && !e.At.Before(since) {
			n++
		}
	}
	return n
}

// told reports whether one message to people says all of the texts.
func (s *stage) told(texts ...string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.pages, func(p page) bool {
		all := p.title + " " + strings.Join(p.lines, " ")
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(all, text) })
	})
}

// messages are the different ones to people since then; updates of one are one.
func (s *stage) messages(since time.Time) map[string]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]time.Time{}
	for _, p := range s.pages {
		if _, known := out[p.id]; !known && !p.at.Before(since) {
			out[p.id] = p.at
		}
	}
	return out
}

// asked reports whether the open question says all of the texts, and names the ways.
func (s *stage) asked(ways []string, texts ...string) bool {
	q := s.question("")
	if q == nil {
		return false
	}
	for _, text := range texts {
		if !strings.Contains(q.Text, text) {
			s.t.Logf("the question does not say %q: %s", text, q.Text)
			return false
		}
	}
	for _, way := range ways {
		if !slices.Contains(q.Ways, way) {
			s.t.Logf("%q is not among the ways: %q", way, q.Ways)
			return false
		}
	}
	return true
}

// longest is the longest time for which a condition of the first active region stood
// without a break.
func (s *stage) longest(c failover.Condition, since time.Time) (most time.Duration) {
	began := time.Time{}
	end := func(at time.Time) {
		if !began.IsZero() {
			most = max(most, at.Sub(began))
		}
		began = time.Time{}
	}
	for _, ev := range s.state().Events {
		if ev.Kind != "note-suspicion" || ev.At.Before(since) || !strings.HasPrefix(ev.Text, east1) {
			continue
		}
		if !strings.HasPrefix(ev.Text, east1+" "+string(c)+":") {
			end(ev.At)
		} else if began.IsZero() {
			began = ev.At
		}
	}
	end(time.Now())
	return most
}

// fencedAny reports whether a lease was frozen, or a region left, since then.
func (s *stage) fencedAny(since time.Time) bool {
	kinds := s.kinds(since)
	return kinds["freeze-lease"]+kinds["advance-epoch"] > 0
}

// firstSent is the first call to change the world since then.
func (s *stage) firstSent(since time.Time) oracle.Entry {
	for _, e := range s.world.records(oracle.Sent) {
		if !e.At.Before(since) {
			return e
		}
	}
	return oracle.Entry{}
}

// firstGrant is when the first lease was granted to an agent of a region.
func (s *stage) firstGrant(region string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.grants {
		if g.region == region {
			return g.at
		}
	}
	return time.Time{}
}

// inOrder reports whether the failover since then has come to its end in the order
// that people are promised.
func (s *stage) inOrder(since time.Time) bool {
	suspected, opened := s.noticed(since, failover.NoteSuspicion{}), s.eventAt("open-incident", "")
	frozen, left := s.noticed(since, failover.FreezeLease{}), s.eventAt("advance-epoch", "epoch 2")
	up, flip := s.first(oracle.WorkerUp, east2, since), s.first(oracle.Flip, east2, since)
	checked, stable := s.eventAt("step-finished", "check-workers-check done"), s.eventAt("step-finished", "step stable done")
	order := []time.Time{since, suspected, frozen, opened, left, up, checked, stable}
	return !slices.ContainsFunc(order, time.Time.IsZero) && slices.IsSortedFunc(order, time.Time.Compare) && left.Before(flip) && flip.Before(checked) &&
		opened.Sub(suspected) >= s.settings.Policy.Hold.D() && left.Sub(frozen) >= s.state().FreezeWait(east1) && s.state().Epoch == 2
}

// leadsFrom gives the leadership to a node.
func (s *stage) leadsFrom(id string) {
	s.t.Helper()
	if l := s.leader(); l == nil || l.live().Node().TransferTo(failover.NodeID(id)) != nil || !s.when(5*time.Second, func() bool { l := s.leader(); return l != nil && l.id == id }) {
		s.t.Errorf("%s does not lead", id)
	}
}

// succeeded is how long after the death of a leader another one was past its barrier;
// zero: it was not within the limit.
func (s *stage) succeeded(died time.Time, old *host, limit time.Duration) time.Duration {
	for time.Since(died) < limit {
		sleep(5 * time.Millisecond)
		if l := s.leader(); l != nil && l != old {
			return time.Since(died)
		}
	}
	return 0
}

// leaderDies kills the leader several times in mid-plan, while a person presses
// each button twice.
func (s *stage) leaderDies(times int, limit time.Duration, within string) {
	s.dark(east1, true) // its nodes live: there is one more than a quorum
	if !s.when(5*time.Minute, func() bool { e := s.state().Execution; return e != nil && e.State == failover.ExecAwaiting }) {
		s.t.Fatal("nobody is asked")
	}
	s.world.set(func() { s.world.late = 8 * time.Second })
	e := s.state().Execution
	click := failover.Approve{Execution: e.ID, Nonce: e.Question.Nonce}
	asked := time.Now()
	s.order("slack U1", click)
	again := s.refused("slack U1", click, "no-question")
	s.person(again && s.kinds(asked)["approve"] == 1 && len(s.state().Execution.Approvals) == 1, "that the second click of the same button counts for nothing")
	for range times {
		sleep(300 * time.Millisecond)
		s.when(5*time.Second, func() bool { return s.leader() != nil })
		old := s.leader()
		if s.state().Execution == nil {
			s.t.Error("the plan is over before the leader has died often enough")
			return
		}
		died := time.Now()
		s.crash(old)
		took := s.succeeded(died, old, 2*limit)
		s.daemon(took > 0 && took <= limit, within)
		s.t.Logf("past the barrier after %s", took)
		sleep(time.Second) // its service manager
		s.start(s.ctx, old)
	}
	s.daemon(s.when(5*time.Minute, func() bool { return s.ended() == failover.ExecStable }), "ends stable")
	s.daemon(len(s.world.records(oracle.Flip)) == 1, "moves the traffic once")
	sleep(6 * time.Minute)
	index := s.state().Epoch
	s.person(s.refused("slack U1", click, "no-execution") && s.kinds(asked)["approve"] == 1 && s.state().Epoch == index && s.state().Execution == nil, "that a click which is six minutes old is stale")
}

// holders are the agents of a region that a lease was granted to since then.
func (s *stage) holders(region string, since time.Time) (out []failover.AgentID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.grants {
		if g.region == region && !g.at.Before(since) && !slices.Contains(out, g.agent) {
			out = append(out, g.agent)
		}
	}
	return out
}
