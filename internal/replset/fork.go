package replset

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Fork is what became of the history of a member that a forced promotion has left behind,
// held against the primary's. Both parts of the test are needed: on a real set either of
// them alone has missed forks, and states, equal optimes and rollback IDs show none.
// A fork that is not found is no proof that there is none.
type Fork struct {
	Place
	// Err is why it could not be tested; then nothing below counts.
	Err error
	// Newest is the member's newest operation, and Unknown says that the primary has none
	// with its time and term.
	Newest  OpTime
	Unknown bool
	// Elections are those that the member remembers, since the promotion was begun, and
	// the primary does not.
	Elections []OpTime
}

// Forked reports whether the member holds what the primary does not.
func (f Fork) Forked() bool { return f.Err == nil && (f.Unknown || len(f.Elections) > 0) }

// String is the verdict for a person.
func (f Fork) String() string {
	switch {
	case f.Err != nil:
		return fmt.Sprintf("%s could not be tested for a fork (%v)", f.Host, f.Err)
	case len(f.Elections) > 0:
		return fmt.Sprintf("%s HAS FORKED: it remembers %d elections that the primary never had, the last one of %s in term %d", f.Host, len(f.Elections), f.Elections[len(f.Elections)-1].At().Format(time.RFC3339), f.Elections[len(f.Elections)-1].Term)
	case f.Unknown:
		return fmt.Sprintf("%s HAS FORKED: its newest operation, of %s in term %d, is not in the primary's oplog", f.Host, f.Newest.At().Format(time.RFC3339), f.Newest.Term)
	}
	return f.Host + " shows no fork"
}

// oplogEntry is what is compared of an operation.
type oplogEntry struct {
	OpTime `bson:",inline"`
	Wall   time.Time `bson:"wall"`
}

// ForkTests tests members against the primary, all at once. since is when the newest forced
// promotion was begun, by a clock that may be off by an hour. It changes nothing, reads no
// user's data, and needs the right to read the database local.
func ForkTests(ctx context.Context, a Access, primary string, members []Place, since time.Time, timeout time.Duration) []Fork {
	out := make([]Fork, len(members))
	var wg sync.WaitGroup
	for i, p := range members {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			out[i].Place = p
			out[i].Err = a.at(p.Host, timeout, func(member *mongo.Client) error {
				return a.at(primary, timeout, func(primary *mongo.Client) error { return out[i].test(ctx, member, primary, since) })
			})
		})
	}
	wg.Wait()
	return out
}

func (f *Fork) test(ctx context.Context, member, primary *mongo.Client, since time.Time) error {
	oldest, err := edge(ctx, primary, 1)
	if err != nil {
		return fmt.Errorf("reading the primary's oplog: %w", err)
	}
	newest, err := edge(ctx, member, -1)
	if err != nil {
		return fmt.Errorf("reading its oplog: %w", err)
	}
	if f.Newest = newest.OpTime; oldest.TS.After(newest.TS) {
		return fmt.Errorf("its newest operation, of %s, is older than what the primary's oplog holds", newest.At().Format(time.RFC3339))
	}
	var there oplogEntry
	switch err := oplog(primary).FindOne(ctx, bson.D{{Key: "ts", Value: newest.TS}, {Key: "t", Value: newest.Term}}).Decode(&there); {
	case errors.Is(err, mongo.ErrNoDocuments):
		f.Unknown = true
	case err != nil:
		return fmt.Errorf("reading the primary's oplog: %w", err)
	}
	// The oplog is read from a place in it on, and not as a whole: both begin there.
	from := bson.Timestamp{T: uint32(max(0, since.Add(-time.Hour).Unix()))} //nolint:gosec // seconds, until 2106
	if oldest.TS.After(from) {
		from = oldest.TS
	}
	cur, err := oplog(member).Find(ctx, bson.D{{Key: "ts", Value: bson.D{{Key: "$gte", Value: from}}}, {Key: "op", Value: "n"}, {Key: "o.msg", Value: "new primary"}})
	if err != nil {
		return fmt.Errorf("reading its elections: %w", err)
	}
	var elections []oplogEntry
	if err := cur.All(ctx, &elections); err != nil {
		return fmt.Errorf("reading its elections: %w", err)
	}
	for _, e := range elections {
		// Two sides may have held elections of one term in one second: the wall clock tells them apart.
		switch err := oplog(primary).FindOne(ctx, bson.D{{Key: "ts", Value: e.TS}, {Key: "t", Value: e.Term}, {Key: "wall", Value: e.Wall}}).Decode(&there); {
		case errors.Is(err, mongo.ErrNoDocuments):
			f.Elections = append(f.Elections, e.OpTime)
		case err != nil:
			return fmt.Errorf("reading the primary's oplog: %w", err)
		}
	}
	if !f.Unknown && len(f.Elections) == 0 {
		return nil
	}
	// A secondary has nothing that its primary has not. One that follows the next primary may have what this one lacks.
	var now helloReply
	if err := run(ctx, primary, bson.D{{Key: "hello", Value: 1}}, &now); err != nil {
		return fmt.Errorf("asking whether the primary still is one: %w", err)
	}
	if !now.Writable {
		return errors.New("the primary stepped down meanwhile; it is tested again against the next one")
	}
	return nil
}

func oplog(c *mongo.Client) *mongo.Collection { return c.Database("local").Collection("oplog.rs") }

// edge is the oldest operation that a member holds, or the newest (-1).
func edge(ctx context.Context, c *mongo.Client, order int) (e oplogEntry, err error) {
	err = oplog(c).FindOne(ctx, bson.D{}, options.FindOne().SetSort(bson.D{{Key: "$natural", Value: order}})).Decode(&e)
	return e, err
}
