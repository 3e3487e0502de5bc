package harness

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/failoverd/failoverd/lab/awsfake"
	"github.com/failoverd/failoverd/lab/dnsfake"
	"github.com/failoverd/failoverd/lab/ledger"
	"github.com/failoverd/failoverd/lab/world"
)

// Verdict is how it went, computed from the world's ledger, its record of API calls and its DNS answers, and from nothing
// that the daemon says.
type Verdict struct {
	Active       string // where name servers send clients and messages are processed; "split" if they differ
	Epoch        uint64 // of the newest token, in Route 53 or the S3 object; 1 if none was ever written
	Duplicates   int
	DualActiveMs int64
	Messages     int // acknowledged by the service
	Lost         int
	Prepared     time.Duration // from the loss to the first mutating AWS call of a step that the example prepares; -1: none was made
	Detect       time.Duration // from the loss to the first mutating AWS call of any other step; -1: none was made
	Recover      time.Duration // from the loss to a message that came in by the new way and was processed; -1: never
	Factor       float64

	// BackupAge is how old the backup was, at the loss, from which MariaDB in us-east-2 has come, by what is in it; -1: from none.
	BackupAge time.Duration
	Rows      int // that MariaDB in us-east-1 has and the one in us-east-2 has not; -1: it could not be asked

	// MongoLost is how many documents a majority of MongoDB's members has acknowledged and the set has not; -1: nobody wrote any.
	MongoLost int
	// MongoRPO is how long they had been written: from the newest of us-east-1 that is there to the newest that is not.
	MongoRPO time.Duration

	InDoubt int         // claimed by a worker that died: a person looks at them
	Steps   []Milestone // from the loss on
}

// Milestone is one moment of the world's record.
type Milestone struct {
	What  string
	After time.Duration // since the loss
}

// Line is the last line of the demo.
func (v Verdict) Line() string {
	sec := func(d time.Duration) string {
		if d < 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f", d.Seconds())
	}
	lost := "-"
	if v.MongoLost >= 0 {
		lost = strconv.Itoa(v.MongoLost)
	}
	return fmt.Sprintf("result: active=%s epoch=%d duplicates=%d dual_active_ms=%d messages=%d lost=%d mongo_lost=%s mongo_rpo_s=%s mariadb_backup_age_s=%s detect_s=%s recover_s=%s time_factor=%g",
		v.Active, v.Epoch, v.Duplicates, v.DualActiveMs, v.Messages, v.Lost, lost, sec(v.MongoRPO), sec(v.BackupAge), sec(v.Detect), sec(v.Recover), v.Factor)
}

// Unknown is the verdict before anything is known.
func Unknown(factor float64) Verdict {
	return Verdict{Active: "unknown", Prepared: -1, Detect: -1, Recover: -1, BackupAge: -1, Rows: -1, MongoLost: -1, MongoRPO: -1, Factor: factor}
}

// Judge computes the verdict. lossAt is the moment of the loss; zero means that nothing was lost.
func (c *Cluster) Judge(ctx context.Context, lossAt time.Time) (Verdict, error) {
	v := Unknown(c.opt.Config.Factor)
	v.Epoch = 1
	r, err := c.W.Record(ctx)
	if err != nil {
		return v, err
	}
	v.Duplicates, v.DualActiveMs, v.Messages = r.Duplicates, r.DualActiveMs, r.Acked
	v.Lost, v.InDoubt = len(r.Lost)+len(r.Stranded), len(r.InDoubt)
	if v.Epoch, err = c.TokenEpoch(ctx); err != nil {
		return v, err
	}
	if v.Active, err = c.ActiveRegion(ctx); err != nil {
		return v, err
	}
	if lossAt.IsZero() {
		return v, nil
	}
	calls, err := c.Mutations(ctx)
	if err != nil {
		return v, err
	}
	for _, call := range calls {
		if !call.At.After(lossAt) {
			continue
		}
		if bytes.Contains(call.Params, []byte(`"service":"api"`)) {
			if v.Prepared < 0 {
				v.Prepared = call.At.Sub(lossAt)
			}
			continue
		}
		v.Detect = call.At.Sub(lossAt)
		break
	}
	if err := c.restored(ctx, &v, lossAt); err != nil {
		return v, err
	}
	if err := c.documents(ctx, &v); err != nil {
		return v, err
	}
	return v, c.recovery(ctx, &v, lossAt)
}

// restored asks both databases what is in them.
func (c *Cluster) restored(ctx context.Context, v *Verdict, lossAt time.Time) error {
	if !c.opt.MariaDB {
		return nil
	}
	b, err := c.W.Restored(ctx, world.Secondary)
	if err != nil || b.Key == "" {
		return err
	}
	v.BackupAge = lossAt.Sub(b.At)
	if n, err := c.W.OnlyIn(ctx, world.Primary, world.Secondary); err == nil { // it may be dead
		v.Rows = n
	}
	return nil
}

