package main

// leases are the rules of the lease, the freeze and the wait, on the cluster's
// side (G1, G3, G4).
var leases = []mutant{
	{
		name: "verify-leader-grants", rule: "G1", takes: "VerifyLeader as the grant round",
		says: "a grant rests on raft's VerifyLeader and the leader's own state instead of a committed entry",
		edits: []edit{{"consensus/granter.go", `		res, err := t.Propose(ctx, round, "")
`, `		err := t.node.within(5*time.Second, func() error { return t.node.raft.VerifyLeader().Error() })
		own := t.State().Clone()
		res := own.Apply(failover.Meta{Index: own.Index + 1, Term: t.Term, ProposedTerm: t.Term, At: t.node.now(), Node: t.node.id}, round)
		go func() { _, _ = t.Propose(ctx, round, "") }()
`}},
		tests: []test{{pkg: "consensus", name: "TestOldAnswersProveNothing"}},
	},
	{
		name: "verify-leader-proves", rule: "G1",
		says: "leadership before an effect is proven by raft's VerifyLeader instead of a committed entry",
		edits: []edit{{"consensus/tenure.go", `	_, err := t.Propose(ctx, failover.Round{}, "")
	return err
`, `	_ = ctx
	return t.node.within(5*time.Second, func() error { return t.node.raft.VerifyLeader().Error() })
`}},
		tests: []test{{pkg: "consensus", name: "TestOldAnswersProveNothing"}},
	},
	{
		name: "no-wait", rule: "G3", takes: "no wait",
		says: "lease expiry is evidence as soon as the lease is frozen",
		edits: []edit{{"failover/state.go", `	return s.Settings.Policy.Lease.Wait(s.MaxLease(r))
`, `	return 0
`}},
		tests: []test{{pkg: "internal/sim", name: "TestLeaveWhatIsCutOff"}, {pkg: "actions", name: "TestEpochWaitsForTheLastEffect"}},
	},
	{
		name: "no-freeze", rule: "G3", takes: "no freeze",
		says: "leases are granted while the region's lease is frozen",
		edits: []edit{{"failover/apply_lease.go", `	case s.Freeze != nil && s.Freeze.Region == r.Region:
		g.Freeze, g.Sentence = s.Freeze.ID, "the lease of "+string(r.Region)+" is frozen"
		return g
`, ``}},
		tests: []test{{pkg: "internal/sim", name: "TestLeaveByLeaseAlone"}, {pkg: "failover", name: "TestProperties"}},
	},
	{
		name: "no-rho", rule: "G3", takes: "no ρ",
		says: "the wait is the bare lease: clocks at different rates are forgotten",
		edits: []edit{{"failover/settings.go", `	num, den := int64(1_000_000+t.RhoPPM), int64(1_000_000-t.RhoPPM)
`, `	num, den := int64(1_000_000), int64(1_000_000)
`}},
		tests: []test{{pkg: "internal/sim", name: "TestLeaveInAPause"}, {pkg: "actions", name: "TestEpochWaitsForTheLastEffect"}},
	},
	{
		name: "no-effect-tail", rule: "G3",
		says: "the wait leaves out the effect tail: what a killed worker had sent lands in the new epoch",
		edits: []edit{{"failover/settings.go", `	return scaled + t.Margin.D() + t.EffectTail.D()
`, `	return scaled + t.Margin.D()
`}},
		tests: []test{{pkg: "actions", name: "TestEpochWaitsForTheLastEffect"}},
	},
	{
		name: "wait-from-commit", rule: "G3", takes: "wait from commit",
		says: "the wait counts from the time that stands in the freeze's entry, not from this leader's own apply",
		edits: []edit{{"actions/freeze.go", `	return time.Since(x.freezeAt)
`, `	return time.Since(s.Freeze.At)
`}},
		tests: []test{{pkg: "actions", name: "TestWaitIsOnTheLeadersClock"}},
	},
	{
		name: "wait-from-last-grant", rule: "G3", takes: "wait from last grant",
		says: "the wait counts from the last request of an agent that the leader knows of",
		edits: []edit{{"actions/fencing.go", `	waited, need := x.FreezeAge(s), s.FreezeWait(e.From)
	var lines []string
`, `	last := s.Freeze.At.Add(-time.Hour)
	for _, id := range s.AgentIDs(e.From, "") {
		if at := s.Agents[id].LastAsked; at.After(last) && at.Before(s.Freeze.At) {
			last = at
		}
	}
	waited, need := time.Since(last), s.FreezeWait(e.From)
	var lines []string
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G3b"}, {pkg: "actions", name: "TestLeaseEvidence"}},
	},
	{
		name: "wait-goes-on-in-new-term", rule: "G3", takes: "wait not restarted on a new term",
		says: "a new leader goes on with the wait of the one before",
		edits: []edit{{"actions/freeze.go", `		x.freezeID, x.freezeAt = s.Freeze.ID, time.Now()
`, `		x.freezeID, x.freezeAt = s.Freeze.ID, time.Now()
		if s.Freeze.At.Before(x.started) {
			x.freezeAt = s.Freeze.At
		}
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G3b"}, {pkg: "actions", name: "TestLeaseEvidence"}},
	},
	{
		name: "freeze-id-ignored", rule: "G7", takes: "freeze ID ignored",
		says: "evidence and reports count whatever freeze they were given for, and outlive it",
		edits: []edit{
			{"failover/execution.go", `ev.Component == f.Component && ev.Freeze == freeze && ev.Epoch == e.Epoch && ev.Void == ""`, `ev.Component == f.Component && ev.Epoch == e.Epoch && ev.Void == ""`},
			{"failover/apply_lease.go", `			if e.Evidence[i].Freeze == f.ID && e.Evidence[i].Void == "" {
`, `			if e.Evidence[i].Freeze == f.ID && e.Evidence[i].Void == "-" {
`},
			{"failover/apply_lease.go", `		if a.StoppedFor == f.ID {
			a.StoppedFor = 0
`, `		if a.StoppedFor == f.ID && f.ID == 0 {
			a.StoppedFor = 0
`},
			{"failover/apply_lease.go", `	a.Granted, a.StoppedFor = m.Index, 0
`, `	a.Granted = m.Index
`},
			{"failover/apply_evidence.go", `		if s.Freeze == nil || s.Agents[id].StoppedFor != s.Freeze.ID {
`, `		if s.Freeze == nil || s.Agents[id].StoppedFor == 0 {
`},
		},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G7d"}, {pkg: "failover", name: "TestFreeze"}},
	},
	{
		name: "evidence-outlives-freeze", rule: "G7",
		says: "lifting a freeze leaves its evidence and its reports standing",
		edits: []edit{
			{"failover/apply_lease.go", `	for _, a := range s.Agents {
		if a.StoppedFor == f.ID {
			a.StoppedFor = 0
		}
	}
	if e := s.Execution; e != nil {
`, `	if e := s.Execution; e != nil && false {
`},
		},
		tests: []test{{pkg: "failover", name: "TestFreeze"}},
	},
	{
		name: "freeze-outlives-its-execution", rule: "G8",
		says: "the freeze stays in force when its execution has ended: a healthy region stops",
		edits: []edit{{"failover/apply_finish.go", `	if s.Freeze != nil && s.Freeze.Execution == e.ID {
		s.liftFreeze(m, c, "execution "+string(state))
	}
`, ``}},
		tests: []test{{pkg: "actions", name: "TestAbortAndUndo"}, {pkg: "failover", name: "TestFreeze"}},
	},
	{
		name: "lease-length-from-configuration", rule: "G4", takes: "lease length from local configuration",
		says: "the wait follows the configured lease, not the longest that an agent may still hold",
		edits: []edit{{"failover/state.go", `			longest = max(longest, a.MaxLease.D())
`, ``}},
		tests: []test{{pkg: "internal/sim", name: "TestLeaveInAPause"}, {pkg: "failover", name: "TestPauseLease"}},
	},
	{
		name: "asked-length-forgotten", rule: "G4",
		says: "the log remembers the configured length of a grant, not the longer one that the agent runs with",
		edits: []edit{{"failover/apply_lease.go", `	a.granted(max(r.Lease, g.Terms.Length), m.Index)
`, `	a.granted(s.Settings.Policy.Lease.Length, m.Index)
`}},
		tests: []test{{pkg: "failover", name: "TestProperties"}, {pkg: "failover", name: "TestPauseLease"}},
	},
	{
		name: "longer-lease-forgotten", rule: "G4",
		says: "a new grant makes the log forget the longer one that the agent may still hold",
		edits: []edit{{"failover/apply_lease.go", `	a.MaxLease = a.Lengths[0].Length
}

// holds drops`, `	a.Lengths = []GrantedLength{{Length: length, Index: index}}
	a.MaxLease = length
}

// holds drops`}},
		tests: []test{{pkg: "failover", name: "TestPauseLease"}},
	},
	{
		name: "mode-from-log-only", rule: "G4", takes: "mode from the log only",
		says: "whether agents stop by themselves is read from the configuration, not from what they say",
		edits: []edit{{"failover/apply_evidence.go", `		if !a.Enforced {
`, `		if false {
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G4b"}, {pkg: "failover", name: "TestUnboundAndGreedyAgents"}},
	},
	{
		name: "provisional-freeze-stays", rule: "G3",
		says: "a provisional freeze is not lifted when an agent of the region is heard",
		edits: []edit{{"failover/apply_lease.go", `		s.event(m, c, "provisional freeze %d lifted: agent %s was heard", s.Freeze.ID, r.Agent)
		s.Freeze = nil
`, `		g.Freeze, g.Sentence = s.Freeze.ID, "the lease of "+string(r.Region)+" is frozen"
		return g
`}},
		tests: []test{{pkg: "failover", name: "TestDecide/provisional-freeze"}, {pkg: "failover", name: "TestFreeze"}},
	},
	{
		name: "provisional-freeze-despite-agents", rule: "G3",
		says: "the lease is frozen provisionally although agents of the region are heard",
		edits: []edit{{"failover/decide.go", `		d.HoldElapsed >= lead && silent >= lead:
`, `		d.HoldElapsed >= lead && silent >= 0:
`}},
		tests: []test{{pkg: "failover", name: "TestDecide/agents-heard"}},
	},
	{
		name: "provisional-freeze-proves", rule: "G3",
		says: "the epoch may advance, and evidence may be recorded, on a provisional freeze",
		edits: []edit{
			{"failover/apply_evidence.go", `	case s.Freeze == nil || s.Freeze.ID != c.Freeze || s.Freeze.Provisional || s.Freeze.Execution != e.ID:
`, `	case s.Freeze == nil || s.Freeze.ID != c.Freeze:
`},
			{"failover/apply_evidence.go", `	case s.Freeze == nil || s.Freeze.ID != c.Freeze || s.Freeze.Provisional:
		return nil, refuse("freeze", "evidence for freeze %d, which is not in force", c.Freeze)
`, `	case s.Freeze == nil || s.Freeze.ID != c.Freeze:
		return nil, refuse("freeze", "evidence for freeze %d, which is not in force", c.Freeze)
`},
		},
		tests: []test{{pkg: "failover", name: "TestProvisionalFreezeProvesNothing"}},
	},
	{
		name: "any-region-granted", rule: "S1",
		says: "leases are granted without asking which region is active",
		edits: []edit{{"failover/apply_lease.go", `	case r.Region != s.Active:
		g.Gone, g.Sentence = true, string(s.Active)+" is the active region"
		return g
`, ``}},
		tests: []test{{pkg: "internal/sim", name: "TestLeaveByLeaseAlone"}, {pkg: "failover", name: "TestProperties"}},
	},
	{
		name: "no-barrier", rule: "G2", takes: "no barrier",
		says: "a new leader serves before it has applied what was committed before its term",
		edits: []edit{{"consensus/tenure.go", `		_, err := t.Propose(ctx, failover.Lead{Node: n.id}, "")
`, `		var err error
		go func() { _, _ = t.Propose(ctx, failover.Lead{Node: n.id}, "") }()
`}},
		tests: []test{{pkg: "consensus", name: "TestTenure"}},
	},
	{
		name: "pause-lease-not-counted", rule: "G4",
		says: "the leases that a pause hands out are as long as ever, so that a pause does not outlast its quorum",
		edits: []edit{{"failover/apply_lease.go", `		g.Terms.Length += Duration(s.Pause.Until.Sub(m.At))
`, ``}},
		tests: []test{{pkg: "failover", name: "TestPauseLease"}},
	},
	{
		name: "valid-lease-forgotten", rule: "G4",
		says: "an agent is forgotten after a day of silence although a lease from a pause may be valid for longer",
		edits: []edit{{"failover/apply_lease.go", `			limit = max(limit, s.Settings.Policy.Lease.Wait(a.MaxLease.D()))
`, ``}},
		tests: []test{{pkg: "failover", name: "TestPauseLeaseIsNotForgotten"}},
	},
	{
		name: "silence-by-wall-clocks", rule: "S1",
		says: "for how long an agent was silent is inferred from the wall clocks of two leaders",
		edits: []edit{{"failover/apply_lease.go", `			silent = s.silence(c, id)
`, `			_ = s.silence(c, id)
`}},
		tests: []test{{pkg: "failover", name: "TestAClockAheadForgetsNobody"}},
	},
	{
		name: "older-log-grants", rule: "T4",
		says: "a lease is granted to an agent that has seen a later epoch than the log knows",
		edits: []edit{{"failover/apply_lease.go", `	if r.SeenEpoch > s.Epoch {
`, `	if false {
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/T4"}, {pkg: "failover", name: "TestGrantRefusals"}},
	},
	{
		name: "long-wait-overflows", rule: "G3",
		says:  "the wait for the leases of a pause of months overflows, and is over at once",
		edits: []edit{{"failover/settings.go", `us/den*num+us%den*num/den`, `us*num/den`}},
		tests: []test{{pkg: "failover", name: "TestLongPauseLease"}},
	},
	{
		name: "request-after-the-goodbye", rule: "G7",
		says: "a request that is under way when its agent says goodbye makes the agent known again, and it seems to have vanished",
		edits: []edit{{"consensus/granter.go", `		case gone:
`, `		case gone && w.leaves:
`}},
		tests: []test{{pkg: "consensus", name: "TestNoRequestOutlivesAGoodbye"}},
	},
	{
		name: "lease-shortened-under-agents", rule: "S8",
		says:  "a configuration is taken under which the agents that are at work get no lease any more: their workers stop in a healthy region",
		edits: []edit{{"failover/apply_config.go", `s.Level() >= 3 && a.Asks > limit && a`, `s.Level() >= 9 && a.Asks > limit && a`}},
		tests: []test{{pkg: "failover", name: "TestALeaseIsNotShortenedUnderItsAgents"}},
	},
}
