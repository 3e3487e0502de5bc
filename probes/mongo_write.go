package probes

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/replset"
)

// MongoWriteConfig asserts that a member in the region is the writable primary and that a majority acknowledges a write to it: one
// document per node, always the same, so that nothing grows and a write that took place after all does no harm.
type MongoWriteConfig struct {
	MongoConfig
	// Database holds the collection "canary". Empty: failoverd.
	Database string `toml:"database" json:"database,omitempty"`
	// For is how long it is asked again before it has failed. Zero: 2 minutes.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

// Validate reports the first wrong parameter.
func (c *MongoWriteConfig) Validate() error {
	if err := c.MongoConfig.Validate(); err != nil {
		return err
	}
	if strings.ContainsAny(c.Database, `/\. "$*<>:|?`) {
		return badParam("database", "%q is no database's name", c.Database)
	}
	return notNegative("within", c.For)
}

// Within implements CheckConfig.
func (c *MongoWriteConfig) Within() time.Duration { return within(c.For) }

// NewCheck implements CheckConfig.
func (c *MongoWriteConfig) NewCheck(d Deps) (Check, error) {
	if len(c.Members[d.Region]) == 0 {
		return nil, fmt.Errorf("members names none in %s", d.Region)
	}
	x := &mongoWrite{cfg: c, deps: d, timeout: cmp.Or(max(0, d.Timeout), 2*time.Second)}
	x.access = replset.Access{Set: c.ReplicaSet, TLS: c.TLS, CAFile: c.CAFile, Username: c.Username, PasswordFile: c.PasswordFile, Dialer: d.dns()}
	for _, m := range c.Members[d.Region] {
		x.places = append(x.places, replset.Place{Host: m, Region: string(d.Region)})
	}
	return x, nil
}

type mongoWrite struct {
	cfg     *MongoWriteConfig
	deps    Deps
	access  replset.Access
	places  []replset.Place
	timeout time.Duration
}

// Check implements Check.
func (x *mongoWrite) Check(ctx context.Context) Finding {
	var said []string
	reached := false
	for _, v := range replset.LookAt(ctx, x.access, x.places, x.timeout) {
		switch {
		case replset.Refused(v.Err):
			said = append(said, v.Host+" does not accept our user: "+v.Err.Error())
			continue
		case v.Err != nil:
			said = append(said, v.Host+": "+v.Err.Error())
			continue
		case v.Writable && v.Name == x.cfg.ReplicaSet:
			return x.write(ctx, v.Host)
		}
		reached = true
		said = append(said, v.Host+" is no writable primary of "+x.cfg.ReplicaSet)
	}
	f := Finding{Status: Unknown, Detail: strings.Join(said, "; ")}
	if reached {
		f.Status = Fail
	}
	return f
}

func (x *mongoWrite) write(ctx context.Context, host string) Finding {
	ctx, cancel := context.WithTimeout(ctx, 2*x.timeout)
	defer cancel()
	c, err := x.access.Client(host, x.timeout)
	if err != nil {
		return Finding{Status: Unknown, Detail: err.Error()}
	}
	defer replset.Close(c)
	begin := time.Now()
	database := cmp.Or(x.cfg.Database, "failoverd")
	if err := replset.Write(ctx, c, database, cmp.Or(string(x.deps.Node), "failoverd"), begin); err != nil {
		if replset.Refused(err) { // somebody's mistake, and no failure of the set
			return Finding{Status: Unknown, Detail: fmt.Sprintf("%s does not let our user write into %s: %v", host, database, err)}
		}
		return Finding{Status: Fail, Detail: fmt.Sprintf("writing to %s: %v", host, err)}
	}
	return Finding{Status: Pass, Detail: fmt.Sprintf("%s has acknowledged a write by a majority within %s", host, time.Since(begin).Round(time.Millisecond))}
}
