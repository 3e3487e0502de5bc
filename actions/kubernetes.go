package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/kube"
)

// KubernetesConfig sets the size of Deployments and StatefulSets, and suspends
// CronJobs, in one namespace of a cluster. What would bring pods back on its own is
// handled with them: KEDA is paused, and a HorizontalPodAutoscaler that may scale from
// zero may do so no longer.
type KubernetesConfig struct {
	kube.Access
	Namespace    string   `toml:"namespace" json:"namespace"`
	Deployments  []string `toml:"deployments" json:"deployments,omitempty"`
	StatefulSets []string `toml:"statefulsets" json:"statefulsets,omitempty"`
	CronJobs     []string `toml:"cronjobs" json:"cronjobs,omitempty"`
	// Count is the number of replicas of each Deployment and StatefulSet. Zero stops,
	// and suspends the CronJobs; more starts, never scales down, and lets them run.
	Count int `toml:"count" json:"count"`
	// MinReady is the share of Count, in percent, that must be ready for a start to
	// count as done. Zero means 100.
	MinReady int `toml:"min_ready" json:"min_ready,omitempty"`
}

// Validate implements Config.
func (c *KubernetesConfig) Validate(role Role) error {
	if field, problem := c.Check(); field != "" {
		return badParam(field, "%s", problem)
	}
	switch {
	case role == RoleSwitch:
		return badParam("deployments", "cannot move clients; a switch needs a kind such as route53_weights")
	case c.Namespace == "":
		return badParam("namespace", "is missing")
	case len(c.Deployments)+len(c.StatefulSets)+len(c.CronJobs) == 0:
		return badParam("deployments", "is empty, and so are statefulsets and cronjobs; an empty list never means all of them")
	case c.Count < 0:
		return badParam("count", "%d is negative", c.Count)
	case c.MinReady < 0 || c.MinReady > 100:
		return badParam("min_ready", "%d is not a share in percent", c.MinReady)
	case role == RoleStart && c.Count == 0:
		return badParam("count", "is 0, which starts nothing; give the number of replicas that carry the whole load, or 1 for CronJobs alone")
	case role == RoleStop && c.Count != 0:
		return badParam("count", "is %d, which leaves pods running; a stop needs 0", c.Count)
	}
	for field, list := range map[string][]string{"deployments": c.Deployments, "statefulsets": c.StatefulSets, "cronjobs": c.CronJobs} {
		for i, n := range list {
			if n == "" || slices.Contains(list[:i], n) {
				return badParam(field, "%q is empty or listed twice", n)
			}
		}
	}
	return nil
}

// Version implements Config.
func (c *KubernetesConfig) Version() int { return 1 }

// Timeout implements Config.
func (c *KubernetesConfig) Timeout() time.Duration { return 5 * time.Minute }

// need is how many pods of each must be ready.
func (c *KubernetesConfig) need() int { return share(c.Count, c.MinReady) }

// New implements Config.
func (c *KubernetesConfig) New(d Deps) (Action, error) {
	client, err := c.Open(string(d.Region), d.Cloud)
	if err != nil {
		return nil, err
	}
	return &kubernetes{cfg: c, client: client}, nil
}

// kubernetes believes the pods.
type kubernetes struct {
	cfg    *KubernetesConfig
	client *kube.Client
}

// Idempotent says that Do is absolute.
func (k *kubernetes) Idempotent() {}

// Ages implements Aging: an API server gives up a request after a minute
// (kube-apiserver, --request-timeout).
func (k *kubernetes) Ages() time.Duration { return time.Minute }

// workload is a Deployment, StatefulSet or CronJob, and what else decides how much of
// it runs.
type workload struct {
	kind   schema.GroupVersionResource
	object kube.Object
	hpas   []kube.Object
	kedas  []kube.Object
}

func (w workload) String() string {
	return strings.ToLower(w.object.GetKind()) + " " + w.object.GetName()
}
func (w workload) cron() bool { return w.kind == kube.CronJobs }

