package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// span is what there is to read of a partition.
type span struct {
	partition int32
	from, to  int64
}

// Consume measures how fast a topic can be read from its start, whole rounds at a
// time. An own topic is filled first.
func Consume(ctx context.Context, o Options) (Result, error) {
	topic, partitions, remove, err := o.prepare(ctx)
	if err != nil {
		return Result{}, err
	}
	defer remove()
	spans, err := o.spans(ctx, topic)
	if err != nil {
		return Result{}, err
	}
	if len(spans) == 0 {
		if err := o.fill(ctx, topic); err != nil {
			return Result{}, err
		}
		if spans, err = o.spans(ctx, topic); err != nil {
			return Result{}, err
		}
	}
	r := Result{Test: "consume", Partitions: partitions, RecordSize: o.RecordSize, Clients: o.Clients}
	if o.Warmup > 0 {
		if _, _, err := o.round(ctx, topic, spans); err != nil {
			return r, err
		}
	}
	w := o.open(ctx)
	for time.Since(w.began) < o.Duration || r.Records == 0 {
		records, bytes, err := o.round(ctx, topic, spans)
		if err != nil {
			return r, err
		}
		r.Records += records
		r.Bytes += bytes
		o.Progress(min(time.Since(w.began), o.Duration).Milliseconds(), o.Duration.Milliseconds())
	}
	w.close(ctx, &r)
	return r, nil
}

// fill writes the records to be read, with producers of its own.
func (o *Options) fill(ctx context.Context, topic string) error {
	filler := *o
	filler.Rate, filler.Clients = 0, 1
	filler.Acks = []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks())}
	g, err := newGenerator(ctx, &filler, topic)
	if err != nil {
		return err
	}
	defer g.close()
	stop := g.watch(0)
	defer stop()
	g.run(g.ctx, o.Records)
	g.flush()
	return g.failure(ctx)
}

// spans asks what there is to read.
func (o *Options) spans(ctx context.Context, topic string) ([]span, error) {
	cl, err := o.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	if _, err := o.ends(ctx, topic); err != nil { // waits until the topic is known
		return nil, err
	}
	admin := kadm.NewClient(cl)
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(starts.Error(), ends.Error()); err != nil {
		return nil, fmt.Errorf("topic %s: %w", topic, err)
	}
	var spans []span
	for p, end := range ends[topic] {
		if start := starts[topic][p].Offset; start < end.Offset {
			spans = append(spans, span{p, start, end.Offset})
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return int(a.partition - b.partition) })
	return spans, nil
}

// round reads everything once, the partitions dealt out to the consumers.
func (o *Options) round(ctx context.Context, topic string, spans []span) (records, bytes int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var totalRecords, totalBytes atomic.Int64
	var wg sync.WaitGroup
	for i := range min(o.Clients, len(spans)) {
		var mine []span
		for j := i; j < len(spans); j += o.Clients {
			mine = append(mine, spans[j])
		}
		wg.Go(func() {
			n, size, err := o.read(ctx, topic, mine)
			totalRecords.Add(n)
			totalBytes.Add(size)
			if err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return totalRecords.Load(), totalBytes.Load(), context.Cause(ctx)
}

// read reads spans with one consumer.
func (o *Options) read(ctx context.Context, topic string, spans []span) (records, bytes int64, err error) {
	offsets := make(map[int32]kgo.Offset, len(spans))
	left := make(map[int32]int64, len(spans))
	for _, s := range spans {
		offsets[s.partition] = kgo.NewOffset().At(s.from)
		left[s.partition] = s.to
	}
	cl, err := o.Connect(ctx, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}), kgo.KeepControlRecords())
	if err != nil {
		return 0, 0, err
	}
	defer cl.Close()
	for len(left) > 0 {
		fetches := cl.PollRecords(ctx, 50_000)
		if ctx.Err() != nil {
			return records, bytes, context.Cause(ctx)
		}
		for _, e := range fetches.Errors() {
			if !kerr.IsRetriable(e.Err) {
				return records, bytes, fmt.Errorf("topic %s, partition %d: %w", topic, e.Partition, e.Err)
			}
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, rec := range p.Records {
				bytes += int64(len(rec.Value))
			}
			records += int64(len(p.Records))
			if n := len(p.Records); n > 0 && p.Records[n-1].Offset >= left[p.Partition]-1 {
				delete(left, p.Partition)
			}
		})
	}
	return records, bytes, nil
}
