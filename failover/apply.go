package failover

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Result is what applying one entry gave.
type Result struct {
	Index uint64
	Term  uint64
	// Value is the command's own result; []Grant for a Round.
	Value any
	// Err is a *Refusal when the command's preconditions did not hold. The state
	// has not changed then, but for its index, term and time.
	Err error
}

// Refusal says why a command was not accepted and what to do instead. It is
// deterministic: every node refuses the same entry with the same words.
type Refusal struct {
	// Guard names the rule that objects, for metrics and for --override.
	Guard string
	// Text is a sentence for a person, with the way out.
	Text string
}

func (r *Refusal) Error() string { return r.Text }

func refuse(guard, format string, args ...any) error {
	return &Refusal{Guard: guard, Text: fmt.Sprintf(format, args...)}
}

// seenLimit bounds the memory of command IDs. A command is repeated within
// seconds or never.
const seenLimit = 512

// Apply changes the state by one entry of the log. It is deterministic: no
// clock, no randomness, no map order. Preconditions live here, so that the late
// proposal of a deposed leader is harmless.
func (s *State) Apply(m Meta, c Command) Result {
	res := Result{Index: m.Index, Term: m.Term}
	s.Index, s.Term = m.Index, m.Term
	if at := m.At.UTC(); at.After(s.Time) {
		s.Time = at
	}
	m.At = s.Time
	if c.LeaderOnly() && m.ProposedTerm != m.Term {
		res.Err = refuse("term", "%s was proposed in term %d and landed in term %d: its proposer is no longer the leader", c.Name(), m.ProposedTerm, m.Term)
		return res
	}
	if res.Err = s.Allowed(c); res.Err != nil {
		return res
	}
	if m.ID != "" && slices.Contains(s.Seen, m.ID) {
		return res // accepted before: sent again because its outcome was unknown
	}
	if res.Err = s.bothNodes(m, c); res.Err == nil {
		if res.Value, res.Err = c.apply(s, m); res.Err == nil {
			s.whole(m, c)
		}
	}
	if ref, ok := res.Err.(*Refusal); ok && !c.LeaderOnly() && s.Level() >= 3 {
		s.Refusals = append(s.Refusals, newEvent(m, c, "refused by guard "+ref.Guard+": "+ref.Text))
		if extra := len(s.Refusals) - refusalsLimit; extra > 0 {
			s.Refusals = slices.Delete(s.Refusals, 0, extra)
		}
	}
	if res.Err == nil && m.ID != "" && !c.LeaderOnly() {
		s.Seen = append(s.Seen, m.ID)
		if extra := len(s.Seen) - seenLimit; extra > 0 {
			s.Seen = slices.Delete(s.Seen, 0, extra)
		}
	}
	return res
}

// refusalsLimit is how many refusals are kept.
const refusalsLimit = 100

// event adds a line to the audit trail.
func (s *State) event(m Meta, c Command, format string, args ...any) {
	s.Events = append(s.Events, newEvent(m, c, fmt.Sprintf(format, args...)))
}

func newEvent(m Meta, c Command, text string) Event {
	by := m.By
	if by == "" {
		by = "node " + string(m.Node)
	}
	return Event{Index: m.Index, At: m.At, Kind: c.Name(), By: by, Why: m.Why, Text: text}
}

func (c Lead) apply(s *State, m Meta) (any, error) {
	s.Leader, s.LeaderTerm = c.Node, m.Term
	s.event(m, c, "%s leads in term %d", c.Node, m.Term)
	return nil, nil
}

