package main

// journal are the rules of the log: who may write what, and when an execution
// begins and ends (E1, E6, E7, S4, S5, S7, S8).
var journal = []mutant{
	{
		name: "leader-command-forwarded", rule: "E1", takes: "leader-only command forwarded",
		says: "a leader-only command of a deposed leader is forwarded, and the new leader gives it its own term",
		edits: []edit{
			{"consensus/node.go", `	if c.LeaderOnly() {
		return failover.Result{}, fmt.Errorf("%s: %w", c.Name(), ErrNotLeader)
	}
`, `	if c.LeaderOnly() {
		m.ProposedTerm = n.raft.CurrentTerm()
	}
`},
			{"consensus/node.go", `	if cmd.LeaderOnly() {
		n.log.Warn("refused a leader-only command from another node", "from", from, "command", cmd.Name())
		return Reply{Failed: cmd.Name() + " is a leader's command and is never forwarded"}
	}
`, `	if cmd.LeaderOnly() {
		m.ProposedTerm = n.raft.CurrentTerm()
	}
`},
			{"consensus/node.go", `	m.Node, m.ProposedTerm = through, 0
`, `	m.Node = through
`},
		},
		tests: []test{{pkg: "internal/sim", name: "TestStories/forged-command"}, {pkg: "consensus", name: "TestProposeFromAnywhere"}, {pkg: "consensus", name: "TestReceive"}},
	},
	{
		name: "term-not-compared", rule: "E1", takes: "term not compared",
		says: "a leader-only command counts in whatever term it lands",
		edits: []edit{{"failover/apply.go", `	if c.LeaderOnly() && m.ProposedTerm != m.Term {
`, `	if false {
`}},
		tests: []test{{pkg: "consensus", name: "TestTenure"}, {pkg: "failover", name: "TestProperties"}, {pkg: "failover", name: "TestLeaderOnlyCommandOfAnotherTerm"}},
	},
	{
		name: "repeated-command-counts-twice", rule: "E1",
		says: "a person's command that is sent again counts again",
		edits: []edit{{"failover/apply.go", `	if m.ID != "" && slices.Contains(s.Seen, m.ID) {
`, `	if false {
`}},
		tests: []test{{pkg: "consensus", name: "TestUnknownOutcome"}, {pkg: "failover", name: "TestRepeatedCommand"}},
	},
	{
		name: "two-executions-at-once", rule: "S5",
		says: "an execution may begin while another is open",
		edits: []edit{
			{"failover/apply_exec.go", `	case s.Execution != nil:
		return nil, refuse("execution-open", "execution %d is not finished", s.Execution.ID)
	case c.Epoch`, `	case c.Epoch`},
		},
		tests: []test{{pkg: "failover", name: "TestProperties"}, {pkg: "failover", name: "TestOneExecutionAtATime"}},
	},
	{
		name: "finished-step-starts-again", rule: "S4",
		says: "a finished step may start again",
		edits: []edit{{"failover/apply_exec.go", `	default:
		return refuse("state", "step %s is %s", st.ID, rec.State)
	}
}
`, `	}
	return nil
}
`},
			{"actions/executor.go", `	case failover.StepPending, failover.StepRunning:
	default:
		return false
	}
	return e.After(st)
`, `	case failover.StepPending, failover.StepRunning, failover.StepDone:
	default:
		return false
	}
	return e.After(st)
`},
		},
		tests: []test{{pkg: "failover", name: "TestProperties"}, {pkg: "failover", name: "TestOrderOfSteps"}},
	},
	{
		name: "step-finished-refused-after-abort", rule: "E6",
		says: "what had started cannot be resolved any more once the execution is aborted",
		edits: []edit{{"failover/apply_exec.go", `	if rec == nil || rec.Last() == nil || (rec.State`, `	if e.State == ExecAborting {
		return nil, refuse("state", "execution %d is %s", e.ID, e.State)
	}
	if rec == nil || rec.Last() == nil || (rec.State`}},
		tests: []test{{pkg: "internal/sim", name: "TestBlipIsTakenBack"}, {pkg: "failover", name: "TestAbort"}},
	},
	{
		name: "closed-with-a-step-in-flight", rule: "E6",
		says: "an aborted execution closes while a step is in flight",
		edits: []edit{
			{"failover/apply_finish.go", `		if rec := e.Step(st.ID); rec.State == StepRunning || rec.State == StepUndoing {
			return nil, refuse("in-flight", "step %s is in flight", st.ID)
		}
	}
	if c.State`, `		_ = st
	}
	if c.State`},
			{"actions/executor.go", `	open := x.busy()
	for _, st`, `	open := false
	for _, st`},
			{"actions/executor.go", `		open = true
		x.launch(ctx, st, func(ctx context.Context) { x.settle(ctx, e.ID, st) })
`, ``},
		},
		tests: []test{{pkg: "actions", name: "TestAbortInMidStep"}, {pkg: "failover", name: "TestAbort"}},
	},
	{
		name: "closed-with-a-token-unconsumed", rule: "E4", takes: "execution closed with a token unconsumed",
		says: "an execution closes while a write of its own may still land",
		edits: []edit{
			{"failover/step_record.go", `	return last == nil || last.Outcome == StepDone || last.Outcome == StepUndone || last.Outcome == StepSkipped
`, `	return last == nil || !last.StartedAt.IsZero()
`},
		},
		tests: []test{{pkg: "actions", name: "TestTokenIsBurntBeforeTheEnd"}, {pkg: "failover", name: "TestTokensAreConsumed"}},
	},
	{
		name: "recovery-leaves-the-clients", rule: "T4",
		says: "a region is stated to be active, and the gate sends clients away from it for ever",
		edits: []edit{{"failover/recovery.go", `		s.Traffic = o.Active
`, ``}},
		tests: []test{{pkg: "failover", name: "TestRecoverStatesWhereClientsBelong"}},
	},
	{
		name: "undo-past-the-point-of-no-return", rule: "E6",
		says: "an execution whose epoch has advanced may be undone: the fenced region would be served again",
		edits: []edit{{"failover/apply_exec.go", `	if c.Undo && (e.BeyondReturn() || s.Level() >= 3 && s.Epoch > e.Epoch) {
		return nil, refuse(`, `	if false {
		return nil, refuse(`},
			{"failover/apply_exec.go", `		if (e.State != ExecAborting || !e.Undo) && !adopted || e.BeyondReturn() {
`, `		if (e.State != ExecAborting || !e.Undo) && !adopted {
`},
			{"actions/unwind.go", `	if e.Undo && !e.BeyondReturn() {
`, `	if e.Undo {
`},
		},
		tests: []test{{pkg: "failover", name: "TestAbort"}},
	},
	{
		name: "cooldown-blocks-an-unfinished-run", rule: "L1", takes: "cool-down blocks an unfinished run",
		says: "the guards of a new execution, cool-down and the daily limit, also hold up the steps of the one that runs",
		edits: []edit{
			{"failover/apply_exec.go", `	if st.Approval && !e.Approved(st.ID) {
		return refuse("approval", "step`, `	if guard, reason := s.AutoGuard(s.Time); e.Kind != Preparation && guard == GuardCooldown {
		return refuse(guard, "%s", reason)
	}
	if st.Approval && !e.Approved(st.ID) {
		return refuse("approval", "step`},
			{"failover/apply_exec.go", `	s.Execution = e
	s.event(m, c, "execution %d: %s from`, `	s.Execution = e
	s.CooldownUntil = m.At.Add(s.Settings.Policy.Cooldown.D())
	s.event(m, c, "execution %d: %s from`},
		},
		tests: []test{{pkg: "internal/sim", name: "TestLeaveByLeaseAlone"}},
	},
	{
		name: "prepare-not-undone", rule: "E7", takes: "prepare not undone",
		says: "what was prepared stays when the suspicion has passed",
		edits: []edit{{"failover/decide.go", `		if in.Now.Sub(later(mem.LastAgreed, in.TermStart)) >= after {
`, `		if false {
`}},
		tests: []test{{pkg: "internal/sim", name: "TestBlipIsTakenBack"}, {pkg: "failover", name: "TestDecide/prepare"}},
	},
	{
		name: "prepare-without-a-lease", rule: "E7",
		says: "a critical component that runs under no enforced lease may be prepared: it would work in two regions",
		edits: []edit{{"failover/apply_prepare.go", `	case c == nil || c.Stop != nil && (!c.Agent || c.Arming != ArmEnforced):
`, `	case c == nil:
`}},
		tests: []test{{pkg: "failover", name: "TestPreparationRefuses"}},
	},
	{
		name: "begun-undo-cut-short", rule: "E7",
		says: "an execution that adopts a step whose undo has begun takes it for done",
		edits: []edit{{"failover/apply_prepare.go", `		case StepDone, StepRunning, StepUndoing:
			adopted++
`, `		case StepUndoing:
			rec.State = StepDone
			adopted++
		case StepDone, StepRunning:
			adopted++
`}},
		tests: []test{{pkg: "failover", name: "TestPreparationTakenBackAtThatMoment"}, {pkg: "failover", name: "TestEpochWaitsForAnUndo"}},
	},
	{
		name: "configuration-in-mid-run", rule: "E8",
		says: "a new configuration comes into force while an execution runs",
		edits: []edit{
			{"failover/apply_config.go", `	case s.Execution != nil:
		return fmt.Sprintf("waits for execution %d to end: it runs with the configuration that it began with", s.Execution.ID)
	case s.Freeze != nil:
		return fmt.Sprintf("waits for freeze %d to end", s.Freeze.ID)
`, ``},
		},
		tests: []test{{pkg: "failover", name: "TestProposal"}},
	},
	{
		name: "configuration-of-a-majority", rule: "S8",
		says: "a configuration comes into force when some nodes can run it, not all",
		edits: []edit{{"failover/apply_config.go", `	case len(silent) > 0:
`, `	case len(silent) > len(p.Acks):
`}},
		tests: []test{{pkg: "failover", name: "TestProposal"}},
	},
	{
		name: "stop-of-another-plan", rule: "E8",
		says: "a step of another plan than the frozen one may start",
		edits: []edit{{"failover/apply_exec.go", `	case c.PlanHash != e.PlanHash:
`, `	case c.PlanHash == "":
`}},
		tests: []test{{pkg: "failover", name: "TestOrderOfSteps"}},
	},
	{
		name: "unknown-command-skipped", rule: "S7",
		says: "an entry that a node does not know is skipped, so that its state diverges in silence",
		edits: []edit{{"consensus/fsm.go", `	if err != nil {
		f.broken = fmt.Errorf("log entry %d: %w", l.Index, err)
		f.mu.Unlock()
		f.fatal(f.broken)
		return failover.Result{Index: l.Index, Term: l.Term, Err: f.broken}
	}
`, `	if err != nil {
		skip = true
	}
`}},
		tests: []test{{pkg: "consensus", name: "TestUnknownEntry"}},
	},
	{
		name: "clone-shares-its-steps", rule: "S7",
		says: "a copy of the state that readers hold changes under them",
		edits: []edit{{"failover/execution.go", `		cp.Attempts = slices.Clone(r.Attempts)
		cp.Allowed = slices.Clone(r.Allowed)
		c.Steps[id] = &cp
`, `		c.Steps[id] = r
		_ = cp
`}},
		tests: []test{{pkg: "failover", name: "TestProperties"}},
	},
	{
		name: "silent-failure", rule: "L1",
		says: "a step that failed asks nobody",
		edits: []edit{
			{"actions/executor.go", `		if x.complete(ctx, e) || x.unanswered(ctx, e) {
`, `		if x.complete(ctx, e) {
`},
			{"actions/executor.go", `	x.ask(ctx, e.ID, "failed", st.ID, fmt.Sprintf("Step %s failed: %s", st.ID, detail),
		"failoverd retry "+string(st.ID), "failoverd skip "+string(st.ID)+" --why …", "failoverd abort")
}
`, `}
`},
		},
		tests: []test{{pkg: "actions", name: "TestFailedStep"}},
	},
	{
		name: "stale-answer", rule: "S9",
		says: "an approval counts for whatever question is open when it arrives",
		edits: []edit{{"failover/apply_exec.go", `	case c.Nonce != 0 && c.Nonce != q.Nonce:
`, `	case c.Nonce > m.Index:
`}},
		tests: []test{{pkg: "failover", name: "TestApproval"}},
	},
	{
		name: "leads-what-it-cannot-do", rule: "E8",
		says:  "a node that cannot make an action of the plan in force leads it, and its step fails",
		edits: []edit{{"internal/daemon/leader.go", `		if l.able(ctx) {`, `		if true {`}},
		tests: []test{{pkg: "internal/daemon", name: "TestWhoCannotCarryOutAPlanHandsItOver"}},
	},
	{
		name: "begins-what-it-cannot-do", rule: "E8",
		says:  "a node that cannot make an action of a plan begins it",
		edits: []edit{{"internal/daemon/leader.go", `err := l.core.lacks(&c.Plan); err != nil && l.handOver`, `err := l.core.lacks(&c.Plan); err != nil && false && l.handOver`}},
		tests: []test{{pkg: "internal/daemon", name: "TestWhoCannotCarryOutAPlanHandsItOver"}},
	},
	{
		name: "hands-over-for-ever", rule: "L1",
		says: "nodes that all lack the same thing hand the leadership round, and nobody is asked",
		edits: []edit{{"internal/daemon/handover.go", `ok && time.Since(at) < handOverAgain {
		return false
	}`, `ok && time.Since(at) < 0 {
		return false
	}`}},
		tests: []test{{pkg: "internal/daemon", name: "TestWhoCannotCarryOutAPlanHandsItOver"}},
	},
	{
		name: "configuration-not-taken-again", rule: "L1",
		says:  "a node whose disk was full when a configuration came into force never runs it",
		edits: []edit{{"internal/daemon/running.go", `(s.Source != failed || again == nil) {`, `s.Source != failed {`}},
		tests: []test{{pkg: "internal/daemon", name: "TestAConfigurationThatCouldNotBeTakenIsTakenLater"}},
	},
}
