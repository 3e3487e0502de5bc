package actions

import (
	"os"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// allow gives the group "failoverd" what deploy/kubernetes/rbac.yaml says, in the
// namespace of a real cluster: the actions under test have that and no more.
func (c *cluster) allow() {
	c.Helper()
	b, err := os.ReadFile("../deploy/kubernetes/rbac.yaml")
	if err != nil {
		c.Fatal(err)
	}
	for _, doc := range strings.Split(string(b), "\n---\n") {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			c.Fatal(err)
		}
		u := &unstructured.Unstructured{Object: o}
		kind := schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: strings.ToLower(u.GetKind()) + "s"}
		if u.GetNamespace() != "" {
			u.SetNamespace(c.ns)
			_, err = c.dyn.Resource(kind).Namespace(c.ns).Create(c.Context(), u, metav1.CreateOptions{})
		} else {
			_, err = c.dyn.Resource(kind).Create(c.Context(), u, metav1.CreateOptions{})
		}
		if err != nil && !apierrors.IsAlreadyExists(err) { // the cluster's own are made once
			c.Fatal(err)
		}
	}
}
