package region

import (
	"crypto/sha256"
	"fmt"

	"github.com/failoverd/failoverd/lab/awsfake"
)

// Template is the launch template of the groups.
const Template = "lt-0a1b2c3d4e5f67890"

const secretName = "prod/database"

// vcpu is the use of on-demand instances of the standard families, in vCPUs.
var vcpu = awsfake.UsageMetric("EC2", "vCPU", "Standard/OnDemand")

// Subnets are where a region's tasks and instances are launched.
func Subnets(region string) []string {
	return []string{"subnet-" + region + "a", "subnet-" + region + "b"}
}

func subnets(region string) (out []awsfake.Subnet) {
	for i, id := range Subnets(region) {
		out = append(out, awsfake.Subnet{ID: id, Zone: region + string("ab"[i]), Free: 200})
	}
	return out
}

// stock is what a region has for what is launched there: the same images in both registries, a replicated secret, and quotas of
// which one was raised.
func stock(c Config) *awsfake.Stock {
	s := &awsfake.Stock{Region: c.Region, Images: map[string]string{}, Secrets: []string{secretName}, Quotas: []awsfake.Quota{
		{Service: "ec2", Code: "L-1216C47A", Name: "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", Value: 64, Raised: true, Usage: vcpu},
		{Service: "fargate", Code: "L-3032A538", Name: "Fargate On-Demand vCPU resource count", Value: 40},
	}}
	for _, service := range c.Services {
		s.Images[service.Name+":1"] = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(service.Name)))
	}
	return s
}

// used reports what of the quota the instances of the groups use: two vCPUs each.
func used(asg *awsfake.AutoScaling, groups []awsfake.ASGroup) func() []awsfake.Point {
	return func() []awsfake.Point {
		n := 0
		for _, g := range groups {
			all, _ := asg.Size(g.Name)
			n += 2 * all
		}
		return []awsfake.Point{{Metric: vcpu, Value: float64(n)}}
	}
}

// definition is what a service's tasks are made of.
func (s Service) definition(region string) awsfake.TaskDef {
	return awsfake.TaskDef{Family: s.Name, Command: s.Command, Env: s.Env, HealthAfter: s.HealthAfter,
		Image: awsfake.ImageName(region, s.Name+":1"), Secrets: map[string]string{"DATABASE": awsfake.SecretARN(region, secretName) + ":password::"}}
}
