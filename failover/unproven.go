package failover

// Unproven lists the fenced components that still lack evidence.
func (e *Execution) Unproven(freeze uint64) []FencedComponent {
	var out []FencedComponent
	for _, f := range e.Plan.Fenced {
		if e.AcceptedEvidence(f, freeze) == nil {
			out = append(out, f)
		}
	}
	return out
}
