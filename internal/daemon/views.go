package daemon

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
	"github.com/failoverd/failoverd/internal/admin"
	"github.com/failoverd/failoverd/monitor"
)

// This file is what people and machines see of a node: it implements admin.Node
// and web.Source.

// viewTimeout bounds how long a status waits for the leader.
const viewTimeout = time.Second

// Status implements admin.Node: it asks the leader for what only the leader
// knows, and says so when the leader does not answer.
func (d *Daemon) Status(ctx context.Context) admin.Status {
	s := d.base()
	ctx, cancel := context.WithTimeout(ctx, viewTimeout)
	defer cancel()
	v, err := d.core.View(ctx)
	if err != nil {
		s.LeaderError = err.Error()
		return s
	}
	d.fill(&s, v)
	return s
}

// Local implements web.Source: what this node knows by itself.
func (d *Daemon) Local() admin.Status {
	s := d.base()
	if v, err := d.core.LocalView(); err == nil {
		d.fill(&s, v)
	}
	return s
}

func (d *Daemon) base() admin.Status {
	st := d.core.Node().State()
	stats := d.core.Node().Stats()
	term, _ := strconv.ParseUint(stats["term"], 10, 64) // raft prints numbers
	applied, _ := strconv.ParseUint(stats["applied_index"], 10, 64)
	s := admin.Status{
		Service: d.opts.Config.Service, Node: d.this.ID, Vantage: d.this.Vantage, Version: d.opts.Version, Time: time.Now().UTC(),
		Raft:   admin.RaftStatus{State: stats["state"], Leader: d.core.Node().Leader(), Term: term, Applied: applied},
		Config: st.SettingsHash, OwnFile: d.opts.Config.Hash(),
		Epoch: st.Epoch, Active: st.Active, Traffic: st.Traffic,
		Preparation: st.Preparation, Refused: st.Refused, Request: st.Request, Holds: st.Holds, Late: st.Late,
		Freeze: st.Freeze, Incident: st.Incident, Execution: st.Execution, Back: st.Back(), Pause: st.Pause, CooldownUntil: st.CooldownUntil,
	}
	if st.Suspicion != nil {
		s.Condition, s.Sentence = st.Suspicion.Condition, st.Suspicion.Sentence
	}
	if n := len(st.History); n > 0 {
		s.Last = st.History[n-1]
	}
	nodes := d.opts.Config.Settings().Nodes
	if st.Settings != nil {
		s.Fences = fences(st, later(time.Now(), st.Time))
		s.Mode, s.Standby, nodes = st.Settings.Policy.Mode, st.Settings.Other(st.Active), st.Members()
	}
	s.Generation, s.Unattested, s.Features, s.Change, s.Waits = st.Generation, st.Unattested(), st.Level(), st.Change, st.Waits()
	if st.Proposal != nil {
		s.Proposed = st.Proposal.Hash
	}
	for _, h := range st.HalfOrders {
		if s.Time.Before(h.Until()) {
			s.HalfOrders = append(s.HalfOrders, h)
		}
	}
	s.Members = members(st, nodes, d.core.Node())
	slices.SortFunc(s.Members, func(a, b admin.MemberStatus) int { return strings.Compare(string(a.ID), string(b.ID)) })
	for id, a := range st.Agents {
		s.Agents = append(s.Agents, admin.AgentStatus{ID: id, AgentRecord: *a})
	}
	slices.SortFunc(s.Agents, func(a, b admin.AgentStatus) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return s
}

// members describes the nodes of the cluster, as the log and raft's
// configuration have them.
func members(st *failover.State, nodes map[failover.NodeID]failover.NodeSpec, node *consensus.Node) []admin.MemberStatus {
	suffrage := map[failover.NodeID]string{}
	servers, _ := node.Members() // without an answer all are absent, which is shown
	for _, srv := range servers {
		suffrage[failover.NodeID(srv.ID)] = "non-voter"
		if srv.Suffrage == raft.Voter {
			suffrage[failover.NodeID(srv.ID)] = "voter"
		}
	}
	var out []admin.MemberStatus
	for id, n := range nodes {
		rec := st.Nodes[id]
		m := admin.MemberStatus{
			ID: id, Vantage: n.Vantage, Address: n.Address, Version: rec.Version, Config: rec.ConfigHash,
			State: suffrage[id], Features: rec.Features, Disk: rec.Disk, Starts: rec.Starts,
		}
		if m.State == "" {
			m.State = "absent"
		}
		if st.Change != nil && st.Change.Node == id {
			m.Change = st.Change.Kind
		}
		out = append(out, m)
	}
	return out
}

// fill adds the leader's soft state.
func (d *Daemon) fill(s *admin.Status, v LeaderView) {
	ttl := d.running.Load().cfg.Policy.VoteTTL.D()
	s.Condition, s.Sentence, s.Views = v.Judgement.Condition, v.Judgement.Sentence, v.Judgement.Views
	s.HoldElapsed, s.Hold = v.HoldElapsed, v.Hold
	s.FreezeAge, s.FreezeWait, s.Progress = v.FreezeAge, v.FreezeWait, v.Progress
	for i := range s.Members {
		m := &s.Members[i]
		for _, vote := range v.Votes {
			if vote.Node == m.ID {
				m.VoteAge = vote.Age
				m.Voted = vote.Age.D() <= ttl
			}
		}
	}
}

// Votes implements admin.Node.
func (d *Daemon) Votes(ctx context.Context) (admin.Votes, error) {
	ctx, cancel := context.WithTimeout(ctx, viewTimeout)
	defer cancel()
	v, err := d.core.View(ctx)
	if err != nil {
		return admin.Votes{}, err
	}
	return admin.Votes{Leader: v.Node, Judgement: v.Judgement, Votes: v.Votes}, nil
}

// Signals implements admin.Node.
func (d *Daemon) Signals() []admin.SignalReport {
	var out []admin.SignalReport
	for _, v := range d.running.Load().monitor.Verdicts() {
		for _, sig := range v.Signals {
			f := monitor.Filter{Component: sig.Component, Kind: sig.Kind, Region: sig.Region, Limit: 5}
			r := admin.SignalReport{SignalState: sig, Recent: d.running.Load().monitor.Recent(f)}
			f.Failed = true
			r.Failures = d.running.Load().monitor.Recent(f)
			out = append(out, r)
		}
	}
	return out
}

// State implements admin.Node.
func (d *Daemon) State() *failover.State { return d.core.Node().State() }

// Changed implements admin.Node.
func (d *Daemon) Changed() <-chan struct{} { return d.core.Node().Changed() }

// Propose implements admin.Node.
func (d *Daemon) Propose(ctx context.Context, by, why, id string, c failover.Command) (failover.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return d.core.Node().Propose(ctx, failover.Meta{By: by, Why: why, ID: id}, c)
}

// Plan implements admin.Node: the open execution's plan, or the one of that kind that would
// run now.
func (d *Daemon) Plan(kind failover.ExecKind) (failover.Plan, string, error) {
	st := d.core.Node().State()
	if st.Execution != nil {
		return *st.Execution.Plan, plan.Render(st.Execution.Plan, actions.NeedsOf(st.Execution.Plan)), nil
	}
	cfg := d.running.Load().cfg
	settings, from := cfg.Settings(), cfg.Primary
	if st.Settings != nil {
		settings, from = *st.Settings, st.Active
	}
	p, err := plan.DeriveKind(&settings, from, kind)
	if err != nil {
		return p, "", err
	}
	return p, plan.Render(&p, actions.NeedsOf(&p)), nil
}

// Price implements admin.Node.
func (d *Daemon) Price(kind failover.ExecKind) (plan.Price, error) {
	p, _, err := d.Plan(kind)
	if err != nil {
		return plan.Price{}, err
	}
	return plan.PriceOf(d.core.Node().State(), &p, time.Now()), nil
}

// Verdicts implements web.Source.
func (d *Daemon) Verdicts() []failover.Verdict { return d.running.Load().monitor.Verdicts() }

// Executions implements web.Source.
func (d *Daemon) Executions() map[failover.ExecState]int {
	out := map[failover.ExecState]int{failover.ExecStable: 0, failover.ExecUndone: 0, failover.ExecAborted: 0}
	for _, e := range d.core.Node().State().History {
		out[e.State]++
	}
	return out
}

// LastContact implements web.Source.
func (d *Daemon) LastContact() time.Time { return d.core.Node().LastContact() }

// CertNotAfter implements web.Source.
func (d *Daemon) CertNotAfter() time.Time { return d.material.NotAfter() }
