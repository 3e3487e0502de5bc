package actions

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// triedBlind waits until the stop was asked for although the region could not be read.
func (st *stage) triedBlind() *failover.State {
	return st.waitFor("a blind stop", time.Minute, func(s *failover.State) bool {
		return st.effect("stop-workers").times() >= 1 && s.Execution.Step("stop-workers").Blind()
	})
}

// E2, G8: the blind stop was lost, and the next attempt read the region before it stopped
// it: what it read is what was there before, stands in the log, and is put back.
func TestABlindStopIsPutBackFromTheLog(t *testing.T) {
	inStage(t, withCron, func(st *stage) {
		ef := st.effect("stop-workers")
		ef.blind, ef.refuses = true, 1
		st.elect(nil)
		st.triedBlind()
		st.set(func() { ef.blind, ef.never = false, true })
		s := st.waitFor("the stop", time.Minute, func(*failover.State) bool { return ef.times() >= 2 })
		if ef.value != "new" || !s.Execution.Step("stop-workers").Blind() {
			t.Fatalf("the test shows nothing: value %s, %+v", ef.value, s.Execution.Step("stop-workers"))
		}
		st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
		s = st.waitFor("the end", 30*time.Minute, func(s *failover.State) bool { return ended(s) || questioned(s) })
		if s.Execution != nil || s.History[0].State != failover.ExecUndone || ef.value != "old" || len(ef.undone) == 0 {
			t.Errorf("value %s, %d undos, %+v", ef.value, len(ef.undone), s.Execution)
		}
	})
}

// E3: the region can be read again and shows no trace of a stop, so that there is nothing
// to put back: not before its calls can land no more.
func TestABlindStopThatNeverLanded(t *testing.T) {
	inStage(t, withCron, func(st *stage) {
		ef := st.effect("stop-workers")
		ef.blind, ef.refuses = true, 1000
		st.elect(nil)
		s := st.triedBlind()
		st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
		st.set(func() { ef.blind = false })
		s = st.waitFor("the end", 30*time.Minute, func(s *failover.State) bool { return ended(s) || questioned(s) })
		if s.Execution != nil || s.History[0].State != failover.ExecUndone || len(ef.undone) != 0 {
			t.Fatalf("%d undos, %+v", len(ef.undone), s.Execution)
		}
		rec := s.History[0].Step("stop-workers")
		if rec.State != failover.StepUndone || !strings.Contains(rec.Detail, "there is nothing to put back") {
			t.Errorf("%+v", rec)
		}
		if last := rec.Last(); s.History[0].FinishedAt.Before(last.Until) {
			t.Errorf("ended at %s, and a call could land until %s", s.History[0].FinishedAt, last.Until)
		}
	})
}

// E3: the region shows no trace of a stop that has ended, and a call of it is still under
// way: what is seen counts only when none can land any more.
func TestABlindStopThatLandsLate(t *testing.T) {
	inStage(t, withCron, func(st *stage) {
		ef := st.effect("stop-workers")
		ef.blind, ef.refuses = true, 1000
		st.elect(nil)
		st.triedBlind()
		st.end()
		s := st.state()
		exec, last := s.Execution.ID, s.Execution.Step("stop-workers").Last()
		st.must(failover.StepFinished{Execution: exec, Step: "stop-workers", Token: last.Token, Outcome: failover.StepUnproven})
		st.must(failover.Abort{Execution: exec, Undo: true})
		st.set(func() { ef.blind = false })
		time.AfterFunc(time.Until(last.Until)-time.Second, func() { st.set(func() { ef.value = "new" }) })
		st.elect(nil)
		s = st.waitFor("the question", 10*time.Minute, func(s *failover.State) bool { return ended(s) || questioned(s) })
		if s.Execution == nil || s.Execution.Question.Step != "stop-workers" || ef.value != "new" {
			t.Fatalf("ended although the stop has landed: value %s, %+v", ef.value, s.History)
		}
		st.set(func() { ef.value = "old" })
		st.waitFor("the end", 2*time.Minute, ended)
	})
}

