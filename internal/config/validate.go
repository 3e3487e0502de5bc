package config

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// LeaseRPCTimeout bounds one request of an agent for its lease. It is part of
// the proof that a lease survives a change of leader.
const LeaseRPCTimeout = 2 * time.Second

// minVoteTTL keeps a vote alive over one ballot that is late: nodes vote five
// times within it.
const minVoteTTL = 250 * time.Millisecond

// longest is a bound on every time in the file; nothing overflows below it.
const longest = 30 * 24 * time.Hour

// validator finds what decodes but cannot work.
type validator struct {
	*decoder
	c        *Config
	broken   map[string]bool // places that have a mistake already
	warnings Errors
}

// bad adds a mistake unless its place, or a place around or below it, has one
// already.
func (v *validator) bad(path, hint, format string, args ...any) {
	for b := range v.broken {
		if b == path || strings.HasPrefix(b, path+".") || strings.HasPrefix(path, b+".") {
			return
		}
	}
	v.add(path, "", hint, format, args...)
}

func (v *validator) warn(path, hint, format string, args ...any) {
	v.warnings = append(v.warnings, &FieldError{File: v.file, Line: v.pos.line(path), Path: path, Msg: fmt.Sprintf(format, args...), Hint: hint})
}

// all runs every check. Those that compare two numbers run only when each by
// itself is sound.
func (v *validator) all() {
	v.header()
	v.required()
	v.policy()
	if v.leaseNumbers() {
		v.leaseFits()
	}
	v.raft()
	v.nodes()
	v.local()
	v.selfCheck()
	v.probeDefaults()
	v.aws()
	v.components()
	v.traffic()
	v.signals()
	v.slack()
	if len(v.errors) == 0 {
		v.lint()
	}
}

var name = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)

const nameHint = "use lower-case letters, digits, - and _"

func (v *validator) header() {
	for path, value := range map[string]string{"service": v.c.Service, "primary": string(v.c.Primary), "secondary": string(v.c.Secondary)} {
		switch {
		case value == "":
			v.bad(path, "", "is missing")
		case !name.MatchString(value):
			v.bad(path, nameHint, "%q cannot be a name", value)
		}
	}
	if v.c.Primary != "" && v.c.Primary == v.c.Secondary {
		v.bad("secondary", "name the region that takes over", "%q is the primary as well", v.c.Secondary)
	}
}

// required refuses a file without a safety setting: what decides over the life
// of processes is written down, not assumed.
func (v *validator) required() {
	for _, path := range []string{
		"policy.mode", "policy.hold", "policy.vote_ttl", "policy.ask", "policy.cooldown", "policy.max_per_day",
		"lease.length", "lease.renew", "lease.clock_error", "lease.margin", "lease.effect_tail", "lease.stop",
	} {
		if !v.pos.has(path) {
			v.missing(path)
		}
	}
	for _, path := range []string{"policy.ask.wait", "policy.ask.then", "lease.stop.grace", "lease.stop.kill", "lease.stop.safety"} {
		if parent := path[:strings.LastIndexByte(path, '.')]; v.pos.has(parent) && !v.pos.has(path) {
			v.missing(path)
		}
	}
}

func (v *validator) missing(path string) {
	if !v.pos.has(path) {
		v.bad(path, "safety settings have no defaults; see config.toml.example", "is missing")
		v.broken[path] = true
	}
}

