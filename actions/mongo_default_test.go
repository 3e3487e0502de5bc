package actions

import (
	"context"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mongotest"
	"github.com/failoverd/failoverd/internal/replset"
)

// Since MongoDB 5.0 the default write concern of a set with an arbiter follows the arbiter, and a configuration that would change it is refused, also by force.
// That is known on the day before.
func TestMongoPromoteKnowsTheDefaultWriteConcern(t *testing.T) {
	for name, tt := range map[string]struct{ five, set, lacks, forced bool }{
		"before 5.0":             {forced: true},
		"nobody has set it":      {five: true, lacks: true},
		"somebody has set it":    {five: true, set: true, forced: true},
		"set on an older server": {set: true, forced: true},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := mongotest.NewSet(t.Context(), "rs0", mongoElection, mongotest.MemberConfig{Priority: 3, Votes: 1}, mongotest.MemberConfig{Arbiter: true, Votes: 1}, mongotest.MemberConfig{Votes: 1})
			if err != nil {
				t.Fatal(err)
			}
			if tt.five {
				s.ImplicitDefaults()
			}
			soon(t, "a primary in east", func() bool { st, _, _ := s.Member(0).State(); return st == "PRIMARY" })
			a := promotion(t, "west", MongoPromoteConfig{ReplicaSet: "rs0", Members: map[failover.Region][]string{"east": s.Hosts[:2], "west": s.Hosts[2:]}})
			if tt.set {
				c, err := replset.Access{Set: "rs0", Dialer: a.dns}.Client(s.Hosts[0], a.patience)
				if err != nil {
					t.Fatal(err)
				}
				defer replset.Close(c)
				soon(t, "the default to be set", func() bool {
					return c.Database("admin").RunCommand(context.Background(), bson.D{{Key: "setDefaultRWConcern", Value: 1}, {Key: "defaultWriteConcern", Value: bson.D{{Key: "w", Value: int32(1)}}}}).Err() == nil
				})
			}
			soon(t, "what it lacks", func() bool {
				e, err := a.Inspect(t.Context())
				return err == nil && strings.Contains(e.Lacks, "setDefaultRWConcern: 1") == tt.lacks
			})
			s.Member(0).Kill()
			becomes(t, a, Absent, "FORCED")
			if e := inspect(t, a, Absent, ""); strings.Contains(e.Detail, "nobody can set it without a primary") != tt.lacks {
				t.Errorf("it says %q", e.Detail)
			}
			if err := try(t, a); (err == nil) != tt.forced || err != nil && !strings.Contains(err.Error(), "would change the implicit default write concern") {
				t.Errorf("forced: %v", err)
			}
		})
	}
}
