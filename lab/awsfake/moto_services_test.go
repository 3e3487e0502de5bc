package awsfake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/applicationautoscaling"
	aastypes "github.com/aws/aws-sdk-go-v2/service/applicationautoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
)

// serviceSteps are an ECS service from its first day to its last.
func serviceSteps() []step {
	cluster := aws.String("prod")
	clusters := func(name string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.ecs.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{name}})
			return or(out, err, func(o *ecs.DescribeClustersOutput) string {
				said := ""
				for _, c := range o.Clusters {
					said += *c.Status
				}
				for _, f := range o.Failures {
					said += *f.Reason
				}
				return said
			})
		}
	}
	services := func(cluster string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.ecs.ListServices(ctx, &ecs.ListServicesInput{Cluster: &cluster})
			return or(out, err, func(o *ecs.ListServicesOutput) string { return fmt.Sprint(len(o.ServiceArns)) })
		}
	}
	define := func(image string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.ecs.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: aws.String("jobs"),
				ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: aws.String("jobs"), Image: &image, Memory: aws.Int32(128)}}})
			return or(out, err, func(o *ecs.RegisterTaskDefinitionOutput) string {
				return fmt.Sprint(o.TaskDefinition.Revision, " ", o.TaskDefinition.Status)
			})
		}
	}
	definition := func(name string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.ecs.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &name})
			return or(out, err, func(o *ecs.DescribeTaskDefinitionOutput) string {
				return fmt.Sprint(o.TaskDefinition.Revision, " ", *o.TaskDefinition.ContainerDefinitions[0].Image)
			})
		}
	}
	create := func(name, definition string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.ecs.CreateService(ctx, &ecs.CreateServiceInput{Cluster: cluster, ServiceName: &name, TaskDefinition: &definition, DesiredCount: aws.Int32(0)})
			return or(out, err, func(o *ecs.CreateServiceOutput) string { return *o.Service.Status })
		}
	}
	update := func(in ecs.UpdateServiceInput) func(context.Context, *sides) string {
		in.Cluster = cluster
		if in.Service == nil {
			in.Service = aws.String("jobs")
		}
		return func(ctx context.Context, s *sides) string {
			_, err := s.ecs.UpdateService(ctx, &in)
			return code(err)
		}
	}
	described := func(ctx context.Context, s *sides) string {
		out, err := s.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: cluster, Services: []string{"jobs"}})
		return or(out, err, func(o *ecs.DescribeServicesOutput) string {
			d := o.Services[0]
			return fmt.Sprint(*d.Status, " ", d.DesiredCount, " ", (*d.TaskDefinition)[strings.LastIndexByte(*d.TaskDefinition, '/')+1:])
		})
	}
	remove := func(force bool) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			_, err := s.ecs.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: cluster, Service: aws.String("jobs"), Force: &force})
			return code(err)
		}
	}
	target := func(service string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			_, err := s.aas.RegisterScalableTarget(ctx, &applicationautoscaling.RegisterScalableTargetInput{ServiceNamespace: aastypes.ServiceNamespaceEcs, ResourceId: aws.String("service/prod/" + service),
				ScalableDimension: aastypes.ScalableDimensionECSServiceDesiredCount, MinCapacity: aws.Int32(0), MaxCapacity: aws.Int32(3)})
			return code(err)
		}
	}
	suspend := func(state aastypes.SuspendedState) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			id := []string{"service/prod/jobs"}
			_, err := s.aas.RegisterScalableTarget(ctx, &applicationautoscaling.RegisterScalableTargetInput{ServiceNamespace: aastypes.ServiceNamespaceEcs, ResourceId: &id[0],
				ScalableDimension: aastypes.ScalableDimensionECSServiceDesiredCount, SuspendedState: &state})
			if err != nil {
				return code(err)
			}
			out, err := s.aas.DescribeScalableTargets(ctx, &applicationautoscaling.DescribeScalableTargetsInput{ServiceNamespace: aastypes.ServiceNamespaceEcs, ResourceIds: id})
			return or(out, err, func(o *applicationautoscaling.DescribeScalableTargetsOutput) string {
				t := o.ScalableTargets[0]
				return fmt.Sprint(*t.MinCapacity, *t.MaxCapacity, aws.ToBool(t.SuspendedState.DynamicScalingInSuspended), aws.ToBool(t.SuspendedState.DynamicScalingOutSuspended), aws.ToBool(t.SuspendedState.ScheduledScalingSuspended))
			})
		}
	}
	return []step{
		{"ecs a cluster", clusters("prod")}, {"ecs a cluster that is not there", clusters("none")},
		{"ecs services of a cluster", services("prod")}, {"ecs services of a cluster that is not there", services("none")},
		{"ecs a first task definition", define("jobs:1")}, {"ecs a second revision", define("jobs:2")},
		{"ecs the newest of a family", definition("jobs")}, {"ecs an older revision", definition("jobs:1")}, {"ecs a revision that is not there", definition("jobs:9")},
		{"ecs CreateService", create("jobs", "jobs:1")}, {"ecs CreateService of a definition that is not there", create("other", "none")},
		{"ecs CreateService of one that is there", create("jobs", "jobs:2")},
		{"ecs services then", services("prod")}, {"ecs a new service", described},
		{"ecs UpdateService to another definition", update(ecs.UpdateServiceInput{TaskDefinition: aws.String("jobs:2")})}, {"ecs that one then", described},
		{"ecs UpdateService to a definition that is not there", update(ecs.UpdateServiceInput{TaskDefinition: aws.String("none:1")})},
		{"ecs UpdateService of one that is not there", update(ecs.UpdateServiceInput{Service: aws.String("none"), DesiredCount: aws.Int32(1)})},
		{"ecs fewer than none", update(ecs.UpdateServiceInput{DesiredCount: aws.Int32(-1)})}, {"ecs nothing has changed", described},
		{"application autoscaling of a service that is not there", target("none")}, {"application autoscaling of a service", target("jobs")},
		{"application autoscaling one of three suspended", suspend(aastypes.SuspendedState{DynamicScalingInSuspended: aws.Bool(true)})},
		{"application autoscaling another as well", suspend(aastypes.SuspendedState{ScheduledScalingSuspended: aws.Bool(true)})},
		{"ecs UpdateService 1", update(ecs.UpdateServiceInput{DesiredCount: aws.Int32(1)})}, {"ecs DeleteService while it is scaled", remove(false)},
		{"ecs StopTask of one that is not there", func(ctx context.Context, s *sides) string {
			_, err := s.ecs.StopTask(ctx, &ecs.StopTaskInput{Cluster: cluster, Task: aws.String("0123456789abcdef0123456789abcdef")})
			return code(err)
		}},
		{"ecs DeleteService by force", remove(true)}, {"ecs a deleted service", described},
		{"ecs UpdateService of a deleted one", update(ecs.UpdateServiceInput{DesiredCount: aws.Int32(1)})},
	}
}

