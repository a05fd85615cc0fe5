package interop

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// franz is franz-go: kgo and kadm.
type franz struct{}

func (franz) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(server.addr), kgo.RequestTimeoutOverhead(unhurried)}, opts...)...)
}

// admin runs f with an admin client.
func (c franz) admin(f func(*kadm.Client) error) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	return f(kadm.NewClient(cl))
}

func (c franz) create(ctx context.Context, topic string, partitions int, config map[string]string) error {
	pointers := map[string]*string{}
	for k, v := range config {
		pointers[k] = &v
	}
	return c.admin(func(a *kadm.Client) error {
		_, err := a.CreateTopic(ctx, int32(partitions), 1, pointers, topic)
		return err
	})
}

func (c franz) partitions(ctx context.Context, topic string) (n int, err error) {
	err = c.admin(func(a *kadm.Client) error {
		listed, err := a.ListTopics(ctx)
		n = len(listed[topic].Partitions)
		return err
	})
	return n, err
}

func (c franz) addPartitions(ctx context.Context, topic string, total int) error {
	return c.admin(func(a *kadm.Client) error {
		updated, err := a.UpdatePartitions(ctx, total, topic)
		return errors.Join(err, updated.Error())
	})
}

func (c franz) config(ctx context.Context, topic, name string) (value string, err error) {
	err = c.admin(func(a *kadm.Client) error {
		configs, err := a.DescribeTopicConfigs(ctx, topic)
		if err != nil {
			return err
		}
		described, err := configs.On(topic, nil)
		if err != nil {
			return err
		}
		for _, entry := range described.Configs {
			if entry.Key == name {
				value = entry.MaybeValue()
			}
		}
		return described.Err
	})
	return value, err
}

func (c franz) setConfig(ctx context.Context, topic, name, value string) error {
	return c.admin(func(a *kadm.Client) error {
		altered, err := a.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}, topic)
		for _, r := range altered {
			err = errors.Join(err, r.Err)
		}
		return err
	})
}

func (c franz) remove(ctx context.Context, topic string) error {
	return c.admin(func(a *kadm.Client) error {
		_, err := a.DeleteTopic(ctx, topic)
		return err
	})
}

func (c franz) produce(ctx context.Context, topic, codec string, records []record) error {
	return c.send(ctx, topic, records, kgo.ProducerBatchCompression(franzCodec(codec)), kgo.DisableIdempotentWrite())
}

func (c franz) produceIdempotent(ctx context.Context, topic string, records []record) error {
	return c.send(ctx, topic, records)
}

func (c franz) send(ctx context.Context, topic string, records []record, opts ...kgo.Opt) error {
	cl, err := c.client(append(opts, kgo.ProducerBatchMaxBytes(16<<20), kgo.BrokerMaxWriteBytes(32<<20), kgo.MaxProduceRequestsInflightPerBroker(1),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	var toSend []*kgo.Record
	for _, r := range records {
		s := &kgo.Record{Topic: topic, Key: r.key, Value: r.value, Timestamp: r.time, Partition: r.partition}
		for _, h := range r.headers {
			s.Headers = append(s.Headers, kgo.RecordHeader{Key: h.name, Value: h.value})
		}
		toSend = append(toSend, s)
	}
	err = cl.ProduceSync(ctx, toSend...).FirstErr()
	if errors.Is(err, kerr.MessageTooLarge) {
		return fmt.Errorf("%w: %w", errTooLarge, err)
	}
	return err
}

func franzCodec(name string) kgo.CompressionCodec {
	return map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}[name]
}

func (c franz) consume(ctx context.Context, topic string, from int64, n int) (records []record, err error) {
	offset := kgo.NewOffset()
	switch from {
	case fromStart:
		offset = offset.AtStart()
	case fromEnd:
		offset = offset.AtEnd()
	default:
		offset = offset.At(from)
	}
	cl, err := c.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: offset}}))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	for len(records) < n {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return records, err
		}
		for r := range fetches.RecordsAll() {
			records = append(records, fromFranz(r))
		}
	}
	return records, nil
}

func fromFranz(r *kgo.Record) record {
	have := record{partition: r.Partition, offset: r.Offset, time: r.Timestamp, key: r.Key, value: r.Value}
	for _, h := range r.Headers {
		have.headers = append(have.headers, header{h.Key, h.Value})
	}
	return have
}

func (c franz) bounds(ctx context.Context, topic string) (start, end int64, err error) {
	err = c.admin(func(a *kadm.Client) error {
		starts, errS := a.ListStartOffsets(ctx, topic)
		ends, errE := a.ListEndOffsets(ctx, topic)
		s, _ := starts.Lookup(topic, 0)
		e, _ := ends.Lookup(topic, 0)
		start, end = s.Offset, e.Offset
		return errors.Join(errS, errE, s.Err, e.Err)
	})
	return start, end, err
}

func (c franz) offsetAt(ctx context.Context, topic string, when time.Time) (offset int64, err error) {
	err = c.admin(func(a *kadm.Client) error {
		listed, err := a.ListOffsetsAfterMilli(ctx, when.UnixMilli(), topic)
		at, _ := listed.Lookup(topic, 0)
		offset = at.Offset
		return errors.Join(err, at.Err)
	})
	return offset, err
}

func (c franz) deleteRecords(ctx context.Context, topic string, before int64) error {
	return c.admin(func(a *kadm.Client) error {
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: before, LeaderEpoch: -1})
		deleted, err := a.DeleteRecords(ctx, offsets)
		return errors.Join(err, deleted.Error())
	})
}

func (c franz) describe(ctx context.Context) (brokers int, err error) {
	err = c.admin(func(a *kadm.Client) error {
		metadata, err := a.BrokerMetadata(ctx)
		brokers = len(metadata.Brokers)
		return err
	})
	return brokers, err
}
