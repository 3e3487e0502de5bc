package probes

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/dnsq"
)

// HTTPFileConfig asserts that files come through: it uploads a small one with PUT to
// the application's own endpoint, downloads it, compares the bytes, and deletes it.
//
// It goes the way that clients go, through load balancer and application to whatever
// store there is. A bucket is not written to directly on purpose: that would show that
// our credentials work, which clients do not have, and the role that only looks would
// have to write.
//
// It deletes what it uploaded, also when it fails half-way. What a node that dies in
// between leaves, or a store that refuses every DELETE, is one file at most: each node
// has one name of its own for it. The bytes are new each time.
type HTTPFileConfig struct {
	// URL is the endpoint; the file's name is put after it.
	URL string `toml:"url" json:"url"`
	// CAFile holds the authorities that are trusted instead of the system's.
	CAFile string `toml:"ca_file" json:"ca_file,omitempty"`
	// AuthorizationFile holds what is sent as the Authorization header. It lies on
	// each node.
	AuthorizationFile string `toml:"authorization_file" json:"authorization_file,omitempty"`
	// Size is the file's, in bytes. Zero: 4096.
	Size int `toml:"size" json:"size,omitempty"`
	// For is how long it is asked again before it has failed. Zero: 2 minutes.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

const (
	defaultFileSize = 4096
	// largestFile is still no load, and comes through in time.
	largestFile = 1 << 20
	// looks is how long one look takes at most if nobody says so.
	looks = 10 * time.Second
	// tidy is the most that is left for deleting the file after a look was given up.
	tidy = 2 * time.Second
)

// Validate reports the first wrong parameter.
func (c *HTTPFileConfig) Validate() error {
	if err := validURL("url", c.URL); err != nil {
		return err
	}
	if u, err := url.Parse(c.URL); err != nil || u.RawQuery != "" || u.Fragment != "" {
		return badParam("url", "%q has a query or a fragment: the file's name is put after the path", c.URL)
	}
	if err := caFileFor(c.URL, c.CAFile, "https"); err != nil {
		return err
	}
	if c.Size < 0 || c.Size > largestFile {
		return badParam("size", "%d is not between 1 and %d bytes", c.Size, largestFile)
	}
	return notNegative("within", c.For)
}

// Within implements CheckConfig.
func (c *HTTPFileConfig) Within() time.Duration { return within(c.For) }

func (c *HTTPFileConfig) size() int {
	if c.Size == 0 {
		return defaultFileSize
	}
	return c.Size
}

type httpFile struct {
	cfg  *HTTPFileConfig
	deps Deps
	url  string // of the file
	dns  *dnsq.Client
}

// NewCheck implements CheckConfig.
func (c *HTTPFileConfig) NewCheck(d Deps) (Check, error) {
	name := fmt.Sprintf("failoverd-check-%s-%s", d.Component, d.Node)
	if d.Component == "" {
		name = fmt.Sprintf("failoverd-check-%s", d.Node)
	}
	return &httpFile{cfg: c, deps: d, url: strings.TrimSuffix(c.URL, "/") + "/" + url.PathEscape(name), dns: d.dns()}, nil
}

// Check implements Check.
func (f *httpFile) Check(ctx context.Context) Finding {
	ctx, cancel := f.deps.within(ctx)
	defer cancel()
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(looks)
	}
	client, header, err := f.client()
	if err != nil {
		return Finding{Unknown, err.Error()}
	}
	defer client.CloseIdleConnections()
	t := &transfer{client: client, header: header, url: f.url, bytes: make([]byte, f.cfg.size())}
	_, _ = rand.Read(t.bytes) // never fails

	// A quarter of the time is kept for deleting the file.
	legs, done := context.WithDeadline(ctx, end.Add(-time.Until(end)/4))
	finding := t.through(legs)
	done()
	if !t.mayExist.Load() {
		return finding
	}
	// Also when the look itself was given up: a file that was uploaded is ours to remove.
	left := time.Until(end)
	if ctx.Err() != nil {
		left = tidy
	}
	clean, done := context.WithTimeout(context.WithoutCancel(ctx), left)
	defer done()
	if wrong := t.remove(clean); wrong != "" {
		return Finding{Fail, fmt.Sprintf("%s; and deleting it %s: remove %s by hand if it stays", finding.Detail, wrong, f.url)}
	}
	if finding.Status == Pass {
		finding.Detail = fmt.Sprintf("%s: %d bytes, the same that came back: %s", f.url, len(t.bytes), strings.Join(t.took, ", "))
	}
	return finding
}

