package sim

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

// blow is one fault that is to strike whoever leads at a point. An empty point
// is the next one of another leadership: a later term's, or of the same one if
// the fault before took nobody's leadership away.
type blow struct{ point, fault string }

// The faults, and what they are at a write of the log and at a call.
//
//	crash-before   the process ends: nothing is written; nothing is sent
//	crash-between  … the entry is on its own disk, nowhere else; the call is on its way
//	crash-after    … the entry is committed, no reader has seen it; the call has taken effect, no answer has come
//	hang           the disk hangs in the write; the call gets nowhere and is not answered before its time-out
//	partition      no other node is reached any more; the world is
//	pause          the process stops; what it was about to send is sent when it goes on, also the call
var blows = []string{"crash-before", "crash-between", "crash-after", "hang", "partition", "pause"}

// How long each fault lasts: longer than a takeover, a pause shorter than it
// takes for a call to be out of date (sendTail), and each shorter than
// prepare_after: a suspicion that pauses for longer than that takes back what
// was prepared, rightly, and it is done anew.
const (
	restartAfter = 10 * time.Second // as a service manager does, slowly
	hangFor      = 20 * time.Second
	partFor      = 25 * time.Second
	pauseFor     = 25 * time.Second
)

// strike is a blow that was struck.
type strike struct {
	blow
	at       time.Time
	node     string
	term     uint64
	unseats  bool
	takeover time.Duration // until the barrier of a later leader is written
	resume   time.Duration // until a later leader's next point, or the same one's if it stays
}

// director stands at every point of one run. It knows the points by the name of
// the command and what it is about: "step-started:start-api", the second one of
// a name with "#2".
type director struct {
	c     *cluster
	codec *consensus.Codec

	mu       sync.Mutex
	open     bool // points count
	plan     []blow
	points   []string
	seen     map[string]int
	struck   []*strike
	doomed   map[*handle]uint64 // crash when this index is applied
	terms    map[string]uint64  // of each node's newest point
	pending  int                // faults that last
	finished map[string]bool    // step/do or step/undo that the log says is finished
	index    uint64             // newest that any node has applied

	// What the calls came to.
	calls    map[string]int // by step/what: how often it was made
	changed  map[string]int // how often it changed the world
	repeated []string       // made although the log said that it was finished
	late     int            // landed after that, without changing anything
}

func newDirector(c *cluster, plan []blow) *director {
	d := &director{
		c: c, codec: consensus.NewCodec(), plan: plan, seen: map[string]int{}, doomed: map[*handle]uint64{}, terms: map[string]uint64{},
		finished: map[string]bool{}, calls: map[string]int{}, changed: map[string]int{},
	}
	c.seam, c.world.seam = d, d
	return d
}

// begin lets points count from now on.
func (d *director) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = true
}

// over reports whether every fault that was played has passed.
func (d *director) over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pending == 0
}

// unplayed names what was planned and did not come.
func (d *director) unplayed() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case len(d.plan) > 0:
		return fmt.Sprintf("%s at %q: nobody came there", d.plan[0].fault, d.plan[0].point)
	case len(d.doomed) > 0:
		last := d.struck[len(d.struck)-1]
		return fmt.Sprintf("%s at %s: it did not come so far", last.fault, last.point)
	}
	return ""
}

// nameOf is the name of a command as a point; "" for what is no fact of a
// failover: rounds and barriers, which lead the way to everything else, and what
// is noted beside.
func nameOf(cmd failover.Command) string {
	about := ""
	switch c := cmd.(type) {
	case failover.Lead, failover.Round, failover.Configure, failover.RegisterNode, failover.RaiseFeatures, failover.RecordLoss, failover.RecordAtRisk, failover.RecordInventory, failover.RecordReadings, failover.BeginDrill, failover.RecordDrill,
		failover.SaveMessage, failover.NoteHold, failover.KeepSource, failover.ActivateSettings, failover.FinishMember, failover.AckSettings:
		return ""
	case failover.NoteSuspicion:
		// On the way there, vantages agree in an order that is chance.
		if c.Condition != failover.RegionDown {
			return ""
		}
		about = string(c.Condition)
	case failover.StepStarted:
		about = string(c.Step)
		switch {
		case c.Undo:
			about = "undo-" + about
		case c.Burn:
			about = "burn-" + about
		}
	case failover.StepFinished:
		about = string(c.Step)
		if c.Outcome == failover.StepUndone {
			about = "undo-" + about
		}
	case failover.RecordEvidence:
		about = string(c.Class)
	case failover.FreezeLease:
		if c.Provisional {
			about = "provisional"
		}
	case failover.FinishExecution:
		about = string(c.State)
	}
	if about == "" {
		return cmd.Name()
	}
	return cmd.Name() + ":" + about
}

