package awsfake

import (
	"encoding/xml"
	"fmt"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ASGroup is an Auto Scaling group at the beginning.
type ASGroup struct {
	Name     string   `json:"name"`
	Min      int      `json:"min"`
	Max      int      `json:"max"`
	Desired  int      `json:"desired"`
	Zones    []string `json:"zones"`    // launches take turns
	WarmPool int      `json:"warmPool"` // stopped instances in it
	Asleep   bool     `json:"asleep"`   // Launch is suspended
	Subnets  []string `json:"subnets"`  // only told, in VPCZoneIdentifier
	Template string   `json:"template"` // ID of a launch template; "": none is told of
}

// ASGOptions set up the Auto Scaling groups of a region.
type ASGOptions struct {
	Region string
	Groups []ASGroup
	Launch time.Duration // from Pending to InService
	End    time.Duration // from Terminating to gone
	// Short is asked before a launch whether a zone has capacity; a non-empty answer is the error. Nil: always.
	Short func(zone string) string
}

// AutoScaling imitates EC2 Auto Scaling, as far as a failover asks of it: a call is accepted at once, and what comes of it is
// seen in the instances and the scaling activities.
//
//   - "If Launch or Terminate is suspended …" the group keeps its size whatever the desired capacity:
//     https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-suspend-resume-processes.html
//   - UpdateAutoScalingGroup succeeds although nothing can be launched; the failure is an activity:
//     https://docs.aws.amazon.com/autoscaling/ec2/userguide/CHAP_Troubleshooting.html
//   - an instance that is protected from scale-in is not terminated by it:
//     https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-instance-protection.html
//
// It is safe for concurrent use. Instances are records; nothing runs in them.
type AutoScaling struct {
	opt ASGOptions

	mu     sync.Mutex
	groups map[string]*asGroup
	serial int
}

type asGroup struct {
	ASGroup
	suspended  []string
	instances  []*asInstance
	activities []asActivity
	turn       int
	retryAt    time.Time
}

type asInstance struct {
	id, zone  string
	state     string
	since     time.Time
	protected bool
}

type asActivity struct {
	ID      string    `xml:"ActivityId"`
	Group   string    `xml:"AutoScalingGroupName"`
	Cause   string    `xml:"Cause"`
	Text    string    `xml:"Description"`
	Start   time.Time `xml:"StartTime"`
	Code    string    `xml:"StatusCode"`
	Message string    `xml:"StatusMessage,omitempty"`
}

// NewAutoScaling makes the groups, with their instances in service.
func NewAutoScaling(o ASGOptions) *AutoScaling {
	a := &AutoScaling{opt: o, groups: map[string]*asGroup{}}
	for _, g := range o.Groups {
		group := &asGroup{ASGroup: g}
		if g.Asleep {
			group.suspended = []string{"Launch"}
		}
		for range g.Desired {
			a.serial++
			group.instances = append(group.instances, &asInstance{id: a.id(), zone: g.Zones[a.serial%len(g.Zones)], state: "InService", since: time.Now()})
		}
		a.groups[g.Name] = group
	}
	return a
}

func (a *AutoScaling) id() string {
	return fmt.Sprintf("i-%s%04d", strings.ReplaceAll(a.opt.Region, "-", ""), a.serial)
}

// Protect protects the instances of a group from scale-in.
func (a *AutoScaling) Protect(group string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, i := range a.groups[group].instances {
		i.protected = true
	}
}

// Size is how many instances of a group exist, and how many serve.
func (a *AutoScaling) Size(group string) (all, serving int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.groups[group]
	a.settle(g)
	for _, i := range g.instances {
		if i.state == "InService" {
			serving++
		}
	}
	return len(g.instances), serving
}

// settle lets what is under way go on: it is called before every look.
func (a *AutoScaling) settle(g *asGroup) {
	now := time.Now()
	off := func(p string) bool { return slices.Contains(g.suspended, p) }
	g.instances = slices.DeleteFunc(g.instances, func(i *asInstance) bool { return i.state == "Terminating" && now.Sub(i.since) >= a.opt.End })
	alive := 0
	for _, i := range g.instances {
		if i.state == "Pending" && now.Sub(i.since) >= a.opt.Launch {
			i.state, i.since = "InService", now
		}
		if i.state != "Terminating" {
			alive++
		}
	}
	for n := alive; n > g.Desired && !off("Terminate"); n-- {
		// The newest goes first, unless it is protected.
		for _, i := range slices.Backward(g.instances) {
			if i.state != "Terminating" && !i.protected {
				i.state, i.since = "Terminating", now
				break
			}
		}
	}
	for n := alive; n < g.Desired && !off("Launch") && now.After(g.retryAt); n++ {
		zone := g.Zones[g.turn%len(g.Zones)]
		g.turn++
		act := asActivity{ID: id(16), Group: g.Name, Start: now.UTC(), Code: "Successful", Text: "Launching a new EC2 instance",
			Cause: fmt.Sprintf("an instance was started in response to a difference between desired and actual capacity, increasing the capacity from %d to %d", n, n+1)}
		if a.opt.Short != nil {
			if why := a.opt.Short(zone); why != "" {
				act.Code, act.Message = "Failed", why
				g.retryAt = now.Add(a.opt.Launch / 2) // then it tries the next zone
			}
		}
		g.activities = append([]asActivity{act}, g.activities...)
		if act.Code == "Failed" {
			break
		}
		a.serial++
		g.instances = append(g.instances, &asInstance{id: a.id(), zone: zone, state: "Pending", since: now})
	}
}

const asNS = "http://autoscaling.amazonaws.com/doc/2011-01-01/"

type asInstanceXML struct {
	ID        string `xml:"InstanceId"`
	Zone      string `xml:"AvailabilityZone"`
	State     string `xml:"LifecycleState"`
	Health    string `xml:"HealthStatus"`
	Protected bool   `xml:"ProtectedFromScaleIn"`
}

type asGroupXML struct {
	Name      string          `xml:"AutoScalingGroupName"`
	Min       int             `xml:"MinSize"`
	Max       int             `xml:"MaxSize"`
	Desired   int             `xml:"DesiredCapacity"`
	Zones     []string        `xml:"AvailabilityZones>member"`
	Instances []asInstanceXML `xml:"Instances>member"`
	Subnets   string          `xml:"VPCZoneIdentifier,omitempty"`
	Template  *asTemplateXML  `xml:"LaunchTemplate,omitempty"`
	Suspended []struct {
		Name string `xml:"ProcessName"`
	} `xml:"SuspendedProcesses>member"`
	Warm *struct {
		Status string `xml:"PoolState"`
	} `xml:"WarmPoolConfiguration,omitempty"`
}

type asTemplateXML struct {
	ID      string `xml:"LaunchTemplateId"`
	Version string `xml:"Version"`
}

func (g *asGroup) view() asGroupXML {
	out := asGroupXML{Name: g.Name, Min: g.Min, Max: g.Max, Desired: g.Desired, Zones: g.Zones, Subnets: strings.Join(g.Subnets, ",")}
	if g.Template != "" {
		out.Template = &asTemplateXML{g.Template, "1"}
	}
	for _, i := range g.instances {
		out.Instances = append(out.Instances, asInstanceXML{i.id, i.zone, i.state, "Healthy", i.protected})
	}
	for _, s := range g.suspended {
		out.Suspended = append(out.Suspended, struct {
			Name string `xml:"ProcessName"`
		}{s})
	}
	if g.WarmPool > 0 {
		out.Warm = &struct {
			Status string `xml:"PoolState"`
		}{"Stopped"}
	}
	return out
}

// members reads a list parameter.
func members(v url.Values, name string) (out []string) {
	for i := 1; v.Get(fmt.Sprintf("%s.member.%d", name, i)) != ""; i++ {
		out = append(out, v.Get(fmt.Sprintf("%s.member.%d", name, i)))
	}
	return out
}

// processes are all that can be suspended.
var processes = []string{"Launch", "Terminate", "AddToLoadBalancer", "AlarmNotification", "AZRebalance", "HealthCheck", "InstanceRefresh", "ReplaceUnhealthy", "ScheduledActions"}

func (a *AutoScaling) call(op string, body []byte) (any, error) {
	v, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, badRequest("ValidationError", "%v", err)
	}
	name := xml.Name{Space: asNS, Local: op + "Response"}
	a.mu.Lock()
	defer a.mu.Unlock()
	if op == "DescribeAutoScalingGroups" {
		out := struct {
			XMLName xml.Name
			Groups  []asGroupXML `xml:"DescribeAutoScalingGroupsResult>AutoScalingGroups>member"`
		}{XMLName: name}
		wanted := members(v, "AutoScalingGroupNames")
		for _, g := range a.groups {
			if len(wanted) == 0 || slices.Contains(wanted, g.Name) {
				a.settle(g)
				out.Groups = append(out.Groups, g.view())
			}
		}
		sort.Slice(out.Groups, func(i, j int) bool { return out.Groups[i].Name < out.Groups[j].Name })
		return out, nil
	}
	g := a.groups[v.Get("AutoScalingGroupName")]
	if g == nil {
		return nil, badRequest("ValidationError", "AutoScalingGroup name not found - null")
	}
	a.settle(g)
	done := struct{ XMLName xml.Name }{name}
	switch op {
	case "UpdateAutoScalingGroup":
		return done, g.update(v)
	case "SuspendProcesses", "ResumeProcesses":
		list := members(v, "ScalingProcesses")
		if len(list) == 0 { // "If you omit this property, all processes are specified."
			list = processes
		}
		for _, p := range list {
			if !slices.Contains(processes, p) {
				return nil, badRequest("ValidationError", "%s is not a valid process type", p)
			}
		}
		g.suspended = slices.DeleteFunc(g.suspended, func(p string) bool { return slices.Contains(list, p) })
		if op == "SuspendProcesses" {
			g.suspended = append(g.suspended, list...)
		}
		return done, nil
	case "SetInstanceProtection":
		ids := members(v, "InstanceIds")
		for _, id := range ids {
			if !slices.ContainsFunc(g.instances, func(i *asInstance) bool { return i.id == id }) {
				return nil, badRequest("ValidationError", "The instance %s is not part of Auto Scaling group %s.", id, g.Name)
			}
		}
		for _, i := range g.instances {
			if slices.Contains(ids, i.id) {
				i.protected = v.Get("ProtectedFromScaleIn") == "true"
			}
		}
		return struct {
			XMLName xml.Name
			Result  struct{} `xml:"SetInstanceProtectionResult"`
		}{XMLName: name}, nil
	case "DescribeScalingActivities":
		return struct {
			XMLName    xml.Name
			Activities []asActivity `xml:"DescribeScalingActivitiesResult>Activities>member"`
		}{name, g.activities[:min(len(g.activities), 20)]}, nil
	case "DescribeWarmPool":
		out := struct {
			XMLName   xml.Name
			Instances []asInstanceXML `xml:"DescribeWarmPoolResult>Instances>member"`
		}{XMLName: name}
		for i := range g.WarmPool {
			out.Instances = append(out.Instances, asInstanceXML{ID: fmt.Sprintf("i-warm%d", i), State: "Warmed:Stopped", Health: "Healthy"})
		}
		return out, nil
	}
	return nil, badRequest("InvalidAction", "The action %q is not valid for this web service.", op)
}

