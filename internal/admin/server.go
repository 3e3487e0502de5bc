package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
)

// maxCommand bounds a command's size.
const maxCommand = 64 << 10

// Listen makes the socket at path with mode 0660. What stands there already is
// removed only if it is a socket that nobody answers on.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // others must reach the socket's group permission
		return nil, fmt.Errorf("admin socket %s: its directory cannot be made: %w", path, err)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("admin socket %s: something that is not a socket stands there; remove it or choose another path", path)
	default:
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			_ = c.Close() // only its answering matters
			return nil, fmt.Errorf("admin socket %s is in use: another failoverd answers on it; stop it, or give this one its own", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("admin socket %s: a stale socket cannot be removed: %w", path, err)
		}
	}
	// Made without any permission for others, so that there is no moment in
	// which they could connect.
	old := syscall.Umask(0o117)
	ln, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	return ln, nil
}

type credKey struct{}

// Server returns the HTTP server of the admin socket; Serve it on a Listener
// from Listen.
func Server(n Node, log *slog.Logger) *http.Server {
	s := &server{node: n, log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) { reply(w, n.Status(r.Context())) })
	mux.HandleFunc("GET /v1/votes", s.votes)
	mux.HandleFunc("GET /v1/price", s.price)
	mux.HandleFunc("GET /v1/readiness", func(w http.ResponseWriter, r *http.Request) { reply(w, n.Readiness(r.Context())) })
	mux.HandleFunc("GET /v1/probes", func(w http.ResponseWriter, _ *http.Request) { reply(w, n.Signals()) })
	mux.HandleFunc("GET /v1/events", s.events)
	mux.HandleFunc("GET /v1/plan", s.plan)
	mux.HandleFunc("POST /v1/command", s.command)
	mux.HandleFunc("GET /v1/config", func(w http.ResponseWriter, _ *http.Request) { reply(w, n.Config()) })
	mux.HandleFunc("POST /v1/config", s.proposeConfig)
	mux.HandleFunc("POST /v1/drill", s.drill)
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, credKey{}, whoIs(c))
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

type server struct {
	node Node
	log  *slog.Logger
}

// whoIs names the process at the other end, as the kernel reports it.
func whoIs(c net.Conn) string {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return "unknown"
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return "unknown"
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); cerr != nil || err != nil {
		return "unknown"
	}
	who := "uid " + strconv.FormatUint(uint64(cred.Uid), 10)
	if u, err := user.LookupId(strconv.FormatUint(uint64(cred.Uid), 10)); err == nil {
		who += " (" + u.Username + ")"
	}
	return who
}

func (s *server) votes(w http.ResponseWriter, r *http.Request) {
	v, err := s.node.Votes(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	reply(w, v)
}

func (s *server) plan(w http.ResponseWriter, r *http.Request) {
	kind, ok := kindOf(w, r)
	if !ok {
		return
	}
	p, text, err := s.node.Plan(kind)
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	if r.URL.Query().Get("json") != "" {
		reply(w, p)
		return
	}
	_, _ = w.Write([]byte(text)) // an error means that the caller is gone
}

// kindOf is the kind of execution that a caller asks about: a failover where he names none. For any other word it answers itself: who has mistyped
// it must not take the plan of one for that of the other.
func kindOf(w http.ResponseWriter, r *http.Request) (failover.ExecKind, bool) {
	kind := failover.ExecKind(r.URL.Query().Get("kind"))
	if kind == "" {
		return failover.Failover, true
	}
	if !kind.Leaves() {
		http.Error(w, fmt.Sprintf("%q is not a kind of execution; failover and switchover are", kind), http.StatusBadRequest)
		return "", false
	}
	return kind, true
}

func (s *server) price(w http.ResponseWriter, r *http.Request) {
	kind, ok := kindOf(w, r)
	if !ok {
		return
	}
	p, err := s.node.Price(kind)
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	reply(w, p)
}

// events streams the audit trail as JSON lines, from an index on; with follow
// it goes on until the caller leaves.
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	since, _ := strconv.ParseUint(r.URL.Query().Get("since"), 10, 64) // absent means all
	follow := r.URL.Query().Get("follow") != ""
	refused := r.URL.Query().Get("refused") != "" // the newest refusals instead; without follow
	enc := json.NewEncoder(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	sent := 0
	for first := true; ; first = false {
		changed := s.node.Changed()
		events := s.node.State().Events
		if refused {
			events, follow = s.node.State().Refusals, false
		}
		if first {
			for sent < len(events) && events[sent].Index <= since && since > 0 {
				sent++
			}
		}
		if sent > len(events) {
			sent = len(events) // a restored snapshot knows less; it will catch up
		}
		for ; sent < len(events); sent++ {
			if err := enc.Encode(events[sent]); err != nil {
				return
			}
		}
		if !follow {
			return
		}
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
	}
}

// operatorCommands are the commands that a person may give.
func operatorCommands() map[string]func(json.RawMessage) (failover.Command, error) {
	m := map[string]func(json.RawMessage) (failover.Command, error){}
	add[failover.RequestExecution](m)
	add[failover.Approve](m)
	add[failover.Hold](m)
	add[failover.Continue](m)
	add[failover.Abort](m)
	add[failover.Attest](m)
	add[failover.Retry](m)
	add[failover.Skip](m)
	add[failover.DeclareStable](m)
	add[failover.PauseAutomation](m)
	add[failover.ResumeAutomation](m)
	add[failover.AddMember](m)
	add[failover.RemoveMember](m)
	add[failover.AttestNode](m)
	add[failover.WithdrawSettings](m)
	add[failover.RehearseFence](m)
	add[failover.AcceptInventory](m)
	add[failover.ReleaseHold](m)
	return m
}

func add[T failover.Command](m map[string]func(json.RawMessage) (failover.Command, error)) {
	var zero T
	m[zero.Name()] = func(b json.RawMessage) (failover.Command, error) {
		var c T
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		err := dec.Decode(&c)
		return c, err
	}
}

func (s *server) command(w http.ResponseWriter, r *http.Request) {
	var in Command
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCommand))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		http.Error(w, "the command cannot be read: "+err.Error(), http.StatusBadRequest)
		return
	}
	decode, ok := operatorCommands()[in.Name]
	if !ok {
		http.Error(w, fmt.Sprintf("%q is not a command of people", in.Name), http.StatusBadRequest)
		return
	}
	cmd, err := decode(in.Body)
	if err != nil {
		http.Error(w, fmt.Sprintf("command %s: %v", in.Name, err), http.StatusBadRequest)
		return
	}
	by, _ := r.Context().Value(credKey{}).(string)
	res, err := s.node.Propose(r.Context(), by, in.Why, in.ID, cmd)
	s.log.Info("command", "name", in.Name, "by", by, "why", in.Why, "error", errText(err))
	reply(w, toReply(res, err))
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func toReply(res failover.Result, err error) Reply {
	out := Reply{Index: res.Index, Outcome: "accepted"}
	var refusal *failover.Refusal
	switch {
	case err == nil:
	case errors.As(err, &refusal):
		out.Outcome, out.Guard, out.Text = "refused", refusal.Guard, refusal.Text
	case errors.Is(err, consensus.ErrNoLeader):
		out.Outcome, out.Text = "no-leader", err.Error()
	case errors.Is(err, consensus.ErrUnknownOutcome):
		out.Outcome, out.Text = "unknown", err.Error()+"; look at `failoverd status` before you repeat it"
	default:
		out.Outcome, out.Text = "failed", err.Error()
	}
	return out
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // an error means that the caller is gone
}
