package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/admin"
	"github.com/failoverd/failoverd/internal/mtls"
)

// ask is an agent's request to a node.
func (h *house) ask(r *resident, request string) (fence.Answer, error) {
	ctx, cancel := context.WithTimeout(h.Context(), 3*time.Second)
	defer cancel()
	a := workersAsk(request)
	a.Nodes = []failover.NodeID{r.core.cfg.ID} // its word is enough
	return r.core.TakeAsk(ctx, h.signed("east1", a), true)
}

// workersAsk is what the agent w1 asks for.
func workersAsk(request string) fence.Ask {
	return fence.Ask{
		Request: request, Agent: "w1", Region: "east1", Component: "workers", Lease: failover.Duration(20 * time.Second), Enforced: true, Running: true, SeenEpoch: 1,
		Nodes: []failover.NodeID{"a", "b", "c"},
	}
}

// signed is a request as an agent of a region sends it.
func (h *house) signed(region string, a fence.Ask) fence.Ask {
	h.Helper()
	by, err := signer{h.agentOf(region)}.Sign(a.Statement())
	if err != nil {
		h.Fatal(err)
	}
	a.Vouch = by
	return a
}

// signerOf is a node's certificate and key, whether it runs or not.
func (h *house) signerOf(id string) signer {
	h.Helper()
	m, err := mtls.Load(mtls.Files{CA: filepath.Join(h.dir, "ca.pem"), Cert: filepath.Join(h.dir, id+".pem"), Key: filepath.Join(h.dir, id+".key")})
	if err != nil {
		h.Fatal(err)
	}
	return signer{m}
}

// agentOf is the certificate and key of a region's agents.
func (h *house) agentOf(region string) *mtls.Material {
	h.Helper()
	name := "agent-" + region
	files := mtls.Files{CA: filepath.Join(h.dir, "ca.pem"), Cert: filepath.Join(h.dir, name+".pem"), Key: filepath.Join(h.dir, name+".key")}
	if _, err := os.Stat(files.Cert); err != nil {
		if err := h.ca.Issue(h.dir, name, mtls.Identity{Role: mtls.RoleAgent, Name: region}); err != nil {
			h.Fatal(err)
		}
	}
	m, err := mtls.Load(files)
	if err != nil {
		h.Fatal(err)
	}
	return m
}

