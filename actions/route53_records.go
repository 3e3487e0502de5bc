package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/failoverd/failoverd/failover"
)

// zoneRecords are the record sets that a switch owns, as Route 53 lists them:
// whole, since an UPSERT drops whatever it does not repeat.
type zoneRecords struct {
	Weighted []types.ResourceRecordSet `json:"weighted"`
	Token    *types.ResourceRecordSet  `json:"token,omitempty"` // nil: none yet
}

const fullWeight = 255

// read lists the record sets of all names and of the token.
func (w *route53Weights) read(ctx context.Context) (zoneRecords, error) {
	var z zoneRecords
	for _, name := range w.cfg.Names {
		sets, err := w.list(ctx, name)
		if err != nil {
			return z, err
		}
		var mine []types.ResourceRecordSet
		for _, s := range sets {
			if s.Weight != nil && s.SetIdentifier != nil {
				mine = append(mine, s)
			}
		}
		if err := w.movable(name, mine); err != nil {
			return z, err
		}
		z.Weighted = append(z.Weighted, mine...)
	}
	sets, err := w.list(ctx, w.cfg.Token)
	if err != nil {
		return z, err
	}
	for _, s := range sets {
		if s.Type == types.RRTypeTxt {
			z.Token = &s
		}
	}
	if z.Token != nil {
		if _, err := parseToken(z.Token); err != nil {
			return z, err
		}
	}
	return z, nil
}

// list returns all record sets of one name.
func (w *route53Weights) list(ctx context.Context, name string) ([]types.ResourceRecordSet, error) {
	in := &route53.ListResourceRecordSetsInput{HostedZoneId: &w.cfg.Zone, StartRecordName: &name}
	var out []types.ResourceRecordSet
	for {
		page, err := w.client.ListResourceRecordSets(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("reading the records of %s in zone %s: %w", name, w.cfg.Zone, err)
		}
		for _, s := range page.ResourceRecordSets {
			// The listing is ordered and goes on to other names.
			if !sameName(aws.ToString(s.Name), name) {
				return out, nil
			}
			out = append(out, s)
		}
		if !page.IsTruncated {
			return out, nil
		}
		in.StartRecordName, in.StartRecordType, in.StartRecordIdentifier = page.NextRecordName, page.NextRecordType, page.NextRecordIdentifier
	}
}

func sameName(a, b string) bool {
	plain := func(s string) string {
		return strings.ToLower(strings.TrimSuffix(strings.ReplaceAll(s, `\052`, "*"), "."))
	}
	return plain(a) == plain(b)
}

// movable refuses records that a switch would leave without any weight: with
// all weights zero, Route 53 answers with all of them.
func (w *route53Weights) movable(name string, sets []types.ResourceRecordSet) error {
	if len(sets) == 0 {
		return fmt.Errorf("%s has no weighted records in zone %s: create one for each region, with the region's name in its SetIdentifier", name, w.cfg.Zone)
	}
	byType := map[types.RRType][]failover.Region{}
	for _, s := range sets {
		byType[s.Type] = append(byType[s.Type], w.cfg.regionOf(*s.SetIdentifier, w.regions))
	}
	for typ, regions := range byType {
		for _, r := range w.regions {
			if !slices.Contains(regions, r) {
				return fmt.Errorf("%s %s has no weighted record for %s: no SetIdentifier contains that name and `identifiers` names none", name, typ, r)
			}
		}
	}
	return nil
}

// weighted gives the record sets the weights that send everything to a region.
func (w *route53Weights) weighted(sets []types.ResourceRecordSet, to failover.Region) []types.ResourceRecordSet {
	out := slices.Clone(sets)
	for i := range out {
		out[i].Weight = aws.Int64(w.weight(out[i], to))
	}
	return out
}

func (w *route53Weights) weight(s types.ResourceRecordSet, to failover.Region) int64 {
	if w.cfg.regionOf(aws.ToString(s.SetIdentifier), w.regions) == to {
		return fullWeight
	}
	return 0
}

// token is the content of the TXT record.
type token struct {
	Token  uint64
	Epoch  uint64
	Region failover.Region
}

// text is what the TXT record holds, in quotes as the API wants it.
func (t token) text() string {
	return fmt.Sprintf(`"failoverd token=%d epoch=%d region=%s"`, t.Token, t.Epoch, t.Region)
}

// tokenRecord is the record set that holds a token.
func (w *route53Weights) tokenRecord(t token) *types.ResourceRecordSet {
	return &types.ResourceRecordSet{
		Name: &w.cfg.Token, Type: types.RRTypeTxt, TTL: aws.Int64(60), ResourceRecords: []types.ResourceRecord{{Value: aws.String(t.text())}},
	}
}

func parseToken(s *types.ResourceRecordSet) (token, error) {
	var t token
	if len(s.ResourceRecords) != 1 {
		return t, fmt.Errorf("the TXT record %s holds %d values and not one token: something else uses it; give the switch a name of its own", aws.ToString(s.Name), len(s.ResourceRecords))
	}
	text := aws.ToString(s.ResourceRecords[0].Value)
	fields := strings.Fields(strings.Trim(text, `"`))
	var errs []error
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		var err error
		switch key {
		case "token":
			t.Token, err = strconv.ParseUint(value, 10, 64)
		case "epoch":
			t.Epoch, err = strconv.ParseUint(value, 10, 64)
		case "region":
			t.Region = failover.Region(value)
		}
		errs = append(errs, err)
	}
	if len(fields) == 0 || fields[0] != "failoverd" || t.Token == 0 || errors.Join(errs...) != nil {
		return t, fmt.Errorf("the TXT record %s holds %s, which is no token of failoverd: something else uses it; give the switch a name of its own", aws.ToString(s.Name), text)
	}
	return t, nil
}

func (z zoneRecords) token() token {
	if z.Token == nil {
		return token{}
	}
	t, _ := parseToken(z.Token) // it was parsed when it was read
	return t
}

func (z zoneRecords) marshal() (json.RawMessage, error) { return json.Marshal(z) }

func parseRecords(previous json.RawMessage) (zoneRecords, error) {
	var z zoneRecords
	if err := json.Unmarshal(previous, &z); err != nil {
		return z, fmt.Errorf("reading the previous records: %w", err)
	}
	if len(z.Weighted) == 0 {
		return z, errors.New("the previous records are unknown: nothing can be written without them")
	}
	return z, nil
}
