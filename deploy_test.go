package failoverd_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// agentLine checks a command line of an agent: the flags are those of the binary, and
// the worker is its child.
func agentLine(t *testing.T, argv []string) {
	t.Helper()
	end := slices.Index(argv, "--")
	if end < 0 || end+1 == len(argv) {
		t.Fatalf("no worker after --: %q", argv)
	}
	if argv[1] != "agent" || !strings.HasSuffix(argv[0], "/failoverd") {
		t.Errorf("%q is no agent", argv[:2])
	}
	// Flags are read one after the other: an unknown one comes before --help.
	out, err := exec.Command("go", append(append([]string{"run", "./cmd/failoverd"}, argv[1:end]...), "--help")...).CombinedOutput()
	if err != nil {
		t.Errorf("%q: %v: %s", argv, err, out)
	}
	for _, need := range []string{"--config", "--region", "--component", "--cert", "--key", "--ca", "--epoch-file"} {
		if !slices.ContainsFunc(argv[:end], func(a string) bool { return a == need || strings.HasPrefix(a, need+"=") }) {
			t.Errorf("%s is missing", need)
		}
	}
}

// An agent that forgets the highest epoch says so when it starts (T4).
func TestAgentWithoutAnEpochFileWarns(t *testing.T) {
	for _, file := range []string{"", t.TempDir() + "/epoch"} {
		args := []string{"run", "./cmd/failoverd", "agent", "--config", "config.toml.example", "--region", "us-east-1", "--component", "workers",
			"--cert", "none", "--key", "none", "--ca", "none", "--epoch-file", file, "--", "true"}
		out, _ := exec.Command("go", args...).CombinedOutput() // it ends: there is no certificate
		if strings.Contains(string(out), "no --epoch-file") != (file == "") {
			t.Errorf("with %q it says %s", file, out)
		}
	}
}

// The task definition is what RegisterTaskDefinition takes, and its one essential
// container is the agent with the worker as its child.
func TestECSExample(t *testing.T) {
	b, err := os.ReadFile("deploy/ecs/worker.json")
	if err != nil {
		t.Fatal(err)
	}
	var in ecs.RegisterTaskDefinitionInput
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		t.Fatal(err)
	}
	if len(in.ContainerDefinitions) != 1 {
		t.Fatalf("%d containers", len(in.ContainerDefinitions))
	}
	c := in.ContainerDefinitions[0]
	if c.Essential == nil || !*c.Essential {
		t.Error("the worker's container is not essential")
	}
	if c.StopTimeout == nil || *c.StopTimeout < 9 {
		t.Error("ECS would kill the agent before it has ended its worker: stopTimeout is shorter than the stop budget")
	}
	agentLine(t, append(slices.Clone(c.EntryPoint), c.Command...))
	volumes := map[string]bool{}
	for _, v := range in.Volumes {
		volumes[*v.Name] = true
	}
	for _, m := range c.MountPoints {
		if !volumes[*m.SourceVolume] {
			t.Errorf("there is no volume %s", *m.SourceVolume)
		}
	}
}

// The manifests are what Kubernetes takes, field by field.
func TestKubernetesExamples(t *testing.T) {
	b, err := os.ReadFile("deploy/kubernetes/worker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d appsv1.Deployment
	if err := yaml.UnmarshalStrict(b, &d); err != nil {
		t.Fatal(err)
	}
	pod := d.Spec.Template.Spec
	if len(pod.Containers) != 1 || d.Spec.Selector.MatchLabels["app"] != d.Spec.Template.Labels["app"] {
		t.Fatalf("%+v", d.Spec)
	}
	if *pod.TerminationGracePeriodSeconds < 9 {
		t.Error("the kubelet would kill the agent before it has ended its worker")
	}
	agentLine(t, append(slices.Clone(pod.Containers[0].Command), pod.Containers[0].Args...))
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
	}
	for _, m := range pod.Containers[0].VolumeMounts {
		if !volumes[m.Name] {
			t.Errorf("there is no volume %s", m.Name)
		}
	}
	rbac, err := os.ReadFile("deploy/kubernetes/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i, doc := range strings.Split(string(rbac), "\n---\n") {
		into := []any{&rbacv1.Role{}, &rbacv1.RoleBinding{}, &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}}[i]
		if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
			t.Errorf("document %d: %v", i, err)
		}
	}
}
