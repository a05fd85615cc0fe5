//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/integration/process"
)

const (
	storedTopic      = "stored"
	storedPartitions = 1000
	stopLimit        = 2 * time.Second
)

// ready measures how long a start takes, from the start of the process to its
// ready line, with a thousand partitions that hold data.
func (b *bench) ready(ctx context.Context) error {
	broker, err := b.start(ctx, "ready")
	if err != nil {
		return err
	}
	return errors.Join(b.readyOf(ctx, broker), end(broker))
}

func (b *bench) readyOf(ctx context.Context, broker *process.Broker) error {
	caching := "true" // the filling is not what is measured
	if err := createTopic(ctx, broker.Addr(), storedTopic, storedPartitions, map[string]*string{"write.caching": &caching}); err != nil {
		return err
	}
	if err := spread(ctx, broker.Addr(), b.stored, 64<<10); err != nil {
		return err
	}
	var clean, stop, killed []float64
	for range b.runs {
		began := time.Now()
		if err := broker.Stop(stopLimit); err != nil {
			return err
		}
		stop = append(stop, float64(time.Since(began).Milliseconds()))
		if err := broker.Restart(ctx); err != nil {
			return err
		}
		clean = append(clean, ms(broker.Ready().After))
	}
	for range b.runs {
		// Every partition gets something that no checkpoint can know of.
		if err := spread(ctx, broker.Addr(), storedPartitions*200<<10, 100<<10); err != nil {
			return err
		}
		broker.Kill()
		if err := broker.Restart(ctx); err != nil {
			return err
		}
		killed = append(killed, ms(broker.Ready().After))
	}
	what := fmt.Sprintf("%d partitions, %d GB", storedPartitions, (b.stored+giga/2)/giga)
	b.report("ready after an orderly stop, "+what, "ms", clean, "≤ 100", atMost(100))
	b.report("… the stop itself", "ms", stop, "≤ 2000", atMost(2000))
	b.report("ready after kill -9, "+what, "ms", killed, "≤ 1000", atMost(1000))
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// spread writes so many bytes evenly over all partitions, in batches of a size.
func spread(ctx context.Context, addr string, bytes int64, batchSize int) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(storedTopic), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(4096))
	if err != nil {
		return err
	}
	defer cl.Close()
	value := make([]byte, batchSize/4)
	if _, err := rand.Read(value); err != nil {
		return err
	}
	var failed error
	for i := int64(0); i < bytes/int64(len(value)); i++ {
		// Four in a row make a batch.
		record := &kgo.Record{Partition: int32(i / 4 % storedPartitions), Value: value}
		cl.Produce(ctx, record, func(_ *kgo.Record, err error) { failed = errors.Join(failed, err) })
	}
	return errors.Join(cl.Flush(ctx), failed)
}

// idle measures what a broker takes that has nothing to do.
func (b *bench) idle(ctx context.Context) error {
	for _, test := range []struct {
		partitions int
		mib, cpu   float64
	}{{100, 40, 0}, {10_000, 150, 1}} {
		if err := b.idleWith(ctx, test.partitions, test.mib, test.cpu); err != nil {
			return err
		}
	}
	return nil
}

// Idle is looked at for a while, after a while in which what the start needed is given back.
const (
	settling = 10 * time.Second
	watching = 20 * time.Second
)

func (b *bench) idleWith(ctx context.Context, partitions int, mib, cpu float64) error {
	broker, err := process.Start(ctx, process.Options{DataDir: filepath.Join(b.dir, "idle")})
	if err != nil {
		return err
	}
	defer end(broker)
	const perTopic = 100
	for i := range partitions / perTopic {
		if err := createTopic(ctx, broker.Addr(), fmt.Sprintf("idle-%d", i), perTopic, nil); err != nil {
			return err
		}
	}
	after := func(what string, goals bool) error {
		resident, busy, err := watch(ctx, broker)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%d partitions, %s", partitions, what)
		if !goals {
			b.report("resident, "+name, "MiB", resident, "", nil)
			b.report("CPU, "+name, "% of a core", busy, "", nil)
			return nil
		}
		b.report("resident, "+name, "MiB", resident, fmt.Sprintf("≤ %.0f", mib), atMost(mib))
		if cpu > 0 {
			b.report("CPU, "+name, "% of a core", busy, fmt.Sprintf("≤ %.0f", cpu), atMost(cpu))
		} else {
			b.report("CPU, "+name, "% of a core", busy, "", nil)
		}
		return nil
	}
	if err := after("just created", false); err != nil {
		return err
	}
	if err := broker.Stop(stopLimit); err != nil {
		return err
	}
	if err := broker.Restart(ctx); err != nil {
		return err
	}
	return after("idle", true)
}

// watch lets a broker settle and then reads its memory and CPU time.
func watch(ctx context.Context, broker *process.Broker) (resident, busy []float64, err error) {
	if err := pass(ctx, settling); err != nil {
		return nil, nil, err
	}
	before, err := broker.Usage()
	if err != nil {
		return nil, nil, err
	}
	if err := pass(ctx, watching); err != nil {
		return nil, nil, err
	}
	after, err := broker.Usage()
	return []float64{float64(after.Resident) / (1 << 20)}, []float64{100 * (after.CPU - before.CPU).Seconds() / watching.Seconds()}, err
}

// pass lets time pass.
func pass(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
