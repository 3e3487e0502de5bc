package awsfake

import (
	"encoding/xml"
	"net/url"
	"slices"
	"time"
)

// NetworkACL is a network ACL, with a rule that lets everything pass or without.
type NetworkACL struct {
	ID    string `json:"id"`
	VPC   string `json:"vpc"`
	Opens bool   `json:"opens"`
}

// aclAssociation is what a subnet has: exactly one ACL, and an association that is a new one after each change. What was is told for
// a while. https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
type aclAssociation struct {
	id, acl       string
	wasID, wasACL string
	changed       time.Time
}

// told is what a look sees by now.
func (a *aclAssociation) told(lag time.Duration) (id, acl string) {
	if a.wasID != "" && time.Since(a.changed) < lag {
		return a.wasID, a.wasACL
	}
	return a.id, a.acl
}

func (e *EC2) vpcOf(acl string) string {
	for _, a := range e.opt.ACLs {
		if a.ID == acl {
			return a.VPC
		}
	}
	return ""
}

type aclEntryXML struct {
	Rule   int    `xml:"ruleNumber"`
	Action string `xml:"ruleAction"`
	Out    bool   `xml:"egress"`
	CIDR   string `xml:"cidrBlock"`
}

type aclAssociationXML struct {
	ID     string `xml:"networkAclAssociationId"`
	ACL    string `xml:"networkAclId"`
	Subnet string `xml:"subnetId"`
}

type aclXML struct {
	ID           string              `xml:"networkAclId"`
	VPC          string              `xml:"vpcId"`
	Entries      []aclEntryXML       `xml:"entrySet>item"`
	Associations []aclAssociationXML `xml:"associationSet>item"`
}

// acls answers DescribeNetworkAcls. Every ACL ends with a rule that denies the rest, which cannot be taken out, and one that was just
// created has no other. The filter gives whole ACLs, the other subnets of each included.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkAcls.html
// https://docs.aws.amazon.com/vpc/latest/userguide/custom-network-acl.html
func (e *EC2) acls(name xml.Name, v url.Values) (any, error) {
	ids, subnets := numbered(v, "NetworkAclId"), []string(nil)
	for _, id := range ids {
		if e.vpcOf(id) == "" {
			return nil, badRequest("InvalidNetworkAclID.NotFound", "The networkAcl ID '%s' does not exist", id)
		}
	}
	switch f := v.Get("Filter.1.Name"); f {
	case "":
	case "association.subnet-id":
		subnets = numbered(v, "Filter.1.Value")
	default:
		return nil, badRequest("InvalidParameterValue", "The filter '%s' is invalid", f)
	}
	out := struct {
		XMLName xml.Name
		ACLs    []aclXML `xml:"networkAclSet>item"`
	}{XMLName: name}
	for _, a := range e.opt.ACLs {
		x := aclXML{ID: a.ID, VPC: a.VPC}
		for _, egress := range []bool{true, false} {
			if a.Opens {
				x.Entries = append(x.Entries, aclEntryXML{100, "allow", egress, "0.0.0.0/0"})
			}
			x.Entries = append(x.Entries, aclEntryXML{32767, "deny", egress, "0.0.0.0/0"})
		}
		wanted := subnets == nil
		for _, s := range e.opt.Subnets {
			if id, acl := e.assoc[s.ID].told(e.opt.Lag); acl == a.ID {
				x.Associations = append(x.Associations, aclAssociationXML{id, acl, s.ID})
				wanted = wanted || slices.Contains(subnets, s.ID)
			}
		}
		if wanted && (len(ids) == 0 || slices.Contains(ids, a.ID)) {
			out.ACLs = append(out.ACLs, x)
		}
	}
	return out, nil
}

// replaceACL answers ReplaceNetworkAclAssociation: an association that was replaced is no more.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ReplaceNetworkAclAssociation.html
func (e *EC2) replaceACL(name xml.Name, v url.Values) (any, error) {
	to := v.Get("NetworkAclId")
	if e.vpcOf(to) == "" {
		return nil, badRequest("InvalidNetworkAclID.NotFound", "The networkAcl ID '%s' does not exist", to)
	}
	for subnet, a := range e.assoc {
		if a.id != v.Get("AssociationId") {
			continue
		}
		*a = aclAssociation{id: "aclassoc-" + id(8), acl: to, wasID: a.id, wasACL: a.acl, changed: time.Now()}
		// An ACL is stateless, "which means that information about previously sent or received traffic is not saved": it judges each
		// packet, also of what was established before.
		// https://docs.aws.amazon.com/vpc/latest/userguide/nacl-basics.html
		if e.opt.OnACL != nil {
			e.opt.OnACL(subnet, slices.ContainsFunc(e.opt.ACLs, func(n NetworkACL) bool { return n.ID == to && !n.Opens }))
		}
		return struct {
			XMLName xml.Name
			ID      string `xml:"newAssociationId"`
		}{name, a.id}, nil
	}
	return nil, badRequest("InvalidAssociationID.NotFound", "The association ID '%s' does not exist", v.Get("AssociationId"))
}

// ACLs are the subnets' network ACLs as they are, whatever is told of them.
func (e *EC2) ACLs() map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[string]string{}
	for s, a := range e.assoc {
		out[s] = a.acl
	}
	return out
}
