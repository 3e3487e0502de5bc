package awsfake

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/failoverd/failoverd/lab/iam"
)

// Judgement is what IAM was asked for calls, and what it said. Equal questions are counted together.
type Judgement struct {
	iam.Request
	AccessKey string `json:"accessKey"`
	Role      string `json:"role,omitempty"` // "" for keys of no role
	Allowed   bool   `json:"allowed"`        // always, where there are no policies
	Calls     int    `json:"calls"`
}

// Judgements are all that IAM was ever asked here.
func (s *Server) Judgements() []Judgement {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Judgement{}
	for _, k := range slices.Sorted(maps.Keys(s.judged)) {
		out = append(out, *s.judged[k])
	}
	return out
}

// authorize asks IAM, and returns the refusal, if it is one. Who has no role is not judged: the world has callers of its own.
func (s *Server) authorize(q *request) *Error {
	for _, r := range s.questions(q) {
		allowed := s.Policies == nil || q.call.Role == "" || iam.Allows(s.Policies[q.call.Role], r)
		s.judge(q.call, r, allowed)
		if !allowed {
			return refused(q, r)
		}
	}
	return nil
}

func (s *Server) judge(c *Call, r iam.Request, allowed bool) {
	j := Judgement{Request: r, AccessKey: c.AccessKey, Role: c.Role, Allowed: allowed}
	b, err := json.Marshal(j)
	if err != nil {
		s.Log.Error("encode a question to IAM", "err", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.judged == nil {
		s.judged = map[string]*Judgement{}
	}
	if s.judged[string(b)] == nil {
		s.judged[string(b)] = &j
	}
	s.judged[string(b)].Calls++
}

// refused is IAM's no, as AWS words it.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
func refused(q *request, r iam.Request) *Error {
	e := denied(q.service)
	e.Message = fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action", q.call.identity(), r.Action, r.Resource, r.Action)
	if q.service == "ec2" {
		e.Message = "You are not authorized to perform this operation. " + e.Message + ". Encoded authorization failure message: " + id(16)
	}
	return e
}

// denied is the error of a service for who may not do what it asks for.
func denied(service string) *Error {
	switch service {
	case "ecs", "sqs", "events", "logs", "ecr", "secretsmanager", "servicequotas", "application-autoscaling": // JSON 1.0 and 1.1
		return &Error{Status: http.StatusBadRequest, Code: "AccessDeniedException"}
	case "lambda", "scheduler": // REST-JSON
		return &Error{Status: http.StatusForbidden, Code: "AccessDeniedException"}
	case "ec2": // https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
		return &Error{Status: http.StatusForbidden, Code: "UnauthorizedOperation"}
	}
	return &Error{Status: http.StatusForbidden, Code: "AccessDenied"}
}

// noResource are the actions for which IAM knows no resource: only "*" in a policy allows them. By service,
// https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
var noResource = []string{
	"application-autoscaling:DescribeScalableTargets",
	"autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeScalingActivities", "autoscaling:DescribeWarmPool",
	"cloudwatch:GetMetricData",
	"ec2:DescribeInstanceStatus", "ec2:DescribeInstances", "ec2:DescribeNetworkAcls", "ec2:DescribeSubnets", "ec2:DescribeVpcPeeringConnections",
	"ecs:DescribeTaskDefinition",
	"elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetHealth",
	"lambda:ListEventSourceMappings",
	"servicequotas:GetAWSDefaultServiceQuota", "servicequotas:GetServiceQuota",
}

// subject are the parameters of the JSON protocols that name a resource.
type subject struct {
	QueueName, QueueURL          string // SQS
	Cluster, Service             string // ECS
	Clusters, Services, Tasks    []string
	ContainerInstances           []string
	ResourceID, ServiceNamespace string // Application Auto Scaling
	Name, Rule, EventBusName     string // EventBridge
	GroupName                    string // Scheduler
	Target                       struct{ RoleArn string }
	LogGroupName, RepositoryName string
	SecretID                     string
}

// questions are what IAM is asked about a call. What is not known here is asked for no resource: only who may do
// everything may do it.
func (s *Server) questions(q *request) []iam.Request {
	action := q.service + ":" + strings.TrimSuffix(q.op, "Batch") // of SQS: they have no right of their own
	if slices.Contains(noResource, action) {
		return []iam.Request{{Action: action, Resource: iam.Any}}
	}
	var in subject
	_ = json.Unmarshal(q.body, &in) // another protocol has its parameters elsewhere
	switch {
	case q.service == "ecs":
		return s.askECS(action, in)
	case q.service == "s3" && s.S3 != nil:
		return s.askS3(q)
	case q.service == "ec2" && s.EC2 != nil:
		return s.EC2.questions(s, action, q.body)
	case q.service == "lambda" && s.Lambda != nil:
		return s.askLambda(q)
	case q.service == "route53":
		return askRoute53(q, action)
	case q.service == "sts": // who may take on a role is said by the role, and who one is by nobody
		return nil
	case q.service == "sqs":
		return one(action, s.arn("sqs", in.QueueName+in.QueueURL[strings.LastIndexByte(in.QueueURL, '/')+1:]))
	case action == "application-autoscaling:RegisterScalableTarget":
		// It also tries, in the caller's name, whether the caller could do that to the target itself.
		// https://docs.aws.amazon.com/autoscaling/application/userguide/security_iam_permission_validation.html
		// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/auto-scaling-IAM.html
		out := []iam.Request{{Action: action, Resource: s.arn("application-autoscaling", "scalable-target/0ec5"+in.ResourceID[strings.LastIndexByte(in.ResourceID, '/')+1:]),
			Keys: map[string][]string{"application-autoscaling:service-namespace": {in.ServiceNamespace}}}}
		for _, a := range []string{"ecs:DescribeServices", "ecs:UpdateService"} {
			out = append(out, iam.Request{Action: a, Resource: s.arn("ecs", in.ResourceID)})
		}
		return out
	case q.service == "autoscaling":
		// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2autoscaling.html
		return one(action, s.arn("autoscaling", "autoScalingGroup:5ae5b0c2-0000-4000-8000-000000000000:autoScalingGroupName/"+formValue(q.body, "AutoScalingGroupName")))
	case q.service == "events":
		// A rule of the default bus is named without it: list_amazoneventbridge.html
		name := in.Name + in.Rule
		if in.EventBusName != "" && in.EventBusName != "default" {
			name = in.EventBusName + "/" + name
		}
		return one(action, s.arn("events", "rule/"+name))
	case q.service == "scheduler":
		return s.askScheduler(q, action, in)
	case action == "cloudwatch:DescribeAlarms": // list_amazoncloudwatch.html; of composite ones only who may see all is told
		return one(action, s.arn("cloudwatch", "alarm:*"))
	case q.service == "logs": // list_amazoncloudwatchlogs.html; the group's ARN ends with ":*" in policies, which is for its streams
		return one(action, s.arn("logs", "log-group:"+in.LogGroupName+":log-stream:"))
	case q.service == "ecr":
		return one(action, s.arn("ecr", "repository/"+in.RepositoryName))
	case q.service == "secretsmanager":
		return one(action, s.secretARN(in.SecretID))
	}
	return one(action, iam.Any)
}

func one(action, resource string) []iam.Request {
	return []iam.Request{{Action: action, Resource: resource}}
}

func (s *Server) arn(service, rest string) string {
	return "arn:aws:" + service + ":" + s.Region + ":" + AccountID + ":" + rest
}

// secretARN is the ARN of a secret that is named by it or by its name.
func (s *Server) secretARN(named string) string {
	if strings.HasPrefix(named, "arn:") {
		return named
	}
	return SecretARN(s.Region, named)
}

// askECS: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
func (s *Server) askECS(action string, in subject) (out []iam.Request) {
	cluster := short(in.Cluster)
	if cluster == "" {
		cluster = "default"
	}
	keys := map[string][]string{"ecs:cluster": {s.arn("ecs", "cluster/"+cluster)}}
	add := func(kind string, names ...string) {
		for _, n := range names {
			out = append(out, iam.Request{Action: action, Resource: s.arn("ecs", kind+"/"+cluster+"/"+short(n)), Keys: keys})
		}
	}
	switch action {
	case "ecs:DescribeServices":
		add("service", in.Services...)
	case "ecs:UpdateService":
		add("service", in.Service)
	case "ecs:ListTasks": // its resource is a container instance, also where none is named
		add("container-instance", "*")
	case "ecs:DescribeTasks":
		add("task", in.Tasks...)
	case "ecs:DescribeContainerInstances":
		add("container-instance", in.ContainerInstances...)
	case "ecs:DescribeClusters": // "If you do not specify a cluster, the default cluster is assumed"
		if len(in.Clusters) == 0 {
			in.Clusters = []string{"default"}
		}
		for _, c := range in.Clusters {
			out = append(out, iam.Request{Action: action, Resource: s.arn("ecs", "cluster/"+short(c))})
		}
	default:
		return one(action, iam.Any)
	}
	return out
}

// askS3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
func (s *Server) askS3(q *request) []iam.Request {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/"), "/")
	object, list := "arn:aws:s3:::"+bucket+"/"+key, iam.Request{Action: "s3:ListBucket", Resource: "arn:aws:s3:::" + bucket}
	switch q.op {
	case "ListObjectsV2":
		if prefix := q.URL.Query().Get("prefix"); prefix != "" {
			list.Keys = map[string][]string{"s3:prefix": {prefix}}
		}
		return []iam.Request{list}
	case "GetObject", "HeadObject":
		out := one("s3:GetObject", object)
		// "If the object that you request doesn't exist, the error that Amazon S3 returns depends on whether you also have the
		// s3:ListBucket permission": https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
		if _, there := s.S3.Objects(bucket)[key]; !there {
			out = append(out, list)
		}
		return out
	case "PutObject":
		out := one("s3:PutObject", object)
		// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
		if q.Header.Get("If-Match") != "" {
			out = append(out, one("s3:GetObject", object)...)
		}
		return out
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html#mpuAndPermissions
	case "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload":
		return one("s3:PutObject", object)
	case "ListMultipartUploads":
		return one("s3:ListBucketMultipartUploads", list.Resource)
	}
	return one("s3:"+q.op, object)
}

// askLambda: https://docs.aws.amazon.com/lambda/latest/dg/lambda-api-permissions-ref.html
func (s *Server) askLambda(q *request) []iam.Request {
	_, path, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, lambdaPath), "/")
	name, _, _ := strings.Cut(path, "/")
	action := "lambda:" + q.op
	switch q.op {
	case "Invoke":
		return one("lambda:InvokeFunction", s.arn("lambda", "function:"+name))
	case "GetFunctionConfiguration":
		return one(action, s.arn("lambda", "function:"+name))
	case "GetEventSourceMapping", "UpdateEventSourceMapping":
		r := iam.Request{Action: action, Resource: s.arn("lambda", "event-source-mapping:"+name)}
		if f := s.Lambda.byMapping(name); f != "" {
			r.Keys = map[string][]string{"lambda:FunctionArn": {s.arn("lambda", "function:"+f)}}
		}
		return []iam.Request{r}
	}
	return one(action, iam.Any)
}

