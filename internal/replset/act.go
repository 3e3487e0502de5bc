package replset

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// at runs f with a client of one member.
func (a Access) at(member string, timeout time.Duration, f func(*mongo.Client) error) error {
	c, err := a.Client(member, timeout)
	if err != nil {
		return err
	}
	defer Close(c)
	return f(c)
}

// Reconfigure gives a member a configuration, by force or as its primary. An error does not mean that it is not in force: who asks
// reads it again. There is no time limit in the command but that of ctx: the server gives up at what waits for other members
// after it is installed.
func (a Access) Reconfigure(ctx context.Context, member string, config bson.D, force bool, timeout time.Duration) error {
	cmd := bson.D{{Key: "replSetReconfig", Value: config}}
	if force {
		cmd = append(cmd, bson.E{Key: "force", Value: true})
	}
	return a.at(member, timeout, func(c *mongo.Client) error { return run(ctx, c, cmd, &bson.D{}) })
}

// ErrNotFenced says that a member may still become, or be, a primary.
var ErrNotFenced = errors.New("not fenced")

// Fence keeps members from being primary for some time: first those that are none are frozen, so that none of them takes over, then a
// primary is made to step down by force, and frozen as well. It is in the members' memory only: a restart forgets it. None waits for
// another one that hangs. The error wraps ErrNotFenced, and names those that are not.
func (a Access) Fence(ctx context.Context, members []string, length, timeout time.Duration) error {
	seconds := int64(length / time.Second)
	var mu sync.Mutex
	var primaries []string
	err := each(members, func(m string) error {
		err := a.freeze(ctx, m, seconds, timeout)
		if code(err) == codeNotSecondary {
			mu.Lock()
			defer mu.Unlock()
			primaries = append(primaries, m)
			return nil
		}
		return wrap(err, "freezing %s", m)
	})
	err = errors.Join(err, each(primaries, func(m string) error {
		err := a.at(m, timeout, func(c *mongo.Client) error {
			return run(ctx, c, bson.D{{Key: "replSetStepDown", Value: seconds}, {Key: "secondaryCatchUpPeriodSecs", Value: 0}, {Key: "force", Value: true}}, &bson.D{})
		})
		if err != nil && code(err) != codeNotPrimary {
			return wrap(err, "making %s step down", m)
		}
		return wrap(a.freeze(ctx, m, seconds, timeout), "freezing %s after it was made to step down", m)
	}))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotFenced, err)
	}
	return nil
}

// Freeze keeps members that do not lead from being elected for some time from now on. It shortens no freeze, makes nobody step down, and a restart
// forgets it. None waits for another one that hangs. The error wraps ErrNotFenced, and names those that are not, also one that leads.
func (a Access) Freeze(ctx context.Context, members []string, length, timeout time.Duration) error {
	if err := each(members, func(m string) error {
		return wrap(a.freeze(ctx, m, int64(length/time.Second), timeout), "freezing %s", m)
	}); err != nil {
		return fmt.Errorf("%w: %w", ErrNotFenced, err)
	}
	return nil
}

// Thaw lets members be primary again that were fenced, also those that were made to step down.
func (a Access) Thaw(ctx context.Context, members []string, timeout time.Duration) error {
	return each(members, func(m string) error {
		err := a.freeze(ctx, m, 0, timeout)
		if code(err) == codeNotSecondary { // it leads
			return nil
		}
		return wrap(err, "thawing %s", m)
	})
}

// freeze is a matter of the member's memory, and takes no longer than an answer.
func (a Access) freeze(ctx context.Context, member string, seconds int64, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return a.at(member, timeout, func(c *mongo.Client) error {
		return run(ctx, c, bson.D{{Key: "replSetFreeze", Value: seconds}}, &bson.D{})
	})
}

// each does something with all members at once, and waits for all of them.
func each(members []string, do func(member string) error) error {
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { errs[i] = do(m) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func wrap(err error, what, member string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(what+": %w", member, err)
}

// Write puts one document into a collection and waits until a majority has it. It is the same document each time, so that a
// write that was given up and took place after all changes nothing.
func Write(ctx context.Context, c *mongo.Client, database, id string, at time.Time) error {
	res := c.Database(database).RunCommand(ctx, bson.D{
		{Key: "update", Value: "canary"},
		{Key: "updates", Value: bson.A{bson.D{
			{Key: "q", Value: bson.D{{Key: "_id", Value: id}}},
			{Key: "u", Value: bson.D{{Key: "$set", Value: bson.D{{Key: "at", Value: at}}}}},
			{Key: "upsert", Value: true},
		}}},
		{Key: "writeConcern", Value: bson.D{{Key: "w", Value: "majority"}}},
	})
	if err := res.Err(); err != nil {
		return err
	}
	var out struct {
		Concern struct {
			Code   int32  `bson:"code"`
			ErrMsg string `bson:"errmsg"`
		} `bson:"writeConcernError"`
		Errors []struct {
			Code   int32  `bson:"code"`
			ErrMsg string `bson:"errmsg"`
		} `bson:"writeErrors"`
	}
	if err := res.Decode(&out); err != nil {
		return err
	}
	switch {
	case len(out.Errors) > 0:
		return fmt.Errorf("code %d: %s", out.Errors[0].Code, out.Errors[0].ErrMsg)
	case out.Concern.Code != 0:
		return fmt.Errorf("no majority has acknowledged it: code %d: %s", out.Concern.Code, out.Concern.ErrMsg)
	}
	return nil
}
