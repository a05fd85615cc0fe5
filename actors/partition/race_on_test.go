//go:build race

package partition

// poolsForget says that pools drop some of what they get, which the race detector has them do.
const poolsForget = true
