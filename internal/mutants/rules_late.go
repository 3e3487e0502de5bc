package main

// late are the rules of what may still land after its execution, and of what a second reader found beside it.
var late = []mutant{
	{
		name: "epoch-over-a-late-write", rule: "E4",
		says:  "a region is left while a write may still land that leads clients to it",
		edits: []edit{{"failover/apply_evidence.go", `reason != "" && !slices.Contains(e.Overrides, GuardLate)`, `reason != "" && slices.Contains(e.Overrides, "")`}},
		tests: []test{{pkg: "failover", name: "TestALateWriteInMidRun"}},
	},
	{
		name: "hold-beside-a-replacement", rule: "E7",
		says:  "a standing hold writes to a resource where a late token is being replaced: the second one's refusal is not seen, and the way back stays closed",
		edits: []edit{{"failover/apply_holds.go", `m.At.Before(s.Replacing(h.Step))`, `m.At.IsZero()`}},
		tests: []test{{pkg: "failover", name: "TestALateTokenAndItsHoldWriteInTurn"}},
	},
	{
		name: "replacement-beside-a-hold", rule: "E7",
		says:  "a late token is replaced while a standing hold writes there",
		edits: []edit{{"failover/late.go", `m.At.Before(s.writing(o.Step))`, `m.At.IsZero()`}},
		tests: []test{{pkg: "failover", name: "TestALateTokenAndItsHoldWriteInTurn"}},
	},
	{
		name: "late-settled-by-an-older-token", rule: "E4",
		says:  "a token that is older than the one that may land is taken for its end",
		edits: []edit{{"failover/late.go", `case c.Stands < o.Token:`, `case c.Stands == 0:`}},
		tests: []test{{pkg: "failover", name: "TestALateWriteKeepsTheEpoch"}},
	},
	{
		name: "going-on-is-a-vow", rule: "E4",
		says: "a person who goes on without a switch is taken to vouch that its write cannot land",
		edits: []edit{{"failover/skip.go", `s.Level() >= 3 && !follows
`, `s.Level() >= 3
`}},
		tests: []test{{pkg: "failover", name: "TestALateWriteKeepsTheEpoch/a_person_goes_on_without_it"}},
	},
	{
		name: "recovered-and-forgotten", rule: "E4",
		says: "what an execution had sent is forgotten when recover ends it",
		edits: []edit{{"failover/recovery.go", `		if e != nil {
			s.leaveLate(`, `		if e == s.Preparation && e != nil {
			s.leaveLate(`}},
		tests: []test{{pkg: "failover", name: "TestALateWriteKeepsTheEpoch/recovered_in_mid-run"}},
	},
	{
		name: "done-is-landed", rule: "E4",
		says:  "a switch that is seen to be done is taken for landed, whoever moved the clients",
		edits: []edit{{"failover/late.go", `if a.Vowed || a.Stands > 0`, `if a.Vowed || a.Outcome == StepDone || a.Stands > 0`}},
		tests: []test{{pkg: "failover", name: "TestALateWriteKeepsTheEpoch/seen_done,_and_by_whom_is_not_known"}},
	},
	{
		name: "never-sent-is-late", rule: "L1",
		says:  "an attempt that was begun in the log and nowhere else keeps a region from being left",
		edits: []edit{{"failover/late.go", `if !a.Until.IsZero() {`, `if a.Token > 0 {`}},
		tests: []test{{pkg: "failover", name: "TestWhatWasNeverSentIsNotLate"}},
	},
	{
		name: "hold-writes-and-forgets", rule: "E4",
		says:  "what a standing hold has sent is not known to be on its way",
		edits: []edit{{"failover/apply_holds.go", `s.Level() >= 3 && h.Step.Tokens {`, `s.Level() >= 3 && h.Step.Tokens && h.Running == nil {`}},
		tests: []test{{pkg: "failover", name: "TestALateWriteInMidRun"}},
	},
	{
		name: "late-write-not-replaced", rule: "E4",
		says:  "nobody takes a write's place that may still land: whenever it comes, it moves the clients",
		edits: []edit{{"actions/late.go", `if !ok || eff.Recalled ||`, `if ok || eff.Recalled ||`}},
		tests: []test{{pkg: "actions", name: "TestALateWriteIsReplaced"}},
	},
	{
		name: "late-write-taken-for-landed", rule: "E4",
		says: "a write counts as landed although another token stands",
		edits: []edit{{"actions/late.go", `	if eff.stands() >= l.Token {
		k.propose`, `	if eff.State == Present {
		eff.Token = max(eff.Token, l.Token)
		k.propose`}},
		tests: []test{{pkg: "actions", name: "TestALateWriteIsReplaced"}},
	},
	{
		name: "stop-does-not-age", rule: "E5",
		says:  "a region is entered while a stop that was sent there may still come",
		edits: []edit{{"failover/apply_holds.go", `a.Until.Add(callLife)`, `a.Until`}},
		tests: []test{{pkg: "failover", name: "TestAStopThatWasNotSeenAgesOut"}},
	},
	{
		name: "policy-approves-anything", rule: "S6",
		says:  "what nobody has answered is begun for a region that is well again, or in a pause",
		edits: []edit{{"failover/apply_exec.go", `q.Default == "proceed" && why != ""`, `q.Default == "" && why != ""`}},
		tests: []test{{pkg: "failover", name: "TestThePolicyApprovesNothingThatTheGuardsRefuse"}},
	},
	{
		name: "configuration-of-other-regions", rule: "S8",
		says:  "a configuration that was proposed before a failover is put in force without the region that is active since",
		edits: []edit{{"failover/apply_config.go", `case s.Level() >= 3 && p.Settings.Other(s.Active) == "":`, `case s.Level() >= 4 && p.Settings.Other(s.Active) == "":`}},
		tests: []test{{pkg: "failover", name: "TestAProposalIsLookedAtAgain"}},
	},
	{
		name: "leases-looked-at-once", rule: "S8",
		says:  "a lease is shortened under agents that have come since it was proposed",
		edits: []edit{{"failover/apply_config.go", `case s.Level() >= 3 && s.shortens(&p.Settings) != nil:`, `case s.Level() >= 4 && s.shortens(&p.Settings) != nil:`}},
		tests: []test{{pkg: "failover", name: "TestAProposalIsLookedAtAgain"}},
	},
	{
		name: "dead-leaders-stop-forgotten", rule: "E5",
		says: "the stop that a dead leader had sent is forgotten when the next one sends its own",
		edits: []edit{{"failover/apply_holds.go", `		s.unresolved(h, h.Running) // its leader has died
`, ``}},
		tests: []test{{pkg: "failover", name: "TestAStopThatWasNotSeenAgesOut"}},
	},
	{
		name: "question-after-its-reason", rule: "L1",
		says:  "a question about a late write is put after it was settled, and no later one can be",
		edits: []edit{{"failover/apply_exec.go", `c.Kind == LateWrite && len(s.Late) == 0 && s.Level() >= 3`, `c.Kind == LateWrite && len(s.Late) == 0 && s.Level() >= 4`}},
		tests: []test{{pkg: "failover", name: "TestALateWriteInMidRun"}},
	},
	{
		name: "question-outlives-the-epoch", rule: "L1",
		says:  "a question about a late write stays open when the epoch advances in spite of it",
		edits: []edit{{"failover/apply_evidence.go", `q != nil && q.Kind == LateWrite {`, `q != nil && q.Kind == "" {`}},
		tests: []test{{pkg: "failover", name: "TestTheEpochEndsTheQuestionAboutALateWrite"}},
	},
	{
		name: "late-writes-of-one-name", rule: "E4",
		says: "two late writes get one number, and settling one forgets the other",
		edits: []edit{{"failover/late.go", `		id++
`, `		break
`}},
		tests: []test{{pkg: "failover", name: "TestLateWritesAreToldApart"}},
	},
	{
		name: "wobble-is-for-ever", rule: "L1",
		says: "a vantage that was blind at the deadline keeps the policy from ever approving",
		edits: []edit{{"failover/apply_exec.go", `		q.Deadline = m.At.Add(max(s.Settings.Policy.Hold.D(), time.Minute))
`, `		q.Deadline = m.At.Add(10000 * time.Hour)
		q.Default = "hold"
`}},
		tests: []test{{pkg: "failover", name: "TestThePolicyApprovesNothingThatTheGuardsRefuse"}},
	},
	{
		name: "broken-state-kept", rule: "S7",
		says:  "a state in which entries are missing is kept as one of their index",
		edits: []edit{{"consensus/fsm.go", `	if broken != nil {`, `	if broken != nil && f.state == nil {`}},
		tests: []test{{pkg: "consensus", name: "TestABrokenStateIsNotKept"}},
	},
	{
		name: "old-snapshot-teaches", rule: "T3",
		says:  "a node that has restarted without a quorum forgets who was removed",
		edits: []edit{{"consensus/gatekeeper.go", `g.known.Generation == s.Generation && s.Index < g.known.Index`, `g.known.Generation == s.Generation && s.Index < 0*g.known.Index`}},
		tests: []test{{pkg: "consensus", name: "TestAnOldSnapshotTeachesNothing"}},
	},
	{
		name: "hold-restarted-by-leaving", rule: "D2",
		says:  "a leader in the active region gives the leadership away in the middle of a hold or a preparation",
		edits: []edit{{"internal/daemon/leader.go", `s.Preparation == nil && held == 0`, `held >= 0`}},
		tests: []test{{pkg: "internal/daemon", name: "TestWhoLeadsFromWithinLeaves"}},
	},
	{
		name: "late-write-in-silence", rule: "L1",
		says:  "the epoch waits for a write that may still land, and nobody is told",
		edits: []edit{{"actions/fencing.go", `x.askForLate(ctx) || !x.again("epoch")`, `!x.again("epoch")`}},
		tests: []test{{pkg: "actions", name: "TestTheEpochWaitsForALateWrite"}},
	},
	{
		name: "ended-and-let-go", rule: "S3",
		says:  "clients are held by nothing when a person ends an execution that has moved them",
		edits: []edit{{"failover/apply_finish.go", `(state == ExecStable || e.To == s.Active)`, `state == ExecStable`}},
		tests: []test{{pkg: "failover", name: "TestClientsStayWhereAnEndedExecutionHasSentThem"}},
	},
	{
		name: "ended-behind-the-fence-is-a-dead-end", rule: "L1",
		says: "an execution that a person has ended behind the fence is carried on by nobody, and its service stands half moved",
		edits: []edit{{"failover/apply_continue.go", `	if c.Ended {
`, `	if false {
`}},
		tests: []test{{pkg: "failover", name: "TestAnEndedExecutionIsCarriedOn"}, {pkg: "internal/sim", name: "TestStories/carried-on"}},
	},
	{
		name: "carried-on-in-another-epoch", rule: "S1",
		says: "an execution is carried on although its epoch stands no more: what it starts is proven stopped by an older fence",
		edits: []edit{{"failover/apply_continue.go", ` || e.To != s.Active || s.Epoch != e.Epoch+1 {
`, ` {
`}},
		tests: []test{{pkg: "failover", name: "TestNothingElseIsCarriedOn"}},
	},
	{
		name: "carried-on-with-old-approvals", rule: "S10",
		says: "an approval that was given before an execution was ended counts for a step that begins after it is carried on",
		edits: []edit{{"failover/apply_continue.go", `	e.Approvals = slices.DeleteFunc(e.Approvals, func(a Approval) bool { return a.Step != "" && !e.Step(a.Step).Passed() })
`, ``}},
		tests: []test{{pkg: "failover", name: "TestAnEndedExecutionIsCarriedOn"}},
	},
	{
		name: "carried-on-without-its-switch", rule: "S3",
		says:  "a switch that was not seen when its execution was ended counts as passed when it is carried on: no client moves",
		edits: []edit{{"failover/apply_continue.go", `rec.State == StepUnproven && st.Kind == KindSwitch {`, `rec.State == StepUnproven && st.Kind == KindFreeze {`}},
		tests: []test{{pkg: "failover", name: "TestAnEndedExecutionIsCarriedOn"}},
	},
	{
		name: "clients-held-twice", rule: "S3",
		says:  "an execution that ends a second time leaves a second standing hold on each of its switches",
		edits: []edit{{"failover/apply_holds.go", `o.Step.ID == st.ID && o.Epoch == s.Epoch`, `o.Step.ID == st.ID && o.Epoch > s.Epoch`}},
		tests: []test{{pkg: "failover", name: "TestAnEndedExecutionIsCarriedOn"}},
	},
	{
		name: "recovered-and-let-go", rule: "S3",
		says:  "clients are held by nothing when `failoverd recover` ends an execution that has moved them",
		edits: []edit{{"failover/recovery.go", `s.Level() >= 3 && e.To == s.Active`, `s.Level() > 3 && e.To == s.Active`}},
		tests: []test{{pkg: "failover", name: "TestClientsStayAfterARecovery"}},
	},
	{
		name: "stops-keep-the-epoch", rule: "L1",
		says:  "a standing hold goes on sending stops into a region that only waits for such stops to be entered, and keeps it waiting",
		edits: []edit{{"failover/apply_holds.go", `h.Step.Kind == KindStop && s.Entering(`, `h.Step.Kind == KindStart && s.Entering(`}},
		tests: []test{{pkg: "failover", name: "TestAStopThatWasNotSeenAgesOut"}},
	},
	{
		name: "fence-over-an-applied-hold", rule: "E5",
		says:  "the fence asks for the epoch while a stop that was sent into the region that is entered may still land, and says nothing of it",
		edits: []edit{{"actions/fencing.go", `s.StopsUnderWay(e.To, "", time.Now()); why != ""`, `s.StopsUnderWay(e.From, "", time.Now()); why != ""`}},
		tests: []test{{pkg: "actions", name: "TestTheFenceWaitsForAStopThatMayLand"}},
	},
	{
		name: "late-write-told-at-each-look", rule: "L1",
		says:  "why a late write cannot be looked for is told at each look",
		edits: []edit{{"actions/late.go", `!told || last != why`, `!told || last != ""`}},
		tests: []test{{pkg: "actions", name: "TestWhyALateWriteIsNotSettledIsToldOnce"}},
	},
	{
		name: "late-write-told-only-once", rule: "L1",
		says:  "that a late write cannot be looked for is told, and not that there is another reason since",
		edits: []edit{{"actions/late.go", `!told || last != why`, `!told && last != why`}},
		tests: []test{{pkg: "actions", name: "TestWhyALateWriteIsNotSettledIsToldOnce"}},
	},
	{
		name: "hold-skips-a-kind", rule: "S2",
		says: "a late start of one kind stands in the region that was left",
		edits: []edit{{"actions/standing.go", `		k.apply(ctx, h, action, eff)
`, `		if _, skipped := action.(*eventSource); !skipped {
			k.apply(ctx, h, action, eff)
		}
`}},
		tests: []test{{pkg: "actions", name: "TestExposureOfEachKind/lambda_event_source"}},
	},
	{
		name: "hold-waits-out-a-refusal", rule: "S2",
		says:  "a stop of a standing hold that was refused is sent again only when the time is over that it may take",
		edits: []edit{{"actions/standing.go", `return len(now.Applied) <=`, `return len(now.Applied) <= 0*`}},
		tests: []test{{pkg: "actions", name: "TestAHoldStopsAgainSoon"}},
	},
	{
		name: "hold-repeats-anything", rule: "E3",
		says:  "a stop of a standing hold is repeated while its call may still land, also when a repetition does harm",
		edits: []edit{{"actions/standing.go", `!absolute || h.Step`, `absolute && h.Step`}},
		tests: []test{{pkg: "actions", name: "TestAHoldRepeatsOnlyWhatIsAbsolute"}},
	},
	{
		name: "hold-uses-its-tries-up", rule: "S2",
		says:  "a standing hold that is refused uses up in a few minutes all tries that an hour has",
		edits: []edit{{"actions/standing.go", `n > failover.ReapplyPerHour/2 && h.Last`, `n > failover.ReapplyPerHour && h.Last`}},
		tests: []test{{pkg: "actions", name: "TestAHoldThatIsRefusedTriesAllTheHour"}},
	},
	{
		name: "undo-waits-for-the-last-function", rule: "E5",
		says:  "what a late stop has turned off in the region that stayed active stays off until all that it has stopped has ended",
		edits: []edit{{"actions/unwind.go", `case r.told(eff) && (`, `case eff.State != Unknown && (`}},
		tests: []test{{pkg: "actions", name: "TestExposureOfALateStop/lambda_event_source"}},
	},
	{
		name: "refused-undo-is-given-up", rule: "E6",
		says:  "an undo that was refused twice is not made again: an instance that takes half a minute to stop stays stopped in the region that stays active",
		edits: []edit{{"actions/unwind.go", `(!repeated || r.undoErr != nil && (r.tokens() || r.idempotent())) && r`, `!repeated && r`}},
		tests: []test{{pkg: "actions", name: "TestARefusedUndoIsMadeAgain"}},
	},
	{
		name: "late-token-beside-its-step", rule: "E4",
		says:  "a late token is replaced while a step of the open execution writes to the same switch: the second of both is refused, and is not known to be",
		edits: []edit{{"failover/late.go", `	case m.At.Before(s.stepping(o.Step)):`, `	case m.At.Before(s.stepping(Step{})):`}},
		tests: []test{{pkg: "failover", name: "TestACarriedOnSwitchAndItsLateTokenWriteInTurn"}},
	},
	{
		name: "step-beside-its-late-token", rule: "E4",
		says:  "a step begins to write while a late token of its switch is being replaced",
		edits: []edit{{"failover/apply_exec.go", `	case st.Tokens && m.At.Before(s.Replacing(*st)):`, `	case st.Tokens && m.At.Before(s.Replacing(Step{})):`}},
		tests: []test{{pkg: "failover", name: "TestACarriedOnSwitchAndItsLateTokenWriteInTurn"}},
	},
	{
		name: "checksum-not-held", rule: "S9",
		says:  "a backup is restored although what was read is not what S3 says was put there",
		edits: []edit{{"internal/backup/checksum.go", `!bytes.Equal(got, c.want)`, `!bytes.Equal(got, got)`}},
		tests: []test{{pkg: "internal/backup", name: "TestAFlippedBitIsSeen"}, {pkg: "actions", name: "TestIncidentP7/a_bit_of_plain_text_flipped"}},
	},
	{
		name: "late-end-of-a-hold-carries-on", rule: "S10",
		says: "the end of a hold that arrives when its execution was ended carries it on",
		edits: []edit{{"failover/apply_continue.go", `	if c.Ended {
`, `	if s.Execution == nil {
`}},
		tests: []test{{pkg: "failover", name: "TestNothingElseIsCarriedOn"}},
	},
	{
		name: "carried-on-over-an-open-fence", rule: "S1",
		says:  "an execution is carried on although a component of the region that it left was released, or is seen running there",
		edits: []edit{{"failover/apply_continue.go", `	case s.unheld(old) != "":`, `	case s.unheld(old) == "?":`}},
		tests: []test{{pkg: "failover", name: "TestNothingElseIsCarriedOn"}},
	},
	{
		name: "carried-on-in-a-pause", rule: "S6",
		says:  "an ended execution is carried on although somebody has paused everything",
		edits: []edit{{"failover/apply_continue.go", `	case s.Paused(m.At):`, `	case s.Paused(m.At) && c.Execution == 0:`}},
		tests: []test{{pkg: "failover", name: "TestNothingElseIsCarriedOn"}},
	},
	{
		name: "carrier-approves", rule: "S9",
		says:  "who carries an ended execution on approves its steps himself",
		edits: []edit{{"failover/apply_exec.go", `slices.Contains(e.CarriedBy, m.By)`, `slices.Contains(e.CarriedBy, "")`}},
		tests: []test{{pkg: "failover", name: "TestWhoCarriesOnDoesNotApprove"}},
	},
	{
		name: "first-carrier-approves", rule: "S9",
		says:  "who gave the first half of the order to carry an execution on may approve its steps",
		edits: []edit{{"failover/apply_continue.go", `[]string{m.By, s.firstHalf(m, c)}`, `[]string{m.By}`}},
		tests: []test{{pkg: "failover", name: "TestWhoCarriesOnDoesNotApprove"}},
	},
	{
		name: "stable-closes-the-other-incident", rule: "S7",
		says:  "the end of a plan closes the incident of the region that was entered",
		edits: []edit{{"failover/apply_finish.go", `state == ExecStable && s.Level() < 3`, `state == ExecStable && s.Level() < 9`}},
		tests: []test{{pkg: "failover", name: "TestAnIncidentOfTheEnteredRegionOutlivesThePlan"}},
	},
	{
		name: "carried-on-between-other-regions", rule: "E8",
		says:  "an execution is carried on although the configuration names another pair of regions by now",
		edits: []edit{{"failover/apply_continue.go", `	case s.Settings.Other(old.To) != old.From:`, `	case s.Settings.Other(old.To) == "":`}},
		tests: []test{{pkg: "failover", name: "TestNothingElseIsCarriedOn"}},
	},
	{
		name: "a-vow-forgotten", rule: "E4",
		says:  "a late write that a person has vouched for is open again when its execution was carried on and ends once more",
		edits: []edit{{"failover/apply_continue.go", `if token := rec.LateToken(); token > 0 {`, `if token := rec.LateToken(); token > 1<<60 {`}},
		tests: []test{{pkg: "failover", name: "TestASettledLateWriteStaysSettled"}},
	},
	{
		name: "stops-rest-for-a-late-write", rule: "S1",
		says: "while a late write keeps the epoch, nothing is stopped any more in the region to be entered",
		edits: []edit{{"failover/apply_holds.go", ` &&
		(len(s.Late) == 0 || slices.Contains(e.Overrides, GuardLate))
`, `
`}},
		tests: []test{{pkg: "failover", name: "TestAStopThatWasNotSeenAgesOut"}},
	},
	{
		name: "token-before-its-hold", rule: "S4",
		says:  "a late token is replaced right before its standing hold writes: the records are changed twice where once is enough",
		edits: []edit{{"actions/late.go", `h.Status != failover.HoldKept && !h.TooOften`, `h.Status == failover.HoldViolated && !h.TooOften`}},
		tests: []test{{pkg: "actions", name: "TestTheHoldWritesFirst"}},
	},
}
