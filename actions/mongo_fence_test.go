package actions

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sys/unix"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mongotest"
	"github.com/failoverd/failoverd/internal/replset"
)

// Members that were fenced for a promotion that did not come to pass may lead again.
func TestMongoPromoteThawsWhatItHasNotForced(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1}, mongoAlive)
	s.Cut(true, 2)
	becomes(t, a, Absent, "FORCED")
	s.SetMoodAt(1, "replSetFreeze", mongotest.Mood{Reply: bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: int32(13)}, {Key: "errmsg", Value: "not authorized"}}})
	err := try(t, a)
	if err == nil || !strings.Contains(err.Error(), "nothing was forced") || !strings.Contains(err.Error(), "rs.freeze(0)") {
		t.Errorf("%v: want that nothing was forced, and who stays frozen", err)
	}
	soon(t, "the old primary leads again", func() bool { st, _, _ := s.Member(0).State(); return st == "PRIMARY" })
	if st, _, _ := s.Member(2).State(); st != "SECONDARY" {
		t.Errorf("the survivor is %s", st)
	}
}

// Nor do they stay frozen when the server has refused what was meant to follow.
func TestMongoPromoteThawsWhatTheServerRefuses(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1}, mongoAlive)
	s.Cut(true, 2)
	becomes(t, a, Absent, "FORCED")
	s.SetMoodAt(2, "replSetReconfig", mongotest.Mood{Reply: bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: int32(103)}, {Key: "errmsg", Value: "May not change the default write concern"}}})
	if err := try(t, a); err == nil || !strings.Contains(err.Error(), "did not take effect") || strings.Contains(err.Error(), "rs.freeze(0)") {
		t.Errorf("%v: want that it did not take effect, and nobody left frozen", err)
	}
	soon(t, "the old primary leads again", func() bool { st, _, _ := s.Member(0).State(); return st == "PRIMARY" })
	// What may have taken effect all the same, or may still, leaves them frozen, and says so.
	s.SetMoodAt(2, "replSetReconfig", mongotest.Mood{Refuse: true})
	if err := try(t, a); err == nil || !strings.Contains(err.Error(), "may have taken effect") || !strings.Contains(err.Error(), "rs.freeze(0)") {
		t.Errorf("%v: want that it may have, and who stays frozen", err)
	}
	<-time.After(5 * mongoElection)
	if st, _, _ := s.Member(0).State(); st == "PRIMARY" {
		t.Error("the old primary leads although the promotion may have taken effect")
	}
	s.SetMoodAt(2, "replSetReconfig", mongotest.Mood{Lose: true})
	if err := try(t, a); err == nil || !strings.Contains(err.Error(), "may have taken effect") || !strings.Contains(err.Error(), "rs.freeze(0)") {
		t.Errorf("%v: want that it may have, and who stays frozen", err)
	}
	becomes(t, a, Present, s.Hosts[2])
	for n := range 2 {
		if st, _, _ := s.Member(n).State(); st == "PRIMARY" {
			t.Errorf("%s leads as well", s.Hosts[n])
		}
	}
}

// Somebody else's promotion is no reason to let the old side lead again.
func TestMongoPromoteThawsNobodyBesideALeader(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1}, mongoAlive)
	s.Cut(true, 2)
	becomes(t, a, Absent, "FORCED")
	f := a.mustLook(t)
	if err := try(t, a); err != nil {
		t.Fatal(err)
	}
	becomes(t, a, Present, s.Hosts[2])
	until := time.Now().Add(10 * time.Second)
	ctx, cancel := acting(t.Context(), Attempt{Step: "test"}, until)
	defer cancel()
	if err := a.force(ctx, f); err == nil || !strings.Contains(err.Error(), "under our eyes") {
		t.Errorf("what was judged before is forced: %v", err)
	}
	if err := a.thaw(ctx, f, errors.New("nothing was changed")); !strings.Contains(err.Error(), "stay frozen") {
		t.Errorf("%v: want that they stay frozen", err)
	}
	<-time.After(5 * mongoElection)
	for n := range 2 {
		if st, _, _ := s.Member(n).State(); st == "PRIMARY" {
			t.Errorf("%s leads as well", s.Hosts[n])
		}
	}
}

