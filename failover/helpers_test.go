package failover_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

const (
	east1 = failover.Region("us-east-1")
	east2 = failover.Region("us-east-2")
	third = failover.Region("gru")
)

func settings() failover.Settings {
	params := func(s string) map[failover.Region]json.RawMessage {
		return map[failover.Region]json.RawMessage{east1: json.RawMessage(s), east2: json.RawMessage(s)}
	}
	act := func(kind string) *failover.ActionSpec {
		return &failover.ActionSpec{Kind: kind, Version: 1, Params: params(`{}`)}
	}
	return failover.Settings{
		Service: "messaging", Primary: east1, Secondary: east2,
		Policy: failover.Policy{
			Mode: failover.ModeAutomatic, Hold: dur("90s"), VoteTTL: dur("5s"), Cooldown: dur("1h"), MaxPerDay: 2,
			Ask: failover.AskPolicy{Wait: dur("15m"), Then: "hold"},
			Lease: failover.LeaseTerms{
				Length: dur("75s"), Renew: dur("5s"), RhoPPM: 10_000, Margin: dur("2s"), EffectTail: dur("3s"),
				Stop: failover.StopBudget{Grace: dur("8s"), Kill: dur("1s"), Safety: dur("3s")},
			},
		},
		Nodes: map[failover.NodeID]failover.NodeSpec{
			"use1a": {Vantage: east1, Address: "a:1"}, "use1b": {Vantage: east1, Address: "b:1"},
			"use2a": {Vantage: east2, Address: "c:1"}, "use2b": {Vantage: east2, Address: "d:1"},
			"third": {Vantage: third, Address: "e:1"},
		},
		Components: []failover.ComponentSpec{
			{Name: "api", Start: act("ecs_service")},
			{
				Name: "workers", After: []failover.Component{"api"}, Agent: true, Arming: failover.ArmEnforced, OnIsolation: "stop",
				Stop:  &failover.StopSpec{Action: act("ecs_service"), Proof: []failover.EvidenceClass{failover.Confirmed, failover.Lease}},
				Start: act("ecs_service"), Checks: []failover.ActionSpec{*act("sqs_backlog")},
			},
		},
		Traffic: failover.TrafficSpec{Switch: []failover.ActionSpec{*act("route53_weights")}, After: []failover.Component{"api", "workers"}},
	}
}

func dur(s string) failover.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return failover.Duration(d)
}

// cluster drives a State as the log would.
type cluster struct {
	t    *testing.T
	s    *failover.State
	term uint64
	now  time.Time
	node failover.NodeID // through which commands come

	// What the leader of a term has heard, as consensus.Granter does.
	quiet     map[failover.AgentID]time.Time
	quietTerm uint64
}

// round is a quorum round with what the leader says of the agents that are silent.
func (c *cluster) round(requests ...failover.LeaseRequest) failover.Round {
	if c.quietTerm != c.term {
		c.quiet, c.quietTerm = map[failover.AgentID]time.Time{}, c.term
	}
	r := failover.Round{Requests: requests}
	for _, q := range requests {
		c.quiet[q.Agent] = c.now
		for _, id := range c.s.AgentIDs(q.Region, "") {
			since, known := c.quiet[id]
			if !known {
				c.quiet[id] = c.now
			} else if age := c.now.Sub(since); age >= c.s.Settings.Policy.Lease.Length.D() {
				c.quiet[id] = c.now
				r.Silent = append(r.Silent, failover.Silence{Agent: id, For: failover.Duration(age)})
			}
		}
	}
	return failover.Reduced(r, c.s.Level()).(failover.Round)
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, s: failover.NewState(), term: 1, node: "use2a", now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	c.must(failover.Lead{Node: "use2a"})
	c.must(failover.Configure{Settings: settings(), Hash: "h1"})
	return c
}

// current is a cluster after the last node's upgrade.
func current(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	c.s.Features = failover.Features
	return c
}