func (v *validator) policy() {
	p := v.c.Policy
	v.oneOf("policy.mode", string(p.Mode), string(failover.ModeObserve), string(failover.ModeSupervised), string(failover.ModeAutomatic))
	v.oneOf("policy.ask.then", p.Ask.Then, "hold", "proceed")
	v.positive("policy.hold", p.Hold)
	v.positive("policy.ask.wait", p.Ask.Wait)
	if !v.pos.has("policy.prepare_after") && p.Hold > 0 {
		// A third of a hold that is shorter than usual.
		v.c.Policy.PrepareAfter = min(p.PrepareAfter, p.Hold/3)
		p = v.c.Policy
	}
	switch {
	case p.PrepareAfter < 0:
		v.bad("policy.prepare_after", "0 prepares nothing", "%s is negative", p.PrepareAfter)
	case p.PrepareAfter >= p.Hold && p.Hold > 0:
		v.bad("policy.prepare_after", "30s suits a hold of 90s; 0 prepares nothing", "%s is not shorter than the hold of %s: nothing would be prepared", p.PrepareAfter, p.Hold)
	}
	if p.MaxShrink < 1 || p.MaxShrink > 99 {
		v.bad("policy.max_shrink", "it is a share in percent", "%d is not between 1 and 99", p.MaxShrink)
	}
	for _, store := range slices.Sorted(maps.Keys(p.MaxLoss)) {
		path := "policy.max_loss." + store
		v.positive(path, p.MaxLoss[store])
		if part := v.c.Component[failover.Component(store)]; part == nil {
			v.bad(path, "name a component", "component %q does not exist", store)
		} else if (part.See.Mongo == nil || len(part.See.Mongo.Members) < 2) && part.See.MariaDBBackup == nil {
			v.bad(path, "a component that is seen by mongo in both regions has one, and one that is seen by mariadb_backup", "nothing measures what would be lost of %s, so automation would never act", store)
		}
	}
	if p.Cooldown < 0 {
		v.bad("policy.cooldown", "", "%s is negative", p.Cooldown)
	}
	if p.MaxPerDay < 0 {
		v.bad("policy.max_per_day", "0 never acts by itself", "%d is negative", p.MaxPerDay)
	}
	switch {
	case p.VoteTTL.D() < minVoteTTL:
		v.bad("policy.vote_ttl", "", "%s is shorter than %s: nodes vote five times within it, and one late ballot would silence a vantage", p.VoteTTL, minVoteTTL)
	case p.VoteTTL >= p.Hold && p.Hold > 0:
		v.bad("policy.vote_ttl", "5s suits a hold of 90s", "%s is not shorter than the hold of %s: a vote could outlive what it saw", p.VoteTTL, p.Hold)
	}
}

func (v *validator) leaseNumbers() bool {
	l, before := v.c.Lease, len(v.errors)
	v.positive("lease.length", l.Length)
	v.positive("lease.renew", l.Renew)
	v.positive("lease.margin", l.Margin)
	v.positive("lease.stop.grace", l.Stop.Grace)
	v.positive("lease.stop.kill", l.Stop.Kill)
	v.positive("lease.stop.safety", l.Stop.Safety)
	if l.Stop.Watchdog < 0 || l.Stop.Watchdog.D() > longest {
		v.bad("lease.stop.watchdog", "", "%s is not between 0 and %s", l.Stop.Watchdog, longest)
	}
	if l.EffectTail < 0 || l.EffectTail.D() > longest {
		v.bad("lease.effect_tail", "", "%s is not between 0 and %s", l.EffectTail, longest)
	}
	if l.ClockError < 1 || l.ClockError > 100_000 {
		v.bad("lease.clock_error", "1% is safe for any machine with a working clock", "must lie between 1ppm and 10%%")
	}
	for b := range v.broken {
		if strings.HasPrefix(b, "lease") || b == "policy.hold" {
			return false
		}
	}
	return len(v.errors) == before && v.c.Policy.Hold > 0
}

func (v *validator) leaseFits() {
	t, hold := v.c.LeaseTerms(), v.c.Policy.Hold.D()
	if wait := t.Wait(0); wait > hold {
		hint := "make the hold longer"
		if fit := largestLease(t, hold); fit > 0 {
			hint = fmt.Sprintf("the largest lease that fits is %s, or make the hold longer", fit)
		}
		v.bad("lease.length", hint, "a lease of %s has to be waited for %s, which is longer than the hold of %s", t.Length, tenths(wait), hold)
	}
	if _, left := v.c.Tolerated(); left < 0 {
		v.bad("lease.length", "make the lease longer or its parts shorter",
			"%s is too short to survive a change of leader: renewal %s and retry %s, worst leader change %s, request %s and stop budget %s need %s",
			t.Length, t.Renew, t.Retry(), v.c.worstLeaderChange(), min(LeaseRPCTimeout, t.Renew.D()), t.Stop.Total(), t.Length.D()-left)
	}
}

