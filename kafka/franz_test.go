package kafka

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func franz(t testing.TB, h *harness, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	h.clock.Store(time.Now().UnixMilli()) // the client dates its records
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(h.addr), kgo.RetryTimeout(time.Minute), kgo.RequestTimeoutOverhead(time.Minute)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// franz-go produces with every codec and consumes everything, in order, by
// sendfile and through buffers.
func TestFranzGoProducesAndConsumes(t *testing.T) {
	for _, onDisk := range []bool{false, true} {
		t.Run(fmt.Sprintf("on disk %v", onDisk), func(t *testing.T) {
			f := newFakeCluster(t)
			if onDisk {
				f.onDisk = t.TempDir()
			}
			f.create("lines", 3, map[string]string{"max.message.bytes": "10000000"})
			h := serve(t, f, nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			const perCodec = 300
			codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
			var producing sync.WaitGroup
			defer producing.Wait()
			producing.Go(func() {
				for n, codec := range codecs {
					cl := franz(t, h, kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(8<<20))
					for i := range perCodec {
						size := 10 + i*i%3000
						if i == 100 {
							size = 3 << 20 // a batch that goes by sendfile for sure
						}
						r := &kgo.Record{Topic: "lines", Partition: int32(i % 3), Key: fmt.Appendf(nil, "%d", n), Value: make([]byte, size)}
						copy(r.Value, fmt.Sprintf("%d/%d", n, i))
						if i%50 == 0 {
							if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
								t.Error(err)
								return
							}
							continue
						}
						cl.Produce(ctx, r, nil)
					}
					if err := cl.Flush(ctx); err != nil {
						t.Error(err)
					}
				}
			})
			consumer := franz(t, h, kgo.ConsumeTopics("lines"))
			next := map[int32]int64{}
			for total := 0; total < perCodec*len(codecs); {
				fetches := consumer.PollFetches(ctx)
				if err := fetches.Err(); err != nil {
					t.Fatal(err)
				}
				fetches.EachRecord(func(r *kgo.Record) {
					if r.Offset != next[r.Partition] {
						t.Fatalf("partition %d: offset %d, want %d", r.Partition, r.Offset, next[r.Partition])
					}
					next[r.Partition]++
					total++
				})
			}
		})
	}
}

func TestFranzGoWithoutAcks(t *testing.T) {
	f := newFakeCluster(t)
	f.create("lines", 1, nil)
	h := serve(t, f, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cl := franz(t, h, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite(), kgo.ConsumeTopics("lines"), kgo.DefaultProduceTopic("lines"))
	for i := range 100 {
		cl.Produce(ctx, kgo.StringRecord(fmt.Sprint(i)), nil)
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for got := 0; got < 100; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		got += fetches.NumRecords()
	}
}

func TestManyConsumersWait(t *testing.T) {
	f := newFakeCluster(t)
	f.create("lines", 2, nil)
	h := serve(t, f, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range 20 {
		cl := franz(t, h, kgo.ConsumeTopics("lines"))
		wg.Go(func() {
			for got := 0; got < 40; {
				fetches := cl.PollFetches(ctx)
				if err := fetches.Err(); err != nil {
					t.Error(err)
					return
				}
				got += fetches.NumRecords()
			}
		})
	}
	producer := franz(t, h, kgo.DefaultProduceTopic("lines"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	for i := range 40 {
		if err := producer.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

func TestKadm(t *testing.T) {
	f := newFakeCluster(t)
	h := serve(t, f, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	adm := kadm.NewClient(franz(t, h))
	if _, err := adm.CreateTopic(ctx, 3, 1, map[string]*string{"retention.ms": kadm.StringPtr("1000")}, "orders"); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.CreateTopic(ctx, 3, 1, nil, "orders"); err == nil {
		t.Error("a topic was created twice")
	}
	if _, err := adm.CreateTopic(ctx, 1, 1, map[string]*string{"retention.mss": kadm.StringPtr("1000")}, "other"); err == nil {
		t.Error("an unknown setting was taken")
	}
	f.at("orders", 1).add(stamped(makeBatch(10, 100), 0))
	ends, err := adm.ListEndOffsets(ctx, "orders")
	if err != nil || ends.Error() != nil {
		t.Fatal(err, ends.Error())
	}
	if o, _ := ends.Lookup("orders", 1); o.Offset != 10 {
		t.Errorf("end offset %d", o.Offset)
	}
	deleted, err := adm.DeleteRecords(ctx, kadm.Offsets{"orders": {1: {Topic: "orders", Partition: 1, At: 4}}})
	if err != nil || deleted.Error() != nil {
		t.Fatal(err, deleted.Error())
	}
	if starts, err := adm.ListStartOffsets(ctx, "orders"); err != nil || starts["orders"][1].Offset != 4 {
		t.Errorf("%v, %v", starts, err)
	}
	if _, err := adm.UpdatePartitions(ctx, 5, "orders"); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("2000")}}, "orders"); err != nil {
		t.Fatal(err)
	}
	configs, err := adm.DescribeTopicConfigs(ctx, "orders")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range configs[0].Configs {
		if c.Key == "retention.ms" && *c.Value != "2000" {
			t.Errorf("retention.ms is %s", *c.Value)
		}
	}
	topics, err := adm.ListTopics(ctx)
	if err != nil || len(topics["orders"].Partitions) != 5 {
		t.Fatal(topics, err)
	}
	dirs, err := adm.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := dirs[self].LookupPartition("orders", 1); !ok || p.Size != int64(makeBatch(10, 100).Size()) {
		t.Errorf("%+v", p)
	}
	producers, err := adm.DescribeProducers(ctx, topics.TopicsSet())
	if err != nil || len(producers["orders"].Partitions[1].ActiveProducers) != 1 {
		t.Errorf("%v, %v", producers, err)
	}
	if groups, err := adm.ListGroups(ctx); err != nil || groups["a"].State != "Stable" || groups["b"].State != "Empty" {
		t.Errorf("%v, %v", groups, err)
	}
	if meta, err := adm.BrokerMetadata(ctx); err != nil || meta.Controller != self || meta.Cluster != "testcluster" {
		t.Errorf("%v, %v", meta, err)
	}
	if _, err := adm.DeleteTopic(ctx, "orders"); err != nil {
		t.Fatal(err)
	}
}
