package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/kubefake"
	"github.com/failoverd/failoverd/lab/world"
)

// stopToo makes what runs in Auto Scaling groups, on instances of its own and in Kubernetes critical: it is stopped where the
// service leaves, and only that it has been seen stopped lets the other region start.
func stopToo(o *harness.Options) {
	o.Own = true
	for start, stop := range map[string]string{
		`start.asg = { group = "queue-{region}",`:           `stop.asg = { group = "queue-{region}", count = 0, alternatives = ["queue-b-{region}"] }`,
		`start.ec2_instances = { tags = { role = "relay" }`: `stop.ec2_instances = { tags = { role = "relay" }, running = false }`,
		`start.kubernetes = { kubeconfig = "` + o.World.Dir + `/kube-{region}.yaml", namespace = "search", deployments = ["frontend"], count = 3`: `stop.kubernetes = { kubeconfig = "` +
			o.World.Dir + `/kube-{region}.yaml", namespace = "search", deployments = ["frontend"], count = 0 }`,
	} {
		o.Config.Edits = append(o.Config.Edits, harness.Edit{Old: start, New: stop + "\nstop.proof = [\"confirmed\"]\nstop.timeout = \"10m\"\n" + start})
	}
}

// S1: an Auto Scaling group, instances and a Deployment are stopped in the region that is left, with the calls that are right for
// each and no others, and each counts as stopped when nothing of it is left: not when it was told.
func TestGroupsInstancesAndPodsAreStopped(t *testing.T) {
	r := start(t, stopToo)
	const group = "queue-" + world.Primary
	members := r.group(group)
	if len(members.Instances) != 2 || r.search(world.E1).Pods["ready"] != 3 {
		t.Fatalf("before the failover: %+v, %+v", members, r.search(world.E1))
	}
	protected := *members.Instances[0].InstanceId
	scaling := autoscaling.NewFromConfig(r.visitor(world.Primary))
	_, err := scaling.SetInstanceProtection(r.ctx, &autoscaling.SetInstanceProtectionInput{AutoScalingGroupName: aws.String(group), InstanceIds: []string{protected}, ProtectedFromScaleIn: aws.Bool(true)})
	r.do(err)
	// A pod that does not end keeps the other region from starting, when all else has stopped.
	stuck := kubefake.Machine(world.Primary, "b")
	r.do(r.w.Fault(r.ctx, world.E1, faults.Fault{Service: "pods", Target: stuck, Mode: faults.Hang}))
	r.order("use2a", "failover")
	r.until(60*time.Second, "the group and the instances to be seen stopped, and the workers", func(s *harness.Status) bool {
		return s.Current() != nil && !slices.ContainsFunc([]string{"queue", "relay", "workers"}, func(c string) bool {
			class, _ := s.Current().Proven(c)
			return class == ""
		})
	})
	s := r.until(20*time.Second, "one pod to be left", func(*harness.Status) bool {
		return r.search(world.E1).total() == 1
	})
	if class, _ := s.Current().Proven("search"); class != "" || s.Epoch != 1 {
		t.Errorf("with a pod that runs on, search is %s and the epoch %d", class, s.Epoch)
	}
	r.do(r.w.ClearFaultsOf(r.ctx, world.E1, stuck))
	s = r.until(60*time.Second, "the epoch", func(s *harness.Status) bool { return s.Epoch == 2 })
	if left := r.group(group); len(left.Instances) > 0 || *left.MinSize != 0 || *left.DesiredCapacity != 0 {
		t.Errorf("S1: the epoch began with %+v", left)
	}
	relays := r.relays(world.E1)
	for id, state := range relays {
		if state != "stopped" {
			t.Errorf("S1: the epoch began while %s was %s", id, state)
		}
	}
	if pods := r.search(world.E1); pods.total() > 0 {
		t.Errorf("S1: the epoch began with pods: %v", pods.Pods)
	}
	for _, c := range []string{"queue", "relay", "search"} {
		class, detail := s.Current().Proven(c)
		if t.Logf("%s: %s", c, detail); class != "confirmed" {
			t.Errorf("%s has stopped by %q: %s", c, class, detail)
		}
	}
	// Not until it is stable: us-east-1 still serves, and some clients keep to it.
	r.until(90*time.Second, "all to run in us-east-2", func(s *harness.Status) bool {
		return s.Current() != nil && !slices.ContainsFunc([]string{"start-queue", "start-relay", "start-search", "start-workers"}, func(step string) bool {
			return s.Current().StepState(step) != "done"
		})
	})
	r.stopCalls(group, protected, relays)
	if changes := r.search(world.E1).Changes; len(changes) != 1 || changes[0].Body != `{"spec":{"replicas":0}}` || changes[0].Outcome != 200 {
		t.Errorf("the cluster that was left was changed so: %+v", changes)
	}
	// AWS refuses what the policies do not allow; these kinds have nothing to spare either.
	observe, act, err := policies(r.c.Config)
	r.do(err)
	_, needless := compare(observe, act, byRole(r.c.Judgements(r.ctx)), nil)
	for _, s := range needless {
		if strings.HasPrefix(s, "autoscaling:") || strings.HasPrefix(s, "ec2:St") {
			t.Errorf("the policies allow %s, which nobody has needed", s)
		}
	}
}

