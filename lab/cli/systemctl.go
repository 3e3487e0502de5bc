package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/failoverd/failoverd/lab/ctl"
)

// SystemdSocket is the environment variable that names the control socket of a service manager; see Systemctl.
const SystemdSocket = "LAB_SYSTEMD"

// SystemctlAnswer is what a service manager says to POST /systemctl with the arguments.
type SystemctlAnswer struct {
	Out, Err string
	Status   int
}

// Systemctl is what lies in the PATH as systemctl: it hands its arguments to a service manager that a test plays.
func Systemctl(args []string, stdout, stderr io.Writer) int {
	var a SystemctlAnswer
	if err := ctl.Dial(os.Getenv(SystemdSocket)).Call(context.Background(), "POST", "/systemctl", args, &a); err != nil {
		fmt.Fprintln(stderr, "Failed to connect to bus:", err)
		return 1
	}
	fmt.Fprint(stdout, a.Out)
	fmt.Fprint(stderr, a.Err)
	return a.Status
}
