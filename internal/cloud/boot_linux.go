package cloud

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime reads CLOCK_BOOTTIME: monotonic, and it counts suspended time.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Every Linux since 2.6.39 has the clock. Without it no deadline can be
		// kept, and "long ago" refuses every effect.
		return time.Duration(1<<63 - 1)
	}
	return time.Duration(ts.Nano())
}
