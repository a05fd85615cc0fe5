package interop

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"
)

// library is a client library, reduced to what its users do. All that has no
// partition means partition 0.
type library interface {
	create(ctx context.Context, topic string, partitions int, config map[string]string) error
	partitions(ctx context.Context, topic string) (int, error) // 0 when there is no such topic
	remove(ctx context.Context, topic string) error

	// produce sends all records in as few batches as the library makes of them.
	produce(ctx context.Context, topic, codec string, records []record) error
	// consume reads n records from an offset on, or from one of the two places below.
	consume(ctx context.Context, topic string, from int64, n int) ([]record, error)
	bounds(ctx context.Context, topic string) (start, end int64, err error)
	offsetAt(ctx context.Context, topic string, when time.Time) (int64, error)
}

// administrator is a library that can do all that is done to topics.
type administrator interface {
	addPartitions(ctx context.Context, topic string, total int) error
	config(ctx context.Context, topic, name string) (string, error)
	setConfig(ctx context.Context, topic, name, value string) error
	describe(ctx context.Context) (brokers int, err error)
}

// Places to consume from.
const (
	fromStart = -2
	fromEnd   = -1
)

// idempotent is a library whose producer can be idempotent.
type idempotent interface {
	produceIdempotent(ctx context.Context, topic string, records []record) error
}

// recordDeleter is a library that can delete records.
type recordDeleter interface {
	deleteRecords(ctx context.Context, topic string, before int64) error
}

// forgetful is a library whose consumer makes nulls of empty keys and values.
type forgetful interface {
	emptyIsNull()
}

// unrepetitive is a library to which the headers of a record are a map.
type unrepetitive interface {
	headersAreAMap()
}

// asHeldBy is what a library can say of records.
func asHeldBy(l library, records []record) []record {
	if _, is := l.(unrepetitive); !is {
		return records
	}
	records = slices.Clone(records)
	for i := range records {
		byName := map[string]header{}
		for _, h := range records[i].headers {
			byName[h.name] = h
		}
		records[i].headers = nil
		for _, name := range slices.Sorted(maps.Keys(byName)) {
			records[i].headers = append(records[i].headers, byName[name])
		}
	}
	return records
}

// asReadBy is what a library that works makes of records.
func asReadBy(l library, records []record) []record {
	records = asHeldBy(l, records)
	if _, forgets := l.(forgetful); !forgets {
		return records
	}
	records = slices.Clone(records)
	for i := range records {
		r := &records[i]
		if len(r.key) == 0 {
			r.key = nil
		}
		if len(r.value) == 0 {
			r.value = nil
		}
		r.headers = slices.Clone(r.headers)
		for j := range r.headers {
			if len(r.headers[j].value) == 0 {
				r.headers[j].value = nil
			}
		}
	}
	return records
}

// errTooLarge is what a library's produce wraps when the broker refused a message for its size.
var errTooLarge = errors.New("message too large")

