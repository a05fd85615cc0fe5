// Package bench measures a cluster from a client's side: how much it takes, how
// much it gives, and how long that takes. It speaks the Kafka protocol through
// franz-go and works with any broker that does.
//
// What makes the figures honest: payloads cannot be compressed unless asked for;
// a warm-up is not counted; only what was acknowledged counts; with a rate, the
// load is open-loop and each latency counts from when the record was due and not
// from when it could be sent, so that a stall is felt by every record that it
// delayed (no coordinated omission); the generator's own lateness and its CPU are
// told beside the broker's.
package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Options of a run. The zero value of a field is not a default: the command has those.
type Options struct {
	Connect func(context.Context, ...kgo.Opt) (*kgo.Client, error) // makes a client of the cluster

	Topic       string // empty: an own one is made, and deleted in the end
	Partitions  int32
	Replicas    int16             // -1: the broker's default
	TopicConfig map[string]string // of the own topic
	RecordSize  int               // bytes of value
	Text        bool              // log lines in JSON, which can be compressed, instead of random bytes
	Records     int64             // to measure; 0: as many as Duration allows
	Duration    time.Duration     // of the measurement
	Warmup      time.Duration     // before it
	BatchBytes  int32             // the largest batch
	Linger      time.Duration     // how long a batch waits to be filled
	Codec       kgo.CompressionCodec
	Acks        []kgo.Opt
	Clients     int     // producers or consumers, each with its own connections
	Rate        float64 // records a second, all producers together; 0: as fast as they go

	Admin    []string                // the brokers' admin endpoints, for their CPU; may be empty
	Spent    Spending                // another way to know it; nil: from Admin
	Progress func(done, total int64) // called now and then; the unit is the run's affair
	Note     func(string, ...any)    // told what a person should know
}

// Result is what was measured.
type Result struct {
	Test       string  `json:"test"`
	Partitions int     `json:"partitions"`
	RecordSize int     `json:"record_size"`
	Clients    int     `json:"clients"`
	Rate       float64 `json:"rate_per_second,omitempty"` // that was asked for

	Records          int64   `json:"records"`
	Bytes            int64   `json:"bytes"` // of values
	Seconds          float64 `json:"seconds"`
	RecordsPerSecond float64 `json:"records_per_second"`
	MBPerSecond      float64 `json:"mb_per_second"` // of 10⁶ bytes

	Acknowledged *Quantiles `json:"acknowledged,omitempty"` // from due (or sent) to acknowledged
	Consumed     *Quantiles `json:"consumed,omitempty"`     // from due to consumed
	Lateness     *Quantiles `json:"lateness,omitempty"`     // of the generator: from due to sent

	Broker *Usage `json:"broker,omitempty"` // of all brokers that could be asked
	Client *Usage `json:"client,omitempty"` // of this process
}

// Usage is what a side spent.
type Usage struct {
	CPUSeconds float64 `json:"cpu_seconds"`
	PerGB      float64 `json:"cpu_seconds_per_gb"` // of 10⁹ bytes
	RSS        int64   `json:"resident_bytes,omitempty"`
}

// Spending tells what all brokers have used: CPU seconds since they began, and
// the bytes that are resident.
type Spending func(context.Context) (cpu float64, resident int64, err error)

// Quantiles are of a latency, in milliseconds.
type Quantiles struct {
	Mean float64 `json:"mean_ms"`
	P50  float64 `json:"p50_ms"`
	P90  float64 `json:"p90_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p99_9_ms"`
	Max  float64 `json:"max_ms"`
}

// A histogram counts nanoseconds, from 1 µs to 2 minutes, to three digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(time.Microsecond), int64(2*time.Minute), 3)
}

// record counts a latency; what is out of range counts as the bound.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(int64(d), h.LowestTrackableValue()), h.HighestTrackableValue())) // in range: cannot fail
}

func quantiles(hs ...*hdrhistogram.Histogram) *Quantiles {
	all := newHistogram()
	for _, h := range hs {
		all.Merge(h)
	}
	if all.TotalCount() == 0 {
		return nil
	}
	ms := func(ns float64) float64 { return ns / float64(time.Millisecond) }
	at := func(q float64) float64 { return ms(float64(all.ValueAtQuantile(q))) }
	return &Quantiles{Mean: ms(all.Mean()), P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: ms(float64(all.Max()))}
}

// payload gives record values out of one large block, so that making them costs
// nothing while measuring.
type payload struct {
	block []byte
	size  int
	at    int
}

