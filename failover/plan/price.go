package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// Price is what it would cost to leave the active region now, as far as the log knows it. People see it
// before they approve, and whenever they ask.
type Price struct {
	Kind   failover.ExecKind `json:"kind"`
	From   failover.Region   `json:"from"`
	To     failover.Region   `json:"to"`
	Stores []StorePrice      `json:"stores,omitempty"`
	// Counted is what stands in From and nowhere else, as last counted there.
	Counted []CountedPrice `json:"counted,omitempty"`
	// Writes is for how long a region that is only cut off can go on writing to its stores, from the first step on: until no lease of
	// its writers can be valid any more. What it writes meanwhile is lost beyond what Stores say. Zero: the service has no settings.
	Writes failover.Duration `json:"writes,omitempty"`
	// Moved is how long it takes until clients are led to To, Stable until the service is declared stable,
	// both from the first step on.
	Moved  Estimate `json:"moved"`
	Stable Estimate `json:"stable"`
	// Back is the step with which going back becomes a failback: until it is done, an abort takes everything
	// back that can be.
	Back failover.StepID `json:"back"`
	// Lasting are steps that nothing takes back.
	Lasting []failover.StepID `json:"lasting,omitempty"`
}

// StorePrice is what would be lost of one store.
type StorePrice struct {
	Store string `json:"store"`
	// AtMost is the bound: whatever was written since the copy's newest write. Zero without a sample.
	AtMost failover.Duration `json:"at_most,omitempty"`
	// Sampled is when the sample was taken, and Age how old it was when the failure began, or is now.
	Sampled time.Time         `json:"sampled,omitzero"`
	Age     failover.Duration `json:"age,omitempty"`
	Detail  string            `json:"detail,omitempty"`
	// Limit is what automation may accept. Zero: nothing was said.
	Limit failover.Duration `json:"limit,omitempty"`
	// Brought is the step that takes along all of it, so that nothing is lost; empty: none does.
	Brought failover.StepID `json:"brought,omitempty"`
}

// CountedPrice is what one component has counted in the region that is left.
type CountedPrice struct {
	Component failover.Component `json:"component"`
	failover.AtRiskSample
	Age failover.Duration `json:"age"` // of the count when the failure began, or now
}

// Estimate is a time that was learned from earlier runs: the longest way through the plan.
type Estimate struct {
	Takes failover.Duration `json:"takes"`
	// Unknown are the steps on the way that have never run here: their time is not in it.
	Unknown []failover.StepID `json:"unknown,omitempty"`
}

// PriceOf tells what plan p would cost now. It reads s alone, and changes nothing.
func PriceOf(s *failover.State, p *failover.Plan, now time.Time) Price {
	out := Price{Kind: p.Kind, From: p.From, To: p.To, Back: FenceID, Writes: failover.Duration(s.FreezeWait(p.From))}
	stores := map[string]bool{}
	for store := range s.Loss {
		stores[store] = true
	}
	if s.Settings != nil {
		for store := range s.Settings.Policy.MaxLoss {
			stores[store] = true
		}
	}
	brought := map[string]failover.StepID{}
	for _, st := range Dumps(p) {
		if e := s.Execution; e != nil && e.Plan.Hash() == p.Hash() && e.Step(st.ID).State == failover.StepSkipped {
			continue // somebody does without it
		}
		brought[string(st.Component)], stores[string(st.Component)] = st.ID, true
	}
	for _, store := range slices.Sorted(maps.Keys(stores)) {
		one := StorePrice{Store: store, Brought: brought[store]}
		if s.Settings != nil {
			one.Limit = s.Settings.Policy.MaxLoss[store]
		}
		if sample, age, atMost, ok := s.LossOf(store, now); ok {
			one.Sampled, one.Detail, one.Age, one.AtMost = sample.At, sample.Detail, age, atMost
		}
		out.Stores = append(out.Stores, one)
	}
	for _, component := range slices.Sorted(maps.Keys(s.AtRisk)) {
		if s.Settings != nil && s.Settings.Component(component) != nil && p.From == s.Active {
			one := CountedPrice{Component: component, AtRiskSample: s.AtRisk[component]}
			if one.Lost && brought[string(component)] != "" {
				continue // the step takes it along
			}
			one.Age = failover.Duration(s.SinceFailure(one.At, now))
			out.Counted = append(out.Counted, one)
		}
	}
	w := &ways{s: s, p: p, known: map[failover.StepID]Estimate{}}
	first := true
	for _, st := range p.Steps {
		if st.NoReturn && st.ID != FenceID {
			out.Lasting = append(out.Lasting, st.ID)
		}
		if e := w.to(st.ID); st.Kind == failover.KindSwitch && (first || e.Takes < out.Moved.Takes) {
			out.Moved, first = e, false // one of them is enough
		}
	}
	out.Stable = w.to(StableID)
	return out
}

// ways finds the longest way to each step of a plan.
type ways struct {
	s     *failover.State
	p     *failover.Plan
	known map[failover.StepID]Estimate
}

