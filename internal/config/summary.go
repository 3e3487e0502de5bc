package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Summary says in a few lines what the numbers of a configuration mean. It is
// what `config check` prints.
func Summary(c *Config) string {
	t, hold := c.LeaseTerms(), c.Policy.Hold.D()
	wait := t.Wait(0)
	detect := c.DetectionBound()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("service %s: %s, with %s to take over; mode %s; settings %s", c.Service, c.Primary, c.Secondary, c.Policy.Mode, c.Hash())
	line("detection: a dark region is down on every node within %s and confirmed within %s (hold %s)", tenths(detect), tenths(detect+ballotInterval+hold), hold)
	line("lease: %s, proven to have run out after %s, which leaves %s of the hold", t.Length, tenths(wait), tenths(hold-wait))
	cut, quorum := c.Tolerated()
	line("losses: nothing is stopped by a cut between an agent and the quorum that is shorter than %s, nor by a loss of the quorum shorter than %s", tenths(cut), tenths(quorum))
	line("raft: profile %s, worst change of leader %s, sound while every round trip between two nodes stays below %s", c.Raft.Profile, c.worstLeaderChange(), c.Raft.RoundTrip())
	line("nodes: %d in %d places; %s outside %s, %s outside %s", len(c.Nodes), c.vantages(), list(c, 0), c.Primary, list(c, 1), c.Secondary)
	for _, w := range c.Warnings {
		line("advice: %s", w)
	}
	return b.String()
}

// Tolerated is the longest cut between an agent and the quorum, and the longest loss
// of the quorum itself, that stop no worker. After the second a leader is elected
// before anybody is answered.
func (c *Config) Tolerated() (cut, quorum time.Duration) {
	t := c.LeaseTerms()
	cut = t.Tolerates(min(LeaseRPCTimeout, t.Renew.D()))
	return cut, cut - c.worstLeaderChange()
}

// ballotInterval is how often nodes vote.
const ballotInterval = time.Second

// DetectionBound is how long a region can be dark before a node calls it down:
// one probe has just succeeded, and each of the next ones runs into its
// time-out. Two kinds must be down, so the second fastest counts.
func (c *Config) DetectionBound() time.Duration {
	byKind := map[string]time.Duration{}
	for _, s := range c.ProbeSpecs("node") {
		if s.Plane() != "" {
			continue // it makes no region down
		}
		period := max(s.Interval, s.Timeout)
		bound := s.Interval + time.Duration(s.Down-1)*period + s.Timeout
		if old, ok := byKind[s.Kind]; !ok || bound < old {
			byKind[s.Kind] = bound
		}
	}
	var all []time.Duration
	for _, d := range byKind {
		all = append(all, d)
	}
	slices.Sort(all)
	// The verdict needs two kinds, or a majority where there are more.
	need := max(2, len(all)/2+1)
	if len(all) < need {
		return 0
	}
	return all[need-1]
}

func (c *Config) vantages() int {
	seen := map[string]bool{}
	for _, n := range c.Nodes {
		seen[string(n.Region)] = true
	}
	return len(seen)
}

// list names the vantages outside the i-th region.
func list(c *Config, i int) string {
	s := c.Settings()
	var out []string
	for _, r := range s.OutsideVantages(c.Regions()[i]) {
		out = append(out, string(r))
	}
	return strings.Join(out, " and ")
}
