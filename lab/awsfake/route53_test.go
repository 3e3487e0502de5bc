package awsfake

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
)

func rrset(name string, typ types.RRType, ttl int64, values ...string) *types.ResourceRecordSet {
	s := &types.ResourceRecordSet{Name: aws.String(name), Type: typ, TTL: aws.Int64(ttl)}
	for _, v := range values {
		s.ResourceRecords = append(s.ResourceRecords, types.ResourceRecord{Value: aws.String(v)})
	}
	return s
}

func weighted(id string, weight, ttl int64, ip string) *types.ResourceRecordSet {
	s := rrset("api.example.net", types.RRTypeA, ttl, ip)
	s.SetIdentifier, s.Weight = &id, &weight
	return s
}

func TestRoute53Batches(t *testing.T) {
	f := newFixture(t)
	change := func(cs ...types.Change) (*route53.ChangeResourceRecordSetsOutput, error) {
		return f.route53.ChangeResourceRecordSets(t.Context(), &route53.ChangeResourceRecordSetsInput{HostedZoneId: aws.String("Z1"), ChangeBatch: &types.ChangeBatch{Changes: cs}})
	}
	c := func(action types.ChangeAction, s *types.ResourceRecordSet) types.Change {
		return types.Change{Action: action, ResourceRecordSet: s}
	}
	token := func(v string) *types.ResourceRecordSet {
		return rrset("token.example.net", types.RRTypeTxt, 60, `"`+v+`"`)
	}
	const create, upsert, del = types.ChangeActionCreate, types.ChangeActionUpsert, types.ChangeActionDelete

	flip := []types.Change{c(upsert, weighted("us-east-1", 0, 60, "198.18.1.21")), c(upsert, weighted("us-east-2", 255, 60, "198.18.2.21"))}
	for _, tc := range []struct {
		name    string
		changes []types.Change
		code    string // "" means accepted
		text    string
	}{
		{"create", []types.Change{c(create, token("1"))}, "", ""},
		{"create again", []types.Change{c(create, token("2"))}, "InvalidChangeBatch", "but it already exists"},
		{"delete with another value", []types.Change{c(del, token("2"))}, "InvalidChangeBatch", "the values provided do not match the current values"},
		{"delete with another TTL", []types.Change{c(del, rrset("token.example.net", types.RRTypeTxt, 61, `"1"`))}, "InvalidChangeBatch", "do not match"},
		{"delete what is not there", []types.Change{c(del, rrset("nothing.example.net", types.RRTypeTxt, 60, `"1"`))}, "InvalidChangeBatch", "but it was not found"},
		{"a stale token stops the whole batch", append([]types.Change{c(del, token("0")), c(create, token("9"))}, flip...), "InvalidChangeBatch", "do not match"},
		{"weight 256", []types.Change{c(upsert, weighted("us-east-1", 256, 60, "198.18.1.21"))}, "InvalidInput", "maxInclusive '255'"},
		{"another TTL within the group", []types.Change{c(upsert, weighted("us-east-1", 255, 30, "198.18.1.21"))}, "InvalidChangeBatch", "same TTL"},
		{"simple beside weighted", []types.Change{c(create, rrset("api.example.net", types.RRTypeA, 60, "198.18.1.1"))}, "InvalidChangeBatch", "other RRSets exist"},
		{"CNAME beside A", []types.Change{c(create, rrset("www.example.net", types.RRTypeCname, 60, "x.example.net"))}, "InvalidChangeBatch", "conflicting RRSet"},
		{"outside of the zone", []types.Change{c(create, rrset("www.example.org", types.RRTypeA, 60, "198.18.1.1"))}, "InvalidChangeBatch", "not permitted in zone"},
		{"flip with the right token", append([]types.Change{c(del, token("1")), c(create, token("2"))}, flip...), "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := len(f.Route53.History())
			_, err := change(tc.changes...)
			if tc.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.code) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error %v: want %s … %s", err, tc.code, tc.text)
			}
			if len(f.Route53.History()) != before {
				t.Error("a refused batch stands in the history")
			}
		})
	}
	for _, s := range f.Route53.Sets() {
		if s.SetID == "us-east-2" && s.Weight != 255 || s.SetID == "us-east-1" && s.Weight != 0 {
			t.Errorf("after the flip: %+v", s)
		}
	}
}

func TestRoute53ChangeBecomesInSync(t *testing.T) {
	f := newFixture(t)
	out, err := f.route53.ChangeResourceRecordSets(t.Context(), &route53.ChangeResourceRecordSetsInput{HostedZoneId: aws.String("/hostedzone/Z1"), ChangeBatch: &types.ChangeBatch{
		Changes: []types.Change{{Action: types.ChangeActionUpsert, ResourceRecordSet: rrset("www.example.net", types.RRTypeA, 60, "198.18.1.2")}}}})
	if err != nil || out.ChangeInfo.Status != types.ChangeStatusPending {
		t.Fatalf("change %+v, error %v: want PENDING", out, err)
	}
	eventually(t, "INSYNC", func() bool {
		got, err := f.route53.GetChange(t.Context(), &route53.GetChangeInput{Id: out.ChangeInfo.Id})
		return err == nil && got.ChangeInfo.Status == types.ChangeStatusInsync
	})
	_, err = f.route53.GetChange(t.Context(), &route53.GetChangeInput{Id: aws.String("C0")})
	wantCode(t, err, "NoSuchChange")
}

func TestRoute53Reads(t *testing.T) {
	f, ctx := newFixture(t), t.Context()
	zones, err := f.route53.ListHostedZones(ctx, &route53.ListHostedZonesInput{})
	if err != nil || len(zones.HostedZones) != 1 || aws.ToString(zones.HostedZones[0].Id) != "/hostedzone/Z1" {
		t.Fatalf("zones %+v, error %v", zones, err)
	}
	zone, err := f.route53.GetHostedZone(ctx, &route53.GetHostedZoneInput{Id: aws.String("Z1")})
	if err != nil || len(zone.DelegationSet.NameServers) != 1 {
		t.Errorf("zone %+v, error %v", zone, err)
	}
	var names []string
	pages := 0
	for p := route53.NewListResourceRecordSetsPaginator(f.route53, &route53.ListResourceRecordSetsInput{HostedZoneId: aws.String("Z1"), MaxItems: aws.Int32(2)}); p.HasMorePages(); pages++ {
		out, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range out.ResourceRecordSets {
			names = append(names, aws.ToString(s.Name)+aws.ToString(s.SetIdentifier))
			if len(s.ResourceRecords) != len(f.Route53.Sets()[len(names)-1].Values) {
				t.Errorf("%s has %d values", names[len(names)-1], len(s.ResourceRecords))
			}
		}
	}
	if got := strings.Join(names, " "); pages != 2 || got != "api.example.net.us-east-1 api.example.net.us-east-2 www.example.net." {
		t.Errorf("%d pages: %s", pages, got)
	}
	_, err = f.route53.GetHostedZone(ctx, &route53.GetHostedZoneInput{Id: aws.String("Z2")})
	wantCode(t, err, "NoSuchHostedZone")
}
