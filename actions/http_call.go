package actions

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/dnsq"
)

// HTTPCallConfig is a hook: something outside that makes the change, asked by a
// signed POST, and asked by a signed GET whether it has taken effect.
type HTTPCallConfig struct {
	// URL takes the POST, with the context as JSON. Any 2xx means that it was asked
	// for, and no more.
	URL string `toml:"url" json:"url"`
	// Inspect answers {"state": "absent", "partial", "present" or "unknown"}, and may
	// add "detail" (a line for a person) and "previous" (what an undo needs).
	Inspect string `toml:"inspect" json:"inspect"`
	// Undo takes the POST that puts back what was so before. Empty: it cannot be put
	// back.
	Undo string `toml:"undo" json:"undo,omitempty"`
	// SecretFile holds the key of the signature, at least 16 bytes. It is read for each
	// call, so that it can be replaced.
	SecretFile string `toml:"secret_file" json:"secret_file"`
	// IdempotentCall says that a POST, repeated late, changes nothing. Without it a call
	// whose outcome is unknown is not made again before the first cannot land any more.
	IdempotentCall bool `toml:"idempotent" json:"idempotent,omitempty"`
	// Proves is the class of evidence that a stop gives when Inspect sees it:
	// "confirmed" (default) or "resource", for a hook that fences at what the component
	// would change.
	Proves failover.EvidenceClass `toml:"proves" json:"proves,omitempty"`
}

// Evidence says what a stop of this kind proves.
func (c *HTTPCallConfig) Evidence() failover.EvidenceClass { return c.Proves }

// Validate implements Config.
func (c *HTTPCallConfig) Validate(role Role) error {
	for _, u := range []struct{ key, url string }{{"url", c.URL}, {"inspect", c.Inspect}, {"undo", c.Undo}} {
		if u.url == "" && u.key == "undo" {
			continue
		}
		p, err := url.Parse(strings.NewReplacer("{region}", "region", "{node}", "node").Replace(u.url))
		switch {
		case u.url == "" && u.key == "inspect":
			return badParam("inspect", "is missing; without it nobody can tell whether the call took effect")
		case u.url == "":
			return badParam(u.key, "is missing")
		case err != nil || p.Scheme != "http" && p.Scheme != "https" || p.Host == "":
			return badParam(u.key, "%q is no address like https://host/path", u.url)
		case p.User != nil || p.Fragment != "":
			return badParam(u.key, "%q holds a user or a fragment; the call is signed with secret_file", u.url)
		}
	}
	switch {
	case role == RoleSwitch:
		return badParam("url", "cannot move clients: a hook shows no name server's answer; a switch needs a kind such as route53_weights")
	case c.SecretFile == "":
		return badParam("secret_file", "is missing; a call that nobody signed could be made by anybody")
	case !strings.HasPrefix(c.SecretFile, "/"):
		return badParam("secret_file", "%q is not an absolute path", c.SecretFile)
	case c.Proves != "" && c.Proves != failover.Confirmed && c.Proves != failover.Resource:
		return badParam("proves", "%q is neither \"confirmed\" nor \"resource\"", c.Proves)
	}
	return nil
}

// Version implements Config.
func (c *HTTPCallConfig) Version() int { return 1 }

// Timeout implements Config.
func (c *HTTPCallConfig) Timeout() time.Duration { return 5 * time.Minute }

// New implements Config.
func (c *HTTPCallConfig) New(d Deps) (Action, error) {
	h := &hook{cfg: c, deps: d, client: &http.Client{
		Transport: &http.Transport{
			// No proxy of the environment: the way must not depend on what nobody wrote down.
			Proxy: nil, DialContext: dialer(d), TLSHandshakeTimeout: 3 * time.Second, IdleConnTimeout: 30 * time.Second,
		},
		// The signature names the address; what follows a redirect would carry another.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if c.IdempotentCall {
		return idempotentHook{h}, nil
	}
	return h, nil
}

// dialer looks names up at the resolvers of the configuration, if there are any.
func dialer(d Deps) func(context.Context, string, string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: 2 * time.Second}
	if len(d.Resolvers) == 0 {
		return plain.DialContext
	}
	dns := d.dns()
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil || net.ParseIP(host) != nil {
			return plain.DialContext(ctx, network, addr)
		}
		return dialAny(ctx, plain, dns, network, host, port)
	}
}

