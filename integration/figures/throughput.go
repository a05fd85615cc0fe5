//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"

	"understudy/integration/process"
)

const (
	recordSize = 1024
	partitions = 6
	pieceSize  = 256 << 10 // of the plain writes
	roundSize  = 1 << 20   // they are synced after so many bytes
	mega       = 1e6
	giga       = 1e9
)

// throughput measures producing and consuming.
func (b *bench) throughput(ctx context.Context) error {
	ceiling, err := startCeiling(ctx)
	if err != nil {
		return err
	}
	defer ceiling.stop()
	broker, err := b.start(ctx, "throughput")
	if err != nil {
		return err
	}
	err = b.throughputOf(ctx, broker, ceiling)
	return errors.Join(err, end(broker))
}

func (b *bench) throughputOf(ctx context.Context, broker *process.Broker, ceiling *ceilingProcess) error {
	var raw, produced, produceCPU, sink, consumed, consumeCPU, source, ofRaw, ofSink, ofSource []float64
	for i := range b.runs + 1 {
		topic := fmt.Sprintf("throughput-%d", i)
		r, err := b.rawWrites()
		if err != nil {
			return err
		}
		s, err := produce(ctx, ceiling.addr, topic, b.bytes)
		if err != nil {
			return fmt.Errorf("into the sink: %w", err)
		}
		p, pc, err := b.measured(ctx, broker, topic, produceInto)
		if err != nil {
			return err
		}
		f, err := consume(ctx, ceiling.addr, topic, b.bytes)
		if err != nil {
			return fmt.Errorf("from the source: %w", err)
		}
		c, cc, err := b.measured(ctx, broker, topic, consume)
		if err != nil {
			return err
		}
		if err := deleteTopic(ctx, broker.Addr(), topic); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "run %d: raw %.0f, sink %.0f, produce %.0f MB/s (%.2f CPU s/GB); source %.0f, consume %.0f MB/s (%.2f CPU s/GB)\n", i, r, s, p, pc, f, c, cc)
		if i == 0 {
			continue // everything was cold
		}
		raw, sink, produced, produceCPU = append(raw, r), append(sink, s), append(produced, p), append(produceCPU, pc)
		source, consumed, consumeCPU = append(source, f), append(consumed, c), append(consumeCPU, cc)
		ofRaw, ofSink, ofSource = append(ofRaw, 100*p/r), append(ofSink, 100*p/s), append(ofSource, 100*c/f)
	}
	b.report("plain writes and fdatasyncs", "MB/s", raw, "", nil)
	b.report("produce into a sink (the client's ceiling)", "MB/s", sink, "", nil)
	b.report("produce, acks=all on disk", "MB/s", produced, "450, or 70% of plain writes", func(v float64) bool { return v >= 450 || (row{values: ofRaw}).median() >= 70 })
	b.report("… of plain writes", "%", ofRaw, "", nil)
	b.report("… of the client's ceiling", "%", ofSink, "", nil)
	b.report("broker CPU, produce", "s/GB", produceCPU, "", nil)
	b.report("consume from memory (the client's ceiling)", "MB/s", source, "", nil)
	b.report("consume", "MB/s", consumed, "", nil)
	b.report("… of the client's ceiling", "%", ofSource, "≥ 80", atLeast(80))
	b.report("broker CPU, consume", "s/GB", consumeCPU, "≤ 0.5", atMost(0.5))
	usage, err := broker.Usage()
	b.report("broker resident after it all", "MiB", []float64{float64(usage.Resident) / (1 << 20)}, "", nil)
	return err
}

// measured is the rate of some work, in MB/s, and what CPU time the broker took
// for it, in seconds per GB.
func (b *bench) measured(ctx context.Context, broker *process.Broker, topic string, work func(ctx context.Context, addr, topic string, bytes int64) (float64, error)) (rate, cpu float64, err error) {
	before, err := broker.Usage()
	if err != nil {
		return 0, 0, err
	}
	if rate, err = work(ctx, broker.Addr(), topic, b.bytes); err != nil {
		return 0, 0, err
	}
	after, err := broker.Usage()
	return rate, (after.CPU - before.CPU).Seconds() / (float64(b.bytes) / giga), err
}

// rawWrites is the rate at which the disk takes the same bytes from a loop that
// does nothing else, in MB/s.
func (b *bench) rawWrites() (rate float64, err error) {
	piece := make([]byte, pieceSize)
	if _, err := rand.Read(piece); err != nil {
		return 0, err
	}
	f, err := os.Create(filepath.Join(b.dir, "raw"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	began := time.Now()
	for written := int64(0); written < b.bytes; {
		for range roundSize / pieceSize {
			n, err := f.Write(piece)
			if err != nil {
				return 0, err
			}
			written += int64(n)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
	}
	return float64(b.bytes) / mega / time.Since(began).Seconds(), nil
}

func createTopic(ctx context.Context, addr, topic string, partitions int32, config map[string]*string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return err
	}
	defer cl.Close()
	_, err = kadm.NewClient(cl).CreateTopic(ctx, partitions, 1, config, topic)
	return err
}

func deleteTopic(ctx context.Context, addr, topic string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return err
	}
	defer cl.Close()
	_, err = kadm.NewClient(cl).DeleteTopic(ctx, topic)
	return err
}

// produceInto makes a topic and produces into it.
func produceInto(ctx context.Context, addr, topic string, bytes int64) (rate float64, err error) {
	if err := createTopic(ctx, addr, topic, partitions, nil); err != nil {
		return 0, err
	}
	return produce(ctx, addr, topic, bytes)
}

// produce sends records until so many bytes of values are acknowledged, and
// returns the rate in MB/s.
func produce(ctx context.Context, addr, topic string, bytes int64) (rate float64, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(64<<10),
		kgo.RecordPartitioner(kgo.UniformBytesPartitioner(64<<10, false, false, nil)))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	value := make([]byte, recordSize)
	if _, err := rand.Read(value); err != nil {
		return 0, err
	}
	var failed error
	var once sync.Once
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			once.Do(func() { failed = err })
		}
	}
	began := time.Now()
	for range bytes / recordSize {
		cl.Produce(ctx, &kgo.Record{Value: value}, promise)
	}
	if err := cl.Flush(ctx); err != nil {
		return 0, err
	}
	return float64(bytes) / mega / time.Since(began).Seconds(), failed
}

// consume reads a topic from its start until so many bytes of values have come,
// and returns the rate in MB/s.
func consume(ctx context.Context, addr, topic string, bytes int64) (rate float64, err error) {
	from := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		from[p] = kgo.NewOffset().AtStart()
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	began := time.Now()
	for got := int64(0); got < bytes; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return 0, fmt.Errorf("after %d bytes of %d: %w", got, bytes, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { got += int64(len(r.Value)) })
	}
	return float64(bytes) / mega / time.Since(began).Seconds(), nil
}
