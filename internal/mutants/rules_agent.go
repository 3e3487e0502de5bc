package main

// agents are the rules of the lease on the agent's side, and of its guard (G2,
// G5, G6, G7).
var agents = []mutant{
	{
		name: "lease-counted-from-reply", rule: "G2", takes: "lease counted from the reply",
		says: "the agent counts its lease from the answer instead of from its request",
		edits: []edit{{"fence/holder.go", `	h.held, h.index, h.sent, h.terms = true, a.Index, sent, a.Terms
`, `	h.held, h.index, h.sent, h.terms = true, a.Index, now, a.Terms
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G2b"}, {pkg: "fence", name: "TestLeaseCountsFromTheRequest"}},
	},
	{
		name: "no-recheck-on-receipt", rule: "G2", takes: "no re-check on receipt",
		says: "a grant that comes after its own end is taken, and the worker started before anybody looks at the deadline",
		edits: []edit{
			{"fence/holder.go", `	if now >= sent+a.Terms.Length.D()-a.Terms.Stop.Total() {
`, `	if false {
`},
			{"fence/holder.go", `		return ok && now < stop && h.freeze == 0
`, `		return ok && (now < stop || h.freeze == 0 && !h.seen())
`},
			{"fence/holder.go", `// Renew is how often`, `func (h *Holder) seen() bool {
	was := h.looked == h.sent
	h.looked = h.sent
	return was
}

// Renew is how often`},
			{"fence/holder.go", `	gone      bool   // the region is not the active one
`, `	gone      bool   // the region is not the active one
	looked    time.Duration
`},
		},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G2"}, {pkg: "fence", name: "TestAgentIgnoresAGrantThatIsLate"}},
	},
	{
		name: "late-refusal-stops", rule: "G2",
		says: "a refusal that stands before the held grant in the log stops the workers when it comes late",
		edits: []edit{{"fence/holder.go", `		if h.held && sent < h.sent && a.Index != 0 && a.Index < h.index {
`, `		if false {
`}},
		tests: []test{{pkg: "fence", name: "TestLateRefusal"}},
	},
	{
		name: "newer-refusal-ignored", rule: "G2",
		says: "a refusal in answer to an older request is ignored, also when it stands after the held grant in the log",
		edits: []edit{{"fence/holder.go", `		if h.held && sent < h.sent && a.Index != 0 && a.Index < h.index {
`, `		if h.held && sent < h.sent {
`}},
		tests: []test{{pkg: "fence", name: "TestLateRefusal"}},
	},
	{
		name: "nodes-speak-for-agents", rule: "S10",
		says: "a request that a node has passed on counts without its agent's signature",
		edits: []edit{{"internal/daemon/core.go", `		if err := c.cfg.Signer.Vouched(a); err != nil {
`, `		if err := c.cfg.Signer.Vouched(a); err != nil && false {
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/stolen-reports"}, {pkg: "internal/daemon", name: "TestNodesDoNotSpeakForAgents"}},
	},
	{
		name: "unsigned-answer-counts", rule: "S10",
		says: "an agent takes an answer that nobody has signed",
		edits: []edit{{"fence/vouch.go", `		return ErrUnsigned
`, `		return nil
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/stolen-grants"}, {pkg: "internal/daemon", name: "TestOneNodeAnswersNoAgent"}},
	},
	{
		name: "answer-of-one-node", rule: "S10",
		says:  "an agent takes an answer for which one node alone stands",
		edits: []edit{{"fence/vouch.go", `{ return len(a.Nodes)/2 + 1 }`, `{ return 1 }`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/stolen-grants"}, {pkg: "internal/daemon", name: "TestOneNodeAnswersNoAgent"}},
	},
	{
		name: "answer-of-two-nodes", rule: "S10",
		says:  "two nodes are enough for an answer: a stolen one and the one that it has deceived, in a region that is cut off",
		edits: []edit{{"fence/vouch.go", `{ return len(a.Nodes)/2 + 1 }`, `{ return min(2, len(a.Nodes)) }`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/stolen-grants"}, {pkg: "fence", name: "TestBelieve"}},
	},
	{
		name: "one-node-many-words", rule: "S10",
		says: "each word counts, not each node",
		edits: []edit{{"fence/vouch.go", `	if len(words) >= to.Majority() {
`, `	if len(words)+len(a.Seconds) > to.Majority() {
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/stolen-grants"}, {pkg: "fence", name: "TestBelieve"}},
	},
	{
		name: "words-of-strangers", rule: "S10",
		says: "the word of every key of the authority counts, also of nodes that the agent does not know",
		edits: []edit{{"fence/vouch.go", `		if slices.Contains(to.Nodes, id) {
`, `		if slices.Contains(to.Nodes, id) || true {
`}},
		tests: []test{{pkg: "fence", name: "TestBelieve"}, {pkg: "internal/daemon", name: "TestOneNodeAnswersNoAgent"}},
	},
	{
		name: "word-of-an-earlier-request", rule: "S10",
		says: "a node's word that another leads counts for every request, also after a change of leader",
		edits: []edit{{"fence/vouch.go", `	return fmt.Appendf(nil, "failoverd second 1\n%q %q", request, leader)
`, `	return fmt.Appendf(nil, "failoverd second 1\n%q", leader)
`}},
		tests: []test{{pkg: "fence", name: "TestStatementsNameEverything"}},
	},
	{
		name: "answer-changed-on-the-way", rule: "S10",
		says: "the leader's signature covers the request and not what was answered",
		edits: []edit{{"fence/vouch.go", `	t := a.Terms
`, `	a.Grant = failover.Grant{}
	t := a.Terms
`}},
		tests: []test{{pkg: "internal/daemon", name: "TestOneNodeAnswersNoAgent"}},
	},
	{
		name: "word-for-anybody", rule: "S10",
		says: "a node gives its word also for a node that it does not follow",
		edits: []edit{{"internal/daemon/second.go", `leader != from || from == c.cfg.ID {
`, `(leader != from || from == c.cfg.ID) && false {
`}},
		tests: []test{{pkg: "internal/daemon", name: "TestOneNodeAnswersNoAgent"}},
	},
	{
		name: "agent-stands-behind-an-answer", rule: "S10",
		says: "the word of an agent's key counts for that of a node",
		edits: []edit{{"internal/daemon/second.go", `	if err == nil && id.Role != mtls.RoleNode {
`, `	if err == nil && id.Role != mtls.RoleNode && false {
`}},
		tests: []test{{pkg: "internal/daemon", name: "TestOneNodeAnswersNoAgent"}},
	},
	{
		name: "old-request-said-again", rule: "S10",
		says: "an agent's old request counts when a node says it again",
		edits: []edit{{"internal/daemon/leader.go", `	if l.older(a) {
`, `	if l.older(a) && false {
`}},
		tests: []test{{pkg: "internal/daemon", name: "TestNodesDoNotSpeakForAgents"}},
	},
	{
		name: "old-goodbye-passed-on", rule: "S10",
		says: "a goodbye that a node has passed on counts, whenever it was said",
		edits: []edit{{"internal/daemon/leader.go", `		if a.Bye {
			return ans, fence.ErrOnlyDirect
		}
`, ``}},
		tests: []test{{pkg: "internal/daemon", name: "TestNodesDoNotSpeakForAgents"}},
	},
	{
		name: "armed-with-leave-from-before", rule: "G5",
		says:  "the lease of an agent counts as a proof although functions live that were given leave for longer before it was armed",
		edits: []edit{{"fence/agent.go", `a.holder.Bound() && a.within(),`, `a.holder.Bound(),`}},
		tests: []test{{pkg: "fence", name: "TestLeaveFromBeforeTheArming"}},
	},
	{
		name: "old-request-said-later", rule: "S10",
		says:  "an agent's latest request may be said again for as long as somebody likes",
		edits: []edit{{"internal/daemon/leader.go", `> 2*config.LeaseRPCTimeout`, `> 2000*config.LeaseRPCTimeout`}},
		tests: []test{{pkg: "internal/daemon", name: "TestARequestCountsWhileItsWaysAreOpen"}},
	},
	{
		name: "old-word-enforces", rule: "S10",
		says: "an old request that is said again makes the lease of an agent a proof that no longer stops its workers",
		edits: []edit{{"internal/daemon/leader.go", `!known.Enforced && a.Holding < known.Granted {
`, `!known.Enforced && a.Holding < known.Granted && false {
`}},
		tests: []test{{pkg: "internal/daemon", name: "TestNodesDoNotSpeakForAgents"}},
	},
	{
		name: "foreign-somebody-overwritten", rule: "E2",
		says: "an undo writes over what somebody has changed since",
		edits: []edit{{"actions/unwind.go", `	if why := w.Overtaken(r.last, first.Previous); why != "" {
`, `	if why := w.Overtaken(r.last, first.Previous); why != "" && false {
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/P11c"}, {pkg: "actions", name: "TestUndoLooksAtTheWorldFirst"}},
	},
	{
		name: "settled-again", rule: "E6",
		says: "what has been settled since it was looked at is settled again: an undo is made before the person answers who is asked",
		edits: []edit{{"actions/settle.go", `if last == nil || rec.State != failover.StepRunning && rec.State != failover.StepUndoing {
`, `if last == nil {
`}},
		tests: []test{{pkg: "actions", name: "TestWhatIsSettledIsNotSettledAgain"}},
	},
	{
		name: "draining-is-a-violation", rule: "S4",
		says:  "what the plan's own stop has left draining is stopped again, and people are woken",
		edits: []edit{{"actions/standing.go", `	case eff.Ending && h.Status`, `	case false && eff.Ending && h.Status`}},
		tests: []test{{pkg: "actions", name: "TestWhatStillDrainsIsNotViolated"}},
	},
	{
		name: "unasked-grant-taken", rule: "G2",
		says: "the agent takes a grant for a request that it does not remember",
		edits: []edit{{"fence/holder.go", `	if !asked {
		return false
	}
`, `	if !asked {
		sent = now
	}
`}},
		tests: []test{{pkg: "fence", name: "TestAgentKeepsItsPromise"}},
	},
	{
		name: "old-requests-kept", rule: "G7", takes: "agent keeps old requests after its stop",
		says: "an agent that has reported its workers dead still takes the answers to earlier requests",
		edits: []edit{{"fence/agent.go", `			a.holder.Forget()
			a.stoppedFor = f
`, `			a.stoppedFor = f
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G7"}, {pkg: "fence", name: "TestAgentKeepsItsPromise"}},
	},
	{
		name: "report-before-the-workers-are-dead", rule: "G7",
		says: "the agent reports for a freeze while its workers still run",
		edits: []edit{{"fence/agent.go", `	case running && a.holder.MustNotRun(now):
		a.stop(now)
`, `	case running && a.holder.MustNotRun(now):
		a.stop(now)
		if f := a.holder.freeze; f != 0 && a.stoppedFor != f {
			a.holder.Forget()
			a.stoppedFor = f
			return true
		}
`}},
		tests: []test{{pkg: "fence", name: "TestAgentReportsForAFreeze"}},
	},
	{
		name: "epoch-not-kept", rule: "G2", takes: "epoch seen by the agent not kept",
		says:  "the agent forgets the highest epoch that it has seen when it starts again",
		edits: []edit{{"fence/agent.go", `holder: NewHolder(seen, cfg.Work), seen: seen}`, `holder: NewHolder(0, cfg.Work), seen: seen}`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/T4"}, {pkg: "fence", name: "TestAgentKeepsTheEpoch"}},
	},
	{
		name: "older-epoch-taken", rule: "T4",
		says: "the agent takes a grant of an older epoch than it has seen",
		edits: []edit{{"fence/holder.go", `	if a.Epoch < h.epoch {
`, `	if false {
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/T4"}, {pkg: "fence", name: "TestAgentKeepsTheEpoch"}},
	},
	{
		name: "watchdog-fed-past-deadline", rule: "G5", takes: "watchdog fed past the deadline",
		says: "the agent goes on feeding its watchdog after the stop must have begun",
		edits: []edit{{"fence/agent.go", `	if a.holder.Bound() && a.cfg.Worker.Running() && !(held && now <= stop) {
		return
	}
`, `	_, _ = stop, held
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G5d"}, {pkg: "fence", name: "TestWatchdogIsNotFedPastTheStop"}},
	},
	{
		name: "stop-begins-at-the-end", rule: "G5",
		says: "the stop begins when the lease ends, without its budget: the worker outlives the lease",
		edits: []edit{{"fence/holder.go", `	return h.sent + h.terms.Length.D() - h.terms.Stop.Total(), h.held
`, `	return h.sent + h.terms.Length.D(), h.held
`}},
		tests: []test{{pkg: "fence", name: "TestAgentStopsWithItsLease"}},
	},
	{
		name: "guard-does-not-kill", rule: "G5",
		says: "the guard asks its worker to end and never kills it",
		edits: []edit{{"fence/guard.go", `	case !g.agentPresent, g.killAt > 0 && now >= g.killAt:
		g.victim.kill()
		return maxTick
`, ``}},
		tests: []test{{pkg: "fence", name: "TestGuardEnforcesTheDeadline"}},
	},
	{
		name: "guard-outlives-its-agent", rule: "G5",
		says: "the guard lets the worker run on when the agent is gone",
		edits: []edit{{"fence/guard.go", `				lines = nil
				g.agentPresent = false
`, `				lines = nil
`}},
		tests: []test{{pkg: "fence", name: "TestGuardKillsWhenTheAgentIsGone"}},
	},
	{
		name: "guard-leaves-orphans", rule: "G5",
		says: "the guard ends when its worker has, and leaves alive what the worker left behind",
		edits: []edit{{"fence/guard.go", `	for v.alive() {
		v.kill()
		time.Sleep(maxTick)
	}
`, ``}},
		tests: []test{{pkg: "fence", name: "TestGuardLeavesNobodyBehind"}},
	},
	{
		name: "grant-revives-earlier-lease", rule: "G4",
		says: "an earlier grant that comes late takes the place of a newer one",
		edits: []edit{{"fence/holder.go", `	if h.held && (sent < h.sent || a.Index != 0 && a.Index < h.index) {
`, `	if false {
`}},
		tests: []test{{pkg: "fence", name: "TestHolderNeverGoesBack"}},
	},
	{
		name: "bound-agent-unbound", rule: "G4",
		says: "an agent that has said that it is bound can be unbound by a later answer",
		edits: []edit{{"fence/holder.go", `	if was := *h; was.Bound() {
		return
	}
`, ``}},
		tests: []test{{pkg: "fence", name: "TestBoundStaysBound"}},
	},
	{
		name: "paused-machine-not-noticed", rule: "G6",
		says: "real time that ran ahead of the boot clock, on a machine paused by its host, does not end the lease",
		edits: []edit{{"fence/clocks.go", `; jump <= allowed {
`, `; jump <= time.Hour {
`}},
		tests: []test{{pkg: "fence", name: "TestAgentAfterAPause"}},
	},
	{
		name: "active-after-a-pause", rule: "G6",
		says:  "`GET /active` says what the agent knew before its host was paused, until the agent looks at its clocks",
		edits: []edit{{"fence/status.go", `		a.checkClocks(now) // whoever asks`, `		_ = now // whoever asks`}},
		tests: []test{{pkg: "fence", name: "TestActiveRightAfterAPause"}},
	},
	{
		name: "leave-after-a-pause", rule: "G6",
		says: "`GET /lease` gives leave right after the host was paused, until the agent looks at its clocks",
		edits: []edit{{"fence/served.go", `		a.checkClocks(now)
`, `		_ = now
`}},
		tests: []test{{pkg: "fence", name: "TestLeaveRightAfterAPause"}},
	},
	{
		name: "leave-until-the-worker-is-told", rule: "G6",
		says: "`GET /lease` gives leave after the lease has ended, until the agent has told its worker to stop",
		edits: []edit{{"fence/served.go", `	if !a.holder.MayRun(now) {
`, `	if false {
`}},
		tests: []test{{pkg: "fence", name: "TestLeaveRightAfterAPause"}},
	},
	{
		name: "work-longer-than-the-lease", rule: "G6",
		says: "a worker may begin a piece of work that cannot end before it is killed",
		edits: []edit{{"fence/holder.go", `	return min(stop, h.KillAt()-h.work)
`, `	return stop
`}},
		tests: []test{{pkg: "fence", name: "TestActiveEndsBeforeTheLongestPieceOfWork"}},
	},
	{
		name: "tolerates-too-much", rule: "S8",
		says:  "`config check` leaves out what it takes to be answered after a cut: workers stop in a shorter one than it says",
		edits: []edit{{"failover/settings.go", `t.Renew.D() - t.Retry() - answer`, `t.Renew.D()`}},
		tests: []test{{pkg: "internal/sim", name: "TestToleratedLossStopsNothing"}},
	},
	{
		name: "asks-one-node-after-the-other", rule: "S8",
		says: "an agent waits for a node behind a cut before it asks the next one",
		edits: []edit{{"fence/hedge.go", `		case <-late.C:
			next()
`, `		case <-late.C:
`}},
		tests: []test{{pkg: "fence", name: "TestHedged"}},
	},
	{
		name: "lease-not-handed-over", rule: "S8",
		says: "an agent that is replaced forgets its lease, and stops its worker",
		edits: []edit{{"fence/handover.go", `	a.holder.held, a.holder.index, a.holder.sent, a.holder.terms = l.Held, l.Index, l.Sent, l.Terms
`, `	a.holder.index, a.holder.sent, a.holder.terms = l.Index, l.Sent, l.Terms
`}},
		tests: []test{{pkg: "fence", name: "TestReplacedAgentKeepsItsWorker"}},
	},
	{
		name: "left-region-forgotten", rule: "S1",
		says:  "below the enforced rung an agent forgets by any refusal that its region was left, and starts its workers there",
		edits: []edit{{"fence/holder.go", `a.Gone || h.gone && a.Freeze == 0`, `a.Gone`}},
		tests: []test{{pkg: "fence", name: "TestGoneUntilToldOtherwise"}},
	},
	{
		name: "queued-start-stands", rule: "S1",
		says:  "a start of a unit that is given up stays in systemd's queue, and happens later without a guard",
		edits: []edit{{"fence/unit.go", `errors.Join(err, v.unit.Term(), v.unit.Kill())`, `errors.Join(err, v.unit.Kill())`}},
		tests: []test{{pkg: "fence", name: "TestUnitIsNotStartedLater"}},
	},
	{
		name: "agent-waits-for-its-guard", rule: "S1",
		says:  "an agent waits for a guard that reads nothing any more, and kills nobody meanwhile",
		edits: []edit{{"fence/worker.go", `time.Now().Add(guardPatience)`, `time.Now().Add(guardPatience * 100_000)`}},
		tests: []test{{pkg: "fence", name: "TestStoppedGuardDoesNotHoldItsAgent"}},
	},
	{
		name: "shutdown-lengthens-the-lease", rule: "G5",
		says: "an agent that is ended gives its worker the whole grace, however little its lease has left",
		edits: []edit{{"fence/agent.go", `	deadline := a.killBy(a.cfg.Clock.Boot()) // whoever ends the agent does not lengthen its lease
`, `	deadline := a.cfg.Clock.Boot() + a.cfg.Terms.Stop.Grace.D()
`}},
		tests: []test{{pkg: "fence", name: "TestShutdownKeepsTheDeadline"}},
	},
	{
		name: "asked-before-a-pause", rule: "G6",
		says: "what an agent without a lease asked for before its host paused it is answered with one that counts from then, and the pause is not counted under it",
		edits: []edit{{"fence/clocks.go", `	a.holder.Forget() // also what was asked for before: its lease would count from then
`, `	if a.holder.held {
		a.holder.Forget()
	}
`}, {"fence/clocks.go", `	return a.ahead - a.aheadAt[0].ahead
`, `	return 0
`}},
		tests: []test{{pkg: "fence", name: "TestAskedBeforeAPause"}},
	},
	{
		name: "short-pauses-not-added", rule: "G6",
		says: "many pauses of a machine, each too short to count, are none",
		edits: []edit{{"fence/clocks.go", `	if jump = max(jump, a.underLease()); jump <= allowed {
`, `	if jump <= allowed {
`}},
		tests: []test{{pkg: "fence", name: "TestManyShortPauses"}},
	},
	{
		name: "unit-of-somebody-else", rule: "G7",
		says: "a unit that somebody else has started counts as dead, and its agent says that its workers have stopped",
		edits: []edit{{"fence/worker.go", `		return c.loose.alive(c.unit, c.clock.Boot())
`, `		return false
`}},
		tests: []test{{pkg: "fence", name: "TestUnitThatSomebodyElseStarted"}},
	},
	{
		name: "refusal-starts-with-keep", rule: "S1",
		says: "a refusal says that the component is kept running, and starts its workers in a region that is frozen",
		edits: []edit{{"fence/holder.go", `		if a.Arming == failover.ArmEnforced && a.OnIsol != "keep" {
`, `		if a.Arming == failover.ArmEnforced {
`}},
		tests: []test{{pkg: "fence", name: "TestRefusalStartsNothing"}},
	},
	{
		name: "watchdog-by-its-own-budget", rule: "G5",
		says: "the watchdog is fed for as long as the agent's own file allows, which is longer than the leader's terms do",
		edits: []edit{{"fence/agent.go", `	stop -= max(0, a.cfg.Terms.Stop.Watchdog-a.holder.terms.Stop.Watchdog).D()
`, ``}},
		tests: []test{{pkg: "fence", name: "TestWatchdogIsNotFedPastTheStop"}},
	},
	{
		name: "recovered-log-seems-older", rule: "L1",
		says: "each grant of a recovered cluster, whose log is shorter, seems to come before the one that is held, and no lease is taken",
		edits: []edit{{"fence/holder.go", `		h.epoch, h.index = a.Epoch, 0
`, `		h.epoch = a.Epoch
`}},
		tests: []test{{pkg: "fence", name: "TestGrantOfARecoveredCluster"}},
	},
	{
		name: "late-request-of-its-own", rule: "S1",
		says: "an agent's own request that comes after a later one makes its lease prove again what it does not",
		edits: []edit{{"internal/daemon/leader.go", `	if l.older(a) {
`, `	if l.older(a) && passedOn {
`}},
		tests: []test{{pkg: "internal/daemon", name: "TestAnOwnRequestThatComesLate"}},
	},
	{
		name: "epoch-file-falls", rule: "T4",
		says:  "of two agents of a host the one that hears of an older epoch writes it over the later one",
		edits: []edit{{"fence/epoch.go", `err == nil && kept >= epoch {`, `err == nil && kept == epoch {`}},
		tests: []test{{pkg: "fence", name: "TestEpochFileNeverFalls"}},
	},
	{
		name: "paused-before-the-answer", rule: "G6",
		says: "what a machine was paused between a request and its answer is not counted under the lease",
		edits: []edit{{"fence/clocks.go", `	a.aheadAt = append(a.aheadAt, mark{sent, a.ahead})
`, ``}},
		tests: []test{{pkg: "fence", name: "TestPausedBeforeTheAnswer"}},
	},
	{
		name: "pause-by-its-own-file", rule: "G6",
		says:  "a pause is none as long as the agent's own file allows it, although the leader's terms do not",
		edits: []edit{{"fence/clocks.go", `		allowed = min(allowed, s)`, `		allowed = max(allowed, s)`}},
		tests: []test{{pkg: "fence", name: "TestPausedForLessThanItsOwnFileAllows"}},
	},
	{
		name: "pauses-not-handed-over", rule: "G6",
		says:  "an agent that is replaced forgets for how long its machine was paused under the lease",
		edits: []edit{{"fence/handover.go", `h.BootAt, h.RealAt, h.Ahead, []mark`, `h.BootAt, h.RealAt, 0, []mark`}},
		tests: []test{{pkg: "fence", name: "TestPausesAreHandedOver"}},
	},
}
