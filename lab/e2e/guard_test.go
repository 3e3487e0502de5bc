package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/world"
)

// S10: what strangers, and friends in the wrong place, are told. One world serves all; none of them may disturb it.
func TestStrangersAreRefused(t *testing.T) {
	r := start(t)
	sub := func(name string, f func(r *rig)) {
		t.Run(name, func(t *testing.T) { f(r.sub(t)) })
	}

	sub("a node certificate of another authority", func(r *rig) {
		other := filepath.Join(r.c.Dir, "other-tls")
		if out, status := runs(r.ctx, failoverdBin, "--config", r.c.Config, "certs", "--dir", other); status != 0 {
			r.Fatal(out)
		}
		_, err := r.post(other, "third", "/v1/view", `{}`)
		if err == nil {
			r.Error("a node of another authority is listened to")
		}
		if status, err := r.post(filepath.Join(r.c.Dir, "tls"), "third", "/v1/view", `{}`); err != nil || status == http.StatusForbidden {
			r.Errorf("the same request with the right authority: status %d, error %v", status, err)
		}
	})

	sub("an agent's certificate for the other region", func(r *rig) {
		ask := func(region string) (int, error) {
			return r.post(filepath.Join(r.c.Dir, "tls"), "agent-us-east-2", "/v1/lease",
				fmt.Sprintf(`{"agent":"stranger","region":%q,"component":"workers","request":"1","lease":%q}`, region, (r.slow*75*time.Second/factor).String()))
		}
		if status, err := ask(world.Secondary); err != nil || status == http.StatusForbidden || status == http.StatusBadRequest {
			r.Errorf("asking for its own region: status %d, error %v", status, err)
		}
		if status, err := ask(world.Primary); err != nil || status != http.StatusForbidden {
			r.Errorf("asking for us-east-1: status %d, error %v; want 403", status, err)
		}
		if status, err := r.post(filepath.Join(r.c.Dir, "tls"), "agent-us-east-2", "/v1/propose", `{}`); err != nil || status != http.StatusForbidden {
			r.Errorf("an agent that proposes: status %d, error %v; want 403", status, err)
		}
	})

	sub("the admin socket to another user", func(r *rig) {
		r.do(os.Chmod(r.c.Dir, 0o755)) // it is the socket that must refuse, not the way to it
		cmd := exec.CommandContext(r.ctx, failoverdBin, "--socket", r.c.Socket("use2a"), "status")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Path = r.public(failoverdBin)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "admin socket") || bytes.Contains(out, []byte("goroutine")) {
			r.Errorf("nobody gets: %v, %s", err, out)
		}
		if info, err := os.Stat(r.c.Socket("use2a")); err != nil || info.Mode().Perm() != 0o660 {
			r.Errorf("the socket's mode is %v, error %v; want 0660", info.Mode(), err)
		}
	})

	sub("a second process on the same data directory", func(r *rig) {
		p, err := r.c.Run(r.ctx, "use2a", "second", r.c.Config)
		r.do(err)
		ctx, cancel := context.WithTimeout(r.ctx, r.slow*15*time.Second)
		defer cancel()
		err = p.Wait(ctx)
		exit, ok := err.(*exec.ExitError) //nolint:errorlint // Wait returns it as os/exec does
		b, rerr := os.ReadFile(p.LogPath)
		r.do(rerr)
		if !ok || exit.ExitCode() != 1 || !strings.Contains(string(b), r.c.Data("use2a")) || strings.Contains(string(b), "goroutine") {
			r.Errorf("the second process ended with %v and said %s; want status 1 and a sentence that names the directory", err, b)
		}
	})

	if missing := r.c.Healthy(r.ctx); missing != "" {
		r.do(r.healthy(15 * time.Second))
	}
}

// post sends a request to use2a's port from the third vantage with a certificate, and returns the status.
func (r *rig) post(dir, name, path, body string) (int, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
	r.do(err)
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return r.w.Dial(ctx, world.Third, network, addr)
		},
		// What is tested is whether the server trusts us, not the reverse.
		TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS13},
	}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(r.ctx, r.slow*5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+world.NodeAddresses["use2a"]+":7700"+path, strings.NewReader(body))
	r.do(err)
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, nil
}

// public copies a binary to where everybody may run it.
func (r *rig) public(bin string) string {
	b, err := os.ReadFile(bin)
	r.do(err)
	path := filepath.Join(r.c.Dir, "public-failoverd")
	r.do(os.WriteFile(path, b, 0o755))
	return path
}
