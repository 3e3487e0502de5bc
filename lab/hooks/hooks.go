// Package hooks imitates a partner's gateway that is told by a signed call to which region it is to push: what a hook of the
// configuration (http_call) speaks with. It believes nobody without the key, and nobody late.
package hooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/lab/ctl"
	"github.com/failoverd/failoverd/lab/faults"
)

// Secret is the key that the world's nodes and the gateway share.
const Secret = "the lab's hook key, 32 bytes long"

// life is how old a signature may be.
const life = 5 * time.Minute

// Call is one POST that was believed or refused.
type Call struct {
	At      time.Time `json:"at"`
	Region  string    `json:"region"`
	Step    string    `json:"step"`
	Action  string    `json:"action"`
	Token   uint64    `json:"token"`
	Outcome int       `json:"outcome"` // HTTP status
}

// Gateway pushes to one region. It is safe for concurrent use.
type Gateway struct {
	faults *faults.Set
	takes  time.Duration // until a change has taken effect

	mu     sync.Mutex
	active string    // where it pushes
	next   string    // where it will, from then on
	then   time.Time //
	token  uint64    // the highest that was believed
	calls  []Call
}

// New makes a gateway that pushes to a region. A change takes effect after a while.
func New(active string, takes time.Duration, set *faults.Set) *Gateway {
	return &Gateway{active: active, next: active, takes: takes, faults: set}
}

// Register serves GET /hooks on a control socket: where the gateway pushes, and the POSTs that it got, the oldest first.
func (g *Gateway) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /hooks", func(w http.ResponseWriter, _ *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.settle()
		ctl.Reply(w, map[string]any{"active": g.active, "calls": g.calls})
	})
}

// settle lets a change take effect whose time has come.
func (g *Gateway) settle() {
	if !time.Now().Before(g.then) {
		g.active = g.next
	}
}

// ServeHTTP serves GET and POST /partners?region=R, which asks whether R is pushed to and sees to it, and POST
// /partners/undo?region=R, which goes back to what was before. Faults of the service `hooks` hit them: op is inspect, do or undo.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op := "inspect"
	switch {
	case r.URL.Path != "/partners" && r.URL.Path != "/partners/undo":
		http.NotFound(w, r)
		return
	case r.Method == http.MethodPost && r.URL.Path == "/partners":
		op = "do"
	case r.Method == http.MethodPost:
		op = "undo"
	case r.Method != http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if f, hit := g.faults.Match("hooks", op, ""); hit {
		switch f.Mode {
		case faults.Hang:
			if g.faults.Hang(r.Context()) {
				faults.Drop(w, false)
			}
			return
		case faults.Refuse:
			faults.Drop(w, true)
			return
		case faults.Slow:
			faults.Sleep(r.Context(), f.Delay())
		case faults.LostReply:
			g.answer(httptest.NewRecorder(), r, op)
			faults.Drop(w, false)
			return
		case faults.Throttle:
			http.Error(w, "too many calls", http.StatusTooManyRequests)
			return
		case faults.Auth:
			http.Error(w, "the signature is not ours", http.StatusUnauthorized)
			return
		default:
			http.Error(w, "the gateway is ill", http.StatusInternalServerError)
			return
		}
	}
	g.answer(w, r, op)
}

func (g *Gateway) answer(w http.ResponseWriter, r *http.Request, op string) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		return
	}
	if why := unsigned(r, body); why != "" {
		http.Error(w, why, http.StatusUnauthorized)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settle()
	region := r.URL.Query().Get("region")
	if op == "inspect" {
		state := "absent"
		switch region {
		case g.active:
			state = "present"
			if g.next != region {
				state = "partial"
			}
		case g.next:
			state = "partial"
		}
		ctl.Reply(w, map[string]any{"state": state, "detail": "the gateway pushes to " + g.active, "previous": g.active})
		return
	}
	var in struct {
		Region, Step, Action string
		Token                uint64
		Previous             string
	}
	c := Call{At: time.Now(), Outcome: http.StatusAccepted}
	switch err := json.Unmarshal(body, &in); {
	case err != nil || in.Region != region || in.Action != op:
		c.Outcome = http.StatusBadRequest
	case in.Token < g.token:
		c.Outcome = http.StatusConflict // somebody newer was here
	default:
		g.token, g.next, g.then = in.Token, region, time.Now().Add(g.takes)
		if op == "undo" {
			g.next = in.Previous
		}
	}
	c.Region, c.Step, c.Action, c.Token = in.Region, in.Step, in.Action, in.Token
	g.calls = append(g.calls, c)
	w.WriteHeader(c.Outcome)
	_, _ = fmt.Fprintf(w, "token %d\n", g.token)
}

// unsigned says what is wrong with a call's signature; "" if nothing is. It is the receiver's part as config.toml.example
// describes it: t=SECONDS,v1=HEX, the HMAC-SHA256 of "SECONDS.METHOD.PATH?QUERY.BODY".
func unsigned(r *http.Request, body []byte) string {
	stamp, sum, ok := strings.Cut(strings.TrimPrefix(r.Header.Get("Failoverd-Signature"), "t="), ",v1=")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if !ok || err != nil {
		return "there is no signature"
	}
	if age := time.Since(time.Unix(seconds, 0)); age > life || age < -life {
		return "the signature is " + age.Round(time.Second).String() + " old"
	}
	mac := hmac.New(sha256.New, []byte(Secret))
	_, _ = fmt.Fprintf(mac, "%s.%s.%s.%s", stamp, r.Method, r.URL.RequestURI(), body)
	if got, err := hex.DecodeString(sum); err != nil || !hmac.Equal(got, mac.Sum(nil)) {
		return "the signature is not ours"
	}
	return ""
}
