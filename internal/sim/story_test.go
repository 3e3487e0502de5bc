package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/internal/daemon"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

// A story is one thing that goes wrong, told by a whole cluster in a bubble of
// fake time with the example's numbers. Each sentence that it says stands beside
// what has to be true for it, so that docs/what-happens-when.md, which is made of
// these sentences, cannot say what does not happen.
type story struct {
	id    string // of an incident ("P1"), a rule ("G2") or a fault
	part  string // heading under which the document lists it
	fault string // what goes wrong, for a reader
	tune  func(*failover.Settings)
	// timers are raft's, if they are not those of every other story.
	timers consensus.Timers
	// level is the feature level of the nodes' version, if it is not the newest.
	level int
	play  func(s *stage)
}

// saying is one sentence that was true in a run.
type saying struct{ who, text string }

// The three questions that the document answers about each fault.
const (
	byDaemon = "failoverd"
	byRegion = "the old region"
	byPerson = "a person sees"
)

// stage is the cluster that a story plays on.
type stage struct {
	*cluster
	t   *testing.T
	rng *rand.Rand

	said []saying

	mu     sync.Mutex
	pages  []page
	grants []granted
	parks  []*park
}

// page is a message to people, or an update of it.
type page struct {
	id    string
	at    time.Time
	title string
	lines []string
}

// granted is a lease that was granted to an agent of a region.
type granted struct {
	at     time.Time
	region string
	agent  failover.AgentID
	epoch  uint64
}

// park holds answers to a region's agents back for a while, as a socket buffer
// of a process that stands still does.
type park struct {
	region string
	agent  failover.AgentID // whose; "" for all
	grants bool             // only leases, not what refuses one
	open   chan struct{}
	held   int // answers
}

// say notes a sentence, and fails the story if it is not true.
func (s *stage) say(who string, ok bool, text string) {
	s.t.Helper()
	if !ok {
		s.t.Errorf("not true: %s: %s", who, text)
	}
	if said := (saying{who, text}); !slices.Contains(s.said, said) {
		s.said = append(s.said, said)
	}
}

func (s *stage) daemon(ok bool, text string) { s.t.Helper(); s.say(byDaemon, ok, text) }
func (s *stage) region(ok bool, text string) { s.t.Helper(); s.say(byRegion, ok, text) }
func (s *stage) person(ok bool, text string) { s.t.Helper(); s.say(byPerson, ok, text) }

