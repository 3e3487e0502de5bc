package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/failoverd/failoverd/internal/cloud"
)

// A change is not sent after its deadline (rule E2), whoever tries it again: not by
// client-go, which waits as long as the server says, either.
func TestNoChangeAfterItsDeadline(t *testing.T) {
	var patches atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			patches.Add(1)
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer server.Close()
	client, err := New(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		left time.Duration
		want int64
	}{{-time.Millisecond, 0}, {500 * time.Millisecond, 1}} {
		patches.Store(0)
		err := client.Patch(cloud.WithEffectDeadline(context.Background(), time.Now().Add(c.left)), Deployments, "a", "b", map[string]any{"spec": nil})
		var late *cloud.EffectDeadlineError
		if !errors.As(err, &late) || patches.Load() != c.want {
			t.Errorf("%s before its deadline: sent %d times, then: %v", c.left, patches.Load(), err)
		}
	}
}

// What the cluster says of rights and of names is short: what to do about it is added.
func TestRefusalsAreAdvised(t *testing.T) {
	for code, want := range map[int]string{
		http.StatusUnauthorized: "look at the token or certificate in the kubeconfig",
		http.StatusForbidden:    "deploy/kubernetes/rbac.yaml has all that are needed",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d}`, strings.ReplaceAll(http.StatusText(code), " ", ""), code)
		}))
		client, err := New(&rest.Config{Host: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		_, getErr := client.Get(t.Context(), Deployments, "a", "b")
		_, listErr := client.List(t.Context(), Deployments, "a", "")
		for _, err := range []error{getErr, listErr, client.Patch(cloud.WithEffectDeadline(t.Context(), time.Now().Add(time.Minute)), Deployments, "a", "b", map[string]any{})} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%d: %v", code, err)
			}
		}
		server.Close()
	}
}
