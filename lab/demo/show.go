package demo

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/ledger"
	"github.com/failoverd/failoverd/lab/world"
)

// show watches the daemon and the world and shows both: redrawn in place on a terminal, as a line per change elsewhere.
type show struct {
	d    *demo
	tty  bool
	done chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex
	last    *harness.Status
	says    []string // the newest last
	waiting string   // what is missing before the world is healthy
	lossAt  time.Time
	dup     int
	lines   lineLog
}

// frame is everything that is seen at one moment.
type frame struct {
	now     time.Time
	begin   time.Time
	lossAt  time.Time // zero: not yet
	death   string
	home    bool // nothing is lost: a person brings the service away and back
	factor  float64
	status  *harness.Status
	ledger  ledger.Summary
	rate    map[string]float64 // messages processed per second, by region
	share   map[string]float64 // of DNS answers of the last seconds, by region; nil: none were given
	says    []string
	waiting string
}

func newShow(d *demo) *show {
	_, err := unix.IoctlGetTermios(int(d.Out.Fd()), unix.TCGETS)
	return &show{d: d, tty: err == nil, done: make(chan struct{}), lines: newLineLog()}
}

// start begins to look, until stop.
func (s *show) start(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		<-s.done
		cancel()
	}()
	s.wg.Go(func() { s.poll(ctx) })
	s.wg.Go(func() { s.draw(ctx) })
}

// stop shows the last picture and ends.
func (s *show) stop() {
	close(s.done)
	s.wg.Wait()
	if s.tty {
		fmt.Fprint(s.d.Out, "\x1b[?25h") // the cursor again
	}
}

// say puts a sentence into the story.
func (s *show) say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.says = append(s.says, fmt.Sprintf("%6.1f s  %s", time.Since(s.d.begin).Seconds(), text))
	s.waiting = ""
	if !s.tty {
		s.lines.print(s.d, "* "+text)
	}
}

// missing says what the world still lacks.
func (s *show) missing(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = what
}

func (s *show) lost(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lossAt = at
}

// status is the newest status of any node; nil before the first.
func (s *show) status() *harness.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// duplicates is how many messages have been processed twice, by the ledger.
func (s *show) duplicates() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dup
}

// poll keeps the daemon's status fresh, apart from the drawing: a node that hangs must not stop the picture.
func (s *show) poll(ctx context.Context) {
	told := 0
	for sleep(ctx, 150*time.Millisecond) == nil {
		for _, said := range s.d.c.Ended()[told:] {
			s.say(said + " – it is started again, as its service manager would")
			told++
		}
		if st, err := s.d.c.AnyStatus(ctx); err == nil {
			s.mu.Lock()
			s.last = st
			s.mu.Unlock()
		}
	}
}

func (s *show) draw(ctx context.Context) {
	var past []ledger.Summary
	if s.tty {
		fmt.Fprint(s.d.Out, "\x1b[?25l\x1b[2J")
	}
	for sleep(ctx, 250*time.Millisecond) == nil {
		f := frame{now: time.Now(), begin: s.d.begin, death: s.d.Death, home: s.d.Scenario == "home", factor: s.d.Factor, rate: map[string]float64{}}
		if s.d.c.W.Control("ledger").Call(ctx, "GET", "/summary", nil, &f.ledger) != nil {
			continue
		}
		past = append(past, f.ledger)
		for len(past) > 1 && f.ledger.At.Sub(past[0].At) > 3*time.Second {
			past = past[1:]
		}
		if dt := f.ledger.At.Sub(past[0].At).Seconds(); dt > 0.5 {
			for r, now := range f.ledger.Regions {
				f.rate[r] = float64(now.Processed-past[0].Regions[r].Processed) / dt
			}
		}
		f.share = s.traffic(ctx)
		s.mu.Lock()
		f.status, f.lossAt, f.waiting, s.dup = s.last, s.lossAt, s.waiting, f.ledger.Duplicates
		f.says = append(f.says, s.says[max(0, len(s.says)-4):]...)
		if s.tty {
			fmt.Fprint(s.d.Out, "\x1b[H"+strings.ReplaceAll(render(f), "\n", "\x1b[K\n")+"\x1b[J")
		} else {
			s.lines.update(s.d, f)
		}
		s.mu.Unlock()
	}
}

