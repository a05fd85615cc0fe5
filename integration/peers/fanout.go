//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/cmd/understudy/bench"
)

const (
	fanTopics  = 10
	fanReaders = 10 // of each topic
)

// fanOut writes to several topics in turn, at a steady rate, and has several consumers
// read each of them; latencies count from when a record was due until a consumer has
// it, and the broker's CPU for each gigabyte that consumers got.
func fanOut(ctx context.Context, t *trial) (figures, error) {
	var topics []string
	for range fanTopics {
		topic, remove, _, err := t.ledTopic(ctx)
		if err != nil {
			return nil, err
		}
		defer remove()
		topics = append(topics, topic)
	}
	a := &audience{began: time.Now(), counted: make(chan struct{}, 1), seen: hdrhistogram.New(int64(time.Microsecond), int64(time.Minute), 3)}
	defer a.leave()
	for _, topic := range topics {
		for range fanReaders {
			if err := a.seat(ctx, t, topic); err != nil {
				return nil, err
			}
		}
	}
	cl, err := t.connect(ctx, kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	play := func(d time.Duration) error { return a.play(ctx, t, cl, topics, int64(d.Seconds()*t.load.rate)) }
	if err := play(t.warmup); err != nil {
		return nil, err
	}
	a.forget()
	f, err := t.timed(ctx, func() (int64, error) {
		err := play(t.duration)
		return int64(t.duration.Seconds()*t.load.rate) * fanReaders, err
	})
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f[seenP50], f[seenP99] = float64(a.seen.ValueAtQuantile(50))/1e6, float64(a.seen.ValueAtQuantile(99))/1e6
	return f, nil
}

// audience is all consumers.
type audience struct {
	began   time.Time
	clients []*kgo.Client
	wg      sync.WaitGroup
	counted chan struct{} // the number has grown

	mu   sync.Mutex
	seen *hdrhistogram.Histogram
	got  int64
}

// seat begins one consumer of a topic.
func (a *audience) seat(ctx context.Context, t *trial, topic string) error {
	cl, err := t.connect(ctx, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	a.clients = append(a.clients, cl)
	a.wg.Go(func() {
		for {
			fetches := cl.PollFetches(ctx)
			if fetches.IsClientClosed() || ctx.Err() != nil {
				return
			}
			a.take(fetches)
		}
	})
	return nil
}

func (a *audience) take(fetches kgo.Fetches) {
	now := time.Since(a.began)
	a.mu.Lock()
	fetches.EachRecord(func(r *kgo.Record) {
		due := time.Duration(binary.BigEndian.Uint64(r.Value))
		_ = a.seen.RecordValue(max(int64(now-due), int64(time.Microsecond))) // above a minute is a failure elsewhere
		a.got++
	})
	a.mu.Unlock()
	select {
	case a.counted <- struct{}{}:
	default:
	}
}

func (a *audience) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen.Reset()
}

func (a *audience) count() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.got
}

func (a *audience) leave() {
	for _, cl := range a.clients {
		cl.Close()
	}
	a.wg.Wait()
}

// play sends n records when they are due, to one topic after the other, and waits until
// every consumer has its share.
func (a *audience) play(ctx context.Context, t *trial, cl *kgo.Client, topics []string, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, t.duration+startLimit)
	defer cancel()
	failed := make(chan error, 1)
	before, block := a.count(), randomBytes(t.load.size)
	i := 0
	bench.Pace(ctx, t.load.rate, n, func(due time.Time) {
		value := append([]byte(nil), block...)
		binary.BigEndian.PutUint64(value, uint64(due.Sub(a.began)))
		cl.Produce(ctx, &kgo.Record{Topic: topics[i%len(topics)], Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
		i++
	})
	for a.count()-before < n*fanReaders {
		select {
		case <-a.counted:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
