package mongofake

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/failoverd/failoverd/lab/faults"
)

// replicaSet starts three members on 127.0.0.31 to 33, priorities 3, 2, 1.
func replicaSet(t *testing.T) (hosts []string, set *faults.Set) {
	t.Helper()
	set = faults.NewSet(1)
	cfg := Config{Set: "rs0", Version: 1, Term: 1}
	for i := range 3 {
		ln, err := net.Listen("tcp", "127.0.0."+string(rune('1'+i))+":0")
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, ln.Addr().String())
		ln.Close()
		cfg.Members = append(cfg.Members, MemberConfig{ID: int32(i), Host: hosts[i], Priority: float64(3 - i), Votes: 1})
	}
	for _, h := range hosts {
		if _, err := Start(t.Context(), Options{Host: h, Config: &cfg, ElectionTimeout: 300 * time.Millisecond, Faults: set, Log: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
	}
	return hosts, set
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
	for deadline := time.Now().Add(10 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestLossOfMajorityAndForcedReconfig(t *testing.T) {
	hosts, set := replicaSet(t)
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
	for _, m := range []string{"1", "2"} {
		set.Add(faults.Fault{Service: "mongo", Target: m, Mode: faults.Hang})
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
	set.Clear()
	eventually(t, "the first region's member is removed", func() bool {
		_, err := a(bson.D{{Key: "replSetGetStatus", Value: 1}})
		e, ok := err.(mongo.CommandError) //nolint:errorlint // the driver returns it unwrapped
		return ok && e.Code == 93
	})
}

func TestPrimaryWithoutMajorityStepsDown(t *testing.T) {
	hosts, set := replicaSet(t)
	a := direct(t, hosts[0])
	writable := func() bool {
		m, err := a(bson.D{{Key: "hello", Value: 1}})
		return err == nil && m["isWritablePrimary"] == true
	}
	eventually(t, "a primary", writable)
	set.Add(faults.Fault{Service: "mongo", Target: "2", Mode: faults.Refuse})
	set.Add(faults.Fault{Service: "mongo", Target: "3", Mode: faults.Refuse})
	if !writable() {
		t.Error("the primary stepped down at once, not after the election timeout")
	}
	eventually(t, "it steps down", func() bool { return !writable() })
	set.Clear()
	eventually(t, "it is elected again", writable)
	set.Add(faults.Fault{Service: "mongo", Target: "1", Mode: faults.Auth})
	if _, err := a(bson.D{{Key: "replSetGetStatus", Value: 1}}); err == nil || err.(mongo.CommandError).Code != 13 { //nolint:errorlint // the driver returns it unwrapped
		t.Errorf("status without credentials: %v, want code 13", err)
	}
}