// An earlier attempt whose end is not known, of this leader or of another one, may still promote: whatever becomes of a later one, those that
// were frozen stay so.
func TestMongoPromoteThawsNobodyBesideAnEarlierAttempt(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1}, mongoAlive)
	s.Cut(true, 2)
	becomes(t, a, Absent, "FORCED")
	attempt := func(a *mongoPromote, number int) error {
		until := time.Now().Add(10 * time.Second)
		ctx, cancel := acting(t.Context(), Attempt{Step: "test"}, until)
		defer cancel()
		return a.Do(ctx, Attempt{Execution: 1, Number: number, Epoch: 2, Token: 7, Deadline: until, Previous: begun(t, a)})
	}
	says := func(code int32) mongotest.Mood {
		return mongotest.Mood{Reply: bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: code}, {Key: "errmsg", Value: "no"}}}
	}
	frozen := func(what string, err error, why string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "rs.freeze(0)") {
			t.Errorf("%s: %v: want %q, and who stays frozen", what, err, why)
		}
		for range 20 {
			<-time.After(mongoElection / 4)
			for n := range 2 {
				if st, _, _ := s.Member(n).State(); st == "PRIMARY" {
					t.Fatalf("%s: the old side leads", what)
				}
			}
		}
	}
	s.SetMoodAt(2, "replSetReconfig", says(109))
	frozen("busy, with what nobody knows", attempt(a, 1), "may have taken effect")
	s.SetMoodAt(2, "replSetReconfig", says(103))
	frozen("refused, after one that may be on its way", attempt(a, 2), "did not take effect")
	again := promotion(t, "west", *a.cfg)
	again.open = mayLand([]failover.StepRecord{{State: failover.StepRunning, Attempts: []failover.AttemptRecord{{Previous: begun(t, a)}}}})
	frozen("refused, after another leader's", attempt(again, 3), "did not take effect")
	s.SetMoodAt(2, "replSetReconfig", mongotest.Mood{Hang: func(context.Context) bool {
		s.SetMoodAt(2, "hello", mongotest.Mood{Refuse: true})
		return true
	}, Reply: says(103).Reply})
	again.open = false
	frozen("refused by who is silent then", attempt(again, 1), "it does not say")
	s.SetMoodAt(2, "hello", mongotest.Mood{})
	f := a.mustLook(t)
	again.looked = -2*again.patience - time.Second
	ctx, cancel := acting(t.Context(), Attempt{Step: "test"}, time.Now().Add(10*time.Second))
	defer cancel()
	frozen("long after the look", again.thaw(ctx, f, errors.New("nothing was changed")), "nothing was changed")
	s.SetMoodAt(2, "replSetReconfig", says(103))
	again.looked = a.looked
	if err := attempt(again, 1); err == nil || strings.Contains(err.Error(), "rs.freeze(0)") { // and the first one, which is refused, leaves nobody frozen
		t.Errorf("%v", err)
	}
	soon(t, "the old side leads again", func() bool {
		one, _, _ := s.Member(0).State()
		two, _, _ := s.Member(1).State()
		return one == "PRIMARY" || two == "PRIMARY"
	})
}

