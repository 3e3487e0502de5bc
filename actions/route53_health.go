package actions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/failoverd/failoverd/failover"
)

// HealthCheck is a Route 53 health check that the switches of a configuration
// need.
type HealthCheck struct {
	// Name is its place among the others: a node's name, "gate", "object" or Top.
	Name string `json:"name"`
	// Config is as CreateHealthCheck takes it, without the IDs of children.
	Config types.HealthCheckConfig `json:"-"`
	// Children are the names of the checks that a calculated one is made of.
	Children []string `json:"children,omitempty"`
}

// MarshalJSON writes the check with its configuration as the AWS command line
// takes it.
func (h HealthCheck) MarshalJSON() ([]byte, error) {
	cfg, err := h.input()
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		Name     string          `json:"name"`
		Children []string        `json:"children,omitempty"`
		Config   json.RawMessage `json:"config"`
	}{h.Name, h.Children, cfg})
}

// input is the configuration as the AWS command line takes it: what is not set is
// left out.
func (h HealthCheck) input() (json.RawMessage, error) {
	all, err := json.Marshal(h.Config)
	if err != nil {
		return nil, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(all, &fields); err != nil {
		return nil, err
	}
	maps.DeleteFunc(fields, func(_ string, v json.RawMessage) bool { return string(v) == "null" || string(v) == `""` })
	return json.Marshal(fields)
}

// HealthCheckScript is a shell script that makes the checks, and says what is to
// hang on the last one.
func HealthCheckScript(service string, from failover.Region, checks []HealthCheck) (string, error) {
	var b strings.Builder
	var looks []string
	b.WriteString("set -eu\n")
	for _, h := range checks {
		if len(h.Children) == 0 {
			looks = append(looks, `"$`+variable(h.Name)+`"`)
		}
		cfg, err := h.input()
		if err != nil {
			return "", err
		}
		arg := word(string(cfg))
		if len(h.Children) > 0 {
			ids := make([]string, len(h.Children))
			for i, c := range h.Children {
				ids[i] = `"'"$` + variable(c) + `"'"`
			}
			arg = `'` + strings.TrimSuffix(string(cfg), "}") + `,"ChildHealthChecks":[` + strings.Join(ids, ",") + `]}'`
		}
		fmt.Fprintf(&b, "%s=$(aws route53 create-health-check --caller-reference %s --health-check-config %s --query HealthCheck.Id --output text)\n",
			variable(h.Name), word("failoverd-"+service+"-"+h.Name), arg)
	}
	fmt.Fprintf(&b, `# An inverted check is unhealthy until Route 53 has data: records that hung on it now would move at once.
for id in %s; do
  until aws route53 get-health-check-status --health-check-id "$id" --query 'HealthCheckObservations[].StatusReport.Status' --output text | grep -q .; do sleep 10; done
done
sleep 60
echo "HealthCheckId of every weighted record of %s: $%s"
`, strings.Join(looks, " "), from, variable(Top))
	return b.String(), nil
}

// variable is a name of the shell for a name of ours.
func variable(name string) string {
	return "hc_" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, name)
}

// Top is the name of the health check that the records of the region hang on.
const Top = "serve"

// HealthCheckOptions are what health checks are made from.
type HealthCheckOptions struct {
	Service   string
	From      failover.Region // whose records hang on the checks: the primary
	To        failover.Region
	Gate      *GateConfig     // nil: not used
	Object    *S3ObjectConfig // nil: not used
	Endpoints map[string]string
}

