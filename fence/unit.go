package fence

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Unit is a systemd unit that an agent runs as its worker.
type Unit struct {
	name string
	// systemctl runs systemctl with the given arguments. Replaced in tests.
	systemctl func(args ...string) (string, error)
	// cgroups is where control groups are mounted.
	cgroups string
}

// NewUnit returns the unit of the given name.
func NewUnit(name string) *Unit {
	return &Unit{name: name, systemctl: systemctl, cgroups: "/sys/fs/cgroup"}
}

// systemctlTimeout bounds one call of systemctl.
const systemctlTimeout = 10 * time.Second

func systemctl(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), systemctlTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// Start starts the unit.
func (u *Unit) Start() error {
	_, err := u.systemctl("start", u.name)
	return err
}

// Term asks the unit to stop and does not wait.
func (u *Unit) Term() error {
	_, err := u.systemctl("stop", "--no-block", u.name)
	return err
}

// Kill kills every process of the unit: through its control group where the
// kernel can do that at once, through systemd otherwise.
func (u *Unit) Kill() error {
	if group, err := u.property("ControlGroup"); err == nil && group != "" {
		if err := os.WriteFile(filepath.Join(u.cgroups, group, "cgroup.kill"), []byte("1"), 0); err == nil {
			return nil
		}
	}
	_, err := u.systemctl("kill", "--kill-whom=all", "--signal=SIGKILL", u.name)
	return err
}

// Alive reports whether anything of the unit may run: only an inactive or failed
// unit, as systemd documents them, is dead.
func (u *Unit) Alive() bool {
	state, err := u.property("ActiveState")
	return err != nil || state != "inactive" && state != "failed"
}

func (u *Unit) property(name string) (string, error) {
	out, err := u.systemctl("show", "--property="+name, "--value", u.name)
	return strings.TrimSpace(out), err
}

// BoundTo says why the unit would outlive the given one, its agent's, by more than
// grace when that one is stuck and neither it nor its guard kills; nil means that systemd
// kills both in time.
func (u *Unit) BoundTo(agent string, grace time.Duration) error {
	bound, err := u.property("BindsTo")
	if err != nil {
		return fmt.Errorf("reading how %s is bound: %w", u.name, err)
	}
	if !slices.Contains(strings.Fields(bound), agent) {
		return fmt.Errorf("unit %s is not bound to %s: add a drop-in with [Unit] BindsTo=%s and After=%s (see deploy/)", u.name, agent, agent, agent)
	}
	own := &Unit{name: agent, systemctl: u.systemctl, cgroups: u.cgroups}
	for _, want := range []struct {
		of       *Unit
		property string
		good     func(value string) bool
		write    string
	}{
		{u, "TimeoutStopUSec", func(v string) bool { d, err := timeSpan(v); return err == nil && d <= grace }, fmt.Sprintf("TimeoutStopSec= no longer than lease.stop.grace, %s", grace)},
		{u, "SendSIGKILL", func(v string) bool { return v == "yes" }, "SendSIGKILL=yes"},
		{u, "KillMode", func(v string) bool { return v == "control-group" || v == "mixed" }, "KillMode=control-group"},
		// A process that stands still does not end by any other signal.
		{own, "WatchdogSignal", func(v string) bool { return v == strconv.Itoa(int(syscall.SIGKILL)) }, "WatchdogSignal=SIGKILL"},
		// What is bound to a unit that is restarted directly does not hear that it has ended
		// (systemd.service(5)). Before systemd 254 there was no such thing.
		{own, "RestartMode", func(v string) bool { return v != "direct" }, "RestartMode=normal"},
	} {
		value, err := want.of.property(want.property)
		if err != nil {
			return fmt.Errorf("reading how %s is ended: %w", want.of.name, err)
		}
		if !want.good(value) {
			return fmt.Errorf("unit %s would not be ended in time with its agent, since its %s is %q: it needs %s (see deploy/)", want.of.name, want.property, value, want.write)
		}
	}
	return nil
}

// timeSpan reads what systemctl shows of a time, "1min 30s" (systemd.time(7)). One of days
// or more is refused, as is "infinity": nothing here may last so long.
func timeSpan(s string) (sum time.Duration, err error) {
	for _, part := range strings.Fields(s) {
		d, err := time.ParseDuration(strings.Replace(part, "min", "m", 1))
		if err != nil {
			return 0, err
		}
		sum += d
	}
	if sum == 0 { // to systemd, none at all
		return 0, fmt.Errorf("%q is no limit", s)
	}
	return sum, nil
}

// OwnUnit is the systemd unit that this process runs in; "" if it runs in none.
func OwnUnit() string {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	return unitOf(string(data))
}

// unitOf finds the unit in the content of /proc/PID/cgroup; see cgroups(7).
func unitOf(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || parts[1] != "" && parts[1] != "name=systemd" {
			continue
		}
		if base := filepath.Base(parts[2]); strings.HasSuffix(base, ".service") {
			return base
		}
	}
	return ""
}

// unitVictim is a unit behind a guard.
type unitVictim struct {
	unit *Unit
	done chan int
}

func (v *unitVictim) start() (int, error) {
	if err := v.unit.Start(); err != nil {
		// Half started is not stopped, and what still stands in systemd's queue starts later.
		return 0, errors.Join(err, v.unit.Term(), v.unit.Kill())
	}
	v.done = make(chan int, 1)
	go func() {
		for v.unit.Alive() {
			time.Sleep(200 * time.Millisecond)
		}
		v.done <- 0
	}()
	return 0, nil
}

func (v *unitVictim) exited() <-chan int { return v.done }
func (v *unitVictim) alive() bool        { return v.unit.Alive() }

func (v *unitVictim) term() { _ = v.unit.Term() } // kill follows at its time
func (v *unitVictim) kill() { _ = v.unit.Kill() } // repeated until it is dead