// documents holds what MongoDB's members have acknowledged against what the one that leads has in the end.
func (c *Cluster) documents(ctx context.Context, v *Verdict) error {
	if !c.opt.Documents {
		return nil
	}
	has := map[string]bool{}
	for _, site := range []string{world.E2, world.E1} {
		states, err := c.W.Mongo(ctx, site)
		if err != nil {
			continue // the region is dead
		}
		for host, state := range states {
			if state != "PRIMARY" || len(has) > 0 {
				continue
			}
			keys, err := c.W.MongoDocuments(ctx, site, host)
			if err != nil {
				return err
			}
			for _, k := range keys {
				has[k] = true
			}
		}
	}
	events, err := c.W.Events(ctx, ledger.Stored)
	if err != nil {
		return err
	}
	v.MongoLost, v.MongoRPO = 0, 0
	var kept, lost time.Time
	for _, e := range events {
		switch {
		case !has[e.Key]:
			v.MongoLost++
			lost = e.At
		case e.Region == world.Primary:
			kept = e.At
		}
	}
	if v.MongoLost > 0 {
		v.MongoRPO = lost.Sub(kept)
	}
	return nil
}

// Changes are the change batches of the nodes that Route 53 accepted, oldest first.
func (c *Cluster) Changes(ctx context.Context) ([]awsfake.Batch, error) {
	all, err := c.W.Route53Changes(ctx)
	return slices.DeleteFunc(all, func(b awsfake.Batch) bool { return !strings.HasPrefix(b.AccessKey, KeyPrefix) }), err
}

// Objects are the writes to the traffic object that S3 accepted, oldest first.
func (c *Cluster) Objects(ctx context.Context) ([]awsfake.S3Write, error) {
	var out []awsfake.S3Write
	err := c.W.Control(world.E2).Call(ctx, "GET", "/s3/writes", nil, &out)
	return slices.DeleteFunc(out, func(w awsfake.S3Write) bool { return w.Bucket != world.TrafficBucket }), err
}

// recovery finds the first message that a client brought to us-east-2 by the new way and that was processed there.
func (c *Cluster) recovery(ctx context.Context, v *Verdict, lossAt time.Time) error {
	changes, err := c.Changes(ctx)
	if err != nil {
		return err
	}
	objects, err := c.Objects(ctx)
	if err != nil {
		return err
	}
	answers, err := c.W.DNSAnswers(ctx)
	if err != nil {
		return err
	}
	events, err := c.W.Events(ctx, "")
	if err != nil {
		return err
	}
	came := map[string]bool{}
	var firstWorker, lastDied time.Time
	for _, e := range events {
		switch {
		case e.Type == ledger.Acked && e.Region == world.Secondary && e.At.After(lossAt):
			came[e.Key] = true
		case e.Type == ledger.Hello && e.Role == "worker" && e.Region == world.Secondary && firstWorker.IsZero():
			firstWorker = e.At
		case e.Type == ledger.Bye && e.Role == "worker" && e.Region == world.Primary && e.At.Before(lossAt.Add(10*time.Minute)):
			lastDied = e.At
		}
	}
	for _, e := range events {
		if e.Type == ledger.Processed && e.Region == world.Secondary && came[e.Key] {
			v.Recover = e.End.Sub(lossAt)
			break
		}
	}
	add := func(what string, at time.Time) {
		if !at.IsZero() {
			v.Steps = append(v.Steps, Milestone{what, at.Sub(lossAt)})
		}
	}
	add("last worker of us-east-1 dead", lastDied)
	add("first worker of us-east-2 alive", firstWorker)
	if len(objects) > 0 {
		add("S3 object names us-east-2", objects[0].At)
	}
	if len(changes) > 0 {
		add("Route 53 batch accepted", changes[0].At)
	}
	for _, a := range answers {
		if a.Server != "resolver" && a.Region == world.Secondary && strings.HasPrefix(a.Name, "api.example.net") && a.Second >= lossAt.Unix() {
			add("a name server leads to us-east-2", time.Unix(a.Second+1, 0))
			break
		}
	}
	return nil
}

// Mutations are the changing AWS calls of the nodes in all the world, oldest first, refused ones included.
func (c *Cluster) Mutations(ctx context.Context) ([]awsfake.Call, error) {
	var out []awsfake.Call
	for _, site := range []string{world.E1, world.E2, world.Net} {
		calls, err := c.W.Calls(ctx, site)
		if err != nil {
			if site == world.Net {
				return nil, err
			}
			continue // the region is dead, and its record with it
		}
		for _, call := range calls {
			if call.Mutating && strings.HasPrefix(call.AccessKey, KeyPrefix) {
				out = append(out, call)
			}
		}
	}
	slices.SortFunc(out, func(a, b awsfake.Call) int { return a.At.Compare(b.At) })
	return out, nil
}

