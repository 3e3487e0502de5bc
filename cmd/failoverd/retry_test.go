package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
)

// fakeNode answers at an admin socket with a status, and keeps the orders that come.
func fakeNode(t *testing.T, st admin.Status) (socket string, orders <-chan admin.Command) {
	t.Helper()
	came := make(chan admin.Command, 8)
	socket, orders = filepath.Join(t.TempDir(), "s"), came
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(st) })
	mux.HandleFunc("POST /v1/command", func(w http.ResponseWriter, r *http.Request) {
		var c admin.Command
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			t.Error(err)
		}
		came <- c
		_ = json.NewEncoder(w).Encode(admin.Reply{Outcome: "accepted", Index: 9})
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return socket, orders
}

// What is written on the command line is what the log is asked for, in one order whatever the order of the names: with two_nodes both
// halves have to say the same.
func TestRetryAllows(t *testing.T) {
	socket, orders := fakeNode(t, admin.Status{Execution: &failover.Execution{ID: 7, Plan: &failover.Plan{}}})
	for args, want := range map[string]string{
		"start-mariadb": `{"execution":7,"step":"start-mariadb"}`,
		"start-mariadb --allow small,old --allow small --why w": `{"execution":7,"step":"start-mariadb","allow":["old","small"]}`,
		"start-mariadb --key app/1.sql.gz --why w":              `{"execution":7,"step":"start-mariadb","key":"app/1.sql.gz"}`,
	} {
		cmd := retryCommand(&shared{socket: socket})
		cmd.SetArgs(strings.Fields(args))
		cmd.SetOut(io.Discard)
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c := <-orders; c.Name != "retry" || string(c.Body) != want || strings.Contains(args, "--why") != (c.Why == "w") {
			t.Errorf("%s: %+v, %s", args, c, c.Body)
		}
	}
}

// Status says what a step was allowed, by whom and why.
func TestStatusShowsWhatIsAllowed(t *testing.T) {
	var b bytes.Buffer
	showExecution(&b, &failover.Execution{
		Plan: &failover.Plan{Steps: []failover.Step{{ID: "start-mariadb"}, {ID: "start-mongo"}}},
		Steps: map[failover.StepID]*failover.StepRecord{"start-mariadb": {State: failover.StepRunning, Allowed: []failover.Allowance{
			{Overrides: []string{"old", "small"}, Key: "app/1.sql", By: "uid 1", With: "uid 2", Why: "the new ones are empty"},
		}}},
	}, nil)
	want := "allowed: old, small; key app/1.sql, by uid 1 and uid 2 (the new ones are empty)\n"
	if got := b.String(); strings.Count(got, "allowed") != 1 || !strings.Contains(got, want) || strings.Index(got, want) > strings.Index(got, "start-mongo") {
		t.Errorf("%s", got)
	}
}
