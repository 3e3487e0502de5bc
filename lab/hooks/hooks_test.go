package hooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
)

// The gateway takes a call once it is signed, young and newer than the last one, and it takes a while.
func TestGateway(t *testing.T) {
	g := New("us-east-1", 50*time.Millisecond, faults.NewSet(1))
	call := func(method, uri, body, key string, at time.Time) (int, string) {
		r := httptest.NewRequestWithContext(t.Context(), method, uri, strings.NewReader(body))
		mac := hmac.New(sha256.New, []byte(key))
		fmt.Fprintf(mac, "%d.%s.%s.%s", at.Unix(), method, uri, body)
		r.Header.Set("Failoverd-Signature", fmt.Sprintf("t=%d,v1=%s", at.Unix(), hex.EncodeToString(mac.Sum(nil))))
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	const uri = "/partners?region=us-east-2"
	do := func(token int) string {
		return fmt.Sprintf(`{"region":"us-east-2","action":"do","step":"start-partners","token":%d,"previous":"us-east-1"}`, token)
	}
	for _, tt := range []struct {
		what, method, uri, body, key string
		at                           time.Time
		code                         int
		says                         string
	}{
		{"a look", "GET", uri, "", Secret, time.Now(), 200, `"state":"absent"`},
		{"another key", "POST", uri, do(7), "another key", time.Now(), 401, "is not ours"},
		{"an old call", "POST", uri, do(7), Secret, time.Now().Add(-6 * time.Minute), 401, "old"},
		{"another region", "POST", "/partners?region=us-east-1", do(7), Secret, time.Now(), 400, ""},
		{"a call", "POST", uri, do(7), Secret, time.Now(), 202, "token 7"},
		{"an older writer", "POST", uri, do(6), Secret, time.Now(), 409, "token 7"},
		{"a look at once", "GET", uri, "", Secret, time.Now(), 200, `"state":"partial"`},
	} {
		if code, says := call(tt.method, tt.uri, tt.body, tt.key, tt.at); code != tt.code || !strings.Contains(strings.ReplaceAll(says, " ", ""), strings.ReplaceAll(tt.says, " ", "")) {
			t.Errorf("%s: %d %s", tt.what, code, says)
		}
	}
	wait := func(region string) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); ; <-time.After(5 * time.Millisecond) {
			_, says := call("GET", "/partners?region="+region, "", Secret, time.Now())
			if strings.Contains(says, "present") {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s is not pushed to: %s", region, says)
			}
		}
	}
	wait("us-east-2")
	if code, _ := call("POST", "/partners/undo?region=us-east-2", strings.Replace(do(8), `"do"`, `"undo"`, 1), Secret, time.Now()); code != http.StatusAccepted {
		t.Errorf("undo: %d", code)
	}
	wait("us-east-1")
}
