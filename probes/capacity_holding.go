package probes

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	quotatypes "github.com/aws/aws-sdk-go-v2/service/servicequotas/types"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// holding is what one of the two regions says of the same things, so that they can be
// compared.
type holding struct {
	deps   Deps
	region failover.Region

	mu       sync.Mutex
	services map[string]types.Service
	err      error                 // why there are no services
	defs     map[string]definition // by service
	images   map[string]image      // by service/container
	quotas   map[string]quota      // by service code/quota code
}

type definition struct {
	*types.TaskDefinition
	err error
}

type image struct {
	reference
	written string // in the task definition
	digest  string // by the registry; "" unless it was asked and had it
	err     error
}

// quota is one of a region's quotas, and what is used of it.
type quota struct {
	name  string
	value float64
	used  float64
	// measured says that used is known: AWS measures the use of some quotas only.
	measured bool
	err      error
}

func (p *capacity) holding(r failover.Region) *holding {
	return &holding{deps: p.deps, region: r, services: map[string]types.Service{}, defs: map[string]definition{}, images: map[string]image{}, quotas: map[string]quota{}}
}

// read asks a region for all of it.
func (s *holding) read(ctx context.Context, c *CapacityConfig) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for key := range c.Quotas {
		wg.Go(func() {
			q := s.quota(ctx, key)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.quotas[key] = q
		})
	}
	client := s.deps.Cloud.ECS(string(s.region))
	for names := range slices.Chunk(slices.Sorted(maps.Keys(c.Tasks)), 10) { // as many as one call takes
		out, err := client.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: &c.Cluster, Services: names}, onceECS)
		if err != nil {
			s.err = err
			return
		}
		for _, svc := range out.Services {
			s.services[aws.ToString(svc.ServiceName)] = svc
		}
	}
	for name, svc := range s.services {
		wg.Go(func() {
			out, err := client.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: svc.TaskDefinition}, onceECS)
			if err == nil && out.TaskDefinition == nil {
				err = errors.New("the answer holds no task definition")
			}
			d := definition{err: err}
			if err == nil {
				d.TaskDefinition = out.TaskDefinition
			}
			s.mu.Lock()
			s.defs[name] = d
			s.mu.Unlock()
			if err != nil {
				return
			}
			for _, c := range d.ContainerDefinitions {
				img := s.image(ctx, aws.ToString(c.Image))
				s.mu.Lock()
				s.images[name+"/"+aws.ToString(c.Name)] = img
				s.mu.Unlock()
			}
		})
	}
}

// reference is an image in a private registry of ECR.
type reference struct{ account, region, repository, tag, digest string }

var ecrImage = regexp.MustCompile(`^(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com|amazonaws\.com\.cn|on\.aws)/([^:@]+)(?::([^@]+))?(?:@(sha256:[0-9a-f]+))?$`)

func referenceOf(written string) reference {
	m := ecrImage.FindStringSubmatch(written)
	if m == nil {
		return reference{}
	}
	return reference{m[1], m[2], m[3], m[4], m[5]}
}

// image asks the region's own registry for an image. One that lies elsewhere is not
// asked for.
func (s *holding) image(ctx context.Context, written string) image {
	i := image{reference: referenceOf(written), written: written}
	if i.region != string(s.region) {
		return i
	}
	of := ecrtypes.ImageIdentifier{ImageDigest: &i.reference.digest}
	if i.reference.digest == "" {
		of = ecrtypes.ImageIdentifier{ImageTag: aws.String(cmp.Or(i.tag, "latest"))}
	}
	out, err := s.deps.Cloud.ECR(i.region).DescribeImages(ctx, &ecr.DescribeImagesInput{RegistryId: &i.account, RepositoryName: &i.repository, ImageIds: []ecrtypes.ImageIdentifier{of}},
		func(o *ecr.Options) { o.RetryMaxAttempts = 1 })
	switch {
	case err != nil:
		i.err = err
	case len(out.ImageDetails) != 1:
		i.err = errors.New("the answer holds no image")
	default:
		i.digest = aws.ToString(out.ImageDetails[0].ImageDigest)
	}
	return i
}

// quota asks for a quota's value that applies to this account, or if none was ever set,
// for AWS's default, and for what is used of it.
// https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html
func (s *holding) quota(ctx context.Context, key string) quota {
	service, code, _ := strings.Cut(key, "/")
	client := s.deps.Cloud.ServiceQuotas(string(s.region))
	once := func(o *servicequotas.Options) { o.RetryMaxAttempts = 1 }
	var is *quotatypes.ServiceQuota
	out, err := client.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: &service, QuotaCode: &code}, once)
	switch {
	case err == nil:
		is = out.Quota
	case cloud.ErrorCode(err) == "NoSuchResourceException":
		def, err := client.GetAWSDefaultServiceQuota(ctx, &servicequotas.GetAWSDefaultServiceQuotaInput{ServiceCode: &service, QuotaCode: &code}, once)
		if err != nil {
			return quota{err: err}
		}
		is = def.Quota
	default:
		return quota{err: err}
	}
	if is == nil || is.Value == nil {
		return quota{err: errors.New("the answer holds no value")}
	}
	q := quota{name: aws.ToString(is.QuotaName), value: *is.Value}
	if is.UsageMetric != nil && is.UsageMetric.MetricName != nil {
		q.used, q.measured, q.err = s.used(ctx, is.UsageMetric)
	}
	return q
}

// used is the most that was used in the last hour: no data point means that nothing was.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-Quotas-Visualize-Alarms.html
func (s *holding) used(ctx context.Context, m *quotatypes.MetricInfo) (float64, bool, error) {
	metric := &cwtypes.Metric{Namespace: m.MetricNamespace, MetricName: m.MetricName}
	for _, name := range slices.Sorted(maps.Keys(m.MetricDimensions)) {
		metric.Dimensions = append(metric.Dimensions, cwtypes.Dimension{Name: aws.String(name), Value: aws.String(m.MetricDimensions[name])})
	}
	end := time.Now().Truncate(5 * time.Minute).Add(5 * time.Minute).UTC()
	begin := end.Add(-65 * time.Minute)
	in := &cloudwatch.GetMetricDataInput{StartTime: &begin, EndTime: &end, MetricDataQueries: []cwtypes.MetricDataQuery{{
		Id: aws.String("used"), MetricStat: &cwtypes.MetricStat{Metric: metric, Period: aws.Int32(300), Stat: aws.String(cmp.Or(aws.ToString(m.MetricStatisticRecommendation), "Maximum"))},
	}}}
	most := 0.0
	err := metricData(ctx, s.deps.Cloud.CloudWatch(string(s.region)), in, func(r cwtypes.MetricDataResult) {
		for _, v := range r.Values {
			most = max(most, v)
		}
	})
	return most, err == nil, err
}
