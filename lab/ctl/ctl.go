// Package ctl is the control channel of the lab's processes: JSON over HTTP on unix sockets in the world's directory.
// Unix sockets pass through network namespaces, so a site that is cut off can still be controlled and read.
package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Listen opens a unix socket, removing what a crashed predecessor left.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("create directory of socket %s: %w", path, err)
	}
	_ = os.Remove(path)
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w (a unix socket path must be shorter than 108 bytes)", path, err)
	}
	return ln, nil
}

// Serve answers requests with mux until ctx ends.
func Serve(ctx context.Context, path string, mux http.Handler) error {
	ln, err := Listen(path)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	go func() { _ = srv.Serve(ln) }()
	return nil
}

// ListenHTTP serves what the world's own clients see, at an address of the process's network namespace, until ctx ends.
func ListenHTTP(ctx context.Context, addr string, h http.Handler) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w (does the address belong to this network namespace?)", addr, err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(ln) }()
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	return nil
}

// Reply writes v as JSON.
func Reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// Read decodes a request's body into v; on failure it answers 400 itself and returns false.
func Read(w http.ResponseWriter, r *http.Request, v any) bool {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		http.Error(w, fmt.Sprintf("%s %s: body: %v", r.Method, r.URL.Path, err), http.StatusBadRequest)
		return false
	}
	return true
}

// Client talks to one control socket. It is safe for concurrent use.
type Client struct {
	path string
	http *http.Client
}

// Dial makes a client; nothing is connected before the first call.
func Dial(path string) *Client {
	return &Client{path: path, http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, // the process may be killed and started again between two calls
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}}
}

// Call sends in (nil: no body) and decodes the answer into out (nil: ignored). Any status but 200 is an error with the
// body as its text.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: encode request: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("control socket %s: %w (is the process still running? its log is in the world's directory)", c.path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("control socket %s: %s %s: %w", c.path, method, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("control socket %s: %s %s: %s: %s", c.path, method, path, resp.Status, strings.TrimSpace(string(b)))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("control socket %s: %s %s: decode answer: %w", c.path, method, path, err)
	}
	return nil
}
