package mongotest

import (
	"fmt"
	"slices"
	"time"
)

// This file is what becomes of a member whose history is not that of the member that it follows.
//
// An operation is known by its term and its place in the log. A real one is known by its term, its second and its count within that second ("ts" and "t":
// https://www.mongodb.com/docs/manual/core/replica-set-rollbacks/), and by nothing of what it says: two sides of one term that write about as often as each
// other have different operations of one name. Here they have them wherever both wrote. What follows is the same: nobody notices.

// Exit is how a member's process has ended by itself.
type Exit string

// The ways in which a rollback ends a process: RollbackImpl in the server's rollback_impl.cpp.
const (
	// Aborted: what would be rolled back was committed by a majority, as far as this process has heard. It is the invariant
	// commonPointOpTime >= lastCommittedOpTime (log id 23079, SIGABRT). A process that was started again has heard nothing yet, and gets past it.
	Aborted Exit = "SIGABRT"
	// PastStable: the last stable checkpoint lies behind the common point (fassert 51121, status 14), at each start anew.
	PastStable Exit = "fassert 51121"
	// Unrecoverable: there is no common point, or what is to be rolled back reaches over more than rollbackTimeLimitSecs
	// (UnrecoverableRollbackError, fassert 50666, status 14), at each start anew.
	Unrecoverable Exit = "fassert 50666"
)

// rollbackLimit is what a real one has without rollbackTimeLimitSecs.
const rollbackLimit = 24 * time.Hour

// fetch takes what a member has that is ahead. A history of its own is given up in two steps, so that the state ROLLBACK is to be seen. m.mu is held.
func (m *Member) fetch(in beat) {
	if m.down || m.stalled || m.state != secondary && m.state != rolling || len(in.Entries) == 0 || !in.Last.after(m.lastOp()) {
		return
	}
	switch own := int64(len(m.log)); {
	case !in.Whole && in.Entries[0].Index == own+1:
		m.log = append(m.log, in.Entries...)
	case !in.Whole: // the answer to an older question
		return
	case own == 0: // it copies everything
		m.log = in.Entries
	case m.state == secondary:
		m.become(rolling, time.Now())
		return
	case !m.rollBack(in.Entries):
		return
	}
	if m.state == rolling {
		m.become(secondary, time.Now())
	}
	m.commit = max(m.commit, min(in.Commit, int64(len(m.log))))
}

// rollBack gives up what the source does not have, back to the newest operation that has the same name there: whatever lies before it stays, whether it is
// the same or not. It reports false if the process has ended over it. m.mu is held.
func (m *Member) rollBack(source []entry) bool {
	common := min(len(m.log), len(source))
	for common > 0 && m.log[common-1].Term != source[common-1].Term {
		common--
	}
	switch {
	case common == 0 || common < len(m.log) && m.lastOp().At.Sub(m.log[common].At) > rollbackLimit:
		m.die(Unrecoverable)
		return false
	case int64(common) < m.commit && m.commit > m.recovered:
		m.die(Aborted)
		return false
	case int64(common) < m.stable:
		m.die(PastStable)
		return false
	}
	m.aside = append(m.aside, m.log[common:]...)
	m.rolledBack += len(m.log) - common
	m.opt.Log.Warn("mongo rollback", "member", m.host, "entries", len(m.log)-common)
	m.log = append(slices.Clone(m.log[:common]), source[common:]...)
	m.commit = min(m.commit, int64(common))
	return true
}

// die ends the process by itself. m.mu is held.
func (m *Member) die(how Exit) {
	m.opt.Log.Warn("mongo exit", "member", m.host, "how", string(how))
	m.exits = append(m.exits, how)
	m.end()
}

// checkpointed writes a stable checkpoint when one is due: each minute on a real one (storage.syncPeriodSecs), of what a majority has. m.mu is held.
func (m *Member) checkpointed(now time.Time) {
	if m.checkpoint > 0 && now.Sub(m.checkpointAt) >= m.checkpoint {
		m.stable, m.checkpointAt = m.commit, now
	}
}

// Checkpoints has the member write a stable checkpoint of what a majority has, now and then each time that long has passed. Zero: not again by itself.
// Without a call it writes them every six election time-outs, the minute of a real one.
func (m *Member) Checkpoints(every time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stable, m.checkpointAt, m.checkpoint = m.commit, time.Now(), every
}

// Stop ends the member's process cleanly, which writes a stable checkpoint; Kill does not.
func (m *Member) Stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stable = m.commit
	m.end()
}

// Empty takes all data of a member that does not run: what it is started with next, it copies from the set.
func (m *Member) Empty() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log, m.aside, m.cfg, m.term, m.voted, m.commit, m.stable, m.recovered = nil, nil, nil, 0, 0, 0, 0, 0
}

// Exits are the ways in which the process has ended by itself, oldest first.
func (m *Member) Exits() []Exit {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.exits)
}

// Aside are the _ids, as text, of the documents of a collection that were inserted by what was rolled back: a real one writes them to files in the directory
// "rollback".
func (m *Member) Aside(ns string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := []string{}
	for _, e := range m.aside {
		if e.Op == "i" && e.NS == ns {
			out = append(out, fmt.Sprint(get(e.Doc, "_id")))
		}
	}
	return out
}
