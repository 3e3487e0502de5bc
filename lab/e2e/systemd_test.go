package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/failoverd/failoverd/lab/cli"
	"github.com/failoverd/failoverd/lab/ctl"
	"github.com/failoverd/failoverd/lab/procs"
	"github.com/failoverd/failoverd/lab/world"
)

// manager plays systemd on one machine, as far as the units of deploy/ ask of it, with real processes:
//
//   - stop is SIGTERM to the control group, and SIGKILL to what is left after TimeoutStopSec= (systemd.kill(5), systemd.service(5));
//   - a unit that ends, for whatever reason, takes those with it that are bound to it: they are stopped (systemd.unit(5), BindsTo=);
//   - one that is not fed for WatchdogSec= gets WatchdogSignal=; Restart= and RestartSec= come after that, through failed;
//   - a unit is activating until it says READY=1 (Type=notify), and what is bound to it starts after that.
//
// A control group is told by the environment, since the machine that tests run on may give none; so its cgroup.kill is not tried
// here, and the agent falls back to `systemctl kill`. Nor are: After= of units that start together, sandboxing, OOMScoreAdjust=.
type manager struct {
	r      *rig
	jail   *jail
	socket string

	mu    sync.Mutex
	units map[string]*unit
	calls []string
}

// unit is a service. Its fields are guarded by manager.mu.
type unit struct {
	name, instance string
	set            map[string][]string // Section.Key to its values, drop-ins after the unit
	state          string              // ActiveState
	stop           chan struct{}       // closed to stop what runs now
	starts         []time.Time         // the newest last
	main           *world.Proc
	fed            time.Time
}

const host = "mail1"

// parse reads unit files, one after the other (systemd.syntax(7)).
func (u *unit) parse(text string) {
	section := ""
	for _, line := range strings.Split(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, "=")
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		case ok:
			value = strings.NewReplacer("%i", u.instance, "%H", host, "%n", u.name, "%%", "%").Replace(strings.TrimSpace(value))
			u.set[section+"."+key] = append(u.set[section+"."+key], value)
		}
	}
}

// get is the last value of a key.
func (u *unit) get(key, otherwise string) string {
	if v := u.set[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return otherwise
}

// list are all values of a key.
func (u *unit) list(key string) []string { return strings.Fields(strings.Join(u.set[key], " ")) }

// systemd starts the manager; r.c.Dir is its /etc/failoverd.
func (r *rig) systemd() *manager {
	r.Helper()
	dir := filepath.Join(r.c.Dir, "machine")
	m := &manager{r: r, units: map[string]*unit{}, socket: filepath.Join(r.c.Dir, "ctl", "systemd.sock")}
	m.jail = r.jailed("machine", place{at: "/usr/local/bin/failoverd", from: failoverdBin}, place{at: "/etc/failoverd", from: r.c.Dir},
		place{at: "/run", from: mkdir(r.T, dir+"/run")}, place{at: "/var/lib", from: mkdir(r.T, dir+"/lib")},
		place{at: "/usr/bin/systemctl", from: labBin}, place{at: "/app/worker", from: labBin})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /systemctl", func(w http.ResponseWriter, req *http.Request) {
		var args []string
		if ctl.Read(w, req, &args) {
			ctl.Reply(w, m.systemctl(args))
		}
	})
	r.do(ctl.Serve(r.ctx, m.socket, mux))
	return m
}

// load adds a unit: its file, and its drop-ins.
func (m *manager) load(name string, texts ...string) {
	u := &unit{name: name, set: map[string][]string{}, state: "inactive"}
	if _, of, ok := strings.Cut(strings.TrimSuffix(name, ".service"), "@"); ok {
		u.instance = of
	}
	for _, t := range texts {
		u.parse(t)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.units[name] = u
}

// begun is how often a unit was started.
func (m *manager) begun(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.units[name].starts)
}

func (m *manager) state(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.units[name].state
}

// systemctl answers what the agent calls (systemctl(1)).
func (m *manager) systemctl(args []string) cli.SystemctlAnswer {
	name := args[len(args)-1]
	m.mu.Lock()
	m.calls = append(m.calls, strings.Join(args, " "))
	u := m.units[name]
	m.mu.Unlock()
	switch {
	case u == nil:
		return cli.SystemctlAnswer{Err: "Unit " + name + " not found.\n", Status: 5}
	case args[0] == "start":
		m.start(u)
	case args[0] == "stop" && args[1] == "--no-block":
		m.stop(u)
	case args[0] == "reload":
		if line := u.get("Service.ExecReload", ""); line != "/bin/kill -HUP $MAINPID" {
			return cli.SystemctlAnswer{Err: "the test knows no ExecReload=" + line + "\n", Status: 1}
		}
		m.mu.Lock()
		_ = u.main.Signal(syscall.SIGHUP) // it may have ended
		m.mu.Unlock()
	case args[0] == "kill" && slices.Equal(args[1:3], []string{"--kill-whom=all", "--signal=SIGKILL"}):
		m.signal(u, syscall.SIGKILL)
	case args[0] == "show" && args[2] == "--value":
		return cli.SystemctlAnswer{Out: m.show(u, strings.TrimPrefix(args[1], "--property=")) + "\n"}
	default:
		return cli.SystemctlAnswer{Err: fmt.Sprintf("the test knows no %q\n", args), Status: 1}
	}
	return cli.SystemctlAnswer{}
}

