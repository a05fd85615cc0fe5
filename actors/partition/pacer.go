package partition

import (
	"context"
	"time"

	"understudy/persistence/compact"
)

// pacer keeps work at a number of bytes per second, by waiting after each piece
// for as long as it should have taken. Time that was not used is not saved up.
type pacer struct {
	free time.Time // when all that was spent is paid for
}

// spend returns when the bytes are paid for. The error is compact.ErrStopped if it
// is told to stop before.
func (p *pacer) spend(ctx context.Context, stopped <-chan struct{}, bytes int, rate int64) error {
	if rate <= 0 {
		return nil
	}
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(bytes) / float64(rate) * float64(time.Second)))
	timer := time.NewTimer(p.free.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
	case <-stopped:
	}
	return compact.ErrStopped
}

// wait returns after a time, or when the context ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
