package fence

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/failoverd/failoverd/failover"
)

// An agent is replaced without its worker noticing: the process executes the newer
// program, or the same one with another file, in its own place. Its PID, its children
// and CLOCK_BOOTTIME stay; the guard goes on with the deadline that it knows, and
// kills by itself if the new program never speaks to it. What cannot be seen from
// outside – the lease, the pipes of the guard – is handed over here.

// Handover is what an agent leaves to the program that takes its place.
type Handover struct {
	Agent failover.AgentID `json:"agent"` // the same one goes on: the log knows its leases by this name
	Lease heldLease        `json:"lease"`
	// Stopped, Would, Rehearsing and Rehearsed are what the next requests report.
	Stopped    uint64                    `json:"stopped,omitempty"`
	Would      uint64                    `json:"would,omitempty"`
	Rehearsing uint64                    `json:"rehearsing,omitempty"`
	Rehearsed  *failover.RehearsalResult `json:"rehearsed,omitempty"`
	// BootAt and RealAt are the last look at both clocks (rule G6).
	BootAt time.Duration `json:"boot_at"`
	RealAt time.Time     `json:"real_at"`
	// Ahead is by how much real time has run ahead under the lease.
	Ahead  time.Duration `json:"ahead,omitempty"`
	Worker HandedWorker  `json:"worker"`
}

// heldLease is a Holder without its requests: an answer to one that the old program
// sent finds nobody (rule G7).
type heldLease struct {
	Held      bool                `json:"held"`
	Index     uint64              `json:"index"`
	Sent      time.Duration       `json:"sent"`
	Terms     failover.LeaseTerms `json:"terms"`
	Arming    failover.Arming     `json:"arming"`
	Isolation string              `json:"isolation"`
	Epoch     uint64              `json:"epoch"`
	Freeze    uint64              `json:"freeze"`
	Gone      bool                `json:"gone"`
	Sentence  string              `json:"sentence"`
}

// HandedWorker is a worker that goes on.
type HandedWorker struct {
	// Of a Child that runs: its guard, the two ends of its pipes, the worker's process
	// group and the last deadline that the guard was told. Guard is 0 when none runs.
	Guard   int    `json:"guard,omitempty"`
	ToGuard int    `json:"to_guard,omitempty"`
	OfGuard int    `json:"of_guard,omitempty"`
	Group   int    `json:"group,omitempty"`
	Told    string `json:"told,omitempty"`
	// Of a Served: whether it gives leave, and until when somebody may live.
	On   bool          `json:"on,omitempty"`
	Busy time.Duration `json:"busy,omitempty"`
	Kill time.Duration `json:"kill,omitempty"`
}

// Replaceable is a Worker that can be handed over.
type Replaceable interface {
	Worker
	handOver() HandedWorker
	adopt(HandedWorker) error
}

// ErrReplaced ends Agent.Run when the agent is to be replaced. Its worker goes on.
type ErrReplaced struct{ Handover Handover }

func (*ErrReplaced) Error() string { return "the agent is to be replaced" }

// handoverVariable carries the hand-over to the new program.
const handoverVariable = "FAILOVERD_HANDOVER"

// TakeHandover returns what an earlier program has left to this one, and nil for a
// process that begins anew.
func TakeHandover() (*Handover, error) {
	text, ok := os.LookupEnv(handoverVariable)
	if !ok {
		return nil, nil
	}
	_ = os.Unsetenv(handoverVariable) // workers must not inherit it; it cannot fail for this name
	h := &Handover{}
	if err := json.Unmarshal([]byte(text), h); err != nil {
		return nil, fmt.Errorf("what the earlier program of this agent has left in %s cannot be read: %w; the agent ends, and its guard stops the worker: start it anew", handoverVariable, err)
	}
	if w := h.Worker; w.Guard != 0 {
		// From here on no child inherits them: a guard sees its agent's death by the end of
		// its standard input.
		syscall.CloseOnExec(w.ToGuard)
		syscall.CloseOnExec(w.OfGuard)
	}
	return h, nil
}

// Replace executes a program in this process's place, with argv and this process's
// environment. It returns only when it has failed; everything goes on then.
func Replace(program string, argv []string, h Handover) error {
	data, err := json.Marshal(h)
	if err != nil {
		return err
	}
	env := append(os.Environ(), handoverVariable+"="+string(data))
	fds := []int{}
	if h.Worker.Guard != 0 {
		fds = append(fds, h.Worker.ToGuard, h.Worker.OfGuard)
	}
	// No child may be made while the pipes can be inherited.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil { //nolint:gosec // a descriptor
			return fmt.Errorf("the guard's pipe cannot be kept: %w", err)
		}
	}
	err = syscall.Exec(program, argv, env) //nolint:gosec // this program's own path and arguments
	for _, fd := range fds {
		syscall.CloseOnExec(fd)
	}
	return fmt.Errorf("executing %s: %w", program, err)
}

