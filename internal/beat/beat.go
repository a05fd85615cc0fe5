// Package beat has tickers of the whole process tick at the same moments. A process
// that has nothing to do is woken by each of them: several that look every 100 ms
// cost as little as one when they look at once, and a process that sleeps through is
// what lets a thread, and the processor, sleep.
package beat

import (
	"sync"
	"time"
)

// Ticker is like time.Ticker, but its ticks are at whole periods of the system's clock:
// every 100 ms is at .1, .2, .3 of each second. The first comes sooner for that, and so
// does the next after that clock was set.
type Ticker struct {
	C <-chan time.Time // a tick that nobody takes is the only one kept

	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
}

// NewTicker makes a ticker of period d, which is above 0.
func NewTicker(d time.Duration) *Ticker {
	ticks := make(chan time.Time, 1)
	t := &Ticker{C: ticks}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(untilNext(d), func() {
		select {
		case ticks <- time.Now():
		default:
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if !t.stopped {
			t.timer.Reset(untilNext(d))
		}
	})
	return t
}

// Stop ends the ticking; C is not closed.
func (t *Ticker) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	t.timer.Stop()
}

// untilNext is the time to the end of a period: above 0, and d at most.
func untilNext(d time.Duration) time.Duration {
	return d - time.Duration(time.Now().UnixNano()%int64(d))
}
