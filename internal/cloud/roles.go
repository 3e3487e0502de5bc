package cloud

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Roles are the IAM roles that a node takes on: one to look, one to act, the
// latter for each step anew, with a session that names it in AWS's own records.
type Roles struct {
	Observe string // ARN; "" looks with the node's own credentials
	Act     string // ARN; "" acts as it looks
	// Regions are those whose STS is asked, in this order but that the one that is near
	// comes first (WithSession), and those last that were silent when they were asked
	// last. It is never the global endpoint, which lies in one region.
	Regions []string
	// Session is the name under which the node looks.
	Session string
}

type sessionKey struct{}

// acting is a session of the acting role.
type acting struct{ name, near string }

// WithSession makes AWS calls under ctx act: with the acting role, in a session of
// that name, which is taken on in the region near, as long as its STS answers: a step
// for a region asks no other one. Without an acting role it does nothing.
func WithSession(ctx context.Context, name, near string) context.Context {
	return context.WithValue(ctx, sessionKey{}, acting{sessionName(name), near})
}

// sessionName is a name as STS takes it: 2 to 64 characters of letters, digits and
// _+=,.@- (API reference, AssumeRole, RoleSessionName).
func sessionName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_+=,.@-", r) {
			return r
		}
		return '-'
	}, name)
	return name[:min(len(name), 64)]
}

// keptSessions bounds how many sessions of steps are kept: more than a plan has
// steps at once.
const keptSessions = 32

// assumed gives each call the credentials that it should have. Clients ask it for
// every request, with the request's context.
type assumed struct {
	roles Roles
	own   aws.CredentialsProvider
	sts   func(region string) *sts.Client // signs with the node's own credentials
	// patience is how long one region's STS is waited for before the next one is asked
	// as well: a step's deadline includes taking on the role, and a region that is dark
	// must not use it up.
	patience time.Duration

	mu       sync.Mutex
	sessions map[string]*aws.CredentialsCache
	order    []string        // oldest first
	silent   map[string]bool // regions whose STS did not answer when it was asked last
}

// Retrieve implements aws.CredentialsProvider.
func (a *assumed) Retrieve(ctx context.Context) (aws.Credentials, error) {
	role, name, near := a.roles.Observe, a.roles.Session, ""
	if s, ok := ctx.Value(sessionKey{}).(acting); ok && a.roles.Act != "" {
		role, name, near = a.roles.Act, s.name, s.near
	}
	if role == "" {
		return a.own.Retrieve(ctx)
	}
	return a.session(role, name, near).Retrieve(ctx)
}

// session returns the cache of a session, which renews itself.
func (a *assumed) session(role, name, near string) *aws.CredentialsCache {
	key := role + " " + name
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.sessions[key]; c != nil {
		return c
	}
	if len(a.order) >= keptSessions {
		delete(a.sessions, a.order[0])
		a.order = slices.Delete(a.order, 0, 1)
	}
	c := aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) { return a.assume(ctx, role, name, near) }),
		func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 5 * time.Minute })
	a.sessions[key] = c
	a.order = append(a.order, key)
	return c
}

// assume asks one region's STS after the other, and takes the first answer: each of
// them knows the role.
func (a *assumed) assume(ctx context.Context, role, name, near string) (aws.Credentials, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		region string
		creds  aws.Credentials
		err    error
	}
	regions := a.regions(near)
	answers := make(chan answer, len(regions))
	ask := func(region string) {
		c, err := a.assumeAt(ctx, region, role, name)
		answers <- answer{region, c, err}
	}
	var errs []error
	for asked := 0; len(errs) < len(regions); {
		var late <-chan time.Time
		if asked < len(regions) {
			go ask(regions[asked])
			asked++
			late = time.After(a.patience)
		}
		select {
		case <-late:
			a.note(regions[asked-1], true)
		case got := <-answers:
			if got.err == nil {
				return got.creds, nil
			}
			errs = append(errs, fmt.Errorf("%s: %w", got.region, got.err))
		}
	}
	return aws.Credentials{}, fmt.Errorf("taking on the role %s: %w", role, errors.Join(errs...))
}

// note keeps whether a region's STS was silent when it was asked last.
func (a *assumed) note(region string, silent bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.silent[region] = silent
}

// regions are all whose STS may be asked: the near one first, and those last that
// were silent.
func (a *assumed) regions(near string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := func(region string) int {
		switch {
		case a.silent[region]:
			return 2
		case region != near:
			return 1
		}
		return 0
	}
	out := slices.Clone(a.roles.Regions)
	slices.SortStableFunc(out, func(x, y string) int { return last(x) - last(y) })
	return out
}

func (a *assumed) assumeAt(ctx context.Context, region, role, name string) (aws.Credentials, error) {
	c, err := stscreds.NewAssumeRoleProvider(a.sts(region), role, func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = name }).Retrieve(ctx)
	if err == nil || !errors.Is(err, context.Canceled) { // another one has answered, or nobody waits
		a.note(region, err != nil)
	}
	return c, err
}

// TryActing takes on the acting role at the STS of each region, for nothing but to
// see whether it could, and returns what each that refused says. role is "" where a
// node acts as it looks.
func (c *Clients) TryActing(ctx context.Context) (role string, refused map[string]error) {
	a, ok := c.base.Credentials.(*assumed)
	if !ok || a.roles.Act == "" {
		return "", nil
	}
	errs := make([]error, len(a.roles.Regions))
	var wg sync.WaitGroup
	for i, region := range a.roles.Regions { // at once: one that hangs takes no time from the others
		wg.Go(func() { _, errs[i] = a.assumeAt(ctx, region, a.roles.Act, sessionName(a.roles.Session+"-readiness")) })
	}
	wg.Wait()
	refused = map[string]error{}
	for i, err := range errs {
		if err != nil {
			refused[a.roles.Regions[i]] = err
		}
	}
	return a.roles.Act, refused
}

// Life is for how long the credentials that the node looks with are good; ok is
// false for credentials that do not end.
func (c *Clients) Life(ctx context.Context) (left time.Duration, ok bool, err error) {
	creds, err := c.base.Credentials.Retrieve(ctx)
	if err != nil {
		return 0, false, &CredentialsError{Err: err}
	}
	return time.Until(creds.Expires), creds.CanExpire, nil
}
