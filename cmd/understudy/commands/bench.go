package commands

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/cmd/understudy/bench"
	"understudy/config"
)

// defaultAdmin is where the admin endpoint of a node on this machine is, unless it was told otherwise.
const defaultAdmin = "127.0.0.1:9644"

func newBench(streams Streams) *cobra.Command {
	return group(&cobra.Command{
		Use:   "bench",
		Short: "Measure throughput and latency of a cluster",
		Long: `Measure throughput and latency of a cluster, this one or any that Kafka clients can
use. A topic is made for it and deleted afterwards, unless --topic names one that
is there. 1 MB is 10⁶ bytes; sizes are those of the values alone.`,
	}, newBenchProduce(streams), newBenchConsume(streams), newBenchLatency(streams), newBenchLevers(streams))
}

// benchFlags are the flags of the three measurements.
type benchFlags struct {
	conn        clientFlags
	out         outputFlag
	options     bench.Options
	recordSize  sizeFlag
	batchBytes  sizeFlag
	settings    []string
	compression string
	acks        string
	admin       []string
}

// sizeFlag is a flag that takes a size: 64MiB.
type sizeFlag int64

func (f *sizeFlag) String() string { return config.FormatSize(int64(*f)) }
func (f *sizeFlag) Type() string   { return "size" }

// Set reads the flag's text.
func (f *sizeFlag) Set(s string) error {
	n, err := config.ParseSize(s)
	*f = sizeFlag(n)
	return err
}

func (f *benchFlags) add(cmd *cobra.Command) {
	f.conn.add(cmd)
	f.out.add(cmd)
	f.recordSize, f.batchBytes = 1024, 1<<20
	o, fl := &f.options, cmd.Flags()
	fl.StringVar(&o.Topic, "topic", "", "use this topic; it is made when missing")
	fl.Int32Var(&o.Partitions, "partitions", 6, "partitions of the topic that is made")
	fl.Int16Var(&o.Replicas, "replicas", -1, "copies of each; -1: what the broker's default.replication.factor says")
	fl.StringArrayVar(&f.settings, "config", nil, "a setting of the topic that is made, NAME=VALUE; may be repeated")
	fl.Var(&f.recordSize, "record-size", "bytes of a record's value")
	fl.BoolVar(&o.Text, "compressible", false, "fill records with log lines in JSON instead of random bytes")
	fl.Var(&f.batchBytes, "batch-bytes", "the largest batch")
	fl.StringVar(&f.compression, "compression", "none", "none, gzip, snappy, lz4 or zstd")
	fl.StringSliceVar(&f.admin, "admin", nil, "admin endpoints of all brokers, HOST:PORT,... to read their CPU from (default: "+defaultAdmin+" when the broker is on this machine)")
}

// addProducing adds what concerns the writing of the records that are measured.
func (f *benchFlags) addProducing(cmd *cobra.Command, linger time.Duration, rate float64, rateHelp string) {
	o, fl := &f.options, cmd.Flags()
	fl.Int64Var(&o.Records, "records", 0, "measure so many records instead of a duration")
	fl.DurationVar(&o.Duration, "duration", 10*time.Second, "how long to measure")
	fl.DurationVar(&o.Warmup, "warmup", 2*time.Second, "how long to run before that")
	fl.DurationVar(&o.Linger, "linger", linger, "how long a batch waits to be filled")
	fl.StringVar(&f.acks, "acks", "all", "all, 1 or 0")
	fl.IntVar(&o.Clients, "producers", 1, "how many producers, each with connections of its own")
	fl.Float64Var(&o.Rate, "rate", rate, rateHelp)
}

func newBenchProduce(streams Streams) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "produce",
		Short: "Measure how much can be written",
		Example: `  understudy bench produce
  understudy bench produce --record-size 100 --producers 4 --compression lz4 --compressible`,
		Args: args(0, 0, ""),
	}
	f.add(cmd)
	f.addProducing(cmd, 5*time.Millisecond, 0, "records a second, all producers together; 0: as fast as they go")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return f.run(cmd, streams, bench.Produce) }
	return cmd
}

