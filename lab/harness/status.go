package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/failoverd/failoverd/lab/ctl"
)

// Status is what a node answers on its admin socket, as far as the demo and the tests look at it. It is what the daemon
// believes, and never what it is judged by.
type Status struct {
	Node string `json:"node"`
	Raft struct {
		State  string `json:"state"`
		Leader string `json:"leader"`
		Term   uint64 `json:"term"`
	} `json:"raft"`
	Mode        string            `json:"mode"`
	Config      string            `json:"config"`
	Epoch       uint64            `json:"epoch"`
	Active      string            `json:"active"`
	Traffic     string            `json:"traffic"`
	Condition   string            `json:"condition"`
	Sentence    string            `json:"sentence"`
	Views       []View            `json:"views"`
	HoldElapsed Duration          `json:"hold_elapsed"`
	Hold        Duration          `json:"hold"`
	FreezeAge   Duration          `json:"freeze_age"`
	FreezeWait  Duration          `json:"freeze_wait"`
	Progress    map[string]string `json:"progress"`
	LeaderError string            `json:"leader_error"`
	Freeze      *struct {
		Provisional bool `json:"provisional"`
	} `json:"freeze"`
	Incident *struct {
		ID      uint64 `json:"id"`
		Refusal string `json:"refusal"`
	} `json:"incident"`
	Holds []struct {
		Component string `json:"component"`
		Step      struct {
			Action string `json:"action"`
		} `json:"step"`
		Status string `json:"status"`
		Detail string `json:"detail"`
	} `json:"holds"`
	Execution *Execution `json:"execution"`
	Last      *Execution `json:"last_execution"`
	Pause     *struct {
		Until time.Time `json:"until"`
	} `json:"pause"`
	Agents []struct {
		ID      string `json:"id"`
		Region  string `json:"region"`
		Granted uint64 `json:"granted"`
		// Enforced says that the end of its lease stops its workers: by the request that was heard last.
		Enforced bool `json:"enforced"`
	} `json:"agents"`
	Members []struct {
		ID    string `json:"id"`
		Voted bool   `json:"voted"`
	} `json:"members"`
}

// View is what one vantage thinks of the active region.
type View struct {
	Vantage string `json:"vantage"`
	Inside  bool   `json:"inside"`
	Health  string `json:"health"`
	Why     string `json:"why"`
	Nodes   int    `json:"nodes"`
}

// Execution is one run of a plan.
type Execution struct {
	ID       uint64 `json:"id"`
	State    string `json:"state"`
	Outcome  string `json:"outcome"`
	Question *struct {
		Nonce    uint64    `json:"nonce"`
		Kind     string    `json:"kind"`
		Step     string    `json:"step"`
		Text     string    `json:"text"`
		Ways     []string  `json:"ways"`
		Deadline time.Time `json:"deadline"`
	} `json:"question"`
	Plan struct {
		Steps []struct {
			ID       string `json:"id"`
			Kind     string `json:"kind"`
			NoReturn bool   `json:"no_return"`
		} `json:"steps"`
		Fenced []struct {
			Component string   `json:"component"`
			Proof     []string `json:"proof"`
		} `json:"fenced"`
	} `json:"plan"`
	Steps    map[string]Step `json:"steps"`
	Evidence []struct {
		Component string `json:"component"`
		Class     string `json:"class"`
		Detail    string `json:"detail"`
		Void      string `json:"void"`
	} `json:"evidence"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
}

// Step is the journal of one step.
type Step struct {
	State    string `json:"state"`
	Detail   string `json:"detail"`
	Attempts []struct {
		Node       string    `json:"node"`
		StartedAt  time.Time `json:"started_at"`
		FinishedAt time.Time `json:"finished_at"`
	} `json:"attempts"`
}

// StepState is a step's state; "pending" if it has no record.
func (e *Execution) StepState(id string) string {
	if e == nil {
		return ""
	}
	if s, ok := e.Steps[id]; ok {
		return s.State
	}
	return "pending"
}

// Proven is the class of the evidence that a component has stopped; "" if there is none.
func (e *Execution) Proven(component string) (class, detail string) {
	for _, ev := range slices.Backward(e.Evidence) {
		if ev.Component == component && ev.Void == "" {
			return ev.Class, ev.Detail
		}
	}
	return "", ""
}

// Current is the running execution, or the last one.
func (s *Status) Current() *Execution {
	if s.Execution != nil {
		return s.Execution
	}
	return s.Last
}

// Duration is a duration as the daemon writes it, "1m30s".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// D is the time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// Status asks one node.
func (c *Cluster) Status(ctx context.Context, node string) (*Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var s Status
	if err := ctl.Dial(c.Socket(node)).Call(ctx, "GET", "/v1/status", nil, &s); err != nil {
		return nil, err
	}
	return &s, nil
}

// AnyStatus asks the nodes outside us-east-1 first and returns the first answer with the leader's view; failing that, any
// answer.
func (c *Cluster) AnyStatus(ctx context.Context) (*Status, error) {
	var second *Status
	var errs []string
	for _, n := range []string{"use2a", "use2b", "third", "use1a", "use1b"} {
		if p := c.Node(n); p == nil || p.Exited() {
			continue
		}
		nctx, cancel := context.WithTimeout(ctx, 1500*time.Millisecond)
		s, err := c.Status(nctx, n)
		cancel()
		switch {
		case err != nil:
			why := err.Error()
			if no, ok := errors.AsType[syscall.Errno](err); ok {
				why = no.Error() // which socket, and how it was asked, says nothing more
			}
			errs = append(errs, n+": "+why)
		case s.LeaderError == "":
			return s, nil
		case second == nil:
			second = s
		}
	}
	if second != nil {
		return second, nil
	}
	return nil, fmt.Errorf("no node answers: %s", strings.Join(errs, "; "))
}