// A command that is not acknowledged is not sent again by the kernel, long after it was given up.
func TestMongoConnectionsForget(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
	c, err := a.bounded(t.Context(), time.Time{}).DialContext(t.Context(), "tcp", s.Hosts[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(boundedConn).Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if ms, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || ms != int(mongoLooked.Milliseconds()) {
			t.Errorf("the kernel goes on for %d ms, %v", ms, err)
		}
		if l, err := unix.GetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER); err != nil || l.Onoff == 0 || l.Linger != 0 {
			t.Errorf("after the close: %+v, %v", l, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// Its own primary that is slow, and another set's at an old address, are nobody to fence.
func TestMongoHoldFencesNoInnocents(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
	a.region = "east" // led by its first member
	s.SetMoodAt(0, "replSetGetConfig", mongotest.Mood{Hang: func(ctx context.Context) bool { <-ctx.Done(); return false }})
	if e, err := a.Watch(t.Context()); err != nil || e.State == Absent {
		t.Errorf("a slow primary is %s %q, %v", e.State, e.Detail, err)
	}
	if err := a.Mend(t.Context(), Attempt{}); err != nil {
		t.Error(err)
	}
	if st, _, _ := s.Member(0).State(); st != "PRIMARY" {
		t.Errorf("the region's own primary is %s", st)
	}
}

// A member that hangs keeps nobody from fencing the primary beside it.
func TestMongoFenceWaitsForNobody(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
	s.SetMoodAt(1, "replSetFreeze", mongotest.Mood{Hang: func(ctx context.Context) bool { <-ctx.Done(); return false }})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := a.access(a.dns).Fence(ctx, []string{s.Hosts[1], s.Hosts[0]}, time.Hour, 500*time.Millisecond)
	if !errors.Is(err, replset.ErrNotFenced) || !strings.Contains(err.Error(), s.Hosts[1]) || strings.Contains(err.Error(), s.Hosts[0]) {
		t.Errorf("%v: want that the one that hangs is not fenced", err)
	}
	if st, _, _ := s.Member(0).State(); st == "PRIMARY" {
		t.Error("the primary leads on")
	}
}

// A hold never forces, whatever has become of the set.
func TestMongoHoldNeverReconfigures(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
	lose(s)
	becomes(t, a, Absent, "FORCED")
	version := a.mustLook(t).Config.Version
	if err := a.Mend(t.Context(), Attempt{}); err != nil {
		t.Fatal(err)
	}
	if e, err := a.Watch(t.Context()); err != nil || e.State != Unknown {
		t.Errorf("the hold sees %s, %v: want unknown", e.State, err)
	}
	if now := a.mustLook(t).Config.Version; now != version {
		t.Errorf("the hold has reconfigured the set: %d, then %d", version, now)
	}
}

// The whole story of a cut link: the old side is alive and acknowledges, is fenced, the survivor is forced, the link heals, the old side comes
// back.
func TestMongoSplitBrain(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1}, mongoAlive)
	s.Cut(true, 2)
	writes(t, s.Hosts[0]) // the old side goes on
	becomes(t, a, Absent, "FORCED")
	inspect(t, a, Absent, "frozen and stepped down first")
	if err := try(t, a); err != nil {
		t.Fatal(err)
	}
	becomes(t, a, Present, s.Hosts[2])
	for n := range 2 {
		if st, _, _ := s.Member(n).State(); st == "PRIMARY" {
			t.Errorf("%s leads on the old side", s.Hosts[n])
		}
	}
	watch := func(want EffectState, detail string) {
		t.Helper()
		soon(t, "the hold sees: "+detail, func() bool {
			e, err := a.Watch(t.Context())
			return err == nil && e.State == want && strings.Contains(e.Detail, detail)
		})
	}
	watch(Present, "")
	// A restart forgets the freeze: they lead their own side again, and the hold sees it and fences them.
	restart(t, s, 0)
	restart(t, s, 1)
	watch(Absent, "TWO PRIMARIES")
	if e := inspect(t, a, Partial, "TWO PRIMARIES"); e.Over == "" { // within the step: nobody would try again
		t.Error("a step that has two primaries only waits")
	}
	if err := a.Mend(t.Context(), Attempt{}); err != nil {
		t.Fatal(err)
	}
	watch(Present, "")
	version := a.mustLook(t).Config.Version
	s.Cut(false, 2)
	for n := range 2 {
		soon(t, "the old member is REMOVED", func() bool { st, _, _ := s.Member(n).State(); return st == "REMOVED" })
	}
	watch(Present, s.Hosts[2])
	if now := a.mustLook(t).Config; now.Version != version || len(now.Members) != 1 {
		t.Errorf("the set's configuration is %d of %d members after the heal", now.Version, len(now.Members))
	}
	writes(t, s.Hosts[2])
}
