package understudy

import (
	"context"
	"math"
	"time"

	"understudy/actors/partition"
	"understudy/cluster/topicconfig"
)

// startCleaner begins to compact the logs of compacted topics. It ends before the
// partitions are closed, so that nobody waits for it then.
func (b *Broker) startCleaner() {
	setting := func(name string) int64 { return b.defaults(b.cell.Image()).Int(name) }
	b.cleaner = &partition.Cleaner{
		Shared:  b.shared,
		Backoff: func() time.Duration { return milliseconds(setting(topicconfig.CleanerBackoffMs)) },
		Memory:  func() int64 { return setting(topicconfig.CleanerMemory) },
		Rate: func() int64 {
			if rate := setting(topicconfig.CleanerRate); rate != math.MaxInt64 {
				return rate
			}
			return 0
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.cleaner.Run(ctx)
	}()
	b.onStop("end the cleaner", func(ctx context.Context) error {
		cancel()
		select {
		case <-ended:
			return nil
		case <-ctx.Done(): // a disk that hangs
			return ctx.Err()
		}
	})
}

// milliseconds is a time of at most a day, whatever the number.
func milliseconds(n int64) time.Duration {
	return time.Duration(min(n, (24*time.Hour).Milliseconds())) * time.Millisecond
}
