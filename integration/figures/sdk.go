//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
	"understudy/integration/process"
)

const (
	sdkKeys    = 10_000
	sdkSenders = 4     // actors that produce
	sdkCredit  = 1_000 // records that each asks room for at a time
	idleKeys   = 20_000
)

// sdk measures the actor SDK beside the Kafka client that it stands on.
func (b *bench) sdk(ctx context.Context) error {
	broker, err := b.start(ctx, "sdk")
	if err != nil {
		return err
	}
	return errors.Join(b.sdkOn(ctx, broker), end(broker))
}

func (b *bench) sdkOn(ctx context.Context, broker *process.Broker) error {
	addr, n := broker.Addr(), int(b.bytes/recordSize)
	ways := []struct {
		name, goal string
		least      float64
		run        func(ctx context.Context, addr, topic string, n int) (perSecond float64, err error)
		values     []float64
	}{
		{name: "produce, raw", run: sdkProduceRaw},
		{name: "produce from actors", goal: "≥ 60", least: 60, run: sdkProduceActors},
		{name: "consume, raw", run: sdkConsumeRaw},
		{name: "consume by partition", goal: "≥ 60", least: 60, run: sdkConsume(client.ByPartition)},
		{name: "consume by key", goal: "≥ 40", least: 40, run: sdkConsume(client.ByKey)},
	}
	for i := range b.runs + 1 {
		topics := fmt.Sprintf("sdk-%d-", i)
		for w := range ways {
			topic := topics + "raw" // is consumed; what actors produce has a topic of its own
			if w == 1 {
				topic = topics + "actors"
			}
			if w < 2 {
				if err := createTopic(ctx, addr, topic, partitions, nil); err != nil {
					return err
				}
			}
			v, err := ways[w].run(ctx, addr, topic, n)
			if err != nil {
				return fmt.Errorf("%s: %w", ways[w].name, err)
			}
			fmt.Fprintf(os.Stderr, "run %d: %s: %.0f records/s\n", i, ways[w].name, v)
			if i > 0 { // everything was cold
				ways[w].values = append(ways[w].values, v)
			}
		}
		if err := errors.Join(deleteTopic(ctx, addr, topics+"raw"), deleteTopic(ctx, addr, topics+"actors")); err != nil {
			return err
		}
	}
	for w, way := range ways {
		if way.goal == "" {
			b.report("sdk: "+way.name, "records/s", way.values, "", nil)
			continue
		}
		raw := ways[min(w-1, 2)/2*2].values // the raw way to do the same
		shares := make([]float64, len(raw))
		for i := range raw {
			shares[i] = 100 * way.values[i] / raw[i]
		}
		b.report("sdk: "+way.name, "% of raw", shares, way.goal, atLeast(way.least))
	}
	return b.idleKeys(ctx, addr)
}

func quiet() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
}

// sdkRecords gives the next record, over many keys.
func sdkRecords(topic string) func(i int) *kgo.Record {
	keys := make([][]byte, sdkKeys)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "key-%05d", i)
	}
	value := make([]byte, recordSize-len(keys[0]))
	_, _ = rand.Read(value) // it does not fail
	return func(i int) *kgo.Record {
		return &kgo.Record{Topic: topic, Key: keys[i%sdkKeys], Value: value}
	}
}

func sdkProduceRaw(ctx context.Context, addr, topic string, n int) (float64, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(10_000))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	record := sdkRecords(topic)
	var failed atomic.Pointer[error]
	began := time.Now()
	for i := range n {
		cl.Produce(ctx, record(i), func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return 0, err
	}
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// sdkSender is an actor that sends records as long as there is room, and counts the answers.
type sdkSender struct {
	producer *actor.PID
	record   func(i int) *kgo.Record
	next, to int
	open     *atomic.Int64 // answers that are to come, of all
	done     chan error    // has room for all senders
}

// Receive is the actor.
func (s *sdkSender) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		ctx.Request(s.producer, client.WaitForRoom{Records: sdkCredit})
	case client.Room:
		for range min(m.Records, s.to-s.next) {
			ctx.Request(s.producer, s.record(s.next))
			s.next++
		}
		if s.next < s.to {
			ctx.Request(s.producer, client.WaitForRoom{Records: sdkCredit})
		}
	case *client.Delivered:
		if s.open.Add(-1) == 0 {
			s.done <- nil
		}
	case *client.Failed:
		select {
		case s.done <- m.Err:
		default:
		}
	}
}

