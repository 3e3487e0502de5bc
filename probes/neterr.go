package probes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/dnsq"
)

// networkError sorts an error of a connection. A certificate that is not trusted
// says nothing about the region's health; everything else is a failure.
func networkError(err error) (failover.Outcome, failover.ReasonCode) {
	if isCertificate(err) {
		return failover.Misconfigured, failover.ReasonTLS
	}
	if de, ok := errors.AsType[*dnsq.Error](err); ok {
		return failover.Failed, dnsReason(de)
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return failover.Failed, failover.ReasonRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return failover.Failed, failover.ReasonReset
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.ENETDOWN):
		return failover.Failed, failover.ReasonUnreachable
	case isTimeout(err):
		return failover.Failed, failover.ReasonTimeout
	case isTLS(err):
		return failover.Failed, failover.ReasonTLS
	}
	return failover.Failed, failover.ReasonOther
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, os.ErrDeadlineExceeded) || (ok && ne.Timeout())
}

func isCertificate(err error) bool {
	var (
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	return errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &hostname) || errors.As(err, &invalid)
}

func isTLS(err error) bool {
	var alert tls.AlertError
	var record tls.RecordHeaderError
	return errors.As(err, &alert) || errors.As(err, &record)
}

func dnsReason(e *dnsq.Error) failover.ReasonCode {
	if e.Kind == dnsq.NoData {
		return failover.ReasonNoData
	}
	return failover.ReasonDNS
}

// short is an error in a few words: the chain of wrappings repeats the address
// that stands beside it anyway.
func short(err error, reason failover.ReasonCode) string {
	switch reason {
	case failover.ReasonTimeout:
		return "did not answer in time"
	case failover.ReasonRefused:
		return "refused the connection"
	case failover.ReasonReset:
		return "cut the connection"
	case failover.ReasonUnreachable:
		return "is unreachable"
	}
	return err.Error()
}

// awsError sorts an error of an AWS call: only what the region did not do is a
// failure. Credentials, permissions and missing resources are mistakes of ours,
// and "too many requests" comes from something alive.
func awsError(call string, err error) result {
	r := result{detail: fmt.Sprintf("%s: %v", call, err)}
	code := cloud.ErrorCode(err)
	if code != "" {
		r.detail = fmt.Sprintf("%s was answered with %s", call, code)
	}
	switch cloud.Classify(err) {
	case cloud.Ours:
		r.outcome, r.reason = failover.Misconfigured, failover.ReasonAuth
		if strings.Contains(code, "NotExist") || strings.Contains(code, "NonExist") || strings.Contains(code, "NotFound") {
			r.reason = failover.ReasonConfig
		}
	case cloud.Throttled:
		r.outcome, r.reason = failover.Slow, failover.ReasonThrottled
	case cloud.ServerError:
		r.outcome, r.reason = failover.Failed, failover.ReasonServerError
	case cloud.OtherAPI:
		r.outcome, r.reason = failover.Misconfigured, failover.ReasonConfig
	default:
		r.outcome, r.reason = networkError(err)
		r.detail = call + ": " + short(err, r.reason)
	}
	return r
}
