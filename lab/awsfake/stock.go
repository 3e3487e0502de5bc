package awsfake

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Stock is what a region keeps for what is launched there: images in its registry, secrets, quotas. It never changes; what lacks is
// a fault of the call, with the error's code.
//
//   - an image that is not there, and a repository that is not, are different errors:
//     https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html
//   - an ARN of another region is not found, since a replica has an ARN of its own:
//     https://docs.aws.amazon.com/secretsmanager/latest/userguide/replicate-secrets.html
//   - a quota that nobody ever raised has no applied value (NoSuchResourceException), and may have a default:
//     https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html
type Stock struct {
	Region  string
	Images  map[string]string // "repository:tag" to digest
	Secrets []string          // names
	Quotas  []Quota
}

// Quota is one of the region's quotas.
type Quota struct {
	Service, Code, Name string
	Value               float64
	Raised              bool   // it has an applied value, and not only a default
	Usage               Metric // what is used of it; the zero value: that is not measured
}

// UsageMetric is the metric of AWS/Usage that counts a resource.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-Service-Quota-Integration.html
func UsageMetric(service, resource, class string) Metric {
	return Metric{"AWS/Usage", "ResourceCount", "Class,Resource,Service,Type", class + "," + resource + "," + service + ",Resource"}
}

// SecretARN is the ARN of a secret in a region: a replica's has the same name and suffix.
func SecretARN(region, name string) string {
	return fmt.Sprintf("arn:aws:secretsmanager:%s:%s:secret:%s-AbCdEf", region, AccountID, name)
}

// ImageName is how a task definition names an image of a region's registry.
func ImageName(region, image string) string {
	return fmt.Sprintf("%s.dkr.ecr.%s.amazonaws.com/%s", AccountID, region, image)
}

func (s *Stock) registry(op string, body []byte) (any, error) {
	var in struct {
		RegistryID     string `json:"registryId"`
		RepositoryName string
		ImageIDs       []struct{ ImageTag, ImageDigest string } `json:"imageIds"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, badRequest("InvalidParameterException", "%v", err)
	}
	if op != "DescribeImages" {
		return nil, badRequest("UnsupportedCommandException", "%s is not simulated", op)
	}
	found := false
	tags := map[string]map[string]string{} // by digest and tag
	for name, digest := range s.Images {
		repository, tag, _ := strings.Cut(name, ":")
		if repository != in.RepositoryName || in.RegistryID != "" && in.RegistryID != AccountID {
			continue
		}
		found = true
		if tags[digest] == nil {
			tags[digest] = map[string]string{}
		}
		tags[digest][tag] = digest
	}
	if !found {
		return nil, badRequest("RepositoryNotFoundException", "The repository with name '%s' does not exist in the registry with id '%s'", in.RepositoryName, AccountID)
	}
	details := []any{}
	for _, id := range in.ImageIDs {
		digest := ""
		for d, t := range tags {
			if id.ImageDigest == d || id.ImageDigest == "" && t[id.ImageTag] != "" {
				digest = d
			}
		}
		if digest == "" {
			return nil, badRequest("ImageNotFoundException", "The image with imageId {imageDigest:'%s', imageTag:'%s'} does not exist within the repository with name '%s' in the registry with id '%s'",
				id.ImageDigest, id.ImageTag, in.RepositoryName, AccountID)
		}
		details = append(details, map[string]any{"registryId": AccountID, "repositoryName": in.RepositoryName, "imageDigest": digest, "imageTags": slices.Sorted(maps.Keys(tags[digest]))})
	}
	return map[string]any{"imageDetails": details}, nil
}

func (s *Stock) secrets(op string, body []byte) (any, error) {
	var in struct {
		SecretID string `json:"SecretId"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, badRequest("InvalidParameterException", "%v", err)
	}
	if op != "DescribeSecret" {
		return nil, badRequest("InvalidRequestException", "%s is not simulated", op)
	}
	for _, name := range s.Secrets {
		if arn := SecretARN(s.Region, name); in.SecretID == name || in.SecretID == arn {
			return map[string]any{"ARN": arn, "Name": name, "VersionIdsToStages": map[string]any{"v1": []string{"AWSCURRENT"}}}, nil
		}
	}
	return nil, badRequest("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

func (s *Stock) quotas(op string, body []byte) (any, error) {
	var in struct{ ServiceCode, QuotaCode string }
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, badRequest("IllegalArgumentException", "%v", err)
	}
	if op != "GetServiceQuota" && op != "GetAWSDefaultServiceQuota" {
		return nil, badRequest("UnknownOperationException", "%s is not simulated", op)
	}
	for _, q := range s.Quotas {
		if q.Service != in.ServiceCode || q.Code != in.QuotaCode || op == "GetServiceQuota" && !q.Raised {
			continue
		}
		out := map[string]any{"ServiceCode": q.Service, "QuotaCode": q.Code, "QuotaName": q.Name, "Value": q.Value, "Adjustable": true, "GlobalQuota": false}
		if q.Usage != (Metric{}) {
			names, values := strings.Split(q.Usage.Dimension, ","), strings.Split(q.Usage.Of, ",")
			dimensions := map[string]string{}
			for i, n := range names {
				dimensions[n] = values[i]
			}
			out["UsageMetric"] = map[string]any{"MetricNamespace": q.Usage.Space, "MetricName": q.Usage.Name, "MetricStatisticRecommendation": "Maximum", "MetricDimensions": dimensions}
		}
		return map[string]any{"Quota": out}, nil
	}
	return nil, badRequest("NoSuchResourceException", "The request failed because the specified quota %s/%s does not exist.", in.ServiceCode, in.QuotaCode)
}
