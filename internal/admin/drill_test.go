package admin

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// A drill tells how far it is and how it ended, and ends with whoever asked for it.
func TestDrill(t *testing.T) {
	n := newFakeNode()
	c := serve(t, n)
	var said []string
	say := func(line string) { said = append(said, line) }
	d, err := c.Drill(t.Context(), "mariadb", "a Sunday", say)
	if err != nil || d.Took != failover.Duration(time.Minute) || d.Detail != "all of it" || strings.Join(said, "|") != "half of mariadb" {
		t.Errorf("%+v, %v, said %q", d, err, said)
	}
	if n.why != "a Sunday" || !strings.HasPrefix(n.by, "uid ") {
		t.Errorf("by %q, why %q", n.by, n.why)
	}
	if _, err := c.Drill(t.Context(), "mongo", "w", say); err == nil || err.Error() != "it cannot be tried out" {
		t.Errorf("%v", err)
	}
	ended := n.Changed()
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := c.Drill(ctx, "hangs", "w", func(string) { cancel() }); err == nil {
		t.Error("who has left has an answer")
	}
	<-ended
	if _, err := c.Drill(t.Context(), "mariadb", "", say); err == nil || !strings.Contains(err.Error(), "needs a reason") {
		t.Errorf("without a reason: %v", err)
	}
}

// Who stops reading, as behind a pager, does not hold the drill up: it ends with them.
func TestDrillOfAStoppedTerminal(t *testing.T) {
	n := newFakeNode()
	srv := httptest.NewServer(Server(n, slog.New(slog.DiscardHandler)).Handler)
	defer srv.Close()
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ended := n.Changed()
	if _, err := io.WriteString(c, "POST /v1/drill?component=floods&why=w HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(4 * drillPatience):
		t.Error("the drill waits for who does not read")
	}
}
