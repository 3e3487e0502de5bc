package actions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/replset"
)

// MongoPromoteConfig makes a MongoDB replica set be led by the region that is entered. What that takes is read from the set
// itself: as long as a majority is alive, its own election and priorities do it, and nothing is lost. Only members that have lost the
// majority are reconfigured by force, without those that are gone: docs/mongodb.md says what that can lose, and what has to be done
// before a dropped member comes back.
type MongoPromoteConfig struct {
	// ReplicaSet is the set's name; a member of another set is a mistake.
	ReplicaSet string `toml:"replica_set" json:"replica_set"`
	// Members are the host:port of the members by region, as the set's own configuration names them.
	Members map[failover.Region][]string `toml:"members" json:"members"`
	// TLS dials with TLS. CAFile holds the certificates by which members are known; empty: those of the host.
	TLS    bool   `toml:"tls" json:"tls,omitempty"`
	CAFile string `toml:"ca_file" json:"ca_file,omitempty"`
	// Username needs what docs/mongodb.md lists. Empty: the members ask for none.
	Username     string `toml:"username" json:"username,omitempty"`
	PasswordFile string `toml:"password_file" json:"password_file,omitempty"`
	// AnswerWithin is how long a member is waited for. Zero: 2 seconds.
	AnswerWithin failover.Duration `toml:"answer_within" json:"answer_within,omitempty"`
	// Outage is how long the other region may be away, and its members come back without copying everything anew: readiness says what
	// keeps them from it. Zero: a day.
	Outage failover.Duration `toml:"outage" json:"outage,omitempty"`
	// Unattended takes the question away that is asked before the step: MongoDB's manual warns against a forced reconfiguration
	// that no person decides.
	Unattended bool `toml:"unattended" json:"unattended,omitempty"`
	// Allow lifts a refusal: "alive" forces a promotion although members elsewhere that are a majority answer, once all of them
	// are frozen. What they have acknowledged and the region has not got is lost. "left-behind" lets members lead that an earlier forced
	// promotion has left behind, although none of those that went on then answers: what was written since is given up.
	Allow []string `toml:"allow" json:"allow,omitempty"`
}

// What MongoPromoteConfig.Allow may hold.
const (
	mongoAlive      = replset.Alive
	mongoLeftBehind = replset.LeftBehind
)

// Validate implements Config.
func (c *MongoPromoteConfig) Validate(role Role) error {
	switch {
	case role == RoleStop || role == RoleSwitch:
		return badParam("replica_set", "a promotion makes the region lead that is entered, and can only stand under start")
	case c.ReplicaSet == "":
		return badParam("replica_set", "is missing")
	case len(c.Members) == 0:
		return badParam("members", "is missing; list the members by region, as the set's own configuration names them")
	case (c.Username == "") != (c.PasswordFile == ""):
		return badParam("username", "and password_file belong together; give both or neither")
	case c.PasswordFile != "" && !strings.HasPrefix(c.PasswordFile, "/"):
		return badParam("password_file", "%q is not an absolute path", c.PasswordFile)
	case c.CAFile != "" && !strings.HasPrefix(c.CAFile, "/"):
		return badParam("ca_file", "%q is not an absolute path", c.CAFile)
	case c.CAFile != "" && !c.TLS:
		return badParam("ca_file", "says by which certificates members are known, and tls is not on")
	case c.AnswerWithin < 0:
		return badParam("answer_within", "%s is negative", c.AnswerWithin)
	case c.Outage < 0:
		return badParam("outage", "%s is negative", c.Outage)
	}
	seen := map[string]bool{}
	for _, r := range slices.Sorted(maps.Keys(c.Members)) {
		if len(c.Members[r]) == 0 {
			return badParam("members", "names none in %s", r)
		}
		for _, m := range c.Members[r] {
			if _, _, err := net.SplitHostPort(m); err != nil {
				return badParam("members", "%q in %s is not host:port", m, r)
			}
			if seen[m] {
				return badParam("members", "%q is listed twice", m)
			}
			seen[m] = true
		}
	}
	for _, a := range c.Allow {
		if a != mongoAlive && a != mongoLeftBehind {
			return badParam("allow", "%q is neither %q nor %q", a, mongoAlive, mongoLeftBehind)
		}
	}
	return nil
}

// Version implements Config.
func (c *MongoPromoteConfig) Version() int { return 1 }

// Timeout implements Config. A member that has vanished is taken for alive for ten seconds, and an election waits for ten more.
func (c *MongoPromoteConfig) Timeout() time.Duration { return 5 * time.Minute }

// Lasting says that nothing takes a promotion back but a failback, and whether a person is asked first.
func (c *MongoPromoteConfig) Lasting() (asks bool) { return !c.Unattended }

