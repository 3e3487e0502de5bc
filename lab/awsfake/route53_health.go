package awsfake

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"time"

	"github.com/failoverd/failoverd/lab/checkers"
)

// Health checks of Route 53's control plane. What they find is the checkers' business.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_CreateHealthCheck.html

type xmlHealthConfig struct {
	Type      string   `xml:"Type"`
	IP        string   `xml:"IPAddress,omitempty"`
	Port      int      `xml:"Port,omitempty"`
	Path      string   `xml:"ResourcePath,omitempty"`
	FQDN      string   `xml:"FullyQualifiedDomainName,omitempty"`
	Search    string   `xml:"SearchString,omitempty"`
	Interval  int      `xml:"RequestInterval,omitempty"`
	Threshold int      `xml:"FailureThreshold,omitempty"`
	Inverted  bool     `xml:"Inverted"`
	Disabled  bool     `xml:"Disabled"`
	Healthy   *int     `xml:"HealthThreshold,omitempty"`
	Children  []string `xml:"ChildHealthChecks>ChildHealthCheck,omitempty"`
	EnableSNI *bool    `xml:"EnableSNI,omitempty"`
}

// HealthCheck is a health check as the control plane has it.
type HealthCheck struct {
	ID      string
	Caller  string
	Version int
	xml     xmlHealthConfig
}

type xmlHealthCheck struct {
	ID      string          `xml:"Id"`
	Caller  string          `xml:"CallerReference"`
	Config  xmlHealthConfig `xml:"HealthCheckConfig"`
	Version int             `xml:"HealthCheckVersion"`
}

type healthResponse struct {
	XMLName xml.Name
	Check   xmlHealthCheck `xml:"HealthCheck"`
}

type listHealthResponse struct {
	XMLName   xml.Name
	Checks    []xmlHealthCheck `xml:"HealthChecks>HealthCheck"`
	Truncated bool             `xml:"IsTruncated"`
	MaxItems  int              `xml:"MaxItems"`
}

type xmlObservation struct {
	Region string `xml:"Region"`
	Status struct {
		Status string    `xml:"Status"`
		At     time.Time `xml:"CheckedTime"`
	} `xml:"StatusReport"`
}

type healthStatusResponse struct {
	XMLName      xml.Name
	Observations []xmlObservation `xml:"HealthCheckObservations>HealthCheckObservation"`
}

// healthOp names the operation on /healthcheck.
func healthOp(r *http.Request, parts []string) string {
	switch {
	case len(parts) == 1 && r.Method == http.MethodPost:
		return "CreateHealthCheck"
	case len(parts) == 1:
		return "ListHealthChecks"
	case len(parts) == 3 && parts[2] == "status":
		return "GetHealthCheckStatus"
	case r.Method == http.MethodPost:
		return "UpdateHealthCheck"
	case r.Method == http.MethodDelete:
		return "DeleteHealthCheck"
	}
	return "GetHealthCheck"
}

// config is what the checkers take, or what is wrong with it.
func (x xmlHealthConfig) config(id string) (checkers.Config, string) {
	c := checkers.Config{ID: id, Type: x.Type, Host: x.IP, Port: x.Port, Path: x.Path, Search: x.Search, Threshold: x.Threshold,
		Interval: time.Duration(x.Interval) * time.Second, Inverted: x.Inverted, Disabled: x.Disabled, Children: x.Children}
	if c.Host == "" {
		c.Host = x.FQDN
	}
	if x.Type == "CALCULATED" {
		switch {
		case x.Healthy == nil:
			return c, "HealthThreshold is required for calculated health checks"
		case len(x.Children) == 0 || len(x.Children) > 255:
			return c, "a calculated health check has 1 to 255 children"
		}
		c.Healthy = *x.Healthy
		return c, ""
	}
	if c.Interval == 0 {
		c.Interval = 30 * time.Second
	}
	if c.Threshold == 0 {
		c.Threshold = 3
	}
	switch {
	case x.Type != "HTTP" && x.Type != "HTTP_STR_MATCH" && x.Type != "TCP":
		return c, fmt.Sprintf("type %q is not simulated", x.Type)
	case c.Host == "":
		return c, "Invalid parameter: either IPAddress or FullyQualifiedDomainName is required"
	case x.Interval != 0 && x.Interval != 10 && x.Interval != 30:
		return c, "RequestInterval must be 10 or 30"
	case c.Threshold < 1 || c.Threshold > 10:
		return c, "FailureThreshold must be 1 to 10"
	case strings.HasSuffix(x.Type, "_STR_MATCH") && (x.Search == "" || len(x.Search) > 255):
		return c, "SearchString must have 1 to 255 characters"
	}
	if c.Port == 0 {
		c.Port = 80
	}
	return c, ""
}

