package fence

import (
	"time"

	"github.com/failoverd/failoverd/failover"
)

// Ask is an agent's request for a lease, and its report. It is what goes over
// the wire.
type Ask struct {
	Request   string             `json:"request"` // random, remembered until it is answered or forgotten
	Agent     failover.AgentID   `json:"agent"`
	Region    failover.Region    `json:"region"`
	Component failover.Component `json:"component"`
	Lease     failover.Duration  `json:"lease"`
	Enforced  bool               `json:"enforced"`
	SeenEpoch uint64             `json:"seen_epoch"`
	Running   bool               `json:"running"`
	// Holding is the index of the grant that the agent holds; zero: none.
	Holding uint64 `json:"holding,omitempty"`
	// WouldHave is Status.WouldHave.
	WouldHave uint64 `json:"would_have_stopped,omitempty"`
	// Rehearsed is the result of the newest rehearsal that was asked for.
	Rehearsed *failover.RehearsalResult `json:"rehearsed,omitempty"`
	// Stopped is the freeze for which the workers are dead and all earlier
	// requests are forgotten; zero: none.
	Stopped uint64 `json:"stopped,omitempty"`
	// Bye says that the agent ends, its workers are dead and it will not ask
	// again under this name.
	Bye bool `json:"bye,omitempty"`
	// Seq is larger in each request of an agent than in those before; zero in one of an
	// earlier version.
	Seq uint64 `json:"seq,omitempty"`
	// Nodes are those that the agent knows, and whose words count for it.
	Nodes []failover.NodeID `json:"nodes,omitempty"`
	// Vouch signs the request for nodes that pass it on; nil: it counts only from the
	// agent itself.
	Vouch *Vouch `json:"vouch,omitempty"`
}

// Answer is the leader's answer to an Ask.
type Answer struct {
	Request string `json:"request"`
	failover.Grant
	// Leader signs Statement, and each of Seconds signs Seconding: an answer counts only
	// with the words of a majority (see Believe).
	Leader  *Vouch  `json:"leader,omitempty"`
	Seconds []Vouch `json:"seconds,omitempty"`
}

// Holder is the agent's side of the lease protocol (rules G2, G4, G5). It is a
// plain value without clock or I/O: times are CLOCK_BOOTTIME readings that the
// caller took. It is not safe for concurrent use.
type Holder struct {
	work time.Duration // the longest piece of work that a worker does

	pending map[string]time.Duration // requests not yet answered → when they were sent
	// The lease: everything follows from when its request was sent.
	held      bool
	index     uint64 // raft index of the grant
	sent      time.Duration
	terms     failover.LeaseTerms
	arming    failover.Arming
	isolation string
	epoch     uint64
	freeze    uint64 // that refused us last; zero: none
	gone      bool   // the region is not the active one
	sentence  string
}

// NewHolder returns a holder without a lease. seenEpoch is the highest epoch
// that the agent has ever seen; work is the longest piece of work of its
// workers.
func NewHolder(seenEpoch uint64, work time.Duration) *Holder {
	return &Holder{pending: map[string]time.Duration{}, epoch: seenEpoch, work: work, sentence: "no answer yet"}
}

// Sent remembers a request that is about to leave.
func (h *Holder) Sent(request string, now time.Duration) {
	const keep = 128 // a lease of a minute, asked for every second: older ones are of no use
	if len(h.pending) >= keep {
		h.forgetOldest()
	}
	h.pending[request] = now
}

func (h *Holder) forgetOldest() {
	oldest := ""
	for id, at := range h.pending {
		if oldest == "" || at < h.pending[oldest] {
			oldest = id
		}
	}
	delete(h.pending, oldest)
}

