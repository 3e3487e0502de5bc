package fence

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/durable"
)

// Status is what the agent tells local applications.
type Status struct {
	Active      bool               `json:"active"`
	Epoch       uint64             `json:"epoch"`
	Region      failover.Region    `json:"region"`
	Component   failover.Component `json:"component"`
	BootID      string             `json:"boot_id"`
	DeadlineNS  int64              `json:"deadline_boottime_ns"` // work may begin until then; absolute CLOCK_BOOTTIME
	Running     bool               `json:"running"`
	Sentence    string             `json:"sentence"`
	WouldHave   uint64             `json:"would_have_stopped"` // counted on the lower rungs
	LastContact time.Time          `json:"last_contact,omitzero"`
}

// Status is the agent's answer to GET /active. Safe for concurrent use.
func (a *Agent) Status() Status {
	running := a.cfg.Worker.Running()
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Clock.Boot()
	if !a.realAt.IsZero() { // else Run has not begun
		a.checkClocks(now) // whoever asks may be the first to run after a pause (G6)
	}
	s := a.status(now)
	s.Running = running
	return s
}

func (a *Agent) status(now time.Duration) Status {
	s := Status{
		Active: a.holder.Active(now) && !a.stopping, Epoch: a.holder.epoch, Region: a.cfg.Region, Component: a.cfg.Component,
		BootID: a.cfg.BootID, Sentence: a.holder.sentence, WouldHave: a.would, LastContact: a.last,
	}
	if !a.holder.Bound() && a.holder.arming != "" {
		// Below the enforced rung workers are never told to rest.
		s.Active = !a.holder.gone
		s.DeadlineNS = int64(now + a.cfg.Terms.Length.D())
		return s
	}
	if s.Active {
		s.DeadlineNS = int64(a.holder.ActiveUntil())
	}
	return s
}

// writeLeaseFile tells workers that read a file instead of asking. A deadline
// in the past needs no rewriting: readers compare it with their own clock.
func (a *Agent) writeLeaseFile(now time.Duration) {
	if a.cfg.LeaseFile == "" {
		return
	}
	st := a.status(now)
	st.Running = a.stopping || a.holder.MayRun(now)
	data, err := json.Marshal(st)
	if err == nil && bytes.Equal(data, a.leaseFile) {
		return
	}
	if err == nil {
		err = durable.Refresh(a.cfg.LeaseFile, data, readable)
	}
	if err == nil {
		a.leaseFile = data
	} else {
		a.cfg.Log.Error("the lease file cannot be written", "error", err)
	}
}
