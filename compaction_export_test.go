package understudy

import "context"

// Compact compacts every log of this broker that is to be compacted now, and tells
// how many.
func (b *Broker) Compact(ctx context.Context) int { return b.cleaner.Round(ctx) }
