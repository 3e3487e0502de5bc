package probes

import (
	"context"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// fileStore is a file endpoint of an application: PUT, GET and DELETE below /files/,
// and one behaviour that is wrong.
type fileStore struct {
	mu    sync.Mutex
	files map[string][]byte
	calls []string
	seen  [][]byte // every upload
	wrong string
	done  chan struct{}
}

func (f *fileStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	wrong := f.wrong
	f.calls = append(f.calls, r.Method)
	if r.Method == http.MethodPut && wrong != "put refused" {
		f.files[r.URL.Path] = body
		f.seen = append(f.seen, body)
	}
	stored, exists := f.files[r.URL.Path]
	if r.Method == http.MethodDelete && wrong != "delete fails" {
		delete(f.files, r.URL.Path)
	}
	f.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "Bearer 123":
		w.WriteHeader(http.StatusUnauthorized)
	case wrong == r.Method+" hangs":
		select {
		case <-f.done:
		case <-r.Context().Done():
		}
	case wrong == "put refused" && r.Method == http.MethodPut:
		w.WriteHeader(http.StatusForbidden)
	case wrong == "put fails" && r.Method == http.MethodPut, wrong == "delete fails" && r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusServiceUnavailable)
	case wrong == "get fails" && r.Method == http.MethodGet:
		w.WriteHeader(http.StatusInternalServerError)
	case wrong == "get redirects" && r.Method == http.MethodGet:
		http.Redirect(w, r, "/login", http.StatusFound)
	case r.Method == http.MethodGet && wrong == "a byte differs":
		stored = slices.Clone(stored)
		stored[9] ^= 0xff
		_, _ = w.Write(stored)
	case r.Method == http.MethodGet && wrong == "short":
		_, _ = w.Write(stored[:100])
	case r.Method == http.MethodGet && wrong == "endless":
		for range 100 {
			_, _ = w.Write(stored)
		}
	case r.Method == http.MethodGet:
		_, _ = w.Write(stored)
	case r.Method == http.MethodDelete && !exists:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodPut:
		w.WriteHeader(http.StatusCreated)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// A file comes through and is removed; what goes wrong is named by its leg, and leaves
// nothing behind wherever it happens.
func TestHTTPFile(t *testing.T) {
	f := &fileStore{files: map[string][]byte{"/files/theirs": []byte("theirs")}, done: make(chan struct{})}
	plain, secure := httptest.NewServer(f), httptest.NewUnstartedServer(f)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains about the handshake that the test wants to fail
	secure.StartTLS()
	defer plain.Close()
	defer secure.Close()
	defer close(f.done)
	dir := t.TempDir()
	ca, auth := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "auth")
	for name, b := range map[string][]byte{ca: pemOf(secure.Certificate()), auth: []byte("Bearer 123\n")} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := Deps{Component: "api", Region: "us-east-1", Node: "n1"}
	check := func(c HTTPFileConfig) Check {
		t.Helper()
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		k, err := c.NewCheck(d)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	const name = "/files/failoverd-check-api-n1"
	look := func(what string, k Check, wrong string, want Status, detail, calls string, stays bool) {
		t.Helper()
		f.mu.Lock()
		f.wrong, f.calls = wrong, nil
		f.mu.Unlock()
		limit := 10 * time.Second // nothing but what hangs comes near it
		if strings.HasSuffix(wrong, "hangs") {
			limit = 600 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		begin := time.Now()
		got := k.Check(ctx)
		if took := time.Since(begin); took > limit+100*time.Millisecond {
			t.Errorf("%s: it took %s of %s", what, took, limit)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if got.Status != want || !strings.Contains(got.Detail, detail) {
			t.Errorf("%s: got %s %q, want %s with %q", what, got.Status, got.Detail, want, detail)
		}
		if made := strings.Join(f.calls, " "); made != calls {
			t.Errorf("%s: it called %s, want %s", what, made, calls)
		}
		left := slices.Sorted(maps.Keys(f.files))
		if wantLeft := map[bool]int{true: 2, false: 1}[stays]; len(left) != wantLeft || string(f.files["/files/theirs"]) != "theirs" {
			t.Errorf("%s: these are left: %v", what, left)
		}
		delete(f.files, name)
	}
	k := check(HTTPFileConfig{URL: plain.URL + "/files/", AuthorizationFile: auth})
	const all = "PUT GET DELETE"
	look("well", k, "", Pass, "4096 bytes, the same that came back: uploaded in ", all, false)
	look("again", k, "", Pass, ", deleted in ", all, false)
	if len(f.seen) != 2 || len(f.seen[0]) != 4096 || string(f.seen[0]) == string(f.seen[1]) {
		t.Error("the bytes are not new each time")
	}
	look("own size", check(HTTPFileConfig{URL: plain.URL + "/files", AuthorizationFile: auth, Size: 17}), "", Pass, "17 bytes", all, false)
	look("TLS", check(HTTPFileConfig{URL: secure.URL + "/files", AuthorizationFile: auth, CAFile: ca}), "", Pass, "4096 bytes", all, false)
	look("no trust", check(HTTPFileConfig{URL: secure.URL + "/files", AuthorizationFile: auth}), "", Unknown, "came to no exchange: its certificate is not trusted", "", false)
	look("a byte", k, "a byte differs", Fail, "uploaded with 2xx, but something else came back: byte 10 of 4096 is ", all, false)
	look("short", k, "short", Fail, "100 of 4096 bytes came back", all, false)
	look("endless", k, "endless", Fail, "4097 or more of 4096 bytes came back", all, false)
	look("download fails", k, "get fails", Fail, "uploaded, but downloading "+plain.URL+name+" was answered with 500", all, false)
	look("redirect", k, "get redirects", Fail, "was answered with 302", all, false)
	look("download hangs", k, "GET hangs", Fail, "was not answered within", all, false)
	look("upload is lost", k, "PUT hangs", Fail, "uploading "+plain.URL+name+" was not answered within", "PUT DELETE", false)
	look("upload fails, having stored it", k, "put fails", Fail, "was answered with 503", "PUT DELETE", false)
	look("upload refused", k, "put refused", Fail, "was answered with 403", "PUT", false)
	look("delete fails", k, "delete fails", Fail, "came through; and deleting it was answered with 503: remove "+plain.URL+name+" by hand if it stays", all, true)
	look("not authorized", check(HTTPFileConfig{URL: plain.URL + "/files"}), "put refused", Fail, "was answered with 401", "PUT", false)
	look("nobody", check(HTTPFileConfig{URL: "http://" + closedPort(t), AuthorizationFile: auth}), "", Fail, "failed: the server refused the connection", "", false)
	look("no file", check(HTTPFileConfig{URL: plain.URL, AuthorizationFile: "/none"}), "", Unknown, "reading authorization_file", "", false)
}

// A look that is given up half-way, because the step was, removes its file all the same.
func TestHTTPFileGivenUp(t *testing.T) {
	f := &fileStore{files: map[string][]byte{}, wrong: "GET hangs", done: make(chan struct{})}
	srv := httptest.NewServer(f)
	defer srv.Close()
	defer close(f.done)
	auth := filepath.Join(t.TempDir(), "auth")
	if err := os.WriteFile(auth, []byte("Bearer 123"), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := (&HTTPFileConfig{URL: srv.URL, AuthorizationFile: auth}).NewCheck(Deps{Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan Finding)
	go func() { result <- k.Check(ctx) }()
	for asked := false; !asked; {
		f.mu.Lock()
		asked = slices.Contains(f.calls, http.MethodGet)
		f.mu.Unlock()
	}
	cancel()
	if got := <-result; got.Status != Fail {
		t.Errorf("%+v", got)
	}
	if len(f.files) != 0 || f.calls[len(f.calls)-1] != http.MethodDelete {
		t.Errorf("it is left behind: %d files after %v", len(f.files), f.calls)
	}
}

func TestHTTPFileValidate(t *testing.T) {
	for want, c := range map[string]HTTPFileConfig{
		"url: is missing":             {},
		"is not an http:// or https:": {URL: "ftp://a/"},
		"has a query or a fragment":   {URL: "https://a/files?x=1"},
		"ca_file: has no use":         {URL: "http://a/files", CAFile: "/ca.pem"},
		"size: -1 is not between":     {URL: "http://a/files", Size: -1},
		"size: 2000000 is not":        {URL: "http://a/files", Size: 2_000_000},
		"within: -1s is negative":     {URL: "http://a/files", For: failover.Duration(-time.Second)},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
