package world

import (
	"context"
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
)

// from is an HTTP client inside a site.
func (w *World) from(site string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return w.Dial(ctx, site, network, addr)
	}}}
}

var creds = credentials.NewStaticCredentialsProvider("AKIATEST", "secret", "")

// scaleTo sets a service's desired count by its region's API, from inside that region.
func (w *World) scaleTo(ctx context.Context, site, service string, n int32) error {
	c := ecs.New(ecs.Options{Region: RegionOf(site), BaseEndpoint: aws.String(Endpoint(RegionOf(site))), Credentials: creds, HTTPClient: w.from(site)})
	_, err := c.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String(Cluster), Service: &service, DesiredCount: &n})
	return err
}

// flip moves the weights of api.example.net to us-east-2 in one batch.
func (w *World) flip(ctx context.Context) error {
	c := route53.New(route53.Options{Region: "us-east-1", BaseEndpoint: aws.String(Route53Endpoint), Credentials: creds, HTTPClient: w.from(Third)})
	out, err := c.ListResourceRecordSets(ctx, &route53.ListResourceRecordSetsInput{HostedZoneId: aws.String("Z0123456789")})
	if err != nil {
		return err
	}
	var changes []types.Change
	for _, s := range out.ResourceRecordSets {
		if aws.ToString(s.Name) != "api.example.net." {
			continue
		}
		s.Weight = aws.Int64(0)
		if aws.ToString(s.SetIdentifier) == Secondary {
			s.Weight = aws.Int64(255)
		}
		changes = append(changes, types.Change{Action: types.ChangeActionUpsert, ResourceRecordSet: &s})
	}
	_, err = c.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{HostedZoneId: aws.String("Z0123456789"), ChangeBatch: &types.ChangeBatch{Changes: changes}})
	return err
}
