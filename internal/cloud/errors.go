package cloud

import (
	"errors"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// ErrorClass says what an AWS error tells about whom.
type ErrorClass uint8

// The classes. The zero value is an error that did not come from the API: a
// connection that failed, or a time-out.
const (
	Transport   ErrorClass = iota
	Ours                   // credentials, permissions, signature, a resource that was never made: nothing about the region's health
	Throttled              // the API works and says "later"
	ServerError            // the API answered with a 5xx
	OtherAPI               // any other answer of the API
)

// Classify sorts an error of an AWS call.
func Classify(err error) ErrorClass {
	var cred *CredentialsError
	if errors.As(err, &cred) {
		return Ours
	}
	code := ErrorCode(err)
	if _, ok := retry.DefaultThrottleErrorCodes[code]; ok {
		return Throttled
	}
	for _, c := range ourCodes() {
		// "AccessDeniedException", "AWS.SimpleQueueService.NonExistentQueue",
		// "com.amazonaws.sqs#QueueDoesNotExist": the protocols dress the same
		// name differently.
		if code != "" && strings.Contains(code, c) {
			return Ours
		}
	}
	var resp *awshttp.ResponseError
	if errors.As(err, &resp) && resp.HTTPStatusCode() >= http.StatusInternalServerError {
		return ServerError
	}
	if code != "" {
		return OtherAPI
	}
	return Transport
}

// ErrorCode returns the code of an API error, or "".
func ErrorCode(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// ourCodes are the error codes that blame the caller.
func ourCodes() []string {
	return []string{
		"AccessDenied", "AuthFailure", "ExpiredToken", "IncompleteSignature", "InvalidClientTokenId", "InvalidSignature",
		"InvalidAccessKeyId", "MissingAuthenticationToken", "NotAuthorized", "OptInRequired", "RequestExpired",
		"SignatureDoesNotMatch", "UnrecognizedClient", "QueueDoesNotExist", "NonExistentQueue", "ServiceNotFound",
		"ClusterNotFound", "TargetGroupNotFound", "NoSuchHostedZone", "InvalidAddress",
	}
}
