package main

// bring are the rules of a switchover, which takes along what the region that is left holds.
var bring = []mutant{
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
		edits: []edit{{"actions/act.go", `ok && r.x.stopped(r.e.ID) {`, `ok && ender == nil {`}},
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
		edits: []edit{{"internal/restore/take.go", `err != nil || names == "" {`, `err != nil || names != "?" {`}},
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
		edits: []edit{{"internal/backup/upload.go", `last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)`, `last := err != nil`}},
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
		name: "dump-of-an-earlier-epoch", rule: "E4",
		says:  "the dump of an earlier switchover is restored",
		edits: []edit{{"actions/mariadb_dump.go", `m == nil || m[1] != strconv.FormatUint(o.epoch, 10) || o.since`, `m == nil || o.since`}},
		tests: []test{{pkg: "actions", name: "TestMariaDBDumpIsItsOwn"}},
	},
	{
		name: "dump-of-another-cluster", rule: "E4",
		says:  "a dump that no attempt of this switchover has taken is restored as its own",
		edits: []edit{{"actions/mariadb_dump.go", ` || !slices.Contains(o.own(), token)`, ``}},
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
		edits: []edit{{"actions/mariadb_restore.go", `*was.Fresh != (freshFound{o.File.Key, o.File.ETag})`, `was.Fresh.Key != o.File.Key`}},
		tests: []test{{pkg: "actions", name: "TestMariaDBDumpIsTheOneThatTheLogNames"}},
	},
}
