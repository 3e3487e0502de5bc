package cloud

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// The service works in the region whose STS is asked first, and that region is dark: it answers nothing, and nothing is refused. A step has as long
// for its call as two attempts take, and taking on the role is a part of it.
func TestADarkSTSHoldsNoStepUp(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	var asked atomic.Int64
	over := make(chan struct{})
	dark := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		select {
		case <-r.Context().Done():
		case <-over:
		}
	}))
	defer dark.Close()
	defer close(over)
	lives := &region{}
	srv := httptest.NewServer(lives)
	defer srv.Close()
	const timeout = time.Second
	c, err := Open(t.Context(), Options{Endpoints: map[string]string{"us-east-2": dark.URL, "us-east-1": srv.URL}, Timeout: timeout,
		Roles: Roles{Act: "arn:aws:iam::1:role/act", Regions: []string{"us-east-2", "us-east-1"}, Session: "failoverd-use1a"}})
	if err != nil {
		t.Fatal(err)
	}
	take := func(session string) {
		t.Helper()
		begun := time.Now()
		if _, err := c.base.Credentials.Retrieve(WithSession(WithEffectDeadline(t.Context(), begun.Add(2*timeout)), session, "us-east-2")); err != nil {
			t.Errorf("%s: %v", session, err)
		}
		if took := time.Since(begun); took >= 2*timeout {
			t.Errorf("%s: the role was taken on after %s", session, took)
		}
	}
	take("failoverd-8-start-api")
	before := asked.Load()
	take("failoverd-8-start-workers")
	if before == 0 || asked.Load() != before {
		t.Errorf("the dark STS was asked %d times for the first step, and %d more for the second: want it asked, and then the one that has answered", before, asked.Load()-before)
	}
	if len(lives.assumed) != 2 {
		t.Errorf("taken on: %v", lives.assumed)
	}
}
