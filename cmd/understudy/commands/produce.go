package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	produceBuffer  = 64 << 20 // bytes of records that may be under way
	defaultMessage = 1048588  // Kafka's default of max.message.bytes
	batchOverhead  = 128      // of a batch with one record and no headers; more than is needed
)

type produceFlags struct {
	conn        clientFlags
	file        string
	separator   string
	headers     []string
	compression string
	acks        string
	partition   int32
	timeout     time.Duration
}

func newProduce(streams Streams) *cobra.Command {
	var f produceFlags
	cmd := &cobra.Command{
		Use:   "produce TOPIC",
		Short: "Write lines from standard input or a file to a topic, one record each",
		Example: `  echo hello | understudy produce orders
  understudy produce orders --file orders.csv --key-separator , --compression zstd
  tail -f app.log | understudy produce logs --header host=web-1`,
		Args: args(1, 1, "topic"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, streams, args[0])
		},
	}
	f.conn.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.file, "file", "", "read lines from this file instead of standard input")
	fl.StringVar(&f.separator, "key-separator", "", "what stands between key and value; a line without it has no key")
	fl.StringArrayVar(&f.headers, "header", nil, "a header for every record, NAME=VALUE; may be repeated")
	fl.StringVar(&f.compression, "compression", "none", "none, gzip, snappy, lz4 or zstd")
	fl.StringVar(&f.acks, "acks", "all", "who must have a record before it counts as written: all in-sync replicas, 1 (the leader), 0 (nobody)")
	fl.Int32Var(&f.partition, "partition", -1, "write to this partition only; -1: by key, else spread")
	fl.DurationVar(&f.timeout, "timeout", 2*time.Minute, "give up on a record that could not be written for this long")
	return cmd
}

func parseCompression(cmd *cobra.Command, name string) (kgo.CompressionCodec, error) {
	switch name {
	case "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.CompressionCodec{}, wrongUsage(cmd, "--compression %s: it is none, gzip, snappy, lz4 or zstd", name)
}

func parseAcks(cmd *cobra.Command, acks string) ([]kgo.Opt, error) {
	switch acks {
	case "all", "-1":
		return []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks())}, nil
	case "1":
		return []kgo.Opt{kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()}, nil
	case "0":
		return []kgo.Opt{kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite()}, nil
	}
	return nil, wrongUsage(cmd, "--acks %s: it is all, 1 or 0", acks)
}

// options checks the flags and turns them into the client's.
func (f *produceFlags) options(cmd *cobra.Command, topic string) ([]kgo.Opt, []kgo.RecordHeader, error) {
	codec, err := parseCompression(cmd, f.compression)
	if err != nil {
		return nil, nil, err
	}
	opts, err := parseAcks(cmd, f.acks)
	if err != nil {
		return nil, nil, err
	}
	pairs, err := parsePairs(cmd, "header", f.headers)
	if err != nil {
		return nil, nil, err
	}
	var headers []kgo.RecordHeader
	for _, p := range pairs {
		headers = append(headers, kgo.RecordHeader{Key: p.key, Value: []byte(p.value)})
	}
	if f.partition >= 0 {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	return append(opts,
		kgo.DefaultProduceTopic(topic),
		kgo.AllowAutoTopicCreation(),
		kgo.ProducerBatchCompression(codec),
		kgo.MaxBufferedBytes(produceBuffer),
		kgo.MaxBufferedRecords(1<<18),
		kgo.RecordDeliveryTimeout(f.timeout),
	), headers, nil
}

func (f *produceFlags) run(cmd *cobra.Command, streams Streams, topic string) error {
	opts, headers, err := f.options(cmd, topic)
	if err != nil {
		return err
	}
	in, size, err := f.open(streams)
	if err != nil {
		return err
	}
	defer in.Close()
	ctx, limit := cmd.Context(), defaultMessage
	c, err := f.conn.connect(ctx, streams, append(opts, kgo.ProducerBatchMaxBytesFn(func(string) int32 { return int32(limit) }))...)
	if err != nil {
		return err
	}
	defer c.Close()
	if limit, err = c.messageLimit(ctx, topic); err != nil {
		return err
	}
	p := &lineProducer{client: c, topic: topic, separator: []byte(f.separator), headers: headers, partition: f.partition, limit: limit,
		bar: newProgress(streams, size, "producing", true)}
	err = p.run(ctx, in)
	p.bar.done()
	p.summary(streams)
	return err
}

// open gives the lines and how many bytes they are, -1 if that is not known.
func (f *produceFlags) open(streams Streams) (io.ReadCloser, int64, error) {
	if f.file == "" || f.file == "-" {
		if isTerminal(streams.In) && streams.watched() {
			streams.note("every line becomes a record; end with Ctrl-D")
		}
		return io.NopCloser(streams.In), -1, nil
	}
	file, err := os.Open(f.file)
	if err != nil {
		return nil, 0, err
	}
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		return file, info.Size(), nil
	}
	return file, -1, nil
}

