package probes

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mongotest"
)

func TestMongoWrite(t *testing.T) {
	s, err := mongotest.NewSet(t.Context(), "rs0", 600*time.Millisecond, mongotest.MemberConfig{Priority: 3, Votes: 1}, mongotest.MemberConfig{Priority: 2, Votes: 1}, mongotest.MemberConfig{Priority: 1, Votes: 1})
	if err != nil {
		t.Fatal(err)
	}
	check := func(region failover.Region, replicaSet string) Finding {
		t.Helper()
		c := &MongoWriteConfig{MongoConfig: MongoConfig{ReplicaSet: replicaSet, Members: map[failover.Region][]string{"east": s.Hosts[:2], "west": s.Hosts[2:]}}}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		x, err := c.NewCheck(Deps{Region: region, Node: "n1", Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return x.Check(t.Context())
	}
	expect := func(f Finding, status Status, says string) {
		t.Helper()
		if f.Status != status || !strings.Contains(f.Detail, says) {
			t.Errorf("%s %q, want %s with %q", f.Status, f.Detail, status, says)
		}
	}
	// Whoever was elected first, the one with the highest priority takes over.
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(check("east", "rs0").Detail, s.Hosts[0]+" has acknowledged"); {
		if time.Now().After(deadline) {
			t.Fatalf("no write within 20 s: %+v", check("east", "rs0"))
		}
	}
	expect(check("east", "rs0"), Pass, s.Hosts[0]+" has acknowledged a write by a majority")
	expect(check("east", "rs1"), Fail, "no writable primary of rs1")
	expect(check("west", "rs0"), Fail, s.Hosts[2]+" is no writable primary") // that of the other region, which the set names, does not count
	// A primary that nobody follows takes a write, and no majority acknowledges it.
	s.Member(1).Kill()
	s.Member(2).Kill()
	expect(check("east", "rs0"), Fail, "writing to "+s.Hosts[0])
	s.Member(0).Kill()
	expect(check("east", "rs0"), Unknown, s.Hosts[0])
}

func TestMongoWriteParameters(t *testing.T) {
	c := &MongoWriteConfig{MongoConfig: MongoConfig{ReplicaSet: "rs0", Members: map[failover.Region][]string{"east": {"m:1"}}}, Database: "a/b"}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), `"a/b" is no database's name`) {
		t.Errorf("%v", err)
	}
	c.Database = ""
	if _, err := c.NewCheck(Deps{Region: "west"}); err == nil {
		t.Error("a region without members can be checked")
	}
}
