package replset

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Oplog is how far back a member's oplog reaches. A member that was away for longer
// than those that it comes back to can tell has to copy everything anew.
type Oplog struct {
	Place
	// From and To are its oldest and its newest operation, in whole seconds.
	From, To time.Time
	// Size is what it holds, Max what it may, in bytes. One that is not full reaches
	// back to its beginning, and says nothing of how long that stays.
	Size, Max int64
	// Err is why it could not be asked.
	Err error
}

// Reach is the time that a full oplog holds; full is false for one that is not, or was
// not to be seen.
func (o Oplog) Reach() (held time.Duration, full bool) {
	return o.To.Sub(o.From), o.Err == nil && o.Max > 0 && float64(o.Size) >= .9*float64(o.Max) && o.To.After(o.From)
}

// Oplogs asks the members at places, all at once. It changes nothing.
func Oplogs(ctx context.Context, a Access, places []Place, timeout time.Duration) []Oplog {
	out := make([]Oplog, len(places))
	var wg sync.WaitGroup
	for i, p := range places {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			out[i].Place = p
			out[i].Err = out[i].ask(ctx, a, timeout)
		})
	}
	wg.Wait()
	return out
}

func (o *Oplog) ask(ctx context.Context, a Access, timeout time.Duration) error {
	c, err := a.Client(o.Host, timeout)
	if err != nil {
		return err
	}
	defer Close(c)
	var status struct {
		Oplog struct {
			From bson.Timestamp `bson:"earliestOptime"`
			To   bson.Timestamp `bson:"latestOptime"`
		} `bson:"oplog"`
	}
	if err := run(ctx, c, bson.D{{Key: "serverStatus", Value: 1}, {Key: "oplog", Value: 1}}, &status); err != nil {
		return fmt.Errorf("asking how far back its oplog reaches: %w", err)
	}
	// https://www.mongodb.com/docs/manual/reference/command/collStats/
	var stats struct {
		Size int64 `bson:"size"`
		Max  int64 `bson:"maxSize"`
	}
	if err := c.Database("local").RunCommand(ctx, bson.D{{Key: "collStats", Value: "oplog.rs"}}).Decode(&stats); err != nil {
		return fmt.Errorf("asking how large its oplog is: %w", err)
	}
	if status.Oplog.From.T == 0 {
		return errors.New("it does not say how far back its oplog reaches")
	}
	o.From, o.To, o.Size, o.Max = time.Unix(int64(status.Oplog.From.T), 0), time.Unix(int64(status.Oplog.To.T), 0), stats.Size, stats.Max
	return nil
}

// leastOplog is the smallest that may be asked for, in megabytes
// (https://www.mongodb.com/docs/manual/reference/command/replSetResizeOplog/).
const leastOplog = 990

// OplogAdvice says of oplogs that hold less than an outage may last how they are made to,
// as commands for a quiet day; "" where there is nothing to be said.
func OplogAdvice(logs []Oplog, outage time.Duration) string {
	var out []string
	for _, o := range logs {
		held, full := o.Reach()
		if !full || held >= outage {
			continue
		}
		size := math.Ceil(max(leastOplog, float64(o.Max)/(1<<20)*float64(outage)/float64(held)))
		out = append(out, fmt.Sprintf("the oplog of %s holds the writes of %s, and members that were away for longer (an outage may last %s) have to copy everything anew: on a quiet day, on it, db.adminCommand({replSetResizeOplog: 1, size: Double(%.0f)})",
			o.Host, held.Round(time.Second), outage, size))
	}
	return strings.Join(out, "; ")
}
