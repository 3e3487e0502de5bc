package actions

import (
	"net/url"
	"slices"

	"github.com/failoverd/failoverd/failover"
)

// Need is something that a step depends on: a part of a region, or of what is
// global.
type Need struct {
	What string `json:"what"`
	// Region is where it lies; "" for what lies in no single region.
	Region failover.Region `json:"region,omitempty"`
	// Latent marks a control plane that serves the whole world from one region:
	// a step that needs it can wait, if another one does its work.
	Latent bool `json:"latent,omitempty"`
}

func (n Need) String() string {
	if n.Region == "" {
		return n.What
	}
	return n.What + " in " + string(n.Region)
}

// needing is a Config that knows what it depends on. region is where it acts.
type needing interface {
	needs(region failover.Region) []Need
}

// Needs lists what a step's action depends on; nil if that is not known, as of a
// command.
func Needs(st failover.Step) []Need {
	if st.Action == "" || st.Kind == failover.KindCheck {
		return nil
	}
	c, err := Decode(st.Action, st.Version, st.Params)
	if err != nil {
		return nil
	}
	n, ok := c.(needing)
	if !ok {
		return nil
	}
	return n.needs(st.Region)
}

// NeedsOf is Needs of every step of a plan, as lines for a person.
func NeedsOf(p *failover.Plan) map[failover.StepID][]string {
	out := map[failover.StepID][]string{}
	for _, st := range p.Steps {
		for _, n := range Needs(st) {
			out[st.ID] = append(out[st.ID], n.String())
		}
	}
	return out
}

// route53Region is where the control plane of Route 53 lies, for public and
// private zones (AWS Fault Isolation Boundaries, appendix A).
const route53Region failover.Region = "us-east-1"

func (c *ECSServiceConfig) needs(r failover.Region) []Need {
	return []Need{{What: "the ECS API", Region: r}}
}

func (c *ASGConfig) needs(r failover.Region) []Need {
	need := []Need{{What: "the Auto Scaling API", Region: r}}
	if c.Count > 0 {
		need = append(need, Need{What: "EC2 capacity", Region: r})
	}
	return need
}

func (c *EC2InstancesConfig) needs(r failover.Region) []Need {
	need := []Need{{What: "the EC2 API", Region: r}}
	if c.Running { // a stopped instance has no claim to the place that it had
		need = append(need, Need{What: "EC2 capacity", Region: r})
	}
	return need
}

func (c *NACLConfig) needs(r failover.Region) []Need {
	return []Need{{What: "the EC2 API", Region: r}}
}

func (c *LambdaEventSourceConfig) needs(r failover.Region) []Need {
	return []Need{{What: "the Lambda API", Region: r}}
}

func (c *ScheduleConfig) needs(r failover.Region) []Need {
	var need []Need
	if len(c.Rules) > 0 {
		need = append(need, Need{What: "the EventBridge API", Region: r})
	}
	if len(c.Schedules) > 0 {
		need = append(need, Need{What: "the EventBridge Scheduler API", Region: r})
	}
	return need
}

func (c *KubernetesConfig) needs(r failover.Region) []Need {
	return []Need{{What: "the cluster's API server", Region: r}}
}

func (c *GateConfig) needs(failover.Region) []Need {
	return []Need{{What: "Route 53's health checkers and name servers (no control plane)"}}
}

func (c *HTTPCallConfig) needs(failover.Region) []Need {
	var out []Need
	for _, to := range []string{c.URL, c.Inspect} {
		if u, err := url.Parse(to); err == nil && !slices.Contains(out, Need{What: "what answers at " + u.Host}) {
			out = append(out, Need{What: "what answers at " + u.Host})
		}
	}
	return out
}

func (c *S3ObjectConfig) needs(failover.Region) []Need {
	return []Need{{What: "S3", Region: c.Region}, {What: "Route 53's health checkers and name servers (no control plane)"}}
}

func (c *MariaDBRestoreConfig) needs(r failover.Region) []Need {
	return []Need{{What: "S3", Region: r}, {What: "MariaDB at " + c.Servers[r], Region: r}}
}

func (c *MongoPromoteConfig) needs(r failover.Region) []Need {
	return []Need{{What: "MongoDB's members", Region: r}}
}

func (c *Route53WeightsConfig) needs(failover.Region) []Need {
	return []Need{{What: "Route 53's control plane", Region: route53Region, Latent: true}}
}
