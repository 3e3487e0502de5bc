package failover

import (
	"bytes"
	"maps"
	"slices"
	"time"
)

// This file holds what the leader notes beside an execution: requests that
// cannot be started, steps that are stuck, inventories, resources, samples of loss; and the
// rehearsal of the fence.

// RefuseRequest says that a person's request cannot be started, and why.
type RefuseRequest struct {
	Request uint64 `json:"request"`
	Guard   string `json:"guard"`
	Reason  string `json:"reason"`
}

func (c RefuseRequest) apply(s *State, m Meta) (any, error) {
	if s.Request == nil || s.Request.ID != c.Request {
		return nil, refuse("request", "request %d is not pending", c.Request)
	}
	s.Refused = &RefusedRequest{Request: *s.Request, Guard: c.Guard, Reason: c.Reason, At: m.At}
	s.Request = nil
	s.event(m, c, "request %d was not started, guard %s objects: %s", c.Request, c.Guard, c.Reason)
	return nil, nil
}

// Suspend stops a running execution and asks a person, because something about
// the world has changed under it.
type Suspend struct {
	Execution uint64    `json:"execution"`
	Condition Condition `json:"condition"`
	Sentence  string    `json:"sentence"`
}

func (c Suspend) apply(s *State, m Meta) (any, error) {
	e, err := s.running(c.Execution)
	if err != nil {
		return nil, err
	}
	if e.State != ExecRunning || !e.MayAsk("approval") {
		return nil, refuse("state", "execution %d is %s or waits for an answer already", e.ID, e.State)
	}
	if slices.ContainsFunc(e.Approvals, func(a Approval) bool { return a.Step == suspended }) {
		return nil, refuse("answered", "a person has let execution %d go on in spite of it", e.ID)
	}
	e.State = ExecHeld
	s.event(m, c, "execution %d stopped: %s: %s", e.ID, c.Condition, c.Sentence)
	ways := []string{"failoverd approve", "failoverd abort"}
	if !e.BeyondReturn() {
		ways = append(ways, "failoverd abort --undo")
	}
	s.ask(m, e, Question{Kind: "approval", Step: suspended, Text: c.Condition.Meaning() + " (" + c.Sentence + "). Go on all the same?", Ways: ways})
	return nil, nil
}

// suspended is the step name under which a person's answer to Suspend stands.
const suspended StepID = "in-spite-of-condition"

// NoteStuck says that a running step takes longer than earlier runs did.
type NoteStuck struct {
	Execution uint64 `json:"execution"`
	Step      StepID `json:"step"`
	Token     uint64 `json:"token"`
	Text      string `json:"text"` // how long, what is usual, and the new estimate
}

func (c NoteStuck) apply(s *State, m Meta) (any, error) {
	e, err := s.open(c.Execution)
	if err != nil {
		return nil, err
	}
	rec := e.Steps[c.Step]
	if rec == nil || rec.State != StepRunning || rec.Last() == nil || rec.Last().Token != c.Token {
		return nil, refuse("state", "step %s is not running with token %d", c.Step, c.Token)
	}
	rec.Slow = c.Text
	s.event(m, c, "step %s: %s", c.Step, c.Text)
	return nil, nil
}

// keepDurations is how many runs of a step are remembered.
const keepDurations = 20

// learn remembers how long a step took from its first attempt on.
func (s *State) learn(st StepID, took Duration) {
	next := append(slices.Clone(s.Durations[st]), took)
	if extra := len(next) - keepDurations; extra > 0 {
		next = next[extra:]
	}
	if s.Durations == nil {
		s.Durations = map[StepID][]Duration{}
	}
	s.Durations[st] = next
}

// Usual is the 95th percentile of how long a step's newest successful runs took
// and how many there were.
func (s *State) Usual(st StepID) (p95 Duration, runs int) {
	all := slices.Clone(s.Durations[st])
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return all[(len(all)*95+99)/100-1], len(all)
}

// Remaining estimates how long a step that has run for elapsed will still take:
// the longest earlier run that took longer, or the rest of its time-out.
func (s *State) Remaining(st Step, elapsed Duration) Duration {
	longest := Duration(0)
	for _, d := range s.Durations[st.ID] {
		longest = max(longest, d)
	}
	if longest > elapsed {
		return longest - elapsed
	}
	return max(0, st.Timeout-elapsed)
}

// RecordInventory remembers how many objects the selectors of steps match while
// all is well.
type RecordInventory struct {
	Counts map[StepID]int `json:"counts"`
}

func (c RecordInventory) apply(s *State, m Meta) (any, error) {
	if s.Execution != nil || s.Incident != nil || s.Suspicion != nil {
		return nil, refuse("not-quiet", "an inventory is taken only while all is well")
	}
	s.Inventory = c.Counts
	return nil, nil
}

// RecordReadings remembers what was read of resources while all was well, in place
// of what was remembered. Each is small: what is too large to be kept is refused, and
// the step has to read it when the day comes.
type RecordReadings struct {
	Readings map[StepID]Reading `json:"readings"`
}

// MaxReading is the most that is kept of one step's resource, in bytes: every
// snapshot holds it, and every node.
const MaxReading = 64 << 10

