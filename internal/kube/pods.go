package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Object is an object of the cluster, and what is read of it.
type Object struct {
	*unstructured.Unstructured
}

// Int is a number at a path, or the default.
func (o Object) Int(def int, path ...string) int {
	n, ok, err := unstructured.NestedInt64(o.Object, path...)
	if err != nil || !ok {
		return def
	}
	return int(n)
}

// Bool is a truth at a path; false if there is none.
func (o Object) Bool(path ...string) bool {
	b, _, _ := unstructured.NestedBool(o.Object, path...) // another type counts as none
	return b
}

// Text is a string at a path; "" if there is none.
func (o Object) Text(path ...string) string {
	s, _, _ := unstructured.NestedString(o.Object, path...) // another type counts as none
	return s
}

// condition is the status of a condition; "" if it has none.
func (o Object) condition(name string) string {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range list {
		if m, ok := c.(map[string]any); ok && m["type"] == name {
			s, _ := m["status"].(string)
			return s
		}
	}
	return ""
}

// Missing says that an object does not exist.
type Missing struct{ What string }

func (e *Missing) Error() string {
	return e.What + " does not exist: check name and namespace, and that it was made in this cluster"
}

// Get reads one object.
func (c *Client) Get(ctx context.Context, kind schema.GroupVersionResource, namespace, name string) (Object, error) {
	o, err := c.dyn.Resource(kind).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return Object{}, &Missing{kind.Resource + " " + namespace + "/" + name}
	}
	if err != nil {
		return Object{}, fmt.Errorf("reading %s %s/%s: %w", kind.Resource, namespace, name, advised(err))
	}
	return Object{o}, nil
}

// List reads all objects of a kind; those of a kind that the cluster does not know are
// none. namespace "" is for kinds that have none.
func (c *Client) List(ctx context.Context, kind schema.GroupVersionResource, namespace, selector string) ([]Object, error) {
	opts := metav1.ListOptions{LabelSelector: selector, Limit: 500}
	var out []Object
	for {
		list, err := c.dyn.Resource(kind).Namespace(namespace).List(ctx, opts)
		if apierrors.IsNotFound(err) && kind == ScaledObjects {
			return nil, nil // KEDA is not installed
		}
		if err != nil {
			return nil, fmt.Errorf("listing %s of %s: %w", kind.Resource, namespace, advised(err))
		}
		for i := range list.Items {
			out = append(out, Object{&list.Items[i]})
		}
		if list.GetContinue() == "" {
			return out, nil
		}
		opts.Continue = list.GetContinue()
	}
}

// Patch merges a change into an object (RFC 7396): a nil removes.
func (c *Client) Patch(ctx context.Context, kind schema.GroupVersionResource, namespace, name string, change map[string]any) error {
	b, err := json.Marshal(change)
	if err != nil {
		return err
	}
	if _, err := c.dyn.Resource(kind).Namespace(namespace).Patch(ctx, name, types.MergePatchType, b, metav1.PatchOptions{FieldManager: "failoverd"}); err != nil {
		return fmt.Errorf("changing %s %s/%s: %w", kind.Resource, namespace, name, advised(err))
	}
	return nil
}

// advised adds what to do about an answer that says who we are not, or what we may
// not do: the cluster's own words are short.
func advised(err error) error {
	switch {
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w: the cluster does not know this user; look at the token or certificate in the kubeconfig, which may have run out, or at the access entry of the role in EKS", err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: the user lacks this right; deploy/kubernetes/rbac.yaml has all that are needed", err)
	}
	return err
}

// Pods are those of a workload, sorted by what is known of them.
type Pods struct {
	Ready    int // and not being deleted
	Starting int // run or will, and are not ready
	Ending   int // being deleted, on a machine that can be heard
	// Unheard are on a machine of which the cluster hears nothing: they may run whatever
	// stands there. The cluster itself writes "Failed" beside pods of a lost machine
	// (Pod Lifecycle, "Pod phase").
	Unheard int
}

// Left are the pods that run or may run.
func (p Pods) Left() int { return p.Ready + p.Starting + p.Ending + p.Unheard }

func (p Pods) String() string {
	s := fmt.Sprintf("%d ready, %d starting, %d ending", p.Ready, p.Starting, p.Ending)
	if p.Unheard > 0 {
		s += fmt.Sprintf(", %d on machines that are not heard from", p.Unheard)
	}
	return s
}