// kubePrevious is what Undo puts back of one object; each field is nil where the object
// has no such thing.
type kubePrevious struct {
	Replicas *int  `json:"replicas,omitempty"`
	Suspend  *bool `json:"suspend,omitempty"`
	MinSize  *int  `json:"min,omitempty"`
	// Paused are KEDA's two annotations; "" is none.
	Paused *[2]string `json:"paused,omitempty"`
}

// KEDA's annotations (KEDA documentation, "Pausing autoscaling"): the first also says at
// how many replicas, the second leaves them as they are.
const pausedReplicas, paused = "autoscaling.keda.sh/paused-replicas", "autoscaling.keda.sh/paused"

// was reads what is now, by the object's name.
func (w workload) was(into map[string]kubePrevious) {
	p := kubePrevious{}
	if w.cron() {
		b := w.object.Bool("spec", "suspend")
		p.Suspend = &b
	} else {
		n := w.object.Int(1, "spec", "replicas")
		p.Replicas = &n
	}
	into[w.String()] = p
	for _, h := range w.hpas {
		n := h.Int(1, "spec", "minReplicas")
		into["hpa "+h.GetName()] = kubePrevious{MinSize: &n}
	}
	for _, s := range w.kedas {
		a := s.GetAnnotations()
		into["scaledobject "+s.GetName()] = kubePrevious{Paused: &[2]string{a[pausedReplicas], a[paused]}}
	}
}

// find reads the workloads and their autoscalers.
func (k *kubernetes) find(ctx context.Context) ([]workload, error) {
	ns := k.cfg.Namespace
	hpas, err := k.client.List(ctx, kube.Autoscalers, ns, "")
	if err != nil {
		return nil, err
	}
	kedas, err := k.client.List(ctx, kube.ScaledObjects, ns, "")
	if err != nil {
		return nil, err
	}
	var out []workload
	for _, list := range []struct {
		kind  schema.GroupVersionResource
		names []string
	}{{kube.Deployments, k.cfg.Deployments}, {kube.StatefulSets, k.cfg.StatefulSets}, {kube.CronJobs, k.cfg.CronJobs}} {
		for _, name := range list.names {
			o, err := k.client.Get(ctx, list.kind, ns, name)
			if err != nil {
				return nil, err
			}
			w := workload{kind: list.kind, object: o}
			targets := func(a kube.Object) bool {
				kind := a.Text("spec", "scaleTargetRef", "kind")
				return a.Text("spec", "scaleTargetRef", "name") == name && (kind == o.GetKind() || kind == "" && o.GetKind() == "Deployment")
			}
			for _, h := range hpas {
				// One that KEDA made goes with its ScaledObject.
				if targets(h) && !slices.ContainsFunc(kedas, func(s kube.Object) bool { return ownedBy(h, s) }) {
					w.hpas = append(w.hpas, h)
				}
			}
			for _, s := range kedas {
				if targets(s) { // its kind defaults to Deployment
					w.kedas = append(w.kedas, s)
				}
			}
			out = append(out, w)
		}
	}
	return out, nil
}

func ownedBy(o, owner kube.Object) bool {
	for _, r := range o.GetOwnerReferences() {
		if r.UID == owner.GetUID() {
			return true
		}
	}
	return false
}

// Inspect implements Action.
func (k *kubernetes) Inspect(ctx context.Context) (Effect, error) {
	all, err := k.find(ctx)
	if err != nil {
		return Effect{}, err
	}
	was := map[string]kubePrevious{}
	e := Effect{Inventory: len(all)}
	var says []string
	right, untouched, unheard := 0, 0, 0
	for _, w := range all {
		w.was(was)
		p, err := k.client.PodsOf(ctx, w.object)
		if err != nil {
			return Effect{}, err
		}
		line, told, done := "", false, false
		if k.cfg.Count == 0 {
			line, told, done, err = k.stopped(ctx, w, p)
		} else {
			line, told, done = k.started(w, p)
		}
		if err != nil {
			return Effect{}, err
		}
		says = append(says, fmt.Sprintf("%s: %s%s", w, p, line))
		if done {
			right++
		}
		if !told {
			untouched++
		}
		if told && !done && k.cfg.Count == 0 && p.Unheard > 0 && p.Unheard == p.Left() {
			unheard++
		}
	}
	if e.Previous, err = json.Marshal(was); err != nil {
		return Effect{}, err
	}
	e.Detail = fmt.Sprintf("namespace %s: %s", k.cfg.Namespace, strings.Join(says, "; "))
	switch {
	case right == len(all):
		e.State = Present
	case untouched == len(all):
		e.State = Absent
	case unheard > 0 && right+unheard == len(all):
		// A machine that is not heard from may run its pods, for as long as it likes.
		e.State = Unknown
	default:
		e.State = Partial
	}
	return e, nil
}

