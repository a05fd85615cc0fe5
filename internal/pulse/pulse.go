// Package pulse tells the time in which this process runs from that in which it stands
// still, in tests: a busy machine may stop for seconds, and what was due meanwhile is
// late through no fault of its own.
package pulse

import (
	"context"
	"sync"
	"time"
)

const (
	// beat is how often it is looked whether the process runs.
	beat = 10 * time.Millisecond
	// still is how late a look is if the process has stood still.
	still = 10 * beat
)

// gauge tells apart what has passed from one look to the next.
type gauge struct{ last time.Time }

// look gives for how long the process has run since the last look, and has not.
func (g *gauge) look(now time.Time) (ran, stood time.Duration) {
	passed := now.Sub(g.last)
	if g.last = now; passed > still {
		return beat, passed - beat
	}
	return passed, 0
}

// run looks until ctx ends, or look says that it is enough.
func run(ctx context.Context, look func(ran, stood time.Duration) (enough bool)) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for g := (gauge{time.Now()}); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if look(g.look(time.Now())) {
				return
			}
		}
	}
}

// Watch begins to look. Stood ends that, and tells for how long altogether the process
// has stood still.
func Watch() (stood func() time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	began := time.Now()
	var sum, seen time.Duration
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx, func(ran, stood time.Duration) bool {
			sum, seen = sum+stood, seen+ran+stood
			return false
		})
	}()
	return sync.OnceValue(func() time.Duration {
		cancel()
		<-done
		if late := time.Since(began) - seen; late > still { // it was not looked since
			sum += late - beat
		}
		return sum
	})
}

// WithTimeout is context.WithTimeout for which only the time counts in which the process
// runs. The context says nothing of a deadline.
func WithTimeout(parent context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	go run(ctx, func(ran, _ time.Duration) bool {
		if timeout -= ran; timeout > 0 {
			return false
		}
		cancel(context.DeadlineExceeded)
		return true
	})
	return ctx, func() { cancel(context.Canceled) }
}