// stopCalls checks the changes of Auto Scaling and EC2 in us-east-1, in their order, and that nothing is terminated anywhere: what
// brings instances back is suspended first, Terminate is not, and members of a group are left to the group.
func (r *rig) stopCalls(group, protected string, relays map[string]string) {
	r.Helper()
	calls, err := r.c.Mutations(r.ctx)
	r.do(err)
	made := map[string][]string{} // by service
	for _, c := range calls {
		if strings.HasPrefix(c.Op, "Terminate") {
			r.Errorf("a node has called %s in %s", c.Op, c.Region)
		}
		if c.Region != world.Primary || c.Service != "autoscaling" && c.Service != "ec2" {
			continue
		}
		var body string
		r.do(json.Unmarshal(c.Params, &body))
		v, err := url.ParseQuery(body)
		r.do(err)
		v.Del("Action")
		v.Del("Version")
		text, err := url.QueryUnescape(v.Encode()) // sorted by key
		r.do(err)
		made[c.Service] = append(made[c.Service], c.Op+" "+c.Outcome+" "+text)
	}
	suspended := func(group string) string {
		out := "SuspendProcesses ok AutoScalingGroupName=" + group
		for i, p := range []string{"Launch", "HealthCheck", "ReplaceUnhealthy", "AZRebalance", "AlarmNotification", "ScheduledActions", "InstanceRefresh"} {
			out += fmt.Sprintf("&ScalingProcesses.member.%d=%s", i+1, p)
		}
		return out
	}
	const other = "queue-b-" + world.Primary // is empty, and may launch nothing either
	ids := slices.Sorted(maps.Keys(relays))
	for service, want := range map[string][]string{
		"autoscaling": {suspended(group), "SetInstanceProtection ok AutoScalingGroupName=" + group + "&InstanceIds.member.1=" + protected + "&ProtectedFromScaleIn=false",
			"UpdateAutoScalingGroup ok AutoScalingGroupName=" + group + "&DesiredCapacity=0&MinSize=0",
			suspended(other), "UpdateAutoScalingGroup ok AutoScalingGroupName=" + other + "&DesiredCapacity=0&MinSize=0"},
		"ec2": {"StopInstances ok InstanceId.1=" + ids[0] + "&InstanceId.2=" + ids[1]},
	} {
		if !slices.Equal(made[service], want) {
			r.Errorf("%s was called so:\n%s\nand not so:\n%s", service, strings.Join(made[service], "\n"), strings.Join(want, "\n"))
		}
	}
}

// group is an Auto Scaling group of us-east-1.
func (r *rig) group(name string) types.AutoScalingGroup {
	r.Helper()
	out, err := autoscaling.NewFromConfig(r.visitor(world.Primary)).DescribeAutoScalingGroups(r.ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}})
	r.do(err)
	return out.AutoScalingGroups[0]
}

// relays are the instances of a site by ID.
func (r *rig) relays(site string) (states map[string]string) {
	r.Helper()
	r.do(r.w.Control(site).Call(r.ctx, "GET", "/ec2", nil, &states))
	return states
}
