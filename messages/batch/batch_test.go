package batch

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/messages"
)

// sample is a batch of n records of an idempotent producer: nulls, empties and
// headers in turn, timestamps neither constant nor sorted.
func sample(n int) Batch {
	bu := NewBuilder(Fields{
		BaseOffset: 1000, LeaderEpoch: 7, ProducerID: 42, ProducerEpoch: 3, BaseSequence: 90,
	})
	for i := range n {
		key, value := fmt.Appendf(nil, "key-%d", i), bytes.Repeat([]byte{byte(i)}, i*7)
		var headers []Header
		switch i % 4 {
		case 1:
			key = nil
		case 2:
			value = nil
			headers = []Header{{Key: []byte("h"), Value: nil}, {Key: []byte{}, Value: []byte("v")}}
		case 3:
			key = []byte{}
		}
		bu.Add(1_700_000_000_000+int64(i*i%17-5), key, value, headers...)
	}
	return bu.Build(nil)
}

func TestCRCIsCastagnoli(t *testing.T) {
	// The check value of CRC-32C, and RFC 3720's 32 bytes of zeros.
	if got := crc32.Checksum([]byte("123456789"), castagnoli); got != 0xe3069283 {
		t.Errorf("check value %08x", got)
	}
	if got := crc32.Checksum(make([]byte, 32), castagnoli); got != 0x8a9136aa {
		t.Errorf("zeros %08x", got)
	}
}

// TestKmsgReadsWhatWeBuild takes kmsg, an encoder of other authors, as witness.
func TestKmsgReadsWhatWeBuild(t *testing.T) {
	b := sample(9)
	var other kmsg.RecordBatch
	if err := other.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	if other.FirstOffset != 1000 || other.PartitionLeaderEpoch != 7 || other.Magic != 2 || other.NumRecords != 9 ||
		other.LastOffsetDelta != 8 || other.ProducerID != 42 || other.ProducerEpoch != 3 || other.FirstSequence != 90 ||
		int(other.Length) != b.Size()-LengthPrefix || uint32(other.CRC) != b.CRC() ||
		other.FirstTimestamp != b.BaseTimestamp() || other.MaxTimestamp != b.MaxTimestamp() {
		t.Errorf("kmsg reads %+v", other)
	}
	rest := other.Records
	for r, err := range Records(b, b.Payload()) {
		if err != nil {
			t.Fatal(err)
		}
		var want kmsg.Record
		if err := want.ReadFrom(rest); err != nil {
			t.Fatal(err)
		}
		rest = rest[len(want.AppendTo(nil)):]
		same := want.OffsetDelta == r.OffsetDelta && want.TimestampDelta64 == r.TimestampDelta &&
			bytes.Equal(want.Key, r.Key) && bytes.Equal(want.Value, r.Value) &&
			(want.Key == nil) == (r.Key == nil) && (want.Value == nil) == (r.Value == nil) &&
			len(want.Headers) == r.NumHeaders()
		if !same {
			t.Errorf("have %+v, want %+v", r, want)
		}
		i := 0
		for h, err := range r.Headers() {
			if err != nil || string(h.Key) != want.Headers[i].Key || !bytes.Equal(h.Value, want.Headers[i].Value) ||
				(h.Value == nil) != (want.Headers[i].Value == nil) {
				t.Errorf("header %d: have %q, want %+v, %v", i, h, want.Headers[i], err)
			}
			i++
		}
	}
	if len(rest) != 0 {
		t.Errorf("%d bytes left", len(rest))
	}
}

func TestWeReadWhatKmsgBuilds(t *testing.T) {
	record := kmsg.Record{TimestampDelta64: -3, OffsetDelta: 0, Key: []byte("k"), Headers: []kmsg.Header{{Key: "a", Value: []byte("b")}}}
	body := record.AppendTo(nil)
	record.Length = int32(len(body) - 1) // the length itself takes one byte while it is 0
	raw := kmsg.RecordBatch{
		FirstOffset: 5, PartitionLeaderEpoch: -1, Magic: 2, Attributes: 0x10, FirstTimestamp: 100, MaxTimestamp: 100,
		ProducerID: 1 << 40, ProducerEpoch: 2, FirstSequence: math.MaxInt32, NumRecords: 1, Records: record.AppendTo(nil),
	}
	raw.Length = int32(len(raw.AppendTo(nil)) - LengthPrefix)
	raw.CRC = int32(crc32.Checksum(raw.AppendTo(nil)[21:], crc32.MakeTable(crc32.Castagnoli)))
	b, rest, err := Next(raw.AppendTo(nil))
	if err != nil || len(rest) != 0 {
		t.Fatal(err, rest)
	}
	if err := Validate(b, Limits{}); err != nil {
		t.Error(err)
	}
	if b.BaseOffset() != 5 || b.ProducerID() != 1<<40 || !b.IsTransactional() || b.IsControl() || b.LastSequence() != math.MaxInt32 {
		t.Errorf("have %+v", b.Fields())
	}
	for r, err := range Records(b, b.Payload()) {
		if err != nil || r.Timestamp(b) != 97 || string(r.Key) != "k" || r.Value != nil || r.NumHeaders() != 1 {
			t.Errorf("have %+v, %v", r, err)
		}
	}
}

func TestFieldsSurviveAssembly(t *testing.T) {
	b := sample(4)
	again := Assemble([]byte("before"), b.Fields(), b.Payload())
	if !bytes.Equal(b, again) {
		t.Error("the same fields and payload made another batch")
	}
}

