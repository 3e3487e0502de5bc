package daemon

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
)

// fileRows tells of agents whose files name other nodes than there are. An agent takes an
// answer with the words of a majority of the nodes in its file: those that are gone count
// against it, and where all that are left are needed, one more loss stops its workers.
func fileRows(st *failover.State, files map[failover.AgentID][]failover.NodeID) []admin.Row {
	const told = 3
	row := admin.Row{Name: "agents' files", OK: true, Advice: true}
	var lines []string
	for _, agent := range slices.Sorted(maps.Keys(files)) {
		var gone, missing []string
		for _, n := range files[agent] {
			if _, member := st.Settings.Nodes[n]; !member {
				gone = append(gone, string(n))
			}
		}
		for _, n := range slices.Sorted(maps.Keys(st.Settings.Nodes)) {
			if !slices.Contains(files[agent], n) {
				missing = append(missing, string(n))
			}
		}
		if len(gone)+len(missing) == 0 {
			continue
		}
		total := len(files[agent])
		left, need := total-len(gone), total/2+1
		row.OK = false
		row.Advice = row.Advice && left > need
		line := string(agent)
		if len(gone) > 0 {
			line += " names " + strings.Join(gone, ", ") + ", of which the cluster knows nothing"
		}
		if len(missing) > 0 {
			line += map[bool]string{true: ", and", false: ""}[len(gone) > 0] + " does not know " + strings.Join(missing, ", ")
		}
		lines = append(lines, fmt.Sprintf("%s: its lease takes %d of the %d that there are", line, need, left))
	}
	switch {
	case len(files) == 0:
		return nil
	case row.OK:
		row.Detail = fmt.Sprintf("all %d agents know the %d nodes that there are", len(files), len(st.Settings.Nodes))
	default:
		more := ""
		if len(lines) > told {
			more = fmt.Sprintf("; and %d more", len(lines)-told)
		}
		row.Detail = strings.Join(lines[:min(len(lines), told)], "; ") + more + ". Give them the file of now and reload them"
	}
	row.Advice = row.Advice && !row.OK
	return []admin.Row{row}
}
