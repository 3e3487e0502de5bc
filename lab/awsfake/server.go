// Package awsfake imitates the few AWS APIs that a regional failover uses, closely enough for the real SDK: SQS (JSON 1.0),
// ECS (JSON 1.1, whose tasks are real processes), EventBridge (JSON 1.1), its Scheduler and Lambda (REST-JSON), STS and Auto Scaling
// (Query), Elastic Load Balancing (Query), S3 and Route 53 (REST-XML), CloudWatch (RPC v2, in CBOR) and its Logs (JSON 1.1), and of
// ECR, Secrets Manager and Service Quotas (JSON 1.1) what tells whether something can be launched.
//
// It imitates what makes them awkward: everything asynchronous takes time, reads lag behind writes, batches are refused as
// a whole, and any call can be throttled, hang, fail, or take effect and lose its reply. Signatures are not verified: the
// access key is taken from the request as a name. Every mutating call is recorded, since who called what and when is what
// tests of a failover assert.
package awsfake

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/iam"
)

// AccountID is the account that owns everything in the world.
const AccountID = "123456789012"

// Call is the record of one API call.
type Call struct {
	At        time.Time       `json:"at"`
	Service   string          `json:"service"`
	Op        string          `json:"op"`
	Region    string          `json:"region"` // of the endpoint, not of the signature
	AccessKey string          `json:"accessKey"`
	Role      string          `json:"role,omitempty"`    // that was taken on
	Session   string          `json:"session,omitempty"` // of it
	From      string          `json:"from"`              // client IP
	Params    json.RawMessage `json:"params,omitempty"`
	Outcome   string          `json:"outcome"`         // ok, or the error code
	Fault     string          `json:"fault,omitempty"` // mode of the injected fault that hit the call
	Mutating  bool            `json:"mutating"`
}

// Error is an error of an AWS API.
type Error struct {
	Status  int
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func badRequest(code, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Server is the endpoint of one region (or, with only Route53 set, of the global services). Services that are nil answer
// as unknown. It is safe for concurrent use.
type Server struct {
	Region  string
	ECS     *ECS
	SQS     *SQS
	Route53 *Route53
	S3      *S3
	ASG     *AutoScaling
	EC2     *EC2
	Lambda  *Lambda
	ELB     *ELB
	Clocks  *Clocks // EventBridge and its Scheduler
	Metrics *CloudWatch
	Logs    *Logs
	Stock   *Stock // ECR, Secrets Manager and Service Quotas
	Faults  *faults.Set
	Log     *slog.Logger
	// Policies are the roles' identity-based policies: what they do not allow is refused. nil refuses nothing.
	Policies map[string][]iam.Policy

	mu     sync.Mutex
	calls  []Call
	ops    map[string]map[string]OpCount // by access key, then "service:Operation"
	judged map[string]*Judgement
}

// OpCount says how often an operation was called, and whether it changes anything.
type OpCount struct {
	Calls    int  `json:"calls"`
	Mutating bool `json:"mutating"`
}

// Ops counts the operations that each access key has ever called, reads and refused calls included: what a least-privilege
// policy must allow.
func (s *Server) Ops() map[string]map[string]OpCount {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]map[string]OpCount{}
	for key, ops := range s.ops {
		out[key] = maps.Clone(ops)
	}
	return out
}

// Calls returns the recorded calls, oldest first. Reads are recorded only if they failed.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call{}, s.calls...)
}

// request is what a call looks like after the protocol has been taken off it.
type request struct {
	*http.Request
	service, op string
	body        []byte
	call        *Call
}

