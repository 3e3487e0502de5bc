package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
)

// Readiness implements admin.Node: whether a failover would work if the active
// region died now, row by row.
func (d *Daemon) Readiness(ctx context.Context) admin.Readiness {
	vctx, cancel := context.WithTimeout(ctx, viewTimeout)
	defer cancel()
	v, err := d.core.View(vctx)
	st := d.core.Node().State()
	if err != nil {
		return verdictOf([]admin.Row{{Name: "leader", Detail: "there is no leader that answers: " + err.Error()}})
	}
	now := time.Now()
	rows := []admin.Row{{Name: "leader", OK: true, Detail: fmt.Sprintf("%s leads in term %d", v.Node, v.Term)}}
	if st.Settings == nil {
		return verdictOf(append(rows, admin.Row{Name: "configuration", Detail: "the cluster has none yet"}))
	}
	rows = append(rows, d.runsRow(st)...)
	rows = append(rows, modeRow(st, now), marginRow(st, v), vantageRow(st, v))
	rows = append(rows, conditionRow(v), versionRow(st))
	rows = append(rows, fenceRows(st, later(now, st.Time))...)
	rows = append(rows, fileRows(st, v.Files)...)
	rows = append(rows, surveyRows(st, v)...)
	rows = append(rows, lossRows(st, time.Now())...)
	rows = append(rows, riskRows(st, v)...)
	rows = append(rows, d.drillRows(st, now)...)
	rows = append(rows, holdRows(st)...)
	rows = append(rows, d.recordRows(ctx)...)
	rows = append(rows, d.credentialRows(ctx)...)
	if r := d.running.Load(); r != nil {
		rows = append(rows, signalRows(st.Active, r.monitor.Verdicts())...)
	}
	return verdictOf(append(rows, certRow(d.material.NotAfter(), now)))
}

// runsRow says that this node does not run what is in force.
func (d *Daemon) runsRow(s *failover.State) []admin.Row {
	if s.Source == "" || d.running.Load().cfg.Source == s.Source {
		return nil
	}
	return []admin.Row{{Name: "configuration", Detail: fmt.Sprintf("this node cannot run %s, which is in force, and probes with the one before; its log says why, and it is tried again every %s", s.SettingsHash, takeAgain)}}
}

// recordRows looks at the records that clients use, and at the health checks that
// the switches need, as Route 53 has them. Its control plane is not needed in the
// night, only now.
func (d *Daemon) recordRows(ctx context.Context) []admin.Row {
	r := d.running.Load()
	if r == nil || r.clients == nil {
		return nil
	}
	want, records := r.cfg.HealthChecks(), r.cfg.Records()
	if len(want) == 0 && r.cfg.Traffic.Switch.Route53Weights == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	row := admin.Row{Name: "records", OK: true, Detail: strings.Join(records.Names, ", ") + " lead to one region, and nothing but a switch moves them"}
	if len(want) > 0 {
		row = admin.Row{Name: "health checks", OK: true, Detail: fmt.Sprintf("the records of %s hang on the %d health checks that the switches need", r.cfg.Primary, len(want))}
	}
	found, err := actions.CompareRecords(ctx, r.clients.Route53(), records, r.cfg.Primary, r.cfg.Secondary, want, r.cfg.ResolversFollow())
	switch {
	case err != nil:
		row.OK, row.Advice, row.Detail = false, true, "they could not be read: "+err.Error()
	case len(found.Wrong) > 0 && len(want) > 0:
		row.OK, row.Detail = false, strings.Join(found.Wrong, "; ")+" (failoverd traffic health-checks prints them)"
	case len(found.Wrong) > 0:
		row.OK, row.Detail = false, strings.Join(found.Wrong, "; ")
	}
	rows := []admin.Row{row}
	if len(found.Slow) > 0 {
		rows = append(rows, admin.Row{Name: "TTL", Advice: true, Detail: strings.Join(found.Slow, "; ") + ": shorten it, or give the check more (traffic.check.dns_answer.within)"})
	}
	return rows
}

// credentialRows says for how long this node's AWS credentials are good.
func (d *Daemon) credentialRows(ctx context.Context) []admin.Row {
	r := d.running.Load()
	if r == nil || r.clients == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	row := admin.Row{Name: "AWS credentials", OK: true, Detail: "this node's do not end"}
	switch left, ends, err := r.clients.Life(ctx); {
	case err != nil:
		row.OK, row.Detail = false, err.Error()
	case ends:
		row.Detail = fmt.Sprintf("this node's are good for another %s, and are renewed before", left.Round(time.Second))
	}
	return append([]admin.Row{row}, actingRow(r.clients.TryActing(ctx))...)
}

