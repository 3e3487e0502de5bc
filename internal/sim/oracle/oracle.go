// Package oracle judges a simulated run by the world's own record. It does not
// import the domain: what the daemon believes does not matter to it.
package oracle

import (
	"fmt"
	"slices"
	"time"
)

// Kind is the kind of an entry of the world's record.
type Kind string

// The kinds of entries.
const (
	WorkerUp   Kind = "worker-up"   // a critical process began to run
	WorkerDown Kind = "worker-down" // it is dead
	Stop       Kind = "stop"        // a stop took effect in a region
	Start      Kind = "start"       // a start took effect in a region
	Unstart    Kind = "unstart"     // a start was taken back
	Flip       Kind = "flip"        // clients are sent to a region from now on
	Stale      Kind = "stale-flip"  // the resource refused a stale writer
	Dark       Kind = "dark"        // a region became unreachable from every vantage outside
	Lit        Kind = "lit"         // it can be reached again from one of them
	Asked      Kind = "operator"    // a person started an execution by hand
	Note       Kind = "note"        // for the reader only
)

// Entry is one line of the world's record.
type Entry struct {
	At     time.Time
	Kind   Kind
	Region string
	Who    string // worker, node or fault
	Detail string
}

func (e Entry) String() string {
	return fmt.Sprintf("%s  %-11s %-10s %s %s", e.At.Format("15:04:05.000"), e.Kind, e.Region, e.Who, e.Detail)
}

// Rules are the numbers that the run must keep.
type Rules struct {
	Primary string
	// Hold is how long the primary must have been dark without a break before
	// anything irreversible may happen without a person.
	Hold time.Duration
	// Prepare is the same for a start, which may be prepared and is undone.
	Prepare time.Duration
	// Slack is how much shorter the darkness may seem: from the first moment at
	// which a probe could have failed to the vote.
	Slack time.Duration
}

// Final is where the run ended, after everything was healed.
type Final struct {
	At time.Time
	// Open says that an execution is neither finished nor waits for a person.
	Open string
	// Traffic is where clients are sent.
	Traffic string
	// Left says that something stands that should have been taken back or kept
	// down.
	Left string
	// Diverged names nodes whose state differs at the same index.
	Diverged string
}

// Judge returns every violation of the run, each as a sentence that begins with
// the invariant's ID.
func Judge(record []Entry, rules Rules, final Final) []string {
	var out []string
	out = append(out, dualActive(record)...)
	out = append(out, hastyEffects(record, rules)...)
	if final.Open != "" {
		out = append(out, "L1: the run ended in silence: "+final.Open)
	}
	if final.Left != "" {
		out = append(out, "E7: "+final.Left)
	}
	if final.Diverged != "" {
		out = append(out, "S7: "+final.Diverged)
	}
	return out
}

// dualActive finds moments in which critical processes of two regions ran (S1),
// and flips to a region while another's processes ran (S3).
func dualActive(record []Entry) []string {
	var out []string
	alive := map[string]map[string]bool{}
	for _, e := range record {
		switch e.Kind {
		case WorkerUp:
			for other, ws := range alive {
				if other != e.Region && len(ws) > 0 {
					out = append(out, fmt.Sprintf("S1: %s started in %s at %s while %v ran in %s", e.Who, e.Region, clock(e.At), keys(ws), other))
				}
			}
			if alive[e.Region] == nil {
				alive[e.Region] = map[string]bool{}
			}
			alive[e.Region][e.Who] = true
		case WorkerDown:
			delete(alive[e.Region], e.Who)
		case Flip:
			for other, ws := range alive {
				if other != e.Region && len(ws) > 0 {
					out = append(out, fmt.Sprintf("S3: traffic moved to %s at %s while %v ran in %s", e.Region, clock(e.At), keys(ws), other))
				}
			}
		}
	}
	return out
}

// hastyEffects finds effects that nobody ordered and that did not follow a
// darkness of the hold's length (S6).
func hastyEffects(record []Entry, rules Rules) []string {
	var out []string
	var since time.Time
	longest := time.Duration(0)
	byHand := false
	for _, e := range record {
		switch e.Kind {
		case Dark:
			since = e.At
		case Lit:
			if !since.IsZero() {
				longest = max(longest, e.At.Sub(since))
			}
			since = time.Time{}
		case Asked:
			byHand = true
		case Stop, Start, Flip:
			dark := longest
			if !since.IsZero() {
				dark = max(dark, e.At.Sub(since))
			}
			need := rules.Hold
			if e.Kind == Start {
				need = rules.Prepare
			}
			if !byHand && dark < need-rules.Slack {
				out = append(out, fmt.Sprintf("S6: %s in %s at %s although %s was never dark for longer than %s", e.Kind, e.Region, clock(e.At), rules.Primary, dark))
			}
		}
	}
	return out
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }

func keys(m map[string]bool) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
