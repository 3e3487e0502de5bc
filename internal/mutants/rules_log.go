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
		},
		tests: []test{{pkg: "consensus", name: "TestProposeFromAnywhere"}, {pkg: "consensus", name: "TestReceive"}},
	},
	{
		name: "term-not-compared", rule: "E1", takes: "term not compared",
		says: "a leader-only command counts in whatever term it lands",
		edits: []edit{{"failover/apply.go", `	if c.LeaderOnly() && m.ProposedTerm != m.Term {
`, `	if false {
`}},
		tests: []test{{pkg: "failover", name: "TestLeaderOnlyCommandOfAnotherTerm"}},
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
		tests: []test{{pkg: "failover", name: "TestOneExecutionAtATime"}},
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
	for _, dep`, `	case failover.StepPending, failover.StepRunning, failover.StepDone:
	default:
		return false
	}
	for _, dep`},
		},
		tests: []test{{pkg: "failover", name: "TestOrderOfSteps"}},
	},
	{
		name: "step-finished-refused-after-abort", rule: "E6",
		says: "what had started cannot be resolved any more once the execution is aborted",
		edits: []edit{{"failover/apply_exec.go", `	rec := e.Steps[c.Step]
	if rec == nil || rec.Last() == nil || (rec.State`, `	rec := e.Steps[c.Step]
	if e.State == ExecAborting {
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
			{"failover/execution.go", `	return last == nil || last.Outcome == StepDone || last.Outcome == StepUndone || last.Outcome == StepSkipped
`, `	return last == nil || !last.StartedAt.IsZero()
`},
		},
		tests: []test{{pkg: "actions", name: "TestTokenIsBurntBeforeTheEnd"}, {pkg: "failover", name: "TestTokensAreConsumed"}},
	},
	{
		name: "undo-past-the-point-of-no-return", rule: "E6",
		says: "an execution whose epoch has advanced may be undone: the fenced region would be served again",
		edits: []edit{{"failover/apply_exec.go", `	if c.Undo && e.BeyondReturn() {
		return nil, refuse(`, `	if false {
		return nil, refuse(`},
			{"failover/apply_exec.go", `		if e.State != ExecAborting || !e.Undo || e.BeyondReturn() {
`, `		if e.State != ExecAborting || !e.Undo {
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
}

// effects are the rules of what is done to the world (E2 to E5, S2).
var effects = []mutant{
	{
		name: "previous-values-after-do", rule: "E2", takes: "previous values taken after Do",
		says: "the previous values are read after the change was made, so that undo puts back our own change",
		edits: []edit{{"actions/act.go", `	previous := eff.Previous
	if len(previous) == 0 &&`, `	if !already && r.asked2() {
		early := r.newAttempt(len(rec.Attempts)+1, state.Epoch, eff.Previous, time.Now().Add(r.x.opts.CallTimeout))
		_ = r.action.Do(ctx, early)
		eff = r.look(ctx)
	}
	previous := eff.Previous
	if len(previous) == 0 &&`},
			{"actions/act.go", `func (r *run) newAttempt(`, `func (r *run) asked2() bool { return r.token == 0 }

func (r *run) newAttempt(`},
		},
		tests: []test{{pkg: "internal/sim", name: "TestBlipIsTakenBack"}},
	},
	{
		name: "intent-after-do", rule: "E2",
		says: "the effect comes first and its intent is committed afterwards: a crash in between leaves no trace",
		edits: []edit{{"actions/act.go", `	until := time.Now().Add(r.x.opts.CallTimeout)
	res, ok := r.x.propose(ctx, failover.StepStarted{
		Execution: r.e.ID, Step: r.st.ID, Epoch: state.Epoch, PlanHash: r.e.PlanHash,
		Previous: previous, Until: until.UTC(),
	}, "")
`, `	until := time.Now().Add(r.x.opts.CallTimeout)
	if !already {
		early := r.newAttempt(len(rec.Attempts)+1, state.Epoch, previous, until)
		early.Token = state.Index + 1
		_ = r.action.Do(ctx, early)
	}
	res, ok := r.x.propose(ctx, failover.StepStarted{
		Execution: r.e.ID, Step: r.st.ID, Epoch: state.Epoch, PlanHash: r.e.PlanHash,
		Previous: previous, Until: until.UTC(),
	}, "")
`}},
		tests: []test{{pkg: "actions", name: "TestCrashMatrix"}},
	},
	{
		name: "undo-restores-our-own-change", rule: "E2",
		says: "undo puts back what the last attempt had found, which may be our own half-done change",
		edits: []edit{{"failover/execution.go", `		case first == nil && !a.Undo && !a.Burn && len(a.Previous) > 0:
`, `		case !a.Undo && !a.Burn && len(a.Previous) > 0:
`}},
		tests: []test{{pkg: "actions", name: "TestAbortAndUndo"}},
	},
	{
		name: "no-proof-before-do", rule: "E2",
		says: "leadership is not proven again right before the effect",
		edits: []edit{{"actions/act.go", `	if err := r.x.journal.Prove(ctx); err != nil {
		return fmt.Errorf("%w: %w", errNotLeading, err)
	}
`, `	_ = errNotLeading
`}},
		tests: []test{{pkg: "actions", name: "TestNoEffectWithoutProof"}},
	},
	{
		name: "hold-not-read-again", rule: "E2",
		says: "hold, abort and epoch are not read again right before the effect",
		edits: []edit{{"actions/act.go", `	if e := now.Open(r.e.ID); e == nil || e.State != failover.ExecRunning || now.Epoch != state.Epoch {
`, `	if e := now.Open(r.e.ID); e == nil {
`}},
		tests: []test{{pkg: "actions", name: "TestStoppedRightBeforeTheEffect"}},
	},
	{
		name: "deadline-not-checked", rule: "E2",
		says: "a call is signed although the deadline of its attempt has passed",
		edits: []edit{{"internal/cloud/deadline.go", `	if late < 0 {
		return nil
	}
`, `	if late < time.Hour {
		return nil
	}
`}},
		tests: []test{{pkg: "internal/cloud", name: "TestEffectDeadline"}, {pkg: "actions", name: "TestWeightsRefuse"}},
	},
	{
		name: "boot-clock-ignored", rule: "E2",
		says:  "only one clock is asked whether a call's deadline has passed: a suspended machine sends late",
		edits: []edit{{"internal/cloud/deadline.go", `	late := max(e.now()-e.boot, time.Since(e.deadline.Round(0)))`, `	late := time.Since(e.deadline)`}},
		tests: []test{{pkg: "internal/cloud", name: "TestASuspendedMachineSendsNothing"}},
	},
	{
		name: "absent-believed-at-once", rule: "E3", takes: "Absent believed at once",
		says: "absent after another leader's attempt is believed at once, before its calls have aged out",
		edits: []edit{{"actions/act.go", `	if !r.x.sleep(ctx, max(0, time.Until(ages(r.action, prev.Until)))) {
		return true
	}
`, ``}, {"actions/act.go", `	first := r.look(ctx)
	if !r.x.sleep(ctx, r.x.opts.Settle) {
		return true
	}
	second := r.look(ctx)
`, `	first := r.look(ctx)
	second := first
`}},
		tests: []test{{pkg: "actions", name: "TestTakeOverOfAPlainAction"}},
	},
	{
		name: "unknown-taken-for-absent", rule: "E3",
		says: "a world that does not say whether an attempt took effect is taken for one in which it did not",
		edits: []edit{{"actions/act.go", `	case first.State == Absent && second.State == Absent:
		return false
	}
`, `	case first.State != Present:
		return false
	}
`}},
		tests: []test{{pkg: "actions", name: "TestUnknownBecomesAQuestion"}},
	},
	{
		name: "error-believed", rule: "E3",
		says: "a call that reports an error is taken for one that changed nothing",
		edits: []edit{{"actions/act.go", `			if rec := r.record(); r.asked && rec.State == failover.StepRunning && ctx.Err() == nil &&
`, `			if rec := r.record(); false && r.asked && rec.State == failover.StepRunning && ctx.Err() == nil &&
`}},
		tests: []test{{pkg: "actions", name: "TestErrorsMeanNothing"}},
	},
	{
		name: "already-so-undone", rule: "E3",
		says: "undo takes away what was there before us",
		edits: []edit{{"actions/unwind.go", `	if first == nil || first.Already {
`, `	if first == nil {
`}},
		tests: []test{{pkg: "actions", name: "TestUndoLeavesWhatWasThere"}},
	},
	{
		name: "late-call-after-abort", rule: "E3",
		says: "an aborted step is resolved by the first look, before its calls have aged out",
		edits: []edit{{"actions/act.go", `	if last := r.record().Last(); eff.State != Present && last != nil {
`, `	if last := r.record().Last(); false && last != nil {
`}},
		tests: []test{{pkg: "actions", name: "TestLateCallOfAPreparation"}},
	},
	{
		name: "undone-stop-not-watched", rule: "E5",
		says: "a stop that was put back is not watched until its calls have aged out: one that lands late stops the region that stayed active",
		edits: []edit{{"actions/unwind.go", `	if r.st.Kind == failover.KindStop && !r.tokens() {
`, `	if false {
`}},
		tests: []test{{pkg: "actions", name: "TestUndoneStopIsWatched"}},
	},
	{
		name: "token-reused-on-undo", rule: "E4", takes: "token reused on undo",
		says: "undo writes with the token of the attempt that it takes back",
		edits: []edit{{"actions/unwind.go", `	r.token = res.Index
	a := r.newAttempt(len(rec.Attempts)+1, x.journal.State().Epoch, previous, until)
`, `	r.token = res.Index
	a := r.newAttempt(len(rec.Attempts)+1, x.journal.State().Epoch, previous, until)
	a.Token = rec.First().Token
`}},
		tests: []test{{pkg: "actions", name: "TestAbortAndUndo"}},
	},
	{
		name: "old-token-not-named", rule: "S2",
		says: "a batch does not name the token that it replaces: a stale writer's batch is not refused",
		edits: []edit{{"actions/route53_action.go", `		changes = append(changes, types.Change{Action: types.ChangeActionDelete, ResourceRecordSet: old})
`, ``}, {"actions/route53_action.go", `	changes = append(changes, types.Change{Action: types.ChangeActionCreate, ResourceRecordSet: &`, `	changes = append(changes, types.Change{Action: types.ChangeActionUpsert, ResourceRecordSet: &`}},
		tests: []test{{pkg: "actions", name: "TestAStaleWriterChangesNothing"}},
	},
	{
		name: "newer-token-replaced", rule: "E4",
		says: "a writer replaces a token that is newer than its own",
		edits: []edit{{"actions/route53_action.go", `		if held.Token >= a.Token {
`, `		if false {
`}},
		tests: []test{{pkg: "actions", name: "TestAStaleWriterChangesNothing"}},
	},
	{
		name: "all-weights-zero", rule: "S2",
		says: "all weights may become zero, which sends clients to every region",
		edits: []edit{{"actions/route53_action.go", `		if total == 0 {
`, `		if total < 0 {
`}},
		tests: []test{{pkg: "actions", name: "TestClientsAreNeverSentEverywhere"}},
	},
	{
		name: "flip-without-the-answer", rule: "E3",
		says: "an accepted change of records is taken for moved clients, whatever the name servers answer",
		edits: []edit{{"actions/route53_action.go", `	if len(others) > 0 {
		e.State = Partial
`, `	if len(others) > 0 && false {
		e.State = Partial
`}},
		tests: []test{{pkg: "actions", name: "TestWeights"}},
	},
	{
		name: "counts-believed", rule: "G7",
		says: "a service whose counts are zero counts as stopped, whatever its tasks do",
		edits: []edit{{"actions/ecs_service.go", `		if e.State = Present; alive != "" {
`, `		if e.State = Present; alive == "-" {
`}},
		tests: []test{{pkg: "actions", name: "TestECSStopBelievesTheTasks"}},
	},
	{
		name: "start-scales-down", rule: "E5",
		says: "a start that is repeated takes away the capacity that an autoscaler has added",
		edits: []edit{{"actions/ecs_service.go", `		count = max(count, p.Desired)
`, ``}},
		tests: []test{{pkg: "actions", name: "TestECSStart"}},
	},
	{
		name: "empty-selector-means-all", rule: "E8", takes: "empty selector means all",
		says: "an action that names no service, and a batch that names no record, are accepted",
		edits: []edit{
			{"actions/ecs_service.go", `	case c.Service == "":
		return badParam("service", "is missing")
`, ``},
			{"actions/route53_weights.go", `	case len(c.Names) == 0:
`, `	case len(c.Names) > 99:
`},
		},
		tests: []test{{pkg: "actions", name: "TestEmptySelector"}},
	},
	{
		name: "nobody-to-report", rule: "G7",
		says: "a component of which no agent is known counts as reported by all of them",
		edits: []edit{{"failover/apply_evidence.go", `	if len(ids) == 0 {
		return refuse("agents", "no agent of`, `	if false {
		return refuse("agents", "no agent of`}},
		tests: []test{{pkg: "actions", name: "TestLeaseEvidence"}},
	},
	{
		name: "shrunk-inventory-believed", rule: "G7",
		says: "a selector that matches far less than it did is believed",
		edits: []edit{{"failover/settings.go", `	return want > 0 && have < want && (want-have)*100 > want*limit
`, `	return want > 0 && have < want && (want-have)*100 > want*limit*100
`}},
		tests: []test{{pkg: "actions", name: "TestShrunkInventoryIsRefused"}, {pkg: "failover", name: "TestVanishedAgents"}},
	},
	{
		name: "hold-applied-without-limit", rule: "S1",
		says: "a standing hold is applied without a limit: nobody hears that something keeps starting what it stops",
		edits: []edit{{"failover/apply_holds.go", `	return n >= ReapplyPerHour
`, `	return n >= 1000*ReapplyPerHour
`}},
		tests: []test{{pkg: "actions", name: "TestKeeper"}},
	},
}
