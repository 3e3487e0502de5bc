//go:build !linux

package cloud

import "time"

// bootTime is wall-clock time where there is no CLOCK_BOOTTIME. It is good
// enough to develop on; failoverd runs on Linux.
func bootTime() time.Duration { return time.Duration(time.Now().UnixNano()) }
