package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
)

// maxConfig bounds a configuration's size.
const maxConfig = 1 << 20

// ConfigView is the configuration in force and the one that is being rolled out.
type ConfigView struct {
	Hash   string    `json:"hash"`
	Since  time.Time `json:"since,omitzero"` // zero: since before the log kept it
	Source string    `json:"source,omitempty"`
	// OwnFile is the hash of this node's file, which does not count.
	OwnFile  string                                `json:"own_file"`
	Nodes    map[failover.NodeID]failover.NodeSpec `json:"nodes"`
	Proposal *failover.Proposal                    `json:"proposal,omitempty"`
	Waits    string                                `json:"waits,omitempty"` // what the proposal waits for
}

// ConfigText is a configuration as it is proposed.
type ConfigText struct {
	File string `json:"file"` // its name, for messages
	Text string `json:"text"`
	Why  string `json:"why,omitempty"`
	ID   string `json:"id"` // the same when it is sent again
}

// ConfigReply is the answer to a ConfigText.
type ConfigReply struct {
	Reply
	Hash string `json:"hash,omitempty"`
	// Changes are what it changes in what failoverd may do, a sentence each.
	Changes []string `json:"changes,omitempty"`
}

// Configurer is what the server needs of a node for its configuration.
type Configurer interface {
	Config() ConfigView
	// ProposeConfig parses and checks the text, and proposes it. by is who. A
	// mistake in the text is an error; a refusal is one as well.
	ProposeConfig(ctx context.Context, by string, c ConfigText) (res failover.Result, hash string, changes []string, err error)
}

func (s *server) proposeConfig(w http.ResponseWriter, r *http.Request) {
	var in ConfigText
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 2*maxConfig)) // JSON's quoting costs something
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		http.Error(w, "the request cannot be read: "+err.Error(), http.StatusBadRequest)
		return
	}
	if len(in.Text) > maxConfig {
		http.Error(w, fmt.Sprintf("the configuration has %d bytes; %d are enough", len(in.Text), maxConfig), http.StatusBadRequest)
		return
	}
	by, _ := r.Context().Value(credKey{}).(string)
	res, hash, changes, err := s.node.ProposeConfig(r.Context(), by, in)
	s.log.Info("configuration proposed", "hash", hash, "by", by, "why", in.Why, "error", errText(err))
	reply(w, ConfigReply{Reply: toReply(res, err), Hash: hash, Changes: changes})
}

// Config asks for the configuration in force and the proposed one.
func (c *Client) Config(ctx context.Context) (ConfigView, error) {
	var v ConfigView
	err := c.get(ctx, "/v1/config", &v)
	return v, err
}

// ProposeConfig proposes a configuration. A refusal is a ConfigReply, not an
// error.
func (c *Client) ProposeConfig(ctx context.Context, file, text, why string) (ConfigReply, error) {
	var out ConfigReply
	data, err := json.Marshal(ConfigText{File: file, Text: text, Why: why, ID: consensus.NewID()})
	if err != nil {
		return out, fmt.Errorf("configuration: %w", err)
	}
	resp, err := c.do(ctx, http.MethodPost, "/v1/config", strings.NewReader(string(data)))
	if err != nil {
		return out, err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return out, fmt.Errorf("the node's answer cannot be read: %w", err)
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return out, fmt.Errorf("the node's answer cannot be read: %w", err)
	}
	return out, nil
}
