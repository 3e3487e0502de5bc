// Package demo is `lab demo`: a region of a simulated world goes dark, and a person watches the daemon take the service to
// the other one. It ends by itself with a verdict that is computed from the world's own record.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/failoverd/failoverd/lab/cli"
	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/world"
)

// Options are what the person asked for.
type Options struct {
	Root     string  // directory that holds config.toml.example and bin/
	Death    string  // cut or killed
	Scenario string  // "" or what usage lists
	Via      string  // slack or cli: how the manual scenario is approved
	Keep     bool    // leave the world running afterwards
	Unsafe   string  // "" or skip-fence
	Factor   float64 // divides all durations
	Prefix   string  // of the namespaces
	Out      *os.File
}

// FromEnv reads the options as `make demo` passes them.
func FromEnv(getenv func(string) string) (Options, error) {
	o := Options{Death: or(getenv("DEATH"), "cut"), Scenario: getenv("SCENARIO"), Via: or(getenv("VIA"), "slack"), Keep: getenv("KEEP") == "1",
		Unsafe: getenv("UNSAFE"), Prefix: "demo", Out: os.Stdout}
	var err error
	if o.Factor, err = strconv.ParseFloat(or(getenv("FACTOR"), "4"), 64); err != nil || o.Factor < 1 || o.Factor > 4 {
		return o, fmt.Errorf("FACTOR=%s: want a number from 1 to 4; beyond it a long poll of SQS, at least 1 s, no longer fits into aws.timeout", getenv("FACTOR"))
	}
	for _, c := range []struct {
		name, value string
		allowed     []string
	}{
		{"DEATH", o.Death, []string{"cut", "killed"}},
		{"SCENARIO", o.Scenario, []string{"", "blip", "leader-crash", "manual", "api-only", "route53-down", "control-plane-impaired", "zone-down", "home"}},
		{"VIA", o.Via, []string{"slack", "cli"}},
		{"UNSAFE", o.Unsafe, []string{"", "skip-fence"}},
	} {
		if !slices.Contains(c.allowed, c.value) {
			return o, fmt.Errorf("%s=%s is not one of: %s", c.name, c.value, strings.Join(c.allowed, ", "))
		}
	}
	self, err := os.Executable()
	if err != nil {
		return o, fmt.Errorf("find this binary: %w", err)
	}
	o.Root = filepath.Dir(filepath.Dir(self)) // bin/lab
	return o, nil
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// Main is the sub-command: options from the environment, then Run.
func Main(ctx context.Context, stderr io.Writer) error {
	o, err := FromEnv(os.Getenv)
	if err != nil {
		usage(stderr)
		return err
	}
	if Run(ctx, o) != 0 {
		return cli.ErrSaid
	}
	return nil
}

// limit bounds the whole demo; about a third of it is needed. Three minutes at factor 4, and twice that where the service goes and comes back.
func (d *demo) limit() time.Duration {
	if d.Scenario == "home" {
		return d.real(8 * 175 * time.Second)
	}
	return d.real(4 * 175 * time.Second)
}

// Run plays the demo and returns the exit status.
func Run(ctx context.Context, o Options) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(o.Out, "lab demo: the simulated world needs root, for its network namespaces")
		return 1
	}
	d := &demo{Options: o, begin: time.Now()}
	v, err := d.play(ctx)
	if err != nil {
		fmt.Fprintf(o.Out, "\nnot as it should be: %v\n", err)
	}
	fmt.Fprintln(o.Out, v.Line())
	if err != nil {
		return 1
	}
	return 0
}

// demo is one run.
type demo struct {
	Options
	c       *harness.Cluster
	begin   time.Time
	lossAt  time.Time
	crashAt time.Time // of the leader
	show    *show
	slack   string // what became of the click, for the summary
	risk    string // what `failoverd price` said of MariaDB's rows before the loss; "": nothing
	answers int    // DNS answers while nodes die
	maria   bool   // each region has a MariaDB
}

