package main

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
		name: "found-without-its-checks", rule: "E3",
		says: "a step whose effect another leader finds, or that took effect although its call failed, is done without its own checks",
		edits: []edit{{"actions/act.go", `		r.found, r.already = found+": ", prev.Already
		return r.awaitPresent(ctx)
`, `		r.done(ctx, found+": "+r.last.Detail, prev.Already)
		return true
`}},
		tests: []test{{pkg: "actions", name: "TestVerifyOfWhatIsFound"}},
	},
	{
		name: "intent-after-do", rule: "E2",
		says: "the effect comes first and its intent is committed afterwards: a crash in between leaves no trace",
		edits: []edit{{"actions/act.go", `	until := time.Now().Add(r.x.opts.CallTimeout)
	res, ok := r.x.propose(ctx, failover.StepStarted{
		Execution: r.e.ID, Step: r.st.ID, Epoch: state.Epoch, PlanHash: r.e.PlanHash,
		Previous: previous, Until: until,
	}, "")
`, `	until := time.Now().Add(r.x.opts.CallTimeout)
	if !already {
		early := r.newAttempt(len(rec.Attempts)+1, state.Epoch, previous, until)
		early.Token = state.Index + 1
		_ = r.action.Do(ctx, early)
	}
	res, ok := r.x.propose(ctx, failover.StepStarted{
		Execution: r.e.ID, Step: r.st.ID, Epoch: state.Epoch, PlanHash: r.e.PlanHash,
		Previous: previous, Until: until,
	}, "")
`}},
		tests: []test{{pkg: "actions", name: "TestCrashMatrix"}},
	},
	{
		name: "undo-restores-our-own-change", rule: "E2",
		says: "undo puts back what the last attempt had found, which may be our own half-done change",
		edits: []edit{{"failover/step_record.go", `		case first == nil && !a.Undo && !a.Burn && len(a.Previous) > 0:
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
		edits: []edit{{"actions/act.go", `	if !r.x.sleep(ctx, max(0, time.Until(ages(r.action, r.x.until(*prev))))) {
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
		name: "sent-again-although-seen", rule: "E3",
		says: "an attempt whose effect is seen only when the world can be read again is made a second time",
		edits: []edit{{"actions/act.go", `	if eff.State == Present && rec.State == failover.StepRunning {
`, `	if false {
`}},
		tests: []test{{pkg: "actions", name: "TestSeenOnlyAtTheSecondLook"}},
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
		name: "blind-stop-put-back", rule: "E2",
		says: "a stop that was made blind is put back to what was read after it: nothing runs in the region that stays active",
		edits: []edit{{"actions/blind.go", `	if first == nil || !rec.Blind() {
`, `	if first != nil {
`}},
		tests: []test{{pkg: "actions", name: "TestABlindStopIsNotPutBack"}},
	},
	{
		name: "blind-stop-forgets-the-log", rule: "E2",
		says: "what was read after a blind stop had been tried, and before one landed, is not put back: the region that stays active runs nothing until a person comes",
		edits: []edit{{"actions/blind.go", `	return err == nil && action != nil && untouched(action, first.Previous)
`, `	_, _ = action, err
	return false
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G8d"}, {pkg: "actions", name: "TestABlindStopIsPutBackFromTheLog"}},
	},
	{
		name: "blind-stop-that-was-none", rule: "L1",
		says: "a stop that was tried blind and never landed asks a person what to put back: nothing",
		edits: []edit{{"actions/blind.go", `	case x.sleep(ctx, x.opts.Settle) && clean():
		x.finish(`, `	case clean():
		x.askToPutBack(ctx, e, st, r.last.Detail)
	case r == nil:
		x.finish(`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G8b"}, {pkg: "actions", name: "TestABlindStopThatNeverLanded"}},
	},
	{
		name: "undone-without-an-undo", rule: "E6",
		says: "the log takes a step that was changed for undone without an undo, which only one that was tried blind and changed nothing can be",
		edits: []edit{{"failover/apply_exec.go", `e.State == ExecAborting && e.Undo && rec != nil && rec.LeftBlind()
`, `e.State == ExecAborting && e.Undo && rec != nil && rec.Undoing() == nil
`}},
		tests: []test{{pkg: "failover", name: "TestBlindStopsEndWithoutAnUndo"}},
	},
	{
		name: "blind-stop-in-flight-is-none", rule: "E3",
		says: "a region that shows no trace of a blind stop is believed while the call is under way",
		edits: []edit{{"actions/blind.go", `	case time.Now().Before(until):
`, `	case time.Now().Before(until) && r == nil:
`}},
		tests: []test{{pkg: "actions", name: "TestABlindStopThatLandsLate"}},
	},
	{
		name: "blind-stop-looked-at-once", rule: "L1",
		says: "what a blind stop has changed is not looked at again once a person was asked: who puts it back has to say so, or no lease is granted",
		edits: []edit{{"actions/blind.go", `		if e.Question != nil && time.Now().Before(x.nextLook[st.ID]) {
`, `		if e.Question != nil {
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G8e"}, {pkg: "actions", name: "TestABlindStopThatAPersonPutsBack"}},
	},
	{
		name: "half-a-blind-stop-is-none", rule: "E2",
		says: "a blind stop whose effect is Absent counts as one that has changed nothing, although a part of it may stand",
		edits: []edit{{"actions/blind.go", `	return ok && len(previous) > 0 && u.Untouched(previous)
`, `	return !ok || len(previous) > 0 && (u == nil || previous != nil)
`}},
		tests: []test{{pkg: "actions", name: "TestABlindStopIsNotPutBack"}, {pkg: "actions", name: "TestUntouched"}},
	},
	{
		name: "blind-stop-without-its-undo", rule: "E6",
		says: "an execution that a person ends without an undo waits for one of what it has stopped blind",
		edits: []edit{{"actions/blind.go", `	return e.State == failover.ExecAborting && e.Undo && rec.LeftBlind()`, `	return e.State == failover.ExecAborting && rec.LeftBlind()`},
			{"actions/unwind.go", `	if !e.Undo || e.Kind`, `	if e.Kind`}},
		tests: []test{{pkg: "actions", name: "TestABlindStopIsLeftWithoutUndo"}},
	},
	{
		name: "refused-undo-for-ever", rule: "L1",
		says: "an undo that the log refuses, of a start in the region that is active by now, is proposed as fast as the log can write, and its preparation never ends",
		edits: []edit{{"actions/unwind.go", `	if s := x.journal.State(); s.Level() >= 3 && st.Kind == failover.KindStart && st.Region == s.Active {
`, `	if s := x.journal.State(); s.Level() >= 99 && st.Kind == failover.KindStart && st.Region == s.Active {
`}},
		tests: []test{{pkg: "actions", name: "TestAnUndoThatTheLogRefuses"}},
	},
	{
		name: "unclear-undo-in-silence", rule: "L1",
		says: "an undo of which nobody knows what became ends the execution in silence",
		edits: []edit{{"actions/unwind.go", `		if rec.State != failover.StepFailed && rec.State != failover.StepUnclear || rec.Undoing() == nil {
`, `		if rec.State != failover.StepFailed || rec.Undoing() == nil {
`}},
		tests: []test{{pkg: "actions", name: "TestAnUnclearUndoAsks"}},
	},
	{
		name: "repeated-undo-without-time", rule: "E6",
		says:  "an undo that is made again is judged at the next look",
		edits: []edit{{"actions/unwind.go", `			if longer { //`, `			if longer && back { //`}},
		tests: []test{{pkg: "actions", name: "TestARepeatedUndoHasItsTime"}},
	},
	{
		name: "retry-while-aborting", rule: "E6",
		says: "a step that is unclear is tried again while the execution is being taken back: it counts as never begun, and what it changed stands",
		edits: []edit{{"failover/apply_retry.go", `	if e.State == ExecAborting && s.Level() >= 3 && rec.Undoing() == nil {
`, `	if false {
`}},
		tests: []test{{pkg: "failover", name: "TestRetryWhileAborting"}},
	},
	{
		name: "late-call-after-abort", rule: "E3",
		says: "an aborted step is resolved by the first look, before its calls have aged out",
		edits: []edit{{"actions/act_ends.go", `	if last := r.record().Last(); eff.State != Present && last != nil {
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
	a := r.newAttempt(len(rec.Attempts)+1, x.journal.State().Epoch, rec.First().Previous, until)
`, `	r.token = res.Index
	a := r.newAttempt(len(rec.Attempts)+1, x.journal.State().Epoch, rec.First().Previous, until)
	a.Token = rec.First().Token
`}},
		tests: []test{{pkg: "actions", name: "TestAbortAndUndo"}},
	},
	{
		name: "old-token-not-named", rule: "S2",
		says: "a batch does not name the token that it replaces: a stale writer's batch is not refused",
		edits: []edit{{"actions/route53_action.go", `		changes = append(changes, types.Change{Action: types.ChangeActionDelete, ResourceRecordSet: old})
`, ``}, {"actions/route53_action.go", `		Action: types.ChangeActionCreate, ResourceRecordSet: w.tokenRecord`, `		Action: types.ChangeActionUpsert, ResourceRecordSet: w.tokenRecord`}},
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
		edits: []edit{{"actions/route53_action.go", `	if e.State = h.state(); e.State != Present {
`, `	if e.State = Present; h.state() == Absent {
`}},
		tests: []test{{pkg: "actions", name: "TestWeights"}},
	},
	{
		name: "counts-believed", rule: "G7",
		says: "a service whose counts are zero counts as stopped, whatever its tasks do",
		edits: []edit{{"actions/ecs_service.go", `	case alive != "":
`, `	case alive == "-":
`}},
		tests: []test{{pkg: "actions", name: "TestECSStopBelievesTheTasks"}},
	},
	{
		name: "start-scales-down", rule: "E5",
		says: "a start that is repeated takes away the capacity that an autoscaler has added",
		edits: []edit{{"actions/ecs_service.go", `	count := max(int32(s.cfg.Count), p.Desired)
`, `	count := int32(s.cfg.Count)
`}},
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
		tests: []test{{pkg: "internal/sim", name: "TestStories/P16"}, {pkg: "actions", name: "TestEmptySelector"}},
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
	{
		name: "undo-not-made-again", rule: "E6",
		says: "an undo whose call came to nothing is not made again",
		edits: []edit{{"actions/unwind.go", `	return time.Now().After(until)
}

// burnLeft`, `	return false
}

// burnLeft`}},
		tests: []test{{pkg: "actions", name: "TestAFailedUndoAsks"}},
	},
	{
		name: "undo-fails-in-silence", rule: "L1",
		says: "an execution ends although what it changed could not be put back, and nobody is asked",
		edits: []edit{{"actions/unwind.go", `	if !e.Undo || e.Kind == failover.Preparation || x.journal.State().Level() < 2 {
`, `	if e.ID > 0 {
`}},
		tests: []test{{pkg: "actions", name: "TestAFailedUndoAsks"}},
	},
	{
		name: "undo-retried-as-a-step", rule: "E6",
		says: "a person has an undo tried again, and the step counts as never done: what it changed stands",
		edits: []edit{{"failover/apply_retry.go", `	if e.State == ExecAborting && s.Level() >= 3 || rec.Last().Undo && s.Level() == 2 {
`, `	if false {
`}},
		tests: []test{{pkg: "actions", name: "TestAFailedUndoAsks"}},
	},
	{
		name: "adopted-undo-counts-as-done", rule: "E7",
		says: "an undo that an execution adopted fails, a person says retry, and the step counts as done: what was taken back is never started",
		edits: []edit{{"failover/apply_retry.go", `	if e.State == ExecAborting && s.Level() >= 3 || rec.Last().Undo && s.Level() == 2 {
`, `	if rec.Last().Undo {
`}},
		tests: []test{{pkg: "failover", name: "TestAdoptedUndoThatFails"}},
	},
	{
		name: "adopted-undo-not-made-again", rule: "E7",
		says: "an undo that an execution adopted came to nothing, and the log refuses it: the step is never done and nobody is asked",
		edits: []edit{{"failover/apply_exec.go", `&& !adopted || e.BeyondReturn() {
`, `|| e.BeyondReturn() {
`}, {"failover/apply_exec.go", `		adopted := s.Level()`, `		_ = s.Level()`}},
		tests: []test{{pkg: "failover", name: "TestAdoptedUndoThatFails"}},
	},
	{
		name: "undone-in-the-order-done", rule: "E7",
		says: "an abort puts back first what was done first",
		edits: []edit{{"actions/unwind.go", `		for i := len(e.Plan.Steps) - 1; i >= 0; i-- {
`, `		for i := range e.Plan.Steps {
`}},
		tests: []test{{pkg: "actions", name: "TestUndoIsInReverseOrder"}},
	},
	{
		name: "earlier-leaders-clock-ahead", rule: "L1",
		says: "a leader waits for the calls of an earlier one until that one's wall clock says so, which was an hour ahead",
		edits: []edit{{"actions/settle.go", `	case a.Until.After(latest):
`, `	case false:
`}},
		tests: []test{{pkg: "actions", name: "TestADeadLeadersClock"}},
	},
	{
		name: "earlier-leaders-clock-behind", rule: "E3",
		says: "a leader does not wait for the calls of an earlier one, whose wall clock was an hour behind",
		edits: []edit{{"actions/settle.go", `	case a.Until.Before(earliest):
`, `	case false:
`}},
		tests: []test{{pkg: "actions", name: "TestADeadLeadersClockIsBehind"}},
	},
	{
		name: "own-clock-jumps", rule: "E3",
		says: "a leader whose wall clock jumps ahead takes what it has on its way for over, and sends it again",
		edits: []edit{{"actions/settle.go", `	if ok {
		return own
`, `	if ok && false {
		return own
`}},
		tests: []test{{pkg: "actions", name: "TestTheLeadersOwnClockJumps"}},
	},
	{
		name: "deadline-without-its-clock", rule: "E3",
		says: "the time until which a call may be sent loses its monotonic reading, and the leader's wall clock decides after all",
		edits: []edit{{"actions/writes.go", `		x.named[res.Index] = until
`, `		x.named[res.Index] = until.UTC()
`}},
		tests: []test{{pkg: "actions", name: "TestUntilIsMonotonic"}},
	},
}