// update checks sizes against each other as AWS does: "desired capacity must be greater than or equal to the minimum size and
// less than or equal to the maximum size".
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_UpdateAutoScalingGroup.html
func (g *asGroup) update(v url.Values) error {
	next := g.ASGroup
	for key, into := range map[string]*int{"MinSize": &next.Min, "MaxSize": &next.Max, "DesiredCapacity": &next.Desired} {
		if s := v.Get(key); s != "" {
			n, err := strconv.Atoi(s)
			if err != nil {
				return badRequest("ValidationError", "%s: %s", key, s)
			}
			*into = n
		}
	}
	switch {
	case next.Min > next.Max:
		return badRequest("ValidationError", "Max bound, %d, must be greater than or equal to min bound, %d", next.Max, next.Min)
	case next.Desired > next.Max:
		return badRequest("ValidationError", "Desired capacity:%d must be between the specified min size:%d and max size:%d", next.Desired, next.Min, next.Max)
	case next.Desired < next.Min && v.Get("DesiredCapacity") != "":
		return badRequest("ValidationError", "Desired capacity:%d must be between the specified min size:%d and max size:%d", next.Desired, next.Min, next.Max)
	case next.Desired < next.Min:
		next.Desired = next.Min // "sets the group's desired capacity to the new minimum size"
	}
	g.ASGroup = next
	return nil
}
