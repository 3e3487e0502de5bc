// Package boottime reads CLOCK_BOOTTIME, the clock that leases are counted on.
//
// Go's monotonic clock is CLOCK_MONOTONIC, which stands still while a machine
// sleeps or a virtual machine is suspended: a holder that counted on it would
// wake up and believe that it still had time.
package boottime

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Clock reads the two clocks of rule G6. Implementations are safe for
// concurrent use.
type Clock interface {
	// Boot is the time since the machine booted, suspension included.
	Boot() time.Duration
	// Real is CLOCK_REALTIME. It is used only to notice that it advanced more
	// than Boot did, which betrays a virtual machine that its host had paused.
	Real() time.Time
}

// System is the machine's own clock.
type System struct{}

// Boot implements Clock. It panics if the kernel has no CLOCK_BOOTTIME: without
// it no lease can be held safely.
func (System) Boot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("boottime: CLOCK_BOOTTIME cannot be read: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// Real implements Clock.
func (System) Real() time.Time { return time.Now().Round(0) }

// BootID identifies this boot of the machine: a deadline on CLOCK_BOOTTIME
// means nothing on another.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot ID: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