// S10: a node that passes a request on can neither make one up nor change it, nor
// say an old one again that would harm.
func TestNodesDoNotSpeakForAgents(t *testing.T) {
	h := newHouse(t)
	text := h.text("a b c")
	for _, id := range []string{"a", "b", "c"} {
		h.start(id, text)
	}
	h.registered()
	h.newestLevel()
	lead := h.leader()
	var other *resident
	for _, r := range h.nodes {
		if r != lead {
			other = r
		}
	}
	ctx, cancel := context.WithTimeout(h.Context(), 20*time.Second)
	defer cancel()
	pass := func(a fence.Ask) error { // over the real port
		_, err := other.calls.Ask(ctx, lead.core.cfg.ID, a)
		return err
	}
	refused := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	known := func() *failover.AgentRecord { return lead.core.node.State().Agents["w1"] }
	refused("made up", pass(workersAsk("1")), "it is not signed")
	if known() != nil {
		t.Error("and it is in the log")
	}
	refused("of another region's agent", pass(h.signed("east2", workersAsk("2"))), "not of an agent of east1")
	forged := h.signed("east1", workersAsk("3"))
	forged.Stopped = 7
	refused("changed on the way", pass(forged), "the signature is not that of")
	// The agent's own word arrives by way of another node.
	if ans, err := other.core.TakeAsk(ctx, h.signed("east1", workersAsk("4")), false); err != nil || !ans.Granted {
		t.Fatalf("its own word: %+v, %v", ans, err)
	}
	// The leader knows its file, and tells so on every node.
	if r := other.Readiness(ctx); !slices.ContainsFunc(r.Rows, func(r admin.Row) bool {
		return r.OK && r.Name == "agents' files" && r.Detail == "all 1 agents know the 3 nodes that there are"
	}) {
		t.Errorf("the agents' files: %+v", r.Rows)
	}
	// It is started again and would not stop its workers; the old word is said again.
	tame := workersAsk("5")
	tame.Enforced = false
	if ans, err := lead.core.TakeAsk(ctx, tame, false); err != nil || ans.Leader != nil || ans.Seconds != nil {
		t.Fatalf("an agent that signs nothing waits for no signature: %+v, %v", ans, err)
	}
	if err := pass(h.signed("east1", workersAsk("4"))); err != nil || known().Enforced {
		t.Errorf("an old word makes its lease prove again what it does not: %+v, %v", known(), err)
	}
	// What an agent has said since makes the old word one that is refused, and after its
	// goodbye nobody brings it back.
	late := workersAsk("7")
	late.Seq, late.Stopped = 7, 3
	now := workersAsk("8")
	now.Seq = 8
	if _, err := lead.core.TakeAsk(ctx, now, false); err != nil {
		t.Fatal(err)
	}
	refused("an old word", pass(h.signed("east1", late)), "is an old one that is said again")
	if err := pass(h.signed("east1", now)); err != nil {
		t.Errorf("the same request by another way: %v", err)
	}
	bye := workersAsk("6")
	bye.Seq = 9
	bye.Bye = true
	refused("a goodbye that was passed on", pass(h.signed("east1", bye)), "ask the leader directly")
	if known() == nil {
		t.Error("and the agent is forgotten")
	}
	if _, err := lead.core.TakeAsk(ctx, bye, false); err != nil || known() != nil {
		t.Errorf("the agent's own goodbye: %v, %+v", err, known())
	}
	if refused("an old word after the goodbye", pass(h.signed("east1", now)), "is an old one that is said again"); known() != nil {
		t.Error("and the agent is back")
	}
	for field, change := range map[string]func(*fence.Ask){
		"that its fence was rehearsed":    func(a *fence.Ask) { a.Rehearsed = &failover.RehearsalResult{ID: 3, Passed: true} },
		"how often it would have stopped": func(a *fence.Ask) { a.WouldHave = 99 },
		"its number":                      func(a *fence.Ask) { a.Seq = 99 },
	} {
		a := h.signed("east1", workersAsk("9"))
		change(&a)
		refused("another says for it "+field, pass(a), "the signature is not that of")
	}
}