// play builds the world, runs the scenario, and judges. The verdict is always usable.
func (d *demo) play(ctx context.Context) (v harness.Verdict, err error) {
	v = harness.Unknown(d.Factor)
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "failoverd-"+d.Prefix+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return v, fmt.Errorf("lock: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return v, errors.New("another demo is running on this machine: end it first")
	}
	if err := world.CleanStale(ctx, d.Prefix); err != nil {
		return v, fmt.Errorf("remove what an earlier demo left: %w", err)
	}
	base := or(harness.Memory(), os.TempDir())
	stale, _ := filepath.Glob(filepath.Join(base, "failoverd-"+d.Prefix+"-*")) // the pattern is valid
	for _, s := range stale {
		_ = os.RemoveAll(s) // of a demo that ended badly; the next one tries again
	}
	dir, err := os.MkdirTemp(base, "failoverd-"+d.Prefix+"-")
	if err != nil {
		return v, fmt.Errorf("make the world's directory: %w", err)
	}
	if d.c, err = d.start(ctx, dir); err != nil {
		return v, errors.Join(err, world.CleanStale(context.WithoutCancel(ctx), d.Prefix))
	}
	defer func() {
		if err != nil {
			fmt.Fprintf(d.Out, "logs of all processes: %s/log (until the next demo)\n", dir)
		}
		if cerr := d.c.Close(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("clean up: %w", cerr))
		}
		if err == nil {
			_ = os.RemoveAll(dir) // the next demo removes what is left
		}
	}()
	d.announce()
	d.show = newShow(d)
	d.show.start(ctx)
	bounded, cancel := context.WithTimeout(ctx, d.limit()-time.Since(d.begin))
	err = d.scenario(bounded)
	cancel()
	d.show.stop()
	v, jerr := d.judge(context.WithoutCancel(ctx))
	if err == nil {
		err = jerr
	}
	if ctx.Err() != nil {
		return v, errors.New("interrupted")
	}
	if err == nil {
		err = d.expect(v)
	}
	d.summary(v)
	if d.Keep {
		if perr := d.c.W.PauseProviders(ctx, false); perr != nil {
			fmt.Fprintf(d.Out, "the providers stay paused: %v\n", perr)
		}
		d.explore(dir)
		<-ctx.Done()
	}
	return v, err
}

func (d *demo) start(ctx context.Context, dir string) (*harness.Cluster, error) {
	lab, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this binary: %w", err)
	}
	bin := filepath.Join(d.Root, "bin", "failoverd")
	if d.Unsafe != "" {
		bin += "-unsafe"
	}
	opt := harness.Options{
		Example: filepath.Join(d.Root, "config.toml.example"), Failoverd: bin, Unsafe: d.Unsafe != "",
		Config: harness.ConfigOptions{Factor: d.Factor},
		World:  world.Options{Dir: dir, Prefix: d.Prefix, Lab: lab, Log: slog.New(slog.DiscardHandler)},
		// Each region has a real one, where the machine has it: make demo installs it.
		MariaDB: world.MariaDBMissing() == "", Documents: true,
	}
	d.maria = opt.MariaDB
	if d.maria {
		fmt.Fprintln(d.Out, "a MariaDB for each region: installing its tables, filling the primary's, making four nightly backups")
	}
	switch d.Scenario {
	case "manual":
		opt.Config.Edits = append(opt.Config.Edits, harness.Supervised)
	case "api-only":
		opt.Config.Edits = append(opt.Config.Edits, harness.StopAPI)
	case "home":
		opt.Own = true
		if d.maria {
			opt.Config.Edits = append(opt.Config.Edits, harness.Fresh)
		}
	}
	return harness.Start(ctx, opt)
}

