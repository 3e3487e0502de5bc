package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/ledger"
	"github.com/failoverd/failoverd/lab/procs"
	"github.com/failoverd/failoverd/lab/world"
)

// S1: workers run as deploy/ has it for ECS, Kubernetes and systemd. Each dies with its agent, whatever becomes of that, and
// before its lease ends when nobody renews it; and it is not started again until there is a new lease.
func TestAgentsOfTheExamplesEndTheirWorkers(t *testing.T) {
	r := start(t, ecsExample(t), edit(harness.Edit{Old: `# stop.watchdog = "10s"`, New: `stop.watchdog = "10s"`, What: "the watchdog of agents of units"}))
	grace := r.pod("workers-7d4b9-x2x")
	sd := r.mail()
	const pod, mail, agentUnit = "workers-7d4b9-x2x", "mail", "failoverd-agent@mail.service"
	lease := r.slow * 75 * time.Second / factor

	all := r.working(30*time.Second, pod, mail)
	tasks := slices.DeleteFunc(all, func(w string) bool { return w == pod || w == mail })
	if len(tasks) != 3 {
		t.Fatalf("workers of ECS: %v", tasks)
	}

	r.enforced(pod, host, "workers") // ECS names no task: component and host

	sub := func(name string, f func(r *rig)) {
		t.Run(name, func(t *testing.T) { f(r.sub(t)) })
	}
	sub("ECS: the worker ends, and the task with it", func(r *rig) {
		r.signal(syscall.SIGKILL, r.pids("/app/worker", tasks[0])...)
		r.stopped(tasks[0], "Essential container in task exited")
	})
	sub("ECS: the agent is killed, and the task ends", func(r *rig) {
		at := time.Now()
		r.signal(syscall.SIGKILL, r.pids("/usr/local/bin/failoverd", tasks[1], "agent")...)
		r.dead(at, r.slow*time.Second, tasks[1])
		r.stopped(tasks[1], "Essential container in task exited")
	})
	sub("Kubernetes: the agent is killed, and the container ends", func(r *rig) {
		at := time.Now()
		r.signal(syscall.SIGKILL, r.pids("/opt/failoverd/failoverd", pod, "agent")...)
		r.dead(at, r.slow*time.Second, pod)
		r.working(20*time.Second, pod)
	})
	sub("Kubernetes: the pod is deleted, and the worker ends before the kubelet kills", func(r *rig) {
		at := time.Now()
		r.signal(syscall.SIGTERM, r.pids("/opt/failoverd/failoverd", pod, "agent")...)
		r.dead(at, grace, pod)
		r.working(20*time.Second, pod) // a container that had not ended would not be started again
	})
	sub("systemd: the agent is reloaded, and the worker goes on", func(r *rig) {
		log := filepath.Join(r.c.Dir, "log", agentUnit+".log")
		since := r.living()[mail]
		if a := sd.systemctl([]string{"reload", agentUnit}); a.Status != 0 {
			r.Fatal(a.Err)
		}
		r.do(r.poll(20*time.Second, func() (bool, string) {
			b, err := os.ReadFile(log)
			return err == nil && strings.Contains(string(b), "took over from the earlier program"), "another program in the agent's place"
		}))
		if now := r.living()[mail]; !now.Equal(since) || sd.begun(agentUnit) != 1 {
			r.Errorf("the worker of %s lives since %s, and its agent was started %d times", since, now, sd.begun(agentUnit))
		}
	})
	sub("systemd: the agent and its guard are killed, and the unit is stopped", func(r *rig) {
		at := time.Now()
		r.signal(syscall.SIGSTOP, r.pids("/app/worker", mail)...) // it hears no SIGTERM
		sd.signal(sd.units[agentUnit], syscall.SIGKILL)
		r.dead(at, sd.duration(sd.units["mail.service"], "Service.TimeoutStopSec", "")+r.slow*time.Second, mail)
		r.working(20*time.Second, mail)
	})
	sub("systemd: the agent is killed, and its guard ends the unit", func(r *rig) {
		at := time.Now()
		r.signal(syscall.SIGKILL, r.pids("/usr/local/bin/failoverd", "mail.service", "agent")...)
		r.dead(at, r.slow*time.Second, mail)
		r.working(20*time.Second, mail)
	})
	sub("systemd: the agent and its guard stand still, and the watchdog ends them", func(r *rig) {
		at := time.Now()
		r.signal(syscall.SIGSTOP, append(r.pids("/usr/local/bin/failoverd", "mail.service"), r.pids("/app/worker", mail)...)...)
		r.dead(at, lease, mail)
		r.working(20*time.Second, mail)
	})

	sub("systemd: the agent cannot start for a while, and is started all the same when it can", func(r *rig) {
		key := r.c.Dir + "/tls/agent-us-east-1.key"
		r.do(os.Rename(key, key+".away"))
		before, at := sd.begun(agentUnit), time.Now()
		sd.signal(sd.units[agentUnit], syscall.SIGKILL)
		r.dead(at, lease, mail)
		r.do(r.poll(20*time.Second, func() (bool, string) { return sd.begun(agentUnit) > before+6, "failed starts" }))
		if again := r.living()[mail]; !again.IsZero() {
			r.Errorf("S1: the worker runs since %s without an agent", again)
		}
		r.do(os.Rename(key+".away", key))
		r.working(20*time.Second, mail)
	})

	// Nobody can grant a lease any more: us-east-1 hears nobody, and nobody else is a majority.
	all = r.working(30*time.Second, pod, mail)
	if len(all) != 5 {
		t.Fatalf("these work: %v", all)
	}
	task := all[slices.IndexFunc(all, func(w string) bool { return w != pod && w != mail })]
	still := r.pids("/usr/local/bin/failoverd", task, "agent")
	r.do(r.w.Cut(r.ctx, world.Third))
	r.signal(syscall.SIGSTOP, still...)           // its guard has to know when
	for _, w := range []string{pod, mail, task} { // they hear no SIGTERM
		r.signal(syscall.SIGSTOP, r.pids("/app/worker", w)...)
	}
	at := r.lose()
	r.dead(at, lease-r.slow*10*time.Second/factor, all...) // lease.stop.watchdog is for agents that stand still
	if first := r.byes(at)[0]; first.At.Before(at.Add(lease / 2)) {
		t.Errorf("%s ended %s after the cut, half of its lease before its end", first.Task, first.At.Sub(at))
	}
	r.sleep(3 * time.Second)
	if again := r.living(); len(again) > 0 || sd.state("mail.service") != "inactive" || sd.state(agentUnit) != "active" {
		t.Errorf("without a lease %v work, mail.service is %s and its agent %s", again, sd.state("mail.service"), sd.state(agentUnit))
	}
	r.signal(syscall.SIGCONT, still...)
	r.do(r.w.Heal(r.ctx, world.E1))
	r.do(r.w.Heal(r.ctx, world.Third))
	if all := r.working(40*time.Second, pod, mail); len(all) != 5 {
		t.Errorf("with a new lease these work: %v", all)
	}
	if rec := r.record(time.Second, "a record", func(world.Record) bool { return true }); rec.Duplicates != 0 || rec.DualActiveMs != 0 {
		t.Errorf("S1: duplicates %d, both active %d ms", rec.Duplicates, rec.DualActiveMs)
	}
}