// traffic is how the answers for the service's name were shared between the regions in the last seconds.
func (s *show) traffic(ctx context.Context) map[string]float64 {
	counts, err := s.d.c.W.DNSAnswers(ctx)
	if err != nil {
		return nil
	}
	since, total, by := time.Now().Add(-3*time.Second).Unix(), 0, map[string]float64{}
	for i := len(counts) - 1; i >= 0 && counts[i].Second >= since; i-- {
		if c := counts[i]; c.Name == "api.example.net." && c.Region != "" {
			total += c.N
			by[c.Region] += float64(c.N)
		}
	}
	if total == 0 {
		return nil
	}
	for r := range by {
		by[r] /= float64(total)
	}
	return by
}

// lineLog writes a line whenever something has changed, for logs and pipes.
type lineLog struct {
	seen map[string]string
	beat time.Time
}

func newLineLog() lineLog { return lineLog{seen: map[string]string{}} }

func (l *lineLog) print(d *demo, text string) {
	fmt.Fprintf(d.Out, "%6.1f s  %s\n", time.Since(d.begin).Seconds(), text)
}

// change prints a line if what it says is new under its key.
func (l *lineLog) change(d *demo, key, value string) {
	if old, known := l.seen[key]; known && old == value || !known && value == "" {
		return
	}
	l.seen[key] = value
	if value != "" {
		l.print(d, "  "+value)
	}
}

func (l *lineLog) update(d *demo, f frame) {
	if s := f.status; s != nil {
		l.change(d, "leader", "leader "+orDash(s.Raft.Leader)+fmt.Sprintf(", epoch %d, active %s", s.Epoch, orDash(s.Active)))
		if s.LeaderError == "" {
			l.change(d, "condition", "condition: "+or(s.Condition, "healthy"))
			for _, v := range s.Views {
				l.change(d, "view "+v.Vantage, fmt.Sprintf("%s sees %s: %s", v.Vantage, s.Active, v.Health))
			}
		}
		if s.Hold > 0 && s.Current() == nil {
			quarter := int(4 * s.HoldElapsed.D() / s.Hold.D())
			text := ""
			if s.HoldElapsed > 0 {
				text = fmt.Sprintf("hold %d %% of %s", 25*min(quarter, 4), s.Hold.D())
			}
			l.change(d, "hold", text)
		}
		if s.Freeze != nil {
			kind := "frozen"
			if s.Freeze.Provisional {
				kind = "frozen provisionally, while the hold runs"
			}
			l.change(d, "freeze", fmt.Sprintf("lease of %s %s; it runs out in %s", s.Active, kind, s.FreezeWait.D().Round(100*time.Millisecond)))
		}
		l.execution(d, s.Current())
	}
	if f.share != nil {
		l.change(d, "dns", fmt.Sprintf("DNS answers: us-east-1 %d %%, us-east-2 %d %%", tens(f.share[world.Primary]), tens(f.share[world.Secondary])))
	}
	l.change(d, "alive", fmt.Sprintf("workers alive: us-east-1 %d, us-east-2 %d", f.ledger.Alive[world.Primary], f.ledger.Alive[world.Secondary]))
	l.change(d, "dup", fmt.Sprintf("duplicates: %d", f.ledger.Duplicates))
	if f.now.Sub(l.beat) > 5*time.Second {
		l.beat = f.now
		l.print(d, fmt.Sprintf("  messages: %d accepted, %d processed; per second: us-east-1 %.1f, us-east-2 %.1f%s", f.ledger.Acked, f.ledger.Processed,
			f.rate[world.Primary], f.rate[world.Secondary], waitingFor(f)))
	}
}

func waitingFor(f frame) string {
	if f.waiting == "" {
		return ""
	}
	return "; waiting for: " + f.waiting
}

func tens(share float64) int { return int(share*10+0.5) * 10 }

func (l *lineLog) execution(d *demo, e *harness.Execution) {
	if e == nil {
		return
	}
	id := fmt.Sprint(e.ID) // each has steps of the same names
	l.change(d, "execution "+id, "execution: "+e.State+" "+e.Outcome)
	for _, ev := range e.Evidence {
		l.change(d, "evidence "+id+ev.Component+ev.Class+ev.Void+ev.Detail, fmt.Sprintf("evidence that %s has stopped: %s, %s", ev.Component, ev.Class, ev.Detail))
	}
	for _, st := range e.Plan.Steps {
		if state := e.StepState(st.ID); state != "pending" {
			l.change(d, "step "+id+st.ID, fmt.Sprintf("step %-28s %s %s", st.ID, state, took(e.Steps[st.ID], time.Time{})))
		}
	}
}
