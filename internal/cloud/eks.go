package cloud

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// EKSToken makes a bearer token for the API server of an EKS cluster: a signed call of
// GetCallerIdentity that the cluster makes in our name, as `aws eks get-token` does. It
// calls nothing.
func (c *Clients) EKSToken(ctx context.Context, region, cluster string) (string, error) {
	cfg := c.base.Copy()
	cfg.Region, cfg.APIOptions = region, nil // nothing is sent: there is no deadline to look at
	presign := sts.NewPresignClient(sts.NewFromConfig(cfg, func(o *sts.Options) {
		if url := c.endpoints[region]; url != "" {
			o.BaseEndpoint = &url
		}
	}))
	out, err := presign.PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, func(o *sts.PresignOptions) {
		o.ClientOptions = append(o.ClientOptions, sts.WithAPIOptions(
			smithyhttp.SetHeaderValue("x-k8s-aws-id", cluster),
			// The SDK signs no life time of its own for STS, and EKS asks for one.
			expires("60"),
		))
	})
	if err != nil {
		return "", fmt.Errorf("signing a token for the cluster %s in %s: %w", cluster, region, err)
	}
	return "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(out.URL)), nil
}

// expires puts X-Amz-Expires into the query before it is signed.
func expires(seconds string) func(*middleware.Stack) error {
	return func(s *middleware.Stack) error {
		return s.Build.Add(middleware.BuildMiddlewareFunc("Expires", func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
			if req, ok := in.Request.(*smithyhttp.Request); ok {
				q := req.URL.Query()
				q.Set("X-Amz-Expires", seconds)
				req.URL.RawQuery = q.Encode()
			}
			return next.HandleBuild(ctx, in)
		}), middleware.After)
	}
}
