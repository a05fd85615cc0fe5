//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/cmd/understudy/bench"
)

// scenario is something to measure.
type scenario struct {
	name  string
	about string
	load  load
	run   func(context.Context, *trial) (figures, error)
	on    []string // systems
	quick bool     // is part of -quick
	ruins bool     // takes nodes away: the system is started anew for what follows, which comes last for that
}

// load is what clients do. The zero value of a field is the usual.
type load struct {
	size       int
	batch      int32 // bytes; 0: 1 MB
	partitions int32 // 0: 6
	replicas   int16 // 0: one on each node
	clients    int   // 0: 1
	rate       float64
	lz4        bool // on log lines
}

// figures are what a trial has measured, by name.
type figures map[string]float64

// The names of figures.
const (
	throughput = "MB/s"
	perSecond  = "records/s"
	brokerCPU  = "broker CPU s/GB"
	clientCPU  = "client CPU s/GB"
	resident   = "resident MiB a broker"
	ackP50     = "p50 ms"
	ackP99     = "p99 ms"
	seenP50    = "consumed p50 ms"
	seenP99    = "consumed p99 ms"
	seconds    = "s"
	idleCPU    = "idle CPU %"
	idleMiB    = "idle MiB a broker"
	gapSeconds = "longest gap s"
)

var (
	all      = []string{understudy, understudyCached, kafka, kafkaSynced, natsDefault, natsSynced, bare, bareCached}
	brokers  = []string{understudy, understudyCached, kafka, kafkaSynced}
	defaults = []string{understudy, kafka}
	withSink = append(slices.Clip(all), sink)
	alone    = []string{understudyAlone, kafkaAlone}
)

// scenarios are all that there are, in the order in which they run on a system.
var scenarios = []scenario{
	{name: "produce-1k", about: "1 KiB records, batches up to 1 MB", load: load{size: 1 << 10}, run: produce, on: withSink, quick: true},
	{name: "produce-100", about: "100 B records, batches up to 1 MB", load: load{size: 100}, run: produce, on: withSink, quick: true},
	{name: "produce-10k", about: "10 KiB records, batches up to 1 MB", load: load{size: 10 << 10}, run: produce, on: withSink},
	{name: "produce-1k-16k", about: "1 KiB records, batches up to 16 KB, as Java clients send", load: load{size: 1 << 10, batch: 16 << 10}, run: produce, on: kafkaLike, quick: true},
	{name: "produce-1k-64k", about: "1 KiB records, batches up to 64 KB", load: load{size: 1 << 10, batch: 64 << 10}, run: produce, on: kafkaLike},
	{name: "produce-1k-one", about: "1 KiB records, batches up to 1 MB, one partition", load: load{size: 1 << 10, partitions: 1}, run: produce, on: brokers},
	{name: "produce-1k-100", about: "1 KiB records, batches up to 1 MB, 100 partitions", load: load{size: 1 << 10, partitions: 100}, run: produce, on: brokers},
	{name: "produce-1k-single", about: "1 KiB records, batches up to 1 MB, one replica", load: load{size: 1 << 10, replicas: 1}, run: produce, on: brokers},
	{name: "produce-lz4", about: "log lines of about 400 B, lz4, batches up to 1 MB", load: load{size: 400, lz4: true}, run: produce, on: defaults},
	{name: "sync-1k", about: "one record of 1 KiB at a time, each waits for the one before", load: load{size: 1 << 10}, run: synchronous, on: all, quick: true},
	{name: "latency-1k", about: "1,000 records a second of 1 KiB, open loop, until consumed", load: load{size: 1 << 10, rate: 1000}, run: latency, on: brokers, quick: true},
	{name: "consume-1k", about: "1 KiB records from the start", load: load{size: 1 << 10}, run: consume, on: []string{understudy, kafka, natsDefault}, quick: true},
	{name: "consume-100", about: "100 B records from the start", load: load{size: 100}, run: consume, on: defaults},
	{name: "consume-10k", about: "10 KiB records from the start", load: load{size: 10 << 10}, run: consume, on: defaults},
	{name: "consume-1k-one", about: "1 KiB records from the start, one partition", load: load{size: 1 << 10, partitions: 1}, run: consume, on: defaults},
	{name: "partitions-1000", about: "1,000 partitions are made and led, rest, and are written to", load: load{size: 1 << 10, partitions: 1000}, run: manyPartitions, on: defaults},
	{name: "producers-1000", about: "1,000 producers at once, 1 KiB records", load: load{size: 1 << 10, clients: 1000}, run: produce, on: defaults},
	{name: "producers-10", about: "ten producers, 1 KiB records", load: load{size: 1 << 10, clients: 10}, run: produce, on: defaults},
	{name: "connections-5000", about: "5,000 connections that say nothing, beside a producer", load: load{size: 1 << 10}, run: manyConnections, on: defaults},
	{name: "fan-out", about: "ten topics with ten consumers each, that all get every record; 1,000 a second of 1 KiB", load: load{size: 1 << 10, rate: 1000}, run: fanOut, on: defaults},
	{name: "groups-200", about: "200 groups, of one consumer each, begin to read a topic, commit, and rest", load: load{size: 100}, run: manyGroups, on: defaults},
	{name: "catch-up", about: "a node that was stopped comes back and gets a GiB that it has missed", load: load{size: 1 << 10}, run: catchUp, on: defaults},
	{name: "start", about: "from the start of the process until a record is acknowledged that a client sends to a new topic", load: load{size: 100}, run: starts, on: alone},
	{name: "partitions-10", about: "10 partitions on one node: at full speed, and 1,000 records a second dealt out to all", load: load{size: 1 << 10, partitions: 10, rate: 1000}, run: spread, on: alone},
	{name: "partitions-10000", about: "10,000 partitions on one node: the same; slow on Kafka", load: load{size: 1 << 10, partitions: 10000, rate: 1000}, run: spread, on: alone},
	{name: "stop-leader", about: "SIGTERM to a node under load: how long nothing was acknowledged", load: load{size: 1 << 10, rate: 500}, run: loseNode(syscall.SIGTERM, false), on: defaults, ruins: true},
	{name: "kill-leader", about: "kill -9 of a node under load that is not the controller: how long nothing was acknowledged", load: load{size: 1 << 10, rate: 500}, run: loseNode(syscall.SIGKILL, false), on: defaults, ruins: true},
	{name: "kill-controller", about: "kill -9 of the node that is the controller and leads partitions, under load", load: load{size: 1 << 10, rate: 500}, run: loseNode(syscall.SIGKILL, true), on: defaults, ruins: true},
}

