package actions

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/mongotest"
	"github.com/failoverd/failoverd/internal/replset"
)

const mongoElection = 300 * time.Millisecond

// twoAndOne is a set of two members in east and one in west, and a promotion into region.
func twoAndOne(t *testing.T, region failover.Region, survivor mongotest.MemberConfig, allow ...string) (*mongotest.Set, *mongoPromote) {
	t.Helper()
	s, err := mongotest.NewSet(t.Context(), "rs0", mongoElection, mongotest.MemberConfig{Priority: 3, Votes: 1}, mongotest.MemberConfig{Priority: 2, Votes: 1}, survivor)
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "a primary in east", func() bool { st, _, _ := s.Member(0).State(); return st == "PRIMARY" })
	return s, promotion(t, region, MongoPromoteConfig{ReplicaSet: "rs0", Members: map[failover.Region][]string{"east": s.Hosts[:2], "west": s.Hosts[2:]}, Allow: allow})
}

// promotion is the action of a configuration, and waits half a second for a member.
func promotion(t *testing.T, region failover.Region, c MongoPromoteConfig) *mongoPromote {
	t.Helper()
	c.AnswerWithin = failover.Duration(500 * time.Millisecond)
	if err := c.Validate(RoleStart); err != nil {
		t.Fatal(err)
	}
	a, err := c.New(Deps{Region: region})
	if err != nil {
		t.Fatal(err)
	}
	return a.(*mongoPromote)
}

func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// becomes waits until the effect is there.
func becomes(t *testing.T, a Action, want EffectState, detail string) {
	t.Helper()
	var last Effect
	var err error
	defer func() {
		if t.Failed() {
			t.Logf("last: %s %q, %v", last.State, last.Detail, err)
		}
	}()
	soon(t, string(want.String())+" with "+detail, func() bool {
		last, err = a.Inspect(t.Context())
		return err == nil && last.State == want && strings.Contains(last.Detail, detail)
	})
}

func try(t *testing.T, a Action) error {
	t.Helper()
	until := time.Now().Add(10 * time.Second)
	ctx, cancel := acting(t.Context(), Attempt{Step: "test"}, until)
	defer cancel()
	return a.Do(ctx, Attempt{Execution: 1, Number: 1, Epoch: 2, Token: 7, Deadline: until, Previous: begun(t, a)})
}

// begun is what the log says of an attempt before it is made.
func begun(t *testing.T, a Action) json.RawMessage {
	t.Helper()
	e, err := a.Inspect(t.Context())
	if err != nil {
		t.Logf("nothing is begun: %v", err)
	}
	return e.Previous
}

// lose ends the two members in east.
func lose(s *mongotest.Set) {
	s.Member(0).Kill()
	s.Member(1).Kill()
}

// restart starts a member again, after it was killed if it was not.
func restart(t *testing.T, s *mongotest.Set, n int) {
	t.Helper()
	s.Member(n).Kill()
	if err := s.Member(n).Restart(); err != nil {
		t.Fatal(err)
	}
}

