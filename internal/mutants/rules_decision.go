package main

// decisions are the rules of the verdict and the hold (D1 to D6, S6).
var decisions = []mutant{
	{
		name: "nodes-of-a-vantage-ored", rule: "D2", takes: "two nodes of a vantage OR-ed",
		says: "a vantage is down as soon as one of its nodes says so",
		edits: []edit{{"failover/judge.go", `			view.Health, view.Why = worstShared(view.Health, h), "its nodes disagree"
`, `			view.Health, view.Why = max(view.Health, h), "one of its nodes says so"
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/D2b"}, {pkg: "failover", name: "TestDecide/nodes-of-one-vantage"}},
	},
	{
		name: "voices-change-unnoticed", rule: "D2", takes: "hold not restarted on a change of voices",
		says: "the hold goes on when the set of vantages that agree changes",
		edits: []edit{{"failover/decide.go", `	case mem.AgreedSince.IsZero() || !slices.Equal(mem.Voices, j.Voices):
`, `	case mem.AgreedSince.IsZero():
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/D2c"}, {pkg: "failover", name: "TestDecide/four-vantages-voice-lost"}},
	},
	{
		name: "silent-dissenter-forgotten", rule: "D2",
		says: "a vantage that dissented and then went silent counts no more",
		edits: []edit{{"failover/decide.go", `		if now.Sub(t) < hold {
			dissent[r] = t
		}
`, `		_, _ = r, t
`}},
		tests: []test{{pkg: "failover", name: "TestDecide/four-vantages-dissent"}},
	},
	{
		name: "silence-shortens-the-hold", rule: "D4", takes: "several silent signals shorten the hold",
		says: "three kinds of signal down at once are taken for proof, and the hold is halved",
		edits: []edit{
			{"failover/decide.go", `	case d.Judgement.Condition == RegionDown && d.HoldElapsed >= p.Hold.D():
		votes`, `	case d.Judgement.Condition == RegionDown && d.HoldElapsed >= p.Hold.D()/2 && sureSign(fresh):
		d.Open = &OpenIncident{Region: active, Votes: withAges(fresh, active, in.Now), Held: Duration(p.Hold.D())}
	case d.Judgement.Condition == RegionDown && d.HoldElapsed >= p.Hold.D():
		votes`},
			{"failover/decide.go", `// freshAt keeps`, `func sureSign(votes []Vote) bool {
	for _, v := range votes {
		if len(v.Verdict.DownKinds()) >= 2 {
			return true
		}
	}
	return false
}

// freshAt keeps`},
		},
		tests: []test{{pkg: "internal/sim", name: "TestShortCutMovesNothing"}, {pkg: "failover", name: "TestDecide/region-down"}},
	},
	{
		name: "hold-of-an-earlier-leader", rule: "D2",
		says: "a new leader takes the suspicion in the log for the beginning of its hold",
		edits: []edit{{"failover/decide.go", `	mem = remember(mem, d.Judgement, in.Now, p.Hold.D())
`, `	mem = remember(mem, d.Judgement, in.Now, p.Hold.D())
	if v := s.Suspicion; v != nil && v.Condition == RegionDown && v.Since.Before(mem.AgreedSince) {
		mem.AgreedSince = v.Since
	}
`}},
		tests: []test{{pkg: "failover", name: "TestDecide/new-leader"}},
	},
	{
		name: "one-kind-is-enough", rule: "D4",
		says: "one kind of signal down is called the region",
		edits: []edit{{"failover/judge.go", `		if h == Down && len(v.Verdict.DownKinds()) < 2 {
`, `		if h == Down && len(v.Verdict.DownKinds()) < 1 {
`}, {"monitor/verdict.go", `	need := max(2, len(kinds)/2+1)
`, `	need := 1
`}},
		tests: []test{{pkg: "failover", name: "TestDecide/one-kind"}},
	},
	{
		name: "one-vantage-is-enough", rule: "D6",
		says: "one vantage outside decides alone",
		edits: []edit{{"failover/judge.go", `	case len(j.Voices) < 2 && down > 0:
`, `	case len(j.Voices) < 1 && down > 0:
`}},
		tests: []test{{pkg: "failover", name: "TestDecide/third-silent"}, {pkg: "failover", name: "TestOpenIncidentJudgesAgain"}},
	},
	{
		name: "dissent-outvoted", rule: "D2",
		says: "a majority of the vantages decides against one that sees the region up",
		edits: []edit{{"failover/judge.go", `	case down > 0 && len(j.Dissent) == 0:
		return RegionDown, j.describe()
`, `	case down > len(j.Dissent):
		j.Dissent = nil
		return RegionDown, j.describe()
`}},
		tests: []test{{pkg: "failover", name: "TestDecide/four-vantages-dissent"}},
	},
	{
		name: "partitioned-ignored", rule: "D5",
		says: "nodes inside the region that are connected and see it healthy are not listened to",
		edits: []edit{{"failover/judge.go", `	case down > 0 && len(j.Dissent) == 0 && insideHealthy:
		return Partitioned, j.describe()
`, ``}},
		tests: []test{{pkg: "failover", name: "TestDecide/partitioned"}},
	},
	{
		name: "abstaining-nodes-counted", rule: "S6",
		says: "a node that sees none of its references votes all the same",
		edits: []edit{{"failover/judge.go", `		if v.Verdict.Abstain {
			if view.Nodes == 0 {
				view.Why = string(v.Node) + " abstains: " + v.Verdict.Why
			}
			continue
		}
`, ``}},
		tests: []test{{pkg: "failover", name: "TestDecide/abstaining"}, {pkg: "failover", name: "TestDecide/self-isolated"}},
	},
	{
		name: "vote-age-ignored", rule: "D3",
		says: "votes count however old they are",
		edits: []edit{{"failover/decide.go", `		if age := now.Sub(v.Received); age >= 0 && age <= ttl {
`, `		if age := now.Sub(v.Received); age >= 0 {
`}},
		tests: []test{{pkg: "failover", name: "TestDecide/stale-votes"}},
	},
	{
		name: "frozen-votes-not-judged", rule: "D3",
		says: "an incident opens on the leader's word: the votes in it are not judged again",
		edits: []edit{{"failover/apply.go", `	if j.Condition != RegionDown {
		return nil, refuse("verdict-quorum"`, `	if false {
		return nil, refuse("verdict-quorum"`}},
		tests: []test{{pkg: "failover", name: "TestOpenIncidentJudgesAgain"}},
	},
	{
		name: "frozen-vote-age-ignored", rule: "D3",
		says:  "an incident opens on votes that were too old when they were frozen",
		edits: []edit{{"failover/apply.go", `age >= 0 && age <= ttl {`, `age >= 0 && age <= 1000*ttl {`}},
		tests: []test{{pkg: "failover", name: "TestOpenIncidentJudgesAgain"}},
	},
	{
		name: "hold-not-checked-in-apply", rule: "S6",
		says: "an incident opens although the vantages have not agreed for a whole hold",
		edits: []edit{{"failover/apply.go", `	case c.Held < s.Settings.Policy.Hold:
`, `	case c.Held < 0:
`}, {"failover/decide.go", `	case d.Judgement.Condition == RegionDown && d.HoldElapsed >= p.Hold.D():
`, `	case d.Judgement.Condition == RegionDown && d.HoldElapsed >= p.Hold.D()/2:
`}},
		tests: []test{{pkg: "internal/sim", name: "TestShortCutMovesNothing"}, {pkg: "failover", name: "TestOpenIncidentJudgesAgain"}},
	},
	{
		name: "way-back-automatic", rule: "D1",
		says: "automation acts in a direction that is a person's decision",
		edits: []edit{{"failover/guards.go", `	case s.Active != s.Settings.Primary:
		return GuardDirection, s.wayBack() + "; automation does nothing before, " + override(Failover, GuardDirection)
`, ``}},
		tests: []test{{pkg: "failover", name: "TestDecide/after-failover"}},
	},
	{
		name: "way-back-unasked", rule: "D1",
		says:  "who asks for a failover when the service has left home is not told that it leads back there",
		edits: []edit{{"failover/guards.go", `kind != Switchover && s.Active != s.Settings.Primary`, `kind == "?"`}},
		tests: []test{{pkg: "failover", name: "TestTheWayHome"}},
	},
	{
		name: "lease-before-its-start", rule: "E1",
		says:  "what comes to life by itself in the region that is entered works before the plan has brought its data",
		edits: []edit{{"failover/apply_lease.go", `case !r.Running && s.early(r.Component) != "":`, `case false:`}},
		tests: []test{{pkg: "failover", name: "TestNoLeaseBeforeItsStart"}},
	},
	{
		name: "lease-after-an-abort", rule: "E1",
		says:  "who ends an execution behind its fence lets workers begin on data that nobody has brought",
		edits: []edit{{"failover/apply_lease.go", `e.State == ExecAborted && !e.Undo && e.To == s.Active`, `e.State == "?"`}},
		tests: []test{{pkg: "failover", name: "TestNoLeaseBeforeItsStart"}},
	},
	{
		name: "lease-before-what-it-comes-after", rule: "E1",
		says:  "what has no start of its own works before what it comes after has started",
		edits: []edit{{"failover/apply_lease.go", `	return s.comesAfter(e, c, map[Component]bool{})`, `	return ""`}},
		tests: []test{{pkg: "failover", name: "TestNoLeaseBeforeWhatItComesAfter"}},
	},
	{
		name: "stop-of-the-way-out-lands-at-home", rule: "E5",
		says:  "the service comes home while a stop of the way out may still land there",
		edits: []edit{{"failover/apply_holds.go", `a.Outcome != StepDone && len(a.Previous) == 0 {`, `false {`}},
		tests: []test{{pkg: "failover", name: "TestTheWayHomeWaitsForEarlierStops"}},
	},
	{
		name: "inventory-of-the-other-direction", rule: "S4",
		says:  "what was counted of a region that was left is held against the other one",
		edits: []edit{{"failover/apply_finish.go", `	} else if s.Level() >= 3 && e.To == s.Active {`, `	} else if false {`}},
		tests: []test{{pkg: "failover", name: "TestAnInventoryIsOfOneDirection"}},
	},
	{
		name: "lease-waits-for-a-control-plane", rule: "L1",
		says: "a start that cannot be read keeps the lease from what runs already",
		edits: []edit{{"actions/act.go", `		r.unread(ctx, state)
`, ``}},
		tests: []test{{pkg: "actions", name: "TestAStartThatCannotBeReadDelaysNoLease"}},
	},
	{
		name: "incident-forgets-its-abort", rule: "S6",
		says: "the incident of an aborted execution closes, and automation begins again a second later",
		edits: []edit{{"failover/apply_finish.go", `		case i.ID == e.Incident && aborted:
`, `		case i.ID == e.Incident && aborted && state == ExecStable:
`}},
		tests: []test{{pkg: "failover", name: "TestDecide/after-abort"}},
	},
}

// guards are what a person may have set against automation, taken out one at a
// time.
var guards = []mutant{
	{
		name: "pause-ignored", rule: "S6",
		says: "automation acts while it is paused",
		edits: []edit{{"failover/guards.go", `	case s.Paused(now):
		return GuardPause, s.pausedSentence() + "; ` + "`failoverd resume`" + ` ends the pause, " + override(Failover, GuardPause)
`, ``}},
		tests: []test{{pkg: "failover", name: "TestDecide/pause"}},
	},
	{
		name: "cooldown-ignored", rule: "S6",
		says: "automation acts again within the cool-down of a completed failover",
		edits: []edit{{"failover/guards.go", `	case now.Before(s.CooldownUntil):
`, `	case false:
`}},
		tests: []test{{pkg: "failover", name: "TestDeclareStable"}},
	},
	{
		name: "daily-limit-ignored", rule: "S6",
		says: "automation acts more often in a day than it may",
		edits: []edit{{"failover/guards.go", `	case recent >= p.MaxPerDay:
`, `	case false:
`}},
		tests: []test{{pkg: "failover", name: "TestDecide/max-per-day"}},
	},
	{
		name: "observe-acts", rule: "S6",
		says: "a cluster that only observes acts",
		edits: []edit{{"failover/guards.go", `	case p.Mode == ModeObserve:
		return GuardMode`, `	case false:
		return GuardMode`}},
		tests: []test{{pkg: "failover", name: "TestDecide/observe"}},
	},
	{
		name: "supervised-acts", rule: "S6",
		says: "in supervised mode nobody is asked",
		edits: []edit{
			{"failover/apply_exec.go", `	if s.Settings.Policy.Mode == ModeSupervised && !c.Approval {
		return refuse("mode", "the mode is supervised: a person must be asked")
	}
`, ``},
			{"internal/daemon/leader.go", `			Kind: failover.Failover, Incident: s.Incident.ID, Epoch: s.Epoch, Plan: p,
			Approval: s.Settings.Policy.Mode == failover.ModeSupervised,
`, `			Kind: failover.Failover, Incident: s.Incident.ID, Epoch: s.Epoch, Plan: p,
`},
		},
		tests: []test{{pkg: "internal/sim", name: "TestStories/P16b"}, {pkg: "failover", name: "TestGuards"}},
	},
	{
		name: "loss-ignored", rule: "S6",
		says: "automation acts although more data may be lost than is allowed, or nobody knows how much",
		edits: []edit{{"failover/guards.go", `	if reason := s.lossObjection(now, Failover); reason != "" {
		return GuardLoss`, `	if reason := s.lossObjection(now, Failover); false {
		return GuardLoss`}},
		tests: []test{{pkg: "failover", name: "TestDecide/loss"}},
	},
	{
		name: "standby-ignored", rule: "S6",
		says: "automation leaves for a region that is not ready",
		edits: []edit{{"failover/guards.go", `	case len(sb.Problems) > 0:
`, `	case false:
`}},
		tests: []test{{pkg: "failover", name: "TestDecide/standby"}},
	},
	{
		name: "failure-followed-us-ignored", rule: "S6",
		says: "automation leaves for a region that fails in the same way",
		edits: []edit{{"failover/decide.go", `	if sentence := failing(s, other, fresh); sentence != "" {
`, `	if sentence := failing(s, other, fresh); false {
`}},
		tests: []test{{pkg: "failover", name: "TestDecide/followed-us"}},
	},
	{
		name: "failing-target-not-noticed", rule: "S6",
		says:  "an execution goes on although the region that it enters has been failing",
		edits: []edit{{"failover/decide.go", `		d.Suspend = &Suspend{`, `		_ = &Suspend{`}},
		tests: []test{{pkg: "failover", name: "TestDecide/target-fails"}},
	},
	{
		name: "approval-by-the-asker", rule: "S9",
		says: "whoever asked for an execution may approve it himself",
		edits: []edit{{"failover/apply_exec.go", `	case !e.Auto && !m.leads() && (m.By == e.By || m.By == e.With):
`, `	case false:
`}},
		tests: []test{{pkg: "failover", name: "TestApproval"}},
	},
	{
		name: "loss-counts-from-the-newest-hold", rule: "D2",
		says: "how old a sample of loss may be counts from the newest hold: after one that began anew automation rests until a person comes",
		edits: []edit{{"failover/guards.go", `		began = later(failed, began.Add(-s.Settings.Policy.Hold.D()))
`, ``}},
		tests: []test{{pkg: "failover", name: "TestLossCountsFromTheFailure"}},
	},
	{
		name: "loss-forgets-signs-of-life", rule: "D2",
		says: "a sample counts although the region was seen alive since, and has written what nobody knows of",
		edits: []edit{{"failover/apply.go", `	case c.Condition == Partitioned, !c.Condition.dark() && c.Alive:
`, `	case false:
`}},
		tests: []test{{pkg: "failover", name: "TestLossCountsFromTheFailure"}},
	},
	{
		name: "loss-counts-from-any-time", rule: "D2",
		says: "a sample counts however long the region has been dark since: it may be cut off only, and written to all the while",
		edits: []edit{{"failover/guards.go", `		began = later(failed, began.Add(-s.Settings.Policy.Hold.D()))
`, `		began = failed
`}},
		tests: []test{{pkg: "failover", name: "TestLossCountsFromTheFailure"}},
	},
	{
		name: "black-hole-every-other-beat", rule: "D4",
		says:  "a probe that nothing answers is made half as often",
		edits: []edit{{"monitor/schedule.go", `behind > s.interval/5`, `behind > 0`}},
		tests: []test{{pkg: "monitor", name: "TestABlackHoleKeepsTheBeat"}},
	},
	{
		name: "few-failures-are-life", rule: "D4",
		says: "a signal of which nothing was seen but a failure counts as alive",
		edits: []edit{{"monitor/window.go", `	case run == len(w.results) && run < w.down && w.state.Health == failover.Unknown:
		return failover.Unknown // a few failures are no life, and not yet death
`, ``}},
		tests: []test{{pkg: "monitor", name: "TestFewFailuresAreNoOpinion"}},
	},
	{
		name: "votes-from-the-future", rule: "D3",
		says:  "a vote that was cast in the future counts as fresh",
		edits: []edit{{"failover/apply.go", `age >= 0 && age <= ttl {`, `age <= ttl {`}},
		tests: []test{{pkg: "failover", name: "TestVotesFromTheFuture"}},
	},
}
