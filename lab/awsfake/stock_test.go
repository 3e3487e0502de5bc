package awsfake

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/probes"
)

// stocked is a region in which everything can be launched: one service of one task, one group of one instance.
func stocked(t *testing.T, region string, used float64) (*Server, string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	minute := time.Second
	usage := UsageMetric("EC2", "vCPU", "Standard/OnDemand")
	s := &Server{Region: region, Faults: faults.NewSet(1), Log: slog.New(slog.DiscardHandler),
		ECS: NewECS(ctx, ECSOptions{Region: region, Dir: t.TempDir(), IPs: []string{"127.0.0.1"}, Subnets: []string{"subnet-a"}, Log: slog.New(slog.DiscardHandler)}),
		ASG: NewAutoScaling(ASGOptions{Region: region, Groups: []ASGroup{{Name: "queue", Max: 2, Zones: []string{region + "a"}, Subnets: []string{"subnet-a"}, Template: "lt-1"}}}),
		EC2: NewEC2(EC2Options{Subnets: []Subnet{{ID: "subnet-a", Zone: region + "a", Free: 3}}, Templates: []string{"lt-1"},
			ACLs: []NetworkACL{{"acl-open", "vpc-3", true}, {"acl-deny", "vpc-3", false}}}),
		Stock: &Stock{Region: region, Images: map[string]string{"web:1": "sha256:aa"}, Secrets: []string{"db"},
			Quotas: []Quota{{Service: "ec2", Code: "L-1216C47A", Name: "Standard", Value: 16, Raised: true, Usage: usage}, {Service: "fargate", Code: "L-3032A538", Name: "Fargate", Value: 6}}},
		Metrics: NewCloudWatch(CloudWatchOptions{Minute: minute, Sources: []func() []Point{func() []Point { return []Point{{usage, used}} }}}),
	}
	s.ECS.Create("prod", "web", s.ECS.Register(TaskDef{Family: "web", Command: []string{"sleep", "1"}, Image: ImageName(region, "web:1"), Secrets: map[string]string{"DB": SecretARN(region, "db") + ":password::"}}), 0)
	url := serve(t, s, s.Metrics.Run)
	t.Cleanup(cancel)
	return s, *url
}

