package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/failoverd/failoverd/lab/world"
)

// place is a path that a container or machine has, and what lies there.
type place struct {
	at       string
	from     string // a file or directory of this machine
	tmpfs    string // the options of one, if from is ""
	readOnly bool
}

// jail is a root directory with nothing in it but some places, so that a command line of deploy/ runs there as it is written.
type jail struct {
	root   string
	places []place
	user   string // user:group; "" is root
	apart  bool   // in a process namespace of its own, as its first process
	cgroup string // what its own process reads of its control group; "" is what this machine says
}

// jailed is a jail for what runs in a world: its own paths lead to the same files.
func (r *rig) jailed(name string, places ...place) *jail {
	return &jail{root: filepath.Join(r.c.Dir, "jail", name), places: append(worldly(r.c.Dir), places...)}
}

// worldly are the places of everything that runs in a world.
func worldly(dir string) []place {
	return []place{{at: dir, from: dir}, {at: "/dev", from: "/dev"}}
}

// argv runs a command in the jail; whoever runs it is replaced by it, unless it is apart.
func (j *jail) argv(command ...string) []string {
	sh := []string{"set -e"}
	say := func(format string, args ...any) { sh = append(sh, fmt.Sprintf(format, args...)) }
	places := append([]place{}, j.places...)
	if j.apart {
		say("mkdir -p %[1]s/proc; mount -t proc proc %[1]s/proc", j.root)
	} else {
		places = append(places, place{at: "/proc", from: "/proc"})
	}
	for _, p := range places {
		at := j.root + p.at
		info, err := os.Stat(p.from)
		switch {
		case p.from == "":
			say("mkdir -p %[1]s; mount -t tmpfs -o %[2]s tmpfs %[1]s", at, p.tmpfs)
		case err == nil && !info.IsDir():
			say("mkdir -p %s; : >> %s; mount --bind %s %s", filepath.Dir(at), at, p.from, at)
		default: // what is made later is a directory
			say("mkdir -p %s; mount --rbind %s %s", at, p.from, at)
		}
		if p.readOnly {
			say("mount -o remount,bind,ro %s", at)
		}
	}
	if j.cgroup != "" {
		say("echo 0::%s > %s/cgroup; mount --bind %s/cgroup %s/proc/$$/cgroup", j.cgroup, j.root, j.root, j.root)
	}
	chroot := "chroot"
	if j.user != "" {
		chroot = "setpriv --no-new-privs chroot --groups= --userspec=" + j.user
	}
	say(`exec %s %s "$@"`, chroot, j.root)
	argv := []string{"unshare", "--mount"}
	if j.apart {
		argv = append(argv, "--pid", "--fork", "--kill-child")
	}
	return append(append(argv, "sh", "-c", strings.Join(sh, "\n"), "jail"), command...)
}

// host is where a path of the jail lies on this machine; "" if it is in none of its places.
func (j *jail) host(path string) string {
	for i := len(j.places) - 1; i >= 0; i-- {
		if p := j.places[i]; p.from != "" && (path == p.at || strings.HasPrefix(path, p.at+"/")) {
			return p.from + strings.TrimPrefix(path, p.at)
		}
	}
	return ""
}

// inside runs a command in the jail, in us-east-1.
func (r *rig) inside(j *jail, name string, env []string, command ...string) (*world.Proc, error) {
	return r.w.Exec(r.ctx, world.E1, j.argv(command...), world.ProcOptions{Name: name, Env: append(env, "LAB_COMMAND=1")})
}