// agentFile is what stands in /etc/failoverd/agent-NAME.
const agentFile = "FAILOVERD_REGION=us-east-1\nFAILOVERD_COMPONENT=workers\nFAILOVERD_CERT=/etc/failoverd/tls/agent-us-east-1.pem\nFAILOVERD_KEY=/etc/failoverd/tls/agent-us-east-1.key\nFAILOVERD_WORK=3s\n"

// mail is a machine of us-east-1 with the units of deploy/ for mail.service.
func (r *rig) mail() *manager {
	r.Helper()
	sd := r.systemd()
	r.do(os.WriteFile(r.c.Dir+"/agent-mail", []byte(agentFile), 0o600))
	sd.load("failoverd-agent@mail.service", string(example(r.T, "failoverd-agent@.service")))
	sd.load("mail.service", "[Service]\nExecStart="+strings.Join(r.worker("mail"), " ")+"\n", string(example(r.T, "worker-dropin.conf")))
	go sd.start(sd.units["failoverd-agent@mail.service"])
	return sd
}

// enforced waits until an agent of each name is bound by its lease: the end of that proves nothing of one that something could keep
// from killing.
func (r *rig) enforced(names ...string) {
	r.Helper()
	r.until(10*time.Second, "agents to be bound", func(s *harness.Status) bool {
		return !slices.ContainsFunc(names, func(name string) bool {
			for _, a := range s.Agents {
				if a.Enforced && strings.HasPrefix(a.ID, name+"/") {
					return false
				}
			}
			return true
		})
	})
}

