//go:build !race

package kafka

// hostileFrames is how many random frames the broker is sent.
const hostileFrames = 100_000

// memoryFactor is by how much allocations are dearer than in the real program.
const memoryFactor = 1

// poolsForget says that pools drop some of what they get, which the race detector has them do.
const poolsForget = false
