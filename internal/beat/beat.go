// Package beat has tickers of the whole process tick at the same moments. A process
// that has nothing to do is woken by each of them: several that look every 100 ms
// cost as little as one when they look at once, and a process that sleeps through is
// what lets a thread, and the processor, sleep.
package beat

import "time"

// origin is what all tickers count their periods from.
var origin = time.Now()

// NewTicker is time.NewTicker, but its ticks are whole periods from one moment that all
// tickers share. The first comes sooner for that, and is lost on who does not wait for it.
func NewTicker(d time.Duration) *time.Ticker {
	first := d - (time.Since(origin)%d+d)%d // in a test's own time the origin may be to come
	t := time.NewTicker(first)
	time.AfterFunc(first, func() { t.Reset(d) }) // of one that was stopped before, nobody sees the ticks
	return t
}
