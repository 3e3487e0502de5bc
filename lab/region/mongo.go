package region

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/failoverd/failoverd/internal/mongotest"
	"github.com/failoverd/failoverd/lab/faults"
)

// startMongo starts this region's members of the replica set.
func startMongo(ctx context.Context, c Config, set *faults.Set, log *slog.Logger, election time.Duration) (map[string]*mongotest.Member, error) {
	cfg := mongotest.Config{Set: "rs0", Version: 1, Term: 1, ID: bson.ObjectID{0xfa}}
	for i, m := range c.Members {
		cfg.Members = append(cfg.Members, mongotest.MemberConfig{ID: int32(i), Host: m.Host, Priority: m.Priority, Votes: 1})
	}
	out := map[string]*mongotest.Member{}
	for _, host := range c.Mongo {
		m, err := mongotest.Start(ctx, mongotest.Options{Host: host, Config: &cfg, ElectionTimeout: election, Mood: mood(set, host), Log: log})
		if err != nil {
			return nil, fmt.Errorf("mongo member %s: %w", host, err)
		}
		out[host] = m
	}
	return out, nil
}

// mood turns the faults of the service "mongo" into a member's; their target is the last octet of its address.
func mood(set *faults.Set, address string) func(string) mongotest.Mood {
	ip, _, _ := net.SplitHostPort(address)
	label := ip[strings.LastIndexByte(ip, '.')+1:]
	return func(cmd string) (w mongotest.Mood) {
		f, hit := set.Match("mongo", cmd, label)
		if !hit || cmd == "" && f.Op != "" {
			return w
		}
		switch f.Mode {
		case faults.Hang:
			w.Hang = set.Hang
		case faults.Refuse:
			w.Refuse = true
		case faults.Slow:
			w.Delay = f.Delay()
		case faults.LostReply:
			w.Lose = true
		case faults.Auth:
			switch cmd {
			case "hello", "isMaster", "ismaster", "replSetHeartbeat", "replSetRequestVotes":
			default:
				w.Reply = bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: "command " + cmd + " requires authentication"}, {Key: "code", Value: int32(13)}, {Key: "codeName", Value: "Unauthorized"}}
			}
		case faults.Throttle, faults.Error, faults.Garble:
			w.Reply = bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: "injected error"}, {Key: "code", Value: int32(8000)}, {Key: "codeName", Value: "AtlasError"}}
		}
		return w
	}
}