// Overrides implements Overriding.
func (c *MongoPromoteConfig) Overrides() []string { return []string{mongoAlive, mongoLeftBehind} }

// Stands says that the set is looked after once it is led.
func (c *MongoPromoteConfig) Stands() {}

// New implements Config.
func (c *MongoPromoteConfig) New(d Deps) (Action, error) {
	if len(c.Members[d.Region]) == 0 {
		return nil, fmt.Errorf("members names none in %s", d.Region)
	}
	x := &mongoPromote{cfg: c, region: string(d.Region), allow: c.Allow, step: d.Step, past: d.Past, forced: forcedBefore(c.Allow, d.Past), open: mayLand(d.Past), dns: d.dns(), looked: mongoLooked, patience: time.Duration(cmp.Or(c.AnswerWithin, failover.Duration(2*time.Second)))}
	for _, r := range slices.Sorted(maps.Keys(c.Members)) {
		for _, m := range c.Members[r] {
			x.places = append(x.places, replset.Place{Host: m, Region: string(r)})
		}
	}
	return x, nil
}

// memberDialer is a replset.Access's.
type memberDialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// mongoPromote is the action.
type mongoPromote struct {
	cfg      *MongoPromoteConfig
	allow    []string // the configuration's, and what people have allowed since
	step     failover.StepID
	past     []failover.StepRecord
	region   string
	places   []replset.Place
	dns      memberDialer
	patience time.Duration   // with one member
	looked   time.Duration   // mongoLooked
	forced   *replset.Forced // the newest forced promotion that the log knows of
	// open says that an earlier attempt, also of another leader, may still take effect.
	open bool
	// asked says that priorities were asked for that keep the primary where it is.
	asked bool
}

// mongoLooked is how old the last look may be when a reconfiguration is sent. The server does not check what it replaces, so that this is
// how long one that was overtaken can still do harm.
const mongoLooked = 3 * time.Second

// Idempotent implements Idempotent: what is done is judged anew each time, and the server bounds each command by the attempt's time.
func (x *mongoPromote) Idempotent() {}

// Warning is for the person who is asked.
func (x *mongoPromote) Warning() string {
	return "If the majority is lost when the step runs, the set is FORCED, whatever was found now. MongoDB's manual says that this does not belong into scripts: what a majority has acknowledged and the members here have not got is lost"
}

func (x *mongoPromote) access(d memberDialer) replset.Access {
	return replset.Access{Set: x.cfg.ReplicaSet, TLS: x.cfg.TLS, CAFile: x.cfg.CAFile, Username: x.cfg.Username, PasswordFile: x.cfg.PasswordFile, Dialer: d}
}

// look asks all members and judges, for a step whose plan is under way: a refusal names the command that lifts it.
func (x *mongoPromote) look(ctx context.Context) (replset.Finding, []replset.View, error) {
	f, views, err := x.judge(ctx)
	if f.Override != "" {
		f.Detail += " (" + underWay(x.step, f.Override) + ")"
	}
	return f, views, err
}

// judge asks all members and judges.
func (x *mongoPromote) judge(ctx context.Context) (replset.Finding, []replset.View, error) {
	patience := x.patience
	if d, ok := ctx.Deadline(); ok { // a region that is dark must leave time for what comes after the look
		patience = min(patience, time.Until(d)/4)
	}
	views := replset.Look(ctx, x.access(x.dns), x.places, patience)
	if err := ctx.Err(); err != nil {
		return replset.Finding{}, nil, err
	}
	f := replset.Judge(x.cfg.ReplicaSet, x.region, views, slices.Contains(x.allow, mongoAlive), x.forced)
	for _, v := range views {
		// Who was dropped may know no users any more, as an arbiter never did.
		if v.Region == x.region && replset.Refused(v.Err) && (f.Config == nil || v.Name != "") {
			return replset.Finding{}, nil, fmt.Errorf("%s does not accept our user %q, or does not let it ask for the set's configuration: %w; what the user needs is in docs/mongodb.md", v.Host, x.cfg.Username, v.Err)
		}
	}
	return f, views, nil
}

// mongoBefore is what stood before a change.
type mongoBefore struct {
	Version int64  `json:"version"`
	Primary string `json:"primary,omitempty"`
	// Set is the set's identity, and Forced whom an attempt goes on with by force; none: it does not force.
	Set    string   `json:"set,omitempty"`
	Forced []string `json:"forced,omitempty"`
}