func sdkProduceActors(ctx context.Context, addr, topic string, n int) (float64, error) {
	system := quiet()
	defer system.Shutdown()
	p, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: []string{addr}, Client: []kgo.Opt{kgo.ProducerBatchCompression(kgo.NoCompression())}})
	if err != nil {
		return 0, err
	}
	var open atomic.Int64
	open.Store(int64(n))
	done := make(chan error, 1)
	record := sdkRecords(topic)
	began := time.Now()
	for i := range sdkSenders {
		s := &sdkSender{producer: p.PID(), record: record, next: n * i / sdkSenders, to: n * (i + 1) / sdkSenders, open: &open, done: done}
		system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return s }))
	}
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	rate := float64(n) / time.Since(began).Seconds()
	return rate, errors.Join(err, p.Stop(context.Background()))
}

// span is the time from the first record to the last.
type sdkSpan struct {
	n     int64
	seen  atomic.Int64
	first time.Time
	done  chan struct{}
}

func (s *sdkSpan) record() {
	switch s.seen.Add(1) {
	case 1:
		s.first = time.Now()
	case s.n:
		close(s.done)
	}
}

func sdkConsumeRaw(ctx context.Context, addr, topic string, n int) (float64, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumerGroup(topic+"-raw"), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	var began time.Time
	for seen := 0; seen < n; {
		fetches := cl.PollRecords(ctx, 10_000)
		if err := fetches.Err(); err != nil {
			return 0, err
		}
		if seen == 0 {
			began = time.Now()
		}
		fetches.EachRecord(func(*kgo.Record) { seen++ })
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

func sdkConsume(by client.Route) func(ctx context.Context, addr, topic string, n int) (float64, error) {
	groups := 0
	return func(ctx context.Context, addr, topic string, n int) (float64, error) {
		groups++
		system := quiet()
		defer system.Shutdown()
		span := &sdkSpan{n: int64(n), done: make(chan struct{})}
		s, err := client.Subscribe(system, client.SubscriptionOptions{
			Brokers: []string{addr}, Topics: []string{topic}, Group: fmt.Sprintf("%s-%p-%d", topic, span, groups), By: by,
			Actor: client.Handler(func(actor.Context, *kgo.Record) error { span.record(); return nil }),
		})
		if err != nil {
			return 0, err
		}
		select {
		case <-span.done:
		case <-ctx.Done():
			err = ctx.Err()
		}
		rate := float64(n) / time.Since(span.first).Seconds()
		return rate, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
}

// idleKeys measures the memory that keys cost whose actors live and have nothing to do.
func (b *bench) idleKeys(ctx context.Context, addr string) error {
	var values []float64
	for i := range b.runs {
		topic := fmt.Sprintf("sdk-idle-%d", i)
		if err := createTopic(ctx, addr, topic, partitions, nil); err != nil {
			return err
		}
		v, err := idleKeysOnce(ctx, addr, topic)
		if err != nil {
			return err
		}
		values = append(values, v)
	}
	b.report("sdk: an idle live key", "KiB", values, "≤ 1.5", atMost(1.5))
	return nil
}

func idleKeysOnce(ctx context.Context, addr, topic string) (float64, error) {
	system := quiet()
	defer system.Shutdown()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	seen := make(chan struct{}, idleKeys)
	s, err := client.Subscribe(system, client.SubscriptionOptions{
		Brokers: []string{addr}, Topics: []string{topic}, Group: topic, By: client.ByKey, IdleAfter: time.Hour, CommitEvery: 100 * time.Millisecond,
		Actor: client.Handler(func(actor.Context, *kgo.Record) error { seen <- struct{}{}; return nil }),
	})
	if err != nil {
		return 0, err
	}
	write := func(from, to int) error {
		var records []*kgo.Record
		for i := from; i < to; i++ {
			records = append(records, &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "key-%05d", i), Value: make([]byte, 100)})
		}
		if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return err
		}
		for range records {
			select {
			case <-seen:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	const first = 1000
	if err := write(0, first); err != nil {
		return 0, err
	}
	before := inUse()
	if err := write(first, first+idleKeys); err != nil {
		return 0, err
	}
	after := inUse()
	return float64(after-before) / idleKeys / 1024, s.Stop(ctx)
}

// inUse is the memory that the process uses, in bytes: the heap after a
// collection, and stacks.
func inUse() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