// L1: a blind stop that has landed is put back by a person, and the question is over when
// that is seen. Nobody has to say so.
func TestABlindStopThatAPersonPutsBack(t *testing.T) {
	inStage(t, withCron, func(st *stage) {
		ef := st.effect("stop-workers")
		ef.blind, ef.never, ef.doErr = true, true, errors.New("the reply was lost")
		st.elect(nil)
		s := st.triedBlind()
		st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
		s = st.waitFor("a question", 10*time.Minute, questioned)
		if q := s.Execution.Question; !strings.Contains(q.Text, "Put it back by hand") || !strings.Contains(q.Text, "the control plane does not answer") {
			t.Errorf("%+v", q)
		}
		looks := ef.inspects
		st.set(func() { ef.blind = false })
		for range 30 {
			time.Sleep(time.Minute)
			if s := st.state(); !questioned(s) {
				t.Fatalf("what was stopped is forgotten: %+v", s.History)
			}
		}
		if n := ef.inspects - looks; n < 30 || n > 70 {
			t.Errorf("looked at %d times in half an hour, while a person was asked", n)
		}
		st.set(func() { ef.value = "old" }) // by hand
		s = st.waitFor("the end", 2*time.Minute, ended)
		if len(ef.undone) != 0 || s.History[0].State != failover.ExecUndone {
			t.Errorf("%d undos, %s: %s", len(ef.undone), s.History[0].State, s.History[0].Outcome)
		}
	})
}

// An execution that a person ends without an undo is not held by what it did blind.
func TestABlindStopIsLeftWithoutUndo(t *testing.T) {
	inStage(t, withCron, func(st *stage) {
		ef := st.effect("stop-workers")
		ef.blind, ef.refuses = true, 1000
		st.elect(nil)
		s := st.triedBlind()
		st.must(failover.Abort{Execution: s.Execution.ID})
		s = st.waitFor("the end", 10*time.Minute, func(s *failover.State) bool { return ended(s) || questioned(s) })
		if s.Execution != nil || s.History[0].State != failover.ExecAborted {
			t.Errorf("%+v", s.Execution)
		}
	})
}