func TestStampLeavesTheCRCAlone(t *testing.T) {
	b := sample(3)
	b.Stamp(1<<40, 12)
	if err := b.CheckCRC(); err != nil {
		t.Error(err)
	}
	if b.BaseOffset() != 1<<40 || b.LeaderEpoch() != 12 || b.LastOffset() != 1<<40+2 || b.NextOffset() != 1<<40+3 {
		t.Errorf("have %+v", b.Fields())
	}
}

func TestLogAppendTime(t *testing.T) {
	b := sample(3)
	b.SetLogAppendTime(555)
	if err := b.CheckCRC(); err != nil {
		t.Error(err)
	}
	if b.TimestampType() != LogAppendTime || b.MaxTimestamp() != 555 {
		t.Errorf("have %v %d", b.TimestampType(), b.MaxTimestamp())
	}
	for r := range Records(b, b.Payload()) {
		if r.Timestamp(b) != 555 {
			t.Errorf("record has %d", r.Timestamp(b))
		}
	}
}

func TestSequencesWrap(t *testing.T) {
	for _, c := range []struct{ seq, n, want int32 }{
		{0, 0, 0}, {5, 4, 9}, {math.MaxInt32, 0, math.MaxInt32}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 1, 5, 3},
	} {
		if got := AddSequence(c.seq, c.n); got != c.want {
			t.Errorf("%d + %d = %d, want %d", c.seq, c.n, got, c.want)
		}
	}
	bu := NewBuilder(NoProducer)
	bu.Add(1, nil, nil)
	if got := bu.Build(nil).LastSequence(); got != messages.NoSequence {
		t.Errorf("no sequence became %d", got)
	}
}

func TestNextSplitsBatches(t *testing.T) {
	first, second := sample(2), sample(5)
	buf := append(bytes.Clone(first), second...)
	b, rest, err := Next(buf)
	if err != nil || !bytes.Equal(b, first) || cap(b) != len(b) {
		t.Fatal(err, len(b), cap(b))
	}
	for cut := range rest {
		if _, _, err := Next(rest[:cut]); !errors.Is(err, ErrShort) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	b, rest, err = Next(rest)
	if err != nil || !bytes.Equal(b, second) || len(rest) != 0 {
		t.Fatal(err, len(b), len(rest))
	}
	if _, _, err := Next(rest); !errors.Is(err, ErrShort) {
		t.Error(err)
	}
}

func TestSizeOfRefusesWhatIsNoBatch(t *testing.T) {
	for name, c := range map[string]struct {
		length uint32
		magic  byte
		want   messages.Kind
	}{
		"format v0":          {30, 0, messages.UnsupportedForMessageFormat},
		"format v1":          {30, 1, messages.UnsupportedForMessageFormat},
		"zeros":              {0, 0, messages.CorruptMessage},
		"unknown magic":      {100, 3, messages.CorruptMessage},
		"negative length":    {1 << 31, 2, messages.CorruptMessage},
		"length too small":   {HeaderSize - LengthPrefix - 1, 2, messages.CorruptMessage},
		"largest length":     {math.MaxInt32, 2, messages.Unknown},
		"header and no more": {HeaderSize - LengthPrefix, 2, messages.Unknown},
	} {
		head := make([]byte, 17)
		head[8], head[9], head[10], head[11] = byte(c.length>>24), byte(c.length>>16), byte(c.length>>8), byte(c.length)
		head[16] = c.magic
		size, err := SizeOf(head)
		if messages.KindOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && size != int(c.length)+LengthPrefix {
			t.Errorf("%s: size %d", name, size)
		}
	}
}

func TestMarkers(t *testing.T) {
	for _, want := range []Marker{{Commit: true, CoordinatorEpoch: 9}, {Commit: false, CoordinatorEpoch: 1 << 20}} {
		b := BuildMarker(nil, 77, 4, 123, want)
		if got, ok := b.Marker(); !ok || got != want || b.ProducerID() != 77 || b.ProducerEpoch() != 4 || !b.IsControl() || !b.IsTransactional() {
			t.Errorf("have %v %v, want %v", got, ok, want)
		}
		if messages.KindOf(Validate(b, Limits{})) != messages.InvalidRecord {
			t.Error("a client may write a control batch")
		}
	}
	if _, ok := sample(1).Marker(); ok {
		t.Error("a data batch has a marker")
	}
	for _, r := range []Record{{}, {Key: []byte{0, 0, 0, 2}, Value: make([]byte, 6)}, {Key: make([]byte, 4), Value: make([]byte, 5)}} {
		if _, err := ParseMarker(r); messages.KindOf(err) != messages.InvalidRecord {
			t.Errorf("%v: %v", r, err)
		}
	}
}

func TestNames(t *testing.T) {
	for c := None; c < codecCount; c++ {
		if back, err := ParseCodec(c.String()); err != nil || back != c {
			t.Errorf("%v came back as %v, %v", c, back, err)
		}
	}
	if _, err := ParseCodec("brotli"); messages.KindOf(err) != messages.UnsupportedCompression {
		t.Error(err)
	}
	if c, err := ParseCodec("uncompressed"); err != nil || c != None {
		t.Error(c, err)
	}
	if Codec(5).Known() || Codec(5).String() != "codec 5" || CreateTime.String() != "CreateTime" || LogAppendTime.String() != "LogAppendTime" {
		t.Error("a name is wrong")
	}
}
