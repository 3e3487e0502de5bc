package actions

import (
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/failoverd/failoverd/internal/kube"
	"github.com/failoverd/failoverd/internal/kubetest"
)

// The credentials of this host sign a token for EKS, which the cluster checks with STS.
func TestKubernetesOfEKS(t *testing.T) {
	d := testDeps(t, http.NotFoundHandler())
	got := ""
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		kubetest.Refusal(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
	}))
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := (&KubernetesConfig{Access: kube.Access{EKS: "prod", Server: srv.URL, CAFile: ca}, Namespace: "x", Deployments: []string{"web"}}).New(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "asked for the client to provide credentials") {
		t.Errorf("a cluster that does not know us gives %v", err)
	}
	body, ok := strings.CutPrefix(got, "Bearer k8s-aws-v1.")
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if !ok || err != nil {
		t.Fatalf("sent %q: %v", got, err)
	}
	u, err := url.Parse(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if q.Get("Action") != "GetCallerIdentity" || q.Get("X-Amz-Expires") != "60" || !strings.Contains(q.Get("X-Amz-SignedHeaders"), "x-k8s-aws-id") || !strings.Contains(q.Get("X-Amz-Credential"), "/us-east-2/sts/") {
		t.Errorf("the token is %s", raw)
	}
}

func TestKubernetesParameters(t *testing.T) {
	file := kube.Access{Kubeconfig: "/etc/failoverd/kube-{region}.yaml"}
	web := []string{"web"}
	for _, tt := range []struct {
		c    KubernetesConfig
		role Role
		want string
	}{
		{KubernetesConfig{Access: file, Namespace: "n", Deployments: web}, RoleStop, ""},
		{KubernetesConfig{Access: file, Namespace: "n", CronJobs: web, Count: 1}, RoleStart, ""},
		{KubernetesConfig{Access: kube.Access{EKS: "prod", Server: "https://{region}.example.net"}, Namespace: "n", Deployments: web}, RoleStop, ""},
		{KubernetesConfig{Namespace: "n", Deployments: web}, RoleStop, "kubeconfig: is missing; give a file, or eks with server"},
		{KubernetesConfig{Access: kube.Access{Kubeconfig: "/k", EKS: "e"}, Namespace: "n", Deployments: web}, RoleStop, "one or the other"},
		{KubernetesConfig{Access: kube.Access{EKS: "e", Server: "http://x"}, Namespace: "n", Deployments: web}, RoleStop, "is no https:// address"},
		{KubernetesConfig{Access: kube.Access{EKS: "e", Server: "https://x", Context: "c"}, Namespace: "n", Deployments: web}, RoleStop, "belongs to a kubeconfig"},
		{KubernetesConfig{Access: file, Deployments: web}, RoleStop, "namespace: is missing"},
		{KubernetesConfig{Access: file, Namespace: "n"}, RoleStop, "an empty list never means all"},
		{KubernetesConfig{Access: file, Namespace: "n", StatefulSets: []string{"a", "a"}}, RoleStop, "listed twice"},
		{KubernetesConfig{Access: file, Namespace: "n", Deployments: web, Count: -1}, RoleStop, "negative"},
		{KubernetesConfig{Access: file, Namespace: "n", Deployments: web, MinReady: 101}, RoleStop, "share in percent"},
		{KubernetesConfig{Access: file, Namespace: "n", Deployments: web, Count: 1}, RoleStop, "a stop needs 0"},
		{KubernetesConfig{Access: file, Namespace: "n", Deployments: web}, RoleStart, "starts nothing"},
		{KubernetesConfig{Access: file, Namespace: "n", Deployments: web}, RoleSwitch, "cannot move clients"},
	} {
		if err := tt.c.Validate(tt.role); (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v as %s: %v, want %q", tt.c, tt.role, err, tt.want)
		}
	}
}
