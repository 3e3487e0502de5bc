package replset

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Place is a member, and where it stands.
type Place struct {
	Host   string // "host:port", as the set's configuration names it
	Region string
}

// OpTime is a place in the oplog.
type OpTime struct {
	TS   bson.Timestamp `bson:"ts"`
	Term int64          `bson:"t"`
}

// After reports whether o is newer than p in one history: by term, then by time.
func (o OpTime) After(p OpTime) bool {
	return o.Term > p.Term || o.Term == p.Term && o.TS.After(p.TS)
}

// At is when the operation was written, by its primary's clock, in whole seconds.
func (o OpTime) At() time.Time {
	if o.TS.T == 0 {
		return time.Time{}
	}
	return time.Unix(int64(o.TS.T), 0).UTC()
}

// View is what a member says of itself and of the others. What it could not be asked is in Err.
type View struct {
	Place
	// Err is why the member could not be asked all; what it has said before that stands below. An arbiter that accepts no user has none.
	Err error
	// Alive says that something there has taken a connection or given an answer, whatever came of it.
	Alive bool
	// Name is the set that it belongs to; "": it is in none, because nobody has initiated it or because its own
	// configuration does not name it.
	Name                        string
	Writable, Secondary, Hidden bool
	// Me is how its configuration names it, which may not be how we reach it; "": it has not said so.
	Me      string
	Arbiter bool
	// Primary is whom it takes for the primary. A dead one is named for ten seconds.
	Primary string
	// SetVersion is the version of the configuration in force, as drivers are told.
	SetVersion int64
	LastWrite  time.Time
	// Removed says that its configuration does not name it, Empty that it has none.
	Removed, Empty bool
	// Config is its configuration, raw as the server gave it; nil if it has none.
	Config *Config
	// Term is the newest election's that it knows.
	Term int64
	// Applied is its newest operation, Committed the newest that it knows a majority to have.
	Applied, Committed OpTime
	// Healthy are the members of its configuration that it hears, itself included. Nil: it was not asked, as an arbiter is not.
	Healthy map[string]bool
	// Implicit says that nobody has set the default write concern: it follows the configuration, as since MongoDB 5.0. False: somebody has, it
	// is an older server, or it may not be asked. It is asked only where there is an arbiter.
	Implicit bool
	// Hears are those, and the members that it does not reach and that have reached it within an election's time-out.
	Hears map[string]bool
}

// Answers reports whether the member could be asked and takes part in the set.
func (v View) Answers() bool { return v.Err == nil && v.Name != "" }

// away are the voting members of its configuration that hold data and that it does not hear.
func (v View) away() (out []string) {
	for _, m := range v.Config.Members {
		if m.Votes > 0 && !m.Arbiter && !v.Healthy[m.Host] {
			out = append(out, m.Host)
		}
	}
	return out
}

// follows is the primary that the member hears.
func (v View) follows() (primary string, ok bool) {
	return v.Primary, v.Answers() && v.Primary != "" && v.Primary != v.name() && (v.Healthy == nil || v.Healthy[v.Primary])
}

// version is that of its configuration, as far as it has said; zero: it has not.
func (v View) version() int64 {
	if v.Config != nil {
		return v.Config.Version
	}
	return v.SetVersion
}

// name is the member's in the set's configuration.
func (v View) name() string { return cmp.Or(v.Me, v.Host) }

type helloReply struct {
	SetName    string `bson:"setName"`
	SetVersion int64  `bson:"setVersion"`
	Writable   bool   `bson:"isWritablePrimary"`
	Secondary  bool   `bson:"secondary"`
	Hidden     bool   `bson:"hidden"`
	Me         string `bson:"me"`
	Arbiter    bool   `bson:"arbiterOnly"`
	Primary    string `bson:"primary"`
	LastWrite  struct {
		Date time.Time `bson:"lastWriteDate"`
	} `bson:"lastWrite"`
}

type statusReply struct {
	Date    time.Time `bson:"date"`
	Term    int64     `bson:"term"`
	Optimes struct {
		Applied   OpTime `bson:"appliedOpTime"`
		Committed OpTime `bson:"lastCommittedOpTime"`
	} `bson:"optimes"`
	Members []struct {
		Name   string  `bson:"name"`
		Health float64 `bson:"health"`
		// Reached is when it last sent something by itself.
		Reached time.Time `bson:"lastHeartbeatRecv"`
	} `bson:"members"`
}

