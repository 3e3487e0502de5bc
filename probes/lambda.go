package probes

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/failoverd/failoverd/failover"
)

// LambdaCheckConfig asserts that functions can be invoked, and that what starts them
// is on.
type LambdaCheckConfig struct {
	// Functions are names, which are the same in both regions.
	Functions []string `toml:"functions" json:"functions"`
	// EventSource asserts that each function has an event source mapping, that all of
	// them are Enabled, and that the last batch was processed. False: what invokes
	// them is not looked at.
	EventSource bool `toml:"event_source" json:"event_source,omitempty"`
	// DryRun asks Lambda whether this node may invoke each function, without running
	// it. The observing role needs lambda:InvokeFunction for that, with which it could
	// invoke them in earnest as well. False: it is not asked.
	DryRun bool `toml:"dry_run" json:"dry_run,omitempty"`
	// For is how long it is asked again before it has failed. Zero: 2 minutes.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

// Validate reports the first wrong parameter.
func (c *LambdaCheckConfig) Validate() error {
	if len(c.Functions) == 0 {
		return badParam("functions", "is empty: nothing would be looked at")
	}
	if err := validNames("functions", c.Functions); err != nil {
		return err
	}
	return notNegative("within", c.For)
}

// Within implements CheckConfig.
func (c *LambdaCheckConfig) Within() time.Duration { return within(c.For) }

// NewCheck implements CheckConfig.
func (c *LambdaCheckConfig) NewCheck(d Deps) (Check, error) {
	if d.Cloud == nil {
		return nil, fmt.Errorf("functions %s: there are no AWS clients", strings.Join(c.Functions, ", "))
	}
	return &lambdaCheck{c, d, d.Cloud.Lambda(string(d.Region))}, nil
}

type lambdaCheck struct {
	cfg    *LambdaCheckConfig
	deps   Deps
	client *lambda.Client
}

func onceLambda(o *lambda.Options) { o.RetryMaxAttempts = 1 }

// Check implements Check. All functions are looked at, and all that is wrong is said;
// one that could not be asked outweighs what the others say, unless one is ill.
func (l *lambdaCheck) Check(ctx context.Context) Finding { return l.deps.ask(ctx, l.look) }

func (l *lambdaCheck) look(ctx context.Context) Finding {
	status := Pass
	var says []string
	for _, name := range l.cfg.Functions {
		f := l.function(ctx, name)
		if f.Status == Fail || f.Status == Unknown && status == Pass {
			status = f.Status
		}
		says = append(says, name+" in "+string(l.deps.Region)+" "+f.Detail)
	}
	return Finding{status, strings.Join(says, "; ")}
}

// function looks at one function: its state, its mappings and whether it may be
// invoked.
func (l *lambdaCheck) function(ctx context.Context, name string) Finding {
	fn, err := l.client.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &name}, onceLambda)
	if err != nil {
		return Finding{Unknown, "is not to be seen: " + awsError("GetFunctionConfiguration", err).detail}
	}
	// Of a function that has been idle for weeks Lambda takes back what it was given;
	// the first invocation fails then, and makes it Pending until that is there again.
	// https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
	switch {
	case fn.State == types.StateInactive:
		return Finding{Fail, "is Inactive (" + aws.ToString(fn.StateReason) + "): it has been idle for long, and its first invocation fails; invoke it once, and now and then while it stands by"}
	case fn.State != types.StateActive:
		return Finding{Fail, fmt.Sprintf("is %s (%s: %s)", fn.State, fn.StateReasonCode, aws.ToString(fn.StateReason))}
	case fn.LastUpdateStatus == types.LastUpdateStatusInProgress:
		return Finding{Fail, "is being updated: until then its previous code answers"}
	case fn.LastUpdateStatus != types.LastUpdateStatusSuccessful:
		return Finding{Fail, fmt.Sprintf("was not updated: %s (%s: %s)", fn.LastUpdateStatus, fn.LastUpdateStatusReasonCode, aws.ToString(fn.LastUpdateStatusReason))}
	}
	detail := "is Active"
	if l.cfg.EventSource {
		f := l.mappings(ctx, name)
		if f.Status != Pass {
			return f
		}
		detail += ", " + f.Detail
	}
	if l.cfg.DryRun {
		if _, err := l.client.Invoke(ctx, &lambda.InvokeInput{FunctionName: &name, InvocationType: types.InvocationTypeDryRun}, onceLambda); err != nil {
			return Finding{Unknown, "may not be invoked by this node: " + awsError("Invoke (a dry run)", err).detail}
		}
		detail += ", may be invoked"
	}
	return Finding{Pass, detail}
}

// mappings looks at what feeds a function. A change of a mapping takes a while, in
// which it is Enabling or Disabling.
func (l *lambdaCheck) mappings(ctx context.Context, name string) Finding {
	var off []string
	n := 0
	for pages := lambda.NewListEventSourceMappingsPaginator(l.client, &lambda.ListEventSourceMappingsInput{FunctionName: &name}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx, onceLambda)
		if err != nil {
			return Finding{Unknown, "has event source mappings that are not to be seen: " + awsError("ListEventSourceMappings", err).detail}
		}
		for _, m := range page.EventSourceMappings {
			n++
			switch state, last := aws.ToString(m.State), aws.ToString(m.LastProcessingResult); {
			case state != "Enabled":
				off = append(off, fmt.Sprintf("mapping %s is %s (%s)", aws.ToString(m.UUID), state, aws.ToString(m.StateTransitionReason)))
			case strings.HasPrefix(last, "PROBLEM"):
				off = append(off, fmt.Sprintf("mapping %s is Enabled, and its last result is %q", aws.ToString(m.UUID), last))
			}
		}
	}
	switch {
	case n == 0:
		return Finding{Fail, "has no event source mapping: nothing starts it; create it, or leave event_source out"}
	case len(off) > 0:
		return Finding{Fail, "is Active, but " + strings.Join(off, ", ")}
	}
	return Finding{Pass, fmt.Sprintf("%d of %d event source mappings are Enabled", n, n)}
}