func (c RecordReadings) apply(s *State, m Meta) (any, error) {
	if s.Execution != nil || s.Incident != nil || s.Suspicion != nil {
		return nil, refuse("not-quiet", "what stands at a resource is taken only while all is well")
	}
	next := map[StepID]Reading{}
	for _, id := range slices.Sorted(maps.Keys(c.Readings)) {
		r, was := c.Readings[id], s.Readings[id]
		if n := len(r.Previous); n == 0 || n > MaxReading {
			return nil, refuse("size", "what stands at the resource of %s takes %d bytes; 1 to %d are kept", id, n, MaxReading)
		}
		r.At = m.At
		switch {
		case was.Of == r.Of && bytes.Equal(was.Previous, r.Previous):
			r.At = was.At
		case was.Of == r.Of:
			s.event(m, c, "what step %s would change is not as it was since %s: somebody else has changed it", id, was.At.Format(time.RFC3339))
		}
		next[id] = r
	}
	s.Readings = next
	return nil, nil
}

// AcceptInventory is a person's word that what is there now is all there is.
type AcceptInventory struct {
	Component Component `json:"component"`
}

func (c AcceptInventory) apply(s *State, m Meta) (any, error) {
	if m.Why == "" {
		return nil, refuse("why", "accepting a smaller inventory needs a reason (--why)")
	}
	if s.Settings == nil || s.Settings.Component(c.Component) == nil {
		return nil, refuse("component", "there is no component %q", c.Component)
	}
	gone := s.Vanished[c.Component]
	for _, id := range s.AgentIDs(s.Active, c.Component) {
		if m.At.Sub(s.Agents[id].LastAsked) > 10*s.Settings.Policy.Lease.Length.D() {
			gone++
			delete(s.Agents, id)
			s.event(m, c, "agent %s is given up: a person says that it is gone", id)
		}
	}
	s.Vanished = added(s.Vanished, c.Component, -s.Vanished[c.Component])
	next := map[StepID]int{}
	for id, n := range s.Inventory {
		next[id] = n
	}
	for _, st := range inventorySteps(s, c.Component) {
		delete(next, st)
	}
	s.Inventory = next
	s.event(m, c, "the inventory of %s is accepted as it is now (%d agents had vanished)", c.Component, gone)
	return nil, nil
}

// inventorySteps are the steps whose inventory belongs to a component.
func inventorySteps(s *State, c Component) []StepID {
	var out []StepID
	own := map[StepID]bool{StepID("stop-" + string(c)): true, StepID("start-" + string(c)): true}
	if part := s.Settings.Component(c); part != nil && part.Stop != nil && s.Level() >= 3 {
		for _, a := range part.Stop.Actions() { // further levels are named by their kinds
			own[StepID("stop-"+string(c)+"-"+a.Kind)] = true
			own[StepID("open-"+string(c)+"-"+a.Kind)] = true
		}
	}
	for id := range s.Inventory {
		if own[id] {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// RecordLoss remembers samples of what would be lost (Policy.MaxLoss).
type RecordLoss struct {
	Samples map[string]LossSample `json:"samples"`
}

func (c RecordLoss) apply(s *State, m Meta) (any, error) {
	next := map[string]LossSample{}
	for store, old := range s.Loss {
		next[store] = old
	}
	for store, sample := range c.Samples {
		sample.At = m.At
		next[store] = sample
	}
	s.Loss = next
	return nil, nil
}

// RecordAtRisk remembers what was counted in the active region. It replaces what was counted before of the same components; the others
// keep what they have.
type RecordAtRisk struct {
	Epoch   uint64               `json:"epoch"` // in which it was counted: it says nothing of another region
	Counted map[Component]AtRisk `json:"counted"`
}

func (c RecordAtRisk) apply(s *State, m Meta) (any, error) {
	if c.Epoch != s.Epoch {
		return nil, refuse("epoch", "counted in epoch %d, and %d is in force", c.Epoch, s.Epoch)
	}
	next := maps.Clone(s.AtRisk)
	if next == nil {
		next = map[Component]AtRiskSample{}
	}
	for component, counted := range c.Counted {
		if s.Settings == nil || s.Settings.Component(component) == nil {
			return nil, refuse("component", "%q is no component of the configuration", component)
		}
		next[component] = AtRiskSample{AtRisk: counted, At: m.At}
	}
	s.AtRisk = next
	return nil, nil
}

// RehearseFence asks all agents of a component to rehearse their fence.
type RehearseFence struct {
	Component Component `json:"component"`
}

func (c RehearseFence) apply(s *State, m Meta) (any, error) {
	if s.Settings == nil {
		return nil, refuse("not-configured", "the cluster has no configuration yet")
	}
	spec := s.Settings.Component(c.Component)
	if spec == nil || !spec.Agent {
		return nil, refuse("component", "%q is not a component that runs under a lease (agent = true)", c.Component)
	}
	s.Rehearsal = &Rehearsal{ID: m.Index, Component: c.Component, By: m.By, Why: m.Why, At: m.At}
	s.event(m, c, "rehearsal %d: the agents of %s prove that they kill in time; no worker is touched", m.Index, c.Component)
	return m.Index, nil
}