// HealthChecks returns the checks, children before what is made of them. The last
// one is Top. There are none without a gate and an object.
//
// Every check that looks is inverted: what does not answer counts as one that
// says "serve", so that no loss of nodes and no loss of the standby region moves
// clients. An inverted check is unhealthy until Route 53 has data of it, and
// unhealthy when it is disabled: records may hang on it only once it is healthy,
// and it must never be disabled (Route 53 Developer Guide, "How Amazon Route 53
// determines whether a health check is healthy"; HealthCheckConfig, Disabled).
func HealthChecks(o HealthCheckOptions) []HealthCheck {
	var out []HealthCheck
	var parts []string
	if g := o.Gate; g != nil {
		ids := slices.Sorted(maps.Keys(g.Nodes))
		var children []string
		for _, id := range ids {
			c := types.HealthCheckConfig{
				Type: types.HealthCheckTypeHttp, ResourcePath: aws.String(GatePath(o.Service, o.From)), Inverted: aws.Bool(true),
				RequestInterval: aws.Int32(int32(cmp.Or(g.Interval.D().Seconds(), 10))), FailureThreshold: aws.Int32(int32(cmp.Or(g.Threshold, 3))),
			}
			place(&c, g.Nodes[id])
			out = append(out, HealthCheck{Name: string(id), Config: c})
			children = append(children, string(id))
		}
		// Served while so many do not say "stop" that those that say it are too few.
		out = append(out, HealthCheck{Name: "gate", Children: children, Config: types.HealthCheckConfig{
			Type: types.HealthCheckTypeCalculated, HealthThreshold: aws.Int32(int32(len(ids) - g.need() + 1)),
		}})
		parts = append(parts, "gate")
	}
	if b := o.Object; b != nil {
		c := types.HealthCheckConfig{
			Type: types.HealthCheckTypeHttpsStrMatch, Port: aws.Int32(443), ResourcePath: aws.String("/" + b.Key), SearchString: aws.String(MatchRegion(o.To)),
			FullyQualifiedDomainName: aws.String(b.Bucket + ".s3." + string(b.Region) + ".amazonaws.com"), EnableSNI: aws.Bool(true),
			Inverted: aws.Bool(true), RequestInterval: aws.Int32(10), FailureThreshold: aws.Int32(3),
		}
		if u, err := url.Parse(o.Endpoints[string(b.Region)]); err == nil && u.Host != "" {
			c.Type, c.FullyQualifiedDomainName, c.EnableSNI, c.Port = types.HealthCheckTypeHttpStrMatch, nil, nil, nil
			c.ResourcePath = aws.String("/" + b.Bucket + "/" + b.Key)
			place(&c, u.Host)
		}
		out = append(out, HealthCheck{Name: "object", Config: c})
		parts = append(parts, "object")
	}
	if len(parts) == 0 {
		return nil
	}
	return append(out, HealthCheck{Name: Top, Children: parts, Config: types.HealthCheckConfig{
		Type: types.HealthCheckTypeCalculated, HealthThreshold: aws.Int32(int32(len(parts))),
	}})
}

// place sets where a check looks, by address or by name.
func place(c *types.HealthCheckConfig, addr string) {
	host, port, _ := net.SplitHostPort(addr) // it was validated
	if n, err := strconv.ParseInt(port, 10, 32); err == nil {
		c.Port = aws.Int32(int32(n))
	}
	if _, err := netip.ParseAddr(host); err == nil {
		c.IPAddress = aws.String(host)
		return
	}
	c.FullyQualifiedDomainName = aws.String(host)
}

// RecordsReport is what CompareRecords found on records that clients use.
type RecordsReport struct {
	// Wrong keeps a switch from moving clients, or moves them without one.
	Wrong []string
	// Slow is a record that resolvers keep for longer than the plan gives them.
	Slow []string
}

// CompareRecords says what is wrong with the records that clients use, as Route 53
// has them: with their weights, with whatever lets Route 53 move clients by itself,
// and with the health checks that the records of region from hang on (want; none
// where nothing hangs on one). within is how long resolvers have to follow; zero
// does not look at that. It reads the control plane, so it belongs to the days before.
func CompareRecords(ctx context.Context, client *route53.Client, records Route53WeightsConfig, from, to failover.Region, want []HealthCheck, within time.Duration) (RecordsReport, error) {
	var out RecordsReport
	w := &route53Weights{cfg: &records, client: client}
	top := ""
	for _, name := range records.Names {
		sets, err := w.list(ctx, name)
		if err != nil {
			return RecordsReport{}, err
		}
		led := map[types.RRType]map[failover.Region]bool{} // where each type leads
		for _, s := range sets {
			if s.Weight == nil {
				continue
			}
			id, of := aws.ToString(s.HealthCheckId), records.regionOf(aws.ToString(s.SetIdentifier), []failover.Region{from, to})
			if led[s.Type] == nil {
				led[s.Type] = map[failover.Region]bool{}
			}
			if *s.Weight > 0 {
				led[s.Type][of] = true
			}
			switch {
			case id != "" && len(want) == 0:
				out.wrong("%s %s of %s has a health check, %s, and no switch needs one: Route 53 would move clients by itself, before anything is fenced", name, s.Type, of, id)
			case len(want) == 0:
			case of != from && id != "":
				out.wrong("%s %s of %s has a health check: only the records of %s hang on one", name, s.Type, of, from)
			case of != from:
			case id == "":
				out.wrong("%s %s of %s has no health check: neither the gate nor the object can move it", name, s.Type, from)
			case top != "" && id != top:
				out.wrong("%s %s of %s hangs on %s, others on %s", name, s.Type, from, id, top)
			default:
				top = id
			}
			if s.AliasTarget != nil && s.AliasTarget.EvaluateTargetHealth {
				out.wrong("%s %s of %s has EvaluateTargetHealth: Route 53 would move clients by itself, before anything is fenced", name, s.Type, of)
			}
			if ttl := time.Duration(aws.ToInt64(s.TTL)) * time.Second; within > 0 && ttl > within {
				out.Slow = append(out.Slow, fmt.Sprintf("%s %s of %s has a TTL of %s, and the check after the switch waits %s for resolvers to follow", name, s.Type, of, ttl, within))
			}
		}
		for _, typ := range slices.Sorted(maps.Keys(led)) {
			switch len(led[typ]) {
			case 0: // Route 53 Developer Guide, "Values specific for weighted records"
				out.wrong("%s %s: all weights are 0, and Route 53 answers with all of them at once", name, typ)
			case 1:
			default:
				out.wrong("%s %s: the records of both regions have a weight, and clients are led to both", name, typ)
			}
		}
	}
	if top == "" {
		return out, nil
	}
	c := comparison{client: client, want: map[string]HealthCheck{}}
	for _, h := range want {
		c.want[h.Name] = h
	}
	err := c.compare(ctx, top, Top)
	out.Wrong = append(out.Wrong, c.wrong...)
	return out, err
}