// readOnly operations leave no record when they succeed.
func readOnly(op string) bool {
	for _, p := range []string{"Describe", "List", "Get", "Head", "Filter", "Receive", "SendMessage", "DeleteMessage", "AssumeRole"} {
		if strings.HasPrefix(op, p) {
			return true // messages are data; the ledger and the canaries count them
		}
	}
	return false
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 65<<20)) // a part of an upload has at most 64 MiB here
	if err != nil {
		return
	}
	q := &request{Request: r, body: body}
	switch target := r.Header.Get("X-Amz-Target"); {
	case strings.HasPrefix(target, "AmazonSQS."):
		q.service, q.op = "sqs", strings.TrimPrefix(target, "AmazonSQS.")
	case strings.HasPrefix(target, "AmazonEC2ContainerServiceV20141113."):
		q.service, q.op = "ecs", strings.TrimPrefix(target, "AmazonEC2ContainerServiceV20141113.")
	case strings.HasPrefix(target, "AnyScaleFrontendService."):
		q.service, q.op = "application-autoscaling", strings.TrimPrefix(target, "AnyScaleFrontendService.")
	case strings.HasPrefix(target, "AWSEvents."):
		q.service, q.op = "events", strings.TrimPrefix(target, "AWSEvents.")
	case strings.HasPrefix(target, "Logs_20140328."):
		q.service, q.op = "logs", strings.TrimPrefix(target, "Logs_20140328.")
	case strings.HasPrefix(target, "AmazonEC2ContainerRegistry_V20150921."):
		q.service, q.op = "ecr", strings.TrimPrefix(target, "AmazonEC2ContainerRegistry_V20150921.")
	case strings.HasPrefix(target, "secretsmanager."):
		q.service, q.op = "secretsmanager", strings.TrimPrefix(target, "secretsmanager.")
	case strings.HasPrefix(target, "ServiceQuotasV20190624."):
		q.service, q.op = "servicequotas", strings.TrimPrefix(target, "ServiceQuotasV20190624.")
	case strings.HasPrefix(r.URL.Path, "/2013-04-01/"):
		q.service, q.op = "route53", route53Op(r)
	case strings.HasPrefix(r.URL.Path, cloudWatchPath): // before S3, for which any path is an object's
		q.service, q.op = "cloudwatch", cloudWatchOp(r)
	case strings.HasPrefix(r.URL.Path, lambdaPath):
		q.service, q.op = "lambda", lambdaOp(r)
	case s.Clocks != nil && strings.HasPrefix(r.URL.Path, schedulesPath):
		q.service, q.op = "scheduler", schedulerOp(r)
	case s.S3 != nil && s3Op(r) != "":
		q.service, q.op = "s3", s3Op(r)
	default:
		// The Query protocol's services are told apart by their version.
		q.service, q.op = "sts", formValue(body, "Action")
		switch formValue(body, "Version") {
		case "2011-01-01":
			q.service = "autoscaling"
		case "2016-11-15":
			q.service = "ec2"
		case "2015-12-01":
			q.service = "elasticloadbalancing"
		}
	}
	key, role, session := caller(r)
	q.call = &Call{At: time.Now(), Service: q.service, Op: q.op, Region: s.Region, AccessKey: key, Role: role, Session: session,
		From: host(r.RemoteAddr), Params: params(q), Mutating: !readOnly(q.op)}

	f, hit := s.Faults.Match(q.service, q.op, "")
	if hit {
		q.call.Fault = string(f.Mode)
		switch f.Mode {
		case faults.Refuse:
			s.record(q.call, "connection reset")
			faults.Drop(w, true)
			return
		case faults.Hang:
			// Without effect, whenever the client gives up: LostReply is the fault for effects that nobody hears of.
			if s.Faults.Hang(r.Context()) {
				defer faults.Drop(w, false)
			}
			s.record(q.call, "hung")
			return
		case faults.Slow:
			faults.Sleep(r.Context(), f.Delay())
		case faults.Throttle, faults.Error, faults.Auth:
			e := faultError(q.service, f)
			s.record(q.call, e.Code)
			s.writeError(w, q, e)
			return
		case faults.LostReply:
			rec := httptest.NewRecorder()
			s.dispatch(rec, q)
			faults.Drop(w, false)
			return
		}
	}
	s.dispatch(w, q)
}

