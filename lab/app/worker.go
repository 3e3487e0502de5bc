package app

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	_ "github.com/go-sql-driver/mysql" // the driver "mysql"

	"github.com/failoverd/failoverd/lab/ledger"
)

// Sockets of the world's directory.
const (
	LedgerSocket = "ledger.sock"
	storeSocket  = "store-%s.sock"
)

// StoreSocket is the path of a region's store socket.
func StoreSocket(world, region string) string {
	return fmt.Sprintf("%s/"+storeSocket, world, region)
}

// WorkerOptions sets up a worker process.
type WorkerOptions struct {
	World, Region, Task string
	QueueURL            string   // http://…:4566/123456789012/messages
	ActiveSocket        string   // of the agent; "" means: ask nobody, just run
	StoreAddress        string   // of the store over the network; "" means its unix socket, which no fence at the network cuts
	MariaDB             string   // data source name of the region's; "" means that the application has none
	MongoDB             []string // members, to find the others by; nil means that the application has none
	TimeFactor          float64  // divides all durations
	Log                 *slog.Logger
}

type worker struct {
	WorkerOptions
	ledger *ledger.Client
	store  *StoreClient
	sql    *sql.DB // nil: there is none
	sqs    *sqs.Client
	agent  *http.Client
	rnd    *rand.Rand
}

// RunWorker processes messages until ctx ends; a message in hand is finished first. Before anything else it connects to
// the ledger: from then on the kernel witnesses its life.
func RunWorker(ctx context.Context, opt WorkerOptions) error {
	w := &worker{WorkerOptions: opt, rnd: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(os.Getpid())))}
	var err error
	if w.ledger, err = ledger.Dial(opt.World+"/"+LedgerSocket, ledger.Event{Role: "worker", Region: opt.Region, Task: opt.Task, Pid: os.Getpid()}); err != nil {
		return err
	}
	if opt.StoreAddress != "" {
		w.store = FarStore(opt.StoreAddress)
	} else if w.store, err = DialStore(StoreSocket(opt.World, opt.Region)); err != nil {
		return err
	}
	if opt.MariaDB != "" {
		if w.sql, err = sql.Open("mysql", opt.MariaDB); err != nil {
			return fmt.Errorf("MariaDB: %w", err)
		}
		defer w.sql.Close()
	}
	base, _, ok := strings.Cut(strings.TrimPrefix(opt.QueueURL, "http://"), "/")
	if !ok {
		return fmt.Errorf("queue URL %q: want http://host:port/account/name", opt.QueueURL)
	}
	w.sqs = sqs.New(sqs.Options{Region: opt.Region, BaseEndpoint: aws.String("http://" + base),
		Credentials: credentials.NewStaticCredentialsProvider("AKIAWORKER", "secret", ""), HTTPClient: impatient()})
	w.agent = agentClient(opt.ActiveSocket)
	if opt.MongoDB != nil {
		go w.chronicle(ctx, opt.MongoDB)
	}
	var swept time.Time
	for ctx.Err() == nil {
		if time.Since(swept) > w.scale(15*time.Second) {
			w.sweep(ctx)
			swept = time.Now()
		}
		if err := w.poll(ctx); err != nil && ctx.Err() == nil {
			if _, gone := w.ledger.ProcessedIn(w.Region, ""); gone != nil || errors.Is(err, errWorldEnded) {
				return fmt.Errorf("%w: %w", errWorldEnded, err)
			}
			opt.Log.Warn("worker", "err", err)
			pause(ctx, w.scale(time.Second))
		}
	}
	return nil
}

var errWorldEnded = errors.New("the ledger or the store is gone: the world has ended")

func (w *worker) scale(d time.Duration) time.Duration {
	return time.Duration(float64(d) / w.TimeFactor)
}

// sweep handles what the store holds and nobody has claimed: messages of the other region, whose queue is out of reach, or
// in reach and without workers, as when a client that ignores the TTL still speaks to a region that came back.
func (w *worker) sweep(ctx context.Context) {
	a, err := w.store.Call(Request{Op: "sweep"})
	if err != nil {
		w.Log.Warn("sweep", "err", err)
		return
	}
	w.rnd.Shuffle(len(a.Keys), func(i, j int) { a.Keys[i], a.Keys[j] = a.Keys[j], a.Keys[i] }) // workers sweep at the same time
	for _, k := range a.Keys {
		for ctx.Err() == nil {
			settled, err := w.handle(ctx, k)
			if err != nil {
				w.Log.Warn("sweep", "key", k, "err", err)
				return
			}
			if settled {
				break
			}
			pause(ctx, w.scale(time.Second)) // claims wait while the other region cannot be asked
		}
	}
}

