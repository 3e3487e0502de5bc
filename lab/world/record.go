package world

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/failoverd/failoverd/lab/app"
	"github.com/failoverd/failoverd/lab/awsfake"
	"github.com/failoverd/failoverd/lab/ctl"
	"github.com/failoverd/failoverd/lab/dnsfake"
	"github.com/failoverd/failoverd/lab/ledger"
	"github.com/failoverd/failoverd/lab/slackfake"
)

// Record is what the world knows about how it went.
type Record struct {
	ledger.Summary
	Lost     []string              `json:"lost"`     // acknowledged to a provider, never processed, and in no store
	Stranded []string              `json:"stranded"` // acknowledged, not processed, and only in the journal of a dead region
	Pending  int                   `json:"pending"`  // acknowledged, not processed, unclaimed in a living store
	InDoubt  []string              `json:"inDoubt"`  // claimed, not done, and not processed either
	Stores   map[string]app.Status `json:"stores"`   // of the living regions
	Provider app.ProviderStatus    `json:"provider"`
}

// Record reads the ledger, the stores and the providers. Numbers of a world in motion may be a moment apart; Quiesce first
// to judge Lost.
func (w *World) Record(ctx context.Context) (Record, error) {
	r := Record{Lost: []string{}, Stranded: []string{}, InDoubt: []string{}, Stores: map[string]app.Status{}}
	var open []string // before the stores are read: what is done in between must not look lost
	if err := w.Control("ledger").Call(ctx, "GET", "/unprocessed", nil, &open); err != nil {
		return r, err
	}
	fresh, claimed, dead := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, site := range []string{E1, E2} {
		var s app.Status
		if err := w.Control(site).Call(ctx, "GET", "/store", nil, &s); err != nil {
			w.journal(RegionOf(site), dead)
			continue
		}
		r.Stores[s.Region] = s
		for _, k := range s.New {
			fresh[k] = true
		}
		for _, k := range append(s.Claimed, s.InDoubt...) {
			claimed[k] = true
		}
	}
	if err := w.Control("ledger").Call(ctx, "GET", "/summary", nil, &r.Summary); err != nil {
		return r, err
	}
	var still []string
	if err := w.Control("ledger").Call(ctx, "GET", "/unprocessed", nil, &still); err != nil {
		return r, err
	}
	for _, k := range open {
		switch {
		case !slices.Contains(still, k):
		case claimed[k]: // before fresh: one store may not have heard of the claim
			r.InDoubt = append(r.InDoubt, k)
		case fresh[k]:
			r.Pending++
		case dead[k]:
			r.Stranded = append(r.Stranded, k)
		default:
			r.Lost = append(r.Lost, k)
		}
	}
	if err := w.Control(Net).Call(ctx, "GET", "/provider", nil, &r.Provider); err != nil {
		w.opt.Log.Warn("record without providers", "err", err)
	}
	return r, nil
}

// journal adds the keys that a dead region's store knew.
func (w *World) journal(reg string, into map[string]bool) {
	f, err := os.Open(filepath.Join(w.Dir, "store-"+reg+".jsonl"))
	if err != nil {
		return
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var e app.Entry
		if json.Unmarshal(sc.Bytes(), &e) == nil {
			into[e.Key] = true
		}
	}
}

// PauseProviders stops or resumes new messages; unacknowledged ones are still sent again.
func (w *World) PauseProviders(ctx context.Context, on bool) error {
	return w.Control(Net).Call(ctx, "POST", "/provider/pause", map[string]bool{"on": on}, nil)
}

// Flood has providers send so many messages at once, whatever waits already: what has piled up at them comes in one go.
func (w *World) Flood(ctx context.Context, n int) error {
	return w.Control(Net).Call(ctx, "POST", "/provider/flood", map[string]int{"messages": n}, nil)
}

// Events reads the ledger's timeline; typ "" means all types.
func (w *World) Events(ctx context.Context, typ string) ([]ledger.Event, error) {
	return read[[]ledger.Event](ctx, w.Control("ledger"), "GET", "/events?type="+url.QueryEscape(typ), nil)
}

// Calls reads the recorded AWS calls of e1, e2 or net: all mutating ones, and reads that failed.
func (w *World) Calls(ctx context.Context, site string) ([]awsfake.Call, error) {
	return read[[]awsfake.Call](ctx, w.Control(site), "GET", "/calls", nil)
}

// Tasks reads the true state of a site's ECS tasks, without the API's lag.
func (w *World) Tasks(ctx context.Context, site string) ([]awsfake.TaskInfo, error) {
	return read[[]awsfake.TaskInfo](ctx, w.Control(site), "GET", "/tasks", nil)
}

// Store reads a site's store.
func (w *World) Store(ctx context.Context, site string) (app.Status, error) {
	return read[app.Status](ctx, w.Control(site), "GET", "/store", nil)
}

// Mongo reads the state names of a site's MongoDB members, by host.
func (w *World) Mongo(ctx context.Context, site string) (map[string]string, error) {
	var raw map[string]struct {
		State string `json:"state"`
	}
	if err := w.Control(site).Call(ctx, "GET", "/mongo", nil, &raw); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for h, m := range raw {
		out[h] = m.State
	}
	return out, nil
}

// MongoDocuments are the keys of the workers' documents that a member has.
func (w *World) MongoDocuments(ctx context.Context, site, host string) ([]string, error) {
	return read[[]string](ctx, w.Control(site), "GET", "/mongo/documents?member="+host, nil)
}

// CreateQueue makes an SQS queue in a site's region.
func (w *World) CreateQueue(ctx context.Context, site, name string) error {
	return w.Control(site).Call(ctx, "POST", "/queue", map[string]string{"name": name}, nil)
}

// SlackMessages reads what stands in Slack.
func (w *World) SlackMessages(ctx context.Context) ([]slackfake.Message, error) {
	return read[[]slackfake.Message](ctx, w.Control(Net), "GET", "/slack/messages", nil)
}

// SlackClick presses a button, and waits for the acknowledgement at most 3 s.
func (w *World) SlackClick(ctx context.Context, c slackfake.Click) (slackfake.Delivered, error) {
	return read[slackfake.Delivered](ctx, w.Control(Net), "POST", "/slack/click", c)
}

// Route53Changes reads the accepted change batches, oldest first.
func (w *World) Route53Changes(ctx context.Context) ([]awsfake.Batch, error) {
	return read[[]awsfake.Batch](ctx, w.Control(Net), "GET", "/route53/changes", nil)
}

// DNSAnswers reads how often each name server and the resolver answered with which region, by second.
func (w *World) DNSAnswers(ctx context.Context) ([]dnsfake.Count, error) {
	return read[[]dnsfake.Count](ctx, w.Control(Net), "GET", "/dns/answers", nil)
}

// Lookup asks each of the four name servers for the addresses of a name, past all faults and cuts. A weighted name is
// drawn anew by each.
func (w *World) Lookup(ctx context.Context, name string) (out [4][]string, err error) {
	for i := range out {
		var sets []dnsfake.RecordSet
		if err := w.Control(Net).Call(ctx, "GET", fmt.Sprintf("/dns/lookup?server=%d&type=A&name=%s", i, url.QueryEscape(name)), nil, &sets); err != nil {
			return out, err
		}
		for _, s := range sets {
			if s.Type == "A" {
				out[i] = append(out[i], s.Values...)
			}
		}
	}
	return out, nil
}

// read makes one call and decodes its answer.
func read[T any](ctx context.Context, c *ctl.Client, method, path string, in any) (out T, err error) {
	err = c.Call(ctx, method, path, in, &out)
	return out, err
}
