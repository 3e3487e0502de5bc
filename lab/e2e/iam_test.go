package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/lab/harness"
)

// called are the operations that the nodes of all tests have called.
var called = struct {
	sync.Mutex
	ops map[string]bool
}{ops: map[string]bool{}}

func note(c *harness.Cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	ops := c.Ops(ctx)
	called.Lock()
	defer called.Unlock()
	for op := range ops {
		called.ops[op] = true
	}
}

// spare is what the policies allow and no test calls, with the reason.
var spare = map[string]string{
	"ecs:DescribeContainerInstances": "asked for tasks on EC2 instances; the lab's run on Fargate",
	"autoscaling:SuspendProcesses":   "the undo of a start, which only an abort before the fence makes",
	"ec2:StopInstances":              "the same of instances",
	"iam:PassRole":                   "no call of its own: UpdateSchedule hands the schedule's role on",
}

// The right to list objects has another name than the call.
const listing, listed = "s3:ListObjectsV2", "s3:ListBucket"

// free is what needs no permission.
var free = []string{"sts:GetCallerIdentity", "sts:AssumeRole"} // the role's own policy says who may take it on

// compareIAM holds the policies that failoverd prints for the example against the calls of all tests: nothing is missing, and
// nothing is there that is not called.
func compareIAM() error {
	allowed := map[string]bool{}
	for _, which := range []string{"observe", "act"} {
		out, err := exec.Command(failoverdBin, "iam", which, "--config", "../../config.toml.example").Output()
		if err != nil {
			return err
		}
		var doc struct{ Statement []struct{ Action []string } }
		if err := json.Unmarshal(out, &doc); err != nil {
			return err
		}
		for _, s := range doc.Statement {
			for _, a := range s.Action {
				allowed[a] = true
			}
		}
	}
	var missing, needless []string
	for op := range called.ops {
		action := strings.TrimSuffix(op, "Batch") // DeleteMessageBatch is allowed as DeleteMessage
		if op == listing {
			action = listed
		}
		if !allowed[action] && !slices.Contains(free, op) {
			missing = append(missing, op)
		}
	}
	for action := range allowed {
		if !called.ops[action] && !called.ops[action+"Batch"] && !(action == listed && called.ops[listing]) && spare[action] == "" {
			needless = append(needless, action)
		}
	}
	slices.Sort(missing)
	slices.Sort(needless)
	if len(missing)+len(needless) > 0 {
		return fmt.Errorf("missing: %v; allowed and never called: %v", missing, needless)
	}
	return nil
}
