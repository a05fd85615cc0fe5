package interop

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// record is a record in words that all clients share. A nil key or value is null.
type record struct {
	partition  int32
	offset     int64
	time       time.Time // to the millisecond
	key, value []byte
	headers    []header
}

type header struct {
	name  string
	value []byte
}

func (r record) String() string {
	return fmt.Sprintf("%d@%d %s=%s %v", r.offset, r.time.UnixMilli(), printable(r.key), printable(r.value), r.headers)
}

func printable(b []byte) string {
	if b == nil {
		return "null"
	}
	if len(b) > 40 {
		return fmt.Sprintf("%q…(%d)", b[:40], len(b))
	}
	return fmt.Sprintf("%q", b)
}

func (r record) equal(o record) bool {
	return r.offset == o.offset && r.time.Equal(o.time) && same(r.key, o.key) && same(r.value, o.value) &&
		slices.EqualFunc(r.headers, o.headers, func(a, b header) bool { return a.name == b.name && same(a.value, b.value) })
}

// same tells null from empty.
func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

// samples are records of every kind that clients treat differently, a second apart.
func samples() []record {
	at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	records := []record{
		{key: []byte("key"), value: []byte("value")},
		{key: nil, value: []byte("no key")},
		{key: []byte("tombstone"), value: nil},
		{key: []byte(""), value: []byte("empty key")},
		{key: []byte("empty value"), value: []byte("")},
		{value: []byte("with headers"), headers: []header{{"a", []byte("1")}, {"a", []byte("2")}, {"empty", []byte("")}, {"ü", []byte{255, 10, 1}}}},
		{key: []byte{0, 1, 2, 255}, value: []byte("\x00\xff\xfe binary \n\r\t")},
		{key: []byte("unicode"), value: []byte("Grüße, 世界 🎭")},
		{key: []byte("long"), value: bytes.Repeat([]byte("compressible "), 2000)},
	}
	for len(records) < 20 {
		records = append(records, record{key: fmt.Append(nil, "k", len(records)), value: fmt.Append(nil, "v", len(records))})
	}
	for i := range records {
		records[i].offset, records[i].time = int64(i), at.Add(time.Duration(i)*time.Second)
	}
	return records
}

// mustEqual fails the test at the first record that is not what is wanted.
func mustEqual(t *testing.T, have, want []record) {
	t.Helper()
	for i := range min(len(have), len(want)) {
		if !have[i].equal(want[i]) {
			t.Fatalf("record %d:\nhave %v\nwant %v", i, have[i], want[i])
		}
	}
	if len(have) != len(want) {
		t.Fatalf("have %d records, want %d", len(have), len(want))
	}
}

// batchesOf are the headers of a partition's batches as the broker gives them out.
func batchesOf(t *testing.T, topic string, partition int32) []kmsg.RecordBatch {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(server.addr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	listed, err := kadm.NewClient(cl).ListTopics(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.PartitionMaxBytes = partition, 50<<20
	ft := kmsg.NewFetchRequestTopic()
	ft.Topic, ft.TopicID, ft.Partitions = topic, listed[topic].ID, []kmsg.FetchRequestTopicPartition{p}
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.Topics = 50<<20, []kmsg.FetchRequestTopic{ft}
	resp, err := req.RequestWith(t.Context(), cl.Broker(int(listed[topic].Partitions[partition].Leader)))
	if err != nil {
		t.Fatal(err)
	}
	answer := resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
		t.Fatal(err)
	}
	var batches []kmsg.RecordBatch
	for rest := answer.RecordBatches; len(rest) > 12; {
		var b kmsg.RecordBatch
		if err := b.ReadFrom(rest); err != nil {
			t.Fatal(err)
		}
		batches = append(batches, b)
		rest = rest[12+b.Length:]
	}
	return batches
}

// codecs are the names of the codecs by their number in a batch.
var codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// mustBeBatches checks that the records of a partition came in batches of the
// given codec, several to a batch.
func mustBeBatches(t *testing.T, topic, codec string) {
	t.Helper()
	several := false
	for _, b := range batchesOf(t, topic, 0) {
		several = several || b.NumRecords > 1
		if have := codecs[b.Attributes&7]; have != codec {
			t.Errorf("a batch at offset %d has codec %s, want %s", b.FirstOffset, have, codec)
		}
	}
	if !several {
		t.Error("no batch has more than one record, so that nothing can be read from the middle of one")
	}
}

// unhurried is how long clients wait for an answer, or for a member to say something,
// where they can be told: on a machine that may stand still for a while, nothing comes of
// giving up sooner.
const unhurried = time.Minute

// patience is how long a whole story of many clients may take, on a machine that
// is many times slower than usual.
func patience(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func timeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