// What a kind calls untouched has nothing of a stop in it, also not a half of one; half
// a stop is Absent, too. A start is never tried blind.
func TestUntouched(t *testing.T) {
	for _, c := range []struct {
		what, previous string
		action         Action
		want           bool
	}{
		{"ecs: tasks are wanted", `{"desired":10}`, &ecsService{cfg: &ECSServiceConfig{}}, true},
		{"ecs: none", `{"desired":0}`, &ecsService{cfg: &ECSServiceConfig{}}, false},
		{"ecs: with an autoscaler", `{"desired":10,"scaling":{"min":2,"max":20}}`, &ecsService{cfg: &ECSServiceConfig{}}, true},
		{"ecs: whose autoscaler was laid to rest", `{"desired":10,"scaling":{"min":0,"max":20,"in":true,"out":true,"scheduled":true}}`, &ecsService{cfg: &ECSServiceConfig{}}, false},
		{"ecs: whose autoscaler could not be asked", `{"desired":10,"unasked":true}`, &ecsService{cfg: &ECSServiceConfig{}}, false},
		{"ecs: a start", `{"desired":10}`, &ecsService{cfg: &ECSServiceConfig{Count: 2}}, false},
		{"asg", `{"min":2,"max":9,"desired":3,"suspended":["Terminate"]}`, &asg{cfg: &ASGConfig{}}, true},
		{"asg: its launches are suspended", `{"min":2,"max":9,"desired":3,"suspended":["Launch"]}`, &asg{cfg: &ASGConfig{}}, false},
		{"asg: none", `{"min":0,"max":9,"desired":0}`, &asg{cfg: &ASGConfig{}}, false},
		{"asg: a start", `{"min":2,"max":9,"desired":3}`, &asg{cfg: &ASGConfig{Count: 2}}, false},
		{"ec2", `{"i-1":"running","i-2":"terminated"}`, &ec2Instances{cfg: &EC2InstancesConfig{}}, true},
		{"ec2: one is stopped", `{"i-1":"running","i-2":"stopped"}`, &ec2Instances{cfg: &EC2InstancesConfig{}}, false},
		{"ec2: one stops", `{"i-1":"running","i-2":"stopping"}`, &ec2Instances{cfg: &EC2InstancesConfig{}}, false},
		{"ec2: none is left", `{"i-2":"terminated"}`, &ec2Instances{cfg: &EC2InstancesConfig{}}, false},
		{"ec2: a start", `{"i-1":"running"}`, &ec2Instances{cfg: &EC2InstancesConfig{Running: true}}, false},
		{"lambda", `{"a":true,"b":true}`, &eventSource{cfg: &LambdaEventSourceConfig{}}, true},
		{"lambda: one is off", `{"a":true,"b":false}`, &eventSource{cfg: &LambdaEventSourceConfig{}}, false},
		{"lambda: there is none", `{}`, &eventSource{cfg: &LambdaEventSourceConfig{}}, false},
		{"lambda: a start", `{"a":true}`, &eventSource{cfg: &LambdaEventSourceConfig{Enabled: true}}, false},
		{"schedule", `{"a":true}`, &schedule{cfg: &ScheduleConfig{}}, true},
		{"schedule: one is off", `{"a":true,"b":false}`, &schedule{cfg: &ScheduleConfig{}}, false},
		{"schedule: a start", `{"a":true}`, &schedule{cfg: &ScheduleConfig{Enabled: true}}, false},
		{"kubernetes", `{"deployment a":{"replicas":3},"cronjob b":{"suspend":false},"hpa a":{"min":2},"scaledobject a":{"paused":["",""]}}`, &kubernetes{cfg: &KubernetesConfig{}}, true},
		{"kubernetes: one is scaled to none", `{"deployment a":{"replicas":3},"deployment b":{"replicas":0}}`, &kubernetes{cfg: &KubernetesConfig{}}, false},
		{"kubernetes: a cron job is suspended", `{"cronjob b":{"suspend":true}}`, &kubernetes{cfg: &KubernetesConfig{}}, false},
		{"kubernetes: an autoscaler has the minimum that a stop sets", `{"deployment a":{"replicas":3},"hpa a":{"min":1}}`, &kubernetes{cfg: &KubernetesConfig{}}, false},
		{"kubernetes: KEDA is paused at none", `{"deployment a":{"replicas":3},"scaledobject a":{"paused":["0",""]}}`, &kubernetes{cfg: &KubernetesConfig{}}, false},
		{"kubernetes: there is none", `{}`, &kubernetes{cfg: &KubernetesConfig{}}, false},
		{"kubernetes: a start", `{"deployment a":{"replicas":3}}`, &kubernetes{cfg: &KubernetesConfig{Count: 2}}, false},
	} {
		if got := untouched(c.action, json.RawMessage(c.previous)); got != c.want {
			t.Errorf("%s, %s: untouched is %t", c.what, c.previous, got)
		}
		if untouched(c.action, nil) || untouched(c.action, json.RawMessage(`"nonsense"`)) {
			t.Errorf("%s: what could not be read is untouched", c.what)
		}
	}
	if untouched(&execAction{cfg: &ExecConfig{}}, execPrevious) {
		t.Error("exec, which cannot tell half a stop from none, calls it untouched")
	}
}