// Records reads the zone as Route 53's control plane has it.
func (c *Cluster) Records(ctx context.Context) ([]dnsfake.RecordSet, error) {
	var sets []dnsfake.RecordSet
	err := c.W.Control(world.Net).Call(ctx, "GET", "/route53/records", nil, &sets)
	return sets, err
}

// Weights reads the weights of a name by region.
func (c *Cluster) Weights(ctx context.Context, name string) (map[string]int, error) {
	sets, err := c.Records(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for _, s := range sets {
		if s.Name == dnsfake.FQDN(name) && s.SetID != "" {
			out[s.SetID] = s.Weight
		}
	}
	return out, nil
}

// TokenEpoch reads the highest epoch of the tokens in Route 53 and in the S3 object; 1 if there is none.
func (c *Cluster) TokenEpoch(ctx context.Context) (uint64, error) {
	inZone, err := c.zoneEpoch(ctx)
	if err != nil {
		return 0, err
	}
	writes, err := c.Objects(ctx)
	if err != nil || len(writes) == 0 {
		return inZone, nil // the region's record is gone with the region
	}
	var epoch uint64
	for _, f := range strings.Fields(writes[len(writes)-1].Body) {
		if n, ok := strings.CutPrefix(f, "epoch="); ok {
			if epoch, err = strconv.ParseUint(n, 10, 64); err != nil {
				return 0, fmt.Errorf("the traffic object has no epoch: %w", err)
			}
		}
	}
	return max(inZone, epoch), nil
}

func (c *Cluster) zoneEpoch(ctx context.Context) (uint64, error) {
	sets, err := c.Records(ctx)
	if err != nil {
		return 0, err
	}
	for _, s := range sets {
		if s.Name != "_failoverd.example.net." || s.Type != "TXT" || len(s.Values) != 1 {
			continue
		}
		for _, f := range strings.Fields(strings.Trim(s.Values[0], `"`)) {
			if n, ok := strings.CutPrefix(f, "epoch="); ok {
				epoch, err := strconv.ParseUint(n, 10, 64)
				if err != nil {
					return 0, fmt.Errorf("the token in Route 53, %s, has no epoch: %w", s.Values[0], err)
				}
				return epoch, nil
			}
		}
		return 0, fmt.Errorf("the token in Route 53, %s, has no epoch", s.Values[0])
	}
	return 1, nil
}

// ActiveRegion is the region to which all four name servers send clients, if messages were last processed there and nowhere
// else; otherwise a word that says what is wrong.
func (c *Cluster) ActiveRegion(ctx context.Context) (string, error) {
	toward, err := c.DNSRegion(ctx, "api.example.net")
	if err != nil {
		return "unknown", err
	}
	done, err := c.W.Events(ctx, ledger.Processed)
	if err != nil {
		return "unknown", err
	}
	if len(done) == 0 {
		return "none", nil
	}
	last := done[len(done)-1]
	for _, e := range slices.Backward(done) {
		if last.End.Sub(e.End) > 3*time.Second {
			break
		}
		if e.Region != last.Region {
			return "both", nil
		}
	}
	if last.Region != toward {
		return "split", nil
	}
	return toward, nil
}

// DNSRegion is the region that all four name servers answer for a name; "split" if they differ.
func (c *Cluster) DNSRegion(ctx context.Context, name string) (string, error) {
	all, err := c.W.Lookup(ctx, name)
	if err != nil {
		return "", err
	}
	found := ""
	for _, ips := range all {
		region := ""
		for _, ip := range ips {
			switch {
			case strings.HasPrefix(ip, "198.18.1."):
				region = world.Primary
			case strings.HasPrefix(ip, "198.18.2."):
				region = world.Secondary
			}
		}
		if found != "" && region != found || region == "" {
			return "split", nil
		}
		found = region
	}
	return found, nil
}

// NoteTime is when the world noted a text first, such as "cut e1".
func (c *Cluster) NoteTime(ctx context.Context, text string) (time.Time, error) {
	notes, err := c.W.Events(ctx, ledger.Note)
	if err != nil {
		return time.Time{}, err
	}
	for _, e := range notes {
		if e.Text == text {
			return e.At, nil
		}
	}
	return time.Time{}, fmt.Errorf("the world has no note %q", text)
}

// Drain waits until the living regions have processed what they have accepted. Providers must be paused.
func (c *Cluster) Drain(ctx context.Context, limit time.Duration) error {
	return c.Poll(ctx, limit, func() (bool, string) {
		r, err := c.W.Record(ctx)
		if err != nil {
			return false, err.Error()
		}
		return r.Provider.Unacked == 0 && r.Pending == 0,
			fmt.Sprintf("the queues to drain: %d messages not acknowledged, %d not processed; workers alive: %v; unclaimed in us-east-1 %d, in us-east-2 %d",
				r.Provider.Unacked, r.Pending, r.Alive, len(r.Stores[world.Primary].New), len(r.Stores[world.Secondary].New))
	})
}