func (c *cluster) apply(cmd failover.Command, by string) failover.Result {
	return c.s.Apply(failover.Meta{
		Index: c.s.Index + 1, Term: c.term, ProposedTerm: c.term, At: c.now, Node: c.node, By: by, Why: "because",
	}, cmd)
}

func (c *cluster) must(cmd failover.Command) failover.Result {
	c.t.Helper()
	res := c.apply(cmd, "")
	if res.Err != nil {
		c.t.Fatalf("%s refused: %v", cmd.Name(), res.Err)
	}
	return res
}

// refused applies a command that must be refused by the named guard.
func (c *cluster) refused(guard string, cmd failover.Command) {
	c.t.Helper()
	c.refusedBy(guard, "uid 1", cmd)
}

func (c *cluster) refusedBy(guard, by string, cmd failover.Command) {
	c.t.Helper()
	if c.now.After(c.s.Time) {
		c.s.Time = c.now // a refusal moves the time; nothing else
	}
	before, _ := json.Marshal(c.s)
	res := c.apply(cmd, by)
	ref, ok := res.Err.(*failover.Refusal)
	if !ok || ref.Guard != guard {
		c.t.Fatalf("%s: got %v, want a refusal by guard %q", cmd.Name(), res.Err, guard)
	}
	// A refusal changes nothing but index, term and time, and is noted.
	noted := c.s.Refusals
	if n := len(noted); n > 0 && noted[n-1].Index == c.s.Index {
		c.s.Refusals = noted[:n-1]
	}
	c.s.Index--
	after, _ := json.Marshal(c.s)
	c.s.Index++
	c.s.Refusals = noted
	if string(before) != string(after) {
		c.t.Fatalf("%s was refused but changed the state", cmd.Name())
	}
}

func (c *cluster) ask(agent failover.AgentID, r failover.Region) failover.Grant {
	c.t.Helper()
	res := c.must(c.round(failover.LeaseRequest{
		Agent: agent, Region: r, Component: "workers", Lease: dur("75s"), Enforced: true, Running: true,
	}))
	return res.Value.([]failover.Grant)[0]
}

// downVotes are fresh votes of all outside vantages that see us-east-1 down.
func downVotes() []failover.Vote {
	v := func(n failover.NodeID, at failover.Region) failover.Vote {
		return failover.Vote{Node: n, Vantage: at, Verdict: failover.Verdict{Region: east1, Health: failover.Down, Why: "http and sqs down", Signals: []failover.SignalState{
			{Component: "api", Kind: "http", Health: failover.Down}, {Component: "workers", Kind: "sqs", Health: failover.Down},
		}}}
	}
	return []failover.Vote{v("use2a", east2), v("use2b", east2), v("third", third)}
}

// opened is a cluster with a running automatic failover.
func opened(t *testing.T) (*cluster, uint64) {
	t.Helper()
	return newCluster(t).opened()
}

func (c *cluster) opened() (*cluster, uint64) {
	t := c.t
	t.Helper()
	inc := c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")}).Index
	p, err := plan.Derive(c.s.Settings, east1)
	if err != nil {
		t.Fatal(err)
	}
	return c, c.must(failover.StartExecution{Kind: failover.Failover, Incident: inc, Epoch: 1, Plan: p}).Index
}

func (c *cluster) start(step failover.StepID) uint64 {
	c.t.Helper()
	return c.must(failover.StepStarted{Execution: c.s.Execution.ID, Step: step, Epoch: c.s.Epoch, PlanHash: c.s.Execution.PlanHash, Previous: json.RawMessage(`{"n":3}`)}).Index
}

func (c *cluster) finish(step failover.StepID, token uint64, outcome failover.StepState) {
	c.t.Helper()
	c.must(failover.StepFinished{Execution: c.s.Execution.ID, Step: step, Token: token, Outcome: outcome, Detail: "seen"})
}

func (c *cluster) frozen(exec uint64) uint64 {
	c.t.Helper()
	tok := c.start(plan.FreezeID)
	id := c.must(failover.FreezeLease{Region: east1, Epoch: 1, Execution: exec}).Value.(uint64)
	c.finish(plan.FreezeID, tok, failover.StepDone)
	return id
}
