package mongotest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Set is a replica set on loopback, whose members are told apart by their host:port. It is safe for concurrent use.
type Set struct {
	Hosts []string

	members map[string]*Member
	mu      sync.Mutex
	cut     map[[2]string]bool
	five    bool
	moods   map[[2]string]Mood // by host, and command or ""
}

// NewSet starts a set with a member for each of the given ones, whose hosts are filled in. It runs until ctx ends, and asks for no user.
func NewSet(ctx context.Context, name string, election time.Duration, members ...MemberConfig) (*Set, error) {
	return NewSetOf(ctx, User{}, name, election, members...)
}

// NewSetOf starts one that asks for a user.
func NewSetOf(ctx context.Context, user User, name string, election time.Duration, members ...MemberConfig) (*Set, error) {
	s := &Set{members: map[string]*Member{}, cut: map[[2]string]bool{}, moods: map[[2]string]Mood{}}
	cfg := Config{Set: name, Version: 1, Term: 1, ID: bson.ObjectID{0xfa}}
	for i, m := range members {
		// An address of its own for each, as hosts have.
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:0", 31+i)) //nolint:noctx // it is closed at once
		if err != nil {
			return nil, err
		}
		m.ID, m.Host = int32(i), ln.Addr().String()
		ln.Close()
		s.Hosts = append(s.Hosts, m.Host)
		cfg.Members = append(cfg.Members, m)
	}
	for _, h := range s.Hosts {
		m, err := Start(ctx, Options{
			Host: h, Config: &cfg, ElectionTimeout: election, User: user, Log: slog.New(slog.DiscardHandler),
			Implicit: func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.five },
			Cut:      func(other string) bool { s.mu.Lock(); defer s.mu.Unlock(); return s.cut[[2]string{h, other}] },
			Mood: func(cmd string) Mood {
				s.mu.Lock()
				defer s.mu.Unlock()
				if w, ok := s.moods[[2]string{h, cmd}]; ok {
					return w
				}
				return s.moods[[2]string{h}]
			},
		})
		if err != nil {
			return nil, err
		}
		s.members[h] = m
	}
	return s, nil
}

// ImplicitDefaults has the default write concern follow the configuration from now on, as since 5.0.
func (s *Set) ImplicitDefaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.five = true
}

// Cut parts the members with the given numbers from all others, or joins them again.
func (s *Set) Cut(cut bool, numbers ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	side := map[string]bool{}
	for _, n := range numbers {
		side[s.Hosts[n]] = true
	}
	for _, a := range s.Hosts {
		for _, b := range s.Hosts {
			if side[a] != side[b] {
				s.cut[[2]string{a, b}] = cut
			}
		}
	}
}

// SetMood is how a member is from now on, as far as nothing else is said of a command.
func (s *Set) SetMood(number int, w Mood) { s.SetMoodAt(number, "", w) }

// SetMoodAt is how it is at one command.
func (s *Set) SetMoodAt(number int, cmd string, w Mood) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moods[[2]string{s.Hosts[number], cmd}] = w
}

// Member is the member with a number.
func (s *Set) Member(number int) *Member { return s.members[s.Hosts[number]] }
