// Command lab runs the parts of the simulated two-region world, and the demo in it.
package main

import (
	"os"

	"github.com/failoverd/failoverd/lab/cli"
	"github.com/failoverd/failoverd/lab/demo"
)

func main() {
	cli.Demo = demo.Main
	os.Exit(cli.Main(os.Args[1:], os.Stderr))
}
