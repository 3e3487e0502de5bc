package failover_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/failoverd/failoverd/failover"
)

// entry is one entry of a random log.
type entry struct {
	meta failover.Meta
	cmd  failover.Command
}

// walk is a random log, and what it has shown.
type walk struct{ accepted, refused, advanced, newest, late int }

// TestProperties applies random logs, most of whose entries fit the state that
// they meet, and holds what must be true of every log.
func TestProperties(t *testing.T) {
	var w walk
	rapid.Check(t, func(t *rapid.T) {
		w.on(t, failover.NewState(), failover.Meta{Term: 1, At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}, rapid.IntRange(1, failover.Features).Draw(t, "level"))
	})
	t.Logf("%+v", w)
	if w.advanced == 0 || w.refused == 0 || w.newest == 0 {
		t.Error("the random logs show too little")
	}
}

// TestPropertiesWithALateWrite goes on from a failover that left a write behind
// which may still land: few random logs come as far.
func TestPropertiesWithALateWrite(t *testing.T) {
	c, token := following(t)
	c.finish(object, token, failover.StepUnproven)
	c.close()
	c.exchange()
	from := c.s
	var w walk
	rapid.Check(t, func(t *rapid.T) {
		w.on(t, from.Clone(), failover.Meta{Index: from.Index, Term: from.Term, At: c.now}, 0)
	})
	t.Logf("%+v", w)
	if w.late == 0 || w.refused == 0 {
		t.Error("the random logs show too little")
	}
}

// on goes on from a state. level is the feature level that the members are brought
// to first; zero leaves it.
func (w *walk) on(t *rapid.T, s *failover.State, meta failover.Meta, level int) {
	from := s.Clone()
	var log []entry
	var twins []*failover.State     // must go on exactly as s does
	var kept []*failover.State      // clones that nothing may change
	var keptAs []string             // what they looked like
	var snapshots []*failover.State // restored from bytes
	var first []failover.Command
	for range rapid.IntRange(10, 200).Draw(t, "entries") {
		e := entry{meta: nextMeta(t, &meta), cmd: draw(t, s)}
		switch {
		case len(first) > 0:
			e.cmd, first = first[0], first[1:]
			e.meta.ID, e.meta.ProposedTerm = "", e.meta.Term
		case s.Settings != nil && level > 1:
			first, level = upgraded(s, level), 0
		}
		log = append(log, e)
		before := s.Clone()
		was := bytesOf(t, before)
		res := s.Apply(e.meta, e.cmd)
		if bytesOf(t, before) != was {
			t.Fatalf("%s on a state changed its clone", e.cmd.Name())
		}
		if res.Err != nil {
			w.refused++
			unchanged(t, before, s, e.cmd)
		} else {
			w.accepted++
		}
		if s.Epoch != before.Epoch && before.Settings != nil {
			w.advanced++
			evidenced(t, before, e.cmd)
		}
		if s.Level() == failover.Features {
			w.newest++
		}
		if late(t, before, s, e.cmd) {
			w.late++
		}
		onlyGrows(t, before, s)
		deposed(t, before, s, e)
		ordered(t, before, s)
		grants(t, s, e.cmd, res)
		for _, twin := range append(twins, snapshots...) {
			twin.Apply(e.meta, e.cmd)
		}
		switch rapid.IntRange(0, 9).Draw(t, "copy") {
		case 0:
			// It goes another way, and no later entry of s may be seen in it.
			fork := s.Clone()
			fork.Apply(failover.Meta{Index: e.meta.Index + 1, Term: 99, ProposedTerm: 99}, failover.Lead{Node: "elsewhere"})
			kept, keptAs = append(kept, fork), append(keptAs, bytesOf(t, fork))
		case 1:
			twins = append(twins, s.Clone())
		case 2:
			snapshots = append(snapshots, restored(t, s))
		}
	}
	// S7: the same log gives the same bytes, from the beginning, from a clone
	// and from a snapshot.
	for _, e := range log {
		from.Apply(e.meta, e.cmd)
	}
	want := bytesOf(t, s)
	for _, other := range append(append(twins, snapshots...), from) {
		if got := bytesOf(t, other); got != want {
			t.Fatalf("the same log gave another state\n%s\n%s", want, got)
		}
	}
	for i, k := range kept {
		if bytesOf(t, k) != keptAs[i] {
			t.Fatal("a clone changed with its original")
		}
	}
}

