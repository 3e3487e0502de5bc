// Command lab runs the parts of the simulated two-region world, and the demo in it.
package main

import (
	"os"
	"path/filepath"

	"github.com/failoverd/failoverd/lab/cli"
	"github.com/failoverd/failoverd/lab/demo"
)

func main() {
	cli.Demo = demo.Main
	if filepath.Base(os.Args[0]) == "systemctl" {
		os.Exit(cli.Systemctl(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(cli.Main(os.Args[1:], os.Stderr))
}
