package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/dnsq"
)

// ErrStaleToken says that the resource's token is not the one that the write
// named: another attempt has written since, and nothing of this one took effect.
var ErrStaleToken = errors.New("the token has changed: another attempt has written since, and this one changed nothing")

// route53Weights moves weighted records. The whole move is one batch, which
// Route 53 makes as a whole or not at all, and the batch names the exact token
// that it replaces: a stale writer's batch fails.
type route53Weights struct {
	cfg     *Route53WeightsConfig
	region  failover.Region // where clients are sent
	regions []failover.Region
	client  *route53.Client
	dns     *dnsq.Client
	recall  failover.Reading // what the log keeps of the records
	// change is the ID of our last accepted batch, with its token and when that was;
	// servers are the names of the zone's name servers, once known.
	change   string
	token    uint64
	accepted time.Time
	servers  []string
}

// lostAfter is how long an accepted batch is waited for to stand in Route 53's own
// records. They show it at once; a control plane that was moved to another region
// meanwhile may not have it, and does not get it by itself (Route 53 Developer Guide,
// "Accelerated recovery": changes that were not copied have to be sent again).
const lostAfter = 30 * time.Second

// lost says that Route 53 has accepted our last batch and has forgotten it; "" otherwise.
// Where its token stands the batch was made, and somebody has changed the records since.
func (w *route53Weights) lost(z zoneRecords) string {
	if w.change == "" || z.token().Token >= w.token || time.Since(w.accepted) < lostAfter {
		return ""
	}
	return fmt.Sprintf("Route 53 accepted change %s %s ago, and nothing of it stands in zone %s, not its token either: it was lost", strings.TrimPrefix(w.change, "/change/"), time.Since(w.accepted).Round(time.Second), w.cfg.Zone)
}

// New implements Config.
func (c *Route53WeightsConfig) New(d Deps) (Action, error) {
	if d.Cloud == nil {
		return nil, errors.New("there are no AWS clients")
	}
	if !slices.Contains(d.Regions, d.Region) || len(d.Regions) != 2 {
		return nil, fmt.Errorf("clients cannot be sent to %q: the service has the regions %v", d.Region, d.Regions)
	}
	return &route53Weights{cfg: c, region: d.Region, regions: d.Regions, client: d.Cloud.Route53(), dns: d.dns(), recall: d.Recall}, nil
}

// ChecksToken implements TokenChecker.
func (w *route53Weights) ChecksToken() {}

// Inspect implements Action. The effect is present only when every name server
// of the zone answers with it: an accepted change is not a moved client.
func (w *route53Weights) Inspect(ctx context.Context) (Effect, error) {
	z, err := w.readInTime(ctx)
	if err != nil {
		return w.unread(ctx, err)
	}
	previous, err := z.marshal()
	if err != nil {
		return Effect{}, err
	}
	e := Effect{Previous: previous, Token: z.token().Token}
	right := 0
	var wrong []string
	for _, s := range z.Weighted {
		if want := w.weight(s, w.region); aws.ToInt64(s.Weight) == want {
			right++
		} else {
			wrong = append(wrong, fmt.Sprintf("%s %s %s has %d, not %d", plainName(s), s.Type, *s.SetIdentifier, aws.ToInt64(s.Weight), want))
		}
	}
	switch {
	case right == 0:
		e.State, e.Detail, e.Over = Absent, "no record sends clients to "+string(w.region)+": "+strings.Join(wrong, ", "), w.lost(z)
		return e, nil
	case len(wrong) > 0:
		e.State, e.Detail, e.Over = Partial, strings.Join(wrong, ", "), w.lost(z)
		return e, nil
	}
	var h heard
	if servers, err := w.nameServers(ctx); err != nil {
		h.silent = []string{err.Error()}
	} else {
		h = w.ask(ctx, servers, z)
	}
	if e.State = h.state(); e.State != Present {
		e.Detail = "the records are right" + w.pending(ctx) + ", but not every name server answers so: " + h.why()
		return e, nil
	}
	e.Detail = fmt.Sprintf("all records send clients to %s, and so do %d answers of all name servers", w.region, h.asked)
	return e, nil
}

func plainName(s types.ResourceRecordSet) string {
	return strings.TrimSuffix(aws.ToString(s.Name), ".")
}

// pending tells where Route 53 is with our own change, if we know it.
func (w *route53Weights) pending(ctx context.Context) string {
	if w.change == "" {
		return ""
	}
	out, err := w.client.GetChange(ctx, &route53.GetChangeInput{Id: &w.change})
	if err != nil || out.ChangeInfo == nil {
		return ""
	}
	return fmt.Sprintf(" (change %s is %s)", strings.TrimPrefix(w.change, "/change/"), out.ChangeInfo.Status)
}

// Do implements Action: one call that needs no other before it.
func (w *route53Weights) Do(ctx context.Context, a Attempt) error {
	z, err := parseRecords(a.Previous)
	if err != nil {
		return err
	}
	a.Report("sending clients to %s in one batch, token %d", w.region, a.Token)
	return w.write(ctx, a, w.weighted(z.Weighted, w.region), z.Token, w.region)
}