// reach notes a point and returns the fault that is to be played there.
func (d *director) reach(name, node string, term uint64) *strike {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.open {
		return nil
	}
	d.seen[name]++
	id := name
	if n := d.seen[name]; n > 1 {
		id = fmt.Sprintf("%s#%d", name, n)
	}
	d.points = append(d.points, id)
	var last *strike
	if n := len(d.struck); n > 0 {
		last = d.struck[n-1]
	}
	another := last != nil && (term > last.term || !last.unseats && name != strings.Split(last.point, "#")[0])
	if another && last.resume == 0 {
		last.resume = time.Since(last.at)
	}
	if len(d.plan) == 0 {
		return nil
	}
	if next := d.plan[0]; next.point != id && (next.point != "" || !another) {
		return nil
	}
	s := &strike{blow: blow{id, d.plan[0].fault}, at: time.Now(), node: node, term: term, unseats: true}
	d.plan = d.plan[1:]
	d.struck = append(d.struck, s)
	d.c.world.note(oracle.Note, "", "fault", "%s of %s at %s", s.fault, node, id)
	return s
}

// lasts ends a fault after a while.
func (d *director) lasts(s *strike, after time.Duration, end func()) {
	d.mu.Lock()
	d.pending++
	d.mu.Unlock()
	d.c.world.wg.Go(func() {
		t := time.NewTimer(after)
		defer t.Stop()
		select {
		case <-t.C:
			d.c.world.note(oracle.Note, "", "fault", "%s of %s ends", s.fault, s.node)
		case <-d.c.ctx.Done():
		}
		end()
		d.mu.Lock()
		d.pending--
		d.mu.Unlock()
	})
}

// crash ends a process now; its service manager starts it again.
func (d *director) crash(s *strike, h *host) {
	d.c.crash(h)
	d.lasts(s, restartAfter, func() { d.c.start(d.c.ctx, h) })
}

// seclude plays what takes a process off the network of the nodes.
func (d *director) seclude(s *strike, h *host) (resumed <-chan struct{}) {
	n, done := d.c.net, make(chan struct{})
	if s.fault == "partition" {
		n.set(func() { n.apart[h.id] = true })
		d.lasts(s, partFor, func() { n.set(func() { delete(n.apart, h.id) }); close(done) })
		return done
	}
	resume := n.pause(h.id)
	d.lasts(s, pauseFor, func() { resume(); close(done) })
	return done
}

// store implements seam.
func (d *director) store(h *host, process *handle, ls []*raft.Log, write func() error) error {
	if process.dead.Load() {
		return write()
	}
	for _, l := range ls {
		if l.Type != raft.LogCommand {
			continue // also: that of a process that is just being started
		}
		m, cmd, _, err := d.codec.Decode(l.Data)
		if err != nil || cmd == nil {
			continue
		}
		if lead, ok := cmd.(failover.Lead); ok && string(lead.Node) == h.id {
			d.tookOver(l.Term)
			continue
		}
		// An entry that a follower keeps was written by its leader.
		name, core := nameOf(cmd), h.live()
		if name == "" || core == nil || !core.Leads() || cmd.LeaderOnly() && (string(m.Node) != h.id || m.ProposedTerm != l.Term) {
			continue
		}
		d.mu.Lock()
		d.terms[h.id] = l.Term
		d.mu.Unlock()
		if s := d.reach(name, h.id, l.Term); s != nil {
			return d.strikeWrite(s, h, process, l.Index, write)
		}
	}
	return write()
}