// actingRow says whether this node could act. In the night one STS may be all that
// there is.
func actingRow(role string, refused map[string]error) []admin.Row {
	if role == "" {
		return nil
	}
	row := admin.Row{Name: "acting role", OK: len(refused) == 0, Detail: "this node can take on " + role}
	if !row.OK {
		var said []string
		for _, region := range slices.Sorted(maps.Keys(refused)) {
			said = append(said, region+": "+refused[region].Error())
		}
		row.Detail = fmt.Sprintf("this node cannot take on %s everywhere: no step of it could change anything with what is left (%s); look at the role's trust policy, and at sts:AssumeRole of this node", role, strings.Join(said, "; "))
	}
	return []admin.Row{row}
}

// verdictOf ends the report in one line.
func verdictOf(rows []admin.Row) admin.Readiness {
	r := admin.Readiness{Rows: rows, Ready: true}
	var why []string
	for _, row := range rows {
		if !row.OK && !row.Advice {
			why = append(why, row.Name+": "+row.Detail)
		}
	}
	r.Sentence = "ready"
	if len(why) > 0 {
		r.Ready, r.Sentence = false, "not ready because "+strings.Join(why, "; ")
	}
	return r
}

func modeRow(st *failover.State, now time.Time) admin.Row {
	guard, reason := st.AutoGuard(later(now, st.Time))
	if guard == "" || guard == failover.GuardLoss || guard == failover.GuardLate { // these have rows of their own
		return admin.Row{Name: "automation", OK: true, Detail: "mode " + string(st.Settings.Policy.Mode)}
	}
	return admin.Row{Name: "automation", Advice: guard != failover.GuardPause && guard != failover.GuardFenced, Detail: reason}
}

// marginRow says what may still be lost before the quorum is.
func marginRow(st *failover.State, v LeaderView) admin.Row {
	alive := map[failover.NodeID]bool{}
	ttl := st.Settings.Policy.VoteTTL.D()
	for _, vote := range v.Votes {
		if vote.Age.D() <= ttl {
			alive[vote.Node] = true
		}
	}
	total := len(st.Settings.Nodes)
	need := total/2 + 1
	outside := 0
	for id, n := range st.Settings.Nodes {
		if alive[id] && n.Vantage != st.Active {
			outside++
		}
	}
	row := admin.Row{Name: "margin", OK: outside >= need,
		Detail: fmt.Sprintf("%d of %d nodes vote, %d of them outside %s; %d are needed: after the loss of %s, %d more may be lost", len(alive), total, outside, st.Active, need, st.Active, outside-need)}
	if !row.OK {
		row.Detail = fmt.Sprintf("%d of %d nodes vote, %d of them outside %s; %d are needed: without %s there would be no quorum", len(alive), total, outside, st.Active, need, st.Active)
	}
	return row
}

// vantageRow says on which voices automation rests (rule D6).
func vantageRow(st *failover.State, v LeaderView) admin.Row {
	var voices []string
	for _, view := range v.Judgement.Views {
		if !view.Inside && view.Nodes > 0 {
			voices = append(voices, string(view.Vantage))
		}
	}
	row := admin.Row{Name: "vantages", OK: len(voices) >= 2, Detail: fmt.Sprintf("%d outside %s have an opinion: %s", len(voices), st.Active, strings.Join(voices, ", "))}
	switch {
	case !row.OK:
		row.Detail += "; two are needed, so nothing would be decided automatically"
	case len(voices) == 2:
		row.Detail += "; automation rests on each of them"
	}
	return row
}

func conditionRow(v LeaderView) admin.Row {
	if c := v.Judgement.Condition; c != "" {
		return admin.Row{Name: "condition", Advice: true, Detail: string(c) + ": " + v.Judgement.Sentence}
	}
	return admin.Row{Name: "condition", OK: true, Detail: v.Judgement.Sentence}
}

// versionRow wants every node known and of one version and configuration.
func versionRow(st *failover.State) admin.Row {
	versions, missing := map[string]bool{}, []string{}
	for _, id := range slices.Sorted(maps.Keys(st.Settings.Nodes)) {
		rec, ok := st.Nodes[id]
		if !ok {
			missing = append(missing, string(id))
			continue
		}
		versions[rec.Version] = true
	}
	switch {
	case len(missing) > 0:
		return admin.Row{Name: "nodes", Detail: "never started: " + strings.Join(missing, ", ")}
	case len(versions) > 1:
		return admin.Row{Name: "nodes", Advice: true, Detail: "they run different versions: " + strings.Join(slices.Sorted(maps.Keys(versions)), ", ")}
	}
	return admin.Row{Name: "nodes", OK: true, Detail: fmt.Sprintf("%d, all of version %s", len(st.Settings.Nodes), slices.Sorted(maps.Keys(versions))[0])}
}