const payloadBlock = 8 << 20

func newPayload(size int, text bool, seed uint64) *payload {
	if text {
		return &payload{block: lines(size, seed), size: size}
	}
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1})
	p := &payload{block: make([]byte, payloadBlock+size), size: size}
	_, _ = random.Read(p.block) // never fails
	return p
}

// next is a value; it must not be changed.
func (p *payload) next() []byte {
	v := p.block[p.at : p.at+p.size]
	if p.at += p.size; p.at+p.size > len(p.block) {
		p.at = 0
	}
	return v
}

// prepare makes the topic, unless one was named that is there, and gives its
// name, how many partitions it has and what takes it away again.
func (o *Options) prepare(ctx context.Context) (topic string, partitions int, remove func(), err error) {
	cl, err := o.Connect(ctx)
	if err != nil {
		return "", 0, nil, err
	}
	admin := kadm.NewClient(cl)
	topic = o.Topic
	if topic != "" {
		found, err := admin.ListTopicsWithInternal(ctx, topic)
		if err == nil && found[topic].Err == nil {
			return topic, len(found[topic].Partitions), cl.Close, nil
		}
	} else {
		topic = fmt.Sprintf("understudy-bench-%08x", rand.Uint32())
	}
	config := make(map[string]*string, len(o.TopicConfig))
	for k, v := range o.TopicConfig {
		config[k] = &v
	}
	made, err := admin.CreateTopics(ctx, o.Partitions, o.Replicas, config, topic)
	if err == nil {
		if r := made[topic]; r.Err != nil && !errors.Is(r.Err, kerr.TopicAlreadyExists) {
			err = fmt.Errorf("creating topic %s: %w: %s", topic, r.Err, r.ErrMessage)
		}
	}
	if err != nil {
		cl.Close()
		return "", 0, nil, err
	}
	remove = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if _, err := admin.DeleteTopic(ctx, topic); err != nil {
			o.Note("topic %s could not be deleted: %v", topic, err)
		}
		cl.Close()
	}
	return topic, int(o.Partitions), remove, nil
}

// producerOptions are those of every producing client.
func (o *Options) producerOptions(topic string) []kgo.Opt {
	const buffer = 64 << 20
	return append([]kgo.Opt{
		kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchMaxBytes(o.BatchBytes),
		kgo.ProducerLinger(o.Linger),
		kgo.ProducerBatchCompression(o.Codec),
		kgo.MaxBufferedBytes(buffer),
		kgo.MaxBufferedRecords(max(1000, min(1<<20, buffer/max(1, o.RecordSize)))),
		kgo.RecordPartitioner(kgo.UniformBytesPartitioner(int(o.BatchBytes), false, false, nil)),
	}, o.Acks...)
}

// window is what was spent between its opening and its closing.
type window struct {
	options *Options
	began   time.Time
	client  time.Duration
	broker  brokerUsage
	asked   bool // the brokers answered
}

func (o *Options) open(ctx context.Context) *window {
	w := &window{options: o}
	if o.Spent != nil || len(o.Admin) > 0 {
		usage, err := o.spent(ctx)
		w.broker, w.asked = usage, err == nil
		if err != nil {
			o.Note("the brokers' CPU is left out: %v", err)
		}
	}
	w.client, w.began = processCPU(), time.Now()
	return w
}

// close completes a result whose Records and Bytes are those of the window.
func (w *window) close(ctx context.Context, r *Result) {
	took, client := time.Since(w.began), processCPU()-w.client
	gb := float64(r.Bytes) / 1e9
	r.Seconds = took.Seconds()
	r.RecordsPerSecond = float64(r.Records) / r.Seconds
	r.MBPerSecond = float64(r.Bytes) / 1e6 / r.Seconds
	if client > 0 {
		r.Client = &Usage{CPUSeconds: client.Seconds(), PerGB: perGB(client.Seconds(), gb)}
	}
	if !w.asked {
		return
	}
	usage, err := w.options.spent(ctx)
	if err != nil {
		w.options.Note("the brokers' CPU is left out: %v", err)
		return
	}
	cpu := usage.cpu - w.broker.cpu
	r.Broker = &Usage{CPUSeconds: cpu, PerGB: perGB(cpu, gb), RSS: usage.rss}
}

func perGB(seconds, gb float64) float64 {
	if gb == 0 {
		return 0
	}
	return seconds / gb
}
