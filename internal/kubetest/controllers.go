package kubetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// run is a pod as its machine has it.
type run struct {
	born    time.Time // when the machine saw it first
	deleted time.Time // zero: it is wanted
	up      bool      // its containers run
	ready   bool      // its readiness probe has passed once
}

// advance lets everything happen that was due: it is called at each look, so that
// nothing runs between them.
func (s *Server) advance(now time.Time) {
	s.heartbeats()
	s.control(now)
	if len(s.opt.Machines) > 0 {
		s.schedule(now)
		s.kubelets(now)
	}
	s.count(now)
}

func (s *Server) mood(machine string) Mood {
	if s.opt.Mood == nil {
		return Mood{}
	}
	return s.opt.Mood(machine)
}

// heartbeats writes what is heard of the machines; a lost one is Unknown (Nodes,
// "Node status").
func (s *Server) heartbeats() {
	for _, m := range s.opt.Machines {
		ready := "True"
		if s.mood(m.Name).Lost {
			ready = "Unknown"
		}
		at(s.objects[nodesPath+"/"+m.Name], "status")["conditions"] = []any{Object{"type": "Ready", "status": ready}}
	}
}

// workloads are the paths of what has replicas.
func (s *Server) workloads() (out []string) {
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		if strings.Contains(path, "/deployments/") || strings.Contains(path, "/statefulsets/") {
			out = append(out, path)
		}
	}
	return out
}

// podsOf are the paths of the pods that a workload's labels choose and that are not
// being deleted.
func (s *Server) podsOf(o Object) (out []string) {
	labels := mustJSON(at(o, "spec", "selector", "matchLabels"))
	prefix := "/api/v1/namespaces/" + text(o, "metadata", "namespace") + "/pods/"
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		pod := s.objects[path]
		if strings.HasPrefix(path, prefix) && text(pod, "metadata", "deletionTimestamp") == "" && mustJSON(at(pod, "metadata", "labels")) == labels {
			out = append(out, path)
		}
	}
	return out
}

// seen reports whether the controllers have seen the last change of an object.
func (s *Server) seen(path string, now time.Time) bool {
	return now.Sub(s.changed[path]) >= s.opt.Control
}

// control is the controllers' work: as many pods as replicas, and fewer by marking them
// as deleted. Those that no machine has are gone at once.
func (s *Server) control(now time.Time) {
	for _, path := range s.workloads() {
		if !s.seen(path, now) {
			continue
		}
		o := s.objects[path]
		mine, want := s.podsOf(o), number(o, 1, "spec", "replicas")
		// Those that are not ready go first (ReplicaSet, "Scaling a ReplicaSet").
		slices.SortStableFunc(mine, func(a, b string) int {
			return strings.Compare(condition(s.objects[a], "Ready"), condition(s.objects[b], "Ready"))
		})
		for ; len(mine) > want; mine = mine[1:] {
			s.remove(mine[0], s.objects[mine[0]], false)
		}
		for n := len(mine); n < want; n++ {
			s.serial++
			name := fmt.Sprintf("%s-%d", text(o, "metadata", "name"), s.serial)
			ns := text(o, "metadata", "namespace")
			s.objects["/api/v1/namespaces/"+ns+"/pods/"+name] = Object{"kind": "Pod", "apiVersion": "v1", "status": Object{"phase": "Pending"}, "spec": Object{},
				"metadata": Object{"name": name, "namespace": ns, "uid": name, "labels": copied(at(o, "spec", "selector", "matchLabels"))}}
		}
		at(o, "status")["observedGeneration"] = at(o, "metadata")["generation"]
	}
}

// count writes how many pods the controllers see.
func (s *Server) count(now time.Time) {
	for _, path := range s.workloads() {
		if !s.seen(path, now) {
			continue
		}
		o, ready := s.objects[path], 0
		mine := s.podsOf(o)
		for _, p := range mine {
			if condition(s.objects[p], "Ready") == "True" {
				ready++
			}
		}
		at(o, "status")["replicas"], at(o, "status")["readyReplicas"] = float64(len(mine)), float64(ready)
	}
}

