package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// stampSize is what a record of the latency test begins with: when it was due,
// in nanoseconds since the run began.
const stampSize = 8

// Latency measures how long a record takes at a given rate: until it is
// acknowledged, and until a consumer has it.
func Latency(ctx context.Context, o Options) (Result, error) {
	o.RecordSize = max(o.RecordSize, stampSize)
	topic, partitions, remove, err := o.prepare(ctx)
	if err != nil {
		return Result{}, err
	}
	defer remove()
	g, err := newGenerator(ctx, &o, topic)
	if err != nil {
		return Result{}, err
	}
	defer g.close()
	l := &listener{began: time.Now(), seen: newHistogram()}
	if err := l.start(g.ctx, &o, topic, g.fail); err != nil {
		return Result{}, err
	}
	defer l.stop()
	r := Result{Test: "latency", Partitions: partitions, RecordSize: o.RecordSize, Clients: o.Clients, Rate: o.Rate}
	return r, l.measure(ctx, g, &r)
}

// listener is the consumer of the latency test.
type listener struct {
	client *kgo.Client
	began  time.Time
	from   atomic.Int64 // records due before this (ns since began) do not count
	ended  chan struct{}
	end    context.CancelFunc

	mu    sync.Mutex
	seen  *hdrhistogram.Histogram
	count int64
}

// start begins to read at the end of the topic.
func (l *listener) start(ctx context.Context, o *Options, topic string, fail context.CancelCauseFunc) error {
	l.from.Store(math.MaxInt64)
	spans, err := o.ends(ctx, topic)
	if err != nil {
		return err
	}
	l.client, err = o.Connect(ctx, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: spans}))
	if err != nil {
		return err
	}
	ctx, l.end = context.WithCancel(ctx)
	l.ended = make(chan struct{})
	go func() {
		defer close(l.ended)
		l.listen(ctx, fail)
	}()
	return nil
}

func (l *listener) listen(ctx context.Context, fail context.CancelCauseFunc) {
	for ctx.Err() == nil {
		fetches := l.client.PollFetches(ctx)
		now := time.Since(l.began)
		if ctx.Err() != nil {
			return
		}
		for _, e := range fetches.Errors() {
			fail(e.Err)
			return
		}
		from := time.Duration(l.from.Load())
		l.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) {
			if len(r.Value) < stampSize {
				return
			}
			if due := time.Duration(binary.BigEndian.Uint64(r.Value)); due >= from {
				record(l.seen, now-due)
				l.count++
			}
		})
		l.mu.Unlock()
	}
}

func (l *listener) stop() {
	l.end()
	<-l.ended
	l.client.Close()
}

// measure sends records that say when they were due, and waits until the last has
// been consumed or has had its time.
func (l *listener) measure(ctx context.Context, g *generator, r *Result) error {
	o := g.options
	g.value = func(p *producer, due time.Time) []byte {
		value := slices.Clone(p.payload.next())
		binary.BigEndian.PutUint64(value, uint64(due.Sub(l.began)))
		return value
	}
	g.exact, g.opened = true, func() { l.from.Store(int64(time.Since(l.began))) }
	if err := g.measure(ctx, r); err != nil {
		return err
	}
	l.drain(g.ctx, r.Records)
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Consumed = quantiles(l.seen)
	if l.count < r.Records {
		o.Note("%d of %d records were not consumed within %v and are missing from that latency", r.Records-l.count, r.Records, drainTime)
	}
	return g.failure(ctx)
}

// drainTime is how long the last records may take to be consumed.
const drainTime = 10 * time.Second

// drain waits until so many records have been consumed.
func (l *listener) drain(ctx context.Context, n int64) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		l.mu.Lock()
		count := l.count
		l.mu.Unlock()
		if count >= n {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// retryTime is between two questions, when brokers do not agree yet.
const retryTime = 100 * time.Millisecond

// wait returns true after a time, false when ctx ends before.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// ends are the offsets at which a topic's partitions end now.
func (o *Options) ends(ctx context.Context, topic string) (map[int32]kgo.Offset, error) {
	cl, err := o.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	for {
		listed, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
		if err == nil {
			err = listed.Error()
		}
		switch {
		case err == nil:
			return listed.KOffsets()[topic], nil
		case !kerr.IsRetriable(err) || !wait(ctx, retryTime): // a broker may not have heard yet of a topic that was just made
			return nil, fmt.Errorf("topic %s: %w", topic, err)
		}
	}
}