func (d *director) strikeWrite(s *strike, h *host, process *handle, index uint64, write func() error) error {
	switch s.fault {
	case "crash-before":
		d.crash(s, h)
	case "crash-between":
		err := write()
		d.crash(s, h)
		return err
	case "crash-after":
		d.mu.Lock()
		d.doomed[process] = index
		d.mu.Unlock()
	case "hang":
		release := h.disk.hang()
		d.lasts(s, hangFor, func() { release(); d.c.start(d.c.ctx, h) })
	default:
		d.seclude(s, h)
	}
	return write()
}

// tookOver notes that a leader of a term writes its barrier.
func (d *director) tookOver(term uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.struck); n > 0 {
		if s := d.struck[n-1]; term > s.term && s.takeover == 0 {
			s.takeover = time.Since(s.at)
		}
	}
}

// applied implements seam.
func (d *director) applied(h *host, process *handle, res failover.Result, cmd failover.Command) {
	d.mu.Lock()
	if f, ok := cmd.(failover.StepFinished); ok && res.Index > d.index && res.Err == nil {
		switch f.Outcome {
		case failover.StepDone:
			d.finished[string(f.Step)+"/do"] = true
			delete(d.finished, string(f.Step)+"/undo")
		case failover.StepUndone:
			d.finished[string(f.Step)+"/undo"] = true
			delete(d.finished, string(f.Step)+"/do") // it may be done anew
		}
	}
	d.index = max(d.index, res.Index)
	doom := d.doomed[process] != 0 && d.doomed[process] == res.Index
	var s *strike
	if doom {
		delete(d.doomed, process)
		s = d.struck[len(d.struck)-1]
	}
	d.mu.Unlock()
	if doom {
		d.crash(s, h)
		d.mu.Lock()
		s.at = time.Now()
		d.mu.Unlock()
	}
}

// leaves implements seam.
func (d *director) leaves(ctx context.Context, a action, at actions.Attempt, what string, sent func()) (gone bool) {
	key := string(a.step) + "/" + what
	name := "call:" + string(a.step)
	if what != "do" {
		name = "call:" + what + "-" + string(a.step)
	}
	d.mu.Lock()
	d.calls[key]++
	if d.finished[key] {
		d.repeated = append(d.repeated, fmt.Sprintf("%s was made by %s with token %d although the log says that it is finished", key, a.node, at.Token))
	}
	term := d.terms[a.node]
	d.mu.Unlock()
	s := d.reach(name, a.node, term)
	if s == nil {
		return false
	}
	h := d.c.hosts[a.node]
	switch s.fault {
	case "crash-before":
		d.crash(s, h)
	case "crash-between", "crash-after":
		d.mu.Lock()
		d.doomed[nil] = at.Token // the call itself is the doom
		d.mu.Unlock()
	case "hang":
		d.mu.Lock()
		s.unseats = false
		d.mu.Unlock()
		<-ctx.Done()
	case "pause":
		sent()
		<-d.seclude(s, h)
		return true
	default:
		d.seclude(s, h)
	}
	return false
}

// doom ends the process whose call has come as far as its fault says.
func (d *director) doom(a action, at actions.Attempt, fault string) {
	d.mu.Lock()
	var s *strike
	if n := len(d.struck); n > 0 && d.doomed[nil] != 0 && d.doomed[nil] == at.Token && d.struck[n-1].fault == fault {
		s = d.struck[n-1]
		delete(d.doomed, nil)
	}
	d.mu.Unlock()
	if s == nil {
		return
	}
	d.crash(s, d.c.hosts[a.node])
	d.mu.Lock()
	s.at = time.Now()
	d.mu.Unlock()
}

// flies implements seam.
func (d *director) flies(a action, at actions.Attempt, _ string) { d.doom(a, at, "crash-between") }

// landed implements seam.
func (d *director) landed(a action, at actions.Attempt, what string, changed bool) {
	key := string(a.step) + "/" + what
	d.mu.Lock()
	switch {
	case changed:
		d.changed[key]++
	case d.finished[key]:
		d.late++
	}
	d.mu.Unlock()
	d.doom(a, at, "crash-after")
}
