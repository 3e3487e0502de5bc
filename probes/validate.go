package probes

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// paramError names the parameter that is wrong. Field lets the configuration
// point at its line.
type paramError struct{ field, msg string }

func (e *paramError) Error() string { return e.field + ": " + e.msg }

// Field is the parameter's key.
func (e *paramError) Field() string { return e.field }

// Message is the error without the key.
func (e *paramError) Message() string { return e.msg }

func badParam(field, format string, args ...any) error {
	return &paramError{field, fmt.Sprintf(format, args...)}
}

func validURL(field, raw string) error {
	if raw == "" {
		return badParam(field, "is missing")
	}
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return badParam(field, "%q is not an http:// or https:// URL with a host", raw)
	}
	return nil
}

func validHostPort(field, addr string) error {
	if addr == "" {
		return badParam(field, "is missing")
	}
	host, port, err := net.SplitHostPort(addr)
	n, perr := strconv.Atoi(port)
	if err != nil || host == "" || perr != nil || n < 1 || n > 65535 {
		return badParam(field, "%q is not host:port", addr)
	}
	return nil
}

func validDNSName(field, name string) error {
	if name == "" {
		return badParam(field, "is missing")
	}
	if strings.ContainsAny(name, " /:") || strings.Contains(name, "..") {
		return badParam(field, "%q is not a DNS name", name)
	}
	return nil
}

// validNames checks names that AWS resources have in both regions.
func validNames(field string, names []string) error {
	for i, n := range names {
		switch {
		case n == "":
			return badParam(field, "holds an empty name")
		case strings.HasPrefix(n, "arn:"):
			return badParam(field, "%q is an ARN, which names one region: write the name, as it is in both", n)
		case slices.Contains(names[:i], n):
			return badParam(field, "%q is listed twice", n)
		}
	}
	return nil
}

func notNegative(field string, d failover.Duration) error {
	if d < 0 {
		return badParam(field, "%s is negative", d)
	}
	return nil
}

func within(d failover.Duration) time.Duration {
	if d <= 0 {
		return DefaultWithin
	}
	return d.D()
}