// S10: an agent takes no answer for which too few nodes stand, whatever one of them has
// got hold of, and asks the next one.
func TestOneNodeAnswersNoAgent(t *testing.T) {
	h := newHouse(t)
	text := h.text("a b c")
	for _, id := range []string{"a", "b", "c"} {
		h.start(id, text)
	}
	h.registered()
	lead := h.leader()
	ctx, cancel := context.WithTimeout(h.Context(), 60*time.Second)
	defer cancel()
	material := h.agentOf("east1")
	nodes := map[failover.NodeID]failover.NodeSpec{}
	var follower failover.NodeID
	for id := range h.nodes {
		nodes[failover.NodeID(id)] = failover.NodeSpec{Vantage: failover.Region(h.where[id]), Address: h.addr[id]}
		if h.nodes[id] != lead {
			follower = failover.NodeID(id)
		}
	}
	agent := func(nodes map[failover.NodeID]failover.NodeSpec, order ...failover.NodeID) (*leaseCaller, *strings.Builder) {
		var said strings.Builder
		c := newLeaseCaller(material, nodes, "east1", 5*time.Second, time.Second, slog.New(slog.NewTextHandler(&said, nil)))
		t.Cleanup(c.close)
		c.order = order
		return c, &said
	}

	// Each node alone is a way to an answer: the leader gathers the words.
	var kept fence.Answer
	for id := range nodes {
		a := workersAsk("by way of " + string(id))
		c, _ := agent(nodes, id)
		ans, err := patiently(func() (fence.Answer, error) { return c.Ask(ctx, a) })
		if err != nil || !ans.Granted {
			t.Fatalf("%s: %+v, %v", a.Request, ans, err)
		}
		kept = ans
	}

	// The follower is stolen: key, certificate, place.
	stolen := signer{h.nodes[string(follower)].material}
	var lie func(fence.Ask) fence.Answer
	config := stolen.Server([]string{mtls.ProtoHTTP}, func(mtls.Identity) error { return nil })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Second, TLSConfig: config, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var a fence.Ask
		_ = json.NewDecoder(r.Body).Decode(&a)
		writeJSON(w, lie(a))
	})}
	go func() { _ = srv.ServeTLS(ln, "", "") }()
	t.Cleanup(func() { _ = srv.Close() })
	taken := map[failover.NodeID]failover.NodeSpec{follower: {Vantage: "east1", Address: ln.Addr().String()}}
	for id, spec := range nodes {
		if id != follower {
			taken[id] = spec
		}
	}
	word := func(s signer, statement []byte) fence.Vouch {
		by, err := s.Sign(statement)
		if err != nil {
			t.Fatal(err)
		}
		return *by
	}
	grant := func(a fence.Ask) fence.Answer {
		ans := fence.Answer{Request: a.Request, Grant: failover.Grant{Granted: true, Epoch: 1, Index: 1 << 40, Terms: kept.Terms, Arming: kept.Arming, OnIsol: kept.OnIsol}}
		by := word(stolen, ans.Statement(a))
		ans.Leader = &by
		return ans
	}
	second := func(a fence.Ask, by signer, leader failover.NodeID) fence.Answer {
		ans := grant(a)
		ans.Seconds = []fence.Vouch{word(by, fence.Seconding(a.Request, leader))}
		return ans
	}
	for _, tc := range []struct {
		name, want string
		lie        func(fence.Ask) fence.Answer
	}{
		{"unsigned", "not signed by a leader", func(a fence.Ask) fence.Answer {
			ans := grant(a)
			ans.Leader = nil
			return ans
		}},
		{"alone", "1 of 3 nodes say that", grant},
		{"both words its own", "1 of 3 nodes say that", func(a fence.Ask) fence.Answer { return second(a, stolen, follower) }},
		{"an agent's word beside its own", "not of a node", func(a fence.Ask) fence.Answer { return second(a, signer{material}, follower) }},
		{"the word of a node that is not in the file", "1 of 3 nodes say that", func(a fence.Ask) fence.Answer { return second(a, h.signerOf("d"), follower) }},
		{"another node's word for an earlier request", "the signature is not that of", func(a fence.Ask) fence.Answer {
			ans := grant(a)
			ans.Seconds = kept.Seconds
			return ans
		}},
		{"the leader's word for an earlier answer", "not the word of a leader", func(a fence.Ask) fence.Answer {
			ans := second(a, stolen, lead.core.cfg.ID)
			ans.Leader = kept.Leader
			return ans
		}},
		{"the leader's own answer, changed on the way", "not the word of a leader", func(a fence.Ask) fence.Answer {
			ans, err := patiently(func() (fence.Answer, error) { return h.nodes[string(follower)].core.TakeAsk(ctx, a, false) })
			if err != nil {
				t.Error(err)
			}
			ans.Terms.Length *= 10
			return ans
		}},
		{"an earlier answer", "it answers request", func(fence.Ask) fence.Answer { return kept }},
	} {
		lie = tc.lie
		c, said := agent(taken, follower)
		if ans, err := c.Ask(ctx, workersAsk("stolen")); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %+v, %v", tc.name, ans, err)
		}
		_, _ = c.Ask(ctx, workersAsk("stolen again"))
		if n := strings.Count(said.String(), "does not count"); n != 1 {
			t.Errorf("%s: said %d times: %s", tc.name, n, said)
		}
		c, _ = agent(taken, follower, lead.core.cfg.ID)
		if ans, err := patiently(func() (fence.Answer, error) { return c.Ask(ctx, workersAsk("the next one")) }); err != nil || !ans.Granted || ans.Index == 1<<40 {
			t.Errorf("%s, and the next node: %+v, %v", tc.name, ans, err)
		}
	}

	// Nobody gives its word for a node that it does not follow, nor to an agent.
	if by, err := h.nodes[string(follower)].calls.Second(ctx, lead.core.cfg.ID, "r"); err == nil || !strings.Contains(err.Error(), "does not follow "+string(follower)) {
		t.Errorf("the leader's word for a follower: %+v, %v", by, err)
	}
	c, _ := agent(nodes)
	if err := c.call(ctx, lead.core.cfg.ID, pathSecond, secondRequest{"r"}, nil); err == nil || !strings.Contains(err.Error(), "needs a node's certificate") {
		t.Errorf("an agent asks for it: %v", err)
	}
}

