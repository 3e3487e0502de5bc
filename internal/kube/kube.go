// Package kube speaks to the API server of a Kubernetes cluster: with a kubeconfig
// file, or with the AWS credentials of this host if the cluster is EKS's. It asks the
// cluster itself and never the EKS API, which is one thing less to fail in the night:
// where the cluster is stands in the configuration.
package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/failoverd/failoverd/internal/cloud"
)

// Access is how to reach a cluster: Kubeconfig, or EKS with Server.
type Access struct {
	// Kubeconfig is the path of a file on each node, and Context the one to use of it;
	// "" is the file's current one.
	Kubeconfig string `toml:"kubeconfig" json:"kubeconfig,omitempty"`
	Context    string `toml:"context" json:"context,omitempty"`
	// EKS is the cluster's name, Server its API endpoint, and CAFile its certificate
	// authority; "" trusts those of the host.
	EKS    string `toml:"eks" json:"eks,omitempty"`
	Server string `toml:"server" json:"server,omitempty"`
	CAFile string `toml:"ca_file" json:"ca_file,omitempty"`
}

// Check says which field is wrong, and how; "" if none is.
func (a *Access) Check() (field, problem string) {
	switch {
	case a.Kubeconfig == "" && a.EKS == "":
		return "kubeconfig", "is missing; give a file, or eks with server"
	case a.Kubeconfig != "" && a.EKS+a.Server+a.CAFile != "":
		return "kubeconfig", "stands beside eks, server or ca_file: it is one or the other"
	case a.Kubeconfig == "" && a.Context != "":
		return "context", "belongs to a kubeconfig"
	case a.Kubeconfig != "":
		return "", ""
	}
	u, err := url.Parse(strings.NewReplacer("{", "", "}", "").Replace(a.Server))
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return "server", fmt.Sprintf("%q is no https:// address; `aws eks describe-cluster --name %s --query cluster.endpoint` says it", a.Server, a.EKS)
	}
	return "", ""
}

// Timeout bounds each call.
const Timeout = 5 * time.Second

// Open makes a client. It dials nothing. clients may be nil with a kubeconfig.
func (a *Access) Open(region string, clients *cloud.Clients) (*Client, error) {
	cfg, err := a.config(region, clients)
	if err != nil {
		return nil, err
	}
	return New(cfg)
}

func (a *Access) config(region string, clients *cloud.Clients) (*rest.Config, error) {
	if a.Kubeconfig != "" {
		loader := &clientcmd.ClientConfigLoadingRules{ExplicitPath: a.Kubeconfig}
		cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(loader, &clientcmd.ConfigOverrides{CurrentContext: a.Context}).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("kubeconfig %s: %w", a.Kubeconfig, err)
		}
		return cfg, nil
	}
	if clients == nil {
		return nil, errors.New("there are no AWS clients")
	}
	cfg := &rest.Config{Host: a.Server}
	if a.CAFile != "" {
		if _, err := os.Stat(a.CAFile); err != nil {
			return nil, fmt.Errorf("the certificate authority of cluster %s: %w", a.EKS, err)
		}
		cfg.CAFile = a.CAFile
	}
	cfg.Wrap(bearer(func(ctx context.Context) (string, error) { return clients.EKSToken(ctx, region, a.EKS) }))
	return cfg, nil
}

// bearer signs a token for each request, which calls nothing: whether a request looks
// or acts, and in which session, stands in its context (internal/cloud, Roles).
func bearer(token func(context.Context) (string, error)) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			v, err := token(r.Context())
			if err != nil {
				return nil, err
			}
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", "Bearer "+v)
			return next.RoundTrip(r)
		})
	}
}

// inTime looks at the deadline of an effect right before each try of a change is
// sent, as for the calls of AWS (rule E2): client-go tries again by itself when the
// server says Retry-After, and a paused machine goes on where it stood.
func inTime(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodGet {
			if err := cloud.CheckEffectDeadline(r.Context(), "Kubernetes "+r.Method+" "+r.URL.Path); err != nil {
				return nil, err
			}
		}
		return next.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Client speaks to one cluster.
type Client struct{ dyn dynamic.Interface }

// New makes a client of a configuration.
func New(cfg *rest.Config) (*Client, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = Timeout
	cfg.QPS, cfg.Burst = 50, 100 // a failover is no time to be shy
	cfg.UserAgent = "failoverd"
	cfg.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil } //nolint:nilnil // no proxy
	cfg.Wrap(inTime)
	d, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("a client of the cluster: %w", err)
	}
	return &Client{dyn: d}, nil
}

// The kinds that are read or changed.
var (
	Deployments   = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	StatefulSets  = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
	CronJobs      = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "cronjobs"}
	jobs          = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}
	pods          = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	nodes         = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	Autoscalers   = schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}
	ScaledObjects = schema.GroupVersionResource{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledobjects"}
)
