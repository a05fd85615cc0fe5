//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"understudy/cmd/understudy/bench"
)

// streams is how many streams a NATS load is spread over: each has a leader of its
// own, as partitions have.
const streams = 6

// pendingOf is how many messages of a size may be unacknowledged, 4 MiB of them: more
// made it slower, with fewer it waits.
func pendingOf(size int) int { return max(64, min(16384, 4<<20/size)) }

// pulled is how many messages a consumer asks for at a time.
const pulled = 5000

// placeable reports, by its error, whether streams with three replicas can be made.
func placeable(ctx context.Context, nc *nats.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second) // who asks too early gets no answer
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if _, err := js.CreateStream(ctx, streamConfig("ready")); err != nil {
		return err
	}
	return js.DeleteStream(ctx, "ready")
}

func streamConfig(name string) jetstream.StreamConfig {
	return jetstream.StreamConfig{Name: name, Subjects: []string{name}, Storage: jetstream.FileStorage, Replicas: nodes}
}

// jets connects and makes the streams.
func (t *trial) jets(ctx context.Context, n, pending int) (js jetstream.JetStream, subjects []string, remove func(), err error) {
	nc, err := nats.Connect("nats://" + t.system.Addrs()[0])
	if err != nil {
		return nil, nil, nil, err
	}
	js, err = jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(pending))
	if err != nil {
		nc.Close()
		return nil, nil, nil, err
	}
	remove = func() {
		for _, s := range subjects {
			if err := js.DeleteStream(context.WithoutCancel(ctx), s); err != nil {
				note("      stream %s was not deleted: %v", s, err)
			}
		}
		nc.Close()
	}
	for i := range n {
		name := fmt.Sprintf("peers-%d-%d", time.Now().UnixNano(), i)
		if _, err := js.CreateStream(ctx, streamConfig(name)); err != nil {
			remove()
			return nil, nil, nil, err
		}
		subjects = append(subjects, name)
	}
	return js, subjects, remove, nil
}

// publish publishes without waiting for each acknowledgement.
func (t *trial) publish(ctx context.Context) (figures, error) {
	js, subjects, remove, err := t.jets(ctx, streams, pendingOf(t.load.size))
	if err != nil {
		return nil, err
	}
	defer remove()
	value := randomBytes(t.load.size)
	send := func(d time.Duration) (n int64, err error) {
		end := time.Now().Add(d)
		return publishAll(js, subjects, value, func(int64) bool { return time.Now().Before(end) })
	}
	if _, err := send(t.warmup); err != nil {
		return nil, err
	}
	return t.timed(ctx, func() (int64, error) { return send(t.duration) })
}

// publishAll publishes to one subject after the other as long as there is more, and
// waits for the acknowledgements.
func publishAll(js jetstream.JetStream, subjects []string, value []byte, more func(n int64) bool) (n int64, err error) {
	for ; more(n); n++ {
		if _, err := js.PublishAsync(subjects[int(n)%len(subjects)], value, jetstream.WithStallWait(startLimit)); err != nil {
			return n, err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
		return n, nil
	case <-time.After(startLimit):
		return n, errors.New("messages were not acknowledged")
	}
}

// readStreams fills streams and reads all of them from their start, again and again,
// with an ordered consumer for each.
func (t *trial) readStreams(ctx context.Context) (figures, error) {
	js, subjects, remove, err := t.jets(ctx, streams, pendingOf(t.load.size))
	if err != nil {
		return nil, err
	}
	defer remove()
	records := int64(consumeBytes / t.load.size)
	if _, err := publishAll(js, subjects, randomBytes(t.load.size), func(n int64) bool { return n < records }); err != nil {
		return nil, err
	}
	round := func() (int64, error) { return readRound(ctx, js, subjects) }
	if _, err := round(); err != nil { // the warm-up
		return nil, err
	}
	return t.timed(ctx, func() (n int64, err error) {
		for end := time.Now().Add(t.duration); err == nil && time.Now().Before(end); {
			var got int64
			got, err = round()
			n += got
		}
		return n, err
	})
}

// readRound reads all streams once, each beside the others.
func readRound(ctx context.Context, js jetstream.JetStream, names []string) (n int64, err error) {
	var wg sync.WaitGroup
	counts, failed := make([]int64, len(names)), make([]error, len(names))
	for i, name := range names {
		wg.Go(func() { counts[i], failed[i] = readStream(ctx, js, name) })
	}
	wg.Wait()
	for _, count := range counts {
		n += count
	}
	return n, errors.Join(failed...)
}

// readStream reads a stream to its end.
func readStream(ctx context.Context, js jetstream.JetStream, name string) (n int64, err error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return 0, err
	}
	last := stream.CachedInfo().State.LastSeq
	consumer, err := js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	reading, err := consumer.Consume(func(m jetstream.Msg) {
		n++
		if about, err := m.Metadata(); err != nil || about.Sequence.Stream == last {
			ended <- err
		}
	}, jetstream.PullMaxMessages(pulled))
	if err != nil {
		return 0, err
	}
	defer reading.Stop()
	select {
	case err := <-ended:
		return n, err
	case <-time.After(startLimit):
		return 0, errors.New("a stream was not read to its end")
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// timed measures what a load takes and spends.
func (t *trial) timed(ctx context.Context, do func() (records int64, err error)) (figures, error) {
	spent := usage(t.system)
	before, _, err := spent(ctx)
	if err != nil {
		return nil, err
	}
	client, began := bench.ProcessCPU(), time.Now()
	n, err := do()
	if err != nil {
		return nil, err
	}
	took := time.Since(began).Seconds()
	own := bench.ProcessCPU() - client
	after, rss, err := spent(ctx)
	if err != nil {
		return nil, err
	}
	gb := float64(n) * float64(t.load.size) / 1e9
	return figures{
		throughput: gb * 1000 / took, perSecond: float64(n) / took,
		brokerCPU: (after - before) / gb, clientCPU: own.Seconds() / gb, resident: float64(rss) / float64(t.kind.replicas()) / mb,
	}, nil
}

// publishOneByOne waits for each acknowledgement.
func (t *trial) publishOneByOne(ctx context.Context) (figures, error) {
	js, subjects, remove, err := t.jets(ctx, 1, 1)
	if err != nil {
		return nil, err
	}
	defer remove()
	value := randomBytes(t.load.size)
	return t.oneByOne(ctx, func() error {
		_, err := js.Publish(ctx, subjects[0], value)
		return err
	})
}
