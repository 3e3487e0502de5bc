package actions

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/iam"
)

// Permitted is a Config that knows what it needs of IAM in a region. Which actions
// know resources is in the service authorization reference of each service.
type Permitted interface {
	Permissions(region failover.Region) []iam.Permission
}

// Permissions implements Permitted.
func (c *ECSServiceConfig) Permissions(r failover.Region) []iam.Permission {
	service := fmt.Sprintf("arn:aws:ecs:%s:*:service/%s/%s", r, c.Cluster, c.Service)
	cluster := iam.Condition{"ArnLike": {"ecs:cluster": {fmt.Sprintf("arn:aws:ecs:%s:*:cluster/%s", r, c.Cluster)}}}
	out := []iam.Permission{
		{Actions: []string{"ecs:DescribeServices"}, Resources: []string{service}},
		{Acts: true, Actions: []string{"ecs:UpdateService"}, Resources: []string{service}},
		{Actions: []string{"application-autoscaling:DescribeScalableTargets"}, Resources: []string{"*"}},
		{Acts: true, Actions: []string{"application-autoscaling:RegisterScalableTarget"}, Resources: []string{fmt.Sprintf("arn:aws:application-autoscaling:%s:*:scalable-target/*", r)},
			Condition: iam.Condition{"StringEquals": {"application-autoscaling:service-namespace": {"ecs"}}}},
	}
	if c.Count == 0 { // a stop believes the tasks
		out = append(out, iam.Permission{Actions: []string{"ecs:ListTasks", "ecs:DescribeTasks", "ecs:DescribeContainerInstances"}, Resources: []string{"*"}, Condition: cluster})
	}
	return out
}

// Permissions implements Permitted.
func (c *ASGConfig) Permissions(r failover.Region) []iam.Permission {
	var group []string
	for _, name := range c.Groups() {
		group = append(group, fmt.Sprintf("arn:aws:autoscaling:%s:*:autoScalingGroup:*:autoScalingGroupName/%s", r, name))
	}
	if c.Count == 0 {
		return []iam.Permission{
			{Actions: []string{"autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeWarmPool"}, Resources: []string{"*"}},
			{Acts: true, Actions: []string{"autoscaling:UpdateAutoScalingGroup", "autoscaling:SuspendProcesses", "autoscaling:ResumeProcesses", "autoscaling:SetInstanceProtection"}, Resources: group},
		}
	}
	return []iam.Permission{
		{Actions: []string{"autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeScalingActivities"}, Resources: []string{"*"}},
		{Acts: true, Actions: []string{"autoscaling:UpdateAutoScalingGroup", "autoscaling:ResumeProcesses", "autoscaling:SuspendProcesses"}, Resources: group},
	}
}

// Permissions implements Permitted. An undo does the opposite, so that each needs
// both.
func (c *EC2InstancesConfig) Permissions(r failover.Region) []iam.Permission {
	look := []string{"ec2:DescribeInstances"}
	if c.Running {
		look = append(look, "ec2:DescribeInstanceStatus")
	}
	act := iam.Permission{Acts: true, Actions: []string{"ec2:StartInstances", "ec2:StopInstances"}}
	if len(c.Tags) > 0 {
		same := map[string][]string{}
		for k, v := range c.Tags {
			same["aws:ResourceTag/"+k] = []string{v}
		}
		act.Resources, act.Condition = []string{fmt.Sprintf("arn:aws:ec2:%s:*:instance/*", r)}, iam.Condition{"StringEquals": same}
	} else {
		for _, id := range c.IDs[r] {
			act.Resources = append(act.Resources, fmt.Sprintf("arn:aws:ec2:%s:*:instance/%s", r, id))
		}
	}
	return []iam.Permission{{Actions: look, Resources: []string{"*"}}, act}
}

// Permissions implements Permitted.
func (c *LambdaEventSourceConfig) Permissions(r failover.Region) []iam.Permission {
	var out []iam.Permission
	for _, f := range c.Functions {
		arn := fmt.Sprintf("arn:aws:lambda:%s:*:function:%s", r, f)
		out = append(out,
			iam.Permission{Actions: []string{"lambda:GetFunctionConfiguration"}, Resources: []string{arn}},
			iam.Permission{Acts: true, Actions: []string{"lambda:UpdateEventSourceMapping"}, Resources: []string{fmt.Sprintf("arn:aws:lambda:%s:*:event-source-mapping:*", r)}, Condition: iam.Condition{"ArnLike": {"lambda:FunctionArn": {arn}}}})
	}
	return append(out, iam.Permission{Actions: []string{"lambda:ListEventSourceMappings"}, Resources: []string{"*"}})
}

