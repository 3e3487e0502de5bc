// Package web serves what anyone may read: Prometheus metrics, health, readiness
// and the status as JSON. It changes nothing.
package web

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
)

// Source is what is shown. Implementations are safe for concurrent use.
type Source interface {
	// Local is the status without asking any other node, so that a scrape never
	// hangs.
	Local() admin.Status
	Verdicts() []failover.Verdict
	// Executions are the finished ones by outcome.
	Executions() map[failover.ExecState]int
	LastContact() time.Time
	CertNotAfter() time.Time
	// Traffic is where the clients were sent, as this node has kept it; not ok: it
	// has kept nothing yet.
	Traffic() (service string, to, left failover.Region, epoch uint64, ok bool)
}

// Metrics is the node's own registry with everything in it.
type Metrics struct {
	reg      *prometheus.Registry
	success  *prometheus.GaugeVec
	duration *prometheus.HistogramVec
	results  *prometheus.CounterVec
	commands *prometheus.CounterVec
	requests *prometheus.CounterVec
}

// NewMetrics returns a registry of its own, so that many nodes can live in one
// process.
func NewMetrics(src Source) *Metrics {
	m := &Metrics{
		reg: prometheus.NewRegistry(),
		success: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "failoverd_probe_success", Help: "Whether the last probe of a signal succeeded (1) or not (0).",
		}, []string{"component", "kind", "region"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "failoverd_probe_duration_seconds", Help: "How long probes took.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"component", "kind", "region"}),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "failoverd_probe_results_total", Help: "Probe results by outcome and reason.",
		}, []string{"component", "kind", "region", "outcome", "reason"}),
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "failoverd_refused_commands_total", Help: "Commands of the log that a guard refused, since this node started.",
		}, []string{"command", "guard"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "failoverd_refused_requests_total", Help: "Requests of nodes and agents that this node refused.",
		}, []string{"request"}),
	}
	m.reg.MustRegister(m.success, m.duration, m.results, m.commands, m.requests, newStateCollector(src),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Observe counts one observation. Safe for concurrent use.
func (m *Metrics) Observe(o failover.Observation) {
	c, k, r := string(o.Component), o.Kind, string(o.Region)
	ok := 0.0
	if o.Outcome == failover.OK || o.Outcome == failover.Slow {
		ok = 1
	}
	m.success.WithLabelValues(c, k, r).Set(ok)
	m.duration.WithLabelValues(c, k, r).Observe(o.Latency.Seconds())
	m.results.WithLabelValues(c, k, r, o.Outcome.String(), string(o.Reason)).Inc()
}

// RefusedCommand counts a command that a guard refused. Safe for concurrent use.
func (m *Metrics) RefusedCommand(command, guard string) {
	m.commands.WithLabelValues(command, guard).Inc()
}

// RefusedRequest counts a request of a node or an agent that was refused. Safe for
// concurrent use.
func (m *Metrics) RefusedRequest(request string) { m.requests.WithLabelValues(request).Inc() }

// stateCollector reads the state when it is scraped: there is nothing to keep in
// step.
type stateCollector struct {
	src   Source
	descs map[string]*prometheus.Desc
}

func newStateCollector(src Source) *stateCollector {
	c := &stateCollector{src: src, descs: map[string]*prometheus.Desc{}}
	d := func(name, help string, labels ...string) {
		c.descs[name] = prometheus.NewDesc("failoverd_"+name, help, labels, nil)
	}
	d("epoch", "The epoch: it grows each time the active region changes.")
	d("active_region", "1 for the region that is active.", "region")
	d("traffic_region", "1 for the region that clients are sent to.", "region")
	d("condition", "1 for the condition of the active region, as the leader sees it.", "condition")
	d("verdict", "1 for this node's own verdict of a region.", "region", "health")
	d("abstains", "1 while this node abstains because its self-check fails.")
	d("voted", "1 while the leader holds a fresh vote of a node (leader only).", "node", "vantage")
	d("hold_elapsed_seconds", "How long all outside vantages have agreed that the region is down (leader only).")
	d("freeze", "1 while no lease is granted.", "provisional")
	d("agents", "Agents known for a component.", "region", "component")
	d("fence_armed", "1 when the leases of a critical component would stop it and were rehearsed.", "component")
	d("fence_rehearsed_timestamp_seconds", "When the oldest of the agents' newest rehearsals passed; absent if one has not.", "component")
	d("would_have_stopped_total", "How often agents of a component would have stopped their workers on a higher rung.", "component")
	d("late_writes", "Writes that may still land after their execution has ended.")
	d("standing_hold", "1 for the status of a standing hold.", "component", "region", "step", "status")
	d("preparation", "1 while a preparation is open.")
	d("agent_last_asked_timestamp_seconds", "When an agent last asked for a lease.", "agent", "region", "component")
	d("paused", "1 while automation is paused.")
	d("execution", "1 for the state of the open execution.", "state")
	d("executions_total", "Finished executions.", "outcome")
	d("question_open", "1 while an execution waits for a person.")
	d("raft_leader", "1 while this node leads.")
	d("raft_term", "The raft term.")
	d("raft_applied_index", "The last applied index of the log.")
	d("raft_last_contact_seconds", "Seconds since this follower heard its leader.")
	d("certificate_not_after_timestamp_seconds", "When this node's certificate ends.")
	return c
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(name string, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.descs[name], prometheus.GaugeValue, v, labels...)
	}
	flag := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	s := c.src.Local()
	gauge("epoch", float64(s.Epoch))
	for _, r := range []failover.Region{s.Active, s.Standby} {
		if r != "" {
			gauge("active_region", flag(r == s.Active), string(r))
			gauge("traffic_region", flag(r == s.Traffic), string(r))
		}
	}
	if s.Condition != "" {
		gauge("condition", 1, string(s.Condition))
	}
	abstains := false
	for _, v := range c.src.Verdicts() {
		abstains = abstains || v.Abstain
		for _, h := range []failover.Health{failover.Unknown, failover.Healthy, failover.Degraded, failover.Down} {
			gauge("verdict", flag(v.Health == h), string(v.Region), h.String())
		}
	}
	gauge("abstains", flag(abstains))
	if s.Raft.State == "Leader" {
		for _, m := range s.Members {
			gauge("voted", flag(m.Voted), string(m.ID), string(m.Vantage))
		}
		gauge("hold_elapsed_seconds", s.HoldElapsed.D().Seconds())
	}
	if s.Freeze != nil {
		gauge("freeze", 1, map[bool]string{true: "true", false: "false"}[s.Freeze.Provisional])
	}
	count := map[[2]string]int{}
	for _, a := range s.Agents {
		count[[2]string{string(a.Region), string(a.Component)}]++
		gauge("agent_last_asked_timestamp_seconds", float64(a.LastAsked.UnixMilli())/1000, string(a.ID), string(a.Region), string(a.Component))
	}
	for k, n := range count {
		gauge("agents", float64(n), k[0], k[1])
	}
	for _, f := range s.Fences {
		name := string(f.Component)
		gauge("fence_armed", flag(f.Why == ""), name)
		if !f.Rehearsed.IsZero() {
			gauge("fence_rehearsed_timestamp_seconds", float64(f.Rehearsed.Unix()), name)
		}
		ch <- prometheus.MustNewConstMetric(c.descs["would_have_stopped_total"], prometheus.CounterValue, float64(f.WouldHave), name)
	}
	gauge("late_writes", float64(len(s.Late)))
	for _, h := range s.Holds {
		for _, status := range []failover.HoldStatus{failover.HoldUnseen, failover.HoldKept, failover.HoldViolated} {
			gauge("standing_hold", flag(h.Status == status), string(h.Component), string(h.Step.Region), string(h.Step.ID), string(status))
		}
	}
	gauge("preparation", flag(s.Preparation != nil))
	gauge("paused", flag(s.Pause != nil && s.Time.Before(s.Pause.Until)))
	if e := s.Execution; e != nil {
		gauge("execution", 1, string(e.State))
		gauge("question_open", flag(e.Question != nil))
	}
	for outcome, n := range c.src.Executions() {
		ch <- prometheus.MustNewConstMetric(c.descs["executions_total"], prometheus.CounterValue, float64(n), string(outcome))
	}
	gauge("raft_leader", flag(s.Raft.State == "Leader"))
	gauge("raft_term", float64(s.Raft.Term))
	gauge("raft_applied_index", float64(s.Raft.Applied))
	if lc := c.src.LastContact(); !lc.IsZero() && s.Raft.State != "Leader" {
		gauge("raft_last_contact_seconds", time.Since(lc).Seconds())
	}
	if t := c.src.CertNotAfter(); !t.IsZero() {
		gauge("certificate_not_after_timestamp_seconds", float64(t.Unix()))
	}
}