// patiently asks again while the nodes of a busy machine elect another leader.
func patiently(ask func() (fence.Answer, error)) (ans fence.Answer, err error) {
	for until := time.Now().Add(10 * time.Second); ; {
		if ans, err = ask(); err == nil || time.Now().After(until) {
			return ans, err
		}
	}
}

// S10: policy.two_nodes, over the real port: which node an order came through is what
// its certificate says, not what it says itself.
func TestOrdersOverThePort(t *testing.T) {
	h := newHouse(t)
	text := h.text("a b c", `mode = "supervised"`, "two_nodes = true\nmode = \"supervised\"")
	for _, id := range []string{"a", "b", "c"} {
		h.start(id, text)
	}
	h.registered()
	h.newestLevel()
	lead := h.leader()
	ctx, cancel := context.WithTimeout(h.Context(), 20*time.Second)
	defer cancel()
	var others []*resident
	for _, r := range h.nodes {
		if r != lead {
			others = append(others, r)
		}
	}
	order := failover.RequestExecution{Kind: failover.Failover}
	guard := func(err error) string {
		if r, ok := errors.AsType[*failover.Refusal](err); ok {
			return r.Guard
		}
		return fmt.Sprint(err)
	}
	give := func(r *resident) string {
		_, err := r.core.Propose(ctx, "uid 0", "w", order)
		return guard(err)
	}
	if one, again := give(others[0]), give(others[0]); one != failover.GuardTwoNodes || again != failover.GuardTwoNodes {
		t.Fatalf("through one node: %q, %q", one, again)
	}
	// It says that the order comes through the other node.
	data, err := consensus.NewCodec().Encode(failover.Meta{Node: others[1].core.cfg.ID, By: "uid 0", ID: "forged"}, order)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := others[0].calls.Forward(ctx, lead.core.cfg.ID, consensus.Proposal{Entry: data}); err != nil || r.Guard != failover.GuardTwoNodes {
		t.Fatalf("in another node's name: %+v, %v", r, err)
	}
	if st := lead.State(); st.Request != nil || len(st.HalfOrders) != 1 {
		t.Fatalf("%+v, %+v", st.Request, st.HalfOrders)
	}
	if got := give(others[1]); got != "<nil>" {
		t.Errorf("through the second node: %s", got)
	}
}

// liar is a way to the others on which one node's words are none.
type liar struct {
	Peers
	who  failover.NodeID
	said *fence.Vouch
}

func (l liar) Second(ctx context.Context, to failover.NodeID, request string) (*fence.Vouch, error) {
	if to == l.who {
		return l.said, nil
	}
	time.Sleep(50 * time.Millisecond) // the liar is heard first
	return l.Peers.Second(ctx, to, request)
}

// A node that gives a word which is none, or another's, costs no agent its lease: the
// leader goes on until the words are enough.
func TestAWordThatIsNoneDoesNotCount(t *testing.T) {
	h := newHouse(t)
	text := h.text("a b c")
	for _, id := range []string{"a", "b", "c"} {
		h.start(id, text)
	}
	h.registered()
	lead := h.leader()
	ask := workersAsk("1")
	id := lead.core.cfg.ID
	for _, who := range ask.Nodes {
		if who == id {
			continue
		}
		own, err := h.signerOf(string(id)).Sign(fence.Seconding(ask.Request, id))
		if err != nil {
			t.Fatal(err)
		}
		for name, said := range map[string]*fence.Vouch{"nothing": {}, "the leader's own word": own} {
			c := &Core{cfg: lead.core.cfg, node: lead.core.node}
			c.cfg.Peers = liar{lead.core.cfg.Peers, who, said}
			words, err := c.gather(t.Context(), ask)
			if err != nil || len(words) != 1 {
				t.Fatalf("%s of %s: %d words, %v", name, who, len(words), err)
			}
			if by, err := c.cfg.Signer.Node(fence.Seconding(ask.Request, id), &words[0]); err != nil || by == who || by == id {
				t.Errorf("%s of %s counts: %s, %v", name, who, by, err)
			}
		}
	}
}
