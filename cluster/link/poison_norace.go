//go:build !race

package link

// poison is on in builds with the race detector only.
const poison = false
