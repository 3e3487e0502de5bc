package main

// bring are the rules of a switchover, which takes along what the region that is left holds.
var bring = []mutant{
	{
		name: "dump-of-an-earlier-attempt", rule: "D1",
		says:  "a dump that an earlier attempt has put there late counts, although a later one was refused because somebody writes",
		edits: []edit{{"actions/mariadb_dump.go", `token == 0 || token != o.counts()`, `token == 0 || token > o.counts()`}},
		tests: []test{{pkg: "actions", name: "TestMariaDBDumpOfAnEarlierAttempt"}},
	},
	{
		name: "failed-dump-counts", rule: "D1",
		says:  "what a failed attempt has put there late is taken for the new dump that a person was promised",
		edits: []edit{{"actions/mariadb_dump.go", `case failed && o.token < slices.Max(tokens)`, `case failed && false`}},
		tests: []test{{pkg: "actions", name: "TestMariaDBDumpOfAnEarlierAttempt"}},
	},
	{
		name: "failed-attempt-untold", rule: "D1",
		says:  "an action is not told that the newest attempt has failed",
		edits: []edit{{"internal/daemon/world.go", `a.Outcome != "" && a.Outcome != failover.StepDone`, `false`}},
		tests: []test{{pkg: "internal/daemon", name: "TestBegun"}},
	},
	{
		name: "switchover-begins-without-grants", rule: "G8",
		says:  "a switchover stops the region although what it restores into lacks grants that would have kept a failover from beginning",
		edits: []edit{{"actions/mariadb_restore_run.go", `if e.Lacks = x.lacks(st); e.Lacks != "" {`, `if e.Lacks = ""; e.Lacks != "" {`}},
		tests: []test{{pkg: "actions", name: "TestBroughtRestoreLacksAsMuch"}},
	},
	{
		name: "dump-before-the-fence", rule: "S1",
		says:  "the region that is left is dumped while its writers may still write",
		edits: []edit{{"failover/plan/bring.go", `[]failover.StepID{FenceID}`, `[]failover.StepID{FreezeID}`}},
		tests: []test{{pkg: "failover/plan", name: "TestSwitchoverBrings"}},
	},
	{
		name: "dump-unawaited", rule: "E1",
		says:  "the restore of a switchover does not wait for the dump",
		edits: []edit{{"failover/plan/plan.go", `before, start = append(before, dump), c.Brings.Start`, `_, start = dump, c.Brings.Start`}},
		tests: []test{{pkg: "failover/plan", name: "TestSwitchoverBrings"}},
	},
	{
		name: "switchover-of-an-incident", rule: "D1",
		says:  "an incident begins a switchover, which asks the region that is down",
		edits: []edit{{"failover/apply_exec.go", `c.Kind == Switchover && (c.Incident != 0 || c.Plan.Kind != Switchover)`, `c.Kind == Switchover && c.Plan.Kind != Switchover`}},
		tests: []test{{pkg: "failover", name: "TestSwitchoverIsAPersons"}},
	},
	{
		name: "switchover-by-a-failovers-plan", rule: "E8",
		says:  "a switchover is carried out by a plan that takes nothing along",
		edits: []edit{{"failover/apply_exec.go", `c.Kind == Switchover && (c.Incident != 0 || c.Plan.Kind != Switchover)`, `c.Kind == Switchover && c.Incident != 0`}},
		tests: []test{{pkg: "failover", name: "TestSwitchoverIsAPersons"}},
	},
	{
		name: "switchover-that-nobody-asked-for", rule: "L1",
		says:  "a request for a failover begins a switchover",
		edits: []edit{{"failover/apply_exec.go", `		if c.Kind != s.Request.Kind && s.Level() >= 3 {`, `		if c.Kind != s.Request.Kind && c.Incident > 0 {`}},
		tests: []test{{pkg: "failover", name: "TestSwitchoverIsAPersons"}},
	},
	{
		name: "failover-loses-what-it-would-bring", rule: "D1",
		says:  "the guard of loss does not ask about a store that only a switchover takes along",
		edits: []edit{{"failover/guards.go", `		case kind == Switchover && s.Settings.Brings(store):`, `		case s.Settings.Brings(store):`}},
		tests: []test{{pkg: "failover", name: "TestSwitchoverLosesNothingThatItBrings"}},
	},
	{
		name: "refused-switchover-becomes-a-failover", rule: "L1",
		says:  "who asks for a switchover is told to ask for a failover, which takes nothing along",
		edits: []edit{{"failover/guards.go", "\"`failoverd \" + string(kind) + \" --override \"", "\"`failoverd failover --override \""}},
		tests: []test{{pkg: "failover", name: "TestARefusedSwitchoverStaysOne"}},
	},
	{
		name: "bringing-at-any-level", rule: "E8",
		says:  "settings with a switchover's dump are put before members that cannot read them",
		edits: []edit{{"failover/level.go", ` || c.Settings.brings()`, ``}},
		tests: []test{{pkg: "failover", name: "TestBringingNeedsItsLevel"}},
	},
	{
		name: "price-of-a-skipped-dump", rule: "L1",
		says:  "the price says that nothing is lost although somebody does without the dump",
		edits: []edit{{"failover/plan/price.go", `e.Step(st.ID).State == failover.StepSkipped {`, `e.Step(st.ID).State == "" {`}},
		tests: []test{{pkg: "failover/plan", name: "TestPriceOfASwitchover"}},
	},
	{
		name: "survey-of-another-plan", rule: "D1",
		says:  "a switchover is begun on what was seen of a failover's plan",
		edits: []edit{{"internal/daemon/survey.go", `s.kind != nextKind(st) || `, ``}},
		tests: []test{{pkg: "internal/daemon", name: "TestSurveyOfASwitchover"}},
	},
	{
		name: "survey-asks-the-failing-region", rule: "D1",
		says:  "in a suspicion the survey of the standby waits for the region that may be dark",
		edits: []edit{{"internal/daemon/survey.go", `			if !pressing(s) {`, `			if every > 0 {`}},
		tests: []test{{pkg: "internal/daemon", name: "TestSurveyDoesNotWaitForTheRegionThatIsLeft"}},
	},
	{
		name: "suspicion-waits-for-a-look", rule: "D1",
		says: "a look at the region that is left goes on when that region is suspected, and the survey comes after it",
		edits: []edit{{"internal/daemon/survey.go", `		awaitSurvey(ctx, t, changed, s, time.Minute)
	})`, `		<-ctx.Done()
	})`}},
		tests: []test{{pkg: "internal/daemon", name: "TestSurveyDoesNotWaitForTheRegionThatIsLeft"}},
	},
	{
		name: "loss-of-a-skipped-dump-untold", rule: "L1",
		says:  "who approves the restore of an older backup is not told what it costs",
		edits: []edit{{"actions/approval.go", `(dump.ID == st.ID || e.Step(dump.ID).State == failover.StepDone)`, `e != nil`}},
		tests: []test{{pkg: "actions", name: "TestTheQuestionOfASwitchoverNamesNoLoss"}},
	},
	{
		name: "unknown-kind-is-a-failover", rule: "L1",
		says:  "who mistypes the kind of an execution is shown the plan and the price of a failover",
		edits: []edit{{"internal/admin/server.go", `	if kind == "" {`, `	if !kind.Leaves() {`}},
		tests: []test{{pkg: "internal/admin", name: "TestReading"}},
	},
	{
		name: "aborted-dump-goes-on", rule: "L1",
		says:  "a dump whose execution was aborted goes on while somebody looks, and ends unclear",
		edits: []edit{{"actions/act_ends.go", `ok && r.x.stopped(r.e.ID) {`, `ok && ender == nil {`}},
		tests: []test{{pkg: "actions", name: "TestASwitchoverIsAbortedInMidDump"}},
	},
	{
		name: "events-of-the-source-untold", rule: "L1",
		says:  "nobody is told that the server that is left writes by itself behind the fence",
		edits: []edit{{"internal/restore/scheduled.go", `on != "ON"`, `on != ""`}},
		tests: []test{{pkg: "actions", name: "TestADumpTellsOfTheEventScheduler"}},
	},
	{
		name: "dump-without-its-end", rule: "E1",
		says:  "a dump is kept that mariadb-dump has not finished",
		edits: []edit{{"internal/restore/take.go", `err == nil && !dump.Ends(t.end)`, `err == nil && !dump.Ends(t.end) && t.bytes == 0`}},
		tests: []test{{pkg: "internal/restore", name: "TestTakeIsWholeOrNothing"}},
	},
	{
		name: "dump-of-a-killed-program", rule: "E1",
		says:  "a dump is kept although mariadb-dump has failed",
		edits: []edit{{"internal/restore/take.go", `e != nil && ctx.Err() == nil && err == nil {`, `e != nil && ctx.Err() == nil && t.bytes == 0 {`}},
		tests: []test{{pkg: "internal/restore", name: "TestTakeIsWholeOrNothing"}},
	},
	{
		name: "dump-beside-a-writer", rule: "S1",
		says:  "a dump is kept although somebody wrote to its tables meanwhile",
		edits: []edit{{"internal/restore/take.go", `	if err != nil || names == "" {`, `	if err != nil || names != "?" {`}},
		tests: []test{{pkg: "internal/restore", name: "TestTakeIsWholeOrNothing"}},
	},
	{
		name: "dump-beside-a-writer-of-versions", rule: "S1",
		says:  "a dump is kept although somebody wrote to a versioned table meanwhile",
		edits: []edit{{"internal/restore/source.go", `AND ` + "` + holdsRows + `" + ` AND UPDATE_TIME`, `AND TABLE_TYPE='BASE TABLE' AND UPDATE_TIME`}},
		tests: []test{{pkg: "internal/restore", name: "TestTakeIsWholeOrNothing"}},
	},
	{
		name: "aborted-restore-goes-on", rule: "E3",
		says:  "a restore that was aborted goes on for as long as somebody looks, and ends as a step of which nobody knows",
		edits: []edit{{"actions/long.go", `func (x *mariaDBRestore) End(`, `func (x *mariaDBRestore) Ended(`}},
		tests: []test{{pkg: "actions", name: "TestASwitchoverIsAbortedInMidRestore"}},
	},
	{
		name: "dump-before-the-server-is-still", rule: "S1",
		says:  "a dump begins while the server still works for a client that was killed, and lacks what that commits",
		edits: []edit{{"internal/restore/still.go", `		case left.none():`, `		case len(left.running) < 99:`}},
		tests: []test{{pkg: "internal/restore", name: "TestTakeWaitsForTheServer"}},
	},
	{
		name: "dump-beside-the-binary-log", rule: "S1",
		says:  "a dump is kept although the binary log tells of a change of which no table has the time",
		edits: []edit{{"internal/restore/still.go", `err != nil || now == pos {`, `err != nil || now >= pos {`}},
		tests: []test{{pkg: "internal/restore", name: "TestTakeSeesTheBinaryLog"}},
	},
	{
		name: "dump-by-the-targets-allowances", rule: "D1",
		says:  "what the configuration allows at the target of a restore lifts what is looked at where the dump is taken",
		edits: []edit{{"actions/mariadb_dump_run.go", `x.allow = nil`, `x.allow = slices.Clone(x.cfg.Allow)`}},
		tests: []test{{pkg: "actions", name: "TestMariaDBDumpAllowsNothingByItself"}},
	},
	{
		name: "dump-without-the-history", rule: "D1",
		says:  "a dump leaves the history of versioned tables behind without a person's word",
		edits: []edit{{"internal/restore/take.go", `of.Versioned != "" && !slices.Contains(o.Allow, AllowHistory)`, `of.Versioned == "?"`}},
		tests: []test{{pkg: "internal/restore", name: "TestTakeIsWholeOrNothing"}},
	},
	{
		name: "dump-leaves-children", rule: "E2",
		says:  "what mariadb-dump has started lives on when the dump is cancelled",
		edits: []edit{{"internal/restore/take.go", `syscall.Kill(-cmd.Process.Pid`, `syscall.Kill(cmd.Process.Pid`}},
		tests: []test{{pkg: "internal/restore", name: "TestTakeEndsItsChildren"}},
	},
	{
		name: "half-an-upload", rule: "E1",
		says:  "what was uploaded until its source broke becomes an object",
		edits: []edit{{"internal/backup/upload.go", `last := err == io.EOF || err == io.ErrUnexpectedEOF`, `last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)`}},
		tests: []test{{pkg: "internal/backup", name: "TestPutLeavesNothingHalf"}},
	},
	{
		name: "upload-not-looked-at", rule: "E1",
		says:  "an object that is not what was uploaded stays",
		edits: []edit{{"internal/backup/upload.go", `why != "" {`, `why == "?" {`}},
		tests: []test{{pkg: "internal/backup", name: "TestPutLooksAtWhatStandsThere"}},
	},
	{
		name: "upload-asked-once", rule: "E2",
		says:  "until when an upload's call may be sent is not asked where it is sent",
		edits: []edit{{"internal/backup/upload.go", `next.HandleFinalize(c(ctx), in)`, `next.HandleFinalize(ctx, in)`}},
		tests: []test{{pkg: "internal/backup", name: "TestPutTakesItsTime"}},
	},
	{
		name: "landed-dump-not-seen", rule: "E3",
		says:  "a dump that lies in the bucket counts as failed because the answer was lost",
		edits: []edit{{"actions/mariadb_dump_run.go", `ok && !errors.Is(failed, backup.ErrOther) {`, `ok && failed == nil {`}},
		tests: []test{{pkg: "actions", name: "TestADumpIsLookedForBeforeItsErrorIsBelieved"}},
	},
	{
		name: "other-object-as-dump", rule: "E1",
		says:  "what was seen not to be what was uploaded counts as the dump",
		edits: []edit{{"actions/mariadb_dump_run.go", `ok && !errors.Is(failed, backup.ErrOther) {`, `ok {`}},
		tests: []test{{pkg: "actions", name: "TestADumpIsLookedForBeforeItsErrorIsBelieved"}},
	},
	{
		name: "earlier-upload-goes-on", rule: "E4",
		says:  "an earlier leader's upload can still be completed when a later one has begun",
		edits: []edit{{"internal/backup/upload.go", `range out.Uploads {`, `range out.Uploads[:0] {`}},
		tests: []test{{pkg: "internal/backup", name: "TestAbandon"}},
	},
	{
		name: "dump-sent-late", rule: "E2",
		says:  "a node that was stopped completes its upload when it wakes up",
		edits: []edit{{"actions/mariadb_dump_run.go", `cloud.WithEffectDeadline(ctx, r.until())`, `ctx`}},
		tests: []test{{pkg: "actions", name: "TestMariaDBDumpChangesHands"}},
	},
	{
		name: "older-backup-unasked", rule: "D1",
		says:  "a switchover whose dump has failed restores an older backup without a person's word",
		edits: []edit{{"actions/mariadb_restore.go", `		if !slices.Contains(x.allow, freshBackup) {`, `		if len(all) == 0 {`}},
		tests: []test{{pkg: "actions", name: "TestMariaDBDumpNothingOlder"}},
	},
	{
		name: "restore-without-its-dump-unasked", rule: "D1",
		says:  "a plan goes on without the restore of what it was to bring, unasked",
		edits: []edit{{"failover/plan/plan.go", `start.OnError = "halt"`, `start.OnError = c.Brings.Start.OnError`}},
		tests: []test{{pkg: "failover/plan", name: "TestSwitchoverBrings"}},
	},
	{
		name: "restore-tried-for-hours", rule: "D1",
		says:  "a restore whose dump was skipped is tried again and again, and nobody is asked",
		edits: []edit{{"actions/act.go", `asks && r.asked`, `asks && err == nil`}},
		tests: []test{{pkg: "actions", name: "TestASwitchoverWithoutItsDumpAsks"}},
	},
	{
		name: "dump-of-an-earlier-epoch", rule: "E4",
		says:  "the dump of an earlier switchover is restored",
		edits: []edit{{"actions/mariadb_dump.go", `m == nil || m[1] != strconv.FormatUint(o.epoch, 10) || o.since`, `m == nil || o.since`}},
		tests: []test{{pkg: "actions", name: "TestMariaDBDumpIsItsOwn"}},
	},
	{
		name: "dump-of-another-cluster", rule: "E4",
		says:  "a dump that no attempt of this switchover has taken is restored as its own",
		edits: []edit{{"actions/mariadb_dump.go", ` || token == 0 || token != o.counts()`, ``}},
		tests: []test{{pkg: "actions", name: "TestMariaDBDumpIsItsOwn"}},
	},
	{
		name: "dump-from-before-the-switchover", rule: "E4",
		says:  "a dump is restored that was there before the switchover began, since its name is that of an attempt",
		edits: []edit{{"actions/mariadb_dump.go", ` || asOf.Before(o.since.Truncate(time.Second))`, ``}},
		tests: []test{{pkg: "actions", name: "TestMariaDBDumpIsItsOwn"}},
	},
	{
		name: "dump-put-in-its-place", rule: "E2",
		says:  "what was put in the place of the dump that the log names is restored",
		edits: []edit{{"actions/mariadb_restore.go", `*x.first != (freshFound{o.File.Key, o.File.ETag})`, `x.first.Key != o.File.Key`}},
		tests: []test{{pkg: "actions", name: "TestMariaDBDumpIsTheOneThatTheLogNames"}},
	},
	{
		name: "dump-put-in-its-place-of-an-earlier-leader", rule: "E2",
		says:  "the next leader restores what was put in the place of the dump with which the first attempt began",
		edits: []edit{{"actions/mariadb_restore.go", `			x.began(a.Previous)`, `			_ = a`}},
		tests: []test{{pkg: "actions", name: "TestMariaDBDumpIsTheOneThatTheFirstLeaderBegan"}},
	},
	{
		name: "guard-renews-nothing", rule: "S1",
		says:  "what keeps a second primary down ends by itself, or is forgotten, and nobody does it anew",
		edits: []edit{{"actions/standing.go", `	if !ok || !eff.Renew {`, `	if !ok || eff.Renew {`}},
		tests: []test{{pkg: "actions", name: "TestAGuardRenewsWhatEnds"}, {pkg: "actions", name: "TestMongoHoldFreezesAnew"}},
	},
	{
		name: "guard-renews-when-deposed", rule: "E2",
		says:  "who leads no more renews what a hold keeps up",
		edits: []edit{{"actions/standing.go", `		return fmt.Errorf("nothing was renewed: %w", err) // the`, `		_ = fmt.Errorf("nothing was renewed: %w", err) // the`}},
		tests: []test{{pkg: "actions", name: "TestAGuardRenewsWhatEnds"}},
	},
	{
		name: "guard-kept-although-unrenewed", rule: "S1",
		says: "a hold whose rivals could not be kept down is called kept",
		edits: []edit{{"actions/standing.go", `			k.note(ctx, h, failover.HoldUnseen, err.Error())
			return
`, ``}},
		tests: []test{{pkg: "actions", name: "TestAGuardRenewsWhatEnds"}, {pkg: "actions", name: "TestMongoHoldFreezesAnew"}},
	},
	{
		name: "mongo-left-behind-thaws", rule: "S1",
		says:  "members that were left behind are frozen once, and may lead again a day later or after a restart",
		edits: []edit{{"actions/mongo_promote.go", `	renew := r.Known && len(r.Left) > 0`, `	renew := r.Known && len(r.Left) < 0`}},
		tests: []test{{pkg: "actions", name: "TestMongoHoldFreezesAnew"}},
	},
	{
		name: "mongo-dropped-by-hand-is-frozen", rule: "L1",
		says: "a member that a person has dropped by an ordinary reconfiguration is frozen",
		edits: []edit{{"internal/replset/judge.go", ` && ours.Config.Version-version >= forcedBy {
				out.Left`, ` && ours.Config.Version > version {
				out.Left`}},
		tests: []test{{pkg: "internal/replset", name: "TestLeftBehind"}},
	},
	{
		name: "mongo-frozen-before-it-is-forced", rule: "L1",
		says:  "a leader that dies before it has forced leaves the members that it has frozen without a primary for a day",
		edits: []edit{{"actions/mongo_fence.go", `Fence(ctx, f.Alive, mongoTried, x.patience)`, `Fence(ctx, f.Alive, mongoFenced, x.patience)`}},
		tests: []test{{pkg: "actions", name: "TestMongoFreezesForLongOnlyWhatMayBeForced"}},
	},
	{
		name: "mongo-open-and-thawing", rule: "S1",
		says: "members thaw by themselves beside a promotion that may have taken effect",
		edits: []edit{{"actions/mongo_fence.go", `		err := x.freeze(ctx, f.Alive)
		if err != nil {`, `		var err error
		if x.looked == 0 {`}},
		tests: []test{{pkg: "actions", name: "TestMongoFreezesForLongOnlyWhatMayBeForced"}},
	},
	{
		name: "mongo-rival-steps-down-unheard", rule: "S1",
		says:  "a second primary is made to step down, and nobody hears of it",
		edits: []edit{{"actions/mongo_fence.go", `.Freeze(ctx, hosts, mongoFenced, x.patience)`, `.Fence(ctx, hosts, mongoFenced, x.patience)`}},
		tests: []test{{pkg: "actions", name: "TestMongoHoldFreezesAnew"}},
	},
	{
		name: "unmended-rival-untold", rule: "S6",
		says:  "nobody is paged for a second primary that only a person can fence",
		edits: []edit{{"internal/daemon/page.go", `		if unmended(h, now) && !p`, `		if unmended(h, now) && h.ID == 0 && !p`}},
		tests: []test{{pkg: "internal/daemon", name: "TestPagerTellsOfWhatNobodyMends"}},
	},
}
