package mongotest

import (
	"errors"
	"sync"

	"github.com/xdg-go/scram"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// User is the only one that a set knows. The zero value: it asks for none.
type User struct{ Name, Password string }

// open are the commands that need no user: those of https://www.mongodb.com/docs/manual/core/authentication/ that drivers send first, and
// what members say to each other, which they sign with a key of their own.
var open = map[string]bool{
	"hello": true, "isMaster": true, "ismaster": true, "ping": true, "buildInfo": true, "buildinfo": true, "endSessions": true,
	"replSetHeartbeat": true, "replSetRequestVotes": true,
}

// login is how far one connection has authenticated.
type login struct {
	talk *scram.ServerConversation
	in   bool
}

// knows makes what a user is checked against.
func (u User) knows() (*scram.Server, error) {
	c, err := scram.SHA256.NewClient(u.Name, u.Password, "")
	if err != nil {
		return nil, err
	}
	stored, err := c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "a salt for each", Iters: 4096})
	if err != nil {
		return nil, err
	}
	return scram.SHA256.NewServer(func(name string) (scram.StoredCredentials, error) {
		if name != u.Name {
			return scram.StoredCredentials{}, errors.New("there is no such user")
		}
		return stored, nil
	})
}

// users keeps what is checked against, which is slow to make.
var users sync.Map

// authenticate serves what has to do with users, and says whether that was all. Who holds no data, as an arbiter, holds no users.
func (m *Member) authenticate(l *login, cmd string, raw bson.Raw) (reply any, done bool) {
	if m.opt.User == (User{}) || l.in && cmd != "saslStart" {
		return nil, false
	}
	failed := fail(18, "AuthenticationFailed", "Authentication failed.")
	switch cmd {
	case "saslStart", "saslContinue":
		m.mu.Lock()
		empty := len(m.log) == 0
		m.mu.Unlock()
		if empty {
			return failed, true
		}
		if cmd == "saslStart" {
			if raw.Lookup("mechanism").StringValue() != "SCRAM-SHA-256" {
				return failed, true
			}
			known, ok := users.Load(m.opt.User)
			if !ok {
				server, err := m.opt.User.knows()
				if err != nil {
					return failed, true
				}
				known, _ = users.LoadOrStore(m.opt.User, server)
			}
			l.talk = known.(*scram.Server).NewConversation()
		}
		_, payload := raw.Lookup("payload").Binary()
		if l.talk == nil {
			return failed, true
		}
		said := ""
		if !l.talk.Done() {
			var err error
			if said, err = l.talk.Step(string(payload)); err != nil {
				return failed, true
			}
		}
		l.in = l.talk.Valid()
		return bson.D{{Key: "conversationId", Value: int32(1)}, {Key: "done", Value: l.talk.Done()}, {Key: "payload", Value: bson.Binary{Data: []byte(said)}}, {Key: "ok", Value: 1.0}}, true
	}
	if !open[cmd] {
		return fail(13, "Unauthorized", "command "+cmd+" requires authentication"), true
	}
	return nil, false
}
