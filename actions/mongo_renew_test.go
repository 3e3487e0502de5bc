package actions

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mongotest"
)

// frozen reports whether the two members in east are frozen for some time, give or take half a minute.
func frozen(s *mongotest.Set, length time.Duration) bool {
	for n := range 2 {
		if left := s.Member(n).Frozen(); left > length || left < length-30*time.Second {
			return false
		}
	}
	return true
}

// says is a server's error.
func says(code int32) mongotest.Mood {
	return mongotest.Mood{Reply: bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: code}, {Key: "errmsg", Value: "no"}}}
}

// A leader that dies between the freeze and the command leaves nobody frozen for long. Once the command is sent they are frozen for a day, also when
// nobody knows what came of it; and when that could not be had, the error says until when.
func TestMongoFreezesForLongOnlyWhatMayBeForced(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1}, mongoAlive)
	s.Cut(true, 2)
	becomes(t, a, Absent, "FORCED")
	var at atomic.Bool
	s.SetMoodAt(2, "replSetReconfig", mongotest.Mood{Hang: func(context.Context) bool {
		at.Store(frozen(s, mongoTried))
		for n := range 2 {
			s.SetMoodAt(n, "replSetFreeze", says(262))
		}
		return false
	}})
	if err := try(t, a); err == nil || !strings.Contains(err.Error(), "stay frozen for 30m") || !strings.Contains(err.Error(), "freezing "+s.Hosts[0]) {
		t.Errorf("%v: want until when they are frozen, and that it could not be lengthened", err)
	}
	if !at.Load() {
		t.Errorf("when it is forced they are frozen for %s and %s; want %s", s.Member(0).Frozen(), s.Member(1).Frozen(), mongoTried)
	}
	for n := range 2 {
		s.SetMoodAt(n, "replSetFreeze", mongotest.Mood{})
	}
	s.SetMoodAt(2, "replSetReconfig", mongotest.Mood{Refuse: true})
	if err := try(t, a); err == nil || !strings.Contains(err.Error(), "stay frozen for 24h") || !frozen(s, mongoFenced) {
		t.Errorf("after an attempt that may have taken effect: %s, %v", s.Member(0).Frozen(), err)
	}
	again, b := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1}, mongoAlive)
	again.Cut(true, 2)
	becomes(t, b, Absent, "FORCED")
	if err := try(t, b); err != nil {
		t.Fatal(err)
	}
	if !frozen(again, mongoFenced) {
		t.Errorf("beside one that was forced: %s, %s", again.Member(0).Frozen(), again.Member(1).Frozen())
	}
}

// As long as they do not know that they were left behind, the hold freezes them anew at each look: before it runs out, and after a restart, which
// forgets it. It is no alarm. What is not frozen is told, and one that leads by then raises the alarm at the next look.
func TestMongoHoldFreezesAnew(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1}, mongoAlive)
	s.Cut(true, 2)
	becomes(t, a, Absent, "FORCED")
	if err := try(t, a); err != nil {
		t.Fatal(err)
	}
	becomes(t, a, Present, s.Hosts[2])
	st := mongoHeld(time.Second)
	j := &heldJournal{state: st, keeps: true}
	k := NewKeeper(j, oneWorld{a}, Options{CallTimeout: 5 * time.Second}, time.Minute, slog.New(slog.DiscardHandler))
	look := func() failover.StandingHold {
		k.keep(t.Context(), j.State().Holds[0], time.Now())
		return j.State().Holds[0]
	}
	thaw := func() {
		t.Helper()
		if err := a.access(a.dns).Thaw(t.Context(), s.Hosts[:1], time.Second); err != nil {
			t.Fatal(err)
		}
	}
	s.Member(1).Kill() // one alone is elected by nobody, whatever it has forgotten
	for _, tt := range []struct {
		what string
		do   func()
	}{
		{"that run out", thaw},
		{"that was restarted", func() {
			restart(t, s, 0)
			soon(t, "it has forgotten", func() bool { is, _, _ := s.Member(0).State(); return is == "SECONDARY" && s.Member(0).Frozen() == 0 })
		}},
	} {
		tt.do()
		if h := look(); h.Status != failover.HoldKept || len(h.Applied) != 0 || s.Member(0).Frozen() < mongoFenced-time.Minute {
			t.Errorf("one %s is frozen for %s; the hold is %s %q, applied %d times", tt.what, s.Member(0).Frozen(), h.Status, h.Detail, len(h.Applied))
		}
	}
	var asked atomic.Bool
	s.SetMoodAt(0, "replSetStepDown", mongotest.Mood{Hang: func(context.Context) bool { asked.Store(true); return true }})
	for _, code := range []int32{95, 262} {
		s.SetMoodAt(0, "replSetFreeze", says(code))
		if h := look(); h.Status != failover.HoldUnseen || len(h.Applied) != 0 || !strings.Contains(h.Detail, "could not be kept from leading") || !strings.Contains(h.Detail, s.Hosts[0]) {
			t.Errorf("one that says %d: %s %q", code, h.Status, h.Detail)
		}
		s.SetMoodAt(0, "replSetFreeze", mongotest.Mood{})
		look()
	}
	// It leads, and steps down only with the alarm.
	if s.SetMoodAt(0, "replSetStepDown", mongotest.Mood{}); asked.Load() {
		t.Error("it was made to step down, and nobody was told")
	}
	if err := s.Member(1).Restart(); err != nil {
		t.Fatal(err)
	}
	thaw()
	soon(t, "a second primary", func() bool {
		e, err := a.Watch(t.Context())
		return err == nil && strings.Contains(e.Detail, "TWO PRIMARIES")
	})
	if err := a.Renew(t.Context(), Attempt{}); err != nil {
		t.Error(err)
	}
	var told bool
	j.seen = func(c failover.Command) {
		n, ok := c.(failover.NoteHold)
		told = told || ok && n.Status == failover.HoldViolated
	}
	if h := look(); !told || len(h.Applied) != 1 {
		t.Errorf("told %t, fenced %d times", told, len(h.Applied))
	}
	// Who knows that it was dropped is harmless, and left alone.
	s.Cut(false, 2)
	for n := range 2 {
		soon(t, "the old member is REMOVED", func() bool { is, _, _ := s.Member(n).State(); return is == "REMOVED" })
	}
	s.SetMoodAt(0, "replSetFreeze", says(95))
	soon(t, "all is well", func() bool { return look().Status == failover.HoldKept })
}

// A primary that does not step down, or comes back as one before it is frozen, is not fenced, and is named.
func TestMongoFenceTellsWhatItHasNotFenced(t *testing.T) {
	for what, tt := range map[string]struct {
		cmd  string
		code int32
		says string
	}{
		"no secondary has caught up": {"replSetStepDown", 262, "step down"},
		"it leads on":                {"replSetFreeze", 95, "freezing"},
		"its state changes":          {"replSetFreeze", 262, "freezing"},
	} {
		s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1}, mongoAlive)
		s.Cut(true, 2)
		becomes(t, a, Absent, "FORCED")
		s.SetMoodAt(0, tt.cmd, says(tt.code))
		version := a.mustLook(t).Config.Version
		if err := try(t, a); err == nil || !strings.Contains(err.Error(), "not fenced") || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), s.Hosts[0]) {
			t.Errorf("%s: %v", what, err)
		}
		if now := a.mustLook(t).Config.Version; now != version {
			t.Errorf("%s: it was forced all the same", what)
		}
	}
}