// libraries are all that are tested.
var libraries = []struct {
	name   string
	client library
}{
	{"franz-go", franz{}},
	{"sarama", saramaClient{}},
	{"kafka-go", kafkaGo{}},
	{"confluent-kafka", python("confluent.py")},
	{"kafka-python", python("kafkapython.py")},
	{"KafkaJS", node("kafkajs/driver.js")},
	{"rskafka", partial{rust("rskafka")}},
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryProducerAndEveryConsumer has each library produce with each codec,
// and each library read all of it back, from its start and from the middle of a
// batch.
func TestEveryProducerAndEveryConsumer(t *testing.T) {
	for _, producer := range libraries {
		for _, codec := range codecs {
			t.Run(producer.name+"/"+codec, func(t *testing.T) {
				t.Parallel()
				ctx, topic, sent := patience(t), topicName(producer.name), asHeldBy(producer.client, samples())
				if !t.Run("produce", func(t *testing.T) {
					feature(t, producer.name, everyCodec)
					check(t, producer.client.create(ctx, topic, 1, nil))
					check(t, producer.client.produce(ctx, topic, codec, sent))
					mustBeBatches(t, topic, codec)
				}) {
					return
				}
				for _, consumer := range libraries {
					if producer.name == "rskafka" && codec == "lz4" && consumer.name == "KafkaJS" {
						continue // lz4js, with which KafkaJS decodes, makes fewer bytes of that frame than all others do
					}
					t.Run("read by "+consumer.name, func(t *testing.T) {
						feature(t, consumer.name, fromTheStart)
						readBack(t, consumer.client, topic, 0, sent)
						readBack(t, consumer.client, topic, 13, sent)
					})
				}
				t.Run("read by kcat", func(t *testing.T) {
					feature(t, "kcat", fromTheStart)
					mustEqual(t, kcatRead(t, topic, "beginning"), sent)
				})
			})
		}
	}
}

// readBack reads a topic from an offset on.
func readBack(t *testing.T, l library, topic string, from int64, sent []record) {
	t.Helper()
	start := from
	if start == 0 {
		start = fromStart
	}
	have, err := l.consume(timeout(t), topic, start, len(sent)-int(from))
	check(t, err)
	mustEqual(t, have, asReadBy(l, sent[from:]))
}

// TestConsumeFromATime looks for records by their times.
func TestConsumeFromATime(t *testing.T) {
	for _, l := range libraries {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			feature(t, l.name, fromATime)
			ctx, topic, sent := timeout(t), topicName("time"), samples()
			sent = asHeldBy(l.client, sent)
			check(t, l.client.create(ctx, topic, 1, nil))
			check(t, l.client.produce(ctx, topic, "none", sent))
			start, end, err := l.client.bounds(ctx, topic)
			check(t, err)
			if start != 0 || end != int64(len(sent)) {
				t.Errorf("offsets %d to %d, want 0 to %d", start, end, len(sent))
			}
			for _, test := range []struct {
				when time.Time
				want int64
			}{
				{sent[0].time.Add(-time.Hour), 0},
				{sent[7].time, 7},
				{sent[7].time.Add(time.Millisecond), 8},
				{sent[len(sent)-1].time, int64(len(sent) - 1)},
			} {
				at, err := l.client.offsetAt(ctx, topic, test.when)
				if err != nil || at != test.want {
					t.Fatalf("the first offset at %d is %d (%v), want %d", test.when.UnixMilli(), at, err, test.want)
				}
				readBack(t, l.client, topic, at, sent)
			}
		})
	}
}

// consumer reads n records from an offset on, as library does.
type consumer interface {
	consume(ctx context.Context, topic string, from int64, n int) ([]record, error)
}

// TestConsumeFromTheEnd has a consumer that begins at the end see what is produced from then on.
func TestConsumeFromTheEnd(t *testing.T) {
	consumers := map[string]consumer{"kcat": kcatClient{}, "java": javaClient{}}
	for _, l := range libraries {
		consumers[l.name] = l.client
	}
	for name, client := range consumers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			feature(t, name, fromTheEnd)
			ctx, topic := patience(t), topicName("end")
			check(t, franz{}.create(ctx, topic, 1, nil))
			check(t, franz{}.produce(ctx, topic, "none", samples()))
			type result struct {
				records []record
				err     error
			}
			got := make(chan result, 1)
			go func() {
				records, err := client.consume(ctx, topic, fromEnd, 2)
				got <- result{records, err}
			}()
			// When the consumer has found the end is its own affair, so send until it has seen enough.
			again := time.NewTicker(20 * time.Millisecond)
			defer again.Stop()
			for {
				select {
				case r := <-got:
					check(t, r.err)
					if first := r.records[0]; first.offset < 20 || !bytes.Equal(first.value, []byte("later")) || r.records[1].offset != first.offset+1 {
						t.Errorf("have %v", r.records)
					}
					return
				case <-again.C:
					check(t, franz{}.produce(ctx, topic, "none", []record{{time: time.Now(), value: []byte("later")}}))
				}
			}
		})
	}
}

func TestLargeMessages(t *testing.T) {
	large := []record{{time: time.Now().Truncate(time.Millisecond), key: []byte("large"), value: bytes.Repeat([]byte{0xa5, 1, 2, 3, 4, 5, 6, 7}, 1<<20)}}
	for _, l := range libraries {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			feature(t, l.name, largeMessages)
			ctx, topic := timeout(t), topicName("large")
			check(t, franz{}.create(ctx, topic, 1, map[string]string{"max.message.bytes": "10000000"}))
			check(t, l.client.produce(ctx, topic, "none", large))
			have, err := l.client.consume(ctx, topic, fromStart, 1)
			check(t, err)
			mustEqual(t, have, large)

			check(t, franz{}.setConfig(ctx, topic, "max.message.bytes", "1000000"))
			if err := l.client.produce(ctx, topic, "none", large); !errors.Is(err, errTooLarge) {
				t.Errorf("8 MiB where 1 MB is allowed: %v", err)
			}
		})
	}
}

