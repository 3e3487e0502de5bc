package awsfake

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
)

// Subnet is a subnet of the region. Free counts the addresses that nobody has; nothing that is launched here takes one.
type Subnet struct {
	ID   string `json:"id"`
	Zone string `json:"zone"`
	Free int    `json:"free"`
	CIDR string `json:"cidr,omitempty"`
	ACL  string `json:"acl,omitempty"` // its network ACL at the beginning, one of NetworkACLs
}

func (e *EC2) subnet(id string) *Error {
	if !slices.ContainsFunc(e.opt.Subnets, func(s Subnet) bool { return s.ID == id }) {
		return badRequest("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", id)
	}
	return nil
}

// subnets answers DescribeSubnets. An ID that does not exist makes the request fail; a filter finds what there is.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSubnets.html
func (e *EC2) subnets(name xml.Name, v url.Values) (any, error) {
	ids, filtered := numbered(v, "SubnetId"), []string(nil)
	switch f := v.Get("Filter.1.Name"); f {
	case "":
	case "subnet-id":
		filtered = numbered(v, "Filter.1.Value")
	default:
		return nil, badRequest("InvalidParameterValue", "The filter '%s' is invalid", f)
	}
	type item struct {
		ID   string `xml:"subnetId"`
		Zone string `xml:"availabilityZone"`
		Free int    `xml:"availableIpAddressCount"`
		CIDR string `xml:"cidrBlock,omitempty"`
		VPC  string `xml:"vpcId,omitempty"`
	}
	out := struct {
		XMLName xml.Name
		Subnets []item `xml:"subnetSet>item"`
	}{XMLName: name}
	for _, id := range ids {
		if err := e.subnet(id); err != nil {
			return nil, err
		}
	}
	for _, s := range e.opt.Subnets {
		if (len(ids) == 0 || slices.Contains(ids, s.ID)) && (filtered == nil || slices.Contains(filtered, s.ID)) {
			out.Subnets = append(out.Subnets, item{s.ID, s.Zone, s.Free, s.CIDR, e.vpcOf(s.ACL)})
		}
	}
	return out, nil
}

// run answers RunInstances, and only in a dry run. What is named must exist; whether the zone has capacity a dry run never tells.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
func (e *EC2) run(v url.Values) *Error {
	if id := v.Get("LaunchTemplate.LaunchTemplateId"); !slices.Contains(e.opt.Templates, id) {
		return badRequest("InvalidLaunchTemplateId.NotFound", "The specified launch template, with template ID %s, does not exist.", id)
	}
	if id := v.Get("SubnetId"); id != "" {
		if err := e.subnet(id); err != nil {
			return err
		}
	}
	if v.Get("DryRun") != "true" {
		return badRequest("UnsupportedOperation", "The lab launches instances through Auto Scaling alone.")
	}
	return &Error{Status: http.StatusPreconditionFailed, Code: "DryRunOperation", Message: "Request would have succeeded, but DryRun flag is set."}
}
