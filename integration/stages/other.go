//go:build !linux

// Command stages tells where a record's time goes, from system calls as Linux tells
// of them.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "stages: only on Linux")
	os.Exit(1)
}