func dialAny(ctx context.Context, plain *net.Dialer, dns *dnsq.Client, network, host, port string) (net.Conn, error) {
	addrs, err := dns.Addrs(ctx, host)
	if err != nil {
		return nil, err
	}
	errs := []error{fmt.Errorf("no address of %s can be reached", host)}
	for _, ip := range addrs {
		c, err := plain.DialContext(ctx, network, net.JoinHostPort(ip.String(), port))
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// hook believes what its inspect address says.
type hook struct {
	cfg    *HTTPCallConfig
	deps   Deps
	client *http.Client
}

// idempotentHook is one whose configuration says so.
type idempotentHook struct{ *hook }

// Idempotent says that Do, repeated, changes nothing.
func (idempotentHook) Idempotent() {}

// hookLife is for how long a receiver may take a signed call.
const hookLife = 5 * time.Minute

// Ages implements Aging: a receiver refuses a signature that is older.
func (h *hook) Ages() time.Duration { return hookLife }

// hookContext is the body of a POST.
type hookContext struct {
	Service   string          `json:"service"`
	Action    string          `json:"action"` // "do" or "undo"
	Region    failover.Region `json:"region"`
	Execution uint64          `json:"execution"`
	Step      failover.StepID `json:"step"`
	Attempt   int             `json:"attempt"`
	Epoch     uint64          `json:"epoch"`
	Token     uint64          `json:"token"`
	Previous  json.RawMessage `json:"previous,omitempty"` // what inspect had said before the change
}

// hookPrevious stands in the log before the change (rule E2).
type hookPrevious struct {
	State    string          `json:"state"`
	Previous json.RawMessage `json:"previous,omitempty"`
}

// Inspect implements Action.
func (h *hook) Inspect(ctx context.Context) (Effect, error) {
	body, err := h.send(ctx, http.MethodGet, h.cfg.Inspect, nil, Attempt{})
	if err != nil {
		return Effect{}, err
	}
	var said struct {
		State    string          `json:"state"`
		Detail   string          `json:"detail"`
		Previous json.RawMessage `json:"previous"`
	}
	if err := json.Unmarshal(body, &said); err != nil {
		return Effect{}, fmt.Errorf("%s answers no JSON object (%w): it must say {\"state\": …}", h.cfg.Inspect, err)
	}
	state := slices.Index(effectNames[:], said.State)
	if state < 0 {
		return Effect{}, fmt.Errorf("%s says the state %q: it must be one of %s", h.cfg.Inspect, said.State, strings.Join(effectNames[:], ", "))
	}
	e := Effect{State: EffectState(state), Detail: said.Detail} //nolint:gosec // an index of four
	if e.Detail == "" {
		e.Detail = h.cfg.Inspect + " says " + said.State
	}
	e.Previous, err = json.Marshal(hookPrevious{said.State, said.Previous})
	return e, err
}

// Do implements Action.
func (h *hook) Do(ctx context.Context, a Attempt) error { return h.post(ctx, h.cfg.URL, "do", a) }

// Undo implements Action.
func (h *hook) Undo(ctx context.Context, a Attempt) error {
	if h.cfg.Undo == "" {
		return fmt.Errorf("what %s does cannot be undone: the configuration names no undo address", h.cfg.URL)
	}
	return h.post(ctx, h.cfg.Undo, "undo", a)
}

// Restored implements Restorer: it says the same as before.
func (h *hook) Restored(now Effect, previous json.RawMessage) bool {
	var was, is hookPrevious
	return json.Unmarshal(previous, &was) == nil && json.Unmarshal(now.Previous, &is) == nil &&
		was.State == is.State && same(was.Previous, is.Previous)
}

// same compares JSON whatever its spaces and the order of its keys.
func same(a, b json.RawMessage) bool {
	var x, y any
	if len(a) > 0 && json.Unmarshal(a, &x) != nil || len(b) > 0 && json.Unmarshal(b, &y) != nil {
		return false
	}
	p, err1 := json.Marshal(x)
	q, err2 := json.Marshal(y)
	return err1 == nil && err2 == nil && bytes.Equal(p, q)
}

func (h *hook) post(ctx context.Context, to, what string, a Attempt) error {
	var was hookPrevious
	if len(a.Previous) > 0 {
		if err := json.Unmarshal(a.Previous, &was); err != nil {
			return fmt.Errorf("reading the previous state: %w", err)
		}
	}
	body, err := json.Marshal(hookContext{
		Service: h.deps.Service, Action: what, Region: h.deps.Region, Execution: a.Execution, Step: a.Step,
		Attempt: a.Number, Epoch: a.Epoch, Token: a.Token, Previous: was.Previous,
	})
	if err != nil {
		return err
	}
	a.Report("calling %s", to)
	_, err = h.send(ctx, http.MethodPost, to, body, a)
	return err
}

// leastSecret is the shortest key that is accepted.
const leastSecret = 16

// signature is what Failoverd-Signature holds: the time and the HMAC-SHA256 of
// time, method, address and body, so that a call can be taken neither for another
// one nor, by a receiver that looks at the time, for a new one.
func signature(secret []byte, at time.Time, method, uri string, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s.", t, method, uri)
	_, _ = mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// send makes one signed call and returns the answer of a 2xx.
func (h *hook) send(ctx context.Context, method, to string, body []byte, a Attempt) ([]byte, error) {
	secret, err := os.ReadFile(h.cfg.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("reading the key for %s: %w", to, err)
	}
	if secret = bytes.TrimSpace(secret); len(secret) < leastSecret {
		return nil, fmt.Errorf("the key in %s has %d bytes: it needs %d or more, made by chance (openssl rand -hex 32)", h.cfg.SecretFile, len(secret), leastSecret)
	}
	req, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("calling %s: %w", to, err)
	}
	req.Header.Set("User-Agent", "failoverd")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", strconv.FormatUint(a.Token, 10))
		// Go's transport takes a POST with an Idempotency-Key for one that it may send
		// again by itself, as long as it can get the body again (Request.isReplayable).
		req.GetBody = nil
		// Last before it is signed, as for the calls of AWS (rule E2).
		if err := cloud.CheckEffectDeadline(ctx, to); err != nil {
			return nil, err
		}
	}
	req.Header.Set("Failoverd-Signature", signature(secret, time.Now(), method, req.URL.RequestURI(), body))
	res, err := h.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("calling %s: %w", to, err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the answer of %s: %w", to, err)
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return nil, fmt.Errorf("%s sends the call on to %q: a signed call goes to the address that is configured; write that one", to, res.Header.Get("Location"))
	case res.StatusCode/100 != 2:
		return nil, fmt.Errorf("%s answers %s%s", to, res.Status, said(answer[:min(len(answer), 300)]))
	}
	return answer, nil
}
