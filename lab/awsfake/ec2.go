package awsfake

import (
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
)

// EC2Instance is an instance at the beginning.
type EC2Instance struct {
	ID        string            `json:"id"`
	Zone      string            `json:"zone"`
	Tags      map[string]string `json:"tags"`
	Running   bool              `json:"running"`
	Protected bool              `json:"protected"` // from being stopped through the API
}

// EC2Options set up the instances of a region.
type EC2Options struct {
	Instances []EC2Instance
	Start     time.Duration // from pending to running
	Checks    time.Duration // from running to the first status checks that pass
	Stop      time.Duration // from stopping to stopped
	// Short is asked before an instance starts whether its zone has capacity; a non-empty answer is the error. Nil: always.
	Short func(zone string) string
	// Peerings are the VPC peering connections that the region sees. Faults of the service "peering", with an ID as their target,
	// say that one was deleted (error); nil: none.
	Peerings []Peering
	Faults   *faults.Set
	// Subnets and Templates are those that exist; templates by ID. Nothing is launched from them.
	Subnets   []Subnet
	Templates []string
	// ACLs are the network ACLs. Lag is how far what is told of them is behind.
	ACLs []NetworkACL
	Lag  time.Duration
	// OnACL is told of each change of a subnet's ACL, and whether the new one denies everything: the network follows at once, since
	// AWS names no delay. Nil: no network follows.
	OnACL func(subnet string, denies bool)
	// Groups are the Auto Scaling groups whose members are instances as well; nil: none.
	Groups *AutoScaling
}

// EC2 imitates the instances of a region, as far as a failover asks of them. Nothing runs in them.
//
//   - a call answers with the state that follows at once, pending or stopping, and the rest takes its time:
//     https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
//   - one that is started needs capacity again, and one for which there is none makes the request fail as a whole:
//     https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html
//   - what is neither stopped nor running is refused with IncorrectInstanceState, what does not exist with
//     InvalidInstanceID.NotFound, what is protected with OperationNotPermitted:
//     https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
//     The lifecycle knows no way from pending to stopping.
//   - status checks are initializing after a start, and only running instances have any:
//     https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceStatus.html
//   - a member of an Auto Scaling group that is stopped counts as unhealthy and is replaced:
//     https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-health-checks.html
//
// It is safe for concurrent use.
type EC2 struct {
	opt EC2Options

	mu        sync.Mutex
	instances []*ec2Instance
	assoc     map[string]*aclAssociation // by subnet
}

type ec2Instance struct {
	EC2Instance
	state  string
	since  time.Time
	reason string // code of the last change
}

// NewEC2 makes the instances, those that run with their status checks passed.
func NewEC2(o EC2Options) *EC2 {
	e := &EC2{opt: o, assoc: map[string]*aclAssociation{}}
	for _, s := range o.Subnets {
		e.assoc[s.ID] = &aclAssociation{id: "aclassoc-" + id(8), acl: s.ACL}
	}
	for _, i := range o.Instances {
		state := "stopped"
		if i.Running {
			state = "running"
		}
		e.instances = append(e.instances, &ec2Instance{EC2Instance: i, state: state, since: time.Now().Add(-time.Hour)})
	}
	return e
}

// States are the instances' states by id, members of groups left out.
func (e *EC2) States() map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settle()
	out := map[string]string{}
	for _, i := range e.instances {
		out[i.ID] = i.state
	}
	return out
}

// settle lets what is under way go on: it is called before every look.
func (e *EC2) settle() {
	for _, i := range e.instances {
		switch gone := time.Since(i.since); {
		case i.state == "pending" && gone >= e.opt.Start:
			i.state, i.since = "running", i.since.Add(e.opt.Start)
		case i.state == "stopping" && gone >= e.opt.Stop:
			i.state, i.since = "stopped", i.since.Add(e.opt.Stop)
		}
	}
}