func (d *demo) announce() {
	p := func(format string, args ...any) { fmt.Fprintf(d.Out, format+"\n", args...) }
	what := map[string]string{"": "us-east-1 is lost", "blip": "us-east-1 is out of sight for 80 % of the hold, then back",
		"leader-crash": "us-east-1 is lost, and the leader dies in mid-plan", "manual": "us-east-1 is lost, and a person must approve (" + d.Via + ")",
		"api-only":               "us-east-1 is lost, and only its dead control plane could confirm that one component has stopped",
		"route53-down":           "us-east-1 is lost while Route 53's control plane is dead, and afterwards every node",
		"control-plane-impaired": "us-east-1 serves, but cannot launch or change anything", "zone-down": "one availability zone of us-east-1 is dark",
		"home": "both regions live; a person brings the service to us-east-2, and home again"}[d.Scenario]
	if !d.staysHome() && d.Scenario != "home" {
		what += map[string]string{"cut": "; it is cut off, everything behind the cut alive", "killed": "; every process there is killed"}[d.Death]
	}
	p("failoverd demo: %s", what)
	if d.Unsafe != "" {
		p("UNSAFE: this daemon was built without its fence. Two regions will be active at once.")
	}
	p("5 nodes, 3 agents with workers, two regions in network namespaces %s-*; config.toml.example with:", d.Prefix)
	for _, s := range d.c.Summary {
		p("  - %s", s)
	}
	if why := world.MariaDBMissing(); why != "" {
		p("  MariaDB is left out: %s", why)
	}
	p("")
}

// judge reads the world's record once everything has come to rest.
func (d *demo) judge(ctx context.Context) (harness.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	v, err := d.c.Judge(ctx, d.lossAt)
	if err != nil || d.crashAt.IsZero() {
		return v, err
	}
	v.Steps = append(v.Steps, harness.Milestone{What: "leader killed", After: d.crashAt.Sub(d.lossAt)})
	calls, err := d.c.Mutations(ctx)
	if err != nil {
		return v, err
	}
	for _, call := range calls {
		if call.At.After(d.crashAt) {
			v.Steps = append(v.Steps, harness.Milestone{What: "next effect, by another leader", After: call.At.Sub(d.lossAt)})
			break
		}
	}
	return v, nil
}

// expect says in one sentence what is not as it should be.
func (d *demo) expect(v harness.Verdict) error {
	active, epoch := world.Secondary, uint64(2)
	switch {
	case d.staysHome():
		active, epoch = world.Primary, 1
	case d.Scenario == "home":
		active, epoch = world.Primary, 3
	}
	switch {
	case v.Duplicates > 0 || v.DualActiveMs > 0:
		return fmt.Errorf("%d messages were processed twice, and workers of both regions lived for %d ms at the same time", v.Duplicates, v.DualActiveMs)
	case v.Lost > 0:
		return fmt.Errorf("%d messages were acknowledged and are nowhere", v.Lost)
	case v.Active != active:
		return fmt.Errorf("the service should be active in %s, and by DNS answers and processed messages it is: %s", active, v.Active)
	case v.Epoch != epoch:
		return fmt.Errorf("the token in Route 53 is of epoch %d, not %d", v.Epoch, epoch)
	case d.staysHome() || d.Scenario == "home":
	case d.maria && v.BackupAge < 0:
		return errors.New("workers work in us-east-2, and what its MariaDB holds comes from no backup")
	case v.Detect < 0 || v.Recover < 0:
		return errors.New("the record shows no failover: no mutating AWS call, or no client's message processed in us-east-2")
	}
	return nil
}