// Received takes an answer in. It returns false when the answer was not
// asked for, or is of no use any more: the lease it grants counts from when its
// request was sent, and that may be over (rule G2).
func (h *Holder) Received(a Answer, now time.Duration) bool {
	sent, asked := h.pending[a.Request]
	if !asked {
		return false
	}
	delete(h.pending, a.Request)
	if a.Epoch < h.epoch {
		// A cluster that knows less than we do was restored from something old.
		h.sentence = "the cluster answered with an older epoch than this agent has seen"
		return false
	}
	if a.Epoch > h.epoch {
		// The log may be that of a recovered cluster, and shorter than the one that granted
		// what is held: its entries come after all of that one's.
		h.epoch, h.index = a.Epoch, 0
	}
	was := h.sentence
	h.sentence = a.Sentence
	if !a.Granted {
		// What would not bind the workers only says that they may run: a refusal does not.
		if a.Arming == failover.ArmEnforced && a.OnIsol != "keep" {
			h.bind(a.Arming, a.OnIsol)
		}
		if h.held && sent < h.sent && a.Index != 0 && a.Index < h.index {
			// An older request's refusal came late: it stands before the grant in the log,
			// and says nothing of the lease that is held. One that stands after the grant
			// counts, whenever it was asked for; so does one of a leader that does not say.
			h.sentence = was
			return true
		}
		// That the region is not the active one stands until an answer says that it is: a
		// refusal for another reason, such as that the component is not configured, does not.
		h.freeze, h.gone = a.Freeze, a.Gone || h.gone && a.Freeze == 0
		return true
	}
	if h.held && (sent < h.sent || a.Index != 0 && a.Index < h.index) {
		// An older request answered late, or a newer one granted earlier: the lease
		// stands. The log counts on our never going back to an earlier grant (G4).
		return true
	}
	h.bind(a.Arming, a.OnIsol)
	if now >= sent+a.Terms.Length.D()-a.Terms.Stop.Total() {
		h.sentence = "the grant came too late to be of use"
		return false
	}
	h.held, h.index, h.sent, h.terms = true, a.Index, sent, a.Terms
	h.freeze, h.gone = 0, false
	return true
}

// bind takes over how the workers are bound. What has been bound stays bound for
// the agent's life: the log counts on an agent that once said so, and no answer,
// however late, may make that untrue. A step down the ladder takes a restart of
// the agent.
func (h *Holder) bind(arming failover.Arming, isolation string) {
	if was := *h; was.Bound() {
		return
	}
	h.arming, h.isolation = arming, isolation
}

// Holding is the index of the grant that is held; zero: none, or one of a leader
// that does not name it.
func (h *Holder) Holding() uint64 {
	if !h.held {
		return 0
	}
	return h.index
}

// Forget gives the lease up and forgets every request, so that a late grant
// cannot revive it: the promise behind an agent's report (rule G7).
func (h *Holder) Forget() {
	h.held, h.index = false, 0
	clear(h.pending)
}

// Frozen is the freeze that refused the last request; zero: none did.
func (h *Holder) Frozen() uint64 { return h.freeze }

// StopAt is when stopping must begin: lease − stop budget after the request was
// sent (rule G5). ok is false without a lease.
func (h *Holder) StopAt() (at time.Duration, ok bool) {
	return h.sent + h.terms.Length.D() - h.terms.Stop.Total(), h.held
}

// KillAt is when SIGKILL must be sent.
func (h *Holder) KillAt() time.Duration {
	stop, _ := h.StopAt()
	return stop + h.terms.Stop.Grace.D()
}

// ActiveUntil is the last moment at which a worker may begin a piece of work
// (rule G6).
func (h *Holder) ActiveUntil() time.Duration {
	stop, ok := h.StopAt()
	if !ok {
		return 0
	}
	return min(stop, h.KillAt()-h.work)
}

// Active reports whether a worker may begin a piece of work now.
func (h *Holder) Active(now time.Duration) bool {
	return h.held && now < h.ActiveUntil() && h.freeze == 0 && !h.gone
}

// MayRun reports whether workers may run now. Below the enforced rung they may
// run unless the region is known not to be the active one: nothing critical
// starts in a standby region on any rung.
func (h *Holder) MayRun(now time.Duration) bool {
	stop, ok := h.StopAt()
	switch {
	case h.gone:
		return false
	case h.Bound():
		return ok && now < stop && h.freeze == 0
	default:
		return h.arming != ""
	}
}

// MustNotRun reports whether workers that run are to be stopped. It is less than that none may
// be started: those that an agent finds running before it is bound are not its to stop.
func (h *Holder) MustNotRun(now time.Duration) bool {
	return !h.MayRun(now) && (h.Bound() || h.gone)
}

// Renew is how often to ask; fallback before the terms are known.
func (h *Holder) Renew(fallback time.Duration) time.Duration {
	if r := h.terms.Renew.D(); r > 0 {
		return r
	}
	return fallback
}