// ec2Codes are the numbers of the states.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceState.html
var ec2Codes = map[string]int{"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}

const ec2NS = "http://ec2.amazonaws.com/doc/2016-11-15/"

type ec2StateXML struct {
	Code int    `xml:"code"`
	Name string `xml:"name"`
}

type ec2TagXML struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

type ec2InstanceXML struct {
	ID     string      `xml:"instanceId"`
	State  ec2StateXML `xml:"instanceState"`
	Zone   string      `xml:"placement>availabilityZone"`
	Reason *struct {
		Code    string `xml:"code"`
		Message string `xml:"message"`
	} `xml:"stateReason,omitempty"`
	Tags []ec2TagXML `xml:"tagSet>item"`
}

type ec2StatusXML struct {
	ID       string      `xml:"instanceId"`
	Zone     string      `xml:"availabilityZone"`
	State    ec2StateXML `xml:"instanceState"`
	System   string      `xml:"systemStatus>status"`
	Instance string      `xml:"instanceStatus>status"`
}

type ec2ChangeXML struct {
	ID  string      `xml:"instanceId"`
	Now ec2StateXML `xml:"currentState"`
	Was ec2StateXML `xml:"previousState"`
}

// numbered reads a list parameter of the EC2 Query protocol: Name.1, Name.2, …
func numbered(v url.Values, name string) (out []string) {
	for i := 1; v.Get(fmt.Sprintf("%s.%d", name, i)) != ""; i++ {
		out = append(out, v.Get(fmt.Sprintf("%s.%d", name, i)))
	}
	return out
}

// all are the instances of the region, members of groups included.
func (e *EC2) all() []*ec2Instance {
	out := slices.Clone(e.instances)
	if e.opt.Groups != nil {
		out = append(out, e.opt.Groups.members()...)
	}
	return out
}

// selected are the instances that a request names.
func (e *EC2) selected(v url.Values) ([]*ec2Instance, error) {
	all, ids := e.all(), numbered(v, "InstanceId")
	for _, id := range ids {
		if !slices.ContainsFunc(all, func(i *ec2Instance) bool { return i.ID == id }) {
			return nil, badRequest("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
		}
	}
	all = slices.DeleteFunc(all, func(i *ec2Instance) bool { return len(ids) > 0 && !slices.Contains(ids, i.ID) })
	for n := 1; v.Get(fmt.Sprintf("Filter.%d.Name", n)) != ""; n++ {
		name, values := v.Get(fmt.Sprintf("Filter.%d.Name", n)), numbered(v, fmt.Sprintf("Filter.%d.Value", n))
		tag, isTag := strings.CutPrefix(name, "tag:")
		if !isTag && name != "instance-state-name" {
			return nil, badRequest("InvalidParameterValue", "The filter '%s' is invalid", name)
		}
		all = slices.DeleteFunc(all, func(i *ec2Instance) bool {
			if isTag {
				return !slices.Contains(values, i.Tags[tag])
			}
			return !slices.Contains(values, i.state)
		})
	}
	return all, nil
}

func (e *EC2) call(op string, body []byte) (any, error) {
	v, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, badRequest("InvalidParameterValue", "%v", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settle()
	name := xml.Name{Space: ec2NS, Local: op + "Response"}
	if op == "DescribeVpcPeeringConnections" {
		return e.peerings(name, numbered(v, "VpcPeeringConnectionId"))
	}
	switch op {
	case "DescribeSubnets":
		return e.subnets(name, v)
	case "DescribeNetworkAcls":
		return e.acls(name, v)
	case "ReplaceNetworkAclAssociation":
		return e.replaceACL(name, v)
	case "RunInstances":
		return nil, e.run(v)
	}
	some, err := e.selected(v)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(op, "St") && v.Get("DryRun") == "true" {
		return nil, &Error{Status: http.StatusPreconditionFailed, Code: "DryRunOperation", Message: "Request would have succeeded, but DryRun flag is set."}
	}
	switch op {
	case "DescribeInstances":
		type reservation struct {
			Instances []ec2InstanceXML `xml:"instancesSet>item"`
		}
		out := struct {
			XMLName      xml.Name
			Reservations []reservation `xml:"reservationSet>item"`
		}{XMLName: name}
		for _, i := range some {
			out.Reservations = append(out.Reservations, reservation{[]ec2InstanceXML{i.view()}})
		}
		return out, nil
	case "DescribeInstanceStatus":
		out := struct {
			XMLName  xml.Name
			Statuses []ec2StatusXML `xml:"instanceStatusSet>item"`
		}{XMLName: name}
		for _, i := range some {
			if i.state != "running" { // unless IncludeAllInstances is set
				continue
			}
			status := "ok"
			if time.Since(i.since) < e.opt.Checks {
				status = "initializing"
			}
			out.Statuses = append(out.Statuses, ec2StatusXML{i.ID, i.Zone, i.stateXML(), status, status})
		}
		return out, nil
	case "StartInstances", "StopInstances":
		if len(numbered(v, "InstanceId")) == 0 {
			return nil, badRequest("MissingParameter", "The request must contain the parameter InstanceId")
		}
		out := struct {
			XMLName xml.Name
			Changes []ec2ChangeXML `xml:"instancesSet>item"`
		}{XMLName: name}
		if err := e.change(op == "StartInstances", some, &out.Changes); err != nil {
			return nil, err
		}
		return out, nil
	}
	return nil, badRequest("InvalidAction", "The action %s is not valid for this web service.", op)
}

func (i *ec2Instance) stateXML() ec2StateXML { return ec2StateXML{ec2Codes[i.state], i.state} }

func (i *ec2Instance) view() ec2InstanceXML {
	out := ec2InstanceXML{ID: i.ID, State: i.stateXML(), Zone: i.Zone}
	for _, k := range slices.Sorted(maps.Keys(i.Tags)) {
		out.Tags = append(out.Tags, ec2TagXML{k, i.Tags[k]})
	}
	if i.reason != "" {
		out.Reason = &struct {
			Code    string `xml:"code"`
			Message string `xml:"message"`
		}{i.reason, i.reason}
	}
	return out
}

// change starts or stops all of some, or none.
func (e *EC2) change(on bool, some []*ec2Instance, out *[]ec2ChangeXML) error {
	for _, i := range some {
		switch {
		case on && i.state != "stopped" && i.state != "running" && i.state != "pending":
			return badRequest("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be started.", i.ID)
		case !on && (i.state == "pending" || i.state == "shutting-down" || i.state == "terminated"):
			return badRequest("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be stopped.", i.ID)
		case !on && i.Protected:
			return badRequest("OperationNotPermitted", "The instance '%s' may not be stopped. Modify its 'disableApiStop' instance attribute and try again.", i.ID)
		case on && i.state == "stopped" && e.opt.Short != nil:
			if why := e.opt.Short(i.Zone); why != "" {
				return shortage(why)
			}
		}
	}
	for _, i := range some {
		was := i.stateXML()
		switch {
		case on && i.state == "stopped":
			i.state, i.since, i.reason = "pending", time.Now(), ""
		case !on && i.state == "running":
			i.state, i.since, i.reason = "stopping", time.Now(), "Client.UserInitiatedShutdown"
			if i.Tags[groupTag] != "" {
				e.opt.Groups.unhealthy(i.ID)
			}
		}
		*out = append(*out, ec2ChangeXML{i.ID, i.stateXML(), was})
	}
	return nil
}

// shortage is the error that a message of a failed launch stands for.
func shortage(message string) *Error {
	if strings.Contains(message, "VcpuLimitExceeded") {
		return badRequest("VcpuLimitExceeded", "%s", message)
	}
	return &Error{Status: http.StatusInternalServerError, Code: "InsufficientInstanceCapacity", Message: message}
}

// groupTag is how EC2 Auto Scaling marks the instances of a group.
const groupTag = "aws:autoscaling:groupName"

// members are the instances of all groups.
func (a *AutoScaling) members() (out []*ec2Instance) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(a.groups)) {
		g := a.groups[name]
		a.settle(g)
		for _, i := range g.instances {
			state := map[string]string{"Pending": "pending", "InService": "running", "Terminating": "shutting-down"}[i.state]
			out = append(out, &ec2Instance{EC2Instance: EC2Instance{ID: i.id, Zone: i.zone, Tags: map[string]string{groupTag: name}}, state: state, since: i.since})
		}
	}
	return out
}

// unhealthy ends an instance that its group finds stopped, unless the group does not look or does not replace.
func (a *AutoScaling) unhealthy(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range a.groups {
		if slices.Contains(g.suspended, "HealthCheck") || slices.Contains(g.suspended, "ReplaceUnhealthy") {
			continue
		}
		for _, i := range g.instances {
			if i.id == id && i.state != "Terminating" {
				i.state, i.since = "Terminating", time.Now()
			}
		}
	}
}
