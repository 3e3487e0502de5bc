package cloud

import (
	"context"
	"fmt"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
)

// EffectDeadlineError says that a call was not sent, because the attempt that
// it belongs to may not change the world any more. Nothing happened.
type EffectDeadlineError struct {
	Call     string        // e.g. "ECS UpdateService"
	Deadline time.Time     // until when the call could have been sent
	Late     time.Duration // how long ago that was, suspended time included
}

func (e *EffectDeadlineError) Error() string {
	return fmt.Sprintf("%s was not sent: its deadline %s passed %s ago; the step has to be attempted again with a new token",
		e.Call, e.Deadline.Format(time.RFC3339), e.Late.Round(time.Millisecond))
}

// SignatureLife is how long AWS accepts a signed request after the time in its
// signature ("Elements of an AWS API request signature", IAM User Guide: a
// request must reach AWS within five minutes of its time stamp).
const SignatureLife = 5 * time.Minute

type effectKey struct{}

// effect is a deadline on the machine's boot-time clock, which goes on while the
// machine is suspended.
type effect struct {
	deadline time.Time
	boot     time.Duration
	now      func() time.Duration
}

// WithEffectDeadline makes every AWS call under ctx refuse to be signed after t.
// It is looked at right before each attempt is signed, so that a process that
// was stopped, swapped out or suspended between its decision and its call sends
// nothing (rule E2). A zero t sets no deadline.
func WithEffectDeadline(ctx context.Context, t time.Time) context.Context {
	return withEffectDeadline(ctx, t, bootTime)
}

func withEffectDeadline(ctx context.Context, t time.Time, now func() time.Duration) context.Context {
	if t.IsZero() {
		return ctx
	}
	return context.WithValue(ctx, effectKey{}, effect{deadline: t, boot: now() + time.Until(t), now: now})
}

// CheckEffectDeadline returns an *EffectDeadlineError if ctx's effect deadline
// has passed. Effects that are no AWS calls use it right before they act.
func CheckEffectDeadline(ctx context.Context, call string) error {
	e, ok := ctx.Value(effectKey{}).(effect)
	if !ok {
		return nil
	}
	// Whichever clock says that it is too late is believed: the wall clock sees
	// a virtual machine that its host paused, the boot clock a step backward.
	late := max(e.now()-e.boot, time.Since(e.deadline.Round(0))) // without the monotonic reading, which stands still while a machine is paused
	if late < 0 {
		return nil
	}
	return &EffectDeadlineError{Call: call, Deadline: e.deadline, Late: late}
}

// apiOptions puts the check into every client, as the last step before signing.
func apiOptions() []func(*middleware.Stack) error {
	check := middleware.FinalizeMiddlewareFunc("EffectDeadline", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
		call := awsmiddleware.GetServiceID(ctx) + " " + awsmiddleware.GetOperationName(ctx)
		if err := CheckEffectDeadline(ctx, call); err != nil {
			return middleware.FinalizeOutput{}, middleware.Metadata{}, err
		}
		return next.HandleFinalize(ctx, in)
	})
	return []func(*middleware.Stack) error{func(s *middleware.Stack) error {
		return s.Finalize.Insert(check, "Signing", middleware.Before)
	}}
}