// forcedBefore is the newest forced promotion that was begun by this or an earlier execution, in either direction. One that has come to its end since without
// force has seen that the set was whole, or a person has given up what it had.
func forcedBefore(allow []string, past []failover.StepRecord) (newest *replset.Forced) {
	if slices.Contains(allow, mongoLeftBehind) {
		return nil
	}
	for _, rec := range past {
		var began *replset.Forced
		for _, a := range rec.Attempts {
			was, ok := forcing(a)
			switch {
			case ok && len(was.Forced) > 0:
				began = replset.ForcedFrom(was.Version, was.Set, was.Forced, a.StartedAt)
			case ok && began != nil && was.Version < began.Floor && rec.State == failover.StepDone:
				began = nil // it went on without, from a configuration that was not forced
			}
		}
		if began != nil || rec.State == failover.StepDone {
			newest = began
		}
	}
	return newest
}

// forcing is what stood before an attempt to promote.
func forcing(a failover.AttemptRecord) (was mongoBefore, ok bool) {
	ok = !a.Undo && !a.Burn && !a.Already && json.Unmarshal(a.Previous, &was) == nil
	return was, ok
}

// mayLand reports whether the step that is under way has begun to force something, which may still take effect.
func mayLand(past []failover.StepRecord) bool {
	if len(past) == 0 || past[len(past)-1].Passed() {
		return false
	}
	return slices.ContainsFunc(past[len(past)-1].Attempts, func(a failover.AttemptRecord) bool {
		was, ok := forcing(a)
		return ok && len(was.Forced) > 0
	})
}

// Allow implements Allower.
func (x *mongoPromote) Allow(overrides []string, _ string) {
	x.allow = slices.Concat(x.cfg.Allow, overrides)
	x.forced = forcedBefore(x.allow, x.past)
}

// Inspect implements Action.
func (x *mongoPromote) Inspect(ctx context.Context) (Effect, error) {
	f, views, err := x.look(ctx)
	if err != nil {
		return Effect{}, err
	}
	e := Effect{Detail: f.Detail, Lacks: f.Lacks, Advice: f.Advice, State: Absent}
	before := mongoBefore{Primary: f.Primary}
	if f.Config != nil {
		before.Version, before.Set = f.Config.Version, f.Config.ID()
	}
	if f.Way == replset.Force {
		before.Forced = f.Keep
	}
	if e.Previous, err = json.Marshal(before); err != nil {
		return Effect{}, err
	}
	if f.Way == replset.Move && x.leads(views) && x.asked { // it leads, and that is what was wanted
		e.State, e.Lacks = Present, "the priorities do not keep it there"
		return e, nil
	}
	switch f.Way {
	case replset.Led:
		e.State = Present
	case replset.Blind:
		return Effect{}, errors.New(f.Detail)
	case replset.Wait:
		e.State = Partial
	case replset.Rivals: // they are fenced, whoever waits
		e.State, e.Over = Partial, f.Detail
	case replset.Stuck:
		e.Lacks = f.Detail
	case replset.Move, replset.Force: // also after an attempt that had only to wait
		e.Over = f.Detail
		if f.Way == replset.Move {
			e.Advice = strings.Trim(e.Advice+"; "+x.oplogs(ctx), "; ")
		}
	}
	x.forks(ctx, &e, f, views)
	if e.Lacks != "" && e.Lacks != e.Detail {
		e.Detail += "; " + e.Lacks
	}
	return e, nil
}

// Do implements Action.
func (x *mongoPromote) Do(ctx context.Context, a Attempt) error {
	f, views, err := x.look(ctx)
	if err != nil {
		return err
	}
	switch f.Way {
	case replset.Led, replset.Wait:
		a.Report("%s", f.Detail)
		return nil
	case replset.Rivals:
		return x.fence(ctx, a, views)
	case replset.Blind, replset.Stuck:
		return errors.New(f.Detail)
	case replset.Move:
		a.Report("%s", f.Detail)
		here := x.leads(views)
		_, err := x.reconfigure(ctx, f, func(now replset.Finding) ([]string, bool) {
			return now.Keep, now.Target == f.Target
		})
		if here { // the server may look for silent members for half a minute each before it takes a configuration: nobody waits for that
			if x.asked = true; err != nil {
				a.Report("%s; that could not be written: %v", f.Detail, err)
			}
			return nil
		}
		return err
	case replset.Force:
		// A later execution must know of it, whatever becomes of this node (rule E2).
		var begun mongoBefore
		if err := json.Unmarshal(a.Previous, &begun); err != nil || !slices.Equal(begun.Forced, f.Keep) || begun.Version != f.Config.Version {
			return fmt.Errorf("nothing was changed, since what is found now is not what the log says is begun: %s", f.Detail)
		}
	}
	if len(f.Alive) == 0 {
		a.Report("%s", f.Detail)
		return x.force(ctx, f)
	}
	return x.forceBeside(ctx, a, f)
}