// faultError is the error that AWS documents for the case:
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html
// https://docs.aws.amazon.com/Route53/latest/APIReference/CommonErrors.html
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
func faultError(service string, f faults.Fault) *Error {
	e := &Error{Status: 500, Code: "InternalFailure", Message: "The request processing has failed because of an unknown error, exception or failure."}
	switch {
	case f.Mode == faults.Throttle && service == "route53", f.Mode == faults.Throttle && service == "sts", f.Mode == faults.Throttle && service == "autoscaling", f.Mode == faults.Throttle && service == "elasticloadbalancing":
		e = badRequest("Throttling", "Rate exceeded")
	case f.Mode == faults.Throttle && service == "ec2": // https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
		e = &Error{Status: 503, Code: "RequestLimitExceeded", Message: "Request limit exceeded."}
	case f.Mode == faults.Throttle && service == "s3":
		e = &Error{Status: 503, Code: "SlowDown", Message: "Please reduce your request rate."}
	case f.Mode == faults.Throttle && service == "sqs":
		e = badRequest("RequestThrottled", "The request was denied due to request throttling.")
	case f.Mode == faults.Throttle:
		e = badRequest("ThrottlingException", "Rate exceeded")
	case f.Mode == faults.Auth:
		e = denied(service)
		e.Message = "User is not authorized to perform this action"
	}
	if f.Code != "" {
		e.Code = f.Code
	}
	if f.Status != 0 {
		e.Status = f.Status
	}
	return e
}

