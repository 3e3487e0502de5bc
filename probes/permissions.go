package probes

import (
	"fmt"
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
	return []iam.Permission{{Actions: []string{"sqs:GetQueueUrl", "sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage"}, Resources: queueARN(r, c.Queue)}}
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
