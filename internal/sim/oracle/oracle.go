// Package oracle judges a simulated run by the world's own record. It does not
// import the domain: what the daemon believes does not matter to it. That an
// execution began, ended or was ordered by a person stands in the record as well;
// each such line only takes on duties for what follows.
package oracle

import (
	"fmt"
	"slices"
	"time"
)

// Kind is the kind of an entry of the world's record.
type Kind string

// What happens to processes, regions and nodes.
const (
	WorkerUp   Kind = "worker-up"   // a critical process began to run
	WorkerDown Kind = "worker-down" // it is dead
	Dark       Kind = "dark"        // a region became unreachable from every vantage outside
	Lit        Kind = "lit"         // it can be reached again from one of them
	NodeUp     Kind = "node-up"     // a node's process began to run
	NodeDown   Kind = "node-down"   // it has ended
	Says       Kind = "gate-says"   // a node's gate says from now on that the primary is to be left
	Forgets    Kind = "gate-mute"   // it says so no more: its disk is gone, or the service has come home
	Healed     Kind = "healed"      // every fault is over
	Note       Kind = "note"        // for the reader only
)

// What becomes of a call that changes the world. A call is sent once; what it
// asks for may land late, twice or never, and its caller may never hear of it.
const (
	Sent      Kind = "sent"       // it has left its node
	Answered  Kind = "answered"   // its caller has gone on; Detail is the error, empty: "it is done"
	Stop      Kind = "stop"       // a stop took effect in a region
	Unstop    Kind = "unstop"     // a stop was taken back
	Start     Kind = "start"      // a start took effect in a region
	Unstart   Kind = "unstart"    // a start was taken back
	Landed    Kind = "landed"     // one of these took effect, and nothing differs
	Flip      Kind = "flip"       // clients who follow What are sent to Region from now on
	Restore   Kind = "restore"    // the data of a region were replaced by a backup
	Unrestore Kind = "unrestore"  // what was there before was put back
	Write     Kind = "write"      // What holds another token, and leads where it led
	Stale     Kind = "stale-flip" // What refused a stale writer
)

// What people and the daemon say.
const (
	Asked    Kind = "operator" // a person orders an execution
	Refused  Kind = "refused"  // the answer to that
	Ordered  Kind = "ordered"  // a person's other order was accepted; What names it
	Incident Kind = "incident" // an incident opened by itself
	Began    Kind = "began"    // an execution or a preparation; What names it, Detail who asked for it
	Fenced   Kind = "fenced"   // Region is left for good: what runs there is stopped from now on
	Leads    Kind = "leads"    // another leader: what the one before had not written down is lost
	Finished Kind = "finished" // it is written down that a step is done, or undone; What says which
	Ended    Kind = "ended"    // one ended; Detail says how
)

// Names that occur in What and Detail.
const (
	Execution   = "execution"
	Preparation = "preparation"
	ByPerson    = "a person asked" // the Detail of Began
	ByIncident  = "an incident"
	CarriedOn   = "carried on" // one that had ended behind the fence
	Stable      = "stable"     // the Detail of Ended
	Undone      = "undone"
	Aborted     = "aborted"
	Do          = "do" // the What of Sent
	Undo        = "undo"
	Burn        = "burn"
	OrderUndo   = "abort with undo" // the What of Ordered
	OrderAbort  = "abort"
	OrderSkip   = "skip"
	OrderRetry  = "retry"
	Gates       = "gates" // the What of a Flip that no resource stands for
)

// Entry is one line of the world's record.
type Entry struct {
	At     time.Time
	Kind   Kind
	Region string
	Who    string // worker, node or fault
	Detail string
	What   string // pool, lever or order

	// Of calls and their effects.
	Call     int    // joins the lines of one call
	Step     string // of the plan
	Acts     string // stop, start or switch
	Token    uint64
	Replaces uint64 // the token that a write names
	Was, Is  int    // of a count
	Again    bool   // the world carried the call out a second time
}