// handOver is what the agent would leave now, or why it cannot be replaced now.
func (a *Agent) handOver() (Handover, error) {
	worker, ok := a.cfg.Worker.(Replaceable)
	if !ok {
		return Handover{}, errors.New("its worker cannot be handed over")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.holder
	switch {
	case a.stopping, a.overdue:
		return Handover{}, errors.New("its workers are being stopped")
	case a.rehearsing != 0 && (a.rehearsed == nil || a.rehearsed.ID != a.rehearsing):
		return Handover{}, errors.New("it rehearses its fence")
	}
	return Handover{
		Agent: a.cfg.Agent, Stopped: a.stoppedFor, Would: a.would, Rehearsing: a.rehearsing, Rehearsed: a.rehearsed, BootAt: a.bootAt, RealAt: a.realAt, Ahead: a.underLease(),
		Lease: heldLease{
			Held: h.held, Index: h.index, Sent: h.sent, Terms: h.terms, Arming: h.arming, Isolation: h.isolation,
			Epoch: h.epoch, Freeze: h.freeze, Gone: h.gone, Sentence: h.sentence,
		},
		Worker: worker.handOver(),
	}, nil
}

// takeOver makes a new agent go on as the earlier one.
func (a *Agent) takeOver(h *Handover) error {
	worker, ok := a.cfg.Worker.(Replaceable)
	if !ok {
		return errors.New("what the earlier agent ran cannot be taken over")
	}
	if err := worker.adopt(h.Worker); err != nil {
		return fmt.Errorf("taking over the worker: %w", err)
	}
	l := h.Lease
	a.holder.held, a.holder.index, a.holder.sent, a.holder.terms = l.Held, l.Index, l.Sent, l.Terms
	a.holder.arming, a.holder.isolation, a.holder.epoch = l.Arming, l.Isolation, max(a.holder.epoch, l.Epoch)
	a.holder.freeze, a.holder.gone, a.holder.sentence = l.Freeze, l.Gone, l.Sentence
	a.stoppedFor, a.would, a.rehearsing, a.rehearsed = h.Stopped, h.Would, h.Rehearsing, h.Rehearsed
	a.bootAt, a.realAt, a.ahead, a.aheadAt = h.BootAt, h.RealAt, h.Ahead, []mark{{sent: l.Sent}}
	a.cfg.Log.Info("took over from the earlier program of this process", "epoch", l.Epoch, "lease", l.Held)
	return nil
}

func (c *Child) handOver() HandedWorker {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proc == nil {
		return HandedWorker{Group: c.pgid}
	}
	return HandedWorker{Guard: c.proc.Pid, ToGuard: descriptor(c.stdin), OfGuard: descriptor(c.stdout), Group: c.pgid, Told: c.told}
}

// descriptor is a file's. Fd would make it block for good, also if the agent is not
// replaced after all.
func descriptor(f *os.File) (fd int) {
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(n uintptr) { fd = int(n) }) //nolint:gosec // a descriptor; it fails for a closed file alone
	}
	return fd
}

func (c *Child) adopt(h HandedWorker) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pgid = h.Group
	if h.Guard == 0 {
		return nil
	}
	proc, err := os.FindProcess(h.Guard)
	if err != nil {
		return fmt.Errorf("its guard %d: %w", h.Guard, err)
	}
	for _, fd := range []int{h.ToGuard, h.OfGuard} { // an earlier version has left them blocking
		if err := syscall.SetNonblock(fd, true); err != nil {
			return fmt.Errorf("the pipe of its guard %d: %w", h.Guard, err)
		}
	}
	c.proc, c.told = proc, h.Told
	c.stdin, c.stdout = os.NewFile(uintptr(h.ToGuard), "guard"), os.NewFile(uintptr(h.OfGuard), "guard") //nolint:gosec // descriptors
	orphans.adopt(proc.Pid)
	go c.listen(proc, c.stdout, make(chan int, 1))
	return nil
}

// handOver ends the giving of leave until the next Extend: some of it given now would be
// forgotten, and the agent would report that all have stopped while somebody works.
func (s *Served) handOver() HandedWorker {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
	return HandedWorker{On: s.on, Busy: s.busy, Kill: s.kill}
}

func (s *Served) adopt(h HandedWorker) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on, s.busy, s.kill, s.bound = h.On, h.Busy, h.Kill, h.Kill != 0
	return nil
}
