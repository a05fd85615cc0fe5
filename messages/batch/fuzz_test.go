package batch

import (
	"bytes"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func seeds(f *testing.F) {
	f.Add([]byte(sample(5)))
	f.Add(append([]byte(sample(2)), sample(1)...))
	f.Add([]byte(BuildMarker(nil, 1, 2, 3, Marker{Commit: true, CoordinatorEpoch: 4})))
	f.Add([]byte(oneRecord(1<<31-1, 12, 0, 0, 0, 1, 1, 0)))
	f.Add([]byte(oneRecord(1, 16, 0, 0, 0, 1, 1, 2, 0, 1)))
	f.Add(make([]byte, 100))
}

// FuzzNext reads bytes as a log or a request would: nothing may panic, and what
// is valid must mean the same to kmsg.
func FuzzNext(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, buf []byte) {
		rest := bytes.Clone(buf)
		for {
			b, after, err := Next(rest)
			if err != nil {
				return
			}
			if len(b)+len(after) != len(rest) || len(b) < HeaderSize {
				t.Fatalf("%d bytes became %d and %d", len(rest), len(b), len(after))
			}
			rest = after
			b.Marker()
			b.SetMaxTimestamp(b.MaxTimestamp()) // or hardly anything would get past the CRC
			if Validate(b, Limits{}) != nil || b.Codec() != None {
				continue
			}
			if _, err := CheckRecords(b, b.Payload()); err == nil {
				compare(t, b)
			}
		}
	})
}

// compare lets kmsg read b, and writes it again.
func compare(t *testing.T, b Batch) {
	var other kmsg.RecordBatch
	if err := other.ReadFrom(b); err != nil {
		t.Fatalf("kmsg refuses what we accept: %v", err)
	}
	bu, rest := NewBuilder(b.Fields()), other.Records
	for r := range Records(b, b.Payload()) {
		var want kmsg.Record
		if err := want.ReadFrom(rest); err != nil {
			t.Fatalf("kmsg refuses a record that we accept: %v", err)
		}
		if !bytes.Equal(r.Key, want.Key) || !bytes.Equal(r.Value, want.Value) || r.OffsetDelta != want.OffsetDelta ||
			r.TimestampDelta != want.TimestampDelta64 || r.NumHeaders() != len(want.Headers) {
			t.Fatalf("have %+v, kmsg %+v", r, want)
		}
		c := cursor{buf: rest}
		c.bytes() // a record is its length and as many bytes
		rest = rest[c.at:]
		var headers []Header
		for h := range r.Headers() {
			headers = append(headers, h)
		}
		bu.Add(r.Timestamp(b), r.Key, r.Value, headers...)
	}
	again := bu.Build(nil)
	if _, err := CheckRecords(again, again.Payload()); err != nil || again.NumRecords() != b.NumRecords() {
		t.Fatalf("what we built of it is bad: %v", err)
	}
}