func (e Entry) String() string {
	s := fmt.Sprintf("%s  %-11s %-10s %s %s", e.At.Format("15:04:05.000"), e.Kind, e.Region, e.Who, e.Detail)
	switch e.Kind {
	case Sent:
		s += fmt.Sprintf("%s %s, token %d, call %d", e.What, e.Step, e.Token, e.Call)
	case Answered:
		s += fmt.Sprintf(" call %d", e.Call)
	case Stop, Unstop, Start, Unstart, Landed:
		s += fmt.Sprintf("%s %d → %d, token %d, call %d", e.What, e.Was, e.Is, e.Token, e.Call)
	case Flip, Write:
		s += fmt.Sprintf("%s, token %d replaces %d, call %d", e.What, e.Token, e.Replaces, e.Call)
	case Began, Ended, Ordered, Finished:
		s += " " + e.What + " " + e.Step
	}
	if e.Again {
		s += " (the second time)"
	}
	return s
}

// Rules are the numbers that the run must keep.
type Rules struct {
	// Primary is the region that is served at first, and that automation protects; Secondary the other one.
	Primary, Secondary string
	// Fleet is what is wanted of each pool at first, and Pools the region of each.
	Fleet map[string]int
	Pools map[string]string
	// Stops are the pools that the plan stops when it leaves their region.
	Stops map[string]bool
	// Restore is the step that restores the data that workers of Secondary work on; empty: there is none.
	Restore string
	// Switches are the steps of the plan that move clients.
	Switches int
	// Hold is how long the primary must have been dark without a break before
	// anything irreversible may happen without a person.
	Hold time.Duration
	// Prepare is the same for a start, which may be prepared and is undone.
	Prepare time.Duration
	// Slack is how much shorter the darkness may seem: from the first moment at
	// which a probe could have failed to the vote.
	Slack time.Duration
	// Recover is the longest light between two darknesses that nobody need notice: a
	// signal recovers more slowly than it fails.
	Recover time.Duration
	// Linger is how long after a darkness what it gave rise to may still begin:
	// until it is noticed, and votes age.
	Linger time.Duration
	// Patience is how long a person's order may be under way.
	Patience time.Duration
	// Repair is how long a stale effect may last where no token is checked, once
	// every fault is over.
	Repair time.Duration
}

// Final is where the run ended, after everything was healed.
type Final struct {
	At time.Time
	// Asks says that what is open waits for a person, as a person is shown it.
	Asks bool
	// Traffic is where clients are sent, and Deserted where they are sent once all
	// nodes are gone.
	Traffic, Deserted string
	// Diverged names nodes whose state differs at the same index.
	Diverged string
}

// Judge returns every violation of the run, each as a sentence that begins with
// the invariant's ID. final is nil if the run was broken off: then nothing is
// said of its end.
func Judge(record []Entry, rules Rules, final *Final) []string {
	out := slices.Concat(
		dualActive(record, rules),
		traffic(record, rules),
		tokens(record),
		data(record, rules),
		repeated(record),
		orders(record, rules),
	)
	if final != nil {
		out = append(out, ended(record, rules, *final)...)
	}
	return out
}

// dualActive finds moments in which critical processes of two regions ran (S1),
// and flips to a region while another's processes ran (S3).
func dualActive(record []Entry, rules Rules) (out []string) {
	alive := map[string]map[string]bool{}
	turned := false // gates, which may fall silent: that is judged in traffic
	home := false   // the service has come home, which gates of nodes that were cut off have not heard
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
		case Fenced:
			home = e.Region == rules.Secondary
			if ws := alive[e.Region]; len(ws) > 0 {
				out = append(out, fmt.Sprintf("S1: %s was taken for stopped at %s while %v ran there", e.Region, clock(e.At), keys(ws)))
			}
		case Flip:
			silent := e.What == Gates && (turned || home)
			turned = turned != (e.What == Gates)
			for other, ws := range alive {
				if !silent && other != e.Region && len(ws) > 0 {
					out = append(out, fmt.Sprintf("S3: %s moved to %s at %s while %v ran in %s", e.What, e.Region, clock(e.At), keys(ws), other))
				}
			}
		}
	}
	return out
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }

func keys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// other is the region that is entered when one is left.
func (r Rules) other(region string) string {
	if region == r.Primary {
		return r.Secondary
	}
	return r.Primary
}
