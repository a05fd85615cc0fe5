//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/cmd/understudy/bench"
)

// synchronous sends a record when the one before has been acknowledged.
func synchronous(ctx context.Context, t *trial) (figures, error) {
	if t.kind.nats {
		return t.publishOneByOne(ctx)
	}
	topic, remove, err := t.makeTopic(ctx)
	if err != nil {
		return nil, err
	}
	defer remove()
	cl, err := t.connect(ctx, kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	value := randomBytes(t.load.size)
	return t.oneByOne(ctx, func() error {
		return cl.ProduceSync(ctx, &kgo.Record{Value: value}).FirstErr()
	})
}

// oneByOne repeats what is to be timed, first without counting it.
func (t *trial) oneByOne(ctx context.Context, do func() error) (figures, error) {
	for end := time.Now().Add(t.warmup); time.Now().Before(end); {
		if err := do(); err != nil {
			return nil, err
		}
	}
	took := hdrhistogram.New(int64(time.Microsecond), int64(time.Minute), 3)
	for end := time.Now().Add(t.duration); time.Now().Before(end) && ctx.Err() == nil; {
		began := time.Now()
		if err := do(); err != nil {
			return nil, err
		}
		if err := took.RecordValue(int64(time.Since(began))); err != nil {
			return nil, err
		}
	}
	ms := func(q float64) float64 { return float64(took.ValueAtQuantile(q)) / 1e6 }
	return figures{ackP50: ms(50), ackP99: ms(99), perSecond: float64(took.TotalCount()) / t.duration.Seconds()}, nil
}

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
	topic = fmt.Sprintf("peers-%08x", rand.Uint32())
	config := map[string]*string{}
	for k, v := range t.kind.topic {
		config[k] = &v
	}
	partitions := t.load.partitions
	if partitions == 0 {
		partitions = 6
	}
	if _, err = admin.CreateTopic(ctx, partitions, nodes, config, topic); err != nil {
		cl.Close()
		return "", nil, fmt.Errorf("make topic: %w", err)
	}
	return topic, func() {
		if _, err := admin.DeleteTopic(context.WithoutCancel(ctx), topic); err != nil {
			note("      topic %s was not deleted: %v", topic, err)
		}
		cl.Close()
	}, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b) // never fails
	return b
}

// manyPartitions makes a large topic and waits until all of it is led, then lets it
// rest, then writes to all of it.
func manyPartitions(ctx context.Context, t *trial) (figures, error) {
	began := time.Now()
	topic, remove, err := t.makeTopic(ctx)
	if err != nil {
		return nil, err
	}
	defer remove()
	if err := t.awaitLeaders(ctx, topic); err != nil {
		return nil, err
	}
	made := time.Since(began)
	spent := usage(t.system)
	before, _, err := spent(ctx)
	if err != nil {
		return nil, err
	}
	rest := time.Now()
	select {
	case <-time.After(max(t.duration, 5*time.Second)):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	after, _, err := spent(ctx)
	if err != nil {
		return nil, err
	}
	idle := 100 * (after - before) / time.Since(rest).Seconds()
	o := t.options()
	o.Topic = topic
	r, err := bench.Produce(ctx, o)
	f := figuresOf(r)
	f[seconds], f[idleCPU] = made.Seconds(), idle
	return f, err
}

// awaitLeaders waits until every partition has a leader.
func (t *trial) awaitLeaders(ctx context.Context, topic string) error {
	cl, err := t.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	for {
		found, err := admin.ListTopics(ctx, topic)
		led := 0
		for _, p := range found[topic].Partitions {
			if p.Leader >= 0 {
				led++
			}
		}
		if err == nil && led == int(t.load.partitions) {
			return nil
		}
		if !pause(ctx) {
			return errors.Join(err, ctx.Err())
		}
	}
}

// manyConnections opens connections that do nothing, and measures a producer beside them.
func manyConnections(ctx context.Context, t *trial) (figures, error) {
	const idle = 5000
	if err := raiseFileLimit(idle + 500); err != nil {
		return nil, err
	}
	addrs := t.system.Addrs()
	for i := range idle {
		nc, err := net.Dial("tcp", addrs[i%len(addrs)])
		if err != nil {
			return nil, err
		}
		defer nc.Close()
	}
	return produce(ctx, t)
}

func raiseFileLimit(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Cur >= n {
		return nil
	}
	limit.Cur = limit.Max
	if limit.Max < n {
		return fmt.Errorf("%d open files are allowed, %d are needed", limit.Max, n)
	}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// killLeader kills a node with SIGKILL while records are sent at a steady rate to
// every partition, and tells the longest time in which a partition, whoever led it, had
// nothing acknowledged.
func killLeader(ctx context.Context, t *trial) (figures, error) {
	topic, remove, err := t.makeTopic(ctx)
	if err != nil {
		return nil, err
	}
	defer remove()
	if err := t.withPartitions(6).awaitLeaders(ctx, topic); err != nil {
		return nil, err
	}
	cl, err := t.connect(ctx, kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var last, worst [6]atomic.Int64
	began := time.Now()
	acked := func(r *kgo.Record, err error) {
		if err != nil {
			return
		}
		now := int64(time.Since(began))
		if before := last[r.Partition].Swap(now); before > 0 {
			worst[r.Partition].Store(max(worst[r.Partition].Load(), now-before))
		}
	}
	value := randomBytes(t.load.size)
	tick := time.NewTicker(time.Duration(float64(time.Second) / t.load.rate))
	defer tick.Stop()
	killed := false
	for i := 0; time.Since(began) < t.duration+20*time.Second; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		cl.Produce(ctx, &kgo.Record{Value: value, Partition: int32(i % 6)}, acked)
		if !killed && time.Since(began) > t.duration {
			killed = true
			for i := range worst {
				worst[i].Store(0) // what came before is not the kill's
			}
			if err := syscall.Kill(t.system.PIDs()[1], syscall.SIGKILL); err != nil {
				return nil, err
			}
		}
	}
	longest := int64(0)
	for i := range worst {
		longest = max(longest, worst[i].Load())
	}
	return figures{gapSeconds: float64(longest) / 1e9}, nil
}

func (t *trial) withPartitions(n int32) *trial {
	other := *t
	other.load.partitions = n
	return &other
}