// PodsOf counts the pods of Deployments, StatefulSets and CronJobs.
func (c *Client) PodsOf(ctx context.Context, workload Object) (Pods, error) {
	namespace := workload.GetNamespace()
	var all []Object
	var err error
	if workload.GetKind() == "CronJob" {
		all, err = c.podsOfCronJob(ctx, workload)
	} else {
		var raw map[string]any
		raw, _, err = unstructured.NestedMap(workload.Object, "spec", "selector")
		if err == nil {
			var selector string
			if selector, err = selectorOf(raw); err == nil {
				all, err = c.List(ctx, pods, namespace, selector)
			}
		}
	}
	if err != nil {
		return Pods{}, fmt.Errorf("the pods of %s/%s: %w", namespace, workload.GetName(), err)
	}
	heard, err := c.heard(ctx, all)
	if err != nil {
		return Pods{}, err
	}
	var out Pods
	for _, p := range all {
		node, phase := p.Text("spec", "nodeName"), p.Text("status", "phase")
		switch {
		case node != "" && !heard[node]:
			out.Unheard++
		case phase == "Succeeded" || phase == "Failed":
		case p.GetDeletionTimestamp() != nil:
			out.Ending++
		case p.condition("Ready") == "True":
			out.Ready++
		default:
			out.Starting++
		}
	}
	return out, nil
}

// selectorOf turns a label selector into its text.
func selectorOf(raw map[string]any) (string, error) {
	b, err := json.Marshal(raw)
	if err != nil {
		return "", err
	}
	var ls metav1.LabelSelector
	if err := json.Unmarshal(b, &ls); err != nil {
		return "", err
	}
	s, err := metav1.LabelSelectorAsSelector(&ls)
	if err != nil {
		return "", err
	}
	if s.Empty() || s.String() == labels.Nothing().String() {
		return "", errors.New("its selector is empty: an empty one never means all pods")
	}
	return s.String(), nil
}

// podsOfCronJob follows the owners: suspending a CronJob does not touch the jobs that
// it has started (Kubernetes documentation, CronJob, "Schedule suspension").
func (c *Client) podsOfCronJob(ctx context.Context, cron Object) ([]Object, error) {
	all, err := c.List(ctx, jobs, cron.GetNamespace(), "")
	if err != nil {
		return nil, err
	}
	mine := map[types.UID]bool{} // of the jobs that there are
	for _, j := range all {
		mine[j.GetUID()] = owns(j, cron.GetUID())
	}
	list, err := c.List(ctx, pods, cron.GetNamespace(), "")
	if err != nil {
		return nil, err
	}
	// A job that is deleted is gone at once, and its pods after it (concurrencyPolicy Replace
	// deletes those that run): it is known by the name that a CronJob gives.
	return slices.DeleteFunc(list, func(p Object) bool {
		return !slices.ContainsFunc(p.GetOwnerReferences(), func(r metav1.OwnerReference) bool {
			of, there := mine[r.UID]
			when, named := strings.CutPrefix(r.Name, cron.GetName()+"-")
			return of || !there && r.Kind == "Job" && named && strings.Trim(when, "0123456789") == ""
		})
	}), nil
}

// Unfinished counts the jobs of a CronJob that have not ended: such a job may make
// another pod at any moment.
func (c *Client) Unfinished(ctx context.Context, cron Object) (int, error) {
	all, err := c.List(ctx, jobs, cron.GetNamespace(), "")
	if err != nil {
		return 0, err
	}
	n := 0
	for _, j := range all {
		if owns(j, cron.GetUID()) && j.condition("Complete") != "True" && j.condition("Failed") != "True" {
			n++
		}
	}
	return n, nil
}

func owns(o Object, owner types.UID) bool {
	return slices.ContainsFunc(o.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == owner })
}

// heard tells which machines of pods are ready: a machine that does not report, or
// whose object is gone, may run what it ran.
func (c *Client) heard(ctx context.Context, of []Object) (map[string]bool, error) {
	out := map[string]bool{}
	if !slices.ContainsFunc(of, func(p Object) bool { return p.Text("spec", "nodeName") != "" }) {
		return out, nil
	}
	all, err := c.List(ctx, nodes, "", "")
	if err != nil {
		return nil, err
	}
	for _, n := range all {
		out[n.GetName()] = n.condition("Ready") == "True"
	}
	return out, nil
}
