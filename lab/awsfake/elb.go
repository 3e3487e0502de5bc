package awsfake

import (
	"encoding/xml"
	"fmt"
	"net/url"
	"slices"
	"strconv"
)

// TargetGroup is a group of targets and what the load balancer knows of them.
type TargetGroup struct {
	Name     string
	Port     int
	Attached bool // to a load balancer
	// Targets are asked for each time: the load balancer's own view.
	Targets func() []TargetState
}

// TargetState is a target and its state, in the API's words.
type TargetState struct {
	ID          string // an IP address
	Port        int
	State       string
	Reason      string
	Description string
}

// ELB imitates two reads of the Elastic Load Balancing API, version 2015-12-01. It makes nothing up: the states are those of the
// load balancer that really checks the targets.
//
//   - a healthy target has neither reason nor description; the reasons of the other states:
//     https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
//   - targets of a group that no load balancer uses are unused (Target.NotInUse), and so is a target that is asked for by name and is not
//     registered (Target.NotRegistered):
//     https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html#target-health-states
//   - a group that does not exist is the error TargetGroupNotFound with status 400:
//     https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetHealth.html#API_DescribeTargetHealth_Errors
type ELB struct {
	region string
	groups []TargetGroup
}

// NewELB makes the API of a region.
func NewELB(region string, groups ...TargetGroup) *ELB { return &ELB{region: region, groups: groups} }

func (e *ELB) arn(g TargetGroup) string {
	return fmt.Sprintf("arn:aws:elasticloadbalancing:%s:%s:targetgroup/%s/73e2d6bc24d8a067", e.region, AccountID, g.Name)
}

type xmlTargetGroup struct {
	ARN        string `xml:"TargetGroupArn"`
	Name       string `xml:"TargetGroupName"`
	Protocol   string `xml:"Protocol"`
	Port       int    `xml:"Port"`
	TargetType string `xml:"TargetType"`
}

type describeTargetGroupsResponse struct {
	XMLName xml.Name         `xml:"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/ DescribeTargetGroupsResponse"`
	Groups  []xmlTargetGroup `xml:"DescribeTargetGroupsResult>TargetGroups>member"`
	Request string           `xml:"ResponseMetadata>RequestId"`
}

type xmlTargetHealth struct {
	CheckPort   string `xml:"HealthCheckPort"`
	ID          string `xml:"Target>Id"`
	Port        int    `xml:"Target>Port"`
	State       string `xml:"TargetHealth>State"`
	Reason      string `xml:"TargetHealth>Reason,omitempty"`
	Description string `xml:"TargetHealth>Description,omitempty"`
}

type describeTargetHealthResponse struct {
	XMLName xml.Name          `xml:"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/ DescribeTargetHealthResponse"`
	Targets []xmlTargetHealth `xml:"DescribeTargetHealthResult>TargetHealthDescriptions>member"`
	Request string            `xml:"ResponseMetadata>RequestId"`
}

func (e *ELB) call(op string, body []byte) (any, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, badRequest("ValidationError", "%v", err)
	}
	switch op {
	case "DescribeTargetGroups":
		return e.describeGroups(form)
	case "DescribeTargetHealth":
		return e.describeHealth(form)
	}
	return nil, badRequest("InvalidAction", "The action %q is not valid for this web service.", op)
}

func (e *ELB) describeGroups(form url.Values) (any, error) {
	out := describeTargetGroupsResponse{Request: id(16)}
	var names []string
	for i := 1; form.Get(fmt.Sprintf("Names.member.%d", i)) != ""; i++ {
		names = append(names, form.Get(fmt.Sprintf("Names.member.%d", i)))
	}
	for _, n := range names {
		if !slices.ContainsFunc(e.groups, func(g TargetGroup) bool { return g.Name == n }) {
			return nil, badRequest("TargetGroupNotFound", "One or more target groups not found")
		}
	}
	for _, g := range e.groups {
		if len(names) == 0 || slices.Contains(names, g.Name) {
			out.Groups = append(out.Groups, xmlTargetGroup{ARN: e.arn(g), Name: g.Name, Protocol: "HTTP", Port: g.Port, TargetType: "ip"})
		}
	}
	return out, nil
}

func (e *ELB) describeHealth(form url.Values) (any, error) {
	i := slices.IndexFunc(e.groups, func(g TargetGroup) bool { return e.arn(g) == form.Get("TargetGroupArn") })
	if i < 0 {
		return nil, badRequest("TargetGroupNotFound", "One or more target groups not found")
	}
	g := e.groups[i]
	all := g.Targets()
	if asked := asked(form, g.Port); len(asked) > 0 {
		for i, a := range asked {
			if at := slices.IndexFunc(all, func(t TargetState) bool { return t.ID == a.ID && t.Port == a.Port }); at >= 0 {
				asked[i] = all[at]
			}
		}
		all = asked
	}
	out := describeTargetHealthResponse{Request: id(16)}
	for _, t := range all {
		if !g.Attached && t.Reason != "Target.NotRegistered" {
			t.State, t.Reason, t.Description = "unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer"
		}
		out.Targets = append(out.Targets, xmlTargetHealth{strconv.Itoa(t.Port), t.ID, t.Port, t.State, t.Reason, t.Description})
	}
	return out, nil
}

// asked are the targets that a call names, as they are described if they are not registered.
func asked(form url.Values, port int) (out []TargetState) {
	for i := 1; form.Get(fmt.Sprintf("Targets.member.%d.Id", i)) != ""; i++ {
		t := TargetState{ID: form.Get(fmt.Sprintf("Targets.member.%d.Id", i)), Port: port, State: "unused", Reason: "Target.NotRegistered", Description: "Target is not registered to the target group"}
		if p, err := strconv.Atoi(form.Get(fmt.Sprintf("Targets.member.%d.Port", i))); err == nil {
			t.Port = p
		}
		out = append(out, t)
	}
	return out
}
