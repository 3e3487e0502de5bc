package awsfake

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	ebtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	schedulertypes "github.com/aws/aws-sdk-go-v2/service/scheduler/types"
)

// clockSteps are a rule of EventBridge and a schedule of its Scheduler, turned off and on.
func clockSteps() []step {
	rule := func(name, bus string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			in := &eventbridge.DescribeRuleInput{Name: &name}
			if bus != "" {
				in.EventBusName = &bus
			}
			out, err := s.events.DescribeRule(ctx, in)
			return or(out, err, func(o *eventbridge.DescribeRuleOutput) string {
				return fmt.Sprint(o.State, " ", *o.ScheduleExpression, " ", *o.EventBusName)
			})
		}
	}
	targets := func(name string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.events.ListTargetsByRule(ctx, &eventbridge.ListTargetsByRuleInput{Rule: &name})
			return or(out, err, func(o *eventbridge.ListTargetsByRuleOutput) string {
				t := o.Targets[0]
				return fmt.Sprint(len(o.Targets), " ", *t.Id, " ", *t.RetryPolicy.MaximumRetryAttempts, " ", *t.RetryPolicy.MaximumEventAgeInSeconds)
			})
		}
	}
	turn := func(name string, on bool) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			var err error
			if on {
				_, err = s.events.EnableRule(ctx, &eventbridge.EnableRuleInput{Name: &name})
			} else {
				_, err = s.events.DisableRule(ctx, &eventbridge.DisableRuleInput{Name: &name})
			}
			return code(err)
		}
	}
	schedule := func(name string, group *string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.times.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: &name, GroupName: group})
			return or(out, err, func(o *scheduler.GetScheduleOutput) string {
				return fmt.Sprintf("%s %s %s %s %q %d", o.State, *o.ScheduleExpression, aws.ToString(o.ScheduleExpressionTimezone), o.FlexibleTimeWindow.Mode, aws.ToString(o.Description), *o.Target.RetryPolicy.MaximumRetryAttempts)
			})
		}
	}
	update := func(name string, change func(*scheduler.UpdateScheduleInput)) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			in := &scheduler.UpdateScheduleInput{Name: &name, ScheduleExpression: aws.String("rate(1 minute)"), FlexibleTimeWindow: &schedulertypes.FlexibleTimeWindow{Mode: schedulertypes.FlexibleTimeWindowModeOff},
				Description: aws.String("the job report"), ScheduleExpressionTimezone: aws.String("UTC"), Target: reportTarget()}
			change(in)
			_, err := s.times.UpdateSchedule(ctx, in)
			return code(err)
		}
	}
	off := func(in *scheduler.UpdateScheduleInput) { in.State = schedulertypes.ScheduleStateDisabled }
	return []step{
		{"events a rule", rule("nightly", "")}, {"events a rule by its bus", rule("nightly", "default")},
		{"events a rule that is not there", rule("none", "")}, {"events a rule of a bus that is not there", rule("nightly", "none")},
		{"events targets of a rule", targets("nightly")}, {"events targets of a rule that is not there", targets("none")},
		{"events DisableRule", turn("nightly", false)}, {"events a rule that is off", rule("nightly", "")}, {"events DisableRule once more", turn("nightly", false)},
		{"events DisableRule of one that is not there", turn("none", false)}, {"events EnableRule of one that is not there", turn("none", true)},
		{"events EnableRule", turn("nightly", true)}, {"events a rule that is on again", rule("nightly", "")},
		{"scheduler a schedule", schedule("report", nil)}, {"scheduler a schedule by its group", schedule("report", aws.String("default"))},
		{"scheduler a schedule that is not there", schedule("none", nil)}, {"scheduler a schedule of a group that is not there", schedule("report", aws.String("none"))},
		{"scheduler turned off", update("report", off)}, {"scheduler that then", schedule("report", nil)},
		{"scheduler turned off what is not there", update("none", off)},
		{"scheduler what an update leaves out", update("report", func(in *scheduler.UpdateScheduleInput) { in.Description, in.Target.RetryPolicy = nil, nil })},
		{"scheduler is empty then, and on", schedule("report", nil)},
		{"scheduler a start of long ago", update("report", func(in *scheduler.UpdateScheduleInput) { in.StartDate = aws.Time(time.Unix(1_700_000_000, 0)) })},
		{"scheduler as it was", update("report", func(*scheduler.UpdateScheduleInput) {})}, {"scheduler that read", schedule("report", nil)},
	}
}