func (m *manager) show(u *unit, property string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch property {
	case "ActiveState":
		return u.state
	case "ControlGroup":
		if u.state == "inactive" || u.state == "failed" {
			return ""
		}
		return "/system.slice/" + u.name
	case "BindsTo":
		return strings.Join(u.list("Unit.BindsTo"), " ")
	case "TimeoutStopUSec":
		return m.duration(u, "Service.TimeoutStopSec", "90s").Truncate(time.Microsecond).String() // as systemctl shows less than a minute
	case "SendSIGKILL":
		return u.get("Service.SendSIGKILL", "yes")
	case "KillMode":
		return u.get("Service.KillMode", "control-group")
	case "WatchdogSignal":
		return strconv.Itoa(int(m.watchdogSignal(u)))
	case "RestartMode": // systemd knows it since 254
		return u.get("Service.RestartMode", "normal")
	}
	m.r.Errorf("systemctl show: the test knows no property %s", property)
	return ""
}

func (m *manager) watchdogSignal(u *unit) syscall.Signal {
	name := u.get("Service.WatchdogSignal", "SIGABRT")
	s, ok := map[string]syscall.Signal{"SIGABRT": syscall.SIGABRT, "SIGKILL": syscall.SIGKILL}[name]
	if !ok {
		m.r.Errorf("the test knows no WatchdogSignal=%s", name)
	}
	return s
}

