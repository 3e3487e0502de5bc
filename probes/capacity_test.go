package probes

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

const (
	registry1 = "123456789012.dkr.ecr.us-east-1.amazonaws.com/"
	secret1   = "arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/db-AbCdEf"
)

// twoRegions are scripted so that us-east-1, which is looked at, has all that
// us-east-2 lives on.
func twoRegions(t *testing.T) (here, there *api, d Deps) {
	t.Helper()
	here, d = newAPI(t)
	there = &api{answers: map[string]func(call) any{}, done: make(chan struct{})}
	urls := map[string]string{}
	for r, a := range map[string]*api{"us-east-1": here, "us-east-2": there} {
		srv := httptest.NewServer(a)
		t.Cleanup(srv.Close)
		urls[r] = srv.URL
		stocked(a, r)
	}
	t.Cleanup(func() { close(there.done) })
	c, err := cloud.Open(t.Context(), cloud.Options{Endpoints: urls, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	d.Cloud, d.Regions = c, []failover.Region{"us-east-1", "us-east-2"}
	return here, there, d
}

func stocked(a *api, region string) {
	used := map[string]float64{"us-east-1": 8, "us-east-2": 40}[region]
	a.says("DescribeServices", ecsService(region, "ACTIVE", 1, "FARGATE"))
	a.says("DescribeTaskDefinition", taskDefinition("ACTIVE", strings.Replace(registry1, "us-east-1", region, 1)+"web:7", strings.Replace(secret1, "us-east-1", region, 1)+":password::"))
	a.on("DescribeImages", func(in call) any {
		if got := fmt.Sprint(in.json["registryId"], in.json["repositoryName"], in.json["imageIds"]); got != "123456789012web[map[imageTag:7]]" {
			return failed("InvalidParameterException")
		}
		return digest("sha256:aa")
	})
	a.on("DescribeSecret", func(in call) any {
		if in.json["SecretId"] != strings.Replace(secret1, "us-east-1", region, 1) { // without JSON key, stage and version
			return failed("InvalidParameterException")
		}
		return map[string]any{"VersionIdsToStages": map[string]any{"v1": []string{"AWSCURRENT"}}}
	})
	a.says("DescribeSubnets", subnets(40))
	a.says("DescribeAutoScalingGroups", group("<LaunchTemplate><LaunchTemplateId>lt-1</LaunchTemplateId><Version>3</Version></LaunchTemplate>", 1))
	a.says("RunInstances", failed("DryRunOperation"))
	a.says("GetServiceQuota", serviceQuota(64, true))
	a.says("GetMetricData", cbor.Map{"MetricDataResults": cbor.List{cbor.Map{"Id": cbor.String("used"), "StatusCode": cbor.String("Complete"),
		"Timestamps": cbor.List{&cbor.Tag{ID: 1, Value: cbor.Float64(float64(time.Now().Unix()))}}, "Values": cbor.List{cbor.Float64(used)}}}})
}

func ecsService(region, status string, running int, launch string) any {
	return map[string]any{"services": []any{map[string]any{"serviceName": "web", "status": status, "runningCount": running, "launchType": launch,
		"taskDefinition":       "arn:aws:ecs:" + region + ":123456789012:task-definition/web:3",
		"networkConfiguration": map[string]any{"awsvpcConfiguration": map[string]any{"subnets": []string{"subnet-a", "subnet-b"}}}}}}
}

func taskDefinition(status, image, secret string) any {
	return map[string]any{"taskDefinition": map[string]any{"status": status, "containerDefinitions": []any{
		map[string]any{"name": "app", "image": image, "secrets": []any{map[string]any{"name": "DB", "valueFrom": secret}}}}}}
}

func digest(d string) any {
	return map[string]any{"imageDetails": []any{map[string]any{"imageDigest": d}}}
}

func subnets(free int) string {
	return fmt.Sprintf(`<DescribeSubnetsResponse><subnetSet><item><subnetId>subnet-a</subnetId><availableIpAddressCount>%d</availableIpAddressCount></item><item><subnetId>subnet-b</subnetId><availableIpAddressCount>0</availableIpAddressCount></item></subnetSet></DescribeSubnetsResponse>`, free)
}

func group(from string, instances int) string {
	return `<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups><member><AutoScalingGroupName>queue</AutoScalingGroupName><VPCZoneIdentifier>subnet-a,subnet-b</VPCZoneIdentifier>` + from +
		`<Instances>` + strings.Repeat("<member><InstanceId>i-1</InstanceId></member>", instances) + `</Instances></member></AutoScalingGroups></DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>`
}

func serviceQuota(value float64, measured bool) any {
	q := map[string]any{"QuotaName": "Standard instances", "Value": value}
	if measured {
		q["UsageMetric"] = map[string]any{"MetricNamespace": "AWS/Usage", "MetricName": "ResourceCount", "MetricStatisticRecommendation": "Maximum",
			"MetricDimensions": map[string]any{"Class": "Standard/OnDemand", "Resource": "vCPU", "Service": "EC2", "Type": "Resource"}}
	}
	return map[string]any{"Quota": q}
}

func wanted() *CapacityCheckConfig {
	return &CapacityCheckConfig{CapacityConfig: CapacityConfig{Cluster: "prod", Tasks: map[string]int{"web": 3}, Groups: []CapacityGroup{{"queue", 2}},
		Quotas: map[string]float64{"ec2/L-1216C47A": 0}, DryRun: true}}
}

// Each thing that lacks is said, with what was asked, what came and what to do; what
// only deserves a look passes; what could not be seen is neither.
func TestCapacity(t *testing.T) {
	type world struct {
		here, there *api
		c           *CapacityCheckConfig
		d           *Deps
	}
	for _, tt := range []struct {
		name    string
		change  func(w world)
		outcome failover.Outcome
		check   Status
		details []string
	}{
		{"all is there", func(world) {}, failover.OK, Pass, []string{"nothing that is looked at lacks in us-east-1", "task definition web:3 of web", "image " + registry1 + "web:7 of web/app",
			"secret " + secret1 + ":password:: of web", "40 free addresses for 3 that are needed", "an instance of group queue in subnet-a may be asked for", "quota ec2/L-1216C47A (Standard instances) of 64",
			"whether AWS has machines free when they are asked for, nothing tells beforehand"}},
		{"no service", func(w world) { w.here.says("DescribeServices", map[string]any{"services": []any{}}) }, failover.Failed, Fail, []string{"service web is not in cluster prod in us-east-1", "create it there"}},
		{"no cluster", func(w world) { w.here.says("DescribeServices", failed("ClusterNotFoundException")) }, failover.Failed, Fail, []string{"cluster prod is not in us-east-1 (DescribeServices was answered with ClusterNotFoundException)"}},
		{"a deleted service", func(w world) { w.here.says("DescribeServices", ecsService("us-east-1", "INACTIVE", 0, "FARGATE")) }, failover.Failed, Fail, []string{"service web in us-east-1 is INACTIVE"}},
		{"container instances", func(w world) { w.here.says("DescribeServices", ecsService("us-east-1", "ACTIVE", 0, "EC2")) }, failover.OK, Pass, []string{"the room on the container instances that web runs on was not looked at"}},
		{"no task definition", func(w world) { w.here.says("DescribeTaskDefinition", failed("ClientException")) }, failover.Failed, Fail, []string{"task definition web:3 of web is not in us-east-1", "register it there"}},
		{"an inactive one", func(w world) {
			w.here.says("DescribeTaskDefinition", taskDefinition("INACTIVE", registry1+"web:7", secret1))
		}, failover.Slow, Pass, []string{"task definition web:3 of web in us-east-1 is INACTIVE: register it again"}},
		{"the other registry", func(w world) {
			w.here.says("DescribeTaskDefinition", taskDefinition("ACTIVE", strings.Replace(registry1, "us-east-1", "us-east-2", 1)+"web:7", secret1))
		}, failover.Failed, Fail, []string{"web:7 of web/app lies in the registry of us-east-2, which may be what failed: push it to us-east-1"}},
		{"no registry of ECR", func(w world) {
			w.here.says("DescribeTaskDefinition", taskDefinition("ACTIVE", "public.example.net/web:7", secret1))
		}, failover.OK, Pass, []string{"image public.example.net/web:7 of web/app lies in no private registry of ECR and was not looked at"}},
		{"no image", func(w world) { w.here.says("DescribeImages", failed("ImageNotFoundException")) }, failover.Failed, Fail, []string{"(DescribeImages was answered with ImageNotFoundException): push it there; replication brings only what was pushed after its rule was made"}},
		{"no repository", func(w world) { w.here.says("DescribeImages", failed("RepositoryNotFoundException")) }, failover.Failed, Fail, []string{"create the repository"}},
		{"another image", func(w world) { w.there.says("DescribeImages", digest("sha256:bb")) }, failover.Slow, Pass, []string{"the image of web/app in us-east-1 is sha256:aa, and us-east-2 has sha256:bb: push or replicate the same one"}},
		{"the other one's image unread", func(w world) { w.there.says("DescribeImages", failed("ThrottlingException")) }, failover.OK, Pass, []string{"the image of web/app could not be compared (us-east-2 did not tell: the call was answered with ThrottlingException)"}},
		{"no secret", func(w world) { w.here.says("DescribeSecret", failed("ResourceNotFoundException")) }, failover.Failed, Fail, []string{"secret " + secret1 + ":password:: of web is not in us-east-1", "replicate it there"}},
		{"the other one's secret", func(w world) {
			w.here.says("DescribeTaskDefinition", taskDefinition("ACTIVE", registry1+"web:7", strings.Replace(secret1, "us-east-1", "us-east-2", 1)))
		}, failover.Failed, Fail, []string{"lies in us-east-2, which may be what failed: replicate it to us-east-1"}},
		{"the other one's parameter", func(w world) {
			w.here.says("DescribeTaskDefinition", taskDefinition("ACTIVE", registry1+"web:7", "arn:aws:ssm:us-east-2:123456789012:parameter/db"))
		}, failover.Failed, Fail, []string{"parameter/db of web lies in us-east-2"}},
		{"a parameter", func(w world) {
			w.here.says("DescribeTaskDefinition", taskDefinition("ACTIVE", registry1+"web:7", "db"))
		}, failover.OK, Pass, []string{"parameter db of web was not looked at"}},
		{"a deleted secret", func(w world) { w.here.says("DescribeSecret", map[string]any{"DeletedDate": 1.7e9}) }, failover.Failed, Fail, []string{"is to be deleted, and gives no value: restore it"}},
		{"an empty secret", func(w world) { w.here.says("DescribeSecret", map[string]any{}) }, failover.Failed, Fail, []string{"has no current value: put one"}},
		{"too few addresses for one", func(w world) { w.here.says("DescribeSubnets", subnets(1)) }, failover.Failed, Fail, []string{"1 addresses are free in subnet-a, subnet-b in us-east-1, and 2 more tasks of web need one each"}},
		{"too few for all", func(w world) { w.here.says("DescribeSubnets", subnets(2)) }, failover.Failed, Fail, []string{"2 addresses are free in subnet-a, subnet-b in us-east-1, and 3 are needed for all"}},
		{"IPv6 alone", func(w world) {
			w.here.says("DescribeSubnets", strings.Replace(subnets(0), "<subnetId>subnet-b", "<ipv6Native>true</ipv6Native><subnetId>subnet-b", 1))
		}, failover.OK, Pass, []string{"1048576 free addresses for 3"}},
		{"no subnet", func(w world) { w.here.says("DescribeSubnets", failed("InvalidSubnetID.NotFound")) }, failover.Failed, Fail, []string{"subnets subnet-a, subnet-b is not in us-east-1"}},
		{"no group", func(w world) {
			w.here.says("DescribeAutoScalingGroups", "<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult/></DescribeAutoScalingGroupsResponse>")
		}, failover.Failed, Fail, []string{"group queue is not in us-east-1"}},
		{"no template", func(w world) { w.here.says("DescribeAutoScalingGroups", group("", 0)) }, failover.OK, Pass, []string{"group queue has no launch template, and no dry run was made for it"}},
		{"no machine image", func(w world) { w.here.says("RunInstances", failed("InvalidAMIID.NotFound")) }, failover.Failed, Fail, []string{"an instance of group queue in subnet-a would be refused in us-east-1 (RunInstances, a dry run, was answered with InvalidAMIID.NotFound: no): put the launch template right"}},
		{"no right to launch", func(w world) { w.here.says("RunInstances", failed("UnauthorizedOperation")) }, failover.Misconfigured, Unknown, []string{"UnauthorizedOperation", "if a right lacks"}},
		{"a dry run that was none", func(w world) { w.here.says("RunInstances", "<RunInstancesResponse/>") }, failover.NoResult, Unknown, []string{"look for an instance that should not be"}},
		{"a quota below what is used", func(w world) { w.here.says("GetServiceQuota", serviceQuota(32, true)) }, failover.Failed, Fail, []string{"quota ec2/L-1216C47A (Standard instances) is 32 in us-east-1, and us-east-2 uses 40: ask AWS for more"}},
		{"a quota that holds one of them", func(w world) { w.here.says("GetServiceQuota", serviceQuota(44, true)) }, failover.Slow, Pass, []string{"is 44 in us-east-1, where 8 are used, and us-east-2 uses 40: together it may be too little"}},
		{"a quota that nobody measures", func(w world) {
			w.here.says("GetServiceQuota", serviceQuota(32, false))
			w.there.says("GetServiceQuota", serviceQuota(64, false))
		}, failover.Slow, Pass, []string{"is 32 in us-east-1, and 64 in us-east-2"}},
		{"AWS's default", func(w world) {
			w.here.says("GetServiceQuota", failed("NoSuchResourceException"))
			w.here.says("GetAWSDefaultServiceQuota", serviceQuota(5, false))
		}, failover.Failed, Fail, []string{"is 5 in us-east-1, and us-east-2 uses 40"}},
		{"no quota", func(w world) {
			w.here.says("GetServiceQuota", failed("NoSuchResourceException"))
			w.here.says("GetAWSDefaultServiceQuota", failed("NoSuchResourceException"))
		}, failover.Failed, Fail, []string{"look for the service code and the quota code"}},
		{"a least value", func(w world) { w.c.Quotas["ec2/L-1216C47A"] = 65 }, failover.Failed, Fail, []string{"is 64 in us-east-1, and must be 65"}},
		{"a right that lacks", func(w world) { w.here.says("DescribeSecret", failed("AccessDeniedException")) }, failover.Misconfigured, Unknown, []string{"DescribeSecret was answered with AccessDeniedException", "`failoverd iam observe` prints the policy"}},
		{"throttled", func(w world) { w.here.says("DescribeImages", failed("ThrottlingException")) }, failover.NoResult, Unknown, []string{"DescribeImages was answered with ThrottlingException"}},
		{"what lacks outweighs it", func(w world) {
			w.here.says("DescribeImages", failed("ThrottlingException"))
			w.here.says("DescribeSubnets", subnets(0))
		}, failover.Failed, Fail, []string{"0 addresses are free", "ThrottlingException"}},
		{"nobody said which the other is", func(w world) { w.d.Regions = nil }, failover.OK, Pass, []string{"images could not be compared (nobody said which the other region is)"}},
		{"the other one is dark", func(w world) {
			w.d.Timeout = 2 * time.Second
			for op := range w.there.answers {
				w.there.says(op, failed("hang"))
			}
		}, failover.OK, Pass, []string{"40 free addresses", "images could not be compared (us-east-2 did not tell: the call: did not answer in time)", "quota ec2/L-1216C47A (Standard instances) could not be compared (us-east-2 did not tell"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			here, there, d := twoRegions(t)
			w := world{here, there, wanted(), &d}
			tt.change(w)
			o := look(t, &w.c.CapacityConfig, d)
			if o.Outcome != tt.outcome {
				t.Errorf("%s %q, want %s", o.Outcome, o.Detail, tt.outcome)
			}
			for _, want := range tt.details {
				verify(t, mustCheck(t, w.c, d), tt.check, want)
			}
		})
	}
}

// What is launched is asked for as the group would ask: by its template, in each of its
// subnets, and never in earnest.
func TestCapacityLaunchesNothing(t *testing.T) {
	here, _, d := twoRegions(t)
	here.says("DescribeAutoScalingGroups", group(`<MixedInstancesPolicy><LaunchTemplate><LaunchTemplateSpecification><LaunchTemplateName>queue</LaunchTemplateName></LaunchTemplateSpecification>
<Overrides><member><InstanceType>m7g.large</InstanceType></member></Overrides></LaunchTemplate></MixedInstancesPolicy>`, 0))
	var asked []string
	here.on("RunInstances", func(in call) any {
		asked = append(asked, fmt.Sprint(in.form.Get("DryRun"), " ", in.form.Get("LaunchTemplate.LaunchTemplateName"), " ", in.form.Get("InstanceType"), " ", in.form.Get("SubnetId"), " ", in.form.Get("MaxCount")))
		return failed("DryRunOperation")
	})
	verify(t, mustCheck(t, wanted(), d), Pass, "may be asked for")
	if want := []string{"true queue m7g.large subnet-a 1", "true queue m7g.large subnet-b 1"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
	asked = nil
	c := wanted()
	c.DryRun = false
	verify(t, mustCheck(t, c, d), Pass, "group queue")
	if len(asked) > 0 {
		t.Errorf("asked without dry_run: %v", asked)
	}
	for _, p := range c.Permissions("us-east-1") {
		if slices.Contains(p.Actions, "ec2:RunInstances") || p.Acts {
			t.Errorf("without dry_run it wants %v", p)
		}
	}
}

func TestCapacityConfig(t *testing.T) {
	_, _, d := twoRegions(t)
	if s := (Spec{Kind: "capacity", Config: &wanted().CapacityConfig}); s.Plane() != failover.PlaneUpkeep {
		t.Error("it is no signal of upkeep")
	}
	d.Cloud = nil
	if _, err := wanted().NewCheck(d); err == nil || !strings.Contains(err.Error(), "there are no AWS clients") {
		t.Errorf("without clients: %v", err)
	}
	of := func(c CapacityConfig) *CapacityCheckConfig { return &CapacityCheckConfig{CapacityConfig: c} }
	refused(t, map[string]*CapacityCheckConfig{
		"tasks: is missing":                     {},
		"cluster: is missing":                   of(CapacityConfig{Tasks: map[string]int{"web": 1}}),
		"tasks: web = 0":                        of(CapacityConfig{Cluster: "prod", Tasks: map[string]int{"web": 0}}),
		`tasks: "arn:aws:ecs:x" is an ARN`:      of(CapacityConfig{Cluster: "prod", Tasks: map[string]int{"arn:aws:ecs:x": 1}}),
		`groups: count of "queue" is 0`:         of(CapacityConfig{Groups: []CapacityGroup{{"queue", 0}}}),
		`groups: "queue" is listed twice`:       of(CapacityConfig{Groups: []CapacityGroup{{"queue", 1}, {"queue", 2}}}),
		`quotas: "L-1216C47A" is no service`:    of(CapacityConfig{Quotas: map[string]float64{"L-1216C47A": 1}}),
		"quotas: ec2/L-1216C47A = -1 is negati": of(CapacityConfig{Quotas: map[string]float64{"ec2/L-1216C47A": -1}}),
		"dry_run: has no groups":                of(CapacityConfig{Quotas: map[string]float64{"ec2/L-1216C47A": 1}, DryRun: true}),
		"within: -1ns is negative":              {CapacityConfig: wanted().CapacityConfig, For: -1},
	})
	for written, want := range map[string]reference{
		registry1 + "team/web:7":                                {"123456789012", "us-east-1", "team/web", "7", ""},
		registry1 + "web@sha256:0a":                             {"123456789012", "us-east-1", "web", "", "sha256:0a"},
		"123456789012.dkr-ecr.us-east-1.on.aws/web:7@sha256:0a": {"123456789012", "us-east-1", "web", "7", "sha256:0a"},
		"nginx":                        {},
		"public.ecr.aws/nginx/nginx:1": {},
	} {
		if got := referenceOf(written); got != want {
			t.Errorf("%s is %+v, want %+v", written, got, want)
		}
	}
}
