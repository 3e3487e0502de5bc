package actions

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// touchesMore are the kinds that are not held to one region, and why.
var touchesMore = map[string]string{
	"gate":            "it asks the gates of all nodes, wherever they are, and waits for none: those that are silent say \"serve\"",
	"route53_weights": "its records are changed by a control plane of the whole world, which lies in us-east-1: it says that it needs that",
	"mariadb_dump":    "it takes along what the region that is left holds, and only a switchover has it, which leaves a region that lives: it says that it needs that",
	"mongo_promote":   "who may lead is judged by what all members say, wherever they are, and it waits for none",
	"exec":            "what its command touches is the command's business: what it needs is not known, and plan show says so",
	"approval":        "it does nothing",
}

// elsewhereIn is an address that nobody may call who acts in us-east-2.
func elsewhereIn(t *testing.T) (url string) {
	t.Helper()
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s was sent to another host than that of us-east-2", r.Method, r.URL)
	}))
	t.Cleanup(other.Close)
	return other.URL
}

// inRegion is AWS with us-east-2 at one address, which has an STS as well, and everything else where nobody may call. A node takes on a role to look, and
// another one to act.
func inRegion(t *testing.T, services string) (c *cloud.Clients, own string) {
	t.Helper()
	behind, err := url.Parse(services)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "/us-east-2/sts/") {
			if r.Header.Get("X-Amz-Security-Token") == "" && r.Header.Get("Authorization") != "" {
				t.Errorf("%s %s is signed by no role", r.Method, r.URL)
			}
			proxy.ServeHTTP(w, r)
			return
		}
		_, _ = fmt.Fprintf(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration></Credentials><AssumedRoleUser><Arn>a</Arn><AssumedRoleId>i</AssumedRoleId></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>`,
			time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(srv.Close)
	other := elsewhereIn(t)
	c, err = cloud.Open(t.Context(), cloud.Options{Endpoints: map[string]string{"us-east-1": other, "global": other, "us-east-2": srv.URL}, Timeout: time.Second,
		Roles: cloud.Roles{Observe: "arn:aws:iam::1:role/look", Act: "arn:aws:iam::1:role/act", Regions: []string{"us-east-2", "us-east-1"}, Session: "failoverd-use2a"}})
	if err != nil {
		t.Fatal(err)
	}
	return c, srv.URL
}

// A step that acts in us-east-2 calls nothing but us-east-2: not the region that is
// left, and nothing global. What needs the one or the other says so (needs.go).
func TestStepsTouchTheirRegionOnly(t *testing.T) {
	held := map[string]bool{"mariadb_restore": true} // below
	for n, s := range subjects(t, trafficZone()) {
		kind, _, _ := strings.Cut(s.name, " ")
		if touchesMore[kind] != "" {
			continue
		}
		held[kind] = true
		t.Run(s.name, func(t *testing.T) {
			c := conform(t, n)
			var own string
			c.deps.Cloud, own = inRegion(t, c.host)
			if k, ok := c.cfg.(*KubernetesConfig); ok {
				eksAt(t, k, c.moody, own)
			}
			a := c.action()
			before := c.look(a)
			for n, f := range []func(context.Context, Attempt) error{a.Do, a.Undo} {
				try := c.next(before)
				try.Near = "us-east-2"
				ctx, cancel := acting(t.Context(), try, time.Now().Add(time.Minute))
				if err := f(ctx, try); err != nil {
					t.Errorf("call %d: %v", n, err)
				}
				cancel()
				c.passes()
				c.look(a)
			}
			if calls, changes := c.counted(); calls < 4 || changes == 0 {
				t.Errorf("only %d calls reached us-east-2, of which %d change something", calls, changes)
			}
			needsNothingElse(t, kind, c.cfg)
		})
	}
	for f := range reflect.TypeFor[Kinds]().Fields() {
		if kind := f.Tag.Get("toml"); held[kind] == (touchesMore[kind] != "") {
			t.Errorf("%s: held to its region: %t, and it has a reason not to be: %q", kind, held[kind], touchesMore[kind])
		}
	}
	var left bool
	for _, n := range needsOf(t, "mariadb_dump", &MariaDBDumpConfig{MariaDBRestoreConfig{Bucket: "b", Servers: map[failover.Region]string{"us-east-1": "a:3306", "us-east-2": "b:3306"}, User: "u",
		PasswordFile: "/p", Databases: []string{"app"}, Fresh: &MariaDBFreshConfig{}}}) {
		left = left || n == Need{What: "MariaDB at a:3306", Region: "us-east-1"}
	}
	if !left {
		t.Error("mariadb_dump does not say what it needs in the region that is left")
	}
	var far bool
	for _, n := range needsOf(t, "route53_weights", &Route53WeightsConfig{Zone: "Z1", Names: []string{"api.example.net"}, Token: "_failoverd.example.net"}) {
		far = far || n.Region == route53Region
	}
	if !far {
		t.Error("route53_weights does not say what it needs in us-east-1")
	}
}

// A restore reads from S3 in its own region, and talks to no server but its own and, if the configuration names one, the other region's: that is
// asked once whether it is the same one, and not waited for.
func TestARestoreTouchesItsRegionOnly(t *testing.T) {
	_, f, c, d := restorable(t)
	var read atomic.Int64
	bucket := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		read.Add(1)
		f.ServeHTTP(w, r)
	}))
	defer bucket.Close()
	d.Cloud, _ = inRegion(t, bucket.URL)
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var asked atomic.Int64
	go func() {
		for {
			conn, err := other.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			_ = conn.Close()
		}
	}()
	for most, servers := range []map[failover.Region]string{c.Servers, {"us-east-2": c.Servers["us-east-2"], "us-east-1": other.Addr().String()}} {
		c.Servers = servers
		x := restorer(t, c, d)
		becomes(t, x, Absent, "") // the server may take a moment to see that a connection is gone
		a := attempt(uint64(20*most)+11, inspect(t, x, Absent, ""))
		a.Epoch = 2
		if err := x.Do(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		inspect(t, x, Present, "")
		do(t, x.Undo, a.Token+1, a.Previous)
		if n := asked.Load(); n > int64(most) {
			t.Errorf("a server of us-east-1 was asked %d times, not %d", n, most)
		}
	}
	if asked.Load() == 0 || read.Load() < 4 {
		t.Errorf("us-east-1's server was asked %d times, S3 %d times", asked.Load(), read.Load())
	}
	needsNothingElse(t, "mariadb_restore", c)
}

// eksAt makes the configuration one of an EKS cluster, which is reached as in life: over TLS, with a token that the region's STS would take.
func eksAt(t *testing.T, k *KubernetesConfig, api http.Handler, sts string) {
	t.Helper()
	var once sync.Once
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signed, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer k8s-aws-v1."))
		u, perr := url.Parse(string(signed))
		if err != nil || perr != nil || "http://"+u.Host != sts || !strings.Contains(u.Query().Get("X-Amz-Credential"), "/us-east-2/sts/") {
			once.Do(func() { t.Errorf("the token leads to %q, and not to STS in us-east-2 (%v, %v)", signed, err, perr) })
		}
		api.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	k.Server, k.CAFile = srv.URL, filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(k.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func attempt(token uint64, e Effect) Attempt {
	return Attempt{Execution: 1, Number: 1, Epoch: 2, Token: token, Previous: e.Previous, Deadline: time.Now().Add(time.Minute)}
}

// needsOf is what a step of us-east-2 says that it needs.
func needsOf(t *testing.T, kind string, c Config) []Need {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out := Needs(failover.Step{ID: "x", Kind: failover.KindStart, Region: "us-east-2", Action: kind, Version: c.Version(), Params: b})
	if len(out) == 0 {
		t.Errorf("it does not say what it needs")
	}
	return out
}

// needsNothingElse fails if it says that it needs another region.
func needsNothingElse(t *testing.T, kind string, c Config) {
	t.Helper()
	for _, n := range needsOf(t, kind, c) {
		if n.Region != "us-east-2" && n.Region != "" {
			t.Errorf("it says that it needs %s", n)
		}
	}
}
