package main

// evidence are the rules of what proves that a component has stopped (G7, S1).
var evidence = []mutant{
	{
		name: "no-evidence-needed", rule: "S1",
		says: "the epoch advances without evidence",
		edits: []edit{
			{"failover/unproven.go", `		if e.AcceptedEvidence(f, freeze) == nil {
`, `		if e.AcceptedEvidence(f, freeze) == nil && false {
`},
		},
		tests: []test{{pkg: "internal/sim", name: "TestLeaveByLeaseAlone"}, {pkg: "failover", name: "TestProperties"}},
	},
	{
		name: "one-of-two-agents", rule: "G7", takes: "evidence from one of two agents",
		says: "the report of one agent speaks for all of its component",
		edits: []edit{{"failover/apply_evidence.go", `			return refuse("agents", "agent %s has not reported that its workers are dead", id)
		}
	}
`, `			continue
		}
		return nil
	}
	if s.Freeze != nil {
		return refuse("agents", "no agent of %s has reported that its workers are dead", c)
	}
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G7e"}, {pkg: "actions", name: "TestAgentsConfirm"}},
	},
	{
		name: "vanished-agents-forgotten", rule: "G7",
		says: "agents that vanished without a goodbye are not missed when the rest report",
		edits: []edit{{"failover/apply_lease.go", `				s.Vanished = added(s.Vanished, a.Component, 1)
`, ``}},
		tests: []test{{pkg: "failover", name: "TestVanishedAgents"}},
	},
	{
		name: "report-without-tail", rule: "G7",
		says: "the agents' reports count before the last effects of their workers have had their time to land",
		edits: []edit{{"actions/fencing.go", `	return time.Since(r.at) >= s.Settings.Policy.Lease.EffectTail.D()
`, `	return time.Since(r.at) >= 0
`}},
		tests: []test{{pkg: "actions", name: "TestAgentsConfirm"}},
	},
	{
		name: "stop-without-tail", rule: "G7",
		says: "a stop that was seen counts before the last effects of what it stopped have had their time to land",
		edits: []edit{{"actions/act_ends.go", `	if d := s.Settings.Policy.Lease.EffectTail.D(); d > 0 {
`, `	if d := s.Settings.Policy.Lease.EffectTail.D(); d < 0 {
`}},
		tests: []test{{pkg: "actions", name: "TestConfirmedStopWaitsForTheTail"}},
	},
	{
		name: "confirmed-not-looked-at-again", rule: "G7",
		says: "what was confirmed through an API is not looked at again right before the epoch advances",
		edits: []edit{{"actions/fencing.go", `	if !x.stillStopped(ctx, s) {
		return false
	}
`, ``}},
		tests: []test{{pkg: "actions", name: "TestConfirmedIsVerifiedAgain"}},
	},
	{
		name: "confirmed-not-contradicted", rule: "G7",
		says: "evidence stands although an agent is heard with running workers afterwards",
		edits: []edit{{"failover/apply_lease.go", `	if r.Running {
		s.voidContradicted(m, c, r)
	}
`, ``}},
		tests: []test{{pkg: "failover", name: "TestConfirmedEvidenceIsContradicted"}},
	},
	{
		name: "attest-while-an-agent-asks", rule: "G7",
		says: "a person may attest that a component has stopped while one of its agents still asks for leases",
		edits: []edit{{"failover/apply_evidence.go", `		if a.StoppedFor != s.Freeze.ID && m.At.Sub(a.LastAsked) < recent {
`, `		if a.StoppedFor != s.Freeze.ID && m.At.Sub(a.LastAsked) < recent && false {
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G7c"}, {pkg: "failover", name: "TestAttestWhileAnyAgentAsks"}},
	},
	{
		name: "attestation-of-another-epoch", rule: "G7",
		says: "an attestation counts for whatever epoch is in force when it arrives",
		edits: []edit{{"failover/apply_evidence.go", `	if c.Epoch != s.Epoch || c.Epoch != e.Epoch {
		return nil, refuse("epoch", "the attestation`, `	if false {
		return nil, refuse("epoch", "the attestation`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G7c"}, {pkg: "failover", name: "TestAttest"}},
	},
	{
		name: "epoch-over-a-running-stop", rule: "E4",
		says: "the epoch advances while a stop or an undo is still in flight",
		edits: []edit{
			{"failover/apply_evidence.go", `		case st.Kind == KindStop && rec.State == StepRunning, rec.State == StepUndoing:
`, `		case rec.State == "-":
`},
			{"actions/fencing.go", `	if x.cancelStops(e) {
		return false
	}
`, ``},
		},
		tests: []test{{pkg: "failover", name: "TestEpochWaitsForAnUndo"}},
	},
	{
		name: "start-before-the-fence", rule: "S1",
		says: "steps start in the new region before the fence has passed",
		edits: []edit{
			{"failover/apply_exec.go", `	} else if (st.Kind == KindStart || st.Kind == KindSwitch) && s.Active != e.To {
`, `	} else if false {
`},
			{"failover/execution.go", `		if !e.Step(dep).Passed() {
`, `		if (dep != "fence" || st.Kind != KindStart) && !e.Step(dep).Passed() {
`},
		},
		tests: []test{{pkg: "actions", name: "TestExecutorComesThrough"}, {pkg: "actions", name: "TestUnprovenAsks"}},
	},
	{
		name: "order-of-steps-ignored", rule: "S3",
		says: "a step starts before those that it comes after have passed",
		edits: []edit{
			{"failover/execution.go", `		if !e.Step(dep).Passed() {
`, `		if false {
`},
		},
		tests: []test{{pkg: "failover", name: "TestProperties"}, {pkg: "failover", name: "TestOrderOfSteps"}},
	},
	{
		name: "traffic-before-the-epoch", rule: "S3",
		says: "traffic may be sent to a region that is not the active one",
		edits: []edit{{"failover/apply_finish.go", `	if c.Region != s.Active {
`, `	if c.Region != s.Active && c.Region != e.To {
`}},
		tests: []test{{pkg: "failover", name: "TestProperties"}, {pkg: "failover", name: "TestOrderOfSteps"}},
	},
	{
		name: "fence-skipped", rule: "S1",
		says: "a person may skip the fence",
		edits: []edit{{"failover/skip.go", `	case st.Kind == KindFence || st.Kind == KindFreeze:
`, `	case false:
`}},
		tests: []test{{pkg: "failover", name: "TestProperties"}, {pkg: "failover", name: "TestOrderOfSteps"}},
	},
	{
		name: "no-standing-hold", rule: "S1",
		says: "what was stopped in the region that was left is not stopped again when it returns",
		edits: []edit{{"failover/apply_evidence.go", `		s.makeHolds(m, c, e)
`, ``}},
		tests: []test{{pkg: "actions", name: "TestKeeper"}, {pkg: "failover", name: "TestStandingHold"}},
	}, {
		name: "one-word-against-a-lease", rule: "S10",
		says:  "a person's word, which one stolen node can invent, stands while an agent that is out of sight may hold a lease",
		edits: []edit{{"failover/apply_evidence.go", `s.Agents[id].StoppedFor != s.Freeze.ID && left > 0 {`, `s.Agents[id].StoppedFor != s.Freeze.ID && left > time.Hour {`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/stolen-node"}, {pkg: "failover", name: "TestAttestIsNeverAlone"}},
	},
	{
		name: "one-node-alone", rule: "S10",
		says: "the node that asked for a failover also gives the word that nothing runs any more",
		edits: []edit{{"failover/apply_evidence.go", `	if len(ids) == 0 && e.AskedThrough != "" && m.Node == e.AskedThrough && !s.wantsTwo() {
`, `	if false {
`}},
		tests: []test{{pkg: "failover", name: "TestAttestIsNeverAlone"}},
	},
	{
		name: "no-question-after-a-pause", rule: "L1",
		says:  "nobody is asked for a proof until the lease of a pause of hours is over",
		edits: []edit{{"actions/fencing.go", `waited >= min(need, s.Settings.Policy.Lease.Wait(0))`, `waited >= need`}},
		tests: []test{{pkg: "actions", name: "TestALongLeaseDoesNotKeepTheQuestion"}},
	},
	{
		name: "question-outlives-its-proof", rule: "L1",
		says:  "the question about two components stands as it was when one of them is proven, and nobody is asked about the other",
		edits: []edit{{"failover/apply_evidence.go", `(left == 0 || left < before && s.Level() >= 3)`, `left == 0`}, {"failover/apply_evidence.go", `	before := len(`, `	_ = len(`}},
		tests: []test{{pkg: "actions", name: "TestTheQuestionFollowsTheProofs"}},
	},
	{
		name: "one-failed-read-ends-a-proof", rule: "L1",
		says: "what was confirmed is no proof any more when it cannot be read once, right before the epoch advances",
		edits: []edit{{"actions/fencing.go", `			if time.Since(since) < unreadPatience*x.opts.CallTimeout {
`, `			if time.Since(since) < 0 {
`}},
		tests: []test{{pkg: "actions", name: "TestUnreadableAtTheLastMomentIsLookedAtAgain"}},
	},
	{
		name: "leaseless-agent-unheard", rule: "G7",
		says: "an agent that never had a lease, and says that its workers run, does not take back that all leases are over",
		edits: []edit{{"failover/apply_lease.go", `	leaseless := s.Level() >= 3 && s.Agents[r.Agent].Granted == 0
`, `	leaseless := false
`}},
		tests: []test{{pkg: "failover", name: "TestAnAgentThatNeverHadALeaseContradictsTheirEnd"}},
	},
	{
		name: "leaseless-agent-proves", rule: "G7",
		says:  "the end of all leases proves that a component has stopped although an agent that never had one says that its workers run",
		edits: []edit{{"failover/apply_evidence.go", `a.Granted == 0 && a.Running && a.StoppedFor != c.Freeze {`, `a.Granted == 0 && a.Running && a.StoppedFor != c.Freeze && false {`}},
		tests: []test{{pkg: "failover", name: "TestAnAgentThatNeverHadALeaseContradictsTheirEnd"}},
	},
	{
		name: "refused-agent-unheard", rule: "G7",
		says: "a person's word that nothing runs stands against an agent that gets no lease, and says that its workers run",
		edits: []edit{{"failover/apply_lease.go", `	s.heard(m, c, r, a)
	a.Enforced = a.Enforced && bound
`, `	if r.Lease <= limit && r.SeenEpoch <= s.Epoch {
		s.heard(m, c, r, a)
	}
	a.Enforced = a.Enforced && bound
`}},
		tests: []test{{pkg: "failover", name: "TestWhoIsRefusedIsHeard"}},
	},
	{
		name: "no-action-no-question", rule: "L1",
		says: "a leader that cannot make the action of a stop that was confirmed looks for ever, and asks nobody",
		edits: []edit{{"actions/fencing.go", `	action, err := x.world.Action(st)
	if err != nil {
		return Effect{}, err
	}
	ctx, cancel`, `	action, err := x.world.Action(st)
	if err != nil {
		x.unread = map[string]time.Time{}
		return Effect{}, err
	}
	ctx, cancel`}},
		tests: []test{{pkg: "actions", name: "TestUnreadableAtTheLastMomentIsLookedAtAgain"}},
	},
}