// failoverd's own check, through the real clients, finds nothing that lacks, and each thing that does.
func TestCapacityCheck(t *testing.T) {
	here, url2 := stocked(t, "us-east-2", 2)
	there, url1 := stocked(t, "us-east-1", 12)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	clients, err := cloud.Open(t.Context(), cloud.Options{Endpoints: map[string]string{"us-east-1": url1, "us-east-2": url2}})
	if err != nil {
		t.Fatal(err)
	}
	c := &probes.CapacityCheckConfig{CapacityConfig: probes.CapacityConfig{Cluster: "prod", Tasks: map[string]int{"web": 2}, Groups: []probes.CapacityGroup{{Name: "queue", Count: 1}},
		Quotas: map[string]float64{"ec2/L-1216C47A": 0, "fargate/L-3032A538": 4}, DryRun: true}}
	check, err := c.NewCheck(probes.Deps{Region: "us-east-2", Regions: []failover.Region{"us-east-1", "us-east-2"}, Cloud: clients, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	says := func(status probes.Status, want string) {
		t.Helper()
		if f := check.Check(t.Context()); f.Status != status || !strings.Contains(f.Detail, want) {
			t.Errorf("%s %q, want %s with %q", f.Status, f.Detail, status, want)
		}
	}
	eventually(t, "the use of both regions", func() bool {
		return len(there.Metrics.read(UsageMetric("EC2", "vCPU", "Standard/OnDemand"), time.Now().Add(-time.Minute), time.Now(), time.Now())) > 0
	})
	says(probes.Pass, "nothing that is looked at lacks in us-east-2: ")
	says(probes.Pass, "an instance of group queue in subnet-a may be asked for")
	says(probes.Pass, "3 free addresses for 3 that are needed")
	says(probes.Pass, "quota ec2/L-1216C47A (Standard) of 16, quota fargate/L-3032A538 (Fargate) of 6")
	for _, tt := range []struct {
		fault  faults.Fault
		status probes.Status
		want   string
	}{
		{faults.Fault{Service: "ecr", Mode: faults.Throttle}, probes.Unknown, "DescribeImages was answered with ThrottlingException"},
		{faults.Fault{Service: "secretsmanager", Mode: faults.Auth}, probes.Unknown, "DescribeSecret was answered with AccessDeniedException"},
		{faults.Fault{Service: "servicequotas", Mode: faults.Error}, probes.Unknown, "Service Quotas was answered with InternalFailure"},
		{faults.Fault{Service: "ec2", Op: "RunInstances", Mode: faults.Throttle}, probes.Unknown, "RequestLimitExceeded"},
		{faults.Fault{Service: "ec2", Op: "RunInstances", Mode: faults.Error, Code: "InvalidAMIID.NotFound", Status: 400}, probes.Fail, "InvalidAMIID.NotFound"},
	} {
		here.Faults.Add(tt.fault)
		says(tt.status, tt.want)
		here.Faults.Clear()
	}
	here.Stock.Images = map[string]string{"web:2": "sha256:bb"}
	says(probes.Fail, "DescribeImages was answered with ImageNotFoundException")
	here.Stock.Images = map[string]string{"other:1": "sha256:bb"}
	says(probes.Fail, "DescribeImages was answered with RepositoryNotFoundException")
	here.Stock.Images = map[string]string{"web:1": "sha256:bb"}
	says(probes.Pass, "the image of web/web in us-east-2 is sha256:bb, and us-east-1 has sha256:aa")
	here.Stock.Images, here.Stock.Secrets = there.Stock.Images, nil
	says(probes.Fail, "DescribeSecret was answered with ResourceNotFoundException")
	here.Stock.Secrets, here.Stock.Quotas[0].Value = there.Stock.Secrets, 8
	says(probes.Fail, "is 8 in us-east-2, and us-east-1 uses 12")
	here.Stock.Quotas[0].Value = 13
	says(probes.Pass, "is 13 in us-east-2, where 2 are used, and us-east-1 uses 12")
	here.Stock.Quotas[0].Value = 16
	here.EC2.opt.Subnets[0].Free = 2
	says(probes.Fail, "2 addresses are free in subnet-a in us-east-2, and 3 are needed for all")
	here.EC2.opt.Subnets[0].ID = "subnet-b"
	says(probes.Fail, "InvalidSubnetID.NotFound")
	here.EC2.opt.Subnets[0], here.EC2.opt.Templates = Subnet{ID: "subnet-a", Zone: "us-east-2a", Free: 3}, nil
	says(probes.Fail, "InvalidLaunchTemplateId.NotFound")
	there.Faults.Add(faults.Fault{Service: "*", Mode: faults.Refuse})
	here.EC2.opt.Templates = []string{"lt-1"}
	says(probes.Pass, "images could not be compared (us-east-1 did not tell")
}

// Errors that the check tells apart by their codes.
func TestStock(t *testing.T) {
	_, url := stocked(t, "us-east-2", 0)
	u, region, ctx := &url, "us-east-2", t.Context()
	images := ecr.New(ecr.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1})
	for _, id := range []ecrtypes.ImageIdentifier{{ImageTag: aws.String("1")}, {ImageDigest: aws.String("sha256:aa")}} {
		out, err := images.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: aws.String("web"), ImageIds: []ecrtypes.ImageIdentifier{id}})
		if err != nil || len(out.ImageDetails) != 1 || *out.ImageDetails[0].ImageDigest != "sha256:aa" {
			t.Errorf("%+v, %v", out, err)
		}
	}
	_, err := images.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: aws.String("web"), RegistryId: aws.String("999999999999"), ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: aws.String("1")}}})
	wantCode(t, err, "RepositoryNotFoundException")
	secrets := secretsmanager.New(secretsmanager.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1})
	_, err = secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String(SecretARN("us-east-1", "db"))})
	wantCode(t, err, "ResourceNotFoundException")
	quotas := servicequotas.New(servicequotas.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1})
	_, err = quotas.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String("fargate"), QuotaCode: aws.String("L-3032A538")})
	wantCode(t, err, "NoSuchResourceException")
	launches := ec2.New(ec2.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1})
	_, err = launches.RunInstances(ctx, &ec2.RunInstancesInput{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), LaunchTemplate: &ec2types.LaunchTemplateSpecification{LaunchTemplateId: aws.String("lt-1")}})
	wantCode(t, err, "UnsupportedOperation")
}
