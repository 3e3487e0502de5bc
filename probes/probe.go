// Package probes looks at the service: one file per probe kind, and the checks
// that are the same thing with an assertion.
//
// A probe never returns an error: an error is an outcome with a reason. It asks
// every address and every member behind its target and folds what it saw into
// one observation, and it returns before its context's deadline whatever the
// target does. Clients are made once and live as long as the probe. A probe is
// used by one goroutine at a time. One that keeps connections between its looks, or
// has a driver that does, is an io.Closer, and is closed when no look is under way.
package probes

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/dnsq"
)

// Probe makes one observation of its target.
type Probe interface {
	Probe(ctx context.Context) failover.Observation
}

// Check looks at the world and compares it with what should be there.
type Check interface {
	Check(ctx context.Context) Finding
}

// Status is the result of a check.
type Status string

// The results. Unknown means that the world could not be read.
const (
	Pass    Status = "pass"
	Fail    Status = "fail"
	Unknown Status = "unknown"
)

// Finding is what a check saw.
type Finding struct {
	Status Status `json:"status"`
	Detail string `json:"detail"` // one line for a person
}

// Deps are what probes and checks need from the process.
type Deps struct {
	Component failover.Component
	Region    failover.Region // where the target is
	// Regions are the two regions of the service. Empty: what compares them says that
	// it did not.
	Regions []failover.Region
	Node    failover.NodeID // who looks
	// Resolvers are the DNS servers to ask, "ip:port". Empty: the host's own.
	Resolvers []string
	Cloud     *cloud.Clients // nil if the configuration uses no AWS kind
	// Moved is, of a check, when clients were first sent to the region; what was
	// before says nothing of how it serves them. Zero: not yet, and of every probe.
	Moved time.Time
	// Timeout bounds one probe, in addition to the context. Zero: the context
	// alone.
	Timeout time.Duration
	Log     *slog.Logger
}

func (d Deps) dns() *dnsq.Client { return &dnsq.Client{Resolvers: d.Resolvers} }

// within adds the probe's own time-out to ctx.
func (d Deps) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.Timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d.Timeout)
}

// ask is a check's look at AWS. Without credentials nothing can be seen.
func (d Deps) ask(ctx context.Context, look func(context.Context) Finding) Finding {
	ctx, cancel := d.within(ctx)
	defer cancel()
	if err := d.Cloud.Credentials(ctx); err != nil {
		return Finding{Unknown, awsError("credentials", err).detail}
	}
	return look(ctx)
}

// observation starts the observation of target.
func (d Deps) observation(kind, target string) failover.Observation {
	return failover.Observation{Component: d.Component, Kind: kind, Region: d.Region, Target: target, At: time.Now()}
}

// finding turns an observation into a finding. What could not be seen through a
// mistake of ours is unknown, not failed.
func finding(o failover.Observation, good string) Finding {
	switch o.Outcome {
	case failover.OK:
		return Finding{Pass, good}
	case failover.Slow, failover.Failed:
		return Finding{Fail, o.Detail}
	}
	return Finding{Unknown, o.Detail}
}

// findingOfAPI is the finding of a look through a control plane: an API that does not
// answer says nothing of what it was asked about, and one that answers slowly tells as
// much.
func findingOfAPI(o failover.Observation) Finding {
	switch {
	case o.Outcome == failover.OK, o.Outcome == failover.Slow && o.Reason == failover.ReasonSlow:
		return Finding{Pass, o.Detail}
	case o.Reason == failover.ReasonContent:
		return Finding{Fail, o.Detail}
	}
	return Finding{Unknown, o.Detail}
}

// findingOfStock is the finding of a look at what is kept for later. What deserves a look
// passes, and is told.
func findingOfStock(o failover.Observation) Finding {
	switch o.Outcome {
	case failover.OK, failover.Slow:
		return Finding{Pass, o.Detail}
	case failover.Failed:
		return Finding{Fail, o.Detail}
	}
	return Finding{Unknown, o.Detail}
}

// few names the first of some.
func few(all []string) string {
	const most = 4
	if more := len(all) - most; more > 0 {
		return strings.Join(all[:most], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(all, ", ")
}
