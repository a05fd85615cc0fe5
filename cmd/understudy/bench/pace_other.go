//go:build !linux

package bench

import "time"

// sleeper waits as well as the runtime can.
type sleeper struct{}

func newSleeper() sleeper { return sleeper{} }

func (sleeper) close() {}

func (sleeper) sleep(d time.Duration) { time.Sleep(d) }
