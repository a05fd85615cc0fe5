package interop

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/IBM/sarama"
)

// saramaClient is Sarama, told that it talks to a recent Kafka.
type saramaClient struct{}

func (saramaClient) settings() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V3_9_0_0
	c.Producer.Return.Successes = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Partitioner = sarama.NewManualPartitioner
	c.Producer.MaxMessageBytes = 16 << 20
	// All records of a test leave in one batch: it is sent when it has them all.
	c.Producer.Flush.Frequency = 50 * time.Millisecond
	c.Consumer.Return.Errors = true
	c.Admin.Timeout, c.Producer.Timeout, c.Net.ReadTimeout = unhurried, unhurried, 2*unhurried
	return c
}

func (c saramaClient) admin(f func(sarama.ClusterAdmin) error) error {
	a, err := sarama.NewClusterAdmin([]string{server.addr}, c.settings())
	if err != nil {
		return err
	}
	return errors.Join(f(a), a.Close())
}

func (c saramaClient) create(_ context.Context, topic string, partitions int, config map[string]string) error {
	entries := map[string]*string{}
	for k, v := range config {
		entries[k] = &v
	}
	return c.admin(func(a sarama.ClusterAdmin) error {
		return a.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: int32(partitions), ReplicationFactor: 1, ConfigEntries: entries}, false)
	})
}

func (c saramaClient) partitions(_ context.Context, topic string) (n int, err error) {
	err = c.admin(func(a sarama.ClusterAdmin) error {
		listed, err := a.ListTopics()
		n = int(listed[topic].NumPartitions)
		return err
	})
	return n, err
}

func (c saramaClient) addPartitions(_ context.Context, topic string, total int) error {
	return c.admin(func(a sarama.ClusterAdmin) error { return a.CreatePartitions(topic, int32(total), nil, false) })
}

func (c saramaClient) config(_ context.Context, topic, name string) (value string, err error) {
	err = c.admin(func(a sarama.ClusterAdmin) error {
		described, err := a.DescribeConfigs([]*sarama.ConfigResource{{Type: sarama.TopicResource, Name: topic}},
			sarama.DescribeConfigsOptions{IncludeSynonyms: true, IncludeDocumentation: true})
		if err != nil {
			return err
		}
		for _, entry := range described[0].Configs {
			if entry.Name == name {
				value = entry.Value
			}
		}
		if described[0].ErrorCode != sarama.ErrNoError {
			return described[0].ErrorCode
		}
		return nil
	})
	return value, err
}

func (c saramaClient) setConfig(_ context.Context, topic, name, value string) error {
	return c.admin(func(a sarama.ClusterAdmin) error {
		return a.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
			name: {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value},
		}, false)
	})
}

func (c saramaClient) remove(_ context.Context, topic string) error {
	return c.admin(func(a sarama.ClusterAdmin) error { return a.DeleteTopic(topic) })
}

func (c saramaClient) produce(_ context.Context, topic, codec string, records []record) error {
	settings := c.settings()
	settings.Producer.Compression = map[string]sarama.CompressionCodec{"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
		"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD}[codec]
	return c.send(topic, settings, records)
}

func (c saramaClient) produceIdempotent(_ context.Context, topic string, records []record) error {
	settings := c.settings()
	settings.Producer.Idempotent = true
	settings.Net.MaxOpenRequests = 1
	return c.send(topic, settings, records)
}

func (saramaClient) send(topic string, settings *sarama.Config, records []record) error {
	settings.Producer.Flush.Messages = len(records)
	producer, err := sarama.NewSyncProducer([]string{server.addr}, settings)
	if err != nil {
		return err
	}
	var messages []*sarama.ProducerMessage
	for _, r := range records {
		m := &sarama.ProducerMessage{Topic: topic, Timestamp: r.time}
		if r.key != nil {
			m.Key = sarama.ByteEncoder(r.key)
		}
		if r.value != nil {
			m.Value = sarama.ByteEncoder(r.value)
		}
		for _, h := range r.headers {
			m.Headers = append(m.Headers, sarama.RecordHeader{Key: []byte(h.name), Value: h.value})
		}
		messages = append(messages, m)
	}
	err = producer.SendMessages(messages)
	var failed sarama.ProducerErrors
	if errors.As(err, &failed) && errors.Is(failed[0].Err, sarama.ErrMessageSizeTooLarge) {
		err = fmt.Errorf("%w: %w", errTooLarge, err)
	}
	return errors.Join(err, producer.Close())
}

func (c saramaClient) consume(ctx context.Context, topic string, from int64, n int) (records []record, err error) {
	switch from {
	case fromStart:
		from = sarama.OffsetOldest
	case fromEnd:
		from = sarama.OffsetNewest
	}
	consumer, err := sarama.NewConsumer([]string{server.addr}, c.settings())
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(topic, 0, from)
	if err != nil {
		return nil, err
	}
	defer partition.Close()
	for len(records) < n {
		select {
		case m := <-partition.Messages():
			records = append(records, fromSarama(m))
		case err := <-partition.Errors():
			return records, err
		case <-ctx.Done():
			return records, ctx.Err()
		}
	}
	return records, nil
}

func fromSarama(m *sarama.ConsumerMessage) record {
	have := record{partition: m.Partition, offset: m.Offset, time: m.Timestamp, key: m.Key, value: m.Value}
	for _, h := range m.Headers {
		have.headers = append(have.headers, header{string(h.Key), h.Value})
	}
	return have
}

func (c saramaClient) bounds(ctx context.Context, topic string) (start, end int64, err error) {
	start, err = c.offset(topic, sarama.OffsetOldest)
	if err != nil {
		return 0, 0, err
	}
	end, err = c.offset(topic, sarama.OffsetNewest)
	return start, end, err
}

func (c saramaClient) offsetAt(_ context.Context, topic string, when time.Time) (int64, error) {
	return c.offset(topic, when.UnixMilli())
}

func (c saramaClient) offset(topic string, when int64) (int64, error) {
	cl, err := sarama.NewClient([]string{server.addr}, c.settings())
	if err != nil {
		return 0, err
	}
	offset, err := cl.GetOffset(topic, 0, when)
	return offset, errors.Join(err, cl.Close())
}

func (c saramaClient) deleteRecords(_ context.Context, topic string, before int64) error {
	return c.admin(func(a sarama.ClusterAdmin) error { return a.DeleteRecords(topic, map[int32]int64{0: before}) })
}

func (c saramaClient) describe(context.Context) (brokers int, err error) {
	err = c.admin(func(a sarama.ClusterAdmin) error {
		listed, controller, err := a.DescribeCluster()
		brokers = len(listed)
		if controller < 0 || controller > math.MaxInt16 {
			err = errors.Join(err, fmt.Errorf("controller %d", controller))
		}
		return err
	})
	return brokers, err
}
