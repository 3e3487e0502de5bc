package awsfake

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
)

type ecsInput struct {
	Cluster, Service, ServiceName, TaskDefinition, Task, Reason, DesiredStatus, Family, ClusterName string
	DesiredCount                                                                                    *int
	Services, Tasks, Clusters                                                                       []string
	Force                                                                                           bool
	ContainerDefinitions                                                                            []struct {
		Name        string
		Command     []string
		StopTimeout int // seconds
		Environment []struct{ Name, Value string }
		Image       string
		Secrets     []struct{ Name, ValueFrom string }
	}
}

// call runs one operation.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Operations.html
func (e *ECS) call(op string, body []byte) (any, error) {
	var in ecsInput
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, badRequest("SerializationException", "%v", err)
	}
	cluster := short(in.Cluster)
	if cluster == "" {
		cluster = "default"
	}
	switch op {
	case "RegisterTaskDefinition":
		return e.registerTaskDefinition(in)
	case "CreateCluster":
		e.mu.Lock()
		defer e.mu.Unlock()
		e.clusters[in.ClusterName] = true
		return map[string]any{"cluster": e.cluster(in.ClusterName)}, nil
	case "DescribeClusters":
		return e.describeClusters(in), nil
	case "DescribeTaskDefinition":
		e.mu.Lock()
		defer e.mu.Unlock()
		d := e.findDef(in.TaskDefinition)
		if d == nil {
			return nil, badRequest("ClientException", "Unable to describe task definition.")
		}
		return map[string]any{"taskDefinition": e.renderDef(d)}, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.clusters[cluster] {
		return nil, badRequest("ClusterNotFoundException", "Cluster not found.")
	}
	switch op {
	case "CreateService":
		return e.createService(cluster, in)
	case "UpdateService":
		return e.updateService(cluster, in)
	case "DeleteService":
		s := e.services[cluster+"/"+short(in.Service)]
		if s == nil {
			return nil, badRequest("ServiceNotFoundException", "Service not found.")
		}
		if s.desired > 0 && !in.Force {
			return nil, badRequest("InvalidParameterException", "The service cannot be stopped while it is scaled above 0.")
		}
		s.desired, s.inactive = 0, true
		return map[string]any{"service": e.render(s)}, nil
	case "DescribeServices":
		return e.describeServices(cluster, in), nil
	case "ListServices":
		arns := []string{}
		for _, s := range e.services {
			if s.cluster == cluster && !s.inactive {
				arns = append(arns, e.arn("service", cluster, s.name))
			}
		}
		sort.Strings(arns)
		return map[string]any{"serviceArns": arns}, nil
	case "ListTasks":
		return e.listTasks(cluster, in)
	case "DescribeTasks":
		return e.describeTasks(cluster, in), nil
	case "StopTask":
		t := e.tasks[short(in.Task)]
		if t == nil || t.service.cluster != cluster {
			return nil, badRequest("InvalidParameterException", "The referenced task was not found.")
		}
		t.askStop("UserInitiated", in.Reason)
		return map[string]any{"task": e.renderTask(t)}, nil
	}
	return nil, badRequest("UnsupportedFeatureException", "%s is not simulated", op)
}

func (e *ECS) arn(kind, cluster, name string) string {
	return fmt.Sprintf("arn:aws:ecs:%s:%s:%s/%s/%s", e.opt.Region, AccountID, kind, cluster, name)
}

func (e *ECS) clusterARN(name string) string {
	return fmt.Sprintf("arn:aws:ecs:%s:%s:cluster/%s", e.opt.Region, AccountID, name)
}

func (e *ECS) cluster(name string) map[string]any {
	return map[string]any{"clusterArn": e.clusterARN(name), "clusterName": name, "status": "ACTIVE"}
}

func (e *ECS) describeClusters(in ecsInput) any {
	e.mu.Lock()
	defer e.mu.Unlock()
	found, failures := []any{}, []any{}
	for _, ref := range in.Clusters {
		if n := short(ref); e.clusters[n] {
			found = append(found, e.cluster(n))
		} else {
			failures = append(failures, map[string]string{"arn": e.clusterARN(n), "reason": "MISSING"})
		}
	}
	return map[string]any{"clusters": found, "failures": failures}
}

func (e *ECS) registerTaskDefinition(in ecsInput) (any, error) {
	if in.Family == "" || len(in.ContainerDefinitions) != 1 {
		return nil, badRequest("ClientException", "Family and exactly one container definition are required here.")
	}
	c := in.ContainerDefinitions[0]
	d := TaskDef{Family: in.Family, Command: c.Command, StopTimeout: time.Duration(c.StopTimeout) * time.Second, Env: map[string]string{}, Image: c.Image, Secrets: map[string]string{}}
	for _, kv := range c.Environment {
		d.Env[kv.Name] = kv.Value
	}
	for _, s := range c.Secrets {
		d.Secrets[s.Name] = s.ValueFrom
	}
	return map[string]any{"taskDefinition": e.renderDef(e.Register(d))}, nil
}

