package probes

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// errAnswered is a result that CloudWatch says it could not give.
var errAnswered = errors.New("CloudWatch answers, but not with the metric")

// errPages means that an answer has no end.
var errPages = errors.New("the answer has more pages than are asked for")

// cloudWatchPages is one of the SDK's paginators.
type cloudWatchPages[P any] interface {
	HasMorePages() bool
	NextPage(ctx context.Context, options ...func(*cloudwatch.Options)) (P, error)
}

// everyPage reads an answer to its end, without the SDK's retries: a check is asked
// again anyway. One that goes on after ten pages has none.
func everyPage[P any](ctx context.Context, pages cloudWatchPages[P], each func(P) error) error {
	for n := 0; pages.HasMorePages(); n++ {
		if n == 10 {
			return errPages
		}
		page, err := pages.NextPage(ctx, func(o *cloudwatch.Options) { o.RetryMaxAttempts = 1 })
		if err == nil {
			err = each(page)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// metricData reads metrics. A page may be PartialData, and says so by a token for the
// next one; InternalError and Forbidden come with the status of success.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDataResult.html
func metricData(ctx context.Context, client *cloudwatch.Client, in *cloudwatch.GetMetricDataInput, each func(types.MetricDataResult)) error {
	return everyPage(ctx, cloudwatch.NewGetMetricDataPaginator(client, in), func(page *cloudwatch.GetMetricDataOutput) error {
		for _, r := range page.MetricDataResults {
			if r.StatusCode == types.StatusCodeForbidden || r.StatusCode == types.StatusCodeInternalError {
				return fmt.Errorf("%w: %s for %s", errAnswered, r.StatusCode, aws.ToString(r.Id))
			}
			each(r)
		}
		return nil
	})
}
