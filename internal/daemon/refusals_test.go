package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What a peer is refused again and again is logged once a minute, with how often it was;
// whatever else is refused is seen beside it. All are counted.
func TestRefusalsAreLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		counted := 0
		p := &peerServer{log: slog.New(slog.NewTextHandler(&out, nil)), refused: func(string) { counted++ }}
		h := p.handler()
		port := 0
		ask := func(host, path string) {
			port++
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("{}"))
			r.RemoteAddr = fmt.Sprintf("%s:%d", host, 1024+port)
			h.ServeHTTP(httptest.NewRecorder(), r)
		}
		kinds := 0
		said := func() []string {
			synctest.Wait()
			p.said.mu.Lock() // what logs holds it
			defer p.said.mu.Unlock()
			defer out.Reset()
			kinds = len(p.said.since)
			return strings.Split(strings.TrimSpace(out.String()), "\n")
		}
		for range 50 {
			ask("192.0.2.1", pathPropose)
		}
		ask("192.0.2.1", pathLease)   // another request
		ask("192.0.2.2", pathPropose) // another peer
		if got := said(); len(got) != 3 || !strings.Contains(got[0], "192.0.2.1:1025") || !strings.Contains(got[0], "request=propose why=\"this request needs a node's certificate\"") {
			t.Errorf("at once:\n%s", strings.Join(got, "\n"))
		}
		time.Sleep(30 * time.Second)
		ask("192.0.2.1", pathPropose)
		if got := said(); got[0] != "" {
			t.Errorf("within a minute: %q", got)
		}
		time.Sleep(31 * time.Second)
		if got := said(); len(got) != 1 || !strings.Contains(got[0], "from=192.0.2.1 request=propose") || !strings.Contains(got[0], "left_out=50") {
			t.Errorf("after a minute: %q", got)
		}
		ask("192.0.2.1", pathPropose)
		time.Sleep(time.Minute)
		if got := said(); len(got) != 1 || !strings.Contains(got[0], "left_out=1 ") {
			t.Errorf("in the next minute: %q", got)
		}
		time.Sleep(time.Minute)
		if got := said(); got[0] != "" || kinds != 0 {
			t.Errorf("when it has stopped: %q, %d remembered", got, kinds)
		}
		ask("192.0.2.1", pathPropose)
		if got := said(); len(got) != 1 || !strings.Contains(got[0], "192.0.2.1:") {
			t.Errorf("when it begins again: %q", got)
		}
		for i := range 1000 {
			ask(fmt.Sprintf("198.51.%d.%d", i/250, i%250), pathPropose)
		}
		if got := said(); len(got) != maxRefusals || kinds != maxRefusals+1 {
			t.Errorf("%d lines for a thousand peers, %d remembered", len(got), kinds)
		}
		if counted != port {
			t.Errorf("%d of %d counted", counted, port)
		}
		time.Sleep(2 * refusalEvery) // the last are told of, and forgotten
	})
}
