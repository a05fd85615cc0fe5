//go:build race

package wire

// poison makes a released buffer's memory be written over, so that the race
// detector sees anyone who still uses it.
const poison = true
