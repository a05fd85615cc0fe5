//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"understudy/cmd/understudy/bench"
)

// streams is how many streams a NATS load is spread over: each has a leader of its
// own, as partitions have.
const streams = 6

// pending is how many messages may be unacknowledged: more made it slower, with
// fewer it waits.
const pendingBytes = 4 << 20

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
	js, subjects, remove, err := t.jets(ctx, streams, max(64, min(16384, pendingBytes/t.load.size)))
	if err != nil {
		return nil, err
	}
	defer remove()
	value := randomBytes(t.load.size)
	send := func(d time.Duration) (n int64, err error) {
		for end := time.Now().Add(d); time.Now().Before(end); n++ {
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
	if _, err := send(t.warmup); err != nil {
		return nil, err
	}
	return t.timed(ctx, func() (int64, error) { return send(t.duration) })
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
		brokerCPU: (after - before) / gb, clientCPU: own.Seconds() / gb, resident: float64(rss) / nodes / mb,
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