// when lets time pass until ok, and reports whether it came within the limit.
func (s *stage) when(limit time.Duration, ok func() bool) bool {
	for end := time.Now().Add(limit); ; sleep(50 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// throughout reports whether ok holds at every look for so long.
func (s *stage) throughout(d time.Duration, ok func() bool) bool {
	return !s.when(d, func() bool { return !ok() })
}

// state is the newest that any node has; never nil once a story plays.
func (s *stage) state() *failover.State {
	if st := s.newest(); st != nil {
		return st
	}
	return failover.NewState()
}

// event reports whether the timeline has a line of the kind that contains the
// text.
func (s *stage) event(kind, text string) bool { return s.eventAt(kind, text) != time.Time{} }

// eventAt is when the newest such line was written; zero: never.
func (s *stage) eventAt(kind, text string) time.Time {
	for _, ev := range slices.Backward(s.state().Events) {
		if ev.Kind == kind && strings.Contains(ev.Text, text) {
			return ev.At
		}
	}
	return time.Time{}
}

// ended is the state of the newest finished execution; "" if there is none.
func (s *stage) ended() failover.ExecState {
	h := s.state().History
	if len(h) == 0 {
		return ""
	}
	return h[len(h)-1].State
}

// died counts the workers of a region that ended since then.
func (s *stage) died(region string, since time.Time) int {
	n := 0
	for _, e := range s.world.records(oracle.WorkerDown) {
		if e.Region == region && !e.At.Before(since) {
			n++
		}
	}
	return n
}

// up is how many workers run in a region.
func (s *stage) up(region string) int { n, _ := s.world.workersUp(region); return n }

// wanted is the fleet that a region's control plane is told to run.
func (s *stage) wanted(region string) int {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	return s.world.desired[region]
}

// cut separates sites from all others; mend ends every cut.
func (s *stage) cut(sites ...string) {
	s.net.set(func() {
		for _, site := range sites {
			s.net.cutSite[site] = true
		}
	})
}

func (s *stage) mend() { s.heal(s.ctx) }

// stop ends nodes; their machines stay off until mend.
func (s *stage) stop(nodes ...string) {
	for _, n := range nodes {
		s.crash(s.hosts[n])
	}
}

// order is press for a command that must be taken.
func (s *stage) order(by string, cmd failover.Command) failover.Result {
	s.t.Helper()
	res, err := s.press(s.ctx, by, cmd)
	if err != nil {
		s.t.Errorf("%s: %v", cmd.Name(), err)
	}
	return res
}

// refused gives a command and reports whether the named guard refuses it.
func (s *stage) refused(by string, cmd failover.Command, guard string) bool {
	s.t.Helper()
	_, err := s.press(s.ctx, by, cmd)
	var r *failover.Refusal
	if errors.As(err, &r) && r.Guard == guard {
		return true
	}
	s.t.Logf("%s: not refused by %s: %v", cmd.Name(), guard, err)
	return false
}

// paged counts the messages to people whose title contains the text.
func (s *stage) paged(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, p := range s.pages {
		if strings.Contains(p.title+" "+strings.Join(p.lines, " "), text) {
			n++
		}
	}
	return n
}

// grantedTo counts the leases granted to a region's agents since then.
func (s *stage) grantedTo(region string, since time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, g := range s.grants {
		if g.region == region && !g.at.Before(since) {
			n++
		}
	}
	return n
}

// parkAnswers holds back what the nodes answer a region's agents from now on.
func (s *stage) parkAnswers(region string) (release func()) {
	return s.park(&park{region: region})
}

func (s *stage) park(p *park) (release func()) {
	p.open = make(chan struct{})
	s.mu.Lock()
	s.parks = append(s.parks, p)
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.parks = slices.DeleteFunc(s.parks, func(q *park) bool { return q == p })
		s.mu.Unlock()
		close(p.open)
	}
}

// ask carries agents' requests and notes what was granted.
func (s *stage) ask(ctx context.Context, site string, a fence.Ask) (fence.Answer, error) {
	ans, err := s.cluster.ask(ctx, site, a)
	s.mu.Lock()
	var wait chan struct{}
	for _, p := range s.parks {
		if p.region == site && (p.agent == "" || p.agent == a.Agent) && (!p.grants || err == nil && ans.Granted) {
			wait = p.open
			p.held++
		}
	}
	if err == nil && ans.Granted {
		s.grants = append(s.grants, granted{time.Now(), site, a.Agent, ans.Epoch})
	}
	s.mu.Unlock()
	if wait != nil {
		<-wait
	}
	return ans, err
}

// watch keeps what people are told.
func (s *stage) watch(ctx context.Context) {
	var pager daemon.Pager
	for ctx.Err() == nil {
		if st := s.newest(); st != nil {
			for _, u := range pager.Next(st, time.Now()) {
				s.mu.Lock()
				s.pages = append(s.pages, page{u.ID, time.Now(), u.Title, u.Lines})
				s.mu.Unlock()
			}
		}
		t := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// perform plays a story and returns what was true in it.
func perform(t *testing.T, st story) (said []saying) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		rng := rand.New(rand.NewPCG(1, 3)) //nolint:gosec // a simulation
		told := settings(failover.ModeAutomatic, true)
		if st.tune != nil {
			st.tune(&told)
		}
		c := clusterThatSees(newClusterOf(ctx, rng, told, slog.New(slog.NewTextHandler(io.Discard, nil)), func(err error) { t.Error(err) }))
		if st.timers.Heartbeat > 0 {
			c.timers = st.timers
		}
		for _, h := range c.hosts {
			if st.level > 0 {
				h.features = st.level
			}
		}
		s := &stage{cluster: c, t: t, rng: rng}
		c.world.ask = s.ask
		c.begin(ctx)
		c.world.wg.Go(func() { s.watch(ctx) })
		if !s.when(time.Minute, func() bool { return c.leader() != nil && s.up(east1) == s.wanted(east1) && s.state().Settings != nil }) {
			t.Error("the cluster does not begin")
		}
		sleep(30 * time.Second) // votes, leases, the place of the leader
		st.play(s)
		events := s.state().Events
		for _, p := range s.parks {
			close(p.open)
		}
		c.heal(ctx)
		c.end()
		cancel()
		c.world.wg.Wait()
		for _, v := range oracle.Judge(c.world.record, c.rules, nil) { // a story ends where it likes
			t.Error(v)
		}
		if t.Failed() {
			t.Log("\n" + Outcome{Record: c.world.record, Events: events}.History())
		}
		said = s.said
	})
	return said
}

