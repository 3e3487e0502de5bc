package actions

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mongotest"
	"github.com/failoverd/failoverd/internal/replset"
)

// A side that was left behind has elected by its old configuration, and comes back. What it holds is told of while it is outside; when somebody adds it
// again with the data that it had, it takes part without a sign, SECONDARY and with the primary's optime, and is no place to lead the service to.
func TestMongoPromoteFindsForks(t *testing.T) {
	// Only one of the old side can be elected, so that both sides hold one election, of the same term.
	s, err := mongotest.NewSet(t.Context(), "rs0", mongoElection, mongotest.MemberConfig{Priority: 3, Votes: 1}, mongotest.MemberConfig{Votes: 1}, mongotest.MemberConfig{Priority: 1, Votes: 1})
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "a primary in east", func() bool { st, _, _ := s.Member(0).State(); return st == "PRIMARY" })
	members := map[failover.Region][]string{"east": s.Hosts[:2], "west": s.Hosts[2:]}
	a := promotion(t, "west", MongoPromoteConfig{ReplicaSet: "rs0", Members: members})
	lose(s)
	becomes(t, a, Absent, "FORCED")
	past := []failover.StepRecord{{State: failover.StepDone, Attempts: []failover.AttemptRecord{{Previous: begun(t, a)}}}}
	if err := try(t, a); err != nil {
		t.Fatal(err)
	}
	becomes(t, a, Present, s.Hosts[2])
	// The first two come back on their side of a cut, and go on by what they know.
	s.Cut(true, 2)
	restart(t, s, 0)
	restart(t, s, 1)
	soon(t, "the old side leads", func() bool { st, _, _ := s.Member(0).State(); return st == "PRIMARY" })
	s.Member(1).Kill()
	s.Member(0).Kill()
	home := promotion(t, "east", MongoPromoteConfig{ReplicaSet: "rs0", Members: members})
	home.forced = forcedBefore(nil, past)
	said := func(member int) string {
		e, err := home.Inspect(t.Context())
		if err != nil {
			return err.Error()
		}
		for _, line := range strings.Split(e.Advice, "; ") {
			if strings.Contains(line, s.Hosts[member]) && (strings.Contains(line, "fork") || strings.Contains(line, "FORK")) {
				return line
			}
		}
		return ""
	}
	s.Cut(false, 2)
	restart(t, s, 0)
	soon(t, "it is removed", func() bool { st, _, _ := s.Member(0).State(); return st == "REMOVED" })
	soon(t, "its fork to be seen", func() bool {
		return strings.HasPrefix(said(0), s.Hosts[0]+" HAS FORKED: it remembers ")
	})
	// Who may not read the oplog says so.
	s.SetMoodAt(0, "find", mongotest.Mood{Reply: bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: int32(13)}, {Key: "codeName", Value: "Unauthorized"}, {Key: "errmsg", Value: "not authorized on local"}}})
	if got := said(0); !strings.Contains(got, "could not be tested for a fork") || !strings.Contains(got, "not authorized on local") {
		t.Errorf("who may not read says %q", got)
	}
	s.SetMoodAt(0, "find", mongotest.Mood{})

	// Somebody adds it again as it is.
	c, err := replset.Access{Set: "rs0", Dialer: a.dns}.Client(s.Hosts[2], a.patience)
	if err != nil {
		t.Fatal(err)
	}
	defer replset.Close(c)
	add := func(n int) {
		soon(t, "it to be added", func() bool {
			var got struct {
				Config bson.D `bson:"config"`
			}
			if err := c.Database("admin").RunCommand(context.Background(), bson.D{{Key: "replSetGetConfig", Value: 1}}).Decode(&got); err != nil {
				return false
			}
			for i, e := range got.Config {
				switch e.Key {
				case "version":
					got.Config[i].Value = e.Value.(int32) + 1
				case "members":
					members := e.Value.(bson.A)
					if slices.ContainsFunc(members, func(m any) bool { return strings.Contains(mongoText(m), s.Hosts[n]) }) {
						return true
					}
					got.Config[i].Value = append(members, bson.D{{Key: "_id", Value: int32(10 + n)}, {Key: "host", Value: s.Hosts[n]}, {Key: "votes", Value: int32(0)}, {Key: "priority", Value: 0.0}})
				}
			}
			return c.Database("admin").RunCommand(context.Background(), bson.D{{Key: "replSetReconfig", Value: got.Config}}).Err() == nil
		})
	}
	add(0)
	soon(t, "it takes part as if nothing were", func() bool {
		st, _, rolledBack := s.Member(0).State()
		return st == "SECONDARY" && rolledBack == 0
	})
	soon(t, "what has diverged to be told of", func() bool {
		e, err := home.Inspect(t.Context())
		return err == nil && strings.Contains(e.Lacks, s.Hosts[0]+" HAS FORKED") && strings.Contains(e.Lacks, "it was added again with the data that it had, and must be emptied") && strings.Contains(e.Detail, "HAS FORKED")
	})
	// A primary that steps down in the middle of the test may lack what the next one has.
	old, primary := replset.Place{Host: s.Hosts[0]}, s.Hosts[2]
	verdict := func() replset.Fork {
		return replset.ForkTests(t.Context(), replset.Access{Set: "rs0", Dialer: a.dns}, primary, []replset.Place{old}, home.forced.At, a.patience)[0]
	}
	if f := verdict(); !f.Forked() {
		t.Errorf("%+v", f)
	}
	s.SetMoodAt(2, "hello", mongotest.Mood{Reply: bson.D{
		{Key: "ok", Value: 1.0}, {Key: "setName", Value: "rs0"}, {Key: "isWritablePrimary", Value: false}, {Key: "secondary", Value: true}, {Key: "minWireVersion", Value: int32(0)}, {Key: "maxWireVersion", Value: int32(21)},
	}})
	if f := verdict(); f.Forked() || !strings.Contains(f.String(), "could not be tested for a fork (the primary stepped down meanwhile") {
		t.Errorf("%s", f)
	}
	s.SetMoodAt(2, "hello", mongotest.Mood{})
	// The log knows of no forced promotion: nobody has been left behind.
	home.forced = nil
	if e, err := home.Inspect(t.Context()); err != nil || strings.Contains(e.Lacks+e.Advice+e.Detail, "FORK") {
		t.Errorf("%q, %q, %v", e.Lacks, e.Advice, err)
	}
}

