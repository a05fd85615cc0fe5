package codec

import (
	"bytes"
	"fmt"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
)

// sample holds n records whose timestamps are not sorted.
func sample(n int) *batch.Builder {
	bu := batch.NewBuilder(batch.Fields{
		BaseOffset: 500, LeaderEpoch: 3, Attributes: batch.AttrTransactional, ProducerID: 7, ProducerEpoch: 1, BaseSequence: 40,
	})
	for i := range n {
		bu.Add(int64(1000+i*i%13), fmt.Appendf(nil, "key-%d", i), bytes.Repeat([]byte("value "), 10), batch.Header{Key: []byte("h"), Value: []byte{byte(i)}})
	}
	return bu
}

func TestRecompressChangesOnlyTheCodec(t *testing.T) {
	bu := sample(50)
	plain := bu.Build(nil)
	for _, from := range codecs {
		b := must(Build(nil, bu, from, DefaultLevel))
		if b.Codec() != from {
			t.Fatalf("built with %v, want %v", b.Codec(), from)
		}
		for _, to := range codecs {
			again, err := Recompress(b, to, DefaultLevel, 1<<20)
			if err != nil {
				t.Fatalf("%v to %v: %v", from, to, err)
			}
			if err := batch.Validate(again, batch.Limits{}); err != nil {
				t.Errorf("%v to %v: %v", from, to, err)
			}
			if again.Codec() != to || again.Fields().WithCodec(batch.None) != plain.Fields() {
				t.Errorf("%v to %v: %+v", from, to, again.Fields())
			}
			i := 0
			for r, err := range Records(again, 1<<20) {
				if err != nil || string(r.Key) != fmt.Sprintf("key-%d", i) || r.Offset(again) != int64(500+i) {
					t.Fatalf("%v to %v: record %d is %+v, %v", from, to, i, r, err)
				}
				i++
			}
			if back := must(Recompress(again, batch.None, 0, 1<<20)); i != 50 || !bytes.Equal(back, plain) {
				t.Errorf("%v to %v: %d records, and back again it differs", from, to, i)
			}
		}
	}
}

func TestTheLimitHoldsForBatches(t *testing.T) {
	b := must(Build(nil, sample(100), batch.Zstd, DefaultLevel))
	if _, err := Recompress(b, batch.LZ4, 0, 1000); messages.KindOf(err) != messages.MessageTooLarge {
		t.Error(err)
	}
	if _, err := CheckRecords(b, 1000); messages.KindOf(err) != messages.MessageTooLarge {
		t.Error(err)
	}
	for _, err := range Records(b, 1000) {
		if messages.KindOf(err) != messages.MessageTooLarge {
			t.Error(err)
		}
	}
}

func TestRepairMaxTimestamp(t *testing.T) {
	for _, c := range codecs {
		b := must(Build(nil, sample(20), c, DefaultLevel))
		want := b.MaxTimestamp()
		b.SetMaxTimestamp(messages.NoTimestamp) // as Sarama sends it
		if !b.NeedsMaxTimestamp() || batch.Validate(b, batch.Limits{}) != nil {
			t.Fatal("such a batch is to be accepted and repaired")
		}
		if err := RepairMaxTimestamp(b, 1<<20); err != nil || b.MaxTimestamp() != want || b.CheckCRC() != nil {
			t.Errorf("%v: %v, %d, want %d", c, err, b.MaxTimestamp(), want)
		}
	}
}

func TestCheckRecordsReadsCompressedBatches(t *testing.T) {
	b := must(Build(nil, sample(20), batch.Snappy, DefaultLevel))
	if newest, err := CheckRecords(b, 1<<20); err != nil || newest != b.MaxTimestamp() {
		t.Error(newest, err)
	}
	f := b.Fields()
	f.NumRecords, f.LastOffsetDelta = 1_000_000, 999_999
	lying := batch.Assemble(nil, f, b.Payload())
	if batch.Validate(lying, batch.Limits{}) != nil {
		t.Fatal("the header alone cannot tell")
	}
	if _, err := CheckRecords(lying, 1<<20); messages.KindOf(err) != messages.InvalidRecord {
		t.Error(err)
	}
}
