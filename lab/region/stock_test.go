package region

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/lab/awsfake"
	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/probes"
)

// endpoint is a region's AWS as Run makes it, as far as launches go.
func endpoint(t *testing.T, name string) (*awsfake.Server, string) {
	t.Helper()
	c := Config{Region: name, Services: []Service{{Name: "api"}, {Name: "workers"}}}
	var groups []awsfake.ASGroup
	for _, group := range []string{"queue-", "queue-b-"} {
		groups = append(groups, awsfake.ASGroup{Name: group + name, Max: 4, Zones: []string{name + "a"}, Subnets: Subnets(name), Template: Template})
	}
	ecs := awsfake.NewECS(t.Context(), awsfake.ECSOptions{Region: name, Dir: t.TempDir(), Subnets: Subnets(name), Log: slog.New(slog.DiscardHandler)})
	for _, s := range c.Services {
		ecs.Create(Cluster, s.Name, ecs.Register(s.definition(name)), 0)
	}
	asg := awsfake.NewAutoScaling(awsfake.ASGOptions{Region: name, Groups: groups})
	s := &awsfake.Server{Region: name, ECS: ecs, ASG: asg, EC2: awsfake.NewEC2(awsfake.EC2Options{Subnets: subnets(name), Templates: []string{Template}}), Stock: stock(c),
		Metrics: awsfake.NewCloudWatch(awsfake.CloudWatchOptions{Minute: time.Minute, Sources: []func() []awsfake.Point{used(asg, groups)}}),
		Faults:  faults.NewSet(1), Log: slog.New(slog.DiscardHandler)}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return s, srv.URL
}

// The reference plan finds in either region of the lab all that it would launch, and says what lacks.
func TestStockHoldsWhatTheExampleWants(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	_, url1 := endpoint(t, "us-east-1")
	second, url2 := endpoint(t, "us-east-2")
	clients, err := cloud.Open(t.Context(), cloud.Options{Endpoints: map[string]string{"us-east-1": url1, "us-east-2": url2}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load("../../config.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	looks := map[failover.Region]probes.Probe{}
	for _, s := range c.ProbeSpecs("use2a") {
		if s.Kind != "capacity" {
			continue
		}
		if looks[s.Region], err = s.Config.New(probes.Deps{Region: s.Region, Regions: c.Regions(), Cloud: clients, Timeout: 5 * time.Second}); err != nil {
			t.Fatal(err)
		}
	}
	if len(looks) != 2 {
		t.Fatalf("%d regions are looked at", len(looks))
	}
	for r, p := range looks {
		if o := p.Probe(t.Context()); o.Outcome != failover.OK || strings.Contains(o.Detail, "compared") || !strings.Contains(o.Detail, "400 free addresses for 9") || !strings.Contains(o.Detail, "secret ") {
			t.Errorf("%s: %s %s", r, o.Outcome, o.Detail)
		}
	}
	second.Faults.Add(faults.Fault{Service: "ecr", Mode: faults.Error, Code: "ImageNotFoundException", Status: 400})
	if o := looks["us-east-2"].Probe(t.Context()); o.Outcome != failover.Failed || !strings.Contains(o.Detail, "workers:1 of workers/workers is not in us-east-2") {
		t.Errorf("%s %s", o.Outcome, o.Detail)
	}
}