// renderDef is a task definition, whose one container has the name of its family.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskDefinition.html
func (e *ECS) renderDef(d *TaskDef) map[string]any {
	secrets := []any{}
	for _, name := range slices.Sorted(maps.Keys(d.Secrets)) {
		secrets = append(secrets, map[string]string{"name": name, "valueFrom": d.Secrets[name]})
	}
	return map[string]any{"taskDefinitionArn": d.arn(e.opt.Region), "family": d.Family, "revision": d.Revision, "status": "ACTIVE", "networkMode": "awsvpc",
		"containerDefinitions": []any{map[string]any{"name": d.Family, "image": d.Image, "command": d.Command, "secrets": secrets}}}
}

func (e *ECS) createService(cluster string, in ecsInput) (any, error) {
	d := e.findDef(in.TaskDefinition)
	if d == nil {
		return nil, badRequest("ClientException", "TaskDefinition not found.")
	}
	if s := e.services[cluster+"/"+in.ServiceName]; s != nil && !s.inactive {
		return nil, badRequest("InvalidParameterException", "Creation of service was not idempotent.")
	}
	s := &service{name: in.ServiceName, cluster: cluster, def: d, created: time.Now()}
	if in.DesiredCount != nil {
		s.desired = *in.DesiredCount
	}
	e.services[cluster+"/"+s.name] = s
	e.sample()
	return map[string]any{"service": e.render(s)}, nil
}

// updateService changes what is wanted; the scheduler acts on it later. A 200 says nothing about tasks.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
func (e *ECS) updateService(cluster string, in ecsInput) (any, error) {
	s := e.services[cluster+"/"+short(in.Service)]
	switch {
	case s == nil:
		return nil, badRequest("ServiceNotFoundException", "Service not found.")
	case s.inactive:
		return nil, badRequest("ServiceNotActiveException", "Service was not ACTIVE.")
	case in.DesiredCount != nil && *in.DesiredCount < 0:
		return nil, badRequest("InvalidParameterException", "desiredCount must be at least 0.")
	}
	if in.TaskDefinition != "" {
		d := e.findDef(in.TaskDefinition)
		if d == nil {
			return nil, badRequest("ClientException", "TaskDefinition not found.")
		}
		s.def = d // running tasks are left alone: rolling deployments are not simulated
	}
	if in.DesiredCount != nil {
		s.desired = *in.DesiredCount
	}
	return map[string]any{"service": e.render(s)}, nil
}

// describeServices reports unknown services as failures with reason MISSING, not as an error:
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
func (e *ECS) describeServices(cluster string, in ecsInput) any {
	e.sample()
	found, failures := []any{}, []any{}
	for _, ref := range in.Services {
		if s := e.services[cluster+"/"+short(ref)]; s != nil {
			found = append(found, e.render(s))
		} else {
			failures = append(failures, map[string]string{"arn": e.arn("service", cluster, short(ref)), "reason": "MISSING"})
		}
	}
	return map[string]any{"services": found, "failures": failures}
}

// render shows a service with the counts of a moment ago.
func (e *ECS) render(s *service) map[string]any {
	var c counts
	if len(s.history) > 0 {
		c = s.history[0]
	}
	status, rollout := "ACTIVE", "COMPLETED"
	if s.inactive {
		status = "INACTIVE"
	}
	if c.running != s.desired || c.pending > 0 {
		rollout = "IN_PROGRESS"
	}
	out := map[string]any{
		"serviceArn": e.arn("service", s.cluster, s.name), "serviceName": s.name, "clusterArn": e.clusterARN(s.cluster), "status": status,
		"desiredCount": s.desired, "runningCount": c.running, "pendingCount": c.pending, "taskDefinition": s.def.arn(e.opt.Region),
		"launchType": "FARGATE", "schedulingStrategy": "REPLICA", "createdAt": epochSeconds(s.created), "events": s.events,
		"deployments": []any{map[string]any{"id": "ecs-svc/1", "status": "PRIMARY", "taskDefinition": s.def.arn(e.opt.Region),
			"desiredCount": s.desired, "runningCount": c.running, "pendingCount": c.pending, "rolloutState": rollout,
			"createdAt": epochSeconds(s.created), "updatedAt": epochSeconds(s.created)}},
	}
	if e.opt.Subnets != nil {
		out["networkConfiguration"] = map[string]any{"awsvpcConfiguration": map[string]any{"subnets": e.opt.Subnets, "assignPublicIp": "DISABLED"}}
	}
	return out
}

// listTasks filters by the *desired* status, as AWS does: a task that is being stopped counts as STOPPED although its
// process may still run. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html
func (e *ECS) listTasks(cluster string, in ecsInput) (any, error) {
	if in.ServiceName != "" && e.services[cluster+"/"+short(in.ServiceName)] == nil {
		return nil, badRequest("ServiceNotFoundException", "Service not found.")
	}
	want := in.DesiredStatus
	if want == "" {
		want = "RUNNING"
	}
	arns := []string{}
	for _, t := range e.tasks {
		if t.service.cluster != cluster || in.ServiceName != "" && t.service.name != short(in.ServiceName) ||
			in.Family != "" && t.def.Family != in.Family || t.desired() != want {
			continue
		}
		arns = append(arns, e.arn("task", cluster, t.id))
	}
	sort.Strings(arns)
	return map[string]any{"taskArns": arns}, nil
}