// kafkaLike are the systems to which batches mean what they mean to Kafka.
var kafkaLike = []string{understudy, understudyCached, kafka, kafkaSynced, bare, bareCached, sink}

// trial is one scenario on one system that runs.
type trial struct {
	kind     kind
	system   system
	lab      *lab
	load     load
	duration time.Duration
	warmup   time.Duration
}

const mb = 1 << 20

func (t *trial) connect(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(t.system.Addrs()...)}, opts...)...)
}

// partitions is how many the load's topic has.
func (t *trial) partitions() int32 {
	if n := t.load.partitions; n > 0 {
		return n
	}
	return 6
}

// replicas is how many each of them has.
func (t *trial) replicas() int16 {
	if n := t.load.replicas; n > 0 {
		return n
	}
	return t.kind.replicas()
}

// options are those of the project's own measurements.
func (t *trial) options() bench.Options {
	l := t.load
	o := bench.Options{
		Connect: t.connect, Spent: usage(t.system),
		Topic: t.kind.only, Partitions: t.partitions(), Replicas: t.replicas(), TopicConfig: t.kind.topic,
		RecordSize: l.size, Duration: t.duration, Warmup: t.warmup, BatchBytes: mb, Linger: 5 * time.Millisecond,
		Codec: kgo.NoCompression(), Acks: []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks())},
		Clients: max(l.clients, 1), Rate: l.rate,
		Progress: func(int64, int64) {}, Note: func(format string, args ...any) { note("      "+format, args...) },
	}
	if l.batch > 0 {
		o.BatchBytes = l.batch
	}
	if l.lz4 {
		o.Codec, o.Text = kgo.Lz4Compression(), true
	}
	return o
}

func produce(ctx context.Context, t *trial) (figures, error) {
	if t.kind.nats {
		return t.publish(ctx)
	}
	r, err := bench.Produce(ctx, t.options())
	return t.figuresOf(r), err
}

func consume(ctx context.Context, t *trial) (figures, error) {
	if t.kind.nats {
		return t.readStreams(ctx)
	}
	o := t.options()
	o.Records = int64(consumeBytes / t.load.size)
	r, err := bench.Consume(ctx, o)
	return t.figuresOf(r), err
}

// consumeBytes is how much is there to be read, again and again.
const consumeBytes = 512 << 20

func latency(ctx context.Context, t *trial) (figures, error) {
	o := t.options()
	o.Linger = 0
	r, err := bench.Latency(ctx, o)
	return t.figuresOf(r), err
}

func (t *trial) figuresOf(r bench.Result) figures {
	f := figures{throughput: r.MBPerSecond, perSecond: r.RecordsPerSecond}
	if r.Broker != nil {
		f[brokerCPU] = r.Broker.PerGB
		f[resident] = float64(r.Broker.RSS) / float64(t.kind.replicas()) / mb
	}
	if r.Client != nil {
		f[clientCPU] = r.Client.PerGB
	}
	if q := r.Acknowledged; q != nil && r.Rate > 0 {
		f[ackP50], f[ackP99] = q.P50, q.P99
	}
	if q := r.Consumed; q != nil {
		f[seenP50], f[seenP99] = q.P50, q.P99
	}
	return f
}

// find gives the scenario of a name.
func find(name string) (scenario, error) {
	for _, s := range scenarios {
		if s.name == name {
			return s, nil
		}
	}
	return scenario{}, fmt.Errorf("there is no scenario %q; -list names them", name)
}