// dispatch runs the operation if IAM lets it, records it and writes the answer.
func (s *Server) dispatch(w http.ResponseWriter, q *request) {
	if e := s.authorize(q); e != nil {
		s.record(q.call, e.Code)
		s.writeError(w, q, e)
		return
	}
	if q.service == "s3" {
		s.record(q.call, s.S3.serve(w, q))
		return
	}
	out, err := s.run(q)
	if err != nil {
		e, ok := err.(*Error) //nolint:errorlint // operations return *Error unwrapped
		if !ok {
			e = &Error{Status: 500, Code: "InternalFailure", Message: err.Error()}
		}
		s.record(q.call, e.Code)
		s.writeError(w, q, e)
		return
	}
	s.record(q.call, "ok")
	w.Header().Set("X-Amzn-Requestid", id(16))
	if _, empty := out.(noContent); empty {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	switch q.service {
	case "cloudwatch":
		writeCBOR(w, http.StatusOK, out.(cbor.Map))
	case "route53", "sts", "autoscaling", "ec2", "elasticloadbalancing":
		w.Header().Set("Content-Type", "text/xml")
		_, _ = io.WriteString(w, xml.Header)
		if err := xml.NewEncoder(w).Encode(out); err != nil {
			s.Log.Error("encode answer", "op", q.op, "err", err)
		}
	default:
		w.Header().Set("Content-Type", contentType(q.service))
		if err := json.NewEncoder(w).Encode(out); err != nil {
			s.Log.Error("encode answer", "op", q.op, "err", err)
		}
	}
}

func (s *Server) run(q *request) (any, error) {
	switch {
	case q.service == "ecs" && s.ECS != nil:
		return s.ECS.call(q.op, q.body)
	case q.service == "application-autoscaling" && s.ECS != nil:
		return s.ECS.scaling(q.op, q.body)
	case q.service == "sqs" && s.SQS != nil:
		return s.SQS.call(q.Context(), q.op, q.body)
	case q.service == "route53" && s.Route53 != nil:
		return s.Route53.call(q)
	case q.service == "autoscaling" && s.ASG != nil:
		return s.ASG.call(q.op, q.body)
	case q.service == "ec2" && s.EC2 != nil:
		return s.EC2.call(q.op, q.body)
	case q.service == "elasticloadbalancing" && s.ELB != nil:
		return s.ELB.call(q.op, q.body)
	case q.service == "lambda" && s.Lambda != nil:
		return s.Lambda.call(q)
	case q.service == "events" && s.Clocks != nil:
		return s.Clocks.events(q.op, q.body)
	case q.service == "scheduler" && s.Clocks != nil:
		return s.Clocks.schedule(q)
	case q.service == "cloudwatch" && s.Metrics != nil:
		return s.Metrics.call(q.op, q.body)
	case q.service == "logs" && s.Logs != nil:
		return s.Logs.call(q.op, q.body)
	case q.service == "ecr" && s.Stock != nil:
		return s.Stock.registry(q.op, q.body)
	case q.service == "secretsmanager" && s.Stock != nil:
		return s.Stock.secrets(q.op, q.body)
	case q.service == "servicequotas" && s.Stock != nil:
		return s.Stock.quotas(q.op, q.body)
	case q.service == "sts":
		return stsCall(q)
	}
	return nil, badRequest("UnknownOperationException", "%s is not served at this endpoint (%s)", q.service, s.Region)
}

func (s *Server) writeError(w http.ResponseWriter, q *request, e *Error) {
	w.Header().Set("X-Amzn-Requestid", id(16))
	switch q.service {
	case "cloudwatch":
		writeCBOR(w, e.Status, cbor.Map{"__type": cbor.String(e.Code), "message": cbor.String(e.Message)})
	case "s3":
		s.S3.fail(w, q, e.Status, e.Code, e.Message)
	case "ec2": // an element of its own: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(e.Status)
		var msg bytes.Buffer
		_ = xml.EscapeText(&msg, []byte(e.Message))
		fmt.Fprintf(w, `%s<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>%s</RequestID></Response>`, xml.Header, e.Code, msg.String(), id(16))
	case "route53", "sts", "autoscaling", "elasticloadbalancing":
		// Query and REST-XML share the ErrorResponse element:
		// https://docs.aws.amazon.com/Route53/latest/APIReference/requests-rest-responses.html
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(e.Status)
		typ := "Sender"
		if e.Status >= 500 {
			typ = "Receiver"
		}
		var msg bytes.Buffer
		_ = xml.EscapeText(&msg, []byte(e.Message))
		fmt.Fprintf(w, `%s<ErrorResponse><Error><Type>%s</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>%s</RequestId></ErrorResponse>`,
			xml.Header, typ, e.Code, msg.String(), id(16))
	default:
		w.Header().Set("Content-Type", contentType(q.service))
		w.Header().Set("X-Amzn-Errortype", e.Code)
		if q.service == "sqs" && e.Code == "QueueDoesNotExist" {
			w.Header().Set("X-Amzn-Query-Error", "AWS.SimpleQueueService.NonExistentQueue;Sender")
		}
		w.WriteHeader(e.Status)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": e.Code, "message": e.Message})
	}
}

func contentType(service string) string {
	switch service {
	case "ecs", "events", "logs", "ecr", "secretsmanager", "servicequotas":
		return "application/x-amz-json-1.1"
	case "lambda", "scheduler":
		return "application/json"
	}
	return "application/x-amz-json-1.0"
}

func (s *Server) record(c *Call, outcome string) {
	c.Outcome = outcome
	s.mu.Lock()
	if s.ops == nil {
		s.ops = map[string]map[string]OpCount{}
	}
	if s.ops[c.AccessKey] == nil {
		s.ops[c.AccessKey] = map[string]OpCount{}
	}
	n := s.ops[c.AccessKey][c.Service+":"+c.Op]
	s.ops[c.AccessKey][c.Service+":"+c.Op] = OpCount{Calls: n.Calls + 1, Mutating: c.Mutating}
	s.mu.Unlock()
	if !c.Mutating && outcome == "ok" {
		return
	}
	s.mu.Lock()
	s.calls = append(s.calls, *c)
	s.mu.Unlock()
	s.Log.Info("aws call", "service", c.Service, "op", c.Op, "outcome", outcome, "key", c.AccessKey, "fault", c.Fault)
}

// caller reads who signed a request: the Credential of the SigV4 header and the session token.
func caller(r *http.Request) (key, role, session string) {
	auth := r.Header.Get("Authorization")
	if _, rest, ok := strings.Cut(auth, "Credential="); ok {
		key, _, _ = strings.Cut(rest, "/")
	}
	if parts := strings.Split(r.Header.Get("X-Amz-Security-Token"), "/"); len(parts) == 4 && parts[0] == tokenOf {
		return parts[3], parts[1], parts[2]
	}
	return key, "", ""
}

// identity is the ARN of who calls.
func (c *Call) identity() string {
	if c.Role != "" {
		return "arn:aws:sts::" + AccountID + ":assumed-role/" + c.Role + "/" + c.Session
	}
	return "arn:aws:iam::" + AccountID + ":user/" + c.AccessKey
}

// params keeps the parameters of a call as JSON; XML and forms become a JSON string.
func params(q *request) json.RawMessage {
	if json.Valid(q.body) {
		return q.body
	}
	b, _ := json.Marshal(string(q.body))
	return b
}

func host(addr string) string {
	if i := strings.LastIndexByte(addr, ':'); i >= 0 {
		return addr[:i]
	}
	return addr
}

// id makes a random identifier of n bytes in hex.
func id(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func epochSeconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
