// Package replset looks at the members of a MongoDB replica set, each over its own connection, judges what may be done with
// the set, and does it. It knows nothing of failoverd. What a forced promotion does, and what it can lose, is in
// docs/mongodb.md.
package replset

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
)

// What a person may lift of a finding that is Stuck.
const (
	Alive      = "alive"       // Judge's alive
	LeftBehind = "left-behind" // Judge's forced, which is not given then
)

// Access is how members are reached.
type Access struct {
	// Set is the replica set's name.
	Set string
	// TLS dials with TLS. CAFile holds the certificates by which members are known; empty: those of the host.
	TLS    bool
	CAFile string
	// Username authenticates against the database "admin" with what PasswordFile holds. Empty: nobody does.
	Username     string
	PasswordFile string
	// Dialer makes connections. Nil: the net package's.
	Dialer options.ContextDialer
}

// Client connects to one member and to no other, whatever the set says of itself. It dials nothing yet; the driver's
// goroutines watch the member until it is disconnected. timeout bounds a connection, and how long the member is waited for.
func (a Access) Client(member string, timeout time.Duration) (*mongo.Client, error) {
	o := options.Client().SetHosts([]string{member}).SetDirect(true).SetAppName("failoverd").
		SetServerSelectionTimeout(timeout).SetConnectTimeout(timeout).
		// What is repeated is decided here, where it is known what a repetition does.
		SetRetryReads(false).SetRetryWrites(false).
		SetReadPreference(readpref.Nearest()). // a direct connection asks this member, whatever it is
		SetMinPoolSize(0).SetMaxPoolSize(2).
		// The watch behind the client notices a member that came back; who asks does not wait for it.
		SetHeartbeatInterval(time.Second)
	if a.Dialer != nil {
		o.SetDialer(a.Dialer)
	}
	if a.TLS {
		host, _, err := net.SplitHostPort(member)
		if err != nil {
			return nil, err
		}
		c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
		if a.CAFile != "" {
			if c.RootCAs, err = roots(a.CAFile); err != nil {
				return nil, err
			}
		}
		o.SetTLSConfig(c)
	}
	if a.Username != "" {
		password, err := os.ReadFile(a.PasswordFile) // each time: it may be renewed
		if err != nil {
			return nil, fmt.Errorf("reading the password of %s: %w", a.Username, err)
		}
		o.SetAuth(options.Credential{Username: a.Username, Password: strings.TrimSpace(string(password)), AuthSource: "admin"})
	}
	return mongo.Connect(o)
}

func roots(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the certificates by which members are known: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}

// Close gives a client's connections back. It waits for nothing.
func Close(c *mongo.Client) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = c.Disconnect(ctx) // with a dead context connections are closed at once
}

// The server's error codes that are told apart: https://www.mongodb.com/docs/manual/reference/error-codes/
const (
	codeUnauthorized  = 13
	codeAuthFailed    = 18
	codeInvalidConfig = 93 // of replSetGetStatus: the member is not in its own configuration
	codeUninitialised = 94
	codeNotSecondary  = 95
	codeNotPrimary    = 10107
	// These say that the server has given up, and not at what.
	codeLockTimeout      = 24
	codeMaxTime          = 50
	codeExceeded         = 262
	codeShutdown         = 11600
	codeShuttingDown     = 91
	codeBusy             = 109 // another reconfiguration is under way, which may be an earlier try of this one
	codeInterrupted      = 11601
	codeInterruptedState = 11602
)

// code is the server's error code; 0: it is none of the server's.
func code(err error) int32 {
	var ce mongo.CommandError
	if errors.As(err, &ce) {
		return ce.Code
	}
	return 0
}

// Refused reports whether a member does not accept our user: somebody's mistake, and no failure of the member. The driver calls whatever
// happens while it logs in an authentication error, also a connection that breaks; what the server has said is in its text.
func Refused(err error) bool {
	if c := code(err); c == codeUnauthorized || c == codeAuthFailed {
		return true
	}
	return err != nil && strings.Contains(err.Error(), "auth error") &&
		slices.ContainsFunc([]string{"AuthenticationFailed", "Unauthorized", "MechanismUnavailable"}, func(name string) bool { return strings.Contains(err.Error(), name) })
}

// Rejected reports whether it is certain that a member has not done what it was told: it has said so, or nobody was reached to be told. Errors with
// which a server gives up in the midst of something say nothing of that, and a connection that broke says nothing either.
func Rejected(err error) bool {
	var nobody topology.ServerSelectionError
	if errors.As(err, &nobody) {
		return true
	}
	switch code(err) {
	case 0, codeLockTimeout, codeMaxTime, codeExceeded, codeShuttingDown, codeBusy, codeShutdown, codeInterrupted, codeInterruptedState:
		return false
	}
	return true
}

// Answered reports whether an error is something that the member itself has said, or a certificate that it has shown: it is alive, although it
// cannot be asked.
func Answered(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error() // the driver keeps what a connection met as text alone
	return code(err) != 0 || Refused(err) || strings.Contains(text, "x509: ") || strings.Contains(text, "tls: ")
}

// run asks a member's database "admin".
func run(ctx context.Context, c *mongo.Client, cmd bson.D, out any) error {
	return c.Database("admin").RunCommand(ctx, cmd).Decode(out)
}