func (c Configure) apply(s *State, m Meta) (any, error) {
	if s.Preparation != nil {
		return nil, refuse("preparation", "configuration %s was not taken: preparation %d is under way; it is taken when that has ended", c.Hash, s.Preparation.ID)
	}
	if s.Execution != nil {
		return nil, refuse("execution-open", "configuration %s was not taken: execution %d runs with the configuration that it began with; apply it when that has ended", c.Hash, s.Execution.ID)
	}
	if s.Settings != nil && c.Settings.Service != s.Settings.Service {
		return nil, refuse("service", "configuration %s is for service %q, but this cluster protects %q: a service is never renamed in place", c.Hash, c.Settings.Service, s.Settings.Service)
	}
	if s.Active != "" && c.Settings.Other(s.Active) == "" {
		return nil, refuse("active-region", "configuration %s does not contain %s, the active region", c.Hash, s.Active)
	}
	if s.Settings == nil {
		s.Epoch, s.Active, s.Traffic = 1, c.Settings.Primary, c.Settings.Primary
	}
	settings := c.Settings
	s.Settings, s.SettingsHash, s.Source = &settings, c.Hash, ""
	if s.Level() > 1 { // an older version has no such field, and its state would differ
		s.SettingsSince = m.At
	}
	s.event(m, c, "configuration %s in force: service %s, %s active, epoch %d, mode %s", c.Hash, settings.Service, s.Active, s.Epoch, settings.Policy.Mode)
	return nil, nil
}

func (c RegisterNode) apply(s *State, m Meta) (any, error) {
	if r, gone := s.Removed[c.Node]; gone {
		return nil, RemovedError(c.Node, r)
	}
	old, known := s.Nodes[c.Node]
	if err := CheckDisk(c.Node, old, known, c.Record); err != nil {
		return nil, err
	}
	if max(1, c.Record.Features) < s.Level() {
		return nil, refuse("features", "node %s (version %s) understands feature level %d, but level %d is in force: run the version that the other nodes run", c.Node, c.Record.Version, c.Record.Features, s.Level())
	}
	rec := c.Record
	rec.At = m.At
	s.Nodes[c.Node] = rec
	if !known || old.Starts != rec.Starts {
		s.event(m, c, "node %s (%s) started, version %s", c.Node, rec.Vantage, rec.Version)
	}
	return nil, nil
}

func (c NoteSuspicion) apply(s *State, m Meta) (any, error) {
	if c.Condition == "" {
		if s.Suspicion != nil {
			s.event(m, c, "%s: %s (was %s for %s)", c.Region, c.Sentence, s.Suspicion.Condition, m.At.Sub(s.Suspicion.Since).Round(100*time.Millisecond))
		}
		s.Suspicion = nil
		return nil, nil
	}
	since := m.At
	if s.Suspicion != nil && s.Suspicion.Region == c.Region {
		since = s.Suspicion.Since
	}
	next := &Suspicion{Region: c.Region, Condition: c.Condition, Sentence: c.Sentence, Since: since}
	if s.Level() >= 2 {
		next.DownSince = downSince(s.Suspicion, c, m.At)
	}
	s.Suspicion = next
	s.event(m, c, "%s %s: %s", c.Region, c.Condition, c.Sentence)
	return nil, nil
}

// downSince carries on since when the region is dark for all who look: that some
// could not look for a while does not make it begin anew.
func downSince(old *Suspicion, c NoteSuspicion, at time.Time) time.Time {
	known := time.Time{}
	if old != nil && old.Region == c.Region {
		known = old.DownSince
	}
	switch {
	case c.Condition.dark() && known.IsZero():
		return at
	case c.Condition == Partitioned, !c.Condition.dark() && c.Alive:
		return time.Time{} // somebody sees it alive, and it may be written to
	}
	return known
}