func newBenchConsume(streams Streams) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "consume",
		Short: "Measure how fast a topic can be read",
		Long: `Measure how fast a topic can be read, from its start to its end, again and again.
A topic without records is filled first.`,
		Example: `  understudy bench consume
  understudy bench consume --topic orders --consumers 3`,
		Args: args(0, 0, ""),
	}
	f.add(cmd)
	o, fl := &f.options, cmd.Flags()
	fl.Int64Var(&o.Records, "records", 0, "how many records to fill the topic with; 0: 1 GB of them")
	fl.DurationVar(&o.Duration, "duration", 10*time.Second, "begin to read anew for so long; whole rounds are measured")
	fl.DurationVar(&o.Warmup, "warmup", time.Second, "0: do not read everything once before")
	fl.IntVar(&o.Clients, "consumers", 1, "how many consumers, each with connections of its own; they share the partitions")
	f.acks, o.Linger = "all", 5*time.Millisecond
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.Records == 0 {
			o.Records = max(1, 1_000_000_000/max(1, int64(f.recordSize)))
		}
		return f.run(cmd, streams, bench.Consume)
	}
	return cmd
}

func newBenchLatency(streams Streams) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "latency",
		Short: "Measure how long a record takes at a given rate",
		Long: `Measure how long a record takes at a given rate: until it is acknowledged, and
until a consumer has it. Both count from when the record was due, so that a stall
is felt by every record that it delayed.`,
		Example: `  understudy bench latency --rate 5000 --duration 1m`,
		Args:    args(0, 0, ""),
	}
	f.add(cmd)
	f.addProducing(cmd, 0, 1000, "records a second, all producers together")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.options.Rate <= 0 {
			return wrongUsage(cmd, "--rate %v: a latency is measured at a rate", f.options.Rate)
		}
		return f.run(cmd, streams, bench.Latency)
	}
	return cmd
}

// complete checks the flags and turns them into options.
func (f *benchFlags) complete(cmd *cobra.Command, streams Streams) error {
	o := &f.options
	pairs, err := parsePairs(cmd, "config", f.settings)
	if err != nil {
		return err
	}
	o.TopicConfig = make(map[string]string)
	for _, p := range pairs {
		o.TopicConfig[p.key] = p.value
	}
	if o.Codec, err = parseCompression(cmd, f.compression); err != nil {
		return err
	}
	if o.Acks, err = parseAcks(cmd, f.acks); err != nil {
		return err
	}
	switch {
	case f.recordSize < 1 || f.recordSize > 100<<20:
		return wrongUsage(cmd, "--record-size %v: it is from 1 to 100MiB", &f.recordSize)
	case f.batchBytes < 1024 || f.batchBytes > 100<<20:
		return wrongUsage(cmd, "--batch-bytes %v: it is from 1KiB to 100MiB", &f.batchBytes)
	case o.Clients < 1 || o.Partitions < 1 || o.Records < 0 || o.Duration < 0 || o.Warmup < 0 || o.Rate < 0:
		return wrongUsage(cmd, "a number is too small: there must be a client and a partition, and nothing can be less than 0")
	}
	o.RecordSize, o.BatchBytes = int(f.recordSize), int32(f.batchBytes)
	o.Note = streams.note
	o.Admin = f.admin
	if len(f.admin) == 0 && local(f.conn.seeds()) {
		o.Admin = []string{defaultAdmin}
	}
	return nil
}

