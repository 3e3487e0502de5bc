package awsfake

import (
	"context"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
)

// ECSOptions sets up the ECS of one region. StartDelay and Lag are already divided by the time factor; task definitions
// keep AWS's units and are divided when used.
type ECSOptions struct {
	Region     string
	Dir        string        // world directory; tasks get Dir/tasks/<id>, their output goes to Dir/log
	IPs        []string      // addresses for tasks; no free one means a task is not placed
	StartDelay time.Duration // from the decision to start a task until its process starts
	Lag        time.Duration // how far runningCount and pendingCount are behind
	TimeFactor float64
	Subnets    []string // of every service; nil: services say nothing of their network
	// Faults of the service "tasks", with a service's name as their target, make the health checks of its tasks fail (error); nil: none.
	Faults *faults.Set
	OnTask func(service, task string, s TaskState) // called on every change of state, without locks
	Log    *slog.Logger
}

func (o ECSOptions) scale(d time.Duration) time.Duration {
	return time.Duration(float64(d) / o.TimeFactor)
}

// TaskDef is a task definition with one essential container. In Command and Env, {task}, {region}, {dir} (of the task),
// {world} (directory) and {ip} are filled in when a task starts.
type TaskDef struct {
	Family      string            `json:"family"`
	Revision    int               `json:"revision"`
	Command     []string          `json:"command"`
	Env         map[string]string `json:"env,omitempty"`
	StopTimeout time.Duration     `json:"stopTimeout,omitempty"` // 0 means 30 s
	Image       string            `json:"image,omitempty"`       // only told: nothing is pulled
	Secrets     map[string]string `json:"secrets,omitempty"`     // only told: name to valueFrom
	// HealthAfter is when after its start a task's health check is known, undivided; 0 means that it has none.
	HealthAfter time.Duration `json:"healthAfter,omitempty"`
	// IPs are the addresses of the subnet where its tasks run, in place of the region's; Within wraps their command.
	IPs    []string                      `json:"-"`
	Within func(argv ...string) []string `json:"-"`
}

func (d *TaskDef) arn(region string) string {
	return fmt.Sprintf("arn:aws:ecs:%s:%s:task-definition/%s:%d", region, AccountID, d.Family, d.Revision)
}

type service struct {
	name, cluster string
	def           *TaskDef
	desired       int
	created       time.Time
	notBefore     time.Time // no task is started before, after one died young
	events        []map[string]any
	history       []counts
	inactive      bool
	scale         *Scale
	steady        bool
}

// Scale is a service's scalable target (Application Auto Scaling): as long as it is not suspended it sees to it that the
// desired count is at least Min, whoever set it.
// https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-suspend-resume-scaling.html
type Scale struct {
	Min       int  `json:"min"`
	Max       int  `json:"max"`
	In        bool `json:"in"` // suspended
	Out       bool `json:"out"`
	Scheduled bool `json:"scheduled"`
}

// SetScale gives a service an autoscaler.
func (e *ECS) SetScale(cluster, name string, s Scale) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.services[cluster+"/"+name].scale = &s
}

type counts struct {
	at               time.Time
	running, pending int
}

// ECS imitates the service scheduler of one region: services converge on their desired count with delays, dead tasks are
// replaced, and what DescribeServices says lags behind. Each task is a real process. It is safe for concurrent use.
type ECS struct {
	opt ECSOptions
	ctx context.Context //nolint:containedctx // the life of all tasks
	wg  sync.WaitGroup

	mu       sync.Mutex
	clusters map[string]bool
	defs     map[string][]*TaskDef // by family; index = revision-1
	services map[string]*service   // by cluster/name
	tasks    map[string]*task
	ips      map[string]bool // in use
}

// NewECS makes the ECS of one region. Run drives it.
func NewECS(ctx context.Context, opt ECSOptions) *ECS {
	if opt.TimeFactor == 0 {
		opt.TimeFactor = 1
	}
	return &ECS{opt: opt, ctx: ctx, clusters: map[string]bool{}, defs: map[string][]*TaskDef{}, services: map[string]*service{},
		tasks: map[string]*task{}, ips: map[string]bool{}}
}

// Run schedules until the context of NewECS ends, and then waits until no task's process is left.
func (e *ECS) Run() {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-e.ctx.Done():
			e.wg.Wait()
			return
		case <-tick.C:
			e.schedule()
		}
	}
}

