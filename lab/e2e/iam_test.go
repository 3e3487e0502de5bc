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

// note keeps what the nodes of a test have called. With a configuration of its own, which acts by kinds that the example does
// not have, it is held against that one's policies at once, and counts for nothing else.
func note(c *harness.Cluster, own bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	ops := c.Ops(ctx)
	if own {
		allowed, err := allowedBy(c.Config)
		if err != nil {
			return err
		}
		seen := map[string]bool{}
		for op := range ops {
			seen[op] = true
		}
		if missing := notAllowed(seen, allowed); len(missing) > 0 {
			return fmt.Errorf("the policies of `failoverd iam` lack %v", missing)
		}
		return nil
	}
	called.Lock()
	defer called.Unlock()
	for op := range ops {
		called.ops[op] = true
	}
	return nil
}

// spare is what the policies allow and no test calls, with the reason.
var spare = map[string]string{
	"ecs:DescribeContainerInstances": "asked for tasks on EC2 instances; the lab's run on Fargate",
	"autoscaling:SuspendProcesses":   "the undo of a start, which only an abort before the fence makes",
	"ec2:StopInstances":              "the same of instances",
	"iam:PassRole":                   "no call of its own: UpdateSchedule hands the schedule's role on",
}

// The right to list objects has another name than the call, and the head of an object is read by the right to read it.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
const (
	listing, listed = "s3:ListObjectsV2", "s3:ListBucket"
	heading, headed = "s3:HeadObject", "s3:GetObject"
)

// free is what needs no permission.
var free = []string{"sts:GetCallerIdentity", "sts:AssumeRole"} // the role's own policy says who may take it on

// allowedBy are the operations that the policies for a configuration allow.
func allowedBy(config string) (map[string]bool, error) {
	allowed := map[string]bool{}
	for _, which := range []string{"observe", "act"} {
		out, err := exec.Command(failoverdBin, "iam", which, "--config", config).Output()
		if err != nil {
			return nil, err
		}
		var doc struct{ Statement []struct{ Action []string } }
		if err := json.Unmarshal(out, &doc); err != nil {
			return nil, err
		}
		for _, s := range doc.Statement {
			for _, a := range s.Action {
				allowed[a] = true
			}
		}
	}
	return allowed, nil
}

// notAllowed are the operations that lack their permission.
func notAllowed(ops, allowed map[string]bool) (missing []string) {
	for op := range ops {
		action := strings.TrimSuffix(op, "Batch") // DeleteMessageBatch is allowed as DeleteMessage
		switch op {
		case listing:
			action = listed
		case heading:
			action = headed
		}
		if !allowed[action] && !slices.Contains(free, op) {
			missing = append(missing, op)
		}
	}
	slices.Sort(missing)
	return missing
}

// compareIAM holds the policies that failoverd prints for the example against the calls of all tests: nothing is missing, and
// nothing is there that is not called.
func compareIAM() error {
	allowed, err := allowedBy("../../config.toml.example")
	if err != nil {
		return err
	}
	missing, needless := notAllowed(called.ops, allowed), []string(nil)
	for action := range allowed {
		if !called.ops[action] && !called.ops[action+"Batch"] && !(action == listed && called.ops[listing]) && spare[action] == "" {
			needless = append(needless, action)
		}
	}
	slices.Sort(needless)
	if len(missing)+len(needless) > 0 {
		return fmt.Errorf("missing: %v; allowed and never called: %v", missing, needless)
	}
	return nil
}
