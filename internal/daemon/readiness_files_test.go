package daemon

import (
	"fmt"
	"strings"
	"testing"

	"github.com/failoverd/failoverd/failover"
)

// Files that name other nodes than there are are told; where all that are left are needed,
// the next loss would stop workers, and that is not ready.
func TestFileRows(t *testing.T) {
	members := map[failover.NodeID]failover.NodeSpec{"a": {}, "b": {}, "c": {}}
	for _, tt := range []struct {
		name  string
		files map[failover.AgentID][]failover.NodeID
		want  string // OK and Advice; "" for no row
		says  string
	}{
		{"nobody was heard", nil, "", ""},
		{"as they should be", map[failover.AgentID][]failover.NodeID{"w1": {"a", "b", "c"}, "w2": {"c", "b", "a"}}, "true false", "all 2 agents know the 3 nodes that there are"},
		{"one that is not known yet", map[failover.AgentID][]failover.NodeID{"w1": {"a", "b"}}, "false false", "w1 does not know c: its lease takes 2 of the 2 that there are."},
		{"one was replaced", map[failover.AgentID][]failover.NodeID{"w1": {"a", "b", "old"}, "w2": {"a", "b", "c"}}, "false false", "w1 names old, of which the cluster knows nothing, and does not know c: its lease takes 2 of the 2 that there are. Give them"},
		{"two of five have gone", map[failover.AgentID][]failover.NodeID{"w1": {"a", "b", "c", "d", "e"}}, "false false", "w1 names d, e, of which the cluster knows nothing: its lease takes 3 of the 3"},
		{"one that is new", map[failover.AgentID][]failover.NodeID{"w1": {"b", "c"}, "w2": {"a", "b", "c"}}, "false false", "w1 does not know a: its lease takes 2 of the 2 that there are."},
	} {
		got, said := "", ""
		for _, r := range fileRows(&failover.State{Settings: &failover.Settings{Nodes: members}}, tt.files) {
			got, said = fmt.Sprintf("%t %t", r.OK, r.Advice), r.Detail
		}
		if got != tt.want || !strings.Contains(said, tt.says) {
			t.Errorf("%s: %q, %q", tt.name, got, said)
		}
	}
	five := map[failover.NodeID]failover.NodeSpec{"a": {}, "b": {}, "c": {}, "d": {}, "e": {}}
	if r := fileRows(&failover.State{Settings: &failover.Settings{Nodes: five}}, map[failover.AgentID][]failover.NodeID{"w1": {"a", "b", "c"}})[0]; r.OK || !r.Advice {
		t.Errorf("with one to spare: %+v", r)
	}
	many := map[failover.AgentID][]failover.NodeID{}
	for i := range 9 {
		many[failover.AgentID(fmt.Sprintf("w%d", i))] = []failover.NodeID{"a"}
	}
	if said := fileRows(&failover.State{Settings: &failover.Settings{Nodes: members}}, many)[0].Detail; !strings.Contains(said, "; and 6 more. Give them") {
		t.Errorf("of many: %q", said)
	}
}
