package daemon

import (
	"cmp"
	"fmt"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
)

// signalRows tells what this node sees of both regions beside their health: what must
// be seen to in time always, and a control plane that complains. A certificate that
// is about to run out where the clients would go is no failover that works.
func signalRows(active failover.Region, verdicts []failover.Verdict) []admin.Row {
	var out []admin.Row
	for _, v := range verdicts {
		for _, s := range v.Signals {
			if s.AtRisk != nil && s.AtRisk.Lacks != "" && s.Region == active {
				out = append(out, admin.Row{Name: fmt.Sprintf("%s in %s", s.AtRisk.Where, s.Region), Advice: true, Detail: s.AtRisk.Unit + " are not counted for the price: " + s.AtRisk.Lacks})
			}
			ill := s.Health == failover.Down || s.Health == failover.Degraded
			if s.Data() || s.Plane != failover.PlaneUpkeep && !ill {
				continue
			}
			row := admin.Row{Name: fmt.Sprintf("%s/%s in %s", s.Component, s.Kind, s.Region), OK: s.Health == failover.Healthy, Detail: cmp.Or(s.Detail, "nothing has been seen yet")}
			row.Advice = !row.OK && (s.Plane != failover.PlaneUpkeep || s.Health != failover.Down || s.Region == active)
			out = append(out, row)
		}
	}
	return out
}