func (r *RecordsReport) wrong(format string, args ...any) {
	r.Wrong = append(r.Wrong, fmt.Sprintf(format, args...))
}

type comparison struct {
	client *route53.Client
	want   map[string]HealthCheck
	wrong  []string
}

// compare compares one check and what it is made of.
func (c *comparison) compare(ctx context.Context, id, name string) error {
	out, err := c.client.GetHealthCheck(ctx, &route53.GetHealthCheckInput{HealthCheckId: &id})
	if _, none := errors.AsType[*types.NoSuchHealthCheck](err); none {
		c.wrong = append(c.wrong, fmt.Sprintf("health check %s (%s) does not exist", id, name))
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading health check %s: %w", id, err)
	}
	got, want := out.HealthCheck.HealthCheckConfig, c.want[name]
	for _, d := range differences(*got, want.Config) {
		c.wrong = append(c.wrong, fmt.Sprintf("health check %s (%s): %s", id, name, d))
	}
	// Children have no names in Route 53: each is known by where it looks.
	left := slices.Clone(want.Children)
	for _, child := range got.ChildHealthChecks {
		i, err := c.whichOf(ctx, child, left)
		if err != nil {
			return err
		}
		if i < 0 {
			c.wrong = append(c.wrong, fmt.Sprintf("health check %s (%s) has a child %s that is none of %s", id, name, child, strings.Join(want.Children, ", ")))
			continue
		}
		if err := c.compare(ctx, child, left[i]); err != nil {
			return err
		}
		left = slices.Delete(left, i, i+1)
	}
	for _, missing := range left {
		c.wrong = append(c.wrong, fmt.Sprintf("health check %s (%s) lacks the child %s", id, name, missing))
	}
	return nil
}

// whichOf finds which of the named checks a check is, by its type and where it
// looks.
func (c *comparison) whichOf(ctx context.Context, id string, names []string) (int, error) {
	out, err := c.client.GetHealthCheck(ctx, &route53.GetHealthCheckInput{HealthCheckId: &id})
	if _, none := errors.AsType[*types.NoSuchHealthCheck](err); none {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("reading health check %s: %w", id, err)
	}
	got := out.HealthCheck.HealthCheckConfig
	return slices.IndexFunc(names, func(n string) bool {
		want := c.want[n].Config
		return got.Type == want.Type && aws.ToString(got.IPAddress) == aws.ToString(want.IPAddress) &&
			(want.FullyQualifiedDomainName == nil || aws.ToString(got.FullyQualifiedDomainName) == *want.FullyQualifiedDomainName)
	}), nil
}

func differences(got, want types.HealthCheckConfig) (out []string) {
	differ := func(what string, got, want any) {
		if got != want {
			out = append(out, fmt.Sprintf("%s is %v, and should be %v", what, got, want))
		}
	}
	differ("type", got.Type, want.Type)
	differ("port", aws.ToInt32(got.Port), aws.ToInt32(want.Port))
	differ("path", aws.ToString(got.ResourcePath), aws.ToString(want.ResourcePath))
	differ("search string", aws.ToString(got.SearchString), aws.ToString(want.SearchString))
	differ("inverted", aws.ToBool(got.Inverted), aws.ToBool(want.Inverted))
	differ("disabled", aws.ToBool(got.Disabled), false)
	differ("threshold of healthy children", aws.ToInt32(got.HealthThreshold), aws.ToInt32(want.HealthThreshold))
	differ("interval", aws.ToInt32(got.RequestInterval), aws.ToInt32(want.RequestInterval))
	differ("failure threshold", aws.ToInt32(got.FailureThreshold), aws.ToInt32(want.FailureThreshold))
	return out
}