func (c OpenIncident) apply(s *State, m Meta) (any, error) {
	switch {
	case s.Settings == nil:
		return nil, refuse("not-configured", "an incident cannot open before the cluster has a configuration")
	case s.Incident != nil:
		return nil, refuse("incident-open", "incident %d is open already", s.Incident.ID)
	case s.Execution != nil:
		return nil, refuse("execution-open", "execution %d is not finished", s.Execution.ID)
	case c.Region != s.Active:
		return nil, refuse("not-active", "%s is not the active region (%s is)", c.Region, s.Active)
	case c.Held < s.Settings.Policy.Hold:
		return nil, refuse("hold", "the vantages agreed for %s; the hold is %s", c.Held, s.Settings.Policy.Hold)
	}
	// The rule is evaluated again from the frozen votes (D3).
	j := Judge(s.Settings, c.Region, freshVotes(c.Votes, s.Settings.Policy.VoteTTL.D()))
	if j.Condition != RegionDown {
		return nil, refuse("verdict-quorum", "the frozen votes do not make %s down: %s", c.Region, j.Sentence)
	}
	s.Incident = &Incident{ID: m.Index, Region: c.Region, Condition: j.Condition, Votes: c.Votes, Held: c.Held, At: m.At}
	s.event(m, c, "incident %d: %s is down: %s; held for %s", m.Index, c.Region, j.Sentence, c.Held)
	s.keepPreparation(m, c)
	return nil, nil
}

// freshVotes keeps the frozen votes whose stated age is a time, and within ttl.
func freshVotes(votes []Vote, ttl time.Duration) []Vote {
	var out []Vote
	for _, v := range votes {
		if age := v.Age.D(); age >= 0 && age <= ttl { // none comes from the future
			out = append(out, v)
		}
	}
	return out
}

func (c RefuseIncident) apply(s *State, m Meta) (any, error) {
	if s.Incident == nil || s.Incident.ID != c.Incident {
		return nil, refuse("no-incident", "incident %d is not open", c.Incident)
	}
	if s.Incident.Refusal != c.Reason {
		s.Incident.Refusal = c.Reason
		s.event(m, c, "incident %d: nothing started, guard %s objects: %s", c.Incident, c.Guard, c.Reason)
	}
	return nil, nil
}

func (c CloseIncident) apply(s *State, m Meta) (any, error) {
	if s.Incident == nil || s.Incident.ID != c.Incident {
		return nil, refuse("no-incident", "incident %d is not open", c.Incident)
	}
	if s.Execution != nil {
		return nil, refuse("execution-open", "incident %d has a running execution (%d)", c.Incident, s.Execution.ID)
	}
	s.Incident = nil
	s.event(m, c, "incident %d closed: %s", c.Incident, c.Reason)
	return nil, nil
}

// longestPause bounds a pause, and with it every lease: their ends are counted with, by
// agents as well.
const longestPause = Duration(366 * 24 * time.Hour)

func (c PauseAutomation) apply(s *State, m Meta) (any, error) {
	if c.For <= 0 {
		return nil, refuse("pause", "a pause needs a length, such as --for 2h")
	}
	if c.For > longestPause && s.Level() >= 3 {
		return nil, refuse("pause", "a pause of %s is a mistake: it hands out leases as long as itself; %s is the longest", c.For, longestPause)
	}
	if m.Why == "" {
		return nil, refuse("why", "a pause needs a reason, such as --why \"database maintenance\"")
	}
	s.Pause = &Pause{By: m.By, Why: m.Why, Since: m.At, Until: m.At.Add(c.For.D())}
	s.event(m, c, "automation paused until %s", s.Pause.Until.Format(time.RFC3339))
	return nil, nil
}

func (c ResumeAutomation) apply(s *State, m Meta) (any, error) {
	if s.Pause == nil {
		return nil, refuse("pause", "automation is not paused")
	}
	s.Pause = nil
	s.event(m, c, "automation resumed")
	return nil, nil
}

func (c SaveMessage) apply(s *State, m Meta) (any, error) {
	if c.Key == "" {
		return nil, refuse("message", "a message needs a key")
	}
	if s.Level() >= 3 {
		c.Ref.At = m.At
	}
	s.Messages[c.Key] = c.Ref
	// Only the newest messages are still updated.
	const keep = 32
	for len(s.Messages) > keep {
		oldest := ""
		for _, k := range slices.Sorted(maps.Keys(s.Messages)) {
			if oldest == "" || s.Messages[k].At.Before(s.Messages[oldest].At) {
				oldest = k
			}
		}
		delete(s.Messages, oldest)
	}
	return nil, nil
}