// leads reports whether a member of the region is a writable primary.
func (x *mongoPromote) leads(views []replset.View) bool {
	return slices.ContainsFunc(views, func(v replset.View) bool { return v.Region == x.region && v.Writable })
}

// until is until when a command may be sent that rests on a look of then, which asks in two rounds whom it knows and whom the set names.
func (x *mongoPromote) until(then time.Time) time.Time { return then.Add(x.looked + 2*x.patience) }

// force is reconfigure for a finding that is Force.
func (x *mongoPromote) force(ctx context.Context, f replset.Finding) error {
	open, err := x.reconfigure(ctx, f, func(now replset.Finding) ([]string, bool) {
		return now.Keep, now.Target == f.Target && slices.Equal(now.Alive, f.Alive) && now.Primary == "" && len(now.Rivals) == 0
	})
	x.open = x.open || open
	return err
}

// reconfigure looks once more, and does what was judged if that has not changed: same says who goes on, or is preferred. Open says
// of an error that it may have taken effect all the same.
func (x *mongoPromote) reconfigure(ctx context.Context, f replset.Finding, same func(replset.Finding) ([]string, bool)) (open bool, err error) {
	looked := time.Now()
	now, _, err := x.look(ctx)
	if err != nil {
		return false, err
	}
	hosts, ok := same(now)
	if !ok || now.Way != f.Way || now.Config.Newer(f.Config) || f.Config.Newer(now.Config) {
		return false, fmt.Errorf("nothing was changed, since the set has changed under our eyes: before, %s; now, %s", f.Detail, now.Detail)
	}
	force := f.Way == replset.Force
	config := now.Config.Forced(hosts)
	if !force {
		if config = now.Config.Preferred(hosts); config == nil {
			return false, nil // another attempt was here
		}
	}
	var late *cloud.EffectDeadlineError
	err = x.access(x.bounded(ctx, x.until(looked))).Reconfigure(ctx, now.Target, config, force, x.patience)
	switch {
	case err == nil:
		return false, nil
	case replset.Rejected(err), errors.As(err, &late):
		return false, fmt.Errorf("reconfiguring %s by way of %s, which did not take effect: %w", x.cfg.ReplicaSet, now.Target, err)
	}
	return true, fmt.Errorf("reconfiguring %s by way of %s (which may have taken effect all the same): %w", x.cfg.ReplicaSet, now.Target, err)
}

// Undo implements Action.
func (x *mongoPromote) Undo(context.Context, Attempt) error {
	return fmt.Errorf("a promotion of %s is not taken back: priorities and members stay as they are until the service fails back", x.cfg.ReplicaSet)
}

// Watch implements Guard: there is no rival. Who leads is the probes' business, and the set's.
func (x *mongoPromote) Watch(ctx context.Context) (Effect, error) {
	f, views, err := x.judge(ctx)
	if err != nil {
		return Effect{}, err
	}
	r := replset.RivalsOf(x.cfg.ReplicaSet, x.region, views, x.forced)
	renew := r.Known && len(r.Left) > 0
	switch {
	case len(r.Rivals) > 0:
		return Effect{State: Absent, Detail: fmt.Sprintf("TWO PRIMARIES: %s is writable by a configuration that %s has left behind: what is written there will be lost", strings.Join(r.Rivals, ", "), x.region)}, nil
	case len(r.Beyond) > 0:
		return Effect{State: Absent, Unmendable: true, Detail: "TWO PRIMARIES: " + x.beyond(r)}, nil
	case r.Known && (f.Way == replset.Led || f.Way == replset.Wait || f.Way == replset.Move && x.leads(views)):
		return Effect{State: Present, Detail: f.Detail, Renew: renew}, nil
	case r.Known && f.Way == replset.Move:
		return Effect{Renew: renew, Detail: fmt.Sprintf("%s leads, and not %s, which clients use: nothing is lost, and writes take the longer way. Run rs.stepDown() there if it stays so", f.Primary, x.region)}, nil
	}
	return Effect{Detail: f.Detail, Renew: renew}, nil
}

// Mend implements Guard. It never reconfigures anything.
func (x *mongoPromote) Mend(ctx context.Context, a Attempt) error {
	_, views, err := x.judge(ctx)
	if err != nil {
		return err
	}
	return x.fence(ctx, a, views)
}

// bounded makes connections over which nothing is sent after the attempt's deadline, or after until.
func (x *mongoPromote) bounded(ctx context.Context, until time.Time) memberDialer {
	d := boundedDialer{x.dns, []context.Context{ctx}}
	if !until.IsZero() {
		d.effects = append(d.effects, cloud.WithEffectDeadline(ctx, until))
	}
	return d
}
