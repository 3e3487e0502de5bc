package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/internal/mtls"
)

// Recovery is `failoverd recover`: a new generation of a cluster that has lost
// its quorum, begun on one survivor whose node does not run (rule T4). It holds
// the lock of the data directory from OpenRecovery to Close.
type Recovery struct {
	cfg   *config.Config
	this  config.ThisNode
	disk  *consensus.Disk
	state *failover.State
	calls *caller
	hello consensus.Hello
	log   *slog.Logger
}

// OpenRecovery reads the survivor's disk. It changes nothing, and counts as no
// start of the disk.
func OpenRecovery(o Options) (r *Recovery, err error) {
	r = &Recovery{cfg: o.Config, log: o.Log}
	if r.this, err = o.Config.ForNode(o.Node); err != nil {
		return nil, err
	}
	material, err := mtls.Load(mtls.Files{CA: r.this.TLS.CA, Cert: r.this.TLS.Cert, Key: r.this.TLS.Key})
	if err != nil {
		return nil, err
	}
	if r.disk, err = consensus.OpenDisk(r.this.Data, string(r.this.ID), o.Log); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
			r = nil
		}
	}()
	if r.disk.Empty {
		return r, fmt.Errorf("the data directory %s holds nothing: recover on a node that has the log", r.this.Data)
	}
	if r.state, err = r.disk.Replay(o.Log); err != nil {
		return r, err
	}
	if r.state.Settings == nil {
		return r, errors.New("the log holds no configuration: there is nothing to recover")
	}
	traffic, err := consensus.OpenTrafficFile(r.this.Data)
	if err != nil {
		return r, err
	}
	if kept, ok := traffic.Kept(); ok && kept.Epoch > r.state.Epoch { // T4: the disk has been put back, and not all of it
		return r, fmt.Errorf("%s: traffic.json says that clients were sent to %s in epoch %d, and the log beside it stands at %d, with %s active: the log is older than what this node has seen; recover on a node that has the later epoch, or put back the log that belongs to it",
			r.this.Data, kept.Region, kept.Epoch, r.state.Epoch, r.state.Active)
	}
	r.hello = consensus.Hello{
		Node: r.this.ID, Disk: r.disk.Identity.Disk, Starts: r.disk.Identity.Starts, Boot: consensus.NewID(), Generation: r.state.Generation, Features: failover.Features,
	}
	r.calls = newCaller(material, r.state.Members, consensus.TransportTimeout(o.Config.Raft.Heartbeat.D()))
	r.calls.hello = func() consensus.Hello { return r.hello }
	return r, nil
}

// Close releases the data directory.
func (r *Recovery) Close() error {
	if r.calls != nil {
		r.calls.close()
	}
	return r.disk.Close()
}

// Service is what must be typed to confirm.
func (r *Recovery) Service() string { return r.state.Settings.Service }

// Consequences is what a person must know before: one paragraph a line.
func (r *Recovery) Consequences(active failover.Region) string {
	s := r.state
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	dropped := r.dropped()
	line("service %s, on node %s: a new generation of the cluster, %d after %d, with this node as its only voter", s.Settings.Service, r.this.ID, s.Generation+1, s.Generation)
	line("the log ends at entry %d of term %d, stamped %s; what was committed later on others is lost", s.Index, s.Term, s.Time.Format(time.RFC3339))
	line("epoch %d becomes %d", s.Epoch, s.Epoch+failover.EpochJump)
	line("active region: %s by this log, %s as you state it; clients: %s by this log, and this node's gate will say %s", s.Active, active, s.Traffic, active)
	if e := s.Execution; e != nil {
		line("execution %d, %s from %s to %s, is open (%s) and will be closed as aborted: what it had started may have happened, look at both regions", e.ID, e.Kind, e.From, e.To, e.State)
	} else {
		line("no execution is open in this log; one that began later on others is not known here")
	}
	if p := s.Preparation; p != nil {
		line("preparation %d is open and will be closed: what it had started in %s may have happened, and is not undone by itself", p.ID, p.To)
	}
	line("left behind, and never admitted again under these names: %s", joined(dropped))
	line("no lease is granted, the end of a lease proves nothing and the epoch stands still until each of them is attested to run no more (`failoverd attest-node NAME --why …`): until then a region with on_isolation = \"stop\" stops its workers")
	line("and after that agents hold no lease before their own file names the nodes that there are: they take an answer with the words of a majority of those that it names")
	return b.String()
}

func (r *Recovery) dropped() []failover.NodeID {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(r.state.Members())), func(id failover.NodeID) bool { return id == r.this.ID })
}

func joined(ids []failover.NodeID) string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return strings.Join(out, ", ")
}

