package client

import (
	"testing"
	"time"
)

// TestPausesGrowUpToTheLongest looks at each pause of very many attempts.
func TestPausesGrowUpToTheLongest(t *testing.T) {
	for _, r := range []Retry{
		{Initial: 100 * time.Millisecond, Max: 30 * time.Second},
		{Initial: 20 * time.Second, Max: time.Minute},
		{Initial: time.Hour, Max: 24 * time.Hour},
		{Initial: time.Nanosecond, Max: 1<<63 - 1},
	} {
		for attempt := 1; attempt < 200; attempt++ {
			if pause := r.pause(attempt); pause > r.Max || pause < r.Initial/2 {
				t.Fatalf("%v after attempt %d, of %+v", pause, attempt, r)
			}
			if pause := r.pause(attempt); attempt > 70 && pause < r.Max/2 {
				t.Fatalf("%v after attempt %d, of %+v", pause, attempt, r)
			}
		}
	}
}