func (w *worker) poll(ctx context.Context) error {
	out, err := w.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &w.QueueURL, MaxNumberOfMessages: 1, WaitTimeSeconds: 2})
	if err != nil {
		return fmt.Errorf("receive from %s: %w", w.QueueURL, err)
	}
	for _, m := range out.Messages {
		var msg Message
		if err := json.Unmarshal([]byte(aws.ToString(m.Body)), &msg); err != nil {
			return fmt.Errorf("message %s is not ours: %w", aws.ToString(m.MessageId), err)
		}
		settled, err := w.handle(ctx, msg.Key)
		if err != nil {
			return err
		}
		if !settled {
			continue // it comes back after the visibility timeout
		}
		if _, err := w.sqs.DeleteMessage(context.WithoutCancel(ctx), &sqs.DeleteMessageInput{QueueUrl: &w.QueueURL, ReceiptHandle: m.ReceiptHandle}); err != nil {
			return fmt.Errorf("delete message %s: %w", msg.Key, err)
		}
	}
	return nil
}

// handle processes one message if it may. settled means that its copy in the queue is of no more use.
func (w *worker) handle(ctx context.Context, key string) (settled bool, err error) {
	epoch, active := w.active(ctx)
	if !active {
		pause(ctx, w.scale(time.Second))
		return false, nil
	}
	customer, err := w.customer(ctx, key)
	if err != nil {
		return false, err
	}
	c, err := w.store.Call(Request{Op: "claim", Key: key, Epoch: epoch})
	if err != nil {
		return false, w.lost(err)
	}
	if !c.OK {
		return c.Why == "done" || strings.HasPrefix(c.Why, "in doubt"), nil
	}
	if c.Reclaimed { // its worker died after the claim: look into the region's own database
		found, err := w.ledger.ProcessedIn(w.Region, key)
		if err != nil {
			return false, fmt.Errorf("%w: %w", errWorldEnded, err)
		}
		if found {
			_, err := w.store.Call(Request{Op: "done", Key: key, Epoch: epoch})
			return true, err
		}
	}
	start := time.Now()
	time.Sleep(w.scale(500*time.Millisecond + time.Duration(w.rnd.Int64N(int64(2500*time.Millisecond))))) // the work; a stop request waits for it
	if w.StoreAddress != "" {                                                                             // the database lies beside the store: who cannot reach the one writes nothing into the other
		if _, err := w.store.Call(Request{Op: "reach"}); err != nil {
			return false, err
		}
	}
	if err := w.deliver(ctx, key, customer); err != nil {
		return false, err
	}
	if err := w.ledger.Write(ledger.Event{Type: ledger.Processed, Region: w.Region, Task: w.Task, Key: key, Epoch: epoch, Start: start, End: time.Now()}); err != nil {
		return false, fmt.Errorf("%w: %w", errWorldEnded, err)
	}
	if _, err := w.store.Call(Request{Op: "done", Key: key, Epoch: epoch}); err != nil {
		return false, w.lost(err)
	}
	return true, nil
}

// customers are those of before the last backup.
const customers = 2000

// customer looks up whose message it is: without the database nothing is worked on.
func (w *worker) customer(ctx context.Context, key string) (id int, err error) {
	if w.sql == nil {
		return 0, nil
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	id = int(h.Sum32() % customers)
	name := ""
	if err := w.sql.QueryRowContext(ctx, "SELECT name FROM customers WHERE id = ?", id).Scan(&name); err != nil {
		return 0, fmt.Errorf("customer %d of message %s: %w", id, key, err)
	}
	return id, nil
}

// deliver writes down what was done for whom.
func (w *worker) deliver(ctx context.Context, key string, customer int) error {
	if w.sql == nil {
		return nil
	}
	if _, err := w.sql.ExecContext(context.WithoutCancel(ctx), "INSERT INTO deliveries (message, customer, region) VALUES (?, ?, ?)", key, customer, w.Region); err != nil {
		return fmt.Errorf("message %s: %w", key, err)
	}
	return nil
}

// lost is what a store that does not answer means: over its unix socket the end of the world, over the network less.
func (w *worker) lost(err error) error {
	if w.StoreAddress != "" {
		return err
	}
	return fmt.Errorf("%w: %w", errWorldEnded, err)
}

// impatient is a client that gives a dead connection up instead of waiting for TCP to do so: long polls take 2 s.
func impatient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTimeout(4 * time.Second)
}

func agentClient(socket string) *http.Client {
	return &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
}

// active asks the agent whether this region's critical processes may run. No answer means no.
func (w *worker) active(ctx context.Context) (epoch uint64, ok bool) {
	if w.ActiveSocket == "" {
		return 0, true
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://unix/active", nil)
	if err != nil {
		return 0, false
	}
	resp, err := w.agent.Do(req)
	if err != nil {
		w.Log.Warn("agent does not answer", "err", err)
		return 0, false
	}
	defer resp.Body.Close()
	var a struct {
		Active bool   `json:"active"`
		Epoch  uint64 `json:"epoch"`
	}
	if resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(&a) != nil {
		return 0, false
	}
	return a.Epoch, a.Active
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
