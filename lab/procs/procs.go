// Package procs finds processes of this machine by what they were started with. It stands for what knows its processes by a
// control group: a container runtime, a service manager.
package procs

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Marked are the processes whose environment has an entry, KEY=value, with which they or those they come from were started.
func Marked(entry string) []int {
	return find("environ", func(entries []string) bool {
		for _, e := range entries {
			if e == entry {
				return true
			}
		}
		return false
	})
}

// Running are the processes whose command line is the one that is meant.
func Running(meant func(argv []string) bool) []int { return find("cmdline", meant) }

// find reads a file of NUL-terminated strings of each process; it is empty for one that has ended.
func find(file string, meant func([]string) bool) (out []int) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", d.Name(), file))
		if b = bytes.TrimSuffix(b, []byte{0}); err == nil && len(b) > 0 && meant(strings.Split(string(b), "\x00")) {
			out = append(out, pid)
		}
	}
	return out
}
