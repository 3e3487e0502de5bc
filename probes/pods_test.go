package probes

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/failoverd/failoverd/internal/kube"
)

// Ready pods of each workload are counted, on machines that are heard from.
func TestPodsCheck(t *testing.T) {
	ready := map[string]string{"a": "True", "b": "True", "c": "False"}
	node := "True"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/apis/apps/v1/namespaces/x/deployments/web":
			_, _ = fmt.Fprint(w, `{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"web","namespace":"x"},"spec":{"selector":{"matchLabels":{"app":"web"}}}}`)
		case "/api/v1/namespaces/x/pods":
			var items []string
			for name, is := range ready {
				items = append(items, fmt.Sprintf(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":%q},"spec":{"nodeName":"n"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":%q}]}}`, name, is))
			}
			if r.URL.Query().Get("labelSelector") != "app=web" {
				items = nil
			}
			_, _ = fmt.Fprintf(w, `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[%s]}`, strings.Join(items, ","))
		case "/api/v1/nodes":
			_, _ = fmt.Fprintf(w, `{"kind":"NodeList","apiVersion":"v1","metadata":{},"items":[{"kind":"Node","apiVersion":"v1","metadata":{"name":"n"},"status":{"conditions":[{"type":"Ready","status":%q}]}}]}`, node)
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
		}
	}))
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte(`{"apiVersion":"v1","kind":"Config","current-context":"x","clusters":[{"name":"c","cluster":{"server":"`+srv.URL+`"}}],"users":[{"name":"u","user":{"token":"t"}}],"contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	look := func(c PodsCheckConfig, want Status, detail string) {
		t.Helper()
		c.Access, c.Namespace = kube.Access{Kubeconfig: file}, "x"
		check, err := c.NewCheck(Deps{Region: "us-east-2"})
		if err != nil {
			t.Fatal(err)
		}
		if f := check.Check(t.Context()); f.Status != want || !strings.Contains(f.Detail, detail) {
			t.Errorf("%v %q, want %v with %q", f.Status, f.Detail, want, detail)
		}
	}
	look(PodsCheckConfig{Deployments: []string{"web"}, Ready: 2}, Pass, "web: 2 ready, 1 starting, 0 ending; 2 of each must be ready")
	look(PodsCheckConfig{Deployments: []string{"web"}, Ready: 3}, Fail, "3 of each must be ready")
	look(PodsCheckConfig{StatefulSets: []string{"none"}, Ready: 1}, Unknown, "statefulsets x/none does not exist")
	node = "Unknown"
	look(PodsCheckConfig{Deployments: []string{"web"}, Ready: 1}, Fail, "3 on machines that are not heard from")
	for want, c := range map[string]PodsCheckConfig{
		"kubeconfig: is missing": {},
		"namespace: is missing":  {Access: kube.Access{Kubeconfig: "/k"}},
		"nothing would be":       {Access: kube.Access{Kubeconfig: "/k"}, Namespace: "x"},
		"asserts nothing":        {Access: kube.Access{Kubeconfig: "/k"}, Namespace: "x", Deployments: []string{"web"}},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
