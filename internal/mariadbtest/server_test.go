package mariadbtest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv("MARIADBTEST_HOLD") == "" {
		Main(m)
		return
	}
	s, err := Open()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.cmd.Process.Pid, s.dir)
	select {}
}

// A test binary that is killed, as one that takes too long is, leaves no server behind.
func TestEndsWithTheTests(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "MARIADBTEST_HOLD=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	var dir string
	if _, err := fmt.Sscan(line, &pid, &dir); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	defer os.RemoveAll(dir)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	for until := time.Now().Add(20 * time.Second); ; {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) || zombie(pid) {
			return
		}
		if time.Now().After(until) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // what the test has found
			t.Fatal("the server lives on")
		}
		time.Sleep(50 * time.Millisecond) // a process that is no child of ours tells nobody when it ends
	}
}

// A server that ends by itself is told of, with what it said: a test that lost its connection would not say why.
func TestCrashIsTold(t *testing.T) {
	s, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGSEGV); err != nil {
		t.Fatal(err)
	}
	<-s.gone
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "has ended by itself") || !strings.Contains(err.Error(), "signal 11") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("its data stay: %v", err)
	}
	if s, err = Open(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("one that was ended: %v", err)
	}
}

// zombie reports whether a process has ended and nobody has taken note.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	var n int
	var name, state string
	if err == nil {
		_, err = fmt.Sscan(string(b), &n, &name, &state)
	}
	return err == nil && state == "Z"
}
