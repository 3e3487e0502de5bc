package actions

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// Sight is what a survey saw of one step's resource.
type Sight struct {
	Step      failover.StepID `json:"step"`
	Region    failover.Region `json:"region"`
	OK        bool            `json:"ok"`
	Optional  bool            `json:"optional,omitempty"` // the plan goes on without it (on_error = "continue")
	Detail    string          `json:"detail"`
	Inventory int             `json:"inventory,omitempty"`
	// Token is the fencing token that stands at the resource; zero where none does, or
	// none can be read.
	Token uint64 `json:"-"`
	// Previous is what stands at the resource of a Rememberer.
	Previous json.RawMessage `json:"-"`
}

// Survey inspects what every step of a plan would change, and changes nothing:
// whether it can be read at all, and how much its selector matches. It is what
// readiness and the standby guard rest on.
func Survey(ctx context.Context, w World, p *failover.Plan, timeout time.Duration) []Sight {
	var steps []failover.Step
	for _, st := range p.Steps {
		if st.Action != "" && st.Kind != failover.KindCheck {
			steps = append(steps, st)
		}
	}
	out := make([]Sight, len(steps))
	var wg sync.WaitGroup
	for i, st := range steps {
		wg.Go(func() { out[i] = survey(ctx, w, st, timeout) })
	}
	wg.Wait()
	return out
}

func survey(ctx context.Context, w World, st failover.Step, timeout time.Duration) Sight {
	s := Sight{Step: st.ID, Region: st.Region, Optional: st.OnError == "continue"}
	action, err := w.Action(st)
	switch {
	case err != nil:
		s.Detail = err.Error()
		return s
	case action == nil:
		s.OK, s.Detail = true, "a person passes it"
		return s
	}
	cctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	eff, err := action.Inspect(cctx)
	if err != nil {
		s.Detail = err.Error()
		return s
	}
	s.OK, s.Detail, s.Inventory, s.Token = eff.State != Unknown && !eff.Recalled && eff.Lacks == "", eff.Detail, eff.Inventory, eff.Token
	if eff.Advice != "" {
		s.Detail += "; " + eff.Advice
	}
	if _, ok := action.(Rememberer); ok && !eff.Recalled {
		s.Previous = eff.Previous
	}
	return s
}

// Problems are the sights that stand in the way of entering a region. What
// cannot be seen of the region being left is no problem of the other, and what
// the plan goes on without (on_error = "continue") is none of the whole.
func Problems(p *failover.Plan, sights []Sight) []string {
	var out []string
	for _, s := range sights {
		st := p.Step(s.Step)
		if st != nil && !s.OK && st.Kind == failover.KindStart && !s.Optional {
			out = append(out, fmt.Sprintf("step %s: %s", s.Step, s.Detail))
		}
	}
	return out
}
