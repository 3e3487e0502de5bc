package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/internal/mariadbtest"
	"github.com/failoverd/failoverd/internal/web"
)

// What the probes of a configuration hold is given back when another one takes its place, and by one that was only tried: a connection
// to each server, and whoever watches the members of a replica set.
func TestProbesAreGivenBack(t *testing.T) {
	s, err := mariadbtest.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Feed(t, "CREATE DATABASE failoverd; CREATE TABLE failoverd.canary (node INT); CREATE USER watcher@'127.0.0.1' IDENTIFIED BY 'hunter2'; GRANT SELECT ON failoverd.canary TO watcher@'127.0.0.1'")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // nobody answers there
	h := newHouse(t)
	password := filepath.Join(h.dir, "password")
	if err := os.WriteFile(password, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := h.text("a b c", "[component.workers]", fmt.Sprintf("[component.db]\nsee.mysql = { servers = { east1 = [%q] }, user = \"watcher\", password_file = %q }\n\n[component.mongo]\nsee.mongo = { replica_set = \"rs\", members = { east1 = [%q] } }\n\n[component.workers]", s.Addr, password, ln.Addr()))
	cfg, err := config.Parse("config.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{opts: Options{Config: cfg, Node: "a"}, log: slog.New(slog.DiscardHandler), changed: make(chan struct{}, 1)}
	if d.this, err = cfg.ForNode("a"); err != nil {
		t.Fatal(err)
	}
	d.metrics = web.NewMetrics(d)
	watchers := func() int {
		var b strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&b, 2); err != nil {
			t.Fatal(err)
		}
		return strings.Count(b.String(), "created by go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology.(*Server).Connect ") // also one that has not begun
	}
	connections := func() int {
		return strings.Count(s.Feed(t, "SELECT ID FROM information_schema.PROCESSLIST WHERE USER='watcher'"), "\n")
	}
	until := func(what string, got func() int, want int) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); got() != want; {
			if time.Now().After(end) {
				t.Fatalf("%s: %d, want %d", what, got(), want)
			}
		}
	}

	if err := d.canRun(t.Context(), &failover.Proposal{Source: text, Hash: cfg.Hash()}); err != nil {
		t.Fatal(err)
	}
	until("watchers of a configuration that was only tried", watchers, 0)

	for range 2 { // as one takes the place of the other
		r, err := d.build(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); d.work(ctx, r) }()
		until("connections of one that runs", connections, 1)
		until("watchers of one that runs", watchers, 1)
		cancel()
		<-ended
	}
	until("connections afterwards", connections, 0)
	until("watchers afterwards", watchers, 0)

	// One whose text cannot be kept is not run.
	d.this.Data = filepath.Join(h.dir, "nowhere")
	if _, err := d.take(t.Context(), &failover.State{Source: text}); err == nil {
		t.Fatal("it was kept")
	}
	until("watchers of one that was not kept", watchers, 0)
}
