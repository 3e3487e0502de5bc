// Command lab runs the parts of the simulated two-region world.
package main

import (
	"os"

	"github.com/failoverd/failoverd/lab/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stderr)) }
