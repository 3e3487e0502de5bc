package consensus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// envelopeVersion is the version of the log entry's frame. A frame of another
// version is unknown and stops the node, because skipping it would let its
// state diverge.
const envelopeVersion = 1

// envelope is a log entry as it is stored. The rate is low, so it is JSON: a
// person can read a log with a hex editor on the worst day.
type envelope struct {
	V    int       `json:"v"`
	Type string    `json:"type"`
	At   time.Time `json:"at"`
	Term uint64    `json:"term,omitempty"` // proposer's term, on leader-only commands
	Node string    `json:"node"`
	ID   string    `json:"id,omitempty"`
	By   string    `json:"by,omitempty"`
	Why  string    `json:"why,omitempty"`
	// Ignorable is set by the author of a command that an older node may skip.
	Ignorable bool            `json:"ignorable,omitempty"`
	Body      json.RawMessage `json:"body"`
}

// ErrUnknownCommand means that the log holds an entry that this version does
// not know. The node must stop: its state would differ from that of the others.
var ErrUnknownCommand = errors.New("the log holds a command that this version of failoverd does not know")

// decoders maps a command's name in the log to its strict decoder.
type decoders map[string]func(json.RawMessage) (failover.Command, error)

func decoderOf[T failover.Command](d decoders) {
	var zero T
	d[zero.Name()] = func(body json.RawMessage) (failover.Command, error) {
		var c T
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&c); err != nil {
			return nil, fmt.Errorf("command %s: %w", zero.Name(), err)
		}
		return c, nil
	}
}

// newDecoders lists every command. Each has a golden file in testdata that must
// decode for ever.
func newDecoders() decoders {
	d := decoders{}
	decoderOf[failover.Lead](d)
	decoderOf[failover.BurnToken](d)
	decoderOf[failover.SettleToken](d)
	decoderOf[failover.Configure](d)
	decoderOf[failover.Round](d)
	decoderOf[failover.AgentStopped](d)
	decoderOf[failover.AgentLeft](d)
	decoderOf[failover.FreezeLease](d)
	decoderOf[failover.LiftFreeze](d)
	decoderOf[failover.NoteSuspicion](d)
	decoderOf[failover.OpenIncident](d)
	decoderOf[failover.RefuseIncident](d)
	decoderOf[failover.CloseIncident](d)
	decoderOf[failover.StartExecution](d)
	decoderOf[failover.Ask](d)
	decoderOf[failover.AskExpired](d)
	decoderOf[failover.StepStarted](d)
	decoderOf[failover.StepFinished](d)
	decoderOf[failover.RecordEvidence](d)
	decoderOf[failover.VoidEvidence](d)
	decoderOf[failover.AdvanceEpoch](d)
	decoderOf[failover.SetTraffic](d)
	decoderOf[failover.FinishExecution](d)
	decoderOf[failover.RegisterNode](d)
	decoderOf[failover.RequestExecution](d)
	decoderOf[failover.Approve](d)
	decoderOf[failover.Hold](d)
	decoderOf[failover.Continue](d)
	decoderOf[failover.Abort](d)
	decoderOf[failover.Attest](d)
	decoderOf[failover.Retry](d)
	decoderOf[failover.Skip](d)
	decoderOf[failover.DeclareStable](d)
	decoderOf[failover.PauseAutomation](d)
	decoderOf[failover.ResumeAutomation](d)
	decoderOf[failover.SaveMessage](d)
	decoderOf[failover.ReapplyStarted](d)
	decoderOf[failover.ReapplyFinished](d)
	decoderOf[failover.NoteHold](d)
	decoderOf[failover.StartPreparation](d)
	decoderOf[failover.EndPreparation](d)
	decoderOf[failover.RefuseRequest](d)
	decoderOf[failover.Suspend](d)
	decoderOf[failover.NoteStuck](d)
	decoderOf[failover.RecordInventory](d)
	decoderOf[failover.RecordReadings](d)
	decoderOf[failover.RecordLoss](d)
	decoderOf[failover.RecordAtRisk](d)
	decoderOf[failover.RecordDrill](d)
	decoderOf[failover.BeginDrill](d)
	decoderOf[failover.ReleaseHold](d)
	decoderOf[failover.AcceptInventory](d)
	decoderOf[failover.RehearseFence](d)
	decoderOf[failover.RaiseFeatures](d)
	decoderOf[failover.AddMember](d)
	decoderOf[failover.RemoveMember](d)
	decoderOf[failover.FinishMember](d)
	decoderOf[failover.AttestNode](d)
	decoderOf[failover.ProposeSettings](d)
	decoderOf[failover.AckSettings](d)
	decoderOf[failover.WithdrawSettings](d)
	decoderOf[failover.ActivateSettings](d)
	decoderOf[failover.KeepSource](d)
	return d
}

// Codec turns commands into log entries and back. It is safe for concurrent
// use.
type Codec struct{ known decoders }

// NewCodec returns the codec of this version.
func NewCodec() *Codec { return &Codec{known: newDecoders()} }

// newCodecAt returns the codec of a version that knows the feature levels up to
// one, for tests of mixed clusters.
func newCodecAt(level int) *Codec {
	c := NewCodec()
	for name, decode := range c.known {
		cmd, err := decode(json.RawMessage("{}"))
		if err == nil && failover.LevelOf(cmd) > level || name == (failover.RaiseFeatures{}).Name() && level < 2 {
			delete(c.known, name)
		}
	}
	return c
}

// Encode makes a log entry. It decodes its own output, so that an entry that no
// node could apply is never committed.
func (c *Codec) Encode(m failover.Meta, cmd failover.Command) ([]byte, error) {
	body, err := json.Marshal(cmd)
	if err != nil {
		return nil, fmt.Errorf("command %s cannot be written: %w", cmd.Name(), err)
	}
	e := envelope{
		V: envelopeVersion, Type: cmd.Name(), At: m.At.UTC(), Node: string(m.Node), ID: m.ID, By: m.By, Why: m.Why, Body: body,
	}
	if cmd.LeaderOnly() {
		e.Term = m.ProposedTerm
	}
	data, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("command %s cannot be framed: %w", cmd.Name(), err)
	}
	if _, _, _, err := c.Decode(data); err != nil {
		return nil, fmt.Errorf("command %s would not be readable: %w", cmd.Name(), err)
	}
	return data, nil
}

// Decode reads a log entry. Index and Term of the result are not set. skip is
// true for an unknown entry whose author allows older nodes to pass over it.
func (c *Codec) Decode(data []byte) (m failover.Meta, cmd failover.Command, skip bool, err error) {
	var e envelope
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&e); err != nil {
		return m, nil, false, fmt.Errorf("the log entry is not readable: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return m, nil, false, errors.New("the log entry has something after its end")
	}
	m = failover.Meta{
		ProposedTerm: e.Term, At: e.At, Node: failover.NodeID(e.Node), ID: e.ID, By: e.By, Why: e.Why,
	}
	decode, known := c.known[e.Type]
	if e.V != envelopeVersion || !known {
		if e.Ignorable {
			return m, nil, true, nil
		}
		return m, nil, false, fmt.Errorf("%w: type %q, frame version %d; run a version that knows it", ErrUnknownCommand, e.Type, e.V)
	}
	cmd, err = decode(e.Body)
	if err != nil {
		return m, nil, false, err
	}
	return m, cmd, false, nil
}

// People lists the names of the commands that need no leader to propose them,
// sorted: those that people and nodes give.
func People() []string {
	var out []string
	for name, decode := range newDecoders() {
		if c, err := decode(json.RawMessage(`{}`)); err == nil && !c.LeaderOnly() {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