// worstLeaderChange is a heartbeat that was just missed and three elections,
// each with timers that are drawn between one and two times their setting.
func (c *Config) worstLeaderChange() time.Duration {
	return 2*c.Raft.Heartbeat.D() + 3*2*c.Raft.Election.D()
}

// largestLease is the longest lease, in whole seconds, whose wait fits into the
// hold; 0 if none does.
func largestLease(t failover.LeaseTerms, hold time.Duration) time.Duration {
	t.Length = 0
	free := hold - t.Margin.D() - t.EffectTail.D()
	l := time.Duration(float64(free) * float64(1_000_000-t.RhoPPM) / float64(1_000_000+t.RhoPPM)).Truncate(time.Second)
	for l > 0 && t.Wait(l) > hold { // at most a step, for rounding
		l -= time.Second
	}
	return max(l, 0)
}

func tenths(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }

func (v *validator) nodes() {
	if len(v.c.Nodes) == 0 {
		v.bad("nodes", "name each node with its region and address", "is empty")
		return
	}
	seen := map[string]failover.NodeID{}
	for _, id := range slices.Sorted(maps.Keys(v.c.Nodes)) {
		n, path := v.c.Nodes[id], "nodes."+string(id)
		if !name.MatchString(string(id)) {
			v.bad(path, nameHint, "%q cannot be a node's name", id)
		}
		if n.Region == "" {
			v.bad(path+".region", "name the region or place that the node looks from", "is missing")
		} else if !name.MatchString(string(n.Region)) {
			v.bad(path+".region", nameHint, "%q cannot be a region's name", n.Region)
		}
		if v.hostPort(path+".address", n.Address) {
			if host, _, _ := net.SplitHostPort(n.Address); net.ParseIP(host).IsUnspecified() {
				v.bad(path+".address", "write the address that the other nodes dial", "%s is no address that can be dialled", n.Address)
			}
			if other, ok := seen[n.Address]; ok {
				v.bad(path+".address", "", "%s is the address of %s as well", n.Address, other)
			}
			seen[n.Address] = id
		}
	}
	if len(v.c.Nodes)%2 == 0 {
		v.warn("nodes", "use 3 or 5", "%d nodes survive no more failures than %d do", len(v.c.Nodes), len(v.c.Nodes)-1)
	}
	v.vantages()
}

// local checks what each node has on its own machine.
func (v *validator) local() {
	for _, f := range []struct{ path, value string }{
		{"tls.ca", v.c.TLS.CA}, {"tls.cert", v.c.TLS.Cert}, {"tls.key", v.c.TLS.Key},
		{"node.data", v.c.Local.Data}, {"node.socket", v.c.Local.Socket},
	} {
		if f.value == "" {
			v.bad(f.path, "", "is missing")
		}
	}
	if v.c.Local.Web != "" {
		v.hostPort("node.web", v.c.Local.Web)
	}
	if v.c.Local.Gate != "" {
		v.hostPort("node.gate", v.c.Local.Gate)
	}
}

// vantages wants two opinions outside each region: the verdict quorum.
func (v *validator) vantages() {
	for _, r := range v.c.Regions() {
		outside := []failover.Region{}
		for _, n := range v.c.Nodes {
			if n.Region != r && n.Region != "" {
				outside = append(outside, n.Region)
			}
		}
		slices.Sort(outside)
		outside = slices.Compact(outside)
		if r != "" && len(outside) < 2 {
			v.bad("nodes", "add a node in a third place", "only %d vantage %v lies outside %s: two must agree that it is down", len(outside), outside, r)
		}
	}
}