// Look asks all members at once: those at places, in their order, and then others that a configuration of theirs names, whose region is
// not known. It changes nothing.
func Look(ctx context.Context, a Access, places []Place, timeout time.Duration) []View {
	out := LookAt(ctx, a, places, timeout)
	var others []Place
	for _, v := range out {
		if v.Config == nil {
			continue
		}
		for _, m := range v.Config.Members {
			if p := (Place{Host: m.Host}); !slices.ContainsFunc(out, func(v View) bool { return v.Host == m.Host || v.Me == m.Host }) && !slices.Contains(others, p) {
				others = append(others, p)
			}
		}
	}
	return append(out, LookAt(ctx, a, others, timeout)...)
}

// LookAt asks those at places alone.
func LookAt(ctx context.Context, a Access, places []Place, timeout time.Duration) []View {
	out := make([]View, len(places))
	var wg sync.WaitGroup
	for i, p := range places {
		wg.Go(func() {
			out[i] = look(ctx, a, p, timeout)
		})
	}
	wg.Wait()
	return out
}

func look(ctx context.Context, a Access, p Place, timeout time.Duration) (v View) {
	v.Place = p
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var reached atomic.Bool
	a.Dialer = noting{a.Dialer, &reached}
	c, err := a.Client(p.Host, timeout)
	if err != nil {
		v.Err = err
		return v
	}
	defer Close(c)
	v.Err = v.ask(ctx, c)
	if Refused(v.Err) && a.Username != "" { // an arbiter holds no users and refuses every one; what it is it says without one
		a.Username = ""
		if open, err := a.Client(p.Host, timeout); err == nil {
			defer Close(open)
			if err := v.hello(ctx, open); err == nil && v.Arbiter {
				v.Err = nil
			}
		}
	}
	v.Alive = v.Err == nil || reached.Load() || Answered(v.Err)
	return v
}

// noting notes that a connection was made.
type noting struct {
	options.ContextDialer
	made *atomic.Bool
}

// DialContext implements options.ContextDialer.
func (n noting) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	d := n.ContextDialer
	if d == nil {
		d = &net.Dialer{}
	}
	c, err := d.DialContext(ctx, network, addr)
	if err == nil {
		n.made.Store(true)
	}
	return c, err
}

// hello asks what needs no user.
func (v *View) hello(ctx context.Context, c *mongo.Client) error {
	var h helloReply
	if err := run(ctx, c, bson.D{{Key: "hello", Value: 1}}, &h); err != nil {
		return err
	}
	v.Name, v.SetVersion, v.Writable, v.Secondary, v.Hidden, v.Arbiter, v.Primary = h.SetName, h.SetVersion, h.Writable, h.Secondary, h.Hidden, h.Arbiter, h.Primary
	v.LastWrite, v.Me = h.LastWrite.Date, h.Me
	return nil
}

func (v *View) ask(ctx context.Context, c *mongo.Client) error {
	if err := v.hello(ctx, c); err != nil {
		return err
	}
	var got struct {
		Config bson.D `bson:"config"`
	}
	switch err := run(ctx, c, bson.D{{Key: "replSetGetConfig", Value: 1}}, &got); {
	case code(err) == codeUninitialised:
		v.Empty = true
		return nil
	case err != nil:
		return fmt.Errorf("asking for its configuration: %w", err)
	}
	var err error
	if v.Config, err = readConfig(got.Config); err != nil {
		return err
	}
	if v.Config.arbiters() > 0 && !v.Arbiter { // which holds nothing, that neither
		var def struct {
			Source string `bson:"defaultWriteConcernSource"`
		}
		if run(ctx, c, bson.D{{Key: "getDefaultRWConcern", Value: 1}}, &def) == nil {
			v.Implicit = def.Source == "implicit"
		}
	}
	var st statusReply
	switch err := run(ctx, c, bson.D{{Key: "replSetGetStatus", Value: 1}}, &st); {
	case code(err) == codeInvalidConfig:
		v.Removed, v.Name = true, ""
		return nil
	case err != nil:
		return fmt.Errorf("asking for its status: %w", err)
	}
	v.Term, v.Applied, v.Committed = st.Term, st.Optimes.Applied, st.Optimes.Committed
	v.Healthy, v.Hears = map[string]bool{}, map[string]bool{}
	for _, m := range st.Members {
		v.Healthy[m.Name] = m.Health == 1
		v.Hears[m.Name] = m.Health == 1 || st.Date.Sub(m.Reached) < v.Config.election()
	}
	return nil
}
