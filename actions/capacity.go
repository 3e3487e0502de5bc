package actions

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/smithy-go"
)

// This file tells what AWS says when it does not give what was asked for.

// reason tells a lack of capacity from a quota: the one passes or is met in
// another zone or with another type, the other needs AWS support.
func reason(message string) string {
	switch lackOf(message) {
	case lackOfCalls:
		return "AWS throttles the calls of this account (they are tried again): " + message
	case lackOfCapacity:
		return "AWS lacks capacity (another zone or instance type may have it; a capacity reservation would have held it): " + message
	case lackOfQuota:
		return "a quota of this account is used up (AWS support raises it): " + message
	}
	return message
}

// lack is what AWS does not give; zero: something else is wrong.
type lack uint8

const (
	lackOfCalls lack = iota + 1
	lackOfCapacity
	lackOfQuota
)

func lackOf(message string) lack {
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(message, w) })
	}
	switch {
	case has("RequestLimitExceeded", "Request limit exceeded", "Throttling"):
		return lackOfCalls
	// "We currently do not have sufficient m5.large capacity in the Availability Zone you requested": rights may be insufficient, too, and free addresses.
	case has("sufficient") && has("capacity", "Capacity"), has("no Spot capacity"):
		return lackOfCapacity
	case has("VcpuLimitExceeded", "InstanceLimitExceeded", "limit"):
		return lackOfQuota
	}
	return 0
}

// explained is an API's error with reason in front of it.
func explained(err error) error {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		text := api.ErrorCode() + ": " + api.ErrorMessage()
		if why, found := strings.CutSuffix(reason(text), ": "+text); found {
			return fmt.Errorf("%s: %w", why, err)
		}
	}
	return err
}

// refused reports whether AWS has understood a request and said no: it is not worth
// repeating as it is, and says nothing of its parts.
func refused(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return false
	}
	switch code := api.ErrorCode(); code {
	case "InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientReservedInstanceCapacity", "InsufficientCapacity":
		return true // 500 and 503, and yet an answer (EC2 error codes, server errors)
	case "RequestLimitExceeded", "Throttling", "ThrottlingException":
		return false
	default:
		return api.ErrorFault() == smithy.FaultClient || strings.HasPrefix(code, "Invalid") || strings.HasPrefix(code, "Incorrect") || strings.HasSuffix(code, "LimitExceeded") || code == "OperationNotPermitted" || code == "UnsupportedOperation"
	}
}