// messageLimit asks how large a message the topic takes. A topic that is not
// there yet, or a broker that does not tell, has Kafka's default.
func (c *client) messageLimit(ctx context.Context, topic string) (int, error) {
	found, err := c.admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return 0, c.explain(err)
	}
	r, err := found.On(topic, nil)
	if err != nil || r.Err != nil {
		return defaultMessage, nil
	}
	for _, setting := range r.Configs {
		if n, err := strconv.Atoi(setting.MaybeValue()); setting.Key == "max.message.bytes" && err == nil {
			return min(max(n, 1<<10), 100<<20), nil // what the client's own limits allow
		}
	}
	return defaultMessage, nil
}

// lineProducer sends one record for each line.
type lineProducer struct {
	client    *client
	topic     string
	separator []byte
	headers   []kgo.RecordHeader
	partition int32
	limit     int // bytes of one message
	bar       *progress

	began time.Time
	sent  int64 // lines handed to the client

	mu       sync.Mutex
	acked    int64
	bytes    int64
	failed   error // the first failure
	failedAt int64 // its line
}

// run reads until the lines end, a record fails or ctx does. It returns when
// everything that was sent has been answered.
func (p *lineProducer) run(ctx context.Context, in io.Reader) error {
	p.began = time.Now()
	sendCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	type line struct {
		text []byte
		err  error
	}
	// The reader has its own goroutine because a read from a terminal cannot be
	// interrupted; the channel is short, so memory stays bounded.
	lines := make(chan []line, 4)
	go func() {
		defer close(lines)
		reader := newLineReader(in, p.limit-batchOverhead)
		for {
			var some []line
			for len(some) < 256 {
				text, err := reader.next()
				some = append(some, line{text, err})
				if err != nil || reader.idle() {
					break
				}
			}
			select {
			case lines <- some:
			case <-sendCtx.Done():
				return
			}
			if some[len(some)-1].err != nil {
				return
			}
		}
	}()
	var stop error
	for stop == nil {
		select {
		case <-ctx.Done():
			stop = errInterrupted
		case some := <-lines:
			for _, l := range some {
				if l.err == nil {
					l.err = p.send(sendCtx, cancel, l.text)
				}
				if l.err != nil {
					stop = l.err
					break
				}
			}
		}
	}
	return p.finish(ctx, sendCtx, stop)
}

// send hands one line to the client, which blocks while too much is under way.
func (p *lineProducer) send(ctx context.Context, fail context.CancelCauseFunc, text []byte) error {
	if err := p.failure(); err != nil {
		return err
	}
	p.sent++
	number, size := p.sent, len(text)
	r := &kgo.Record{Value: text, Headers: p.headers, Partition: max(p.partition, 0)}
	if len(p.separator) > 0 {
		r.Key, r.Value = splitKey(text, p.separator)
	}
	p.client.Produce(ctx, r, func(_ *kgo.Record, err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if err == nil {
			p.acked++
			p.bytes += int64(size)
			p.bar.add(int64(size) + 1)
			return
		}
		if p.failed == nil || number < p.failedAt {
			p.failed, p.failedAt = err, number
		}
		fail(err)
	})
	return nil
}

func (p *lineProducer) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// finish waits for the answers to what was sent and says what went wrong.
func (p *lineProducer) finish(ctx, sendCtx context.Context, stop error) error {
	flushErr := p.client.Flush(sendCtx)
	if err := p.failure(); err != nil {
		return p.explainLine(p.failedAt, err)
	}
	var long *longLineError
	switch {
	case errors.As(stop, &long):
		return p.explainLine(p.sent+1, kerr.MessageTooLarge)
	case errors.Is(stop, errInterrupted):
		return errInterrupted
	case !errors.Is(stop, io.EOF):
		return fmt.Errorf("reading line %d: %w", p.sent+1, stop)
	case flushErr != nil && ctx.Err() == nil:
		return p.client.explain(flushErr)
	}
	return nil
}

func (p *lineProducer) explainLine(number int64, err error) error {
	if errors.Is(err, kerr.MessageTooLarge) {
		return hint(&worded{fmt.Sprintf("line %d is too long: topic %s takes messages of up to %d bytes", number, p.topic, p.limit), err},
			"allow longer ones with: understudy topic alter %s --config max.message.bytes=N", p.topic)
	}
	if errors.Is(err, kgo.ErrRecordTimeout) {
		return hint(&worded{fmt.Sprintf("line %d could not be written in time", number), err}, "is the broker up, and are enough replicas in sync? see: understudy topic describe %s", p.topic)
	}
	cause := aboutTopic(p.topic, err, "")
	return hint(&worded{fmt.Sprintf("line %d: %s", number, cause), err}, "%s", hintOf(cause))
}

func (p *lineProducer) summary(streams Streams) {
	p.mu.Lock()
	defer p.mu.Unlock()
	took := time.Since(p.began)
	words := fmt.Sprintf("produced %s (%s) to %s in %s, %s/s", plural(p.acked, "line"), bytesText(float64(p.bytes)), p.topic, secondsText(took), bytesText(rate(float64(p.bytes), took)))
	if p.acked < p.sent {
		words += fmt.Sprintf("; %d more were sent and not acknowledged", p.sent-p.acked)
	}
	streams.note("%s", words)
}
