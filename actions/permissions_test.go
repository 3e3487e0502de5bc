package actions

import (
	"slices"
	"testing"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/iam"
)

// changing are the permissions of a kind to change something, by action.
func changing(t *testing.T, c Permitted) map[string]iam.Permission {
	t.Helper()
	out := map[string]iam.Permission{}
	for _, p := range c.Permissions("us-east-1") {
		for _, a := range p.Actions {
			if p.Acts {
				out[a] = p
			}
		}
	}
	return out
}

// A zone holds more than what failoverd moves, and nothing else of it may be written.
func TestOnlyTheNamesOfThePlanMayBeWritten(t *testing.T) {
	c := &Route53WeightsConfig{Zone: "Z1", Names: []string{"API.example.net", "*.example.net."}, Token: "_failoverd.example.net"}
	got := changing(t, c)["route53:ChangeResourceRecordSets"].Condition["ForAllValues:StringEquals"]["route53:ChangeResourceRecordSetsNormalizedRecordNames"]
	if want := []string{"api.example.net", `\052.example.net`, "_failoverd.example.net"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
}

// A network ACL may be given to the subnets of the plan, and to no other.
func TestOnlyTheSubnetsOfThePlanMayBeCutOff(t *testing.T) {
	c := &NACLConfig{}
	c.Subnets = map[failover.Region]map[string]string{"us-east-1": {"subnet-b": "10.0.1.0/24", "subnet-a": "10.0.0.0/24"}, "us-east-2": {"subnet-c": "10.1.0.0/24"}}
	got := changing(t, c)["ec2:ReplaceNetworkAclAssociation"].Resources
	if want := []string{"arn:aws:ec2:us-east-1:*:network-acl/*", "arn:aws:ec2:us-east-1:*:subnet/subnet-a", "arn:aws:ec2:us-east-1:*:subnet/subnet-b"}; !slices.Equal(got, want) {
		t.Errorf("resources %q, want %q", got, want)
	}
}

// The acting role has the observing one's policy as well: its own repeats nothing of it.
func TestActingRepeatsNothing(t *testing.T) {
	c := &ScheduleConfig{Rules: []string{"hourly"}, Schedules: []string{"nightly"}}
	acts := changing(t, c)
	for _, p := range c.Permissions("us-east-1") {
		for _, a := range p.Actions {
			if _, twice := acts[a]; twice && !p.Acts {
				t.Errorf("%s is there twice", a)
			}
		}
	}
	if len(acts) != 4 {
		t.Errorf("it may %v", acts)
	}
}