// Reach tries every voter that would be left behind. An error means that the
// quorum is not lost, or that another survivor knows more; notes say who answered
// without objecting.
func (r *Recovery) Reach(ctx context.Context) (notes []string, err error) {
	answers := Inquire(ctx, r.calls, r.hello, r.state.Members())
	for _, id := range r.dropped() {
		a, ok := answers[id]
		switch {
		case !ok:
			notes = append(notes, fmt.Sprintf("node %s does not answer", id))
		case a.Leader != "":
			return nil, fmt.Errorf("node %s answers as part of a running cluster, led by %s: the quorum is not lost; start this node and look at `failoverd status`", id, a.Leader)
		case a.Hello.Generation > r.state.Generation:
			return nil, fmt.Errorf("node %s belongs to generation %d: this cluster was recovered there already; this node is one that was left behind", id, a.Hello.Generation)
		case a.Epoch > r.state.Epoch:
			return nil, fmt.Errorf("node %s has seen epoch %d, this log stands at %d: recover on that node", id, a.Epoch, r.state.Epoch)
		case a.Applied > r.state.Index:
			return nil, fmt.Errorf("node %s has applied entry %d, this log ends at %d: recover on that node", id, a.Applied, r.state.Index)
		default:
			notes = append(notes, fmt.Sprintf("node %s answers and has no leader: stop it before you attest it", id))
		}
	}
	return notes, nil
}

// Tokens reads the fencing tokens that stand at resources, in both directions of
// the plan. A token is the index of the log entry that began the write, so one
// beyond the end of this log means that the survivor missed that write: an error.
// notes say what stands where, and what could not be read: for that a person looks.
func (r *Recovery) Tokens(ctx context.Context) (notes []string, err error) {
	clients, err := openCloud(ctx, r.cfg, r.this.ID)
	if err != nil { // that is no reason to stay without a cluster
		notes = append(notes, "AWS cannot be asked from here: "+err.Error())
	}
	w := frozenWorld{newWorld(r.cfg, r.this.ID, clients, r.log), r.state}
	var late []string
	for _, from := range r.cfg.Regions() {
		p, err := plan.Derive(r.state.Settings, from)
		if err != nil {
			return nil, err
		}
		p.Steps = slices.DeleteFunc(p.Steps, func(st failover.Step) bool { return !st.Tokens })
		for i, saw := range actions.Survey(ctx, w, &p, 2*r.cfg.AWS.Timeout.D()) {
			st := p.Steps[i]
			switch {
			case saw.Token > r.state.Index:
				late = append(late, fmt.Sprintf("step %s wrote with token %d (%s), and this log ends at entry %d", st.ID, saw.Token, saw.Detail, r.state.Index))
			case !saw.OK && saw.Token == 0:
				notes = append(notes, fmt.Sprintf("%s in %s: its token cannot be read (%s): look there yourself before you go on", st.Action, st.Region, saw.Detail))
			case saw.Token > 0:
				notes = append(notes, fmt.Sprintf("%s in %s: token %d stands there, which this log knows (%s)", st.Action, st.Region, saw.Token, saw.Detail))
			}
		}
	}
	if len(late) > 0 {
		return nil, fmt.Errorf("%s: the survivor missed it; recover on a node that has it, or see \"Recover\" in docs/operations.md", strings.Join(late, "; "))
	}
	return notes, nil
}

// frozenWorld makes actions by a state that does not change any more.
type frozenWorld struct {
	*world
	state *failover.State
}

// Action implements actions.World.
func (w frozenWorld) Action(st failover.Step) (actions.Action, error) { return w.action(st, w.state) }

// Check implements actions.World.
func (w frozenWorld) Check(st failover.Step, moved time.Time) (actions.Check, error) {
	return w.check(st, moved)
}

// SeenEpoch refuses a recovery when somebody has seen a later epoch than this
// log: an agent (its epoch file), or a resource that could not be read from here.
func (r *Recovery) SeenEpoch(seen uint64) error {
	if seen > r.state.Epoch {
		return fmt.Errorf("epoch %d has been seen, this log stands at %d: the survivor missed a change of region; recover on a node that has it, or begin a new cluster", seen, r.state.Epoch)
	}
	return nil
}

// Begin writes the new generation to the disk.
func (r *Recovery) Begin(o failover.RecoverOrder) (*failover.State, error) {
	o.Survivor, o.At = r.this.ID, time.Now()
	s, err := r.disk.Recover(o, r.log)
	if err != nil {
		return nil, err
	}
	gate, err := consensus.NewGatekeeper(r.this.Data, r.hello, r.log)
	if err != nil {
		return nil, err
	}
	return s, gate.Learn(s)
}