func (x *mongoPromote) mustLook(t *testing.T) replset.Finding {
	t.Helper()
	f, _, err := x.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestMongoPromoteForces(t *testing.T) {
	for name, survivor := range map[string]mongotest.MemberConfig{
		"an ordinary one": {Priority: 1, Votes: 1, Tags: bson.D{{Key: "dc", Value: "west"}}},
		"of priority 0":   {Votes: 1},
		"hidden":          {Votes: 1, Hidden: true},
		"delayed":         {Votes: 1, Hidden: true, Delay: 60},
	} {
		t.Run(name, func(t *testing.T) {
			s, a := twoAndOne(t, "west", survivor)
			lose(s)
			becomes(t, a, Absent, "FORCED")
			before := a.mustLook(t)
			// An attempt that had only to wait, since the set was taken for alive still, is followed by another one.
			if e := inspect(t, a, Absent, "FORCED"); e.Over == "" {
				t.Error("nobody would try again")
			}
			if err := try(t, a); err != nil {
				t.Fatal(err)
			}
			becomes(t, a, Present, s.Hosts[2]+" is the writable primary")
			after := a.mustLook(t).Config
			m := after.Member(s.Hosts[2])
			if len(after.Members) != 1 || m.Votes != 1 || m.Priority != 1 || m.Hidden || m.Delay != 0 || m.ID != before.Config.Member(s.Hosts[2]).ID {
				t.Errorf("the configuration is %+v; want the survivor alone, with a vote, visible and without delay", after.Members)
			}
			if after.Version < before.Config.Version+10000 || after.Term != -1 {
				t.Errorf("version %d, term %d: it was not forced", after.Version, after.Term)
			}
			if err := try(t, a); err != nil { // another leader's, late
				t.Fatal(err)
			}
			if again := a.mustLook(t).Config.Version; again != after.Version {
				t.Errorf("a second attempt has forced again: version %d, then %d", after.Version, again)
			}
			writes(t, s.Hosts[2])
		})
	}
}

// writes fails unless a majority acknowledges a write to the member.
func writes(t *testing.T, host string) {
	t.Helper()
	c, err := replset.Access{Set: "rs0"}.Client(host, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer replset.Close(c)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := replset.Write(ctx, c, "failoverd", "test", time.Now()); err != nil {
		t.Error(err)
	}
}

func TestMongoPromoteMovesWithoutLoss(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
	client, err := mongo.Connect(options.Client().SetHosts(s.Hosts).SetReplicaSet("rs0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { replset.Close(client) })
	// Somebody writes all the while, as those do whom nothing has to stop for this.
	var acked []string
	writing, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; writing.Err() == nil; n++ {
			key := fmt.Sprint(n)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			if _, err := client.Database("app").Collection("c").InsertOne(ctx, bson.D{{Key: "_id", Value: key}}); err == nil {
				acked = append(acked, key)
			}
			cancel()
			<-time.After(5 * time.Millisecond)
		}
	}()
	inspect(t, a, Absent, "nothing is lost")
	// On a quiet day it is said how the set is laid out so that none of this takes force; whoever is asked in the night is spared that.
	seen := survey(t.Context(), oneWorld{a}, failover.Step{ID: "start-mongo", Region: "west"}, 10*time.Second)
	if eff, err := a.Inspect(t.Context()); err != nil || !seen.OK || !strings.Contains(seen.Detail, `rs.remove("`+s.Hosts[1]+`")`) || strings.Contains(eff.Detail, "rs.") {
		t.Errorf("%+v; asked in the night: %q, %v", seen, eff.Detail, err)
	}
	version := a.mustLook(t).Config.Version
	if err := try(t, a); err != nil {
		t.Fatal(err)
	}
	becomes(t, a, Present, s.Hosts[2])
	now := a.mustLook(t).Config
	if len(now.Members) != 3 || now.Version != version+1 || now.Term == -1 {
		t.Errorf("configuration %d, term %d, of %d members: want the next one, not forced, of all three", now.Version, now.Term, len(now.Members))
	}
	if now.Member(s.Hosts[0]).Priority != 3 {
		t.Errorf("the priority of the old primary is %v now", now.Member(s.Hosts[0]).Priority)
	}
	becomes(t, a, Present, s.Hosts[2]) // it stays
	before := len(s.Member(2).Keys("app.c"))
	soon(t, "writes go on", func() bool { return len(s.Member(2).Keys("app.c")) > before+5 })
	stop()
	<-done
	has := s.Member(2).Keys("app.c")
	for _, key := range acked {
		if !slices.Contains(has, key) {
			t.Errorf("%s, one of %d that a majority has acknowledged, is not there", key, len(acked))
		}
	}
}

func TestMongoPromoteWaitsForTheSetsOwnElection(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
	s.Member(0).Kill()
	version := a.mustLook(t).Config.Version
	soon(t, "the second member leads", func() bool {
		if err := try(t, a); err != nil && !strings.Contains(err.Error(), "changed under our eyes") {
			t.Log(err)
		}
		st, _, _ := s.Member(2).State()
		return st == "PRIMARY"
	})
	if now := a.mustLook(t).Config; now.Version >= version+10000 {
		t.Errorf("it was forced although a majority was alive: version %d", now.Version)
	}
}

// A region that leads by the set's own election goes on leading when the other one, of a higher priority, returns.
func TestMongoPromoteStaysWhenTheRegionReturns(t *testing.T) {
	s, err := mongotest.NewSet(t.Context(), "rs0", mongoElection, mongotest.MemberConfig{Priority: 3, Votes: 1}, mongotest.MemberConfig{Priority: 2, Votes: 1}, mongotest.MemberConfig{Priority: 1, Votes: 1})
	if err != nil {
		t.Fatal(err)
	}
	leads := func(n int) func() bool {
		return func() bool { st, _, _ := s.Member(n).State(); return st == "PRIMARY" }
	}
	soon(t, "a primary in east", leads(0))
	a := promotion(t, "west", MongoPromoteConfig{ReplicaSet: "rs0", Members: map[failover.Region][]string{"east": s.Hosts[:1], "west": s.Hosts[1:2], "third": s.Hosts[2:]}})
	s.Member(0).Kill()
	soon(t, "west is elected", leads(1))
	becomes(t, a, Absent, "would take the primary back")
	// A server that takes its time, as it does with members that are silent, holds nothing up: the region leads.
	s.SetMoodAt(1, "replSetReconfig", mongotest.Mood{Refuse: true})
	slow := *a
	if err := try(t, &slow); err != nil {
		t.Error(err)
	}
	if e := inspect(t, &slow, Present, ""); !strings.Contains(e.Lacks, "priorities do not keep it") {
		t.Errorf("it lacks %q", e.Lacks)
	}
	s.SetMoodAt(1, "replSetReconfig", mongotest.Mood{})
	if err := try(t, a); err != nil {
		t.Fatal(err)
	}
	becomes(t, a, Present, "is the writable primary")
	restart(t, s, 0)
	soon(t, "east is a member again", func() bool { st, _, _ := s.Member(0).State(); return st == "SECONDARY" })
	for range 40 {
		<-time.After(mongoElection / 4)
		if leads(0)() {
			t.Fatal("east leads again, and west is the active region")
		}
	}
	if e, err := a.Watch(t.Context()); err != nil || e.State != Present {
		t.Errorf("the hold sees %s %q, %v", e.State, e.Detail, err)
	}
	// The set may elect another one all the same: that is told of, and nothing is tried.
	s.Member(1).Kill()
	soon(t, "east is elected", leads(0))
	restart(t, s, 1)
	s.Cut(true, 1)
	a.region = "third"
	soon(t, "the hold to tell", func() bool {
		e, err := a.Watch(t.Context())
		return err == nil && e.State == Unknown && strings.Contains(e.Detail, "leads, and not third")
	})
}

// A member that breaks off in the midst of a login does not refuse our user: the others are asked all the same.
func TestMongoBrokenLoginIsNoRefusal(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := mongotest.NewSetOf(t.Context(), mongotest.User{Name: "failoverd", Password: "secret"}, "rs0", mongoElection,
		mongotest.MemberConfig{Priority: 3, Votes: 1}, mongotest.MemberConfig{Priority: 2, Votes: 1}, mongotest.MemberConfig{Priority: 1, Votes: 1})
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "a primary", func() bool { st, _, _ := s.Member(0).State(); return st == "PRIMARY" })
	a := promotion(t, "west", MongoPromoteConfig{ReplicaSet: "rs0", Members: map[failover.Region][]string{"east": s.Hosts[:1], "west": s.Hosts[1:]}, Username: "failoverd", PasswordFile: password})
	s.SetMoodAt(2, "saslContinue", mongotest.Mood{Refuse: true})
	inspect(t, a, Absent, "")
}

func TestMongoPromoteRefuses(t *testing.T) {
	t.Run("while the old side is alive and only the link is cut", func(t *testing.T) {
		s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
		s.Cut(true, 2)
		becomes(t, a, Absent, "only the link between them is cut")
		err := try(t, a)
		if err == nil || !strings.Contains(err.Error(), `allow = ["alive"]`) {
			t.Errorf("%v: want a refusal that says what could be written", err)
		}
		if st, _, _ := s.Member(2).State(); st != "SECONDARY" {
			t.Errorf("the survivor is %s", st)
		}
	})
	t.Run("a member that was dropped", func(t *testing.T) {
		s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
		lose(s)
		becomes(t, a, Absent, "FORCED")
		if err := try(t, a); err != nil {
			t.Fatal(err)
		}
		becomes(t, a, Present, "")
		restart(t, s, 0)
		restart(t, s, 1)
		home := *a
		home.region = "east"
		becomes(t, &home, Absent, "may have forked")
		if err := try(t, &home); err == nil || !strings.Contains(err.Error(), "docs/mongodb.md") {
			t.Errorf("%v: want a refusal that says what to do", err)
		}
	})
	t.Run("a name that is another set's", func(t *testing.T) {
		_, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
		a.cfg.ReplicaSet = "rs1"
		if err := try(t, a); err == nil || !strings.Contains(err.Error(), "wrong member or set") {
			t.Errorf("%v", err)
		}
	})
	t.Run("a set that has changed since the look", func(t *testing.T) {
		s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
		lose(s)
		becomes(t, a, Absent, "FORCED")
		f := a.mustLook(t)
		restart(t, s, 0)
		restart(t, s, 1)
		becomes(t, a, Absent, "nothing is lost")
		_, err := a.reconfigure(t.Context(), f, func(now replset.Finding) ([]string, bool) { return now.Keep, true })
		if err == nil || !strings.Contains(err.Error(), "under our eyes") {
			t.Errorf("%v: want a refusal", err)
		}
	})
}

// A process that was paused between its last look and the write sends nothing any more.
func TestMongoPromoteIsNotSentLate(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
	lose(s)
	becomes(t, a, Absent, "FORCED")
	f := a.mustLook(t)
	late := cloud.WithEffectDeadline(t.Context(), time.Now().Add(-time.Second))
	_, err := a.reconfigure(late, f, func(now replset.Finding) ([]string, bool) { return now.Keep, true })
	if err == nil {
		t.Error("it was sent after its deadline")
	}
	// Nor what has looked long ago, in an attempt that has time left.
	a.looked = -a.patience - time.Second
	ctx, cancel := acting(t.Context(), Attempt{Step: "test"}, time.Now().Add(10*time.Second))
	defer cancel()
	if open, err := a.reconfigure(ctx, f, func(now replset.Finding) ([]string, bool) { return now.Keep, true }); err == nil || open {
		t.Errorf("it was sent long after its look (open: %t): %v", open, err)
	}
	if now := a.mustLook(t).Config; now.Version != f.Config.Version {
		t.Errorf("the configuration is %d, and was %d", now.Version, f.Config.Version)
	}
}

func TestMongoPromoteAsksByDefault(t *testing.T) {
	if c := (&MongoPromoteConfig{}); !c.Lasting() {
		t.Error("nobody is asked")
	}
	if c := (&MongoPromoteConfig{Unattended: true}); c.Lasting() {
		t.Error("unattended, and somebody is asked")
	}
	var before mongoBefore
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
	if e := inspect(t, a, Absent, ""); json.Unmarshal(e.Previous, &before) != nil || before.Primary != s.Hosts[0] || before.Version != 1 {
		t.Errorf("what stood before is %s", e.Previous)
	}
}

// Members that the configuration of failoverd does not name are asked as well: a primary among them is no surprise.
func TestMongoPromoteAsksWhomTheSetNames(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
	a.places = a.places[2:]
	s.Cut(true, 2)
	becomes(t, a, Absent, "only the link between them is cut")
	if err := try(t, a); err == nil || !strings.Contains(err.Error(), s.Hosts[0]) {
		t.Errorf("%v: want a refusal that names the primary", err)
	}
}

// A set whose members ask for a user has arbiters that hold none. It is judged all the same, and an arbiter's vote with it.
func TestMongoPromoteWithAnArbiter(t *testing.T) {
	for name, tt := range map[string]struct {
		priority float64
		state    EffectState
		says     string
		members  int
	}{
		"that can elect the survivor":               {1, Absent, "elected with an arbiter's vote", 3},
		"beside a survivor that may not be elected": {0, Present, "is the writable primary", 1},
	} {
		t.Run(name, func(t *testing.T) {
			password := filepath.Join(t.TempDir(), "password")
			if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := mongotest.NewSetOf(t.Context(), mongotest.User{Name: "failoverd", Password: "secret"}, "rs0", mongoElection,
				mongotest.MemberConfig{Priority: 3, Votes: 1}, mongotest.MemberConfig{Arbiter: true, Votes: 1}, mongotest.MemberConfig{Priority: tt.priority, Votes: 1})
			if err != nil {
				t.Fatal(err)
			}
			// The arbiter is in the set's configuration alone, or in ours as well.
			a := promotion(t, "west", MongoPromoteConfig{ReplicaSet: "rs0", Members: map[failover.Region][]string{"east": s.Hosts[:1], "west": s.Hosts[1:]}, Username: "failoverd", PasswordFile: password})
			soon(t, "a primary in east", func() bool { st, _, _ := s.Member(0).State(); return st == "PRIMARY" })
			inspect(t, a, Absent, "")
			s.Member(0).Kill()
			if tt.members == 1 {
				becomes(t, a, Absent, "FORCED")
				if err := try(t, a); err != nil {
					t.Fatal(err)
				}
			}
			becomes(t, a, tt.state, tt.says)
			if c := a.mustLook(t).Config; len(c.Members) != tt.members {
				t.Errorf("%d members are left, want %d", len(c.Members), tt.members)
			}
			if err := os.WriteFile(password, []byte("another"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "does not accept our user") {
				t.Errorf("with a wrong password: %v", err)
			}
		})
	}
}
