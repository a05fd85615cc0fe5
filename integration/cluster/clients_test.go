//go:build cluster

package cluster

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The kinds of client.
const (
	franzGo    = "franz-go"   // with its default settings
	librdkafka = "librdkafka" // with its default settings
	probe      = "probe"      // see prober
)

// quickly are settings with which franz-go does not wait for long.
var quickly = []kgo.Opt{
	kgo.RequestTimeoutOverhead(500 * time.Millisecond), kgo.FetchMaxWait(250 * time.Millisecond), kgo.DialTimeout(time.Second),
	kgo.MetadataMinAge(100 * time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
}

func newClient(kind, topic string, partitions int, seeds []string) (client, error) {
	switch kind {
	case franzGo:
		return newFranz(topic, seeds)
	case librdkafka:
		return newLibrdkafka(topic, partitions, seeds)
	case probe:
		return newProber(topic, partitions, seeds)
	}
	return nil, fmt.Errorf("there is no client %q", kind)
}

// franz is franz-go.
type franz struct {
	producer, consumer *kgo.Client
	topic              string
	ctx                context.Context
	cancel             context.CancelFunc
	ended              chan struct{}
}

// logAll has franz-go log all that it does.
func logAll() kgo.Opt {
	return kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelDebug, func() string {
		return time.Now().Format("15:04:05.000 ")
	}))
}

func newFranz(topic string, seeds []string, more ...kgo.Opt) (client, error) {
	f := &franz{topic: topic, ended: make(chan struct{})}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	options := append([]kgo.Opt{kgo.SeedBrokers(seeds...)}, more...)
	if *minAge > 0 && len(more) == 0 {
		options = append(options, kgo.MetadataMinAge(*minAge))
	}
	if *clientLog != "" && len(more) == 0 {
		options = append(options, logAll())
	}
	if networkKind() == viaProxies { // behind which a connection ends early more often, and it is not for want of SASL
		options = append(options, kgo.AlwaysRetryEOF())
	}
	var err error
	if f.producer, err = kgo.NewClient(append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.StopProducerOnDataLossDetected())...); err != nil {
		return nil, err
	}
	f.consumer, err = kgo.NewClient(append(options, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	return f, err
}

func (f *franz) produce(r record, done func(int64, error)) {
	f.producer.Produce(f.ctx, &kgo.Record{Topic: f.topic, Partition: r.partition, Key: r.key, Value: r.value}, func(r *kgo.Record, err error) { done(r.Offset, err) })
}

func (f *franz) consume(seen func(int32, []read)) error {
	go func() {
		defer close(f.ended)
		for f.ctx.Err() == nil {
			f.consumer.PollFetches(f.ctx).EachPartition(func(p kgo.FetchTopicPartition) {
				if len(p.Records) == 0 {
					return
				}
				records := make([]read, 0, len(p.Records))
				for _, r := range p.Records {
					records = append(records, read{r.Offset, r.Key, r.Value})
				}
				seen(p.Partition, records)
			})
		}
	}()
	return nil
}

func (f *franz) close() {
	f.cancel()
	<-f.ended
	f.producer.Close()
	f.consumer.Close()
}

// rdkafka is the C client, librdkafka.
type rdkafka struct {
	topic          string
	partitions     int
	producer       *kafka.Producer
	consumer       *kafka.Consumer
	closed         atomic.Bool
	ended, reports chan struct{}
}

func newLibrdkafka(topic string, partitions int, seeds []string) (client, error) {
	l := &rdkafka{topic: topic, partitions: partitions, ended: make(chan struct{}), reports: make(chan struct{})}
	brokers := strings.Join(seeds, ",")
	settings := kafka.ConfigMap{"bootstrap.servers": brokers, "enable.idempotence": true, "log_level": 2} // what cannot be mended
	if *clientLog != "" {
		settings["debug"], settings["log_level"] = *clientLog, 7
	}
	var err error
	if l.producer, err = kafka.NewProducer(&settings); err != nil {
		return nil, err
	}
	go l.report()
	l.consumer, err = kafka.NewConsumer(&kafka.ConfigMap{
		"bootstrap.servers": brokers, "group.id": topic, "enable.auto.commit": false, "auto.offset.reset": "earliest", "log_level": 2,
	})
	return l, err
}

// report passes on what became of the records.
func (l *rdkafka) report() {
	defer close(l.reports)
	for e := range l.producer.Events() {
		if m, ok := e.(*kafka.Message); ok {
			m.Opaque.(func(int64, error))(int64(m.TopicPartition.Offset), m.TopicPartition.Error)
		}
	}
}

func (l *rdkafka) produce(r record, done func(int64, error)) {
	m := &kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &l.topic, Partition: r.partition}, Key: r.key, Value: r.value, Opaque: done}
	if err := l.producer.Produce(m, nil); err != nil {
		done(0, err)
	}
}

func (l *rdkafka) consume(seen func(int32, []read)) error {
	var all []kafka.TopicPartition
	for p := range int32(l.partitions) {
		all = append(all, kafka.TopicPartition{Topic: &l.topic, Partition: p, Offset: kafka.OffsetBeginning})
	}
	if err := l.consumer.Assign(all); err != nil {
		return err
	}
	go func() {
		defer close(l.ended)
		for !l.closed.Load() {
			if m, err := l.consumer.ReadMessage(100 * time.Millisecond); err == nil {
				seen(m.TopicPartition.Partition, []read{{int64(m.TopicPartition.Offset), m.Key, m.Value}})
			}
		}
	}()
	return nil
}

func (l *rdkafka) close() {
	l.closed.Store(true)
	<-l.ended
	l.producer.Close()
	<-l.reports
	_ = l.consumer.Close()
}
