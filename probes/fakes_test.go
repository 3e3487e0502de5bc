package probes

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/failoverd/failoverd/internal/cloud"
)

// dnsServer answers for the given records and returns its address.
func dnsServer(t *testing.T, records ...string) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg)
		r.SetReply(q)
		r.Rcode = dns.RcodeNameError
		for _, text := range records {
			rr, err := dns.NewRR(text)
			if err != nil {
				panic(err)
			}
			if strings.EqualFold(rr.Header().Name, q.Question[0].Name) {
				r.Rcode = dns.RcodeSuccess
				if rr.Header().Rrtype == q.Question[0].Qtype {
					r.Answer = append(r.Answer, rr)
				}
			}
		}
		_ = w.WriteMsg(r)
	})}
	go func() { _ = s.ActivateAndServe() }()
	t.Cleanup(func() { _ = s.Shutdown() })
	return pc.LocalAddr().String()
}

// blackHole accepts connections and never says anything.
func blackHole(t *testing.T, addr string) string {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// closedPort is an address that refuses connections.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func deps(t *testing.T) Deps {
	t.Helper()
	return Deps{Component: "c", Region: "us-east-1", Node: "n1", Timeout: time.Second, Log: slog.New(slog.DiscardHandler)}
}

// fakeSQS is one queue behind the JSON protocol.
type fakeSQS struct {
	mu       sync.Mutex
	messages map[string]string // receipt handle to body
	next     int
	// Fail answers an operation with a status and an error code.
	fail map[string]struct {
		status int
		code   string
	}
	hang  chan struct{} // not nil: nothing is answered until it is closed
	waits []int         // WaitTimeSeconds of the receives
	looks int           // GetQueueAttributes that were answered
	// held and delayed are messages that a receive does not see.
	held, delayed int
}

func (f *fakeSQS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.hang != nil {
		select {
		case <-f.hang:
		case <-r.Context().Done():
		}
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS.")
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	if e, ok := f.fail[op]; ok {
		w.WriteHeader(e.status)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": "com.amazonaws.sqs#" + e.code, "message": "no"})
		return
	}
	var in struct {
		MessageBody     string
		WaitTimeSeconds int
		AttributeNames  []string
		Entries         []struct{ Id, ReceiptHandle string }
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	out := map[string]any{}
	switch op {
	case "GetQueueUrl":
		out["QueueUrl"] = "http://" + r.Host + "/123456789012/canary"
	case "SendMessage":
		f.next++
		f.messages[fmt.Sprint("h", f.next)] = in.MessageBody
		out["MessageId"] = fmt.Sprint(f.next)
	case "ReceiveMessage":
		f.waits = append(f.waits, in.WaitTimeSeconds)
		var list []map[string]string
		for h, body := range f.messages {
			list = append(list, map[string]string{"MessageId": h, "ReceiptHandle": h, "Body": body})
		}
		out["Messages"] = list
	case "DeleteMessageBatch":
		var done []map[string]string
		for _, e := range in.Entries {
			delete(f.messages, e.ReceiptHandle)
			done = append(done, map[string]string{"Id": e.Id})
		}
		out["Successful"], out["Failed"] = done, []string{}
	case "GetQueueAttributes":
		f.looks++
		all := map[string]string{"ApproximateNumberOfMessages": fmt.Sprint(len(f.messages)), "ApproximateNumberOfMessagesNotVisible": fmt.Sprint(f.held), "ApproximateNumberOfMessagesDelayed": fmt.Sprint(f.delayed)}
		said := map[string]string{}
		for _, a := range in.AttributeNames {
			if v, ok := all[a]; ok {
				said[a] = v
			}
		}
		out["Attributes"] = said
	}
	_ = json.NewEncoder(w).Encode(out)
}

func sqsDeps(t *testing.T, f *fakeSQS) Deps {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	f.messages = map[string]string{"old": "left over"}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	c, err := cloud.Open(t.Context(), cloud.Options{Endpoints: map[string]string{"us-east-1": srv.URL}, Timeout: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	d := deps(t)
	d.Cloud = c
	return d
}

// fakeMember speaks as much of MongoDB's wire protocol as hello and ping need:
// https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
func fakeMember(t *testing.T, answer bson.D) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	answer = append(answer, bson.E{Key: "ok", Value: 1}, bson.E{Key: "maxWireVersion", Value: 21},
		bson.E{Key: "maxBsonObjectSize", Value: 16777216}, bson.E{Key: "maxMessageSizeBytes", Value: 48000000}, bson.E{Key: "maxWriteBatchSize", Value: 100000})
	body, err := bson.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				for {
					head := make([]byte, 16)
					if _, err := io.ReadFull(c, head); err != nil {
						return
					}
					if _, err := io.CopyN(io.Discard, c, int64(binary.LittleEndian.Uint32(head)-16)); err != nil {
						return
					}
					const opReply, opQuery, opMsg = 1, 2004, 2013
					op, prefix := uint32(opMsg), make([]byte, 5) // flags and section kind 0
					if binary.LittleEndian.Uint32(head[12:]) == opQuery {
						op, prefix = opReply, make([]byte, 20)
						prefix[16] = 1 // one document
					}
					out := make([]byte, 16, 16+len(prefix)+len(body))
					out = append(append(out, prefix...), body...)
					binary.LittleEndian.PutUint32(out, uint32(len(out)))
					copy(out[8:12], head[4:8]) // responseTo
					binary.LittleEndian.PutUint32(out[12:], op)
					if _, err := c.Write(out); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}
