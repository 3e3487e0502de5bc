package plan

import "github.com/failoverd/failoverd/failover"

// DumpID is the step of a switchover that takes along what a component of the region that is left holds.
func DumpID(c failover.Component) failover.StepID { return failover.StepID("dump-" + string(c)) }

// addDump adds that step. It waits for the fence: before, somebody may still write. It is a start, of which only the component's own start
// waits, so that what needs nothing of it begins beside it.
func addDump(p *failover.Plan, c failover.Component, a failover.ActionSpec) (failover.StepID, error) {
	step, err := actionStep(string(DumpID(c)), failover.KindStart, a, p.To, defaultStartTimeout)
	if err != nil {
		return "", err
	}
	step.Component, step.After = c, []failover.StepID{FenceID}
	p.Steps = append(p.Steps, step)
	return step.ID, nil
}

// Dumps are the steps of a plan that take along what the region that is left holds.
func Dumps(p *failover.Plan) []failover.Step {
	var out []failover.Step
	for _, st := range p.Steps {
		if st.Kind == failover.KindStart && st.ID == DumpID(st.Component) {
			out = append(out, st)
		}
	}
	return out
}