// schedule starts and stops tasks until each service has its desired count.
func (e *ECS) schedule() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sample()
	for _, s := range e.services {
		var active []*task
		for _, t := range e.tasks {
			if t.service == s && !t.stopAsked && t.state != Stopped {
				active = append(active, t)
			}
		}
		if s.scale != nil && !s.scale.Out && s.desired < s.scale.Min {
			s.desired = s.scale.Min
			s.event("Message: Successfully set desired count. Change successfully fulfilled by ecs.")
		}
		sort.Slice(active, func(i, j int) bool { return active[i].created.Before(active[j].created) })
		for len(active) > s.desired {
			active[len(active)-1].askStop("ServiceSchedulerInitiated", "Scaling activity initiated by (deployment ecs-svc/1)")
			active = active[:len(active)-1]
		}
		e.watch(s, active)
		for n := len(active); n < s.desired && time.Now().After(s.notBefore); n++ {
			ip := e.freeIP(s.def)
			if ip == "" {
				s.event("was unable to place a task because no container instance met all of its requirements.")
				break
			}
			t := &task{id: id(6), ip: ip, service: s, def: s.def, state: Provisioning, created: time.Now(), stop: make(chan struct{})}
			e.tasks[t.id] = t
			e.ips[ip] = true
			s.event("has started 1 tasks: (task " + t.id + ").")
			e.wg.Add(1)
			go e.run(t)
		}
	}
	for tid, t := range e.tasks { // stopped tasks can be described for at least an hour on AWS; shorter here
		if t.state == Stopped && time.Since(t.stopped) > 10*time.Minute {
			delete(e.tasks, tid)
		}
	}
}

func (e *ECS) freeIP(d *TaskDef) string {
	ips := e.opt.IPs
	if len(d.IPs) > 0 {
		ips = d.IPs
	}
	for _, ip := range ips {
		if !e.ips[ip] {
			return ip
		}
	}
	return ""
}

func (s *service) event(msg string) {
	ev := map[string]any{"id": id(16), "createdAt": epochSeconds(time.Now()), "message": "(service " + s.name + ") " + msg}
	if len(s.events) > 0 && s.events[0]["message"] == ev["message"] {
		return
	}
	s.events = append([]map[string]any{ev}, s.events...)
	if len(s.events) > 100 { // "up to 100 of the latest events"
		s.events = s.events[:100]
	}
}

// sample notes the present counts of every service. e.mu is held.
func (e *ECS) sample() {
	now := time.Now()
	for _, s := range e.services {
		c := counts{at: now}
		for _, t := range e.tasks {
			if t.service != s {
				continue
			}
			switch t.state {
			case Running, Stopping:
				c.running++
			case Provisioning, Pending:
				c.pending++
			}
		}
		if n := len(s.history); n == 0 || s.history[n-1].running != c.running || s.history[n-1].pending != c.pending {
			s.history = append(s.history, c)
		}
		for len(s.history) > 1 && !s.history[1].at.After(now.Add(-e.opt.Lag)) {
			s.history = s.history[1:]
		}
	}
}

// Target is a running task of a service, for the load balancer.
type Target struct{ Task, IP string }

// Targets lists the tasks of a service that are registered with its target group: those that run and are not stopping.
func (e *ECS) Targets(cluster, name string) (out []Target) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.tasks {
		if t.service.name == name && t.service.cluster == cluster && t.state == Running && !t.stopAsked {
			out = append(out, Target{t.id, t.ip})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].IP < out[j].IP })
	return out
}

// TaskInfo is the world's own view of a task, without lag.
type TaskInfo struct {
	Task    string    `json:"task"`
	Service string    `json:"service"`
	State   TaskState `json:"state"`
	IP      string    `json:"ip"`
	Pid     int       `json:"pid"`
	Reason  string    `json:"reason,omitempty"`
}

// Tasks lists all tasks, stopped ones included.
func (e *ECS) Tasks() []TaskInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := []TaskInfo{}
	for _, t := range e.tasks {
		out = append(out, TaskInfo{t.id, t.service.name, t.state, t.ip, t.pid, t.reason})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Service+out[i].IP < out[j].Service+out[j].IP })
	return out
}

// Register adds a revision of a task definition.
func (e *ECS) Register(d TaskDef) *TaskDef {
	e.mu.Lock()
	defer e.mu.Unlock()
	d.Revision = len(e.defs[d.Family]) + 1
	if d.StopTimeout == 0 {
		d.StopTimeout = 30 * time.Second
	}
	e.defs[d.Family] = append(e.defs[d.Family], &d)
	return &d
}

// Create makes a cluster (if need be) and a service in it.
func (e *ECS) Create(cluster, name string, d *TaskDef, desired int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clusters[cluster] = true
	e.services[cluster+"/"+name] = &service{name: name, cluster: cluster, def: d, desired: desired, created: time.Now()}
}

// findDef resolves family, family:revision or an ARN. e.mu is held.
func (e *ECS) findDef(ref string) *TaskDef {
	ref = short(ref)
	family, rev, pinned := strings.Cut(ref, ":")
	list := e.defs[family]
	if !pinned && len(list) > 0 {
		return list[len(list)-1]
	}
	for _, d := range list {
		if fmt.Sprint(d.Revision) == rev {
			return d
		}
	}
	return nil
}

// short takes the last part of an ARN or path.
func short(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }
