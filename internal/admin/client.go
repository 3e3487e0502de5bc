package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// ErrUnavailable means that the node answers, but cannot say what was asked for:
// there is no leader, or no quorum.
var ErrUnavailable = errors.New("not now")

// Client speaks to a node's admin socket. Safe for concurrent use.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client of the socket at path. It connects when it is
// used.
func NewClient(path string) *Client {
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}}
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://failoverd"+path, body)
	if err != nil {
		return nil, fmt.Errorf("admin request: %w", err)
	}
	resp, err := c.http.Do(req)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("no node answers at %s: the socket does not exist; is failoverd running here? --socket names another", c.path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("no node answers at %s: the socket is stale; is failoverd running here?", c.path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the admin socket %s is not open to you: its group may use it (see ls -l), or run this as root", c.path)
	default:
		return nil, fmt.Errorf("admin socket %s: %w", c.path, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer func() { _ = resp.Body.Close() }() // its text is all that matters
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if resp.StatusCode == http.StatusServiceUnavailable {
			return nil, fmt.Errorf("%w: %s", ErrUnavailable, strings.TrimSpace(string(b)))
		}
		return nil, errors.New(strings.TrimSpace(string(b)))
	}
	return resp, nil
}

func (c *Client) get(ctx context.Context, path string, out any) error {
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("the node's answer cannot be read: %w", err)
	}
	return nil
}

// Status asks for the node's status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.get(ctx, "/v1/status", &s)
	return s, err
}

// Votes asks for the leader's votes.
func (c *Client) Votes(ctx context.Context) (Votes, error) {
	var v Votes
	err := c.get(ctx, "/v1/votes", &v)
	return v, err
}

// Readiness asks whether a failover would work now.
func (c *Client) Readiness(ctx context.Context) (Readiness, error) {
	var r Readiness
	err := c.get(ctx, "/v1/readiness", &r)
	return r, err
}

// Probes asks for the node's own signals.
func (c *Client) Probes(ctx context.Context) ([]SignalReport, error) {
	var v []SignalReport
	err := c.get(ctx, "/v1/probes", &v)
	return v, err
}

// Plan asks for the plan of that kind that would run now, as text.
func (c *Client) Plan(ctx context.Context, kind failover.ExecKind) (string, error) {
	resp, err := c.do(ctx, http.MethodGet, "/v1/plan?kind="+string(kind), nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// Price asks what that plan would cost.
func (c *Client) Price(ctx context.Context, kind failover.ExecKind) (plan.Price, error) {
	var v plan.Price
	err := c.get(ctx, "/v1/price?kind="+string(kind), &v)
	return v, err
}

// Events calls fn for each event after index since, and with follow goes on
// until ctx ends.
func (c *Client) Events(ctx context.Context, since uint64, follow bool, fn func(failover.Event)) error {
	path := "/v1/events?since=" + strconv.FormatUint(since, 10)
	if follow {
		path += "&follow=1"
	}
	return c.stream(ctx, path, fn)
}

func (c *Client) stream(ctx context.Context, path string, fn func(failover.Event)) error {
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var ev failover.Event
		if err := json.Unmarshal(sc.Bytes(), &ev); err != nil {
			return fmt.Errorf("an event cannot be read: %w", err)
		}
		fn(ev)
	}
	if err := sc.Err(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("the stream of events broke: %w", err)
	}
	return nil
}

// Refusals are the newest commands that a guard refused, oldest first.
func (c *Client) Refusals(ctx context.Context, since uint64, fn func(failover.Event)) error {
	return c.stream(ctx, "/v1/events?refused=1&since="+strconv.FormatUint(since, 10), fn)
}

// Command gives a person's command. A refusal is a Reply, not an error.
func (c *Client) Command(ctx context.Context, why string, cmd failover.Command) (Reply, error) {
	body, err := json.Marshal(cmd)
	if err != nil {
		return Reply{}, fmt.Errorf("command %s: %w", cmd.Name(), err)
	}
	data, err := json.Marshal(Command{Name: cmd.Name(), Why: why, ID: consensus.NewID(), Body: body})
	if err != nil {
		return Reply{}, fmt.Errorf("command %s: %w", cmd.Name(), err)
	}
	resp, err := c.do(ctx, http.MethodPost, "/v1/command", bytes.NewReader(data))
	if err != nil {
		return Reply{}, err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	var r Reply
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		return Reply{}, fmt.Errorf("the node's answer cannot be read: %w", err)
	}
	return r, nil
}