// schedule gives pods that no machine has to the first machine with room.
func (s *Server) schedule(now time.Time) {
	used := map[string]int{}
	var waiting []string
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		if !strings.Contains(path, "/pods/") {
			continue
		}
		if node := text(s.objects[path], "spec", "nodeName"); node != "" {
			used[node]++
		} else {
			waiting = append(waiting, path)
		}
	}
	for _, path := range waiting {
		pod, found := s.objects[path], false
		for _, m := range s.opt.Machines {
			if mood := s.mood(m.Name); !mood.Full && !mood.Lost && used[m.Name] < m.Room {
				at(pod, "spec")["nodeName"] = m.Name
				used[m.Name]++
				s.runs[path] = &run{born: now}
				found = true
				break
			}
		}
		if !found {
			at(pod, "status")["conditions"] = []any{Object{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no machine has room for it"}}
		}
	}
}

// kubelets do what is due on each machine. Of one that is not heard from nothing is
// learned: its pods stay as they were written last, and are not ready.
func (s *Server) kubelets(now time.Time) {
	for _, path := range slices.Sorted(maps.Keys(s.runs)) {
		r, pod := s.runs[path], s.objects[path]
		mood := s.mood(text(pod, "spec", "nodeName"))
		switch up := r.born.Add(s.opt.Start); {
		case mood.Lost:
			if r.up {
				s.write(pod, "Running", false)
			}
		case !r.deleted.IsZero() && !mood.Stuck && !now.Before(r.deleted.Add(s.opt.End)):
			delete(s.objects, path)
			delete(s.runs, path)
		default:
			r.up = r.up || !now.Before(up)
			r.ready = r.ready || r.up && r.deleted.IsZero() && !mood.Stuck && !now.Before(up.Add(s.opt.Ready+mood.Late))
			phase := map[bool]string{false: "Pending", true: "Running"}[r.up]
			s.write(pod, phase, r.ready && r.deleted.IsZero())
		}
	}
}

func (s *Server) write(pod Object, phase string, ready bool) {
	pod["status"] = Object{"phase": phase, "conditions": []any{
		Object{"type": "PodScheduled", "status": "True"},
		Object{"type": "Ready", "status": map[bool]string{false: "False", true: "True"}[ready]},
	}}
}

// end marks a pod as deleted, once.
func (s *Server) end(path string, pod Object, now time.Time) {
	if text(pod, "metadata", "deletionTimestamp") != "" {
		return
	}
	at(pod, "metadata")["deletionTimestamp"] = now.UTC().Format(time.RFC3339)
	if r := s.runs[path]; r != nil {
		r.deleted = now
	}
}

// at is the object at a path, made if there is none.
func at(o Object, path ...string) Object {
	for _, p := range path {
		next, ok := o[p].(Object)
		if !ok {
			next = Object{}
			o[p] = next
		}
		o = next
	}
	return o
}

func text(o Object, path ...string) string {
	s, _ := at(o, path[:len(path)-1]...)[path[len(path)-1]].(string)
	return s
}

func number(o Object, def int, path ...string) int {
	n, ok := at(o, path[:len(path)-1]...)[path[len(path)-1]].(float64)
	if !ok {
		return def
	}
	return int(n)
}

// condition is the status of a condition; "" if there is none.
func condition(o Object, name string) string {
	list, _ := at(o, "status")["conditions"].([]any)
	for _, c := range list {
		if m, ok := c.(Object); ok && m["type"] == name {
			s, _ := m["status"].(string)
			return s
		}
	}
	return ""
}

// merge is RFC 7396.
func merge(into, change Object) {
	for k, v := range change {
		sub, ok := v.(Object)
		switch {
		case v == nil:
			delete(into, k)
		case ok:
			merge(at(into, k), sub)
		default:
			into[k] = v
		}
	}
}

// copied is a deep copy.
func copied(o Object) Object {
	out := Object{}
	if err := json.Unmarshal([]byte(mustJSON(o)), &out); err != nil {
		panic(err) // it was JSON a moment ago
	}
	return out
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // everything here came as JSON
	}
	return string(b)
}