// start starts a unit and what it is bound to, and returns when it is up. One that stops is started after that.
func (m *manager) start(u *unit) {
	for _, name := range u.list("Unit.BindsTo") {
		m.mu.Lock()
		b := m.units[name]
		m.mu.Unlock()
		m.start(b)
	}
	begun := false
	for m.r.ctx.Err() == nil {
		m.mu.Lock()
		switch u.state {
		case "active":
			m.mu.Unlock()
			return
		case "inactive", "failed":
			if begun {
				m.mu.Unlock()
				return
			}
			begun = true
			u.state, u.stop, u.starts = "activating", make(chan struct{}), append(u.starts, time.Now())
			go m.run(u, u.stop)
		}
		m.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
}

// stop asks a unit to stop, and does not wait.
func (m *manager) stop(u *unit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u.state == "active" || u.state == "activating" {
		u.state = "deactivating"
		close(u.stop)
	}
}

// signal sends a signal to all of a unit's processes, and returns how many there were.
func (m *manager) signal(u *unit, s syscall.Signal) int {
	pids := procs.Marked(unitEnv + "=" + u.name)
	for _, pid := range pids {
		_ = syscall.Kill(pid, s) // it may have ended
	}
	return len(pids)
}

const unitEnv = "LAB_UNIT"

// times are divided as those of the configuration are.
func (m *manager) duration(u *unit, key, otherwise string) time.Duration {
	d, err := time.ParseDuration(u.get(key, otherwise))
	if err != nil {
		m.r.Errorf("%s of %s: %v", key, u.name, err)
	}
	return m.r.slow * d / factor
}

// command is a unit's command line with its environment (systemd.exec(5)).
func (m *manager) command(u *unit) (argv, env []string) {
	env = append(env, u.list("Service.Environment")...)
	for _, file := range u.list("Service.EnvironmentFile") {
		f, err := os.Open(m.jail.host(file))
		if err != nil {
			m.r.Errorf("EnvironmentFile of %s: %v", u.name, err)
			continue
		}
		for sc := bufio.NewScanner(f); sc.Scan(); {
			env = append(env, sc.Text())
		}
		_ = f.Close()
	}
	for _, word := range strings.Fields(u.get("Service.ExecStart", "")) {
		argv = append(argv, os.Expand(word, func(name string) (value string) {
			for _, e := range env { // the last one counts
				if k, v, _ := strings.Cut(e, "="); k == name {
					value = v
				}
			}
			return value
		}))
	}
	return brisk(argv, factor/float64(m.r.slow)), env
}

// mkdir makes a unit's directory, whatever the umask.
func (m *manager) mkdir(path string, mode os.FileMode) {
	if err := errors.Join(os.MkdirAll(path, mode), os.Chmod(path, mode)); err != nil {
		m.r.Errorf("a unit's directory: %v", err)
	}
}

// run takes a unit through one life.
func (m *manager) run(u *unit, stop <-chan struct{}) {
	argv, env := m.command(u)
	for _, d := range u.list("Service.RuntimeDirectory") {
		path := m.jail.host("/run/" + d)
		mode, err := strconv.ParseUint(u.get("Service.RuntimeDirectoryMode", "0755"), 8, 32)
		if err != nil {
			m.r.Errorf("RuntimeDirectoryMode of %s: %v", u.name, err)
		}
		m.mkdir(path, os.FileMode(mode))
		defer os.RemoveAll(path)
	}
	for _, d := range u.list("Service.StateDirectory") {
		m.mkdir(m.jail.host("/var/lib/"+d), 0o755)
	}
	env = append(env, unitEnv+"="+u.name, cli.SystemdSocket+"="+m.socket, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")
	notify, path := (*net.UnixConn)(nil), filepath.Join(m.r.c.Dir, "ctl", u.name+".notify")
	watchdog := time.Duration(0)
	if u.get("Service.Type", "simple") == "notify" {
		_ = os.Remove(path)
		var err error
		if notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
			m.r.Errorf("notification socket of %s: %v", u.name, err)
			return
		}
		defer notify.Close()
		env = append(env, "NOTIFY_SOCKET="+path)
		if watchdog = m.duration(u, "Service.WatchdogSec", "0s"); watchdog > 0 {
			env = append(env, "WATCHDOG_USEC="+strconv.FormatInt(watchdog.Microseconds(), 10))
		}
		go m.listen(u, notify)
	}
	j := *m.jail
	j.cgroup, j.root = "/system.slice/"+u.name, j.root+"-"+u.name
	p, err := m.r.inside(&j, u.name, env, argv...)
	if err != nil {
		m.r.Errorf("start %s: %v", u.name, err)
		return
	}
	m.mu.Lock()
	u.main, u.fed = p, time.Now()
	if notify == nil && u.state == "activating" {
		u.state = "active"
	}
	m.mu.Unlock()
	asked := m.watch(u, p, stop, watchdog)
	// Whatever the main process has left behind ends with it.
	m.mu.Lock()
	u.state = "deactivating"
	m.mu.Unlock()
	m.end(u)
	m.mu.Lock()
	if u.state = "failed"; asked {
		u.state = "inactive"
	}
	var bound []*unit
	for _, b := range m.units {
		if slices.Contains(b.list("Unit.BindsTo"), u.name) {
			bound = append(bound, b)
		}
	}
	m.mu.Unlock()
	for _, b := range bound {
		m.stop(b)
	}
	if !asked && u.get("Service.Restart", "no") == "always" && m.r.ctx.Err() == nil {
		time.Sleep(m.duration(u, "Service.RestartSec", "100ms"))
		if !m.limited(u) {
			go m.start(u)
		}
	}
}

// limited tells whether a unit was started too often to be started again: by default five times within ten seconds (systemd.unit(5)).
// These are not divided: the time that a process takes to fail is not either.
func (m *manager) limited(u *unit) bool {
	interval, err := time.ParseDuration(u.get("Unit.StartLimitIntervalSec", "10s"))
	burst, wrong := strconv.Atoi(u.get("Unit.StartLimitBurst", "5"))
	if err = errors.Join(err, wrong); err != nil {
		m.r.Errorf("the start limit of %s: %v", u.name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(u.starts) >= burst && time.Since(u.starts[len(u.starts)-burst]) < interval
}

// watch returns when the main process has ended, or the unit is to stop.
func (m *manager) watch(u *unit, p *world.Proc, stop <-chan struct{}, watchdog time.Duration) (asked bool) {
	for !p.Exited() && m.r.ctx.Err() == nil {
		select {
		case <-stop:
			return true
		case <-time.After(5 * time.Millisecond):
		}
		m.mu.Lock()
		late := watchdog > 0 && time.Since(u.fed) > watchdog
		m.mu.Unlock()
		if late {
			m.signal(u, m.watchdogSignal(u))
		}
	}
	return false
}

// end stops the unit's processes as its directives say, and returns when none is left.
func (m *manager) end(u *unit) {
	if mode := u.get("Service.KillMode", "control-group"); mode != "control-group" {
		m.r.Errorf("the test knows no KillMode=%s", mode)
	}
	m.signal(u, syscall.SIGTERM)
	kill := time.Now().Add(m.duration(u, "Service.TimeoutStopSec", "90s"))
	for m.signal(u, 0) > 0 && m.r.ctx.Err() == nil {
		if time.Now().After(kill) && u.get("Service.SendSIGKILL", "yes") == "yes" {
			m.signal(u, syscall.SIGKILL)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// listen hears what a unit says (sd_notify(3)).
func (m *manager) listen(u *unit, c *net.UnixConn) {
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if err != nil {
			return // it has ended
		}
		m.mu.Lock()
		for _, word := range strings.Fields(string(b[:n])) {
			switch word {
			case "READY=1":
				if u.state == "activating" {
					u.state = "active"
				}
			case "WATCHDOG=1":
				u.fed = time.Now()
			}
		}
		m.mu.Unlock()
	}
}
