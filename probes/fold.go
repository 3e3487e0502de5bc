package probes

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// result is what one of the targets behind a signal said.
type result struct {
	target  string // an address or a member
	outcome failover.Outcome
	reason  failover.ReasonCode
	detail  string // "" for a plain success
	latency time.Duration
	// lastWrite is Observation.LastWrite of one member.
	lastWrite time.Time
	// atRisk is Observation.AtRisk.
	atRisk *failover.AtRisk
	phases map[string]time.Duration
}

// fold makes one observation of what all targets said. The signal has failed
// only if every target has: a part of them is a zone, not a region, and shows as
// slow with the names of those that are missing. A mixture of failures and of
// mistakes of ours is a mistake of ours, which is never a vote.
func fold(o failover.Observation, results []result) failover.Observation {
	count := map[failover.Outcome]int{}
	worst := result{outcome: failover.NoResult}
	for _, r := range results {
		count[r.outcome]++
		if rank(r.outcome) > rank(worst.outcome) || (r.outcome == worst.outcome && r.latency > worst.latency) {
			worst = r
		}
	}
	o.Latency, o.Phases = worst.latency, worst.phases
	for _, r := range results {
		if r.lastWrite.After(o.LastWrite) {
			o.LastWrite = r.lastWrite
		}
	}
	n := len(results)
	switch {
	case n == 0:
		o.Outcome, o.Reason, o.Detail = failover.Misconfigured, failover.ReasonConfig, "there is nothing to ask"
	case count[failover.OK] == n:
		o.Outcome = failover.OK
		o.Detail = details(results, failover.OK)
	case count[failover.Failed] == n:
		o.Outcome, o.Reason = failover.Failed, worst.reason
		o.Detail = details(results, failover.Failed)
	case count[failover.OK]+count[failover.Slow] == 0:
		m := first(results, failover.Misconfigured)
		o.Outcome, o.Reason = failover.Misconfigured, m.reason
		o.Detail = details(results, failover.Misconfigured, failover.Failed, failover.NoResult)
	default:
		o.Outcome, o.Reason = failover.Slow, worst.reason
		if bad := n - count[failover.OK] - count[failover.Slow]; bad > 0 {
			o.Part = count[failover.Failed] > 0
			o.Detail = fmt.Sprintf("%d of %d dark: ", bad, n)
		}
		o.Detail += details(results, failover.Failed, failover.Misconfigured, failover.NoResult, failover.Slow)
	}
	return o
}

// rank orders outcomes from good to bad, for choosing which to show.
func rank(o failover.Outcome) int {
	return slices.Index([]failover.Outcome{failover.NoResult, failover.OK, failover.Slow, failover.Misconfigured, failover.Failed}, o)
}

func first(results []result, o failover.Outcome) result {
	i := slices.IndexFunc(results, func(r result) bool { return r.outcome == o })
	if i < 0 {
		return result{}
	}
	return results[i]
}

// details joins what the targets with the given outcomes said, at most four of
// them.
func details(results []result, outcomes ...failover.Outcome) string {
	const most = 4
	var parts []string
	more := 0
	for _, o := range outcomes {
		for _, r := range results {
			switch {
			case r.outcome != o || r.detail == "":
			case len(parts) == most:
				more++
			default:
				parts = append(parts, r.target+" "+r.detail)
			}
		}
	}
	s := strings.Join(parts, "; ")
	if more > 0 {
		s += fmt.Sprintf("; and %d more", more)
	}
	return s
}

// slower turns a success into a slow one if it took longer than the threshold.
func (r result) slower(threshold time.Duration) result {
	if r.outcome == failover.OK && threshold > 0 && r.latency > threshold {
		r.outcome, r.reason = failover.Slow, failover.ReasonSlow
		r.detail = strings.TrimPrefix(fmt.Sprintf("%s; took %s, slow is %s", r.detail, r.latency.Round(time.Millisecond), threshold), "; ")
	}
	return r
}

// finish takes over the outcome of a single result.
func (r result) finish(o failover.Observation) failover.Observation {
	o.Outcome, o.Reason, o.Detail, o.Latency, o.Phases, o.LastWrite, o.AtRisk = r.outcome, r.reason, r.detail, r.latency, r.phases, r.lastWrite, r.atRisk
	return o
}