func fenceRows(st *failover.State, now time.Time) []admin.Row {
	var out []admin.Row
	for _, c := range st.Settings.Components {
		if c.Stop == nil {
			continue
		}
		row := admin.Row{Name: "fence " + string(c.Name)}
		if why := st.FenceArmed(c, now); why != "" {
			row.Detail = why
			// Without a lease the plan still works, up to a person.
			row.Advice = !c.Agent || c.Arming != failover.ArmEnforced
		} else {
			row.OK, row.Detail = true, fmt.Sprintf("armed: %d agents, all rehearsed", len(st.AgentIDs(st.Active, c.Name)))
		}
		out = append(out, row)
	}
	return out
}

func surveyRows(st *failover.State, v LeaderView) []admin.Row {
	if v.SurveyAge == 0 {
		return []admin.Row{{Name: "survey", Detail: "the leader has not looked yet at what the plan would change"}}
	}
	var out []admin.Row
	for _, s := range v.Sights {
		row := admin.Row{Name: "step " + string(s.Step), OK: s.OK, Detail: s.Detail}
		row.Advice = !s.OK && s.Optional
		if kept, ok := st.Readings[s.Step]; ok {
			row.Detail += "; kept in the log as it is since " + kept.At.Format(time.RFC3339) + ", for when it cannot be read"
		}
		if want := st.Inventory[s.Step]; s.OK && st.Settings.Policy.Shrunk(want, s.Inventory) {
			row.OK, row.Detail = false, fmt.Sprintf("the inventory shrank from %d to %d: %s", want, s.Inventory, s.Detail)
		}
		out = append(out, row)
	}
	return out
}

func lossRows(st *failover.State, now time.Time) []admin.Row {
	var out []admin.Row
	limits := st.Settings.Policy.MaxLoss
	for _, store := range slices.Sorted(maps.Keys(limits)) {
		sample, _, atMost, ok := st.LossOf(store, now)
		row := admin.Row{Name: "loss " + store, OK: ok && sample.Behind <= limits[store]}
		row.Detail = "no sample yet"
		if ok {
			row.Detail = fmt.Sprintf("%s at most: %s, sampled %s; max_loss allows %s", atMost.D().Round(time.Second), sample.Detail, sample.At.Format(time.RFC3339), limits[store])
		}
		out = append(out, row)
	}
	return out
}

func holdRows(st *failover.State) []admin.Row {
	var out []admin.Row
	for _, h := range st.Holds {
		out = append(out, admin.Row{
			Name: "hold " + string(h.Component), OK: h.Status == failover.HoldKept, Advice: h.Status == failover.HoldUnseen,
			Detail: fmt.Sprintf("%s: %s %s", h.Wants(), h.Status, h.Detail),
		})
	}
	if why := st.LateWrites(); why != "" {
		out = append(out, admin.Row{Name: "late write", Detail: fmt.Sprintf("%s; open since %s", why, st.Late[0].Since.Format(time.RFC3339))})
	}
	return out
}

// certRow wants certificates that outlast what nobody looks at for a while.
func certRow(ends, now time.Time) admin.Row {
	const early = 14 * 24 * time.Hour
	return admin.Row{Name: "certificate", OK: ends.Sub(now) > early, Detail: fmt.Sprintf("this node's certificate ends on %s", ends.UTC().Format(time.DateOnly))}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// fences says of each critical component whether its fence holds by itself.
func fences(st *failover.State, now time.Time) []admin.FenceStatus {
	var out []admin.FenceStatus
	for _, c := range st.Settings.Components {
		if c.Stop == nil {
			continue
		}
		f := admin.FenceStatus{Component: c.Name, Arming: c.Arming, Why: st.FenceArmed(c, now)}
		all := true
		for _, id := range st.AgentIDs(st.Active, c.Name) {
			a := st.Agents[id]
			f.WouldHave += a.WouldHave
			switch {
			case a.Rehearsed == nil || !a.Rehearsed.Passed:
				all = false
			case f.Rehearsed.IsZero() || a.Rehearsed.At.Before(f.Rehearsed):
				f.Rehearsed = a.Rehearsed.At
			}
		}
		if !all {
			f.Rehearsed = time.Time{}
		}
		out = append(out, f)
	}
	return out
}
