package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/probes"
)

// The engine is measured beside blackbox_exporter, the field's usual prober: 1,000
// targets, one probe a second each, both pinned to the same core, one after the
// other. make bench-probes runs it.

const (
	engineTargets  = 1000
	engineInterval = time.Second
	engineWarm     = 3 * time.Second
	engineRun      = 15 * time.Second
	engineCore     = "1"
	engineEnv      = "MONITOR_BENCH_TARGET"
)

func TestMain(m *testing.M) {
	if base := os.Getenv(engineEnv); base != "" {
		engine(base)
	}
	os.Exit(m.Run())
}

// engine is the process that is measured: our schedules and our http probes, and
// nothing else, until it is killed.
func engine(base string) {
	// The resolver is not measured: targets have an address.
	begin := time.Now()
	fmt.Println(begin.UnixNano())
	for i := range engineTargets {
		p, err := (&probes.HTTPConfig{URL: base + "/" + strconv.Itoa(i)}).New(probes.Deps{Region: "r", Node: "n", Timeout: time.Second, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			panic(err)
		}
		go schedule{interval: engineInterval, timeout: time.Second, offset: offsetOf(i), probe: p, done: func(failover.Observation) {}}.run(context.Background())
	}
	select {}
}

func offsetOf(i int) time.Duration { return engineInterval * time.Duration(i) / engineTargets }

// target answers all probes and notes when each came.
type target struct {
	mu       sync.Mutex
	counting bool
	base     time.Time
	late     []time.Duration
}

func (t *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	i, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil || i >= engineTargets {
		http.NotFound(w, r)
		return
	}
	_, _ = io.WriteString(w, "ok")
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counting {
		t.late = append(t.late, now.Sub(t.base.Add(offsetOf(i)))%engineInterval)
	}
}

// measure lets an engine warm up, and prints what it then does.
func (t *target) measure(b *testing.B, name string, pid int, perProbe float64) {
	b.Helper()
	<-time.After(engineWarm)
	t.mu.Lock()
	t.counting, t.late = true, nil
	t.mu.Unlock()
	cpu, began := cpuOf(b, pid), time.Now()
	<-time.After(engineRun)
	took, cpu := time.Since(began), cpuOf(b, pid)-cpu
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counting = false
	slices.Sort(t.late)
	if len(t.late) == 0 {
		b.Fatalf("%s made no probe", name)
	}
	probesMade := float64(len(t.late)) / perProbe
	fmt.Printf("bench: what=probes engine=%s targets=%d rate=%.0f/s requests_per_probe=%.0f core=%.0f%% cpu_per_probe=%s lateness_p50=%s lateness_p99=%s rss_mb=%d\n",
		name, engineTargets, probesMade/took.Seconds(), perProbe, 100*cpu.Seconds()/took.Seconds(),
		(cpu / time.Duration(probesMade)).Round(time.Microsecond),
		t.late[len(t.late)/2].Round(10*time.Microsecond), t.late[len(t.late)*99/100].Round(10*time.Microsecond), rssOf(b, pid))
}

// cpuOf is utime + stime of a process, proc_pid_stat(5), in ticks of 10 ms.
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+2:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// rssOf is the most memory that a process ever held, in MB.
func rssOf(b *testing.B, pid int) int {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kb / 1024
		}
	}
	b.Fatal("no VmHWM")
	return 0
}

// pinned starts a program on the measured core, and ends it with the benchmark.
func pinned(b *testing.B, env, name string, args ...string) (pid int, out io.Reader) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), "taskset", append([]string{"-c", engineCore, name}, args...)...)
	cmd.Env = append(os.Environ(), env)
	r, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd.Process.Pid, r // taskset becomes the program
}

// BenchmarkEngine is this package's schedules with http probes: each probe asks
// twice, over a kept connection and over a new one.
func BenchmarkEngine(b *testing.B) {
	t := &target{}
	base := serveTarget(b, t)
	pid, out := pinned(b, engineEnv+"="+base, os.Args[0])
	var nanos int64
	if _, err := fmt.Fscan(out, &nanos); err != nil {
		b.Fatal(err)
	}
	t.base = time.Unix(0, nanos)
	t.measure(b, "failoverd", pid, 2)
}

// BenchmarkPeer is blackbox_exporter with as many probes, asked for by a driver
// on the other core: each probe asks once, over a new connection.
func BenchmarkPeer(b *testing.B) {
	name, err := exec.LookPath("prometheus-blackbox-exporter")
	if err != nil {
		b.Fatalf("%v; make bench-probes installs it", err)
	}
	t := &target{}
	base := serveTarget(b, t)
	config := filepath.Join(b.TempDir(), "blackbox.yml")
	module, err := json.Marshal(map[string]any{"modules": map[string]any{"http_2xx": map[string]any{"prober": "http", "timeout": "1s"}}}) // JSON is YAML
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(config, module, 0o600); err != nil {
		b.Fatal(err)
	}
	addr := freeAddr(b)
	pid, _ := pinned(b, "", name, "--config.file="+config, "--web.listen-address="+addr, "--log.level=error")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: engineTargets, MaxConnsPerHost: 0}}
	ask := func(ctx context.Context, i int) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/probe?module=http_2xx&target="+url.QueryEscape(base+"/"+strconv.Itoa(i)), nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.Body.Close()
	}
	for end := time.Now().Add(10 * time.Second); ask(b.Context(), 0) != nil; {
		if time.Now().After(end) {
			b.Fatal("blackbox_exporter does not answer")
		}
		<-time.After(50 * time.Millisecond)
	}
	t.base = time.Now()
	for i := range engineTargets {
		go schedule{interval: engineInterval, timeout: time.Second, offset: offsetOf(i), probe: asking(func(ctx context.Context) { _ = ask(ctx, i) }), done: func(failover.Observation) {}}.run(b.Context())
	}
	t.measure(b, "blackbox_exporter", pid, 1)
}

type asking func(context.Context)

func (a asking) Probe(ctx context.Context) failover.Observation {
	a(ctx)
	return failover.Observation{}
}

func serveTarget(b *testing.B, t *target) (base string) {
	b.Helper()
	addr := freeAddr(b)
	srv := &http.Server{Addr: addr, Handler: t, ReadHeaderTimeout: time.Second}
	ln, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = srv.Serve(ln) }()
	b.Cleanup(func() { _ = srv.Close() })
	return "http://" + addr
}

func freeAddr(b *testing.B) string {
	b.Helper()
	ln, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
