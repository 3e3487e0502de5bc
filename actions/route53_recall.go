package actions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/failoverd/failoverd/internal/dnsq"
)

// This file moves records that Route 53 does not let us read. Reading and writing
// them is the same control plane in us-east-1 with the same limit of five requests a
// second for the whole account, so that the move must not need more than its one
// write: the records come from the log, where they were kept while all was well, and
// the token comes from the zone's name servers, which are another plane. A batch that
// rests on a record that is not so any more names a wrong token or changes what was
// kept; the first is refused by Route 53, and the second is as old as the last survey.

// Remembers implements Rememberer.
func (w *route53Weights) Remembers() {}

// readInTime is read, which leaves time to ask the name servers where the log knows
// the records.
func (w *route53Weights) readInTime(ctx context.Context) (zoneRecords, error) {
	if end, ok := ctx.Deadline(); ok && len(w.recall.Previous) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	return w.read(ctx)
}

// current is what stands in the zone, or what is known of it without Route 53.
func (w *route53Weights) current(ctx context.Context) (zoneRecords, error) {
	z, err := w.readInTime(ctx)
	if err == nil {
		return z, nil
	}
	k, kerr := w.kept(ctx)
	if kerr != nil {
		return z, errors.Join(err, kerr)
	}
	return k.records, nil
}

// unread is the effect when the records cannot be read. It is Present only when
// every name server has a token that says so beside its answers: weights and token are
// one batch, and answers alone may come from a health check that has failed.
func (w *route53Weights) unread(ctx context.Context, cause error) (Effect, error) {
	if len(w.recall.Previous) == 0 {
		return Effect{}, cause
	}
	k, err := w.kept(ctx)
	if err != nil {
		return Effect{}, errors.Join(cause, err)
	}
	z := k.records
	previous, err := z.marshal()
	if err != nil {
		return Effect{}, err
	}
	e := Effect{Previous: previous, Token: z.token().Token, Recalled: true}
	says := fmt.Sprintf("the records cannot be read (%v); they are known from the log, as they have been since %s", cause, w.recall.At.Format(time.DateTime))
	switch {
	case !k.agreed:
		e.State, e.Detail = Unknown, says+"; the name servers do not agree yet on who has moved them last"
	case z.token().Region != w.region:
		e.State, e.Detail = Absent, says+"; by the token that the name servers have, nobody has moved clients to "+string(w.region)
	default:
		h := w.ask(ctx, k.servers, z)
		if e.State = h.state(); e.State != Present {
			e.Detail = says + "; they were moved, but not every name server answers so: " + h.why()
			break
		}
		e.Detail = fmt.Sprintf("%s; token %d moved clients to %s, and %d answers of all name servers lead there", says, z.token().Token, w.region, h.asked)
	}
	return e, nil
}

// keptRecords are the zone's records as the log keeps them, with the newest token that
// a name server has.
type keptRecords struct {
	records zoneRecords
	servers []dnsq.Server // of the zone
	agreed  bool          // all of them have that token
}

// kept asks no control plane: what hangs there must not take the time away.
func (w *route53Weights) kept(ctx context.Context) (k keptRecords, err error) {
	if len(w.recall.Previous) == 0 {
		return k, errors.New("the log has not kept them either")
	}
	if k.records, err = parseRecords(w.recall.Previous); err != nil {
		return k, err
	}
	if k.servers, err = w.dns.Authoritative(ctx, w.cfg.Names[0]); err != nil {
		return k, fmt.Errorf("the token is not known: %w", err)
	}
	held := map[token]bool{}
	var newest token
	var silent error // the last server that did not answer: one that does is enough to write
	for _, s := range k.servers {
		t, err := w.tokenAt(ctx, s.Addr)
		if err != nil {
			silent = fmt.Errorf("the token is not known: %s: %w", s.Name, err)
			continue
		}
		held[t] = true
		if t.Token > newest.Token {
			newest = t
		}
	}
	if len(held) == 0 {
		return k, silent
	}
	k.agreed = len(held) == 1 && silent == nil
	if newest.Token > k.records.token().Token {
		k.records.Token = w.tokenRecord(newest)
	}
	return k, nil
}

// tokenAt reads the token that a name server has; the zero token if it has none.
func (w *route53Weights) tokenAt(ctx context.Context, server string) (token, error) {
	a, err := w.dns.Ask(ctx, server, w.cfg.Token, string(types.RRTypeTxt))
	if e, ok := errors.AsType[*dnsq.Error](err); ok && (e.Kind == dnsq.NXDomain || e.Kind == dnsq.NoData) {
		return token{}, nil
	}
	if err != nil {
		return token{}, err
	}
	s := types.ResourceRecordSet{Name: &w.cfg.Token}
	for _, text := range a.Texts {
		s.ResourceRecords = append(s.ResourceRecords, types.ResourceRecord{Value: aws.String(`"` + text + `"`)})
	}
	return parseToken(&s)
}