// The question about a blind stop has the commands with which the region's own start is
// made by hand.
func TestTheWayBackFromABlindStop(t *testing.T) {
	raw := func(v any) json.RawMessage {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	here, there := raw(ECSServiceConfig{Cluster: "c1", Service: "workers", Count: 14}), raw(ECSServiceConfig{Cluster: "c2", Service: "workers", Count: 7})
	s := stageSettings()
	s.Components[1].Start = &failover.ActionSpec{Kind: "ecs_service", Version: 1, Params: map[failover.Region]json.RawMessage{"east1": here, "east2": there}}
	e := &failover.Execution{From: "east1", To: "east2"}
	commands, see := wayBack(&s, e, failover.Step{ID: "stop-workers", Kind: failover.KindStop, Component: "workers", Region: "east1"})
	if all := strings.Join(commands, "\n"); !strings.Contains(all, "aws ecs update-service --region east1 --cluster c1 --service workers --desired-count 14") || strings.Contains(all, "c2") || !strings.Contains(see, "at least 14 run") {
		t.Errorf("%s\n%s", all, see)
	}
	// A fence beside it has an opening, which puts nothing back that the other stop has stopped.
	opens := raw((&NACLConfig{Subnets: map[failover.Region]map[string]string{"east1": {"subnet-a": "10.0.8.0/24"}}, ACL: map[failover.Region]string{"east1": "acl-deny"}, Open: map[failover.Region]string{"east1": "acl-open"}}).Opening("east1"))
	s.Components[1].Stop.Also = []failover.ActionSpec{{Kind: "nacl", Version: 1, Params: map[failover.Region]json.RawMessage{"east1": opens, "east2": opens}, Opens: map[failover.Region]json.RawMessage{"east1": opens}}}
	commands, see = wayBack(&s, e, failover.Step{ID: "stop-workers", Kind: failover.KindStop, Component: "workers", Region: "east1"})
	if all := strings.Join(commands, "\n"); !strings.Contains(all, "--desired-count 14") || strings.Contains(all, "acl") || !strings.Contains(see, "at least 14 run") {
		t.Errorf("beside a fence: %s\n%s", all, see)
	}
	// What a start does not take back has commands of its own.
	fence := raw(NACLConfig{Subnets: map[failover.Region]map[string]string{"east1": {"subnet-a": "10.0.8.0/24", "subnet-b": "10.0.9.0/24"}}, ACL: map[failover.Region]string{"east1": "acl-deny"}})
	commands, see = wayBack(&s, e, failover.Step{ID: "stop-workers-nacl", Kind: failover.KindStop, Component: "workers", Region: "east1", Action: "nacl", Version: 1, Params: fence})
	if all := strings.Join(commands, "\n"); strings.Contains(all, "aws ecs") || strings.Contains(all, "--network-acl-id acl-deny") || strings.Count(all, "aws ec2 replace-network-acl-association --region east1 --association-id ASSOCIATION --network-acl-id PREVIOUS ") != 2 || !strings.Contains(all, "Values=subnet-b ") || see != "none of the subnets has acl-deny" {
		t.Errorf("%s\n%s", all, see)
	}
	if commands, _ := wayBack(&s, e, failover.Step{ID: "stop-other", Kind: failover.KindStop, Component: "other", Region: "east1"}); len(commands) > 0 {
		t.Errorf("commands for what nobody says how to start: %q", commands)
	}
}

// Workers that are there already need their lease and no control plane: one that cannot be read delays them by nothing, and the start comes true when it can be.
func TestAStartThatCannotBeReadDelaysNoLease(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		start := st.effect("start-workers")
		start.blind = true
		st.elect(nil)
		st.waitFor("the epoch", 10*time.Minute, func(s *failover.State) bool { return s.Epoch == 2 })
		time.Sleep(20 * time.Second)
		res := st.do(failover.Round{Requests: []failover.LeaseRequest{{Agent: "w9", Region: "east2", Component: "workers", Lease: failover.Duration(75 * time.Second), Enforced: true}}})
		if g := res.Value.([]failover.Grant)[0]; !g.Granted {
			t.Errorf("%+v", g)
		}
		if len(start.asked) != 0 {
			t.Errorf("something was changed blind: %v", start.asked)
		}
		st.mu.Lock()
		start.blind = false
		st.mu.Unlock()
		s := st.waitFor("the end", 10*time.Minute, ended)
		rec := s.History[0].Step("start-workers")
		if first := rec.First(); s.History[0].State != failover.ExecStable || first == nil || len(start.asked) != 1 {
			t.Errorf("%s: %+v", s.History[0].State, rec)
		}
	})
}