func reportTarget() *schedulertypes.Target {
	return &schedulertypes.Target{Arn: aws.String("arn:aws:lambda:us-east-1:" + AccountID + ":function:report"), RoleArn: aws.String("arn:aws:iam::" + AccountID + ":role/scheduler"),
		RetryPolicy: &schedulertypes.RetryPolicy{MaximumRetryAttempts: aws.Int32(0), MaximumEventAgeInSeconds: aws.Int32(60)}}
}

// setUpClocks makes in moto what those turn off and on.
func setUpClocks(ctx context.Context, s *sides) []error {
	_, err1 := s.events.PutRule(ctx, &eventbridge.PutRuleInput{Name: aws.String("nightly"), ScheduleExpression: aws.String("rate(1 minute)")})
	_, err2 := s.events.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: aws.String("nightly"), Targets: []ebtypes.Target{{Id: aws.String("1"), Arn: aws.String("arn:aws:lambda:us-east-1:" + AccountID + ":function:nightly"),
		RetryPolicy: &ebtypes.RetryPolicy{MaximumRetryAttempts: aws.Int32(0), MaximumEventAgeInSeconds: aws.Int32(60)}}}})
	_, err3 := s.times.CreateSchedule(ctx, &scheduler.CreateScheduleInput{Name: aws.String("report"), ScheduleExpression: aws.String("rate(1 minute)"), ScheduleExpressionTimezone: aws.String("UTC"), Description: aws.String("the job report"),
		FlexibleTimeWindow: &schedulertypes.FlexibleTimeWindow{Mode: schedulertypes.FlexibleTimeWindowModeOff}, Target: reportTarget()})
	return []error{err1, err2, err3}
}

