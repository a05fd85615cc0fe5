package bench

import (
	"context"
	"time"
)

// Pace calls send for each record when it is due, n times or until ctx ends. due
// is when it should have been sent: when send blocks, the following are late,
// but they are due when they were. A rate of 0 has no due times: a record is due
// when it is sent. It returns how many were sent.
func Pace(ctx context.Context, rate float64, n int64, send func(due time.Time)) (sent int64) {
	if rate <= 0 {
		for ; sent < n && ctx.Err() == nil; sent++ {
			send(time.Now())
		}
		return sent
	}
	const nap = 5 * time.Millisecond // the longest without a look at ctx
	s := newSleeper()
	defer s.close()
	began := time.Now()
	for ; sent < n && ctx.Err() == nil; sent++ {
		due := began.Add(time.Duration(float64(sent) / rate * float64(time.Second)))
		for wait := time.Until(due); wait > 0 && ctx.Err() == nil; wait = time.Until(due) {
			s.sleep(min(wait, nap))
		}
		if ctx.Err() == nil {
			send(due)
		}
	}
	return sent
}