func (r *Route53) healthCall(q *request, parts []string) (any, error) {
	name := xml.Name{Space: route53NS, Local: q.op + "Response"}
	r.mu.Lock()
	defer r.mu.Unlock()
	var h *HealthCheck
	if len(parts) > 1 {
		if h = r.health[parts[1]]; h == nil {
			return nil, &Error{http.StatusNotFound, "NoSuchHealthCheck", "No health check exists with the specified ID " + parts[1]}
		}
	}
	switch q.op {
	case "CreateHealthCheck":
		var in struct {
			Caller string          `xml:"CallerReference"`
			Config xmlHealthConfig `xml:"HealthCheckConfig"`
		}
		if err := xml.Unmarshal(q.body, &in); err != nil {
			return nil, badRequest("InvalidInput", "Invalid XML ; %v", err)
		}
		for _, old := range r.health {
			if old.Caller == in.Caller {
				return nil, &Error{http.StatusConflict, "HealthCheckAlreadyExists", "a health check with caller reference " + in.Caller + " exists"}
			}
		}
		for _, child := range in.Config.Children {
			if r.health[child] == nil {
				return nil, badRequest("InvalidInput", "child health check %s does not exist", child)
			}
		}
		h = &HealthCheck{ID: uuid(), Caller: in.Caller, Version: 1, xml: in.Config}
		cfg, wrong := in.Config.config(h.ID)
		if wrong != "" {
			return nil, badRequest("InvalidInput", "%s", wrong)
		}
		r.health[h.ID] = h
		r.checks.Put(cfg)
		return healthResponse{name, h.view()}, nil
	case "GetHealthCheck":
		return healthResponse{name, h.view()}, nil
	case "UpdateHealthCheck":
		var in struct {
			Version  *int  `xml:"HealthCheckVersion"`
			Inverted *bool `xml:"Inverted"`
			Disabled *bool `xml:"Disabled"`
		}
		if err := xml.Unmarshal(q.body, &in); err != nil {
			return nil, badRequest("InvalidInput", "Invalid XML ; %v", err)
		}
		if in.Version != nil && *in.Version != h.Version {
			return nil, &Error{http.StatusConflict, "HealthCheckVersionMismatch", fmt.Sprintf("the version is %d", h.Version)}
		}
		if in.Inverted != nil {
			h.xml.Inverted = *in.Inverted
		}
		if in.Disabled != nil {
			h.xml.Disabled = *in.Disabled
		}
		h.Version++
		cfg, _ := h.xml.config(h.ID)
		r.checks.Put(cfg)
		return healthResponse{name, h.view()}, nil
	case "DeleteHealthCheck":
		// Whatever uses it does not prevent that, and the error HealthCheckInUse "is not in use":
		// https://docs.aws.amazon.com/Route53/latest/APIReference/API_DeleteHealthCheck.html
		delete(r.health, h.ID)
		r.checks.Delete(h.ID)
		return struct{ XMLName xml.Name }{name}, nil
	case "GetHealthCheckStatus":
		out := healthStatusResponse{XMLName: name}
		for i, said := range r.checks.Report(h.ID) {
			if said == "" {
				continue
			}
			o := xmlObservation{Region: fmt.Sprintf("place-%d", i+1)}
			o.Status.Status, o.Status.At = said, time.Now().UTC()
			out.Observations = append(out.Observations, o)
		}
		return out, nil
	}
	out := listHealthResponse{XMLName: name, MaxItems: 100}
	for _, h := range r.health {
		out.Checks = append(out.Checks, h.view())
	}
	sort.Slice(out.Checks, func(i, j int) bool { return out.Checks[i].ID < out.Checks[j].ID })
	return out, nil
}

// Health tells how each health check stands.
func (r *Route53) Health() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]bool{}
	for id := range r.health {
		out[id] = r.checks.Healthy(id)
	}
	return out
}

func (h *HealthCheck) view() xmlHealthCheck { return xmlHealthCheck{h.ID, h.Caller, h.xml, h.Version} }

func uuid() string {
	s := id(16)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