// groupSteps are instances of a group, targets of a load balancer, a function and a quota.
func groupSteps() []step {
	group := aws.String("queue")
	instances := func(ctx context.Context, s *sides) (ids []string, protected int) {
		out, err := s.asg.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{"queue"}})
		if err != nil || len(out.AutoScalingGroups) != 1 {
			return nil, -1
		}
		for _, i := range out.AutoScalingGroups[0].Instances {
			ids = append(ids, *i.InstanceId)
			if aws.ToBool(i.ProtectedFromScaleIn) {
				protected++
			}
		}
		return ids, protected
	}
	protect := func(on bool) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			ids, _ := instances(ctx, s)
			_, err := s.asg.SetInstanceProtection(ctx, &autoscaling.SetInstanceProtectionInput{AutoScalingGroupName: group, InstanceIds: ids[:min(len(ids), 1)], ProtectedFromScaleIn: &on})
			_, n := instances(ctx, s)
			return fmt.Sprint(code(err), ", ", n, " protected")
		}
	}
	size := func(name string, in autoscaling.UpdateAutoScalingGroupInput) func(context.Context, *sides) string {
		in.AutoScalingGroupName = &name
		return func(ctx context.Context, s *sides) string {
			if _, err := s.asg.UpdateAutoScalingGroup(ctx, &in); err != nil {
				return code(err)
			}
			out, err := s.asg.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}})
			return or(out, err, func(o *autoscaling.DescribeAutoScalingGroupsOutput) string {
				g := o.AutoScalingGroups[0]
				return fmt.Sprint(*g.MinSize, " ", *g.MaxSize, " ", *g.DesiredCapacity)
			})
		}
	}
	health := func(arn func(*sides) string, targets ...elbtypes.TargetDescription) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.elb.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: aws.String(arn(s)), Targets: targets})
			return or(out, err, func(o *elb.DescribeTargetHealthOutput) string {
				var all []string
				for _, t := range o.TargetHealthDescriptions {
					all = append(all, fmt.Sprint(*t.Target.Id, ":", *t.Target.Port, " ", t.TargetHealth.State, " ", t.TargetHealth.Reason))
				}
				return strings.Join(all, ", ")
			})
		}
	}
	theGroup := func(s *sides) string { return s.group }
	mapping := func(id func(*sides) string, on *bool) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			if on != nil {
				_, err := s.lambda.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: aws.String(id(s)), Enabled: on})
				return code(err)
			}
			out, err := s.lambda.GetEventSourceMapping(ctx, &lambda.GetEventSourceMappingInput{UUID: aws.String(id(s))})
			return or(out, err, func(o *lambda.GetEventSourceMappingOutput) string { return fmt.Sprint(*o.UUID == s.mapping) })
		}
	}
	theMapping := func(s *sides) string { return s.mapping }
	noMapping := func(*sides) string { return "00000000-0000-0000-0000-000000000000" }
	return []step{
		{"asg an instance is protected from scale-in", protect(true)}, {"asg and is no more", protect(false)},
		{"asg an instance that is not there is protected", func(ctx context.Context, s *sides) string {
			_, err := s.asg.SetInstanceProtection(ctx, &autoscaling.SetInstanceProtectionInput{AutoScalingGroupName: group, InstanceIds: []string{"i-0123456789abcdef0"}, ProtectedFromScaleIn: aws.Bool(true)})
			return code(err)
		}},
		{"asg a minimum above the maximum", size("queue", autoscaling.UpdateAutoScalingGroupInput{MinSize: aws.Int32(9)})},
		{"asg desired below the minimum", size("queue", autoscaling.UpdateAutoScalingGroupInput{MinSize: aws.Int32(2), DesiredCapacity: aws.Int32(1)})},
		{"asg a higher minimum lifts what is desired", size("queue", autoscaling.UpdateAutoScalingGroupInput{MinSize: aws.Int32(3)})},
		{"asg a lower minimum leaves it", size("queue", autoscaling.UpdateAutoScalingGroupInput{MinSize: aws.Int32(1)})},
		{"asg as at the beginning", size("queue", autoscaling.UpdateAutoScalingGroupInput{MinSize: aws.Int32(1), DesiredCapacity: aws.Int32(2)})},
		{"asg UpdateAutoScalingGroup of one that is not there", size("none", autoscaling.UpdateAutoScalingGroupInput{MinSize: aws.Int32(1)})},
		{"asg a process that there is none", func(ctx context.Context, s *sides) string {
			_, err := s.asg.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: group, ScalingProcesses: []string{"Lunch"}})
			return code(err)
		}},
		{"asg a process that there is none resumed", func(ctx context.Context, s *sides) string {
			_, err := s.asg.ResumeProcesses(ctx, &autoscaling.ResumeProcessesInput{AutoScalingGroupName: group, ScalingProcesses: []string{"Lunch"}})
			return code(err)
		}},
		{"asg SuspendProcesses of one that is not there", func(ctx context.Context, s *sides) string {
			_, err := s.asg.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: aws.String("none"), ScalingProcesses: []string{"Launch"}})
			return code(err)
		}},
		{"asg a group without a warm pool", func(ctx context.Context, s *sides) string {
			out, err := s.asg.DescribeWarmPool(ctx, &autoscaling.DescribeWarmPoolInput{AutoScalingGroupName: group})
			return or(out, err, func(o *autoscaling.DescribeWarmPoolOutput) string { return fmt.Sprint(len(o.Instances)) })
		}},
		{"elb a target group", func(ctx context.Context, s *sides) string {
			out, err := s.elb.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{"web"}})
			return or(out, err, func(o *elb.DescribeTargetGroupsOutput) string {
				g := o.TargetGroups[0]
				s.group = *g.TargetGroupArn
				return fmt.Sprint(*g.TargetGroupName, " ", g.Protocol, " ", *g.Port, " ", g.TargetType)
			})
		}},
		{"elb a target group that is not there", func(ctx context.Context, s *sides) string {
			_, err := s.elb.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{"none"}})
			return code(err)
		}},
		{"elb targets of a group that no load balancer uses", health(theGroup)},
		{"elb a target that is not registered", health(theGroup, elbtypes.TargetDescription{Id: aws.String("198.18.3.99"), Port: aws.Int32(80)})},
		{"elb targets of a group that is not there", health(func(s *sides) string { return s.group + "0" })},
		{"lambda a mapping by its ID", mapping(theMapping, nil)}, {"lambda a mapping that is not there", mapping(noMapping, nil)},
		{"lambda turned on", mapping(theMapping, aws.Bool(true))}, {"lambda turned on what is not there", mapping(noMapping, aws.Bool(true))},
		{"lambda mappings of a function that is not there", func(ctx context.Context, s *sides) string {
			out, err := s.lambda.ListEventSourceMappings(ctx, &lambda.ListEventSourceMappingsInput{FunctionName: aws.String("none")})
			return or(out, err, func(o *lambda.ListEventSourceMappingsOutput) string { return fmt.Sprint(len(o.EventSourceMappings)) })
		}},
		{"service quotas one that is not there", func(ctx context.Context, s *sides) string {
			_, err := s.quotas.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String("vpc"), QuotaCode: aws.String("L-00000000")})
			return code(err)
		}},
	}
}

// setUpGroups makes in moto what those look at.
func setUpGroups(ctx context.Context, s *sides) error {
	vpc, err := s.ec2.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("198.18.3.0/24")})
	if err != nil {
		return err
	}
	g, err := s.elb.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{Name: aws.String("web"), Protocol: elbtypes.ProtocolEnumHttp, Port: aws.Int32(80), TargetType: elbtypes.TargetTypeEnumIp, VpcId: vpc.Vpc.VpcId})
	if err != nil {
		return err
	}
	_, err1 := s.elb.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: g.TargetGroups[0].TargetGroupArn, Targets: []elbtypes.TargetDescription{{Id: aws.String("198.18.3.10"), Port: aws.Int32(80)}}})
	return errors.Join(slices.Concat([]error{err1}, setUpClocks(ctx, s))...)
}