// One that was dead all the while has no history of its own. Its neighbour, which was cut off a moment before and written to, has held no election since:
// its last write gives it away.
func TestMongoPromoteFindsATail(t *testing.T) {
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1})
	s.Member(1).Kill()
	c, err := replset.Access{Set: "rs0", Dialer: a.dns}.Client(s.Hosts[0], a.patience)
	if err != nil {
		t.Fatal(err)
	}
	defer replset.Close(c)
	soon(t, "the survivor to have all until now", func() bool { return replset.Write(t.Context(), c, "app", "all", time.Now()) == nil })
	for n, cut := 0, false; ; n++ {
		if err := c.Database("app").RunCommand(t.Context(), bson.D{{Key: "insert", Value: "tail"}, {Key: "documents", Value: bson.A{bson.D{{Key: "_id", Value: int32(n)}}}}, {Key: "writeConcern", Value: bson.D{{Key: "w", Value: int32(1)}}}}).Err(); err != nil {
			if cut {
				break // it has seen that it is alone
			}
			t.Fatal(err)
		}
		if n == 5 {
			s.Cut(true, 0)
			cut = true
		}
	}
	s.Member(0).Kill()
	becomes(t, a, Absent, "FORCED")
	past := []failover.StepRecord{{State: failover.StepDone, Attempts: []failover.AttemptRecord{{Previous: begun(t, a)}}}}
	if err := try(t, a); err != nil {
		t.Fatal(err)
	}
	becomes(t, a, Present, s.Hosts[2])
	home := promotion(t, "east", MongoPromoteConfig{ReplicaSet: "rs0", Members: map[failover.Region][]string{"east": s.Hosts[:2], "west": s.Hosts[2:]}})
	home.forced = forcedBefore(nil, past)
	s.Cut(false, 0)
	for _, n := range []int{0, 1} { // one after the other: as a pair they would elect
		restart(t, s, n)
		soon(t, "it is removed", func() bool { st, _, _ := s.Member(n).State(); return st == "REMOVED" })
	}
	soon(t, "one has a tail, and one shows no fork", func() bool {
		e, err := home.Inspect(t.Context())
		return err == nil && e.State == Absent && strings.Contains(e.Advice, s.Hosts[0]+" HAS FORKED: its newest operation, of ") && strings.Contains(e.Advice, s.Hosts[1]+" shows no fork")
	})
}

func mongoText(v any) string {
	b, _ := bson.MarshalExtJSON(bson.D{{Key: "v", Value: v}}, false, false)
	return string(b)
}
