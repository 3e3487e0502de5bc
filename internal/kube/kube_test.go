package kube

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
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
