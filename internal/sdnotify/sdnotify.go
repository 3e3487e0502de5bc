// Package sdnotify tells systemd about the process's state. The protocol is one
// datagram; see sd_notify(3).
package sdnotify

import (
	"net"
	"os"
	"strconv"
	"time"
)

// Send sends one state such as "READY=1" when the process runs under systemd
// with Type=notify, and does nothing otherwise. A supervisor that does not
// listen must not stop the process: errors are ignored.
func Send(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if path[0] == '@' {
		path = "\x00" + path[1:] // an abstract socket
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	_, _ = c.Write([]byte(state)) // see above
	_ = c.Close()
}

// Watchdog is how long the service manager waits between two "WATCHDOG=1" before
// it kills the process; zero: it does not. See sd_watchdog_enabled(3).
func Watchdog() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0 // meant for another process
	}
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 || os.Getenv("NOTIFY_SOCKET") == "" {
		return 0
	}
	return time.Duration(usec) * time.Microsecond
}