func (d *demo) summary(v harness.Verdict) {
	p := func(format string, args ...any) { fmt.Fprintf(d.Out, format+"\n", args...) }
	p("")
	p("By the world's record (ledger, AWS calls, DNS answers), after %s:", map[bool]string{false: "the loss of us-east-1", true: "the order to leave us-east-1"}[d.Scenario == "home"])
	slices.SortStableFunc(v.Steps, func(a, b harness.Milestone) int { return int(a.After - b.After) })
	for _, m := range v.Steps {
		p("  %-32s %6.1f s", m.What, m.After.Seconds())
	}
	if v.Prepared >= 0 {
		p("  %-32s %6.1f s   × %g = %.0f s with the undivided configuration", "first AWS call, prepared", v.Prepared.Seconds(), d.Factor, v.Prepared.Seconds()*d.Factor)
	}
	if v.Detect >= 0 {
		p("  %-32s %6.1f s   × %g = %.0f s with the undivided configuration", "first AWS call, not prepared", v.Detect.Seconds(), d.Factor, v.Detect.Seconds()*d.Factor)
	}
	if v.Recover >= 0 {
		p("  %-32s %6.1f s   × %g = %.0f s", "clients' messages processed again", v.Recover.Seconds(), d.Factor, v.Recover.Seconds()*d.Factor)
	}
	if v.BackupAge >= 0 && d.Scenario != "home" {
		lost := "us-east-1's could not be asked what else it has"
		if v.Rows >= 0 {
			lost = fmt.Sprintf("%d deliveries that were written down since stand in us-east-1 alone", v.Rows)
		}
		p("  MariaDB in us-east-2 comes from a backup that was %.0f s old at the loss; %s", v.BackupAge.Seconds(), lost)
		if d.risk != "" {
			p("  before it, failoverd price said: %s", d.risk)
		}
	}
	switch {
	case v.MongoLost > 0:
		p("  MongoDB: %d documents that a majority had acknowledged are lost, %.1f s of them: two of three members in us-east-1 went on as a majority until their writers' lease had ended", v.MongoLost, v.MongoRPO.Seconds())
	case v.MongoLost == 0:
		p("  MongoDB has every document that a majority has acknowledged")
	}
	if v.InDoubt > 0 && !d.staysHome() { // after a blip the workers simply have something in hand
		p("  in doubt: %d messages were in the hands of a worker that died; they are listed, and never processed automatically", v.InDoubt)
	}
	if d.slack != "" {
		p("  %s", d.slack)
	}
	p("  the whole demo took %.0f s", time.Since(d.begin).Seconds())
	p("")
}

// explore tells how to look around in a world that was left running.
func (d *demo) explore(dir string) {
	bin := filepath.Join(d.Root, "bin")
	fmt.Fprintf(d.Out, `The world goes on until Ctrl-C. In another terminal, as root:

  export FAILOVERD_SOCKET=%[1]s/sock/use2a.sock PATH=%[2]s:$PATH
  failoverd status --watch            what the daemon believes; also: votes, probes, events, plan show, members
  ip netns exec %[3]s-third curl -s http://third:7780/metrics | grep failoverd_
  ip netns exec %[3]s-third curl -s http://api.example.net/healthz
  curl -s --unix-socket %[1]s/ctl/ledger.sock http://lab/summary            the witness
  curl -s --unix-socket %[1]s/ctl/net.sock http://lab/route53/records      Route 53
  curl -s --unix-socket %[1]s/ctl/net.sock http://lab/slack/messages       Slack
  curl -s --unix-socket %[1]s/ctl/e2.sock -d '{"service":"ecs","mode":"throttle"}' http://lab/faults
  ls %[1]s/log                        logs of every process; %[1]s/config.toml is the configuration

`, dir, bin, d.Prefix)
}

// usage describes the environment.
func usage(w io.Writer) {
	fmt.Fprint(w, `lab demo takes its options from the environment (make demo passes them on):

  DEATH=cut|killed                                    how us-east-1 is lost
  SCENARIO=blip|leader-crash|manual|api-only|         what else happens
           route53-down|control-plane-impaired|zone-down|
           home
  VIA=slack|cli                                       how SCENARIO=manual is approved
  UNSAFE=skip-fence                                   a daemon without its fence; must end red
  KEEP=1                                              leave the world running
  FACTOR=4                                            divides all durations; 1 to 4
`)
}
