package actions

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// parked is a resource that holds a token, with a write on its way that names the token that it replaces.
type parked struct {
	mu      sync.Mutex
	value   string
	token   uint64
	write   uint64 // the token of the write on its way, which names named and wants "b"
	named   uint64
	dark    bool // it can be read, and not written to
	blind   bool // it cannot be read
	refused bool // the write came, and was refused
	burns   int
}

func (p *parked) Inspect(context.Context) (Effect, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.blind {
		return Effect{State: Unknown, Detail: "dark"}, context.DeadlineExceeded
	}
	return Effect{State: Present, Token: p.token, Previous: json.RawMessage(strconv.FormatUint(p.token, 10)), Detail: p.value}, nil
}
func (p *parked) Do(context.Context, Attempt) error   { panic("nobody asked for it") }
func (p *parked) Undo(context.Context, Attempt) error { panic("nobody asked for it") }
func (p *parked) ChecksToken()                        {}
func (p *parked) Burn(_ context.Context, a Attempt) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.burns++
	if p.dark || p.blind {
		return context.DeadlineExceeded
	}
	p.token = a.Token
	return nil
}

// arrives is the write's turn.
func (p *parked) arrives() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.token == p.named {
		p.value, p.token = "b", p.write
	} else {
		p.refused = true
	}
}

// A write that was sent for a switch and not seen is looked for after its execution: until it, or one that takes its place, is read at the
// resource. From then on it changes nothing, whenever it comes – also after the region was left that it would lead clients to.
func TestALateWriteIsReplaced(t *testing.T) {
	step := failover.Step{ID: "switch-record", Kind: failover.KindSwitch, Action: "route53_weights", Region: "b", Tokens: true}
	for name, tt := range map[string]struct {
		set    func(p *parked)
		after  func(p *parked) // a minute later
		settle bool
		burns  int // at most
	}{
		"parked":             {func(*parked) {}, nil, true, 1},
		"landed meanwhile":   {func(p *parked) { p.arrives() }, nil, true, 0},
		"somebody was newer": {func(p *parked) { p.token = 900 }, nil, true, 0},
		"cannot be written":  {func(p *parked) { p.dark = true }, func(p *parked) { p.dark = false }, true, 3},
		"cannot be read":     {func(p *parked) { p.blind = true }, nil, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &parked{value: "a", token: 3, named: 3, write: 7}
				tt.set(p)
				s := failover.NewState()
				s.Features, s.Epoch, s.Active = failover.Features, 2, "b"
				s.Late = []failover.LateToken{{ID: 1, Step: step, Token: 7}}
				j := &heldJournal{state: s, keeps: true, base: 100}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() {
					NewKeeper(j, oneWorld{p}, Options{}, 30*time.Second, slog.New(slog.DiscardHandler)).Run(ctx)
					close(done)
				}()
				time.Sleep(time.Minute)
				if tt.after != nil {
					if len(j.State().Late) != 1 {
						t.Error("it is taken for settled")
					}
					p.mu.Lock()
					tt.after(p)
					p.mu.Unlock()
				}
				time.Sleep(5 * time.Minute)
				if settled := len(j.State().Late) == 0; settled != tt.settle || p.burns > tt.burns {
					t.Errorf("settled %t after %d burns; it holds %q, token %d", settled, p.burns, p.value, p.token)
				}
				was := p.value
				p.arrives()
				if tt.settle && (p.value != was || !p.refused) {
					t.Errorf("it took effect: %q", p.value)
				}
				cancel()
				<-done
			})
		})
	}
}

// The epoch waits for a write that may still land, a person is asked once, and the question ends with it. Who has ordered the execution in
// spite of it is not asked.
func TestTheEpochWaitsForALateWrite(t *testing.T) {
	step := failover.Step{ID: "switch-record", Kind: failover.KindSwitch, Action: "route53_weights", Region: "east1", Tokens: true}
	for name, override := range map[string]bool{"waits": false, "ordered in spite of it": true} {
		t.Run(name, func(t *testing.T) {
			inStage(t, nil, func(st *stage) {
				st.mu.Lock()
				st.s.Late = []failover.LateToken{{ID: 1, Step: step, Token: 3, Why: "of execution 2"}}
				if override {
					st.s.Execution.Overrides = []string{failover.GuardLate}
				}
				st.mu.Unlock()
				st.elect(nil)
				if !override {
					s := st.waitFor("a question", 10*time.Minute, questioned)
					if q := s.Execution.Question; q.Kind != failover.LateWrite || !strings.Contains(q.Text, "a write of route53_weights in east1 with token 3 may still land, of execution 2") || !slices.Contains(q.Ways, "failoverd release late-write --why …") {
						t.Fatalf("%+v", q)
					}
					time.Sleep(time.Hour)
					if s := st.state(); s.Epoch != 1 || s.Execution.Question == nil {
						t.Fatalf("epoch %d, question %+v", s.Epoch, s.Execution.Question)
					}
					st.must(failover.SettleToken{ID: 1, Stands: 3})
				}
				s := st.waitFor("the end", 20*time.Minute, ended)
				if e := s.History[0]; e.State != failover.ExecStable || s.Epoch != 2 {
					t.Errorf("%s: %s, epoch %d", e.State, e.Outcome, s.Epoch)
				}
			})
		})
	}
}

