package awsfake

import (
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/failoverd/failoverd/lab/dnsfake"
)

const (
	route53NS   = "https://route53.amazonaws.com/doc/2013-04-01/"
	route53Path = "/2013-04-01/"
)

// route53Op names the operation of a REST request.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_Operations_Amazon_Route_53.html
func route53Op(r *http.Request) string {
	parts := strings.Split(strings.Trim(strings.TrimPrefix(r.URL.Path, route53Path), "/"), "/")
	switch {
	case parts[0] == "change":
		return "GetChange"
	case parts[0] == "hostedzonesbyname":
		return "ListHostedZonesByName"
	case parts[0] == "healthcheck":
		return healthOp(r, parts)
	case parts[0] != "hostedzone":
		return "Unknown"
	case len(parts) == 1:
		return "ListHostedZones"
	case len(parts) == 2:
		return "GetHostedZone"
	case parts[2] == "rrset" && r.Method == http.MethodPost:
		return "ChangeResourceRecordSets"
	case parts[2] == "rrset":
		return "ListResourceRecordSets"
	}
	return "Unknown"
}

type xmlAlias struct {
	HostedZoneID string `xml:"HostedZoneId"`
	DNSName      string `xml:"DNSName"`
	Evaluate     bool   `xml:"EvaluateTargetHealth"`
}

type xmlValue struct {
	Value string `xml:"Value"`
}

type xmlSet struct {
	Name   string     `xml:"Name"`
	Type   string     `xml:"Type"`
	SetID  string     `xml:"SetIdentifier,omitempty"`
	Weight *int       `xml:"Weight,omitempty"`
	TTL    *uint32    `xml:"TTL,omitempty"`
	Values []xmlValue `xml:"ResourceRecords>ResourceRecord,omitempty"`
	Alias  *xmlAlias  `xml:"AliasTarget,omitempty"`
	Check  string     `xml:"HealthCheckId,omitempty"`
}

func (x xmlSet) set() dnsfake.RecordSet {
	s := dnsfake.RecordSet{Name: dnsfake.FQDN(x.Name), Type: x.Type, SetID: x.SetID, Check: x.Check}
	for _, v := range x.Values {
		s.Values = append(s.Values, v.Value)
	}
	if x.Weight != nil {
		s.Weight = *x.Weight
	}
	if x.TTL != nil {
		s.TTL = *x.TTL
	}
	if x.Alias != nil {
		s.Alias, s.AliasZ, s.Evaluate = dnsfake.FQDN(x.Alias.DNSName), x.Alias.HostedZoneID, x.Alias.Evaluate
	}
	return s
}

func toXML(s dnsfake.RecordSet) xmlSet {
	x := xmlSet{Name: s.Name, Type: s.Type, SetID: s.SetID, Check: s.Check}
	for _, v := range s.Values {
		x.Values = append(x.Values, xmlValue{v})
	}
	if s.SetID != "" {
		x.Weight = &s.Weight
	}
	if s.Alias != "" {
		x.Alias = &xmlAlias{s.AliasZ, s.Alias, s.Evaluate}
	} else {
		x.TTL = &s.TTL
	}
	return x
}

type changeRequest struct {
	Batch struct {
		Comment string `xml:"Comment"`
		Changes []struct {
			Action string `xml:"Action"`
			Set    xmlSet `xml:"ResourceRecordSet"`
		} `xml:"Changes>Change"`
	} `xml:"ChangeBatch"`
}

type xmlChange struct {
	ID        string    `xml:"Id"`
	Status    string    `xml:"Status"`
	Submitted time.Time `xml:"SubmittedAt"`
	Comment   string    `xml:"Comment,omitempty"`
}

func (b Batch) xml() xmlChange {
	c := xmlChange{ID: "/change/" + b.ID, Status: "INSYNC", Submitted: b.At.UTC(), Comment: b.Comment}
	if time.Now().Before(b.InSync) {
		c.Status = "PENDING"
	}
	return c
}

type changeResponse struct {
	XMLName xml.Name
	Info    xmlChange `xml:"ChangeInfo"`
}

type xmlZone struct {
	ID      string `xml:"Id"`
	Name    string `xml:"Name"`
	Caller  string `xml:"CallerReference"`
	Private bool   `xml:"Config>PrivateZone"`
	Count   int    `xml:"ResourceRecordSetCount"`
}