// askScheduler: who updates a schedule passes its role on.
// https://docs.aws.amazon.com/scheduler/latest/UserGuide/security_iam_id-based-policies.html
func (s *Server) askScheduler(q *request, action string, in subject) []iam.Request {
	group := in.GroupName + q.URL.Query().Get("groupName")
	if group == "" {
		group = "default"
	}
	out := one(action, s.arn("scheduler", "schedule/"+group+"/"+strings.TrimPrefix(q.URL.Path, schedulesPath)))
	if q.op == "UpdateSchedule" {
		out = append(out, iam.Request{Action: "iam:PassRole", Resource: in.Target.RoleArn, Keys: map[string][]string{"iam:PassedToService": {"scheduler.amazonaws.com"}}})
	}
	return out
}

// askRoute53: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonroute53.html
func askRoute53(q *request, action string) []iam.Request {
	parts := strings.Split(strings.Trim(strings.TrimPrefix(q.URL.Path, route53Path), "/"), "/")
	if len(parts) < 2 {
		return one(action, iam.Any)
	}
	r := iam.Request{Action: action, Resource: "arn:aws:route53:::" + parts[0] + "/" + parts[1]}
	if q.op == "ChangeResourceRecordSets" {
		// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/specifying-conditions-route53.html
		var in changeRequest
		_ = xml.Unmarshal(q.body, &in) // what is wrong with it the operation says
		const prefix = "route53:ChangeResourceRecordSets"
		r.Keys = map[string][]string{}
		for _, c := range in.Batch.Changes {
			for key, v := range map[string]string{"NormalizedRecordNames": strings.TrimSuffix(strings.ToLower(c.Set.Name), "."), "RecordTypes": c.Set.Type, "Actions": c.Action} {
				if !slices.Contains(r.Keys[prefix+key], v) {
					r.Keys[prefix+key] = append(r.Keys[prefix+key], v)
				}
			}
		}
	}
	return []iam.Request{r}
}

// questions: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
func (e *EC2) questions(s *Server, action string, body []byte) (out []iam.Request) {
	v, err := url.ParseQuery(string(body))
	if err != nil {
		return one(action, iam.Any)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch action {
	case "ec2:StartInstances", "ec2:StopInstances":
		all := e.all()
		for _, name := range numbered(v, "InstanceId") {
			r := iam.Request{Action: action, Resource: s.arn("ec2", "instance/"+name), Keys: map[string][]string{}}
			if i := slices.IndexFunc(all, func(i *ec2Instance) bool { return i.ID == name }); i >= 0 {
				for k, tag := range all[i].Tags {
					r.Keys["aws:ResourceTag/"+k] = []string{tag}
				}
			}
			out = append(out, r)
		}
		return out
	case "ec2:ReplaceNetworkAclAssociation":
		out = one(action, s.arn("ec2", "network-acl/"+v.Get("NetworkAclId")))
		for subnet, a := range e.assoc {
			if a.id == v.Get("AssociationId") {
				out = append(out, one(action, s.arn("ec2", "subnet/"+subnet))...)
			}
		}
		return out
	}
	return one(action, iam.Any)
}