// tellTale is a world that can make no action while it has a reason, and a log that keeps what it is told.
type tellTale struct {
	oneWorld
	mu     sync.Mutex
	reason error
	lines  []string
}

func (w *tellTale) Action(st failover.Step) (Action, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reason != nil {
		return nil, w.reason
	}
	return w.oneWorld.Action(st)
}

func (w *tellTale) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, string(line))
	return len(line), nil
}

// Why a write that may still land cannot be looked for is told when it begins and when it becomes another reason, of each write, and not at each
// look: a zone that is out of reach for a day is looked at 2880 times.
func TestWhyALateWriteIsNotSettledIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parked{value: "a", token: 3, named: 3, write: 7, blind: true}
		w := &tellTale{oneWorld: oneWorld{p}}
		s := failover.NewState()
		s.Features, s.Epoch, s.Active = failover.Features, 2, "b"
		for id, token := range map[uint64]uint64{1: 7, 2: 8} {
			s.Late = append(s.Late, failover.LateToken{ID: id, Token: token, Step: failover.Step{ID: "switch-record", Kind: failover.KindSwitch, Action: "route53_weights", Region: "b", Tokens: true}})
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			NewKeeper(&heldJournal{state: s, keeps: true}, w, Options{}, 30*time.Second, slog.New(slog.NewTextHandler(w, nil))).Run(ctx)
		}()
		told := func(when, why string, want int) {
			t.Helper()
			time.Sleep(time.Hour)
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, token := range []string{"token=7 ", "token=8 "} {
				n := 0
				for _, line := range w.lines {
					if strings.Contains(line, "level=WARN") && strings.Contains(line, "a write that may still land cannot be looked for") && strings.Contains(line, token) && strings.Contains(line, why) {
						n++
					}
				}
				if n != want {
					t.Errorf("%s: of %s%q is told %d times, want %d", when, token, why, n, want)
				}
			}
		}
		set := func(reason error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.reason = reason
		}
		told("blind", context.DeadlineExceeded.Error(), 1)
		set(errors.New("its file is not on this node"))
		told("another reason", "this node cannot look for it: its file is not on this node", 1)
		set(nil)
		told("the first reason again", context.DeadlineExceeded.Error(), 2)
		cancel()
		<-done
	})
}

// What a standing hold is about to write is not written by somebody else before it, also when it was not seen so far: one change is enough.
func TestTheHoldWritesFirst(t *testing.T) {
	step := failover.Step{ID: "switch-record", Kind: failover.KindSwitch, Action: "route53_weights", Region: "b", Tokens: true}
	now := time.Now()
	often := slices.Repeat([]time.Time{now}, failover.ReapplyPerHour)
	for _, tt := range []struct {
		hold   failover.StandingHold
		writes bool
	}{
		{failover.StandingHold{Step: step, Status: failover.HoldUnseen}, true},
		{failover.StandingHold{Step: step, Status: failover.HoldViolated}, true},
		{failover.StandingHold{Step: step, Status: failover.HoldKept}, false},
		{failover.StandingHold{Step: step, Status: failover.HoldUnseen, Applied: often}, false},
		{failover.StandingHold{Step: failover.Step{Action: "s3_object"}, Status: failover.HoldUnseen}, false},
	} {
		s := failover.NewState()
		s.Holds = []failover.StandingHold{tt.hold}
		k := NewKeeper(&heldJournal{state: s}, oneWorld{}, Options{}, 30*time.Second, slog.New(slog.DiscardHandler))
		if got := k.writes(failover.LateToken{Step: step}); got != tt.writes {
			t.Errorf("%s of %s: %t", tt.hold.Status, tt.hold.Step.Action, got)
		}
	}
}