// stopped judges one workload of a stop: told says that it is to have no pods, done
// that it has none and will get none.
func (k *kubernetes) stopped(ctx context.Context, w workload, p kube.Pods) (line string, told, done bool, err error) {
	if w.cron() {
		told = w.object.Bool("spec", "suspend")
		n, err := k.client.Unfinished(ctx, w.object)
		if err != nil {
			return "", false, false, err
		}
		if !told {
			return ", not suspended", false, false, nil
		}
		if n > 0 {
			line = fmt.Sprintf(", suspended, but %d jobs that it has started have not ended", n)
		}
		return line, true, n == 0 && p.Left() == 0, nil
	}
	want := w.object.Int(1, "spec", "replicas")
	told = want == 0
	var back []string
	for _, h := range w.hpas {
		if h.Int(1, "spec", "minReplicas") == 0 {
			back = append(back, "hpa "+h.GetName())
		}
	}
	for _, s := range w.kedas {
		if s.GetAnnotations()[pausedReplicas] != "0" {
			back = append(back, "scaledobject "+s.GetName())
		}
	}
	switch {
	case want != 0:
		line = fmt.Sprintf(", %d wanted", want)
	case len(back) > 0:
		line = ", but " + strings.Join(back, " and ") + " may bring it back"
	}
	// The controller has seen it, and counts none either: there is no pod that is just
	// being made.
	seen := int64(w.object.Int(0, "status", "observedGeneration")) >= w.object.GetGeneration() && w.object.Int(0, "status", "replicas") == 0
	if told && len(back) == 0 && !seen && p.Left() == 0 {
		line = ", which its controller has not seen yet"
	}
	return line, told, told && len(back) == 0 && seen && p.Left() == 0, nil
}

// started judges one workload of a start.
func (k *kubernetes) started(w workload, p kube.Pods) (line string, told, done bool) {
	if w.cron() {
		told = !w.object.Bool("spec", "suspend")
		return map[bool]string{false: ", suspended", true: ", not suspended"}[told], told, told
	}
	want := w.object.Int(1, "spec", "replicas")
	told = want >= k.cfg.Count
	line = fmt.Sprintf(", %d wanted", want)
	for _, s := range w.kedas {
		if a := s.GetAnnotations(); a[pausedReplicas] != "" || a[paused] != "" {
			return line + ", scaledobject " + s.GetName() + " is paused", told, false
		}
	}
	return line, told, told && p.Ready >= k.cfg.need()
}

// Do implements Action. What would undo the rest is changed first.
func (k *kubernetes) Do(ctx context.Context, a Attempt) error {
	all, err := k.find(ctx)
	if err != nil {
		return err
	}
	goal := map[string]kubePrevious{}
	for _, w := range all {
		w.was(goal)
	}
	stop := k.cfg.Count == 0
	one := 1
	for name, p := range goal {
		switch {
		case p.Replicas != nil && stop:
			p.Replicas = new(int)
		case p.Replicas != nil:
			n := max(*p.Replicas, k.cfg.Count)
			p.Replicas = &n
		case p.Suspend != nil:
			p.Suspend = &stop
		case p.MinSize != nil && stop && *p.MinSize == 0:
			// Kubernetes leaves a workload of 0 replicas alone unless its autoscaler has a
			// minimum of 0 too, which it may have by default since 1.37 (Horizontal Pod
			// Autoscaling, "Implicit maintenance-mode deactivation").
			p.MinSize = &one
		case p.Paused != nil && stop:
			p.Paused = &[2]string{"0", p.Paused[1]}
		case p.Paused != nil:
			p.Paused = &[2]string{}
		}
		goal[name] = p
	}
	return k.make(ctx, a, all, goal)
}

