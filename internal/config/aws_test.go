package config

import (
	"testing"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/kube"
	"github.com/failoverd/failoverd/probes"
)

// Each kind that calls AWS, or signs with its credentials, makes a node look for them,
// also when it is the only one.
func TestUsesAWS(t *testing.T) {
	for name, tt := range map[string]struct {
		kinds actions.Kinds
		want  bool
	}{
		"ecs":        {actions.Kinds{ECSService: &actions.ECSServiceConfig{}}, true},
		"asg":        {actions.Kinds{ASG: &actions.ASGConfig{}}, true},
		"lambda":     {actions.Kinds{LambdaEvents: &actions.LambdaEventSourceConfig{Functions: []string{"f"}}}, true},
		"schedule":   {actions.Kinds{Schedule: &actions.ScheduleConfig{Rules: []string{"r"}}}, true},
		"s3":         {actions.Kinds{S3Object: &actions.S3ObjectConfig{}}, true},
		"eks":        {actions.Kinds{Kubernetes: &actions.KubernetesConfig{Access: kube.Access{EKS: "c"}}}, true},
		"kubeconfig": {actions.Kinds{Kubernetes: &actions.KubernetesConfig{Access: kube.Access{Kubeconfig: "/k"}}}, false},
		"exec":       {actions.Kinds{Exec: &actions.ExecConfig{}}, false},
	} {
		c := &Config{Primary: "a", Secondary: "b", Component: map[failover.Component]*Part{"x": {Start: &Start{Kinds: tt.kinds}}}}
		if got := c.UsesAWS(); got != tt.want {
			t.Errorf("%s: %t, want %t", name, got, tt.want)
		}
	}
	c := &Config{Primary: "a", Secondary: "b", Component: map[failover.Component]*Part{"x": {See: See{Kinds: probes.Kinds{AWSAPI: &probes.AWSAPIConfig{}}}}}}
	if !c.UsesAWS() {
		t.Error("a probe of the control plane needs credentials")
	}
}
