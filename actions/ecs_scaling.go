package actions

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/applicationautoscaling"
	scaling "github.com/aws/aws-sdk-go-v2/service/applicationautoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// This file holds an ECS service's autoscaler (Application Auto Scaling): it sets
// the desired count back to its minimum, whoever changed it.

// ecsScale is a scalable target.
type ecsScale struct {
	Min int32 `json:"min"`
	Max int32 `json:"max"`
	// In, Out and Scheduled are what is suspended.
	In        bool `json:"in,omitempty"`
	Out       bool `json:"out,omitempty"`
	Scheduled bool `json:"scheduled,omitempty"`
}

func (t *ecsScale) String() string {
	return fmt.Sprintf("min %d, max %d, suspended: in %t, out %t, scheduled %t", t.Min, t.Max, t.In, t.Out, t.Scheduled)
}

// wakes reports whether it would start tasks by itself. A nil target does not.
func (t *ecsScale) wakes() bool { return t != nil && (t.Min > 0 || !t.Out || !t.Scheduled) }

// asleep is the target at rest.
func (t ecsScale) asleep() ecsScale {
	return ecsScale{Min: 0, Max: t.Max, In: true, Out: true, Scheduled: true}
}

// awake is the target at work, with room for count.
func (t ecsScale) awake(count int32) ecsScale {
	return ecsScale{Min: max(t.Min, count), Max: max(t.Max, count)}
}

func (s *ecsService) resource() *string {
	return aws.String("service/" + s.cfg.Cluster + "/" + s.cfg.Service)
}

// scalerPatience bounds the look at the autoscaler: it must not use up the time of
// the looks that prove something.
const scalerPatience = 2 * time.Second

// scaling reads the target; nil if there is none.
func (s *ecsService) scaling(ctx context.Context) (*ecsScale, error) {
	ctx, cancel := context.WithTimeout(ctx, scalerPatience)
	defer cancel()
	out, err := s.scaler.DescribeScalableTargets(ctx, &applicationautoscaling.DescribeScalableTargetsInput{
		ServiceNamespace: scaling.ServiceNamespaceEcs, ResourceIds: []string{*s.resource()}, ScalableDimension: scaling.ScalableDimensionECSServiceDesiredCount,
	})
	if err != nil {
		return nil, fmt.Errorf("describing the autoscaler of service %s in %s: %w", s.cfg.Service, s.region, err)
	}
	if len(out.ScalableTargets) == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	t := out.ScalableTargets[0]
	e := &ecsScale{Min: aws.ToInt32(t.MinCapacity), Max: aws.ToInt32(t.MaxCapacity)}
	if p := t.SuspendedState; p != nil {
		e.In, e.Out, e.Scheduled = aws.ToBool(p.DynamicScalingInSuspended), aws.ToBool(p.DynamicScalingOutSuspended), aws.ToBool(p.ScheduledScalingSuspended)
	}
	return e, nil
}

// scale sets the target, all of it.
func (s *ecsService) scale(ctx context.Context, a Attempt, t ecsScale) error {
	a.Report("setting the autoscaler of %s in %s to %s", s.cfg.Service, s.region, &t)
	_, err := s.scaler.RegisterScalableTarget(ctx, &applicationautoscaling.RegisterScalableTargetInput{
		ServiceNamespace: scaling.ServiceNamespaceEcs, ResourceId: s.resource(), ScalableDimension: scaling.ScalableDimensionECSServiceDesiredCount,
		MinCapacity: &t.Min, MaxCapacity: &t.Max,
		SuspendedState: &scaling.SuspendedState{DynamicScalingInSuspended: &t.In, DynamicScalingOutSuspended: &t.Out, ScheduledScalingSuspended: &t.Scheduled},
	})
	if err != nil {
		return fmt.Errorf("setting the autoscaler of service %s in %s to %s: %w", s.cfg.Service, s.region, &t, err)
	}
	return nil
}

// disconnected says that a task's container instance is not connected, or "".
func (s *ecsService) disconnected(ctx context.Context, t types.Task) (string, error) {
	if t.ContainerInstanceArn == nil {
		return "", nil // Fargate
	}
	out, err := s.client.DescribeContainerInstances(ctx, &ecs.DescribeContainerInstancesInput{Cluster: &s.cfg.Cluster, ContainerInstances: []string{*t.ContainerInstanceArn}})
	if err != nil {
		return "", fmt.Errorf("describing container instance %s in %s: %w", *t.ContainerInstanceArn, s.region, err)
	}
	for _, i := range out.ContainerInstances {
		if !i.AgentConnected {
			return fmt.Sprintf("container instance %s is not connected to ECS: task %s runs on there, whatever ECS says", aws.ToString(i.ContainerInstanceArn), aws.ToString(t.TaskArn)), nil
		}
	}
	return "", nil
}