type getZoneResponse struct {
	XMLName xml.Name `xml:"https://route53.amazonaws.com/doc/2013-04-01/ GetHostedZoneResponse"`
	Zone    xmlZone  `xml:"HostedZone"`
	Servers []string `xml:"DelegationSet>NameServers>NameServer"`
}

type listZonesResponse struct {
	XMLName   xml.Name
	Zones     []xmlZone `xml:"HostedZones>HostedZone"`
	Truncated bool      `xml:"IsTruncated"`
	MaxItems  int       `xml:"MaxItems"`
}

type listSetsResponse struct {
	XMLName   xml.Name `xml:"https://route53.amazonaws.com/doc/2013-04-01/ ListResourceRecordSetsResponse"`
	Sets      []xmlSet `xml:"ResourceRecordSets>ResourceRecordSet"`
	Truncated bool     `xml:"IsTruncated"`
	NextName  string   `xml:"NextRecordName,omitempty"`
	NextType  string   `xml:"NextRecordType,omitempty"`
	NextSetID string   `xml:"NextRecordIdentifier,omitempty"`
	MaxItems  int      `xml:"MaxItems"`
}

// call runs one operation.
func (r *Route53) call(q *request) (any, error) {
	r.mu.Lock()
	limited := r.throttled()
	r.mu.Unlock()
	if limited {
		return nil, badRequest("Throttling", "Rate exceeded")
	}
	parts := strings.Split(strings.Trim(strings.TrimPrefix(q.URL.Path, route53Path), "/"), "/")
	if len(parts) > 1 && parts[0] == "hostedzone" && parts[1] != r.zoneID {
		return nil, &Error{http.StatusNotFound, "NoSuchHostedZone", "No hosted zone found with ID: " + parts[1]}
	}
	if parts[0] == "healthcheck" {
		return r.healthCall(q, parts)
	}
	zone := xmlZone{ID: "/hostedzone/" + r.zoneID, Name: r.zone.Name, Caller: "lab", Count: len(r.Sets())}
	switch q.op {
	case "ListHostedZones", "ListHostedZonesByName":
		return listZonesResponse{XMLName: xml.Name{Space: route53NS, Local: q.op + "Response"}, Zones: []xmlZone{zone}, MaxItems: 100}, nil
	case "GetHostedZone":
		return getZoneResponse{Zone: zone, Servers: r.servers}, nil
	case "ListResourceRecordSets":
		return r.listSets(q), nil
	case "ChangeResourceRecordSets":
		var in changeRequest
		if err := xml.Unmarshal(q.body, &in); err != nil {
			return nil, badRequest("InvalidInput", "Invalid XML ; %v", err)
		}
		b := Batch{AccessKey: q.call.AccessKey, Session: q.call.Session, From: q.call.From, Comment: in.Batch.Comment}
		for _, c := range in.Batch.Changes {
			b.Changes = append(b.Changes, Change{c.Action, c.Set.set()})
		}
		b, err := r.apply(b)
		if err != nil {
			return nil, err
		}
		return changeResponse{xml.Name{Space: route53NS, Local: "ChangeResourceRecordSetsResponse"}, b.xml()}, nil
	case "GetChange":
		for _, b := range r.History() {
			if len(parts) > 1 && b.ID == parts[1] {
				return changeResponse{xml.Name{Space: route53NS, Local: "GetChangeResponse"}, b.xml()}, nil
			}
		}
		return nil, &Error{http.StatusNotFound, "NoSuchChange", "Could not find resource with ID: " + parts[len(parts)-1]}
	}
	return nil, &Error{http.StatusNotFound, "InvalidInput", q.Method + " " + q.URL.Path + " is not simulated"}
}

// listSets gives one page, beginning at the record set named by the query.
func (r *Route53) listSets(q *request) listSetsResponse {
	v := q.URL.Query()
	limit, err := strconv.Atoi(v.Get("maxitems"))
	if err != nil || limit < 1 || limit > 300 {
		limit = 300
	}
	out := listSetsResponse{MaxItems: limit}
	from := ""
	if n := v.Get("name"); n != "" {
		from = dnsfake.ListKey(dnsfake.FQDN(n), v.Get("type"), v.Get("identifier"))
	}
	for _, s := range r.Sets() {
		if dnsfake.ListKey(s.Name, s.Type, s.SetID) < from {
			continue
		}
		if len(out.Sets) == limit {
			out.Truncated, out.NextName, out.NextType, out.NextSetID = true, s.Name, s.Type, s.SetID
			break
		}
		out.Sets = append(out.Sets, toXML(s))
	}
	return out
}
