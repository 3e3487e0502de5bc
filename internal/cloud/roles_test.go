package cloud

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

// region is one region's endpoint: STS, whose sessions have the session's name as
// their token, and everything else, which notes the token that it is called with.
type region struct {
	mu      sync.Mutex
	down    bool
	assumed []string // role and session
	tokens  []string
}

func (r *region) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if err := q.ParseForm(); err == nil && q.Form.Get("Action") == "AssumeRole" {
		role, name := q.Form.Get("RoleArn"), q.Form.Get("RoleSessionName")
		r.assumed = append(r.assumed, role[strings.LastIndex(role, "/")+1:]+" "+name)
		_, _ = fmt.Fprintf(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>token of %s</SessionToken><Expiration>%s</Expiration></Credentials><AssumedRoleUser><Arn>a</Arn><AssumedRoleId>i</AssumedRoleId></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>`,
			name, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		return
	}
	r.tokens = append(r.tokens, q.Header.Get("X-Amz-Security-Token"))
	_, _ = w.Write([]byte(`{"clusters":[]}`))
}

// A node looks with one role and acts with another, in a session of its own for
// each step; the region that is left is asked for neither.
func TestRoles(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	primary, secondary, global := &region{down: true}, &region{}, &region{down: true}
	endpoints := map[string]string{}
	for name, r := range map[string]*region{"us-east-1": primary, "us-east-2": secondary, "global": global} {
		srv := httptest.NewServer(r)
		defer srv.Close()
		endpoints[name] = srv.URL
	}
	roles := Roles{Observe: "arn:aws:iam::1:role/look", Act: "arn:aws:iam::1:role/act", Regions: []string{"us-east-2", "us-east-1"}, Session: "failoverd-use2a"}
	c, err := Open(t.Context(), Options{Endpoints: endpoints, Timeout: time.Second, Roles: roles})
	if err != nil {
		t.Fatal(err)
	}
	call := func(ctx context.Context) {
		t.Helper()
		if _, err := c.ECS("us-east-2").DescribeClusters(ctx, &ecs.DescribeClustersInput{}); err != nil {
			t.Error(err)
		}
	}
	step := WithSession(t.Context(), "failoverd-7-start-api", "us-east-2")
	call(t.Context())
	call(step)
	call(step)
	call(WithSession(t.Context(), "failoverd-7-switch/what is no name: "+strings.Repeat("x", 80), "us-east-2"))
	call(t.Context())
	long := "failoverd-7-switch-what-is-no-name--" + strings.Repeat("x", 28)
	if got, want := strings.Join(secondary.assumed, ", "), "look failoverd-use2a, act failoverd-7-start-api, act "+long; got != want {
		t.Errorf("assumed %s, want %s", got, want)
	}
	if got, want := strings.Join(secondary.tokens, ", "), "token of failoverd-use2a, token of failoverd-7-start-api, token of failoverd-7-start-api, token of "+long+", token of failoverd-use2a"; got != want {
		t.Errorf("called with %s, want %s", got, want)
	}
	if left, ends, err := c.Life(t.Context()); err != nil || !ends || left < 50*time.Minute {
		t.Errorf("good for %s, %t, %v", left, ends, err)
	}
	// The region whose STS is asked first is the one that is dark: the other one knows
	// the role as well.
	secondary.down, primary.down = true, false
	if _, err := c.base.Credentials.Retrieve(WithSession(t.Context(), "failoverd-8-stop-workers", "us-east-2")); err != nil || len(primary.assumed) != 1 {
		t.Errorf("%v, asked %v", err, primary.assumed)
	}
	// On a quiet day the acting role is tried at each of them, and nothing is done with it.
	calls := len(primary.tokens) + len(secondary.tokens)
	role, refused := c.TryActing(t.Context())
	if role != roles.Act || len(refused) != 1 || refused["us-east-2"] == nil || primary.assumed[len(primary.assumed)-1] != "act failoverd-use2a-readiness" {
		t.Errorf("%s, refused %v, asked %v", role, refused, primary.assumed)
	}
	secondary.down = false
	if _, refused := c.TryActing(t.Context()); len(refused) != 0 || len(primary.tokens)+len(secondary.tokens) != calls {
		t.Errorf("refused %v", refused)
	}
	// Without an acting role a step acts as the node looks.
	roles.Act = ""
	if c, err = Open(t.Context(), Options{Endpoints: endpoints, Timeout: time.Second, Roles: roles}); err != nil {
		t.Fatal(err)
	}
	before := len(secondary.tokens)
	call(step)
	if role, refused := c.TryActing(t.Context()); role != "" || len(refused) != 0 {
		t.Errorf("there is no acting role, and %s was tried: %v", role, refused)
	}
	if got := secondary.tokens[before]; got != "token of failoverd-use2a" {
		t.Errorf("it acts with %s", got)
	}
	if len(global.tokens)+len(global.assumed) != 0 {
		t.Error("something global was called")
	}
}

// A step takes its role on in the region that is entered, whichever that is: on the way home the region that is left is not asked. One whose STS was silent
// is asked last until it has answered again.
func TestRolesNearTheStep(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	all := map[string]*region{"us-east-1": {}, "us-east-2": {}}
	endpoints := map[string]string{}
	for name, r := range all {
		srv := httptest.NewServer(r)
		defer srv.Close()
		endpoints[name] = srv.URL
	}
	c, err := Open(t.Context(), Options{Endpoints: endpoints, Timeout: time.Second, Roles: Roles{Act: "arn:aws:iam::1:role/act", Regions: []string{"us-east-2", "us-east-1"}, Session: "failoverd-use2a"}})
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	for _, tt := range []struct {
		near, down, asked string
	}{
		{"us-east-1", "", "us-east-1"},
		{"us-east-2", "", "us-east-2"},
		{"", "", "us-east-2"},
		{"us-east-1", "us-east-1", "us-east-2"},
		{"us-east-1", "", "us-east-2"}, // it was silent
		{"us-east-1", "us-east-2", "us-east-1"},
		{"us-east-2", "", "us-east-1"},
	} {
		before := map[string]int{}
		for name, r := range all {
			r.mu.Lock()
			r.down, before[name] = name == tt.down, len(r.assumed)
			r.mu.Unlock()
		}
		steps++
		if _, err := c.base.Credentials.Retrieve(WithSession(t.Context(), fmt.Sprintf("step-%d", steps), tt.near)); err != nil {
			t.Errorf("step %d: %v", steps, err)
		}
		for name, r := range all {
			if got := len(r.assumed) - before[name]; (got == 1) != (name == tt.asked) {
				t.Errorf("step %d, near %q: %s was asked %d times", steps, tt.near, name, got)
			}
		}
	}
	// Readiness tries them all, and hears them again.
	for _, r := range all {
		r.mu.Lock()
		r.down = false
		r.mu.Unlock()
	}
	if _, refused := c.TryActing(t.Context()); len(refused) > 0 {
		t.Error(refused)
	}
	before := len(all["us-east-2"].assumed)
	if _, err := c.base.Credentials.Retrieve(WithSession(t.Context(), "step-last", "us-east-2")); err != nil || len(all["us-east-2"].assumed) != before+1 {
		t.Errorf("%v, asked %v", err, all["us-east-2"].assumed)
	}
}
