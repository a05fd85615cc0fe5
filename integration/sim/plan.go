package sim

import (
	"fmt"
	"math/rand/v2"
)

// Fault is something that goes wrong at a time. What its numbers stand for
// depends on the kind; whom it hits follows from them and from how things are then.
type Fault struct {
	At     int64 // µs
	Kind   kind
	A, B   uint64
	Length int64 // µs until it is over
}

// String names the fault in a trace.
func (f Fault) String() string {
	return fmt.Sprintf("%8.3fs %s (%d, %d) for %d ms", float64(f.At)/float64(second), f.Kind, f.A%97, f.B%97, f.Length/millisecond)
}

// quietTime is how long, of each eight seconds, there are no new faults.
const quietTime = 2 * second

// makePlan draws the faults of a history. There are ten at least.
func makePlan(c *config, rnd *rand.Rand) []Fault {
	total := 0
	for _, w := range c.weights {
		total += w
	}
	var plan []Fault
	at := genesis + rnd.Int64N(second)
	for at < genesis+c.length {
		if at%(8*second) >= quietTime {
			n := rnd.IntN(total)
			k := kind(0)
			for ; n >= c.weights[k]; k++ {
				n -= c.weights[k]
			}
			length := []int64{50, 300, 2000, 6000}[rnd.IntN(4)] * millisecond
			plan = append(plan, Fault{At: at, Kind: k, A: rnd.Uint64(), B: rnd.Uint64(), Length: length/2 + rnd.Int64N(length)})
		}
		at += c.pause/4 + rnd.Int64N(c.pause*3/2)
	}
	return plan
}