// client has connections of its own for each look: one that was kept may lead to what
// has been left.
func (f *httpFile) client() (*http.Client, http.Header, error) {
	roots, err := trustedRoots(f.cfg.CAFile)
	if err != nil {
		return nil, nil, err
	}
	header := http.Header{"User-Agent": {"failoverd"}}
	if f.cfg.AuthorizationFile != "" {
		secret, err := os.ReadFile(f.cfg.AuthorizationFile)
		if err != nil {
			return nil, nil, fmt.Errorf("reading authorization_file: %w", err)
		}
		header.Set("Authorization", strings.TrimSpace(string(secret)))
	}
	return &http.Client{
		Transport:     &http.Transport{DialContext: f.dns.DialContext, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, header, nil
}

// transfer is one file on its way.
type transfer struct {
	client *http.Client
	header http.Header
	url    string
	bytes  []byte
	took   []string // the legs that went well, with their times
	// mayExist says that the file was stored, or may have been: its upload has left.
	mayExist atomic.Bool
}

// through uploads and downloads.
func (t *transfer) through(ctx context.Context) Finding {
	uploading := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { t.mayExist.Store(true) }})
	status, _, wrong := t.leg(uploading, "uploaded", http.MethodPut, bytes.NewReader(t.bytes), http.StatusOK, http.StatusCreated, http.StatusNoContent)
	if wrong != nil {
		if slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed}, status) {
			t.mayExist.Store(false) // refused before anything was stored: there is nothing to delete
		}
		return wrong.finding("uploading " + t.url)
	}
	_, back, wrong := t.leg(ctx, "downloaded", http.MethodGet, http.NoBody, http.StatusOK)
	if wrong != nil {
		return wrong.finding("uploaded, but downloading " + t.url)
	}
	if d := difference(t.bytes, back); d != "" {
		return Finding{Fail, fmt.Sprintf("%s was uploaded with 2xx, but %s", t.url, d)}
	}
	return Finding{Pass, t.url + " came through"}
}

// remove deletes the file and says what was wrong about that.
func (t *transfer) remove(ctx context.Context) string {
	status, _, wrong := t.leg(ctx, "deleted", http.MethodDelete, http.NoBody, http.StatusOK, http.StatusAccepted, http.StatusNoContent)
	if wrong == nil || status == http.StatusNotFound || status == http.StatusGone { // an upload that was answered by nobody may not have come about
		return ""
	}
	return wrong.detail
}

// legError is a leg that went wrong.
type legError struct {
	status Status
	detail string // follows the name of what was tried
}

func (e *legError) finding(tried string) Finding {
	return Finding{e.status, tried + " " + e.detail}
}

// leg makes one request. Its body is read, but not more of it than was uploaded and a
// byte, which is enough to see that it differs.
func (t *transfer) leg(ctx context.Context, done, method string, body io.Reader, accepted ...int) (status int, back []byte, wrong *legError) {
	begin := time.Now()
	req, err := http.NewRequestWithContext(ctx, method, t.url, body)
	if err != nil {
		return 0, nil, &legError{Unknown, err.Error()}
	}
	req.Header = t.header.Clone()
	if method == http.MethodPut {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	resp, err := t.client.Do(req)
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		status = resp.StatusCode
		back, err = io.ReadAll(io.LimitReader(resp.Body, int64(len(t.bytes))+1))
	}
	if err != nil {
		return status, nil, failedLeg(err, time.Since(begin))
	}
	if !slices.Contains(accepted, status) {
		return status, nil, &legError{Fail, fmt.Sprintf("was answered with %d", status)}
	}
	t.took = append(t.took, fmt.Sprintf("%s in %s", done, since(begin)))
	return status, back, nil
}

// failedLeg sorts the error of a request. A certificate that is not trusted may be a
// mistake of ours.
func failedLeg(err error, after time.Duration) *legError {
	if why := untrusted(err, time.Now()); why != "" {
		return &legError{Unknown, "came to no exchange: " + why}
	}
	_, reason := networkError(err)
	if reason == failover.ReasonTimeout {
		return &legError{Fail, fmt.Sprintf("was not answered within %s", ms(after))}
	}
	return &legError{Fail, "failed: the server " + short(unwrapOp(err), reason)}
}

// difference says how what came back differs; "" if it does not.
func difference(sent, back []byte) string {
	if bytes.Equal(sent, back) {
		return ""
	}
	if len(back) != len(sent) {
		more := ""
		if len(back) > len(sent) {
			more = " or more"
		}
		return fmt.Sprintf("%d%s of %d bytes came back", len(back), more, len(sent))
	}
	for i := range sent {
		if sent[i] != back[i] {
			return fmt.Sprintf("something else came back: byte %d of %d is %s and was %s", i+1, len(sent), hex.EncodeToString(back[i:i+1]), hex.EncodeToString(sent[i:i+1]))
		}
	}
	return ""
}