// pids are the processes of a program whose arguments have some words.
func (r *rig) pids(program string, words ...string) []int {
	r.Helper()
	pids := procs.Running(func(argv []string) bool {
		return argv[0] == program && !slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(argv, w) })
	})
	if len(pids) == 0 {
		r.Fatalf("no process of %s %v", program, words)
	}
	return pids
}

func (r *rig) signal(s syscall.Signal, pids ...int) {
	r.Helper()
	for _, pid := range pids {
		r.do(syscall.Kill(pid, s))
	}
}

// workers are the events of a type in which workers of us-east-1 tell of themselves.
func (r *rig) workers(typ string) []ledger.Event {
	r.Helper()
	events, err := r.w.Events(r.ctx, typ)
	r.do(err)
	return slices.DeleteFunc(events, func(e ledger.Event) bool {
		return e.Region != world.Primary || typ != ledger.Processed && e.Role != "worker"
	})
}

// byes are the deaths of workers since a moment.
func (r *rig) byes(since time.Time) []ledger.Event {
	r.Helper()
	return slices.DeleteFunc(r.workers(ledger.Bye), func(e ledger.Event) bool { return e.At.Before(since) })
}

// living are the workers that live, and since when.
func (r *rig) living() map[string]time.Time {
	r.Helper()
	out, gone := map[string]time.Time{}, map[int]bool{}
	for _, e := range r.workers(ledger.Bye) {
		gone[e.Conn] = true
	}
	for _, e := range r.workers(ledger.Hello) {
		if !gone[e.Conn] {
			out[e.Task] = e.At
		}
	}
	return out
}

// working waits until some workers, and five in all, live and have processed something since, under the epoch that they have asked
// for on their agent's socket.
func (r *rig) working(limit time.Duration, want ...string) (all []string) {
	r.Helper()
	r.do(r.poll(limit, func() (bool, string) {
		all = nil
		living, done := r.living(), r.workers(ledger.Processed)
		for task, since := range living {
			if slices.ContainsFunc(done, func(e ledger.Event) bool { return e.Task == task && e.Start.After(since) && e.Epoch == 1 }) {
				all = append(all, task)
			}
		}
		slices.Sort(all)
		missing := slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(all, w) })
		return !missing && len(all) >= 5, strings.Join(want, ", ") + " and others to work; these do: " + strings.Join(all, ", ")
	}))
	return all
}

// dead waits until workers have died, and checks that each has within a time.
func (r *rig) dead(since time.Time, within time.Duration, workers ...string) {
	r.Helper()
	r.do(r.poll(30*time.Second, func() (bool, string) {
		living := r.living()
		for _, w := range workers {
			if at, ok := living[w]; ok && at.Before(since) {
				return false, w + " to die"
			}
		}
		return true, ""
	}))
	for _, e := range r.byes(since) {
		if slices.Contains(workers, e.Task) {
			took := e.At.Sub(since)
			if r.Logf("%s died after %s, within %s", e.Task, took.Round(time.Millisecond), within); took > within {
				r.Errorf("S1: %s died %s after its end began, not within %s", e.Task, took, within)
			}
		}
	}
}

// stopped waits until ECS has stopped a task, and started others in its place.
func (r *rig) stopped(task, why string) {
	r.Helper()
	r.do(r.poll(20*time.Second, func() (bool, string) {
		tasks, err := r.w.Tasks(r.ctx, world.E1)
		r.do(err)
		for _, t := range tasks {
			if t.Task == task {
				return t.State == "STOPPED" && t.Reason == why, "task " + task + " to be stopped; it is " + string(t.State) + ": " + t.Reason
			}
		}
		return false, "task " + task
	}))
	r.working(20 * time.Second)
}
