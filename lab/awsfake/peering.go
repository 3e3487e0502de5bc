package awsfake

import (
	"encoding/xml"
	"slices"

	"github.com/failoverd/failoverd/lab/faults"
)

// Peering is a VPC peering connection. Whether anything comes through is the network's business, and no state here follows it.
type Peering struct {
	ID                  string `json:"id"`
	Requester, Accepter VPC
}

// VPC is one side of a peering connection.
type VPC struct {
	ID     string `json:"id"`
	Region string `json:"region"`
	CIDR   string `json:"cidr"`
}

type vpcXML struct {
	VPC    string     `xml:"vpcId"`
	Region string     `xml:"region"`
	Owner  string     `xml:"ownerId"`
	CIDR   string     `xml:"cidrBlock,omitempty"`
	Blocks []cidrItem `xml:"cidrBlockSet>item"`
}

type cidrItem struct {
	CIDR string `xml:"cidrBlock"`
}

type peeringXML struct {
	ID        string `xml:"vpcPeeringConnectionId"`
	Requester vpcXML `xml:"requesterVpcInfo"`
	Accepter  vpcXML `xml:"accepterVpcInfo"`
	Status    struct {
		Code    string `xml:"code"`
		Message string `xml:"message"`
	} `xml:"status"`
}

// peerings answers DescribeVpcPeeringConnections: one that was deleted can be described for a while, and address blocks are told
// only of one that is active. https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVpcPeeringConnections.html
// https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html
func (e *EC2) peerings(name xml.Name, ids []string) (any, error) {
	out := struct {
		XMLName  xml.Name
		Peerings []peeringXML `xml:"vpcPeeringConnectionSet>item"`
	}{XMLName: name}
	for _, id := range ids {
		if !slices.ContainsFunc(e.opt.Peerings, func(p Peering) bool { return p.ID == id }) {
			return nil, badRequest("InvalidVpcPeeringConnectionID.NotFound", "The vpcPeeringConnection ID '%s' does not exist", id)
		}
	}
	for _, p := range e.opt.Peerings {
		if len(ids) > 0 && !slices.Contains(ids, p.ID) {
			continue
		}
		x := peeringXML{ID: p.ID, Requester: p.Requester.view(), Accepter: p.Accepter.view()}
		x.Status.Code, x.Status.Message = "active", "Active"
		if e.opt.Faults != nil {
			if f, _ := e.opt.Faults.Match("peering", "", p.ID); f.Mode == faults.Error {
				x.Status.Code, x.Status.Message = "deleted", "Deleted by "+AccountID
				for _, s := range []*vpcXML{&x.Requester, &x.Accepter} {
					s.CIDR, s.Blocks = "", nil
				}
			}
		}
		out.Peerings = append(out.Peerings, x)
	}
	return out, nil
}

func (v VPC) view() vpcXML {
	return vpcXML{VPC: v.ID, Region: v.Region, Owner: AccountID, CIDR: v.CIDR, Blocks: []cidrItem{{v.CIDR}}}
}
