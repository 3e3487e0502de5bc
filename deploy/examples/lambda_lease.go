//go:build ignore

// Command lambda_lease is a function that works only under the lease of its region. FAILOVERD_LEASE is the address of one or more
// agents in the VPC that run `failoverd agent --component functions --serve 10.0.1.20:7790 …`, comma-separated. "off" asks nobody:
// for the day of the runbook, when failoverd itself is gone.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

var (
	agents = strings.Split(os.Getenv("FAILOVERD_LEASE"), ",")
	client = &http.Client{Timeout: time.Second}
)

// MayWork fails before anything was done: the event stays in its queue. ctx is the invocation's own, whose deadline Lambda
// keeps, whatever becomes of the function.
func MayWork(ctx context.Context) error {
	if os.Getenv("FAILOVERD_LEASE") == "off" {
		return nil
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return fmt.Errorf("no deadline: nobody would know when this ends")
	}
	why := "no agent to ask"
	for _, agent := range agents {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/lease?need=%s", agent, time.Until(deadline)), nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			why = err.Error()
			continue
		}
		body, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return nil
		}
		why = string(body)
	}
	return fmt.Errorf("no lease: %s", why)
}

// Each record of an event asks again: what was given leave for the first one may be over by the last.
func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 28*time.Second) // Lambda's own context has this
	defer cancel()
	if err := MayWork(ctx); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("works")
}
