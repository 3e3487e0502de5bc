package failover

import (
	"fmt"
	"slices"
	"strings"
)

// VantageView is what one vantage thinks of a region.
type VantageView struct {
	Vantage Region `json:"vantage"`
	Inside  bool   `json:"inside,omitempty"` // in the region that is judged
	Health  Health `json:"health"`
	Why     string `json:"why"`
	Nodes   int    `json:"nodes"` // fresh, non-abstaining nodes behind the view
}

// Judgement is the rule's view of one region at one moment.
type Judgement struct {
	Region    Region        `json:"region"`
	Condition Condition     `json:"condition"`
	Sentence  string        `json:"sentence"`
	Views     []VantageView `json:"views"`
	// Voices are the outside vantages that have an opinion. The hold restarts
	// when the set changes (rule D2).
	Voices []Region `json:"voices"`
	// Alive says that a node outside sees life: a signal of the data plane that
	// answers at least now and then.
	Alive bool `json:"alive,omitempty"`
	// Dissent lists the voices that do not see the region down.
	Dissent []Region `json:"dissent,omitempty"`
	unheard bool     // a vantage outside has no fresh vote at all
}

// Judge applies the verdict rule to fresh votes (rules D2, D4, D5). It is pure
// and is used by the leader on live votes and by Apply on frozen ones.
//
//   - Two nodes of one vantage are one opinion; when they disagree it is
//     Unknown, and Unknown is no agreement.
//   - A region is down when every vantage outside it that has an opinion sees it
//     down, and at least two have one.
//   - Whether a node sees a region down (two kinds of signal or more) is its
//     verdict's business and is checked again here.
func Judge(s *Settings, region Region, votes []Vote) Judgement {
	j := Judgement{Region: region}
	byVantage := map[Region][]Vote{}
	for _, v := range votes {
		spec, member := s.Nodes[v.Node]
		if !member || spec.Vantage != v.Vantage || v.Verdict.Region != region {
			continue // not one of us, or about something else
		}
		byVantage[v.Vantage] = append(byVantage[v.Vantage], v)
	}
	vantages := append(s.OutsideVantages(region), region)
	seen := outsideSigns{}
	insideHealthy := false
	for _, vt := range vantages {
		view := viewOf(vt, byVantage[vt])
		view.Inside = vt == region
		j.Views = append(j.Views, view)
		if view.Inside {
			// One node inside that sees it alive is enough to ask a person (D5).
			for _, v := range byVantage[vt] {
				insideHealthy = insideHealthy || !v.Verdict.Abstain && (v.Verdict.Health == Healthy || v.Verdict.Health == Degraded)
			}
			continue
		}
		j.unheard = j.unheard || len(byVantage[vt]) == 0
		for _, v := range byVantage[vt] {
			seen.add(v.Verdict)
			j.Alive = j.Alive || !v.Verdict.Abstain && slices.ContainsFunc(v.Verdict.Signals, func(s SignalState) bool {
				return s.Data() && (s.Health == Healthy || s.Health == Degraded)
			})
		}
		if view.Nodes == 0 {
			continue
		}
		j.Voices = append(j.Voices, vt)
		if view.Health != Down {
			j.Dissent = append(j.Dissent, vt)
		}
	}
	j.Condition, j.Sentence = j.conclude(insideHealthy, seen)
	return j
}

// outsideSigns counts what the nodes outside the region say about it.
type outsideSigns struct {
	blind     int // nodes that abstain
	seeing    int // nodes that do not
	degraded  int // nodes that see it degraded
	dataDown  int // signals of the data plane that are down
	planeDown int // signals of the control plane that are down
	part      int // signals of which only a part is dark
}

func (o *outsideSigns) add(v Verdict) {
	if v.Abstain {
		o.blind++
		return
	}
	o.seeing++
	if v.Health == Degraded {
		o.degraded++
	}
	for _, s := range v.Signals {
		switch {
		case s.Health == Down && s.Plane == PlaneControl:
			o.planeDown++
		case s.Plane == PlaneUpkeep: // for people: `failoverd readiness` shows it
		case s.Health == Down:
			o.dataDown++
		case s.Health == Degraded && s.Part:
			o.part++
		}
	}
}

func (j *Judgement) conclude(insideHealthy bool, seen outsideSigns) (Condition, string) {
	down := len(j.Voices) - len(j.Dissent)
	switch {
	case seen.seeing == 0 && seen.blind > 0:
		return SelfIsolated, j.describe()
	case len(j.Voices) < 2 && down > 0:
		return NoAutonomy, fmt.Sprintf("%s; %d of the vantages outside have an opinion, two are needed", j.describe(), len(j.Voices))
	case down > 0 && len(j.Dissent) == 0 && insideHealthy:
		return Partitioned, j.describe()
	case down > 0 && len(j.Dissent) == 0:
		return RegionDown, j.describe()
	case down > 0:
		return Disagreement, j.describe()
	case len(j.Voices) < 2:
		return NoAutonomy, fmt.Sprintf("%d of the vantages outside %s have an opinion, two are needed", len(j.Voices), j.Region)
	case seen.dataDown > 0:
		return ServiceDown, j.describe()
	case seen.part > 0:
		return ZoneDown, j.describe()
	case seen.planeDown > 0:
		return ControlPlane, j.describe()
	case seen.degraded > 0:
		return Brownout, j.describe()
	}
	return "", "every vantage sees " + string(j.Region) + " healthy"
}

func (j *Judgement) describe() string {
	parts := make([]string, 0, len(j.Views))
	for _, v := range j.Views {
		parts = append(parts, fmt.Sprintf("%s: %s (%s)", v.Vantage, v.Health, v.Why))
	}
	return strings.Join(parts, "; ")
}

// viewOf folds the fresh votes of one vantage into one opinion.
func viewOf(vantage Region, votes []Vote) VantageView {
	view := VantageView{Vantage: vantage, Why: "no fresh vote"}
	slices.SortFunc(votes, func(a, b Vote) int { return strings.Compare(string(a.Node), string(b.Node)) })
	first := true
	for _, v := range votes {
		if v.Verdict.Abstain {
			if view.Nodes == 0 {
				view.Why = string(v.Node) + " abstains: " + v.Verdict.Why
			}
			continue
		}
		h := v.Verdict.Health
		if h == Down && len(v.Verdict.DownKinds()) < 2 {
			h = Degraded // D4: one kind of signal is a service, not a region
		}
		view.Nodes++
		switch {
		case first:
			view.Health, view.Why, first = h, v.Verdict.Why, false
		case view.Health != h:
			view.Health, view.Why = worstShared(view.Health, h), "its nodes disagree"
		}
	}
	return view
}

// worstShared is what two nodes of one vantage agree on when their verdicts
// differ: down against anything else is no opinion; otherwise the milder word.
func worstShared(a, b Health) Health {
	if a == Down || b == Down || a == Unknown || b == Unknown {
		return Unknown
	}
	return Degraded
}