// late: a write that may still land is forgotten only for what was read at its
// resource, for a newer one of the same step, or on a person's word; and no epoch
// begins while there is one, unless a person has lifted that (E4). It reports whether one was settled.
func late(t *rapid.T, before, after *failover.State, c failover.Command) (settled bool) {
	if e := before.Execution; after.Epoch > before.Epoch && len(before.Late) > 0 && !slices.Contains(e.Overrides, failover.GuardLate) {
		t.Fatalf("epoch %d began while %+v may still land", after.Epoch, before.Late)
	}
	for _, o := range before.Late {
		if slices.ContainsFunc(after.Late, func(n failover.LateToken) bool {
			return n.ID == o.ID || n.Step.Fingerprint() == o.Step.Fingerprint() && n.Token > o.Token
		}) {
			continue
		}
		if x, ok := c.(failover.SettleToken); ok && x.ID == o.ID && x.Stands >= o.Token {
			settled = true
			continue
		}
		if x, ok := c.(failover.ReleaseHold); !ok || x.Component != failover.LateWrite {
			t.Fatalf("%s made %+v be forgotten", c.Name(), o)
		}
	}
	return settled
}

func bytesOf(t *rapid.T, s *failover.State) string {
	b, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func restored(t *rapid.T, s *failover.State) *failover.State {
	out := failover.NewState()
	if err := json.Unmarshal([]byte(bytesOf(t, s)), out); err != nil {
		t.Fatal(err)
	}
	return out
}

// unchanged: a refusal changes nothing but index, term and time, and is noted.
func unchanged(t *rapid.T, before, after *failover.State, c failover.Command) {
	was := before.Clone()
	was.Index, was.Term, was.Time = after.Index, after.Term, after.Time
	if n := len(after.Refusals); n > 0 && after.Refusals[n-1].Index == after.Index {
		was.Refusals = after.Refusals
	}
	if bytesOf(t, was) != bytesOf(t, after) {
		t.Fatalf("%s was refused but changed the state", c.Name())
	}
}

// evidenced: the epoch advances only over accepted evidence for every fenced
// component, of this freeze and this epoch, that nobody took back (S1).
func evidenced(t *rapid.T, before *failover.State, c failover.Command) {
	if _, ok := c.(failover.AdvanceEpoch); !ok {
		t.Fatalf("%s changed the epoch", c.Name())
	}
	e := before.Execution
	for _, f := range e.Plan.Fenced {
		if !slices.ContainsFunc(e.Evidence, func(ev failover.Evidence) bool {
			return ev.Component == f.Component && ev.Void == "" && ev.Freeze == before.Freeze.ID && ev.Epoch == before.Epoch &&
				(ev.Class == failover.Attested || slices.Contains(f.Proof, ev.Class))
		}) {
			t.Fatalf("the epoch advanced without evidence for %s", f.Component)
		}
	}
	if before.Freeze.Provisional || e.State != failover.ExecRunning {
		t.Fatalf("the epoch advanced with a provisional freeze (%t) in state %s", before.Freeze.Provisional, e.State)
	}
}

// onlyGrows: no event is ever lost or changed (S9); time and epoch never fall;
// history is only added to.
func onlyGrows(t *rapid.T, before, after *failover.State) {
	if len(after.Events) < len(before.Events) || !slices.Equal(before.Events, after.Events[:len(before.Events)]) {
		t.Fatal("an event was lost or changed")
	}
	history := before.History
	if n := len(history); before.Execution == nil && after.Execution != nil && n > 0 && history[n-1].ID == after.Execution.ID {
		history = history[:n-1] // carried on
	}
	if after.Time.Before(before.Time) || after.Epoch < before.Epoch || len(after.History) < len(history) {
		t.Fatal("time, epoch or history fell back")
	}
	if before.Execution != nil && after.Execution != nil && before.Execution.ID != after.Execution.ID {
		t.Fatal("an execution began before the one that was open had ended (S5)")
	}
}

// deposed: what was proposed in another term than it lands in comes from somebody
// who leads no more. Nothing begins with it: no incident, no execution, no effect,
// no freeze; and it proves nothing and moves nothing (E1). People's commands may
// come from anywhere.
func deposed(t *rapid.T, before, after *failover.State, e entry) {
	if e.meta.ProposedTerm == e.meta.Term {
		return
	}
	begun := func(s *failover.State) (incidents, executions, attempts, proofs int) {
		if s.Incident != nil {
			incidents = 1
		}
		for _, e := range []*failover.Execution{s.Execution, s.Preparation} {
			if e == nil {
				continue
			}
			executions++
			for _, r := range e.Steps {
				attempts += len(r.Attempts)
			}
			for _, ev := range e.Evidence {
				if ev.Class != failover.Attested {
					proofs++
				}
			}
		}
		return incidents, executions, attempts, proofs
	}
	i, x, a, p := begun(before)
	i2, x2, a2, p2 := begun(after)
	froze := after.Freeze != nil && (before.Freeze == nil || *after.Freeze != *before.Freeze)
	if i2 > i || x2 > x || a2 > a || p2 > p || froze || after.Epoch != before.Epoch || after.Active != before.Active || after.Traffic != before.Traffic {
		t.Fatalf("%s of term %d, landed in term %d, counted", e.cmd.Name(), e.meta.ProposedTerm, e.meta.Term)
	}
}

// ordered: a step begins after those that it comes after, once, and in the new
// region only when that one is active (S1, S3, S4); clients are sent where the
// service is active; and nobody passes the fence over.
func ordered(t *rapid.T, before, after *failover.State) {
	if after.Traffic != before.Traffic && after.Traffic != after.Active {
		t.Fatalf("clients are sent to %s, and %s is active", after.Traffic, after.Active)
	}
	was, is := before.Execution, after.Execution
	if was == nil || is == nil || was.ID != is.ID {
		return
	}
	for _, st := range is.Plan.Steps {
		rec, old := is.Step(st.ID), was.Step(st.ID)
		if (st.Kind == failover.KindFence || st.Kind == failover.KindFreeze) && rec.State == failover.StepSkipped {
			t.Fatalf("%s was skipped", st.ID)
		}
		last := rec.Last()
		if len(rec.Attempts) == len(old.Attempts) || last.Undo || last.Burn {
			continue
		}
		if old.State == failover.StepDone {
			t.Fatalf("%s was done, and began again", st.ID)
		}
		for _, dep := range st.After {
			if !was.Step(dep).Passed() {
				t.Fatalf("%s began before %s had passed", st.ID, dep)
			}
		}
		if (st.Kind == failover.KindStart || st.Kind == failover.KindSwitch) && before.Active != is.To {
			t.Fatalf("%s began in %s while %s was active", st.ID, is.To, before.Active)
		}
	}
}

// grants: only the active region gets leases, never during a firm freeze.
func grants(t *rapid.T, s *failover.State, c failover.Command, res failover.Result) {
	round, ok := c.(failover.Round)
	if !ok || res.Value == nil {
		return
	}
	for i, g := range res.Value.([]failover.Grant) {
		if g.Granted && (round.Requests[i].Region != s.Active || s.Freeze != nil) {
			t.Fatalf("a lease was granted to %s: %s is active, freeze %v", round.Requests[i].Agent, s.Active, s.Freeze)
		}
		if g.Granted && s.Agents[round.Requests[i].Agent].MaxLease < max(round.Requests[i].Lease, s.Settings.Policy.Lease.Length) {
			t.Fatal("a grant is longer than what the log remembers of it (G4)")
		}
	}
}

func nextMeta(t *rapid.T, m *failover.Meta) failover.Meta {
	m.Index += uint64(rapid.IntRange(1, 2).Draw(t, "index"))
	if rapid.IntRange(0, 19).Draw(t, "term") == 0 {
		m.Term++
	}
	m.At = m.At.Add(time.Duration(rapid.IntRange(-2000, 60_000).Draw(t, "ms")) * time.Millisecond)
	out := *m
	out.ProposedTerm = m.Term
	if rapid.IntRange(0, 29).Draw(t, "deposed") == 0 {
		out.ProposedTerm--
	}
	out.Node, out.By, out.Why = "use2a", rapid.SampledFrom([]string{"uid 1", "uid 2", ""}).Draw(t, "by"), "because"
	out.ID = rapid.SampledFrom([]string{"", "", "a", "b"}).Draw(t, "id")
	return out
}