// local reports whether all brokers are on this machine.
func local(seeds []string) bool {
	for _, s := range seeds {
		host, _, err := net.SplitHostPort(s)
		ip, ipErr := netip.ParseAddr(host)
		if err != nil || host != "localhost" && (ipErr != nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

func (f *benchFlags) run(cmd *cobra.Command, streams Streams, measure func(context.Context, bench.Options) (bench.Result, error)) error {
	asJSON, err := f.out.json(cmd)
	if err != nil {
		return err
	}
	if err := f.prepare(cmd, streams); err != nil {
		return err
	}
	var bar *progress
	total := int64(-1)
	f.options.Progress = func(done, of int64) {
		if bar == nil || of != total {
			if bar != nil {
				bar.done()
			}
			bar, total = newProgress(streams, of, "measuring", false), of
		}
		bar.set(done)
	}
	r, err := measure(cmd.Context(), f.options)
	if bar != nil {
		bar.done()
	}
	if err != nil {
		return f.explain(cmd, err)
	}
	if asJSON {
		return writeJSON(streams.Out, r)
	}
	return writeBench(streams, r)
}

// prepare completes the options, how to reach the brokers among them.
func (f *benchFlags) prepare(cmd *cobra.Command, streams Streams) error {
	if err := f.complete(cmd, streams); err != nil {
		return err
	}
	f.options.Connect = func(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
		c, err := f.conn.connect(ctx, streams, opts...)
		if err != nil {
			return nil, err
		}
		return c.Client, nil
	}
	return nil
}

// explain is what a measurement's failure is to the user.
func (f *benchFlags) explain(cmd *cobra.Command, err error) error {
	var h *hintedError
	switch {
	case cmd.Context().Err() != nil:
		return errInterrupted
	case errors.As(err, &h):
		return err
	}
	return fmt.Errorf("measuring: %w", err)
}

func writeBench(streams Streams, r bench.Result) error {
	clients := "producer"
	if r.Test == "consume" {
		clients = "consumer"
	}
	rows := [][]any{
		{"load", fmt.Sprintf("%d records of %s, %s, %s, %.1f s", r.Records, bytesText(float64(r.RecordSize)), plural(r.Partitions, "partition"), plural(r.Clients, clients), r.Seconds)},
		{"throughput", fmt.Sprintf("%.1f MB/s, %.0f records/s", r.MBPerSecond, r.RecordsPerSecond)},
	}
	from := "from sent to acknowledged"
	if r.Rate > 0 {
		from = "from due to acknowledged"
		rows = append(rows, []any{"asked for", fmt.Sprintf("%.0f records/s", r.Rate)})
	}
	for _, q := range []struct {
		name string
		of   *bench.Quantiles
	}{{from, r.Acknowledged}, {"from due to consumed", r.Consumed}, {"generator late by", r.Lateness}} {
		if q.of != nil {
			rows = append(rows, []any{q.name, fmt.Sprintf("p50 %s  p90 %s  p99 %s  p99.9 %s  max %s", msText(q.of.P50), msText(q.of.P90), msText(q.of.P99), msText(q.of.P999), msText(q.of.Max))})
		}
	}
	if u := r.Broker; u != nil {
		rows = append(rows, []any{"broker CPU", fmt.Sprintf("%.2f s/GB (%.2f s), %s resident", u.PerGB, u.CPUSeconds, bytesText(float64(u.RSS)))})
	} else {
		rows = append(rows, []any{"broker CPU", "not known; name the admin endpoints with --admin"})
	}
	if u := r.Client; u != nil {
		rows = append(rows, []any{"client CPU", fmt.Sprintf("%.2f s/GB (%.2f s)", u.PerGB, u.CPUSeconds)})
	}
	return writeTable(streams.Out, []column{{name: "bench " + r.Test}, {name: ""}}, rows)
}

// msText is a latency of some milliseconds, in three digits.
func msText(ms float64) string {
	switch {
	case ms < 1:
		return fmt.Sprintf("%.0fµs", ms*1000)
	case ms < 10:
		return fmt.Sprintf("%.2fms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1fms", ms)
	}
	return fmt.Sprintf("%.0fms", ms)
}
