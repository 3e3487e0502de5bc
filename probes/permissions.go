package probes

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/iam"
)

// Permitted is a configuration that knows what it needs of IAM in a region.
type Permitted interface {
	Permissions(region failover.Region) []iam.Permission
}

// queueARN names a queue; {node} stands for any node.
func queueARN(r failover.Region, queue string) []string {
	return []string{fmt.Sprintf("arn:aws:sqs:%s:*:%s", r, strings.ReplaceAll(queue, "{node}", "*"))}
}

// Permissions implements Permitted.
func (c *SQSConfig) Permissions(r failover.Region) []iam.Permission {
	// It writes into a queue of its own, which nothing else uses: it only looks.
	out := []iam.Permission{{Actions: []string{"sqs:GetQueueUrl", "sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage"}, Resources: queueARN(r, c.Queue)}}
	for _, name := range c.Waiting {
		out = append(out, iam.Permission{Actions: []string{"sqs:GetQueueUrl", "sqs:GetQueueAttributes"}, Resources: queueARN(r, name)})
	}
	return out
}

// Permissions implements Permitted.
func (c *SQSBacklogConfig) Permissions(r failover.Region) []iam.Permission {
	return []iam.Permission{{Actions: []string{"sqs:GetQueueUrl", "sqs:GetQueueAttributes"}, Resources: queueARN(r, c.Queue)}}
}

// Permissions implements Permitted. Elastic Load Balancing's reads know no resources.
func (c *ALBConfig) Permissions(failover.Region) []iam.Permission {
	return []iam.Permission{{Actions: []string{"elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetHealth"}, Resources: []string{"*"}}}
}

// Permissions implements Permitted. GetCallerIdentity needs none.
func (c *AWSAPIConfig) Permissions(failover.Region) []iam.Permission {
	if len(c.Services) > 0 && !slices.Contains(c.Services, "ecs") {
		return nil
	}
	return []iam.Permission{{Actions: []string{"ecs:DescribeClusters"}, Resources: []string{"*"}}}
}

// Permissions implements Permitted. CloudWatch knows no resources here:
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatch.html
func (c *TrafficObservedConfig) Permissions(failover.Region) []iam.Permission {
	return []iam.Permission{{Actions: []string{"cloudwatch:GetMetricData"}, Resources: []string{"*"}}}
}

// Permissions implements Permitted. Tasks know no resource that is known beforehand,
// but their cluster:
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
func (c *ECSConfig) Permissions(r failover.Region) []iam.Permission {
	return []iam.Permission{
		{Actions: []string{"ecs:DescribeServices"}, Resources: []string{fmt.Sprintf("arn:aws:ecs:%s:*:service/%s/%s", r, c.Cluster, c.Service)}},
		{Actions: []string{"ecs:ListTasks", "ecs:DescribeTasks"}, Resources: []string{"*"},
			Condition: iam.Condition{"ArnLike": {"ecs:cluster": {fmt.Sprintf("arn:aws:ecs:%s:*:cluster/%s", r, c.Cluster)}}}},
	}
}

// Permissions implements Permitted. A dry run needs the right to the real thing.
func (c *LambdaCheckConfig) Permissions(r failover.Region) []iam.Permission {
	read := []string{"lambda:GetFunctionConfiguration"}
	if c.DryRun {
		read = append(read, "lambda:InvokeFunction")
	}
	var out []iam.Permission
	for _, f := range c.Functions {
		out = append(out, iam.Permission{Actions: read, Resources: []string{fmt.Sprintf("arn:aws:lambda:%s:*:function:%s", r, f)}})
	}
	if c.EventSource {
		out = append(out, iam.Permission{Actions: []string{"lambda:ListEventSourceMappings"}, Resources: []string{"*"}})
	}
	return out
}

// Permissions implements Permitted.
func (c *CloudWatchMetricConfig) Permissions(failover.Region) []iam.Permission {
	return []iam.Permission{{Actions: []string{"cloudwatch:GetMetricData"}, Resources: []string{"*"}}}
}

// Permissions implements Permitted. Composite alarms are shown to nobody whose right is
// narrower than everything (API_DescribeAlarms).
func (c *CloudWatchAlarmConfig) Permissions(failover.Region) []iam.Permission {
	return []iam.Permission{{Actions: []string{"cloudwatch:DescribeAlarms"}, Resources: []string{"*"}}}
}

// Permissions implements Permitted.
func (c *CloudWatchLogsConfig) Permissions(r failover.Region) []iam.Permission {
	return []iam.Permission{{Actions: []string{"logs:FilterLogEvents"}, Resources: []string{fmt.Sprintf("arn:aws:logs:%s:*:log-group:%s:*", r, c.Group)}}}
}

// Permissions implements Permitted. Describing knows no resources:
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
func (c *VPCPeeringConfig) Permissions(failover.Region) []iam.Permission {
	return []iam.Permission{{Actions: []string{"ec2:DescribeVpcPeeringConnections"}, Resources: []string{"*"}}}
}

// Permissions implements Permitted. Which repositories and secrets it asks for is known
// only from the task definitions, and Service Quotas, subnets and groups know no
// resources here:
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecretsmanager.html
// A dry run needs the right to the real thing.
func (c *CapacityConfig) Permissions(r failover.Region) []iam.Permission {
	var out []iam.Permission
	var all []string
	for _, name := range slices.Sorted(maps.Keys(c.Tasks)) {
		out = append(out, iam.Permission{Actions: []string{"ecs:DescribeServices"}, Resources: []string{fmt.Sprintf("arn:aws:ecs:%s:*:service/%s/%s", r, c.Cluster, name)}})
	}
	if len(c.Tasks) > 0 {
		out = append(out,
			iam.Permission{Actions: []string{"ecr:DescribeImages"}, Resources: []string{fmt.Sprintf("arn:aws:ecr:%s:*:repository/*", r)}},
			iam.Permission{Actions: []string{"secretsmanager:DescribeSecret"}, Resources: []string{fmt.Sprintf("arn:aws:secretsmanager:%s:*:secret:*", r)}})
		all = append(all, "ecs:DescribeTaskDefinition")
	}
	if len(c.Tasks)+len(c.Groups) > 0 {
		all = append(all, "ec2:DescribeSubnets")
	}
	if len(c.Groups) > 0 {
		all = append(all, "autoscaling:DescribeAutoScalingGroups")
	}
	if len(c.Quotas) > 0 {
		all = append(all, "servicequotas:GetServiceQuota", "servicequotas:GetAWSDefaultServiceQuota", "cloudwatch:GetMetricData")
	}
	if c.DryRun {
		all = append(all, "ec2:RunInstances")
	}
	return append(out, iam.Permission{Actions: all, Resources: []string{"*"}})
}

// Permissions implements Permitted. Without the right to list, S3 says of what is not
// there that it is forbidden.
func (c *MariaDBBackupConfig) Permissions(failover.Region) []iam.Permission {
	list := iam.Permission{Actions: []string{"s3:ListBucket"}, Resources: []string{"arn:aws:s3:::" + c.Bucket}}
	if c.Prefix != "" {
		list.Condition = iam.Condition{"StringLike": {"s3:prefix": {c.Prefix + "*"}}}
	}
	return []iam.Permission{list, {Actions: []string{"s3:GetObject"}, Resources: []string{"arn:aws:s3:::" + c.Bucket + "/" + c.Prefix + "*"}}}
}