func (e *ECS) describeTasks(cluster string, in ecsInput) any {
	found, failures := []any{}, []any{}
	for _, ref := range in.Tasks {
		if t := e.tasks[short(ref)]; t != nil && t.service.cluster == cluster {
			found = append(found, e.renderTask(t))
		} else {
			failures = append(failures, map[string]string{"arn": e.arn("task", cluster, short(ref)), "reason": "MISSING"})
		}
	}
	return map[string]any{"tasks": found, "failures": failures}
}

func (t *task) desired() string {
	if t.stopAsked || t.state == Stopped {
		return "STOPPED"
	}
	return "RUNNING"
}

func (e *ECS) renderTask(t *task) map[string]any {
	container := map[string]any{"name": t.def.Family, "lastStatus": t.state, "taskArn": e.arn("task", t.service.cluster, t.id)}
	out := map[string]any{
		"taskArn": e.arn("task", t.service.cluster, t.id), "clusterArn": e.clusterARN(t.service.cluster), "group": "service:" + t.service.name,
		"taskDefinitionArn": t.def.arn(e.opt.Region), "lastStatus": t.state, "desiredStatus": t.desired(), "healthStatus": e.health(t), "launchType": "FARGATE",
		"createdAt": epochSeconds(t.created), "containers": []any{container}, "startedBy": "ecs-svc/1",
		"attachments": []any{map[string]any{"type": "ElasticNetworkInterface", "status": "ATTACHED",
			"details": []any{map[string]string{"name": "privateIPv4Address", "value": t.ip}}}},
	}
	if !t.started.IsZero() {
		out["startedAt"] = epochSeconds(t.started)
	}
	if t.code != "" {
		out["stopCode"], out["stoppedReason"] = t.code, t.reason
	}
	if t.state == Stopped {
		out["stoppedAt"] = epochSeconds(t.stopped)
	}
	if t.exit != nil {
		container["exitCode"] = *t.exit
	}
	return out
}

// scaling is Application Auto Scaling, for ECS services.
// https://docs.aws.amazon.com/autoscaling/application/APIReference/API_RegisterScalableTarget.html
func (e *ECS) scaling(op string, body []byte) (any, error) {
	var in struct {
		ResourceID               string   `json:"ResourceId"`
		ResourceIDs              []string `json:"ResourceIds"`
		MinCapacity, MaxCapacity *int
		SuspendedState           *struct{ DynamicScalingInSuspended, DynamicScalingOutSuspended, ScheduledScalingSuspended *bool }
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, badRequest("ValidationException", "%v", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch op {
	case "DescribeScalableTargets":
		list := []any{}
		for _, s := range e.services {
			id := "service/" + s.cluster + "/" + s.name
			if s.scale != nil && (len(in.ResourceIDs) == 0 || slices.Contains(in.ResourceIDs, id)) {
				list = append(list, map[string]any{"ResourceId": id, "ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount",
					"MinCapacity": s.scale.Min, "MaxCapacity": s.scale.Max, "SuspendedState": map[string]bool{"DynamicScalingInSuspended": s.scale.In,
						"DynamicScalingOutSuspended": s.scale.Out, "ScheduledScalingSuspended": s.scale.Scheduled}})
			}
		}
		return map[string]any{"ScalableTargets": list}, nil
	case "RegisterScalableTarget":
		s := e.services[strings.TrimPrefix(in.ResourceID, "service/")]
		if s == nil {
			return nil, badRequest("ValidationException", "ECS service doesn't exist: %s", in.ResourceID)
		}
		if s.scale == nil {
			s.scale = &Scale{}
		}
		next := *s.scale
		for from, to := range map[*int]*int{in.MinCapacity: &next.Min, in.MaxCapacity: &next.Max} {
			if from != nil {
				*to = *from
			}
		}
		if next.Min > next.Max {
			return nil, badRequest("ValidationException", "Maximum capacity cannot be less than minimum capacity")
		}
		if p := in.SuspendedState; p != nil {
			for from, to := range map[*bool]*bool{p.DynamicScalingInSuspended: &next.In, p.DynamicScalingOutSuspended: &next.Out, p.ScheduledScalingSuspended: &next.Scheduled} {
				if from != nil {
					*to = *from
				}
			}
		}
		s.scale = &next
		return map[string]string{"ScalableTargetARN": "arn:aws:application-autoscaling:" + e.opt.Region + ":" + AccountID + ":scalable-target/" + s.name}, nil
	}
	return nil, badRequest("UnknownOperationException", "%s is not simulated", op)
}
