package config

import (
	"maps"
	"slices"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// profiles are raft's timers for two kinds of network. A timer is drawn between
// one and two times its setting.
func profiles() map[string]Raft {
	const ms = failover.Duration(time.Millisecond)
	return map[string]Raft{
		"default": {Heartbeat: 500 * ms, Election: 500 * ms, LeaderLease: 400 * ms, Commit: 20 * ms},
		"fast":    {Heartbeat: 300 * ms, Election: 300 * ms, LeaderLease: 250 * ms, Commit: 20 * ms},
	}
}

// complete takes the timers that are not written from the profile.
func (r *Raft) complete(written func(path string) bool) {
	p := profiles()[r.Profile] // unknown: reported by the validator
	for _, t := range []struct {
		path string
		into *failover.Duration
		from failover.Duration
	}{
		{"raft.heartbeat", &r.Heartbeat, p.Heartbeat}, {"raft.election", &r.Election, p.Election},
		{"raft.leader_lease", &r.LeaderLease, p.LeaderLease}, {"raft.commit", &r.Commit, p.Commit},
	} {
		if !written(t.path) {
			*t.into = t.from
		}
	}
}

// RoundTrip is the longest round trip between any two nodes with which the
// timers are sound: a quarter of the heartbeat, and what leaves the leader's
// lease room for a lost packet. Beyond it, a moment of congestion elects a new
// leader for no reason.
func (r Raft) RoundTrip() time.Duration {
	// A leader hears each peer every heartbeat/5 at the latest, plus a round
	// trip; two round trips more pass while a packet is sent again.
	lease := (r.LeaderLease.D() - r.Heartbeat.D()/5) / 2
	return max(min(r.Heartbeat.D()/4, lease), 0).Round(time.Millisecond)
}

func (v *validator) raft() {
	r := v.c.Raft
	names := slices.Sorted(maps.Keys(profiles()))
	v.oneOf("raft.profile", r.Profile, names...)
	if !slices.Contains(names, r.Profile) {
		return // the timers are unknown
	}
	for path, d := range map[string]failover.Duration{"raft.heartbeat": r.Heartbeat, "raft.election": r.Election, "raft.leader_lease": r.LeaderLease, "raft.commit": r.Commit} {
		v.positive(path, d)
	}
	if r.LeaderLease > r.Heartbeat {
		v.bad("raft.leader_lease", "the order is leader_lease ≤ heartbeat ≤ election", "%s is longer than the heartbeat of %s", r.LeaderLease, r.Heartbeat)
	}
	if r.Heartbeat > r.Election {
		v.bad("raft.heartbeat", "the order is leader_lease ≤ heartbeat ≤ election", "%s is longer than the election timer of %s", r.Heartbeat, r.Election)
	}
	if usual := profiles()["default"]; r.Heartbeat < usual.Heartbeat || r.LeaderLease < usual.LeaderLease {
		v.warn("raft", "measure with ping between all nodes at the busiest hour; profile = \"default\" is sound up to "+usual.RoundTrip().String(),
			"these timers are sound only while every round trip between two nodes stays below %s", r.RoundTrip())
	}
}
