package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/ledger"
	"github.com/failoverd/failoverd/lab/world"
)

// members waits until MongoDB's members at a site are in a state.
func (r *rig) members(limit time.Duration, site, state string, hosts ...string) {
	r.Helper()
	var got map[string]string
	r.do(r.poll(limit, func() (bool, string) {
		var err error
		if got, err = r.w.Mongo(r.ctx, site); err != nil {
			return false, err.Error()
		}
		for _, h := range hosts {
			if got[h] != state {
				return false, h + " to be " + state + ", and not " + got[h]
			}
		}
		return true, ""
	}))
}

// documents counts what a majority has acknowledged to workers, by region, and lists what of that e2a has not.
func (r *rig) documents() (acked map[string]int, lost []ledger.Event) {
	r.Helper()
	events, err := r.w.Events(r.ctx, ledger.Stored) // first: what comes meanwhile is in the set
	r.do(err)
	keys, err := r.w.MongoDocuments(r.ctx, world.E2, mongoE2a)
	r.do(err)
	acked = map[string]int{}
	for _, e := range events {
		if acked[e.Region]++; !slices.Contains(keys, e.Key) {
			lost = append(lost, e)
		}
	}
	return acked, lost
}

// bound waits until `failoverd price` knows what would be lost of a store, and gives it: what was written in that time before the region failed.
func (r *rig) bound(node, store string) (bound time.Duration, asked time.Time) {
	r.Helper()
	r.do(r.poll(30*time.Second, func() (bool, string) {
		asked = time.Now()
		out, err := r.c.CLI(r.ctx, node, "price", "--json")
		var price struct {
			Stores []struct {
				Store  string
				AtMost string `json:"at_most"`
			}
		}
		if err != nil || json.Unmarshal([]byte(out), &price) != nil {
			return false, fmt.Sprintf("a price, and not %v: %s", err, out)
		}
		for _, s := range price.Stores {
			if s.Store == store && s.AtMost != "" {
				bound, err = time.ParseDuration(s.AtMost)
				r.do(err)
			}
		}
		return bound > 0, "a sample of " + store + ", and not " + out
	}))
	return bound, asked
}

const (
	mongoE1a, mongoE1b = "198.18.1.31:27017", "198.18.1.32:27017"
	mongoE2a           = "198.18.2.31:27017"
)

// us-east-1 is cut off with two of three members, which go on leading their side. A person is asked, who sees what is about to be forced;
// the survivor goes on without them; when the cut heals, they are REMOVED, and nobody writes there.
func TestMongoIsPromotedByForce(t *testing.T) {
	r := start(t, func(o *harness.Options) { o.AskMongo, o.Documents = true, true })
	bound, asked := r.bound("use2a", "mongo")
	if bound > time.Duration(r.ms(6000))*time.Millisecond { // max_loss allows five seconds here
		t.Errorf("a bound of %s says nothing", bound)
	}
	// What stands in the queue of the region's workers is counted while it can be.
	r.do(r.poll(30*time.Second, func() (bool, string) {
		out, err := r.c.CLI(r.ctx, "use2a", "price")
		return err == nil && regexp.MustCompile(`out of reach of workers: about \d+ messages in queue messages \(counted \d+s before\); they wait in us-east-1`).MatchString(out), "a count of the messages, and not " + out
	}))
	lossAt := r.lose()
	s := r.until(90*time.Second, "the question before the promotion", func(s *harness.Status) bool {
		return s.Current() != nil && s.Current().Question != nil
	})
	if text := s.Current().Question.Text; !strings.Contains(text, "start-mongo") || !strings.Contains(text, mongoE2a+" goes on by a FORCED reconfiguration without "+mongoE1a+", "+mongoE1b) || !strings.Contains(text, "manual") ||
		!strings.Contains(text, "Lost of mongo with us-east-1: what was written in the last ") {
		t.Errorf("the question is %q", text)
	}
	r.members(time.Second, world.E1, "PRIMARY", mongoE1a)
	r.members(time.Second, world.E2, "SECONDARY", mongoE2a)
	r.order("use2a", "approve")
	r.stable()
	v := r.movedSafely(lossAt, 1)
	r.members(time.Second, world.E2, "PRIMARY", mongoE2a)
	acked, lost := r.documents()
	if v.MongoLost != len(lost) || acked[world.Secondary] == 0 {
		t.Errorf("%d documents are counted as lost, %d are; %d were acknowledged in us-east-2", v.MongoLost, len(lost), acked[world.Secondary])
	}
	if len(lost) == 0 {
		t.Error("a majority was cut off and went on, and nothing that it has acknowledged is lost: the count cannot be right")
	}
	for _, e := range lost {
		// What had been said beforehand holds: of what was written before the failure no more is lost.
		if e.Region != world.Primary || e.At.Before(asked.Add(-bound)) {
			t.Errorf("%s, acknowledged in %s %s after the cut, is lost; the bound was %s", e.Key, e.Region, e.At.Sub(lossAt), bound)
		}
	}
	r.do(r.w.Heal(r.ctx, world.E1))
	r.members(30*time.Second, world.E1, "REMOVED", mongoE1a, mongoE1b)
	r.until(30*time.Second, "the hold on MongoDB", func(s *harness.Status) bool {
		for _, h := range s.Holds {
			if h.Component == "mongo" {
				return h.Status == "kept" && strings.Contains(h.Detail, mongoE2a+" is the writable primary")
			}
		}
		return false
	})
	r.members(time.Second, world.E2, "PRIMARY", mongoE2a)
}

// As long as a majority is alive nothing is forced: priorities move the primary, and all three stay members. That nothing is lost while
// somebody writes is seen in TestMongoPromoteMovesWithoutLoss, where the machine does nothing else.
func TestMongoIsMovedByPriorities(t *testing.T) {
	r := start(t)
	r.order("use2a", "failover")
	r.until(120*time.Second, "the step", func(s *harness.Status) bool {
		return s.Current() != nil && s.Current().StepState("start-mongo") == "done"
	})
	r.members(time.Second, world.E2, "PRIMARY", mongoE2a)
	r.members(5*time.Second, world.E1, "SECONDARY", mongoE1a, mongoE1b)
}
