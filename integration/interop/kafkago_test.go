package interop

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
)

// kafkaGo is segmentio's kafka-go: its Writer, its Reader and its Client, which
// speak rather different versions of the protocol. It has no idempotent
// producer and cannot delete records.
type kafkaGo struct{}

func (kafkaGo) emptyIsNull() {}

func (kafkaGo) client() *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(server.addr), Timeout: unhurried}
}

func (c kafkaGo) create(ctx context.Context, topic string, partitions int, config map[string]string) error {
	t := kafka.TopicConfig{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}
	for k, v := range config {
		t.ConfigEntries = append(t.ConfigEntries, kafka.ConfigEntry{ConfigName: k, ConfigValue: v})
	}
	resp, err := c.client().CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{t}})
	if err != nil {
		return err
	}
	return resp.Errors[topic]
}

func (c kafkaGo) partitions(ctx context.Context, topic string) (int, error) {
	resp, err := c.client().Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return 0, err
	}
	for _, t := range resp.Topics {
		if t.Name == topic {
			return len(t.Partitions), t.Error
		}
	}
	return 0, nil
}

func (c kafkaGo) addPartitions(ctx context.Context, topic string, total int) error {
	resp, err := c.client().CreatePartitions(ctx, &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: int32(total)}},
	})
	if err != nil {
		return err
	}
	return resp.Errors[topic]
}

func (c kafkaGo) config(ctx context.Context, topic, name string) (string, error) {
	resp, err := c.client().DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{name}}},
	})
	if err != nil {
		return "", err
	}
	for _, r := range resp.Resources {
		for _, e := range r.ConfigEntries {
			if e.ConfigName == name {
				return e.ConfigValue, r.Error
			}
		}
	}
	return "", errors.New("not described")
}

func (c kafkaGo) setConfig(ctx context.Context, topic, name, value string) error {
	resp, err := c.client().IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: name, Value: value, ConfigOperation: kafka.ConfigOperationSet}},
		}},
	})
	if err != nil {
		return err
	}
	for _, r := range resp.Resources {
		err = errors.Join(err, r.Error)
	}
	return err
}

func (c kafkaGo) remove(ctx context.Context, topic string) error {
	resp, err := c.client().DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	if err != nil {
		return err
	}
	return resp.Errors[topic]
}

func (c kafkaGo) produce(ctx context.Context, topic, codec string, records []record) error {
	w := &kafka.Writer{
		Addr: kafka.TCP(server.addr), Topic: topic, RequiredAcks: kafka.RequireAll,
		BatchSize: len(records), BatchBytes: 16 << 20, BatchTimeout: 50 * time.Millisecond,
		Compression: kafkaGoCodec(codec),
		Balancer:    kafka.BalancerFunc(func(kafka.Message, ...int) int { return 0 }),
		Transport:   &kafka.Transport{},
		ReadTimeout: unhurried, WriteTimeout: unhurried,
	}
	err := w.WriteMessages(ctx, toKafkaGo(records)...)
	if errors.Is(err, kafka.MessageSizeTooLarge) {
		err = fmt.Errorf("%w: %w", errTooLarge, err)
	}
	var each kafka.WriteErrors
	if errors.As(err, &each) {
		err = errors.Join(each...)
		if errors.Is(err, kafka.MessageSizeTooLarge) {
			err = fmt.Errorf("%w: %w", errTooLarge, err)
		}
	}
	return errors.Join(err, w.Close())
}

func kafkaGoCodec(name string) kafka.Compression {
	return map[string]kafka.Compression{"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}[name]
}

func toKafkaGo(records []record) (messages []kafka.Message) {
	for _, r := range records {
		m := kafka.Message{Key: r.key, Value: r.value, Time: r.time}
		for _, h := range r.headers {
			m.Headers = append(m.Headers, kafka.Header{Key: h.name, Value: h.value})
		}
		messages = append(messages, m)
	}
	return messages
}

func fromKafkaGo(m kafka.Message) record {
	have := record{partition: int32(m.Partition), offset: m.Offset, time: m.Time, key: m.Key, value: m.Value}
	for _, h := range m.Headers {
		have.headers = append(have.headers, header{h.Key, h.Value})
	}
	return have
}

func (kafkaGo) consume(ctx context.Context, topic string, from int64, n int) (records []record, err error) {
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{server.addr}, Topic: topic, Partition: 0, MaxBytes: 16 << 20, MaxWait: 100 * time.Millisecond})
	defer r.Close()
	switch from {
	case fromStart:
		from = kafka.FirstOffset
	case fromEnd:
		from = kafka.LastOffset
	}
	if err := r.SetOffset(from); err != nil {
		return nil, err
	}
	for len(records) < n {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			return records, err
		}
		records = append(records, fromKafkaGo(m))
	}
	return records, nil
}

func (c kafkaGo) listOffsets(ctx context.Context, topic string, requests ...kafka.OffsetRequest) (kafka.PartitionOffsets, error) {
	resp, err := c.client().ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: requests}})
	if err != nil {
		return kafka.PartitionOffsets{}, err
	}
	if len(resp.Topics[topic]) != 1 {
		return kafka.PartitionOffsets{}, fmt.Errorf("offsets of %d partitions", len(resp.Topics[topic]))
	}
	return resp.Topics[topic][0], resp.Topics[topic][0].Error
}

func (c kafkaGo) bounds(ctx context.Context, topic string) (start, end int64, err error) {
	listed, err := c.listOffsets(ctx, topic, kafka.FirstOffsetOf(0), kafka.LastOffsetOf(0))
	return listed.FirstOffset, listed.LastOffset, err
}

func (c kafkaGo) offsetAt(ctx context.Context, topic string, when time.Time) (int64, error) {
	listed, err := c.listOffsets(ctx, topic, kafka.TimeOffsetOf(0, when))
	for offset := range listed.Offsets {
		return offset, err
	}
	return -1, err
}

func (c kafkaGo) describe(ctx context.Context) (brokers int, err error) {
	resp, err := c.client().Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return 0, err
	}
	return len(resp.Brokers), nil
}

// TestKafkaGoConn uses kafka-go's oldest layer, which writes and reads with
// versions of Produce and Fetch that it has fixed itself.
func TestKafkaGoConn(t *testing.T) {
	for codecNumber, codec := range codecs {
		t.Run(codec, func(t *testing.T) {
			ctx, topic, sent := timeout(t), topicName("conn"), samples()
			check(t, kafkaGo{}.create(ctx, topic, 1, nil))
			conn, err := kafka.DialLeader(ctx, "tcp", server.addr, topic, 0)
			check(t, err)
			defer conn.Close()
			check(t, conn.SetDeadline(time.Now().Add(unhurried)))
			_, _, _, _, err = conn.WriteCompressedMessagesAt(compress.Compression(codecNumber).Codec(), toKafkaGo(sent)...)
			check(t, err)
			mustBeBatches(t, topic, codec)
			_, err = conn.Seek(13, kafka.SeekAbsolute)
			check(t, err)
			batch := conn.ReadBatch(1, 1<<20)
			var have []record
			for len(have) < len(sent)-13 {
				m, err := batch.ReadMessage()
				check(t, err)
				have = append(have, fromKafkaGo(m))
			}
			check(t, batch.Close())
			mustEqual(t, have, asReadBy(kafkaGo{}, sent[13:]))
		})
	}
}
