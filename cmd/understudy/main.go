// Command understudy is a broker of the distributed event log, and the tools to
// work with one: `understudy server` starts it, `understudy help` lists the rest.
package main

import (
	"os"

	"understudy/cmd/understudy/commands"
)

func main() {
	os.Exit(commands.Main(os.Args[1:], commands.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
