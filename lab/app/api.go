package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/ledger"
)

// Message is a business message, as a provider posts it and as it stands in the queue. Key is the business key: it is the
// same in every copy.
type Message struct {
	Key  string `json:"key"`
	Body string `json:"body"`
}

// Accepted is the API's answer to a message.
type Accepted struct {
	Region     string `json:"region"`
	Replicated bool   `json:"replicated"`
	Backlog    int    `json:"backlog"` // messages that nobody has claimed yet
}

// RunAPI serves POST /messages, GET /ws, files and GET /healthz on listen until ctx ends. It answers 202 when a message is in the region's
// store, in the other region's too unless the link is known to be down, and in the region's queue.
func RunAPI(ctx context.Context, world, region, task, listen, queueURL string, log *slog.Logger) error {
	witness, err := ledger.Dial(world+"/"+LedgerSocket, ledger.Event{Role: "api", Region: region, Task: task, Pid: os.Getpid()})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		witness.WaitClosed() // no ledger, no world
		cancel()
	}()
	base, _, _ := strings.Cut(strings.TrimPrefix(queueURL, "http://"), "/")
	queue := sqs.New(sqs.Options{Region: region, BaseEndpoint: aws.String("http://" + base),
		Credentials: credentials.NewStaticCredentialsProvider("AKIAAPI", "secret", ""), HTTPClient: impatient()})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		// What a load balancer is told may differ from what clients see: it asks for itself, seldom, and by this name.
		if strings.HasPrefix(r.UserAgent(), "ELB-HealthChecker/") {
			if f, hit := broken(r.Context(), world, "healthz"); hit && f.Mode == faults.Error {
				http.Error(w, "not today", http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintf(w, "ok %s\n", region)
	})
	mux.HandleFunc("GET /ws", serveWS(world, log))
	mux.HandleFunc("/files/{name}", serveFiles(world, region, s3.New(s3.Options{Region: region, BaseEndpoint: aws.String("http://" + base), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAAPI", "secret", ""), HTTPClient: impatient(), DisableLogOutputChecksumValidationSkipped: true})))
	mux.HandleFunc("POST /messages", func(w http.ResponseWriter, r *http.Request) {
		var m Message
		b, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		if err != nil || json.Unmarshal(b, &m) != nil || m.Key == "" {
			http.Error(w, "want {\"key\": …, \"body\": …}", http.StatusBadRequest)
			return
		}
		store, err := DialStore(StoreSocket(world, region))
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		defer store.c.Close()
		a, err := store.Call(Request{Op: "put", Key: m.Key, Body: m.Body})
		if err != nil || !a.OK {
			http.Error(w, fmt.Sprintf("store: %v %s", err, a.Why), http.StatusServiceUnavailable)
			return
		}
		if _, err := queue.SendMessage(r.Context(), &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: aws.String(string(b))}); err != nil {
			log.Warn("queue", "key", m.Key, "err", err)
			http.Error(w, "queue: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(Accepted{region, a.Replicated, a.Backlog})
	})
	srv := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = srv.Shutdown(stop)
	}()
	if err := srv.ListenAndServe(); err != http.ErrServerClosed { //nolint:errorlint // documented to be returned as is
		return fmt.Errorf("api of %s on %s: %w", region, listen, err)
	}
	return nil
}
