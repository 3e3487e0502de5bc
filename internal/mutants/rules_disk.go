package main

// disks are the rules of who belongs to the cluster, and of its disks (T3, T4).
var disks = []mutant{
	{
		name: "start-counter-not-checked", rule: "T3", takes: "start counter not checked",
		says: "a disk that was set back to an older copy, and may have forgotten votes, takes part",
		edits: []edit{{"failover/apply_members.go", `	case now.Starts < recorded.Starts, now.Starts == recorded.Starts && now.Boot != recorded.Boot:
`, `	case false:
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/empty-disk"}, {pkg: "consensus", name: "TestGreet"}, {pkg: "consensus", name: "TestKnownSurvivesRestart"}},
	},
	{
		name: "replaced-disk-not-noticed", rule: "T3",
		says: "an empty disk takes part under the name of one that has voted",
		edits: []edit{{"failover/apply_members.go", `	case recorded.Disk != now.Disk:
`, `	case false:
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/empty-disk"}, {pkg: "consensus", name: "TestGreet"}},
	},
	{
		name: "refused-start-counts", rule: "T3",
		says: "a start that the others refuse counts all the same: the counter of a disk that was set back catches up while its service manager tries again",
		edits: []edit{{"consensus/store.go", `	d.Identity, err = thisStart(d.identity, node)
	if err != nil {
`, `	d.Identity, err = thisStart(d.identity, node)
	if err == nil {
		err = d.CountStart()
	}
	if err != nil {
`}},
		tests: []test{{pkg: "internal/daemon", name: "TestDiskIsJudgedBeforeRaftStarts"}, {pkg: "consensus", name: "TestDiskCountsItsStarts"}},
	},
	{
		name: "known-forgotten-on-restart", rule: "T3",
		says: "a node that restarts answers from an empty memory: what it knew of the others' disks is gone",
		edits: []edit{{"consensus/gatekeeper.go", `	g.known = k
	g.self.Generation = k.Generation
	return g, nil
`, `	_ = k
	g.known.Nodes, g.known.Removed = map[failover.NodeID]failover.NodeRecord{}, map[failover.NodeID]failover.RemovedNode{}
	return g, nil
`}},
		tests: []test{{pkg: "consensus", name: "TestKnownSurvivesRestart"}},
	},
	{
		name: "removed-name-used-again", rule: "T3",
		says: "the name of a removed node is used again",
		edits: []edit{
			{"failover/apply.go", `	if r, gone := s.Removed[c.Node]; gone {
		return nil, RemovedError(c.Node, r)
	}
`, ``},
			{"failover/apply_members.go", `		s.Removed[ch.Node] = RemovedNode{At: m.At, By: ch.By, Why: ch.Why}
`, ``},
		},
		tests: []test{{pkg: "failover", name: "TestMembers"}},
	},
	{
		name: "too-few-vantages-left", rule: "D6",
		says: "a node may be removed so that fewer than two vantages look from outside",
		edits: []edit{{"failover/apply_members.go", `		if out := rest.OutsideVantages(r); len(out) < 2 {
`, `		if out := rest.OutsideVantages(r); len(out) < 1 {
`}},
		tests: []test{{pkg: "failover", name: "TestMembers"}},
	},
	{
		name: "hung-disk-not-noticed", rule: "T3",
		says: "a leader whose disk hangs keeps its place",
		edits: []edit{{"consensus/watchful.go", `			if w.leads() {
`, `			if w.leads() && false {
`}},
		tests: []test{{pkg: "consensus", name: "TestLeaderWithHungDiskGivesUp"}},
	},
	{
		name: "failed-write-reported-to-raft", rule: "T3",
		says: "a vote that the disk did not keep is given all the same",
		edits: []edit{{"consensus/watchful.go", `	if err := w.timed("its vote", func() error { return w.stable.Set(key, val) }); err != nil {
		w.lost("its vote", err)
	}
	return nil
`, `	_ = w.timed("its vote", func() error { return w.stable.Set(key, val) })
	return nil
`}, {"consensus/watchful.go", `	if err := w.timed("its term", func() error { return w.stable.SetUint64(key, val) }); err != nil {
		w.lost("its term", err)
	}
	return nil
`, `	_ = w.timed("its term", func() error { return w.stable.SetUint64(key, val) })
	return nil
`}, {"consensus/watchful.go", `	if err := w.timed("log entries", func() error { return w.LogStore.StoreLogs(ls) }); err != nil {
		w.lost("log entries", err)
	}
	return nil
`, `	_ = w.timed("log entries", func() error { return w.LogStore.StoreLogs(ls) })
	return nil
`}},
		tests: []test{{pkg: "consensus", name: "TestFullDiskEndsTheNode"}},
	},
	{
		name: "recovered-without-attestation", rule: "T4",
		says: "a recovered cluster grants leases and advances the epoch before each lost voter is attested",
		edits: []edit{{"failover/recovery.go", `	left := s.Unattested()
	if len(left) == 0 {
		return nil
	}
	names`, `	left := s.Unattested()
	if len(left) < 99 {
		return nil
	}
	names`}},
		tests: []test{{pkg: "failover", name: "TestRecover"}},
	},
	{
		name: "recovered-behind-a-token", rule: "T4",
		says: "a cluster is recovered on a survivor that has missed a write whose token stands at the resource",
		edits: []edit{{"internal/daemon/recover.go", `			case saw.Token > r.state.Index:
`, `			case false:
`}},
		tests: []test{{pkg: "internal/daemon", name: "TestRecoverReadsTokens"}},
	},
	{
		name: "epoch-does-not-jump", rule: "T4",
		says: "a recovered cluster goes on with the epoch of the survivor, which the lost voters may have passed",
		edits: []edit{{"failover/recovery.go", `	s.Epoch += EpochJump
`, ``}},
		tests: []test{{pkg: "failover", name: "TestRecover"}},
	},
	{
		name: "generations-mix", rule: "T4",
		says: "nodes of two generations of the cluster speak with each other",
		edits: []edit{{"consensus/gatekeeper.go", `	if !h.Empty && !g.self.Empty && h.Generation != g.self.Generation {
`, `	if false {
`}},
		tests: []test{{pkg: "consensus", name: "TestGreet"}},
	},
	{
		name: "newer-command-too-early", rule: "S7",
		says: "a command of a newer version is committed before every node can read it",
		edits: []edit{{"failover/level.go", `	need := LevelOf(c)
	if r`, `	need := 1
	if r`}},
		tests: []test{{pkg: "consensus", name: "TestRollingUpgrade"}},
	},
	{
		name: "gate-answers-from-memory", rule: "T1", takes: "gate answers from memory after restart",
		says: "a node that restarts has forgotten where the traffic went, and answers from what its log shows then",
		edits: []edit{{"consensus/trafficfile.go", `	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
`, `	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
`}},
		tests: []test{{pkg: "internal/daemon", name: "TestGateOutlivesARestart"}, {pkg: "consensus", name: "TestTrafficFile"}},
	},
	{
		name: "gate-goes-back", rule: "T1",
		says: "the gate follows a state that is older than what it has said",
		edits: []edit{{"consensus/trafficfile.go", `	if t.Region == "" || t.Epoch <= f.kept.Epoch {
`, `	if t.Region == "" || t == f.kept {
`}},
		tests: []test{{pkg: "internal/daemon", name: "TestGateOutlivesARestart"}, {pkg: "consensus", name: "TestTrafficFile"}},
	},
	{
		name: "gate-in-doubt-says-stop", rule: "S3",
		says: "a node that does not know where the traffic goes tells a region to stop: the loss of nodes moves traffic",
		edits: []edit{{"internal/web/server.go", `		case !ok:
			http.Error(w, "this node does not know where the traffic goes", http.StatusServiceUnavailable)
`, ``}, {"internal/web/server.go", `		case service != r.PathValue("service") || region != to && region != left:
`, `		case ok && (service != r.PathValue("service") || region != to && region != left):
`}},
		tests: []test{{pkg: "internal/web", name: "TestGate"}},
	},
	{
		name: "gate-stops-what-it-does-not-know", rule: "S3",
		says:  "the gate says stop for a region that it has never heard of: a typing mistake in a health check takes the service down",
		edits: []edit{{"internal/web/server.go", ` || region != to && region != left:`, `:`}},
		tests: []test{{pkg: "internal/web", name: "TestGate"}},
	},
	{
		name: "name-not-on-the-disk", rule: "T1",
		says: "a file that is kept has its new name in memory alone: a machine that loses its power says where the traffic went before",
		edits: []edit{{"internal/durable/durable.go", `	if err := syncDir(dir); err != nil {
`, `	if err := error(nil); err != nil {
`}},
		tests: []test{{pkg: "consensus", name: "TestKeptFilesAreDurable"}, {pkg: "fence", name: "TestEpochIsDurable"}, {pkg: "internal/daemon", name: "TestTheLastConfigurationIsDurable"}},
	},
	{
		name: "log-taken-away", rule: "T3",
		says:  "a data directory whose raft log was taken away is the disk that it was, and votes again in a term in which it has voted",
		edits: []edit{{"consensus/store.go", `d.Empty && err == nil {`, `d.Empty && err == nil && false {`}},
		tests: []test{{pkg: "consensus", name: "TestDiskWithoutItsLogIsAnotherOne"}},
	},
	{
		name: "recovered-below-its-traffic", rule: "T4",
		says:  "a survivor whose log was put back from before a change of region is recovered, and sends clients where they were then",
		edits: []edit{{"internal/daemon/recover.go", `ok && kept.Epoch > r.state.Epoch {`, `ok && kept.Epoch > r.state.Epoch && false {`}},
		tests: []test{{pkg: "internal/daemon", name: "TestRecoverWithAQuorumAlive"}},
	},
}