// stories are all, in the order of the document.
func stories() []story {
	return slices.Concat(incidents, leaseStories, executionStories, peopleStories, stolenStories)
}

// TestStories plays every story, and holds the document against what was true.
// make incidents runs those that have the number of an incident.
func TestStories(t *testing.T) {
	told := map[string][]saying{}
	for i, st := range stories() {
		if raceDetector && i%6 != 0 {
			continue // a sample: make test plays all of them without it, six times as fast
		}
		t.Run(st.id, func(t *testing.T) { told[st.id] = perform(t, st) })
	}
	if t.Failed() || len(told) < len(stories()) {
		return // some were left out by -run
	}
	for _, st := range stories() {
		if told[st.id] == nil {
			return
		}
	}
	text := storyDocument(told)
	const file = "../../docs/what-happens-when.md"
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != text {
		t.Errorf("%s is not what the stories say (%v): go test ./internal/sim -run TestStories -update", file, err)
	}
}

// storyDocument is docs/what-happens-when.md.
func storyDocument(told map[string][]saying) string {
	var b strings.Builder
	b.WriteString("# What happens when\n\nGenerated by `go test ./internal/sim -run TestStories -update` from whole clusters that these things happen to, with the\ndurations of `config.toml.example`; do not edit. Every sentence is asserted in the story that says it: `go test ./internal/sim -run\n'TestStories/P1$' -v` plays one. Each run is also judged from the world's record: no two regions work at once.\n")
	part := ""
	for _, st := range stories() {
		if st.part != part {
			part = st.part
			fmt.Fprintf(&b, "\n## %s\n", part)
		}
		fmt.Fprintf(&b, "\n### %s\n\n`TestStories/%s`\n\n", st.fault, st.id)
		for _, who := range []string{byDaemon, byRegion, byPerson} {
			var texts []string
			for _, s := range told[st.id] {
				if s.who == who {
					texts = append(texts, s.text)
				}
			}
			if len(texts) > 0 {
				fmt.Fprintf(&b, "- **%s:** %s.\n", who, strings.Join(texts, "; "))
			}
		}
	}
	return b.String()
}

// The simulation decides with the numbers of the example: what its stories say
// is what the example's user gets.
func TestSettingsAreTheExamples(t *testing.T) {
	cfg, err := config.Load("../../config.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	want, got := cfg.Settings().Policy, settings(failover.ModeAutomatic, true).Policy
	want.MaxLoss, want.MaxShrink, want.Ask = got.MaxLoss, got.MaxShrink, got.Ask // nothing of the simulation's is lost; people answer sooner
	if fmt.Sprintf("%+v", want) != fmt.Sprintf("%+v", got) {
		t.Errorf("the example says\n%+v\nthe simulation runs with\n%+v", want, got)
	}
}
