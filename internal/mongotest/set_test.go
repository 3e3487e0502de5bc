package mongotest

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
)

// election is the sets' election time-out: long enough that no member of a busy machine is taken for dead.
const election = 600 * time.Millisecond

// replicaSet starts three members, priorities 3, 2, 1.
func replicaSet(t *testing.T) *Set {
	t.Helper()
	s, err := NewSet(t.Context(), "rs0", election, MemberConfig{Priority: 3, Votes: 1}, MemberConfig{Priority: 2, Votes: 1}, MemberConfig{Priority: 1, Votes: 1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func direct(t *testing.T, host string) func(cmd bson.D) (bson.M, error) {
	t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + host + "/?directConnection=true&retryWrites=false").SetServerSelectionTimeout(2 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(context.Background()) })
	return func(cmd bson.D) (m bson.M, err error) {
		err = c.Database("admin").RunCommand(t.Context(), cmd, options.RunCmd().SetReadPreference(readpref.Nearest())).Decode(&m)
		return m, err
	}
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestLossOfMajorityAndForcedReconfig(t *testing.T) {
	set := replicaSet(t)
	hosts := set.Hosts
	ctx := t.Context()
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + hosts[0] + "," + hosts[1] + "," + hosts[2] + "/?replicaSet=rs0").
		SetHeartbeatInterval(500 * time.Millisecond).SetServerSelectionTimeout(5 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	if _, err := client.Database("app").Collection("c").InsertOne(ctx, bson.D{{Key: "x", Value: 1}}); err != nil {
		t.Fatalf("majority write: %v", err)
	}
	a, c := direct(t, hosts[0]), direct(t, hosts[2])
	is := func(run func(bson.D) (bson.M, error), field string) func() bool {
		return func() bool { m, err := run(bson.D{{Key: "hello", Value: 1}}); return err == nil && m[field] == true }
	}
	eventually(t, "the member of the highest priority is primary", is(a, "isWritablePrimary"))

	// Both members of the first region hang: the survivor must not become primary by itself.
	for n := range 2 {
		set.SetMood(n, Mood{Hang: func(ctx context.Context) bool { <-ctx.Done(); return false }})
	}
	eventually(t, "the survivor sees the others down", func() bool {
		m, err := c(bson.D{{Key: "replSetGetStatus", Value: 1}})
		if err != nil {
			return false
		}
		down := 0
		for _, x := range m["members"].(bson.A) {
			for _, e := range x.(bson.D) {
				if e.Key == "health" && e.Value == 0.0 {
					down++
				}
			}
		}
		return down == 2
	})
	if !is(c, "secondary")() {
		t.Error("the survivor of a lost majority is not secondary")
	}
	cfg, err := c(bson.D{{Key: "replSetGetConfig", Value: 1}})
	if err != nil {
		t.Fatal(err)
	}
	var next bson.D
	for _, e := range cfg["config"].(bson.D) {
		if e.Key == "members" {
			e.Value = e.Value.(bson.A)[2:]
		}
		next = append(next, e)
	}
	if _, err := c(bson.D{{Key: "replSetReconfig", Value: next}}); err == nil || err.(mongo.CommandError).Code != 10107 { //nolint:errorlint // the driver returns it unwrapped
		t.Errorf("safe reconfiguration on a secondary: %v, want code 10107", err)
	}
	if _, err := c(bson.D{{Key: "replSetReconfig", Value: next}, {Key: "force", Value: true}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the survivor is primary", is(c, "isWritablePrimary"))
	if m, err := c(bson.D{{Key: "replSetGetConfig", Value: 1}}); err != nil || get(m["config"].(bson.D), "term") != nil || number(m["config"].(bson.D), "version", 0) < 10001 {
		t.Errorf("forced configuration %v, error %v: want a version beyond 10000 and no term", m, err)
	}

	// They come back, and cannot be told of the new configuration by the survivor, which does not know them any more: as on
	// a real set they learn it when they ask it themselves.
	set.SetMood(0, Mood{})
	set.SetMood(1, Mood{})
	eventually(t, "the first region's member is removed", func() bool {
		_, err := a(bson.D{{Key: "replSetGetStatus", Value: 1}})
		e, ok := err.(mongo.CommandError) //nolint:errorlint // the driver returns it unwrapped
		return ok && e.Code == 93
	})
}

func TestPrimaryWithoutMajorityStepsDown(t *testing.T) {
	set := replicaSet(t)
	hosts := set.Hosts
	a := direct(t, hosts[0])
	writable := func() bool {
		m, err := a(bson.D{{Key: "hello", Value: 1}})
		return err == nil && m["isWritablePrimary"] == true
	}
	eventually(t, "a primary", writable)
	set.SetMood(1, Mood{Refuse: true})
	set.SetMood(2, Mood{Refuse: true})
	if !writable() {
		t.Error("the primary stepped down at once, not after the election timeout")
	}
	eventually(t, "it steps down", func() bool { return !writable() })
	set.SetMood(1, Mood{})
	set.SetMood(2, Mood{})
	eventually(t, "it is elected again", writable)
}

// The member of the highest priority takes over from one that was elected before it could be, also when that one writes something now and then.
func TestTheHighestPriorityLeads(t *testing.T) {
	for range 8 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			set := replicaSet(t)
			leads := func(n int) func() bool {
				return func() bool { st, _, _ := set.Member(n).State(); return st == "PRIMARY" }
			}
			set.Cut(true, 0)
			eventually(t, "the second leads", leads(1))
			set.Cut(false, 0)
			eventually(t, "the first leads again", leads(0))
		})
	}
}