func TestIdempotentProducers(t *testing.T) {
	for _, l := range libraries {
		producer, able := l.client.(idempotent)
		if !able {
			continue
		}
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			feature(t, l.name, idempotence)
			ctx, topic, sent := timeout(t), topicName("idempotent"), samples()
			check(t, l.client.create(ctx, topic, 1, nil))
			check(t, producer.produceIdempotent(ctx, topic, sent))
			have, err := l.client.consume(ctx, topic, fromStart, len(sent))
			check(t, err)
			mustEqual(t, have, sent)
			for _, b := range batchesOf(t, topic, 0) {
				if b.ProducerID < 0 || b.ProducerEpoch < 0 || int64(b.FirstSequence) != b.FirstOffset {
					t.Errorf("the batch at offset %d has producer %d, epoch %d, sequence %d", b.FirstOffset, b.ProducerID, b.ProducerEpoch, b.FirstSequence)
				}
			}
		})
	}
}

// TestTopicsLife goes through everything that is administered of a topic.
func TestTopicsLife(t *testing.T) {
	for _, l := range libraries {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			ctx, topic, c := timeout(t), topicName("life"), l.client
			config, a := map[string]string(nil), administrator(nil)
			if able, is := c.(administrator); is {
				feature(t, l.name, administration)
				config, a = map[string]string{"retention.ms": "3600000"}, able
			}
			check(t, c.create(ctx, topic, 2, config))
			if err := c.create(ctx, topic, 2, nil); err == nil {
				t.Error("the same topic was created twice")
			}
			mustHavePartitions(t, c, topic, 2)
			if a != nil {
				administer(t, c, a, topic)
			}
			check(t, c.produce(ctx, topic, "none", samples()))
			if d, able := c.(recordDeleter); able {
				deleteRecords(t, c, d, topic)
			}
			check(t, c.remove(ctx, topic))
			mustHavePartitions(t, c, topic, 0)
		})
	}
}

// administer changes the settings of a topic that retains its records for an hour,
// and adds partitions.
func administer(t *testing.T, c library, a administrator, topic string) {
	t.Helper()
	ctx := timeout(t)
	if brokers, err := a.describe(ctx); err != nil || brokers != 1 {
		t.Errorf("%d brokers, %v", brokers, err)
	}
	mustHaveConfig(t, a, topic, "retention.ms", "3600000")
	mustHaveConfig(t, a, topic, "segment.bytes", "1073741824") // the default
	check(t, a.setConfig(ctx, topic, "retention.ms", "7200000"))
	mustHaveConfig(t, a, topic, "retention.ms", "7200000")
	if err := a.setConfig(ctx, topic, "retention.ms", "soon"); err == nil {
		t.Error("retention.ms=soon was taken")
	}
	check(t, a.addPartitions(ctx, topic, 5))
	mustHavePartitions(t, c, topic, 5)
}

func deleteRecords(t *testing.T, c library, d recordDeleter, topic string) {
	t.Helper()
	ctx := timeout(t)
	check(t, d.deleteRecords(ctx, topic, 7)) // in the middle of a batch
	if start, end, err := c.bounds(ctx, topic); err != nil || start != 7 || end != 20 {
		t.Errorf("offsets %d to %d (%v), want 7 to 20", start, end, err)
	}
	have, err := c.consume(ctx, topic, fromStart, 13)
	check(t, err)
	if have[0].offset != 7 || have[12].offset != 19 {
		t.Errorf("the first is %v, the last %v", have[0], have[12])
	}
}

// mustHavePartitions waits until a topic has so many partitions: a broker may
// answer before all that it answers from has been brought up to date.
func mustHavePartitions(t *testing.T, c library, topic string, want int) {
	t.Helper()
	ctx := timeout(t)
	for {
		have, err := c.partitions(ctx, topic)
		check(t, err)
		if have == want {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%s has %d partitions, want %d", topic, have, want)
		}
	}
}

func mustHaveConfig(t *testing.T, c administrator, topic, name, want string) {
	t.Helper()
	ctx := timeout(t)
	for {
		have, err := c.config(ctx, topic, name)
		check(t, err)
		if have == want {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%s of %s is %s, want %s", name, topic, have, want)
		}
	}
}
