//go:build !linux

// Command figures measures the real binary. It reads CPU time and memory from
// /proc, and so works on Linux alone.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "figures: only on Linux")
	os.Exit(1)
}