// Permissions implements Permitted. Whoever updates a schedule passes its role on
// (EventBridge Scheduler user guide, identity-based policies).
func (c *ScheduleConfig) Permissions(r failover.Region) []iam.Permission {
	var out []iam.Permission
	for _, n := range c.Rules {
		arn := fmt.Sprintf("arn:aws:events:%s:*:rule/%s", r, strings.TrimPrefix(n, "default/"))
		out = append(out,
			iam.Permission{Actions: []string{"events:DescribeRule", "events:ListTargetsByRule"}, Resources: []string{arn}},
			iam.Permission{Acts: true, Actions: []string{"events:DisableRule", "events:EnableRule"}, Resources: []string{arn}})
	}
	for _, n := range c.Schedules {
		group, name := splitName(n)
		arn := fmt.Sprintf("arn:aws:scheduler:%s:*:schedule/%s/%s", r, group, name)
		out = append(out,
			iam.Permission{Actions: []string{"scheduler:GetSchedule"}, Resources: []string{arn}},
			iam.Permission{Acts: true, Actions: []string{"scheduler:UpdateSchedule"}, Resources: []string{arn}})
	}
	if len(c.Schedules) > 0 {
		out = append(out, iam.Permission{Acts: true, Actions: []string{"iam:PassRole"}, Resources: []string{"*"},
			Condition: iam.Condition{"StringEquals": {"iam:PassedToService": {"scheduler.amazonaws.com"}}}})
	}
	return out
}

// Permissions implements Permitted.
func (c *S3ObjectConfig) Permissions(failover.Region) []iam.Permission {
	object := []string{"arn:aws:s3:::" + c.Bucket + "/" + c.Key}
	return []iam.Permission{
		{Actions: []string{"s3:GetObject"}, Resources: object},
		// Without it an object that is not there is answered with 403 and not 404.
		{Actions: []string{"s3:ListBucket"}, Resources: []string{"arn:aws:s3:::" + c.Bucket}},
		{Acts: true, Actions: []string{"s3:PutObject"}, Resources: object},
	}
}

// Permissions implements Permitted.
func (c *Route53WeightsConfig) Permissions(failover.Region) []iam.Permission {
	return append(c.Reading(),
		iam.Permission{Actions: []string{"route53:GetHostedZone"}, Resources: c.place()},
		iam.Permission{Actions: []string{"route53:GetChange"}, Resources: []string{"arn:aws:route53:::change/*"}},
		iam.Permission{Acts: true, Actions: []string{"route53:ChangeResourceRecordSets"}, Resources: c.place(),
			Condition: iam.Condition{"ForAllValues:StringEquals": {"route53:ChangeResourceRecordSetsNormalizedRecordNames": c.changed()}}})
}

// Reading is what CompareRecords needs.
func (c *Route53WeightsConfig) Reading() []iam.Permission {
	return []iam.Permission{
		{Actions: []string{"route53:ListResourceRecordSets"}, Resources: c.place()},
		{Actions: []string{"route53:GetHealthCheck"}, Resources: []string{"arn:aws:route53:::healthcheck/*"}},
	}
}

func (c *Route53WeightsConfig) place() []string {
	return []string{"arn:aws:route53:::hostedzone/" + c.Zone}
}

// changed are the names of the records that are ever written, as the conditions of IAM have them: in lower case, without the last dot, and
// all but letters, digits, hyphens, underscores and dots as three octal digits.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/specifying-conditions-route53.html
func (c *Route53WeightsConfig) changed() (out []string) {
	for _, n := range append(slices.Clone(c.Names), c.Token) {
		var b strings.Builder
		for _, r := range []byte(strings.ToLower(strings.TrimSuffix(n, "."))) {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.IndexByte("-_.", r) >= 0 {
				b.WriteByte(r)
			} else {
				fmt.Fprintf(&b, "\\%03o", r)
			}
		}
		out = append(out, b.String())
	}
	return out
}

// Permissions implements Permitted. What a subnet had before is known only then, so that
// an undo needs the right to every network ACL, but of these subnets alone:
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
func (c *NACLConfig) Permissions(r failover.Region) []iam.Permission {
	places := []string{fmt.Sprintf("arn:aws:ec2:%s:*:network-acl/*", r)}
	for _, id := range slices.Sorted(maps.Keys(c.Subnets[r])) {
		places = append(places, fmt.Sprintf("arn:aws:ec2:%s:*:subnet/%s", r, id))
	}
	return []iam.Permission{
		{Actions: []string{"ec2:DescribeNetworkAcls", "ec2:DescribeSubnets"}, Resources: []string{"*"}},
		{Acts: true, Actions: []string{"ec2:ReplaceNetworkAclAssociation"}, Resources: places},
	}
}

// Permissions implements Permitted.
func (c *MariaDBRestoreConfig) Permissions(failover.Region) []iam.Permission {
	list := iam.Permission{Actions: []string{"s3:ListBucket"}, Resources: []string{"arn:aws:s3:::" + c.Bucket}}
	if c.Prefix != "" {
		list.Condition = iam.Condition{"StringLike": {"s3:prefix": {c.Prefix + "*"}}}
	}
	out := []iam.Permission{list, {Actions: []string{"s3:GetObject"}, Resources: []string{"arn:aws:s3:::" + c.Bucket + "/" + c.Prefix + "*"}}}
	if c.Fresh == nil {
		return out
	}
	// All calls of an upload in parts need s3:PutObject but those that are named; what was uploaded and is not what was read is removed.
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html#mpuAndPermissions
	return append(out,
		iam.Permission{Acts: true, Actions: []string{"s3:ListBucketMultipartUploads"}, Resources: []string{"arn:aws:s3:::" + c.Bucket}},
		iam.Permission{Acts: true, Actions: []string{"s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"}, Resources: []string{"arn:aws:s3:::" + c.Bucket + "/" + c.Prefix + "failoverd-e*"}})
}

// Permissions implements Permitted.
func (c *MariaDBDumpConfig) Permissions(r failover.Region) []iam.Permission {
	return c.Restore.Permissions(r)
}