func (w *ways) to(id failover.StepID) Estimate {
	if e, ok := w.known[id]; ok {
		return e
	}
	st := w.p.Step(id)
	if st == nil {
		return Estimate{}
	}
	w.known[id] = Estimate{} // a plan has no cycles; if it had, this ends
	var e Estimate
	later := func(before Estimate) {
		e.Takes = max(e.Takes, before.Takes)
		for _, u := range before.Unknown {
			if !slices.Contains(e.Unknown, u) {
				e.Unknown = append(e.Unknown, u)
			}
		}
	}
	for _, dep := range st.After {
		later(w.to(dep))
	}
	if len(st.AfterOne) > 0 { // the first of them is enough
		soonest := w.to(st.AfterOne[0])
		for _, dep := range st.AfterOne[1:] {
			if one := w.to(dep); one.Takes < soonest.Takes {
				soonest = one
			}
		}
		later(soonest)
	}
	usual, runs := w.s.Usual(id)
	switch {
	case st.Kind == failover.KindStable || st.Kind == failover.KindFreeze:
	case runs > 0:
		e.Takes += usual
	case id == FenceID && w.s.Settings != nil:
		e.Takes += failover.Duration(w.s.FreezeWait(w.p.From)) // until no lease can be valid any more
	case !slices.Contains(e.Unknown, id):
		e.Unknown = append(e.Unknown, id)
	}
	w.known[id] = e
	return e
}

// Lines are the price as a person reads it.
func (p Price) Lines() []string {
	var out []string
	lossy := false
	for _, s := range p.Stores {
		out = append(out, "lost of "+s.line(p.From))
		lossy = lossy || s.Brought == ""
	}
	if len(p.Stores) == 0 {
		out = append(out, "lost: not known, no store is watched (policy.max_loss names them)")
	}
	if p.Writes > 0 && lossy {
		out = append(out, fmt.Sprintf("lost as well if %s is only cut off, and not gone: what is written there from the failure until its writers' lease is over, %s after the first step at the latest", p.From, p.Writes.D().Round(time.Second)))
	}
	counted := false
	for _, c := range p.Counted {
		out = append(out, c.line(p.From))
		counted = counted || !c.Lost && c.Lacks == ""
	}
	if !counted {
		out = append(out, fmt.Sprintf("lost of messages: those that stand in queues of %s wait there until it is back; they are not counted (see.sqs.waiting names queues)", p.From))
	}
	out = append(out,
		"clients are led to "+string(p.To)+" "+p.Moved.text(), "stable "+p.Stable.text(),
		fmt.Sprintf("an abort takes back what was done until step %s is done; from then on the way back is a failback", p.Back))
	for _, id := range p.Lasting {
		out = append(out, fmt.Sprintf("nothing takes back step %s", id))
	}
	return out
}

func (s StorePrice) line(from failover.Region) string {
	if s.Brought != "" {
		return fmt.Sprintf("%s: nothing; step %s takes along what %s holds, after the fence, or a person is asked", s.Store, s.Brought, from)
	}
	limit := ""
	if s.Limit > 0 {
		limit = fmt.Sprintf("; automation accepts %s", s.Limit)
	}
	if s.Sampled.IsZero() {
		return s.Store + ": not known, there is no sample" + limit
	}
	text := fmt.Sprintf("%s: what was written in the last %s at most (%s, sampled %s before", s.Store, s.AtMost.D().Round(time.Second), s.Detail, s.Age.D().Round(time.Second))
	if s.Limit > 0 && s.AtMost > s.Limit {
		limit += ", which is less"
	}
	return text + ")" + limit
}

func (c CountedPrice) line(from failover.Region) string {
	if c.Lacks != "" {
		return fmt.Sprintf("at risk of %s: unknown how many %s in %s (tried %s before): %s", c.Component, c.Unit, c.Where, c.Age.D().Round(time.Second), c.Lacks)
	}
	counted := fmt.Sprintf("about %d %s in %s (counted %s before)", c.Items, c.Unit, c.Where, c.Age.D().Round(time.Second))
	if c.Lost {
		return fmt.Sprintf("at risk of %s: %s", c.Component, counted)
	}
	return fmt.Sprintf("out of reach of %s: %s; they wait in %s until it is back, as do those in queues that are not counted", c.Component, counted, from)
}

func (e Estimate) text() string {
	switch {
	case len(e.Unknown) == 0:
		return "about " + e.Takes.D().Round(time.Second).String() + " after the first step, by earlier runs"
	case e.Takes == 0:
		return "after a time that is not known: no step of the way has run here yet"
	}
	names := make([]string, 0, len(e.Unknown))
	for _, id := range e.Unknown {
		names = append(names, string(id))
	}
	more := ""
	if len(names) > 4 {
		names, more = names[:4], fmt.Sprintf(" and %d more", len(e.Unknown)-4)
	}
	return fmt.Sprintf("about %s after the first step, and what the steps take that have never run here: %s%s", e.Takes.D().Round(time.Second), strings.Join(names, ", "), more)
}
