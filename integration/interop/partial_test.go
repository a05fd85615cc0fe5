package interop

import (
	"context"
	"time"
)

// partial is a driver of a library that knows neither settings nor groups, and to
// which headers are a map.
type partial struct{ d *driver }

func (partial) headersAreAMap() {}

func (p partial) create(ctx context.Context, topic string, partitions int, _ map[string]string) error {
	return p.d.create(ctx, topic, partitions, nil)
}

func (p partial) partitions(ctx context.Context, topic string) (int, error) {
	return p.d.partitions(ctx, topic)
}

func (p partial) remove(ctx context.Context, topic string) error { return p.d.remove(ctx, topic) }

func (p partial) deleteRecords(ctx context.Context, topic string, before int64) error {
	return p.d.deleteRecords(ctx, topic, before)
}

func (p partial) produce(ctx context.Context, topic, codec string, records []record) error {
	return p.d.produce(ctx, topic, codec, records)
}

func (p partial) consume(ctx context.Context, topic string, from int64, n int) ([]record, error) {
	return p.d.consume(ctx, topic, from, n)
}

func (p partial) bounds(ctx context.Context, topic string) (start, end int64, err error) {
	return p.d.bounds(ctx, topic)
}

func (p partial) offsetAt(ctx context.Context, topic string, when time.Time) (int64, error) {
	return p.d.offsetAt(ctx, topic, when)
}

func (p partial) end() error { return p.d.end() }