// Undo implements Action. The records come from a.Previous; the token that is
// replaced is read, since it is whatever the attempts since then have written.
func (w *route53Weights) Undo(ctx context.Context, a Attempt) error {
	before, err := parseRecords(a.Previous)
	if err != nil {
		return err
	}
	if err := neverZero(before.Weighted); err != nil {
		return err
	}
	now, err := w.current(ctx)
	if err != nil {
		return err
	}
	back := failover.Region("")
	for _, s := range before.Weighted {
		if aws.ToInt64(s.Weight) > 0 {
			back = w.cfg.regionOf(aws.ToString(s.SetIdentifier), w.regions)
		}
	}
	a.Report("putting the previous weights back in one batch, token %d", a.Token)
	return w.write(ctx, a, before.Weighted, now.Token, back)
}

// Restored implements Restorer: every record has its weight back. The token has
// changed, as it must.
func (w *route53Weights) Restored(now Effect, previous json.RawMessage) bool {
	was, err1 := parseRecords(previous)
	is, err2 := parseRecords(now.Previous)
	if err1 != nil || err2 != nil || len(was.Weighted) != len(is.Weighted) {
		return false
	}
	weights := map[string]int64{}
	key := func(s types.ResourceRecordSet) string {
		return plainName(s) + " " + string(s.Type) + " " + aws.ToString(s.SetIdentifier)
	}
	for _, s := range was.Weighted {
		weights[key(s)] = aws.ToInt64(s.Weight)
	}
	for _, s := range is.Weighted {
		if want, ok := weights[key(s)]; !ok || want != aws.ToInt64(s.Weight) {
			return false
		}
	}
	return true
}

// Burn implements Burner: the token alone is replaced, the records stay.
func (w *route53Weights) Burn(ctx context.Context, a Attempt) error {
	now, err := w.current(ctx)
	if err != nil {
		return err
	}
	a.Report("replacing the token alone by %d, so that no earlier batch can take effect", a.Token)
	return w.write(ctx, a, nil, now.Token, now.token().Region)
}

// neverZero refuses weights that are all zero: Route 53 then answers with every
// record, which would be two active regions.
func neverZero(sets []types.ResourceRecordSet) error {
	sum := map[string]int64{}
	for _, s := range sets {
		sum[plainName(s)+" "+string(s.Type)] += aws.ToInt64(s.Weight)
	}
	for group, total := range sum {
		if total == 0 {
			return fmt.Errorf("all weights of %s would be 0, which sends clients everywhere", group)
		}
	}
	return nil
}

// write replaces the records and the token in one batch.
func (w *route53Weights) write(ctx context.Context, a Attempt, sets []types.ResourceRecordSet, old *types.ResourceRecordSet, to failover.Region) error {
	if err := neverZero(sets); err != nil {
		return err
	}
	var changes []types.Change
	for i := range sets {
		changes = append(changes, types.Change{Action: types.ChangeActionUpsert, ResourceRecordSet: &sets[i]})
	}
	if old != nil {
		held, err := parseToken(old)
		if err != nil {
			return err
		}
		if held.Token >= a.Token {
			return fmt.Errorf("token %d stands in the zone, ours is %d: %w", held.Token, a.Token, ErrStaleToken)
		}
		changes = append(changes, types.Change{Action: types.ChangeActionDelete, ResourceRecordSet: old})
	}
	changes = append(changes, types.Change{
		Action: types.ChangeActionCreate, ResourceRecordSet: w.tokenRecord(token{Token: a.Token, Epoch: a.Epoch, Region: to}),
	})
	out, err := w.client.ChangeResourceRecordSets(cloud.WithEffectDeadline(ctx, a.Deadline), &route53.ChangeResourceRecordSetsInput{
		HostedZoneId: &w.cfg.Zone,
		ChangeBatch:  &types.ChangeBatch{Changes: changes, Comment: aws.String(fmt.Sprintf("failoverd execution %d token %d", a.Execution, a.Token))},
	})
	if err != nil {
		return w.explain(err)
	}
	if out.ChangeInfo != nil {
		w.change, w.token, w.accepted = aws.ToString(out.ChangeInfo.Id), a.Token, time.Now()
	}
	return nil
}

// explain turns a refused batch into ErrStaleToken when it is the token that was
// refused.
func (w *route53Weights) explain(err error) error {
	var bad *types.InvalidChangeBatch
	if errors.As(err, &bad) {
		text := strings.ToLower(err.Error() + strings.Join(bad.Messages, " "))
		if strings.Contains(text, strings.ToLower(strings.TrimSuffix(w.cfg.Token, "."))) {
			return fmt.Errorf("changing the records of zone %s: %w (%w)", w.cfg.Zone, ErrStaleToken, err)
		}
	}
	if cloud.Classify(err) == cloud.Throttled {
		return fmt.Errorf("changing the records of zone %s: Route 53 is busy with an earlier change or limits us; it is tried again: %w", w.cfg.Zone, err)
	}
	return fmt.Errorf("changing the records of zone %s: %w", w.cfg.Zone, err)
}