// Undo implements Action: each object as it was.
func (k *kubernetes) Undo(ctx context.Context, a Attempt) error {
	var was map[string]kubePrevious
	if err := json.Unmarshal(a.Previous, &was); err != nil {
		return fmt.Errorf("reading the previous values: %w", err)
	}
	all, err := k.find(ctx)
	if err != nil {
		return err
	}
	return k.make(ctx, a, all, was)
}

// make brings each object to its goal, its autoscalers first: one that works on the old
// goal would take the new size back. It goes on to the next when one refuses.
func (k *kubernetes) make(ctx context.Context, a Attempt, all []workload, goal map[string]kubePrevious) error {
	var errs []error
	for _, w := range all {
		now := map[string]kubePrevious{}
		w.was(now)
		set := func(kind schema.GroupVersionResource, name, key string) {
			want, known := goal[key]
			if !known || reflect.DeepEqual(want, now[key]) {
				return
			}
			err := cloud.CheckEffectDeadline(ctx, "Kubernetes patch of "+key)
			if err == nil {
				a.Report("%s in namespace %s", key, k.cfg.Namespace)
				err = k.client.Patch(ctx, kind, k.cfg.Namespace, name, want.patch())
			}
			if err != nil {
				errs = append(errs, err)
			}
		}
		for _, h := range w.hpas {
			set(kube.Autoscalers, h.GetName(), "hpa "+h.GetName())
		}
		for _, o := range w.kedas {
			set(kube.ScaledObjects, o.GetName(), "scaledobject "+o.GetName())
		}
		set(w.kind, w.object.GetName(), w.String())
	}
	return errors.Join(errs...)
}

// patch is the change that makes an object so.
func (p kubePrevious) patch() map[string]any {
	spec := map[string]any{}
	switch {
	case p.Replicas != nil:
		spec["replicas"] = *p.Replicas
	case p.Suspend != nil:
		spec["suspend"] = *p.Suspend
	case p.MinSize != nil:
		spec["minReplicas"] = *p.MinSize
	case p.Paused != nil:
		annotations := map[string]any{pausedReplicas: nil, paused: nil}
		for i, name := range []string{pausedReplicas, paused} {
			if v := p.Paused[i]; v != "" {
				annotations[name] = v
			}
		}
		return map[string]any{"metadata": map[string]any{"annotations": annotations}}
	}
	return map[string]any{"spec": spec}
}

// Untouched implements Untouchable: each workload is wanted, and no autoscaler is as a stop
// sets it. A minimum of 1 may be its owner's, and may be what a stop has made of 0.
func (k *kubernetes) Untouched(previous json.RawMessage) bool {
	var was map[string]kubePrevious
	if k.cfg.Count > 0 || json.Unmarshal(previous, &was) != nil {
		return false
	}
	wanted := 0
	for _, p := range was {
		switch {
		case p.Replicas != nil && *p.Replicas == 0, p.Suspend != nil && *p.Suspend,
			p.MinSize != nil && *p.MinSize == 1, p.Paused != nil && p.Paused[0] == "0":
			return false
		case p.Replicas != nil, p.Suspend != nil:
			wanted++
		}
	}
	return wanted > 0
}

// Restored implements Restorer.
func (k *kubernetes) Restored(now Effect, previous json.RawMessage) bool {
	var was, is map[string]kubePrevious
	return json.Unmarshal(previous, &was) == nil && json.Unmarshal(now.Previous, &is) == nil && reflect.DeepEqual(was, is)
}

// Overtaken implements Witness: by the numbers of replicas.
func (k *kubernetes) Overtaken(now Effect, previous json.RawMessage) string {
	var was, is map[string]kubePrevious
	if json.Unmarshal(previous, &was) != nil || json.Unmarshal(now.Previous, &is) != nil {
		return ""
	}
	autoscaled := false
	for _, p := range was {
		autoscaled = autoscaled || p.MinSize != nil || p.Paused != nil
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		then, now := was[name].Replicas, is[name].Replicas
		if then == nil || now == nil {
			continue
		}
		if why := overtakenCount(k.cfg.Count, *then, *now, autoscaled); why != "" {
			return name + ": " + why
		}
	}
	return ""
}