// recordSteps are record sets of all kinds, their zone, changes and health checks.
func recordSteps() []step {
	batch := func(action r53types.ChangeAction, sets ...r53types.ResourceRecordSet) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			in := &route53.ChangeResourceRecordSetsInput{HostedZoneId: &s.zone, ChangeBatch: &r53types.ChangeBatch{}}
			for _, set := range sets {
				in.ChangeBatch.Changes = append(in.ChangeBatch.Changes, r53types.Change{Action: action, ResourceRecordSet: &set})
			}
			out, err := s.r53.ChangeResourceRecordSets(ctx, in)
			return or(out, err, func(o *route53.ChangeResourceRecordSetsOutput) string { s.change = *o.ChangeInfo.Id; return "ok" })
		}
	}
	set := func(name string, kind r53types.RRType, ttl int64, values ...string) r53types.ResourceRecordSet {
		r := r53types.ResourceRecordSet{Name: aws.String(name + ".example.net"), Type: kind, TTL: &ttl}
		for _, v := range values {
			r.ResourceRecords = append(r.ResourceRecords, r53types.ResourceRecord{Value: &v})
		}
		return r
	}
	weighted := func(r r53types.ResourceRecordSet, id string, weight int64) r53types.ResourceRecordSet {
		r.SetIdentifier, r.Weight = &id, &weight
		return r
	}
	alias := r53types.ResourceRecordSet{Name: aws.String("alias.example.net"), Type: r53types.RRTypeA, AliasTarget: &r53types.AliasTarget{
		HostedZoneId: aws.String("Z35SXDOTRQ7X7K"), DNSName: aws.String("lb-1.us-east-1.elb.amazonaws.com"), EvaluateTargetHealth: true}}
	records := func(name string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.r53.ListResourceRecordSets(ctx, &route53.ListResourceRecordSetsInput{HostedZoneId: &s.zone})
			return or(out, err, func(o *route53.ListResourceRecordSetsOutput) string {
				var all []string
				for _, r := range o.ResourceRecordSets {
					if *r.Name != name+".example.net." {
						continue
					}
					said := fmt.Sprint(r.Type, " ", aws.ToInt64(r.TTL))
					for _, v := range r.ResourceRecords {
						said += " " + *v.Value
					}
					if r.AliasTarget != nil {
						said += fmt.Sprint(" ", strings.TrimSuffix(*r.AliasTarget.DNSName, "."), " ", r.AliasTarget.EvaluateTargetHealth)
					}
					if r.Weight != nil {
						said += fmt.Sprint(" ", *r.SetIdentifier, "=", *r.Weight)
					}
					all = append(all, said)
				}
				slices.Sort(all)
				return strings.Join(all, "; ")
			})
		}
	}
	zone := func(id func(*sides) string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.r53.GetHostedZone(ctx, &route53.GetHostedZoneInput{Id: aws.String(id(s))})
			return or(out, err, func(o *route53.GetHostedZoneOutput) string {
				return fmt.Sprint(*o.HostedZone.Name, " ", o.HostedZone.Config.PrivateZone, " ", len(o.DelegationSet.NameServers) > 0)
			})
		}
	}
	change := func(id func(*sides) string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.r53.GetChange(ctx, &route53.GetChangeInput{Id: aws.String(id(s))})
			return or(out, err, func(o *route53.GetChangeOutput) string { return string(o.ChangeInfo.Status) })
		}
	}
	remove := func(ctx context.Context, s *sides) string {
		_, err := s.r53.DeleteHealthCheck(ctx, &route53.DeleteHealthCheckInput{HealthCheckId: &s.hc})
		return code(err)
	}
	const up, del, create = r53types.ChangeActionUpsert, r53types.ChangeActionDelete, r53types.ChangeActionCreate
	const a, aaaa, cname, txt = r53types.RRTypeA, r53types.RRTypeAaaa, r53types.RRTypeCname, r53types.RRTypeTxt
	return []step{
		{"route53 the zone", zone(func(s *sides) string { return s.zone })}, {"route53 a zone that is not there by ID", zone(func(*sides) string { return "Z000000000NONE" })},
		{"route53 the zone by name", func(ctx context.Context, s *sides) string {
			out, err := s.r53.ListHostedZonesByName(ctx, &route53.ListHostedZonesByNameInput{DNSName: aws.String("example.net")})
			return or(out, err, func(o *route53.ListHostedZonesByNameOutput) string {
				return fmt.Sprint(*o.HostedZones[0].Name, " ", strings.TrimPrefix(*o.HostedZones[0].Id, "/hostedzone/") == s.zone)
			})
		}},
		{"route53 an A record with two addresses", batch(create, set("two", a, 60, "192.0.2.1", "192.0.2.2"))}, {"route53 it is created again", batch(create, set("two", a, 60, "192.0.2.1"))},
		{"route53 the two addresses", records("two")},
		{"route53 a change that has just been made", change(func(s *sides) string { return s.change })}, {"route53 a change that is not there", change(func(*sides) string { return "C000000000NONE" })},
		{"route53 an AAAA record beside it", batch(create, set("two", aaaa, 60, "2001:db8::1"))}, {"route53 both", records("two")},
		{"route53 a DELETE with another TTL", batch(del, set("two", aaaa, 30, "2001:db8::1"))}, {"route53 a DELETE with another value", batch(del, set("two", aaaa, 60, "2001:db8::2"))},
		{"route53 a DELETE with another kind", batch(del, set("two", txt, 60, `"x"`))}, {"route53 nothing is gone", records("two")},
		{"route53 the DELETE of what is there", batch(del, set("two", aaaa, 60, "2001:db8::1"))}, {"route53 the A record is left", records("two")},
		{"route53 a CNAME", batch(create, set("www", cname, 300, "two.example.net"))}, {"route53 the CNAME", records("www")},
		{"route53 an A record beside a CNAME", batch(create, set("www", a, 60, "192.0.2.1"))},
		{"route53 an alias", batch(create, alias)}, {"route53 the alias", records("alias")},
		{"route53 TXT with two values", batch(create, set("words", txt, 60, `"one"`, `"two words"`))}, {"route53 the two values", records("words")},
		{"route53 UPSERT in their place", batch(up, set("words", txt, 30, `"three"`))}, {"route53 the value then", records("words")},
		{"route53 a name of another zone", batch(up, r53types.ResourceRecordSet{Name: aws.String("www.example.org"), Type: a, TTL: aws.Int64(60), ResourceRecords: []r53types.ResourceRecord{{Value: aws.String("192.0.2.1")}}})},
		{"route53 no address", batch(up, set("bad", a, 60, "not-an-address"))},
		{"route53 a weighted record beside one that is none", batch(up, weighted(set("two", a, 60, "192.0.2.3"), "one", 1))},
		{"route53 a record that is none beside weighted ones", batch(up, set("api", a, 60, "192.0.2.3"))},
		{"route53 a health check of the same reference", func(ctx context.Context, s *sides) string {
			_, err := s.r53.CreateHealthCheck(ctx, &route53.CreateHealthCheckInput{CallerReference: aws.String("ref-1"), HealthCheckConfig: &r53types.HealthCheckConfig{Type: r53types.HealthCheckTypeTcp, IPAddress: aws.String("192.0.2.9"), Port: aws.Int32(80)}})
			return code(err)
		}},
		{"route53 DeleteHealthCheck", remove}, {"route53 DeleteHealthCheck once more", remove},
	}
}
