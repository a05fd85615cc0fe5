//go:build !race

package wire

// poison is on in builds with the race detector only.
const poison = false
