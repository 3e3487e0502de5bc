package e2e

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/awsfake"
	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/iam"
	"github.com/failoverd/failoverd/lab/world"
)

// judged is what IAM was asked about the calls of all tests' nodes, by role.
var judged = struct {
	sync.Mutex
	byRole map[string][]iam.Request
}{byRole: map[string][]iam.Request{}}

// note keeps what IAM was asked about a test's nodes. In the test it has refused what the policies of the test's own configuration do
// not allow: here that is said. A configuration that acts by kinds that the example does not have counts for nothing else.
func note(c *harness.Cluster, own bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	all := c.Judgements(ctx)
	if wrong := unlawful(all); len(wrong) > 0 {
		return fmt.Errorf("the policies of `failoverd iam` do not allow: %s", strings.Join(wrong, "; "))
	}
	if own {
		return nil
	}
	judged.Lock()
	defer judged.Unlock()
	for role, asked := range byRole(all) {
		judged.byRole[role] = append(judged.byRole[role], asked...)
	}
	return nil
}

func byRole(all []awsfake.Judgement) map[string][]iam.Request {
	out := map[string][]iam.Request{}
	for _, j := range all {
		out[j.Role] = append(out[j.Role], j.Request)
	}
	return out
}

// unlawful are the calls that IAM refused, and those that a node made with its own credentials, which may do nothing but take on a role.
func unlawful(all []awsfake.Judgement) (out []string) {
	for _, j := range all {
		if !j.Allowed || j.Role == "" {
			out = append(out, fmt.Sprintf("%s on %s with %v by %q of %s", j.Action, j.Resource, j.Keys, j.Role, j.AccessKey))
		}
	}
	return out
}

// spare is what the policies allow and no test needs, with the reason.
var spare = map[string]string{
	"ecs:DescribeContainerInstances": "asked for tasks on EC2 instances; the lab's run on Fargate",
	"autoscaling:SuspendProcesses":   "the undo of a start, which only an abort before the fence makes",
	"ec2:StopInstances":              "the same of instances",
}

// policies are what failoverd prints for a configuration.
func policies(config string) (observe, act iam.Policy, err error) {
	for which, p := range map[string]*iam.Policy{"observe": &observe, "act": &act} {
		text, err := exec.Command(failoverdBin, "iam", which, "--config", config).Output()
		if err != nil {
			return observe, act, err
		}
		if *p, err = iam.Parse(text); err != nil {
			return observe, act, err
		}
	}
	return observe, act, nil
}

// compareIAM holds the policies that failoverd prints for the example against the calls of all tests: nothing is missing, and
// nothing is there that is not needed.
func compareIAM() error {
	observe, act, err := policies("../../config.toml.example")
	if err != nil {
		return err
	}
	missing, needless := compare(observe, act, judged.byRole, spare)
	if len(missing)+len(needless) > 0 {
		return fmt.Errorf("missing:\n  %s\nallowed and never needed:\n  %s", strings.Join(missing, "\n  "), strings.Join(needless, "\n  "))
	}
	return nil
}

// compare says what the roles needed and have not, and what they have and needed not. The acting role has both policies; its own is
// needed for what the other one does not allow. except are actions that may be spare.
func compare(observe, act iam.Policy, needed map[string][]iam.Request, except map[string]string) (missing, needless []string) {
	lacks := map[string]bool{}
	var looked, acted []iam.Request
	for role, all := range needed {
		for _, r := range all {
			switch {
			case iam.Allows([]iam.Policy{observe}, r):
				looked = append(looked, r)
			case role == harness.ActRole && iam.Allows([]iam.Policy{act}, r):
				acted = append(acted, r)
			default:
				lacks[fmt.Sprintf("%s: %s on %s with %v", role, r.Action, r.Resource, r.Keys)] = true
			}
		}
	}
	for _, s := range append(observe.Spare(bothWays(looked)), act.Spare(bothWays(acted))...) {
		if action, _, _ := strings.Cut(s, " "); except[action] == "" {
			needless = append(needless, s)
		}
	}
	return slices.Sorted(maps.Keys(lacks)), needless
}

// bothWays adds what the same failover would need in the other direction: the policies are for both, and most tests leave us-east-1.
func bothWays(needed []iam.Request) []iam.Request {
	turn := strings.NewReplacer(world.Primary, world.Secondary, world.Secondary, world.Primary)
	out := slices.Clone(needed)
	for _, r := range needed {
		keys := map[string][]string{}
		for k, values := range r.Keys {
			for _, v := range values {
				keys[k] = append(keys[k], turn.Replace(v))
			}
		}
		out = append(out, iam.Request{Action: r.Action, Resource: turn.Replace(r.Resource), Keys: keys})
	}
	return out
}

// The comparison itself, without a world: each way to be wrong is told.
func TestComparisonOfPolicies(t *testing.T) {
	parse := func(statement string) iam.Policy {
		p, err := iam.Parse([]byte(`{"Version": "2012-10-17", "Statement": [` + statement + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	look := `{"Effect": "Allow", "Action": "ecs:DescribeServices", "Resource": ["arn:aws:ecs:us-east-1:*:service/prod/api"]}`
	write := `{"Effect": "Allow", "Action": "ecs:UpdateService", "Resource": ["arn:aws:ecs:us-east-2:*:service/prod/api"]}`
	seen := iam.Request{Action: "ecs:DescribeServices", Resource: "arn:aws:ecs:us-east-1:1:service/prod/api"}
	done := iam.Request{Action: "ecs:UpdateService", Resource: "arn:aws:ecs:us-east-2:1:service/prod/api"}
	other := iam.Request{Action: "ecs:UpdateService", Resource: "arn:aws:ecs:us-east-1:1:service/prod/api"}
	for _, c := range []struct {
		name              string
		observe, act      string
		looked, acted     []iam.Request
		missing, needless int
	}{
		{"as it is", look, write, []iam.Request{seen}, []iam.Request{seen, done}, 0, 0},
		{"the acting role alone looks", look, write, nil, []iam.Request{seen, done}, 0, 0},
		{"the observing role acts", look, write, []iam.Request{seen, done}, []iam.Request{done}, 1, 0},
		{"another resource", look, write, []iam.Request{seen}, []iam.Request{done, other}, 1, 0},
		{"the other direction alone", look, write + "," + strings.ReplaceAll(write, "us-east-2", "us-east-1"), []iam.Request{seen}, []iam.Request{done}, 0, 0},
		{"nobody looks", look, write, nil, []iam.Request{done}, 0, 1},
		{"nobody acts", look, write, []iam.Request{seen}, nil, 0, 1},
		{"the acting role's own policy repeats the other", look, write + "," + look, []iam.Request{seen}, []iam.Request{seen, done}, 0, 1},
		{"an argued exception", look + `,{"Effect": "Allow", "Action": "ecs:DescribeContainerInstances", "Resource": "*"}`, write, []iam.Request{seen}, []iam.Request{done}, 0, 0},
	} {
		missing, needless := compare(parse(c.observe), parse(c.act), map[string][]iam.Request{harness.ObserveRole: c.looked, harness.ActRole: c.acted}, spare)
		if len(missing) != c.missing || len(needless) != c.needless {
			t.Errorf("%s: missing %v, needless %v", c.name, missing, needless)
		}
	}
	wrong := unlawful([]awsfake.Judgement{{Request: seen, Role: harness.ObserveRole, Allowed: true}, {Request: seen, Allowed: true}, {Request: done, Role: harness.ActRole}})
	if len(wrong) != 2 {
		t.Errorf("unlawful: %v, want the call without a role and the refused one", wrong)
	}
}