func (v *validator) selfCheck() {
	s := v.c.SelfCheck
	v.positive("self_check.interval", s.Interval)
	v.positive("self_check.timeout", s.Timeout)
	if len(s.URLs) == 0 {
		v.bad("self_check.urls", "list two or more that share no fate with either region", "is missing: a node that cannot tell its own blindness from an outage must not vote")
	} else if len(s.URLs) == 1 {
		v.warn("self_check.urls", "list two or more", "with one reference, its outage makes every node abstain")
	}
	for _, raw := range s.URLs {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			v.bad("self_check.urls", "", "%q is not an http:// or https:// URL with a host", raw)
			continue
		}
		if why := v.sharesFate(u.Hostname()); why != "" {
			v.bad("self_check.urls", "use a reference outside both regions", "%q shares fate with what it should be independent of: %s", raw, why)
		}
	}
}

// sharesFate says why a reference host would fail together with a region.
func (v *validator) sharesFate(host string) string {
	for _, r := range v.c.Regions() {
		if r != "" && strings.Contains(host, string(r)) {
			return "its name says that it is in " + string(r)
		}
	}
	for id := range v.c.Nodes {
		for _, s := range v.c.ProbeSpecs(id) {
			if slices.Contains(s.Hosts(), host) {
				return fmt.Sprintf("component %s is probed there", s.Component)
			}
		}
	}
	if t := v.c.Traffic; slices.Contains(t.Names, host) || t.Switch.Route53Weights != nil && slices.Contains(t.Switch.Route53Weights.Names, host) {
		return "it is a name that the switch moves"
	}
	return ""
}

func (v *validator) probeDefaults() {
	v.timing("probes", v.c.Probes.Timing)
	for _, r := range v.c.Probes.Resolvers {
		if host, port, err := net.SplitHostPort(r); err != nil || net.ParseIP(host) == nil || !validPort(port) {
			v.bad("probes.resolvers", "a resolver is given by address, since names cannot be resolved without it", "%q is not ip:port", r)
		}
	}
}

func (v *validator) timing(path string, t Timing) {
	v.positive(path+".interval", t.Interval)
	v.positive(path+".timeout", t.Timeout)
	switch {
	case t.Down < 1:
		v.bad(path+".down", "", "%d is less than 1", t.Down)
	case t.Down > t.Window:
		v.bad(path+".window", "", "%d results can never hold the %d failures of `down`", t.Window, t.Down)
	}
}

func (v *validator) aws() {
	v.positive("aws.timeout", v.c.AWS.Timeout)
	for key, arn := range map[string]string{"observe": v.c.AWS.Roles.Observe, "act": v.c.AWS.Roles.Act} {
		if arn != "" && (!strings.HasPrefix(arn, "arn:aws") || !strings.Contains(arn, ":role/")) {
			v.bad("aws.roles."+key, "such as arn:aws:iam::123456789012:role/failoverd", "%q is not the ARN of a role", arn)
		}
	}
	for _, where := range slices.Sorted(maps.Keys(v.c.AWS.Endpoints)) {
		u, err := url.Parse(v.c.AWS.Endpoints[where])
		if err != nil || u.Host == "" {
			v.bad("aws.endpoints."+where, "", "%q is not a URL", v.c.AWS.Endpoints[where])
		}
	}
}

func (v *validator) slack() {
	s := v.c.Slack
	if s == nil {
		return
	}
	if s.Channel == "" {
		v.bad("slack.channel", "write the channel's ID, not its name", "is missing")
	}
	if s.Team == "" {
		v.bad("slack.team", "write the workspace's ID; clicks from elsewhere are refused", "is missing")
	}
	if len(s.Approvers) == 0 {
		v.warn("slack.approvers", "list the IDs of the users who may", "nobody can answer a question by button")
	}
}

func (v *validator) positive(path string, d failover.Duration) {
	switch {
	case d <= 0:
		v.bad(path, "write it like 500ms, 90s or 15m", "%s is not a positive time", d)
	case d.D() > longest:
		v.bad(path, "", "%s is longer than %s, which cannot be meant", d, longest)
	}
}

func (v *validator) oneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		v.bad(path, didYouMean(value, allowed), "%q is not one of %s", value, strings.Join(allowed, ", "))
	}
}

func (v *validator) hostPort(path, addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || !validPort(port) {
		v.bad(path, "", "%q is not host:port", addr)
		return false
	}
	return true
}

func validPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n > 0 && n < 65536
}
