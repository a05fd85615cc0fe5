//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/cmd/understudy/bench"
)

// mostAtOnce is how many partitions a topic is made with; others are added. Kafka
// refuses to write more than 10,000 records of metadata at once.
const mostAtOnce = 5000

// makeTopic makes the trial's topic, and says how to delete it.
func (t *trial) makeTopic(ctx context.Context) (topic string, remove func(), err error) {
	if t.kind.only != "" {
		return t.kind.only, func() {}, nil
	}
	cl, err := t.connect(ctx)
	if err != nil {
		return "", nil, err
	}
	admin := kadm.NewClient(cl)
	admin.SetTimeoutMillis(int32(startLimit.Milliseconds()))
	topic = fmt.Sprintf("peers-%08x", rand.Uint32())
	config := map[string]*string{}
	for k, v := range t.kind.topic {
		config[k] = &v
	}
	n := min(t.partitions(), mostAtOnce)
	if _, err = admin.CreateTopic(ctx, n, t.replicas(), config, topic); err != nil {
		cl.Close()
		return "", nil, fmt.Errorf("make topic: %w", err)
	}
	remove = func() {
		if _, err := admin.DeleteTopic(context.WithoutCancel(ctx), topic); err != nil {
			note("      topic %s was not deleted: %v", topic, err)
		}
		cl.Close()
	}
	for ; n < t.partitions(); n = min(n+mostAtOnce, t.partitions()) {
		answers, err := admin.CreatePartitions(ctx, min(mostAtOnce, int(t.partitions()-n)), topic)
		if err = errors.Join(err, answers.Error()); err != nil {
			remove()
			return "", nil, fmt.Errorf("add partitions: %w", err)
		}
	}
	return topic, remove, nil
}

// ledTopic makes the trial's topic and waits until all of it is led. It tells how
// long both took.
func (t *trial) ledTopic(ctx context.Context) (topic string, remove func(), took time.Duration, err error) {
	began := time.Now()
	if topic, remove, err = t.makeTopic(ctx); err != nil {
		return "", nil, 0, err
	}
	led := func(p kadm.PartitionDetail) bool { return p.Leader >= 0 }
	if err := t.await(ctx, topic, led); err != nil {
		remove()
		return "", nil, 0, err
	}
	return topic, remove, time.Since(began), nil
}

// await waits until all partitions of a topic are as wished.
func (t *trial) await(ctx context.Context, topic string, wished func(kadm.PartitionDetail) bool) error {
	cl, err := t.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	for {
		found, err := admin.ListTopics(ctx, topic)
		n := 0
		for _, p := range found[topic].Partitions {
			if wished(p) {
				n++
			}
		}
		if err == nil && n == int(t.partitions()) {
			return nil
		}
		if !pause(ctx) {
			return errors.Join(err, ctx.Err())
		}
	}
}

// manyPartitions makes a large topic and waits until all of it is led, then lets it
// rest, then writes to all of it.
func manyPartitions(ctx context.Context, t *trial) (figures, error) {
	topic, remove, made, err := t.ledTopic(ctx)
	if err != nil {
		return nil, err
	}
	defer remove()
	idle, err := t.rest(ctx)
	if err != nil {
		return nil, err
	}
	o := t.options()
	o.Topic = topic
	r, err := bench.Produce(ctx, o)
	f := t.figuresOf(r)
	f[seconds], f[idleCPU], f[idleMiB] = made.Seconds(), idle[idleCPU], idle[idleMiB]
	return f, err
}

// rest lets the system be for a while, and tells what that costs.
func (t *trial) rest(ctx context.Context) (figures, error) {
	spent := usage(t.system)
	before, _, err := spent(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	select {
	case <-time.After(max(t.duration, 5*time.Second)):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	after, memory, err := spent(ctx)
	if err != nil {
		return nil, err
	}
	return figures{
		idleCPU: 100 * (after - before) / time.Since(began).Seconds(),
		idleMiB: float64(memory) / float64(t.kind.replicas()) / mb,
	}, nil
}

// spread writes a record to each partition of a topic, and then to all at full speed, batch after batch, and then
// at a steady rate, record after record to one partition after the other.
func spread(ctx context.Context, t *trial) (figures, error) {
	topic, remove, made, err := t.ledTopic(ctx)
	if err != nil {
		return nil, err
	}
	defer remove()
	dealt := kgo.RecordPartitioner(kgo.RoundRobinPartitioner())
	o := t.options()
	o.Topic, o.Rate, o.Warmup, o.Records, o.Spent = topic, 0, 0, int64(t.partitions()), nil
	o.Acks = append(o.Acks, dealt)
	first, err := bench.Produce(ctx, o) // files are made with the first record of each
	if err != nil {
		return nil, err
	}
	note("      the first record of each partition: %.2f s", first.Seconds)
	o = t.options()
	o.Topic, o.Rate = topic, 0
	full, err := bench.Produce(ctx, o)
	if err != nil {
		return nil, err
	}
	o = t.options()
	o.Topic, o.Linger = topic, 0
	o.Acks = append(o.Acks, dealt)
	steady, err := bench.Produce(ctx, o)
	if err != nil {
		return nil, err
	}
	f := t.figuresOf(full)
	f[seconds], f[ackP50], f[ackP99] = made.Seconds(), steady.Acknowledged.P50, steady.Acknowledged.P99
	return f, nil
}
