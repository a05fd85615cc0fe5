package kafka

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"understudy/messages/batch"
	"understudy/messages/codec"
)

// someKeyless is a batch of n records of which some have no key.
func someKeyless(t *testing.T, c batch.Codec, n int, keyless ...int32) batch.Batch {
	t.Helper()
	bu := batch.NewBuilder(batch.NoProducer)
	for i := range int32(n) {
		key := fmt.Appendf(nil, "key %d", i)
		switch {
		case slices.Contains(keyless, i):
			key = nil
		case i == 1:
			key = []byte{} // which is one
		}
		bu.Add(1_700_000_000_000, key, []byte("value"))
	}
	b, err := codec.Build(nil, bu, c, codec.DefaultLevel)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestACompactedTopicTakesNoRecordWithoutAKey(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 1, map[string]string{"cleanup.policy": "compact,delete"})
	f.create("events", 1, nil)
	c := serve(t, f, nil).dial(t)
	for _, how := range []batch.Codec{batch.None, batch.Gzip, batch.Snappy, batch.LZ4, batch.Zstd} {
		for name, w := range map[string]struct {
			topic   string
			version int16
			keyless []int32
			code    int16
		}{
			"all have one":          {"orders", 9, nil, 0},
			"two have none":         {"orders", 9, []int32{0, 4}, kerr.InvalidRecord.Code},
			"the last has none":     {"orders", 8, []int32{5}, kerr.InvalidRecord.Code},
			"before errors by name": {"orders", 7, []int32{3}, kerr.InvalidRecord.Code},
			"not compacted":         {"events", 9, []int32{0, 4}, 0},
		} {
			p := producePart(c, produceReq(w.version, -1, w.topic, 0, someKeyless(t, how, 6, w.keyless...)))
			if p.ErrorCode != w.code {
				t.Fatalf("%v, %s: code %d, want %d", how, name, p.ErrorCode, w.code)
			}
			var named []int32
			for _, r := range p.ErrorRecords {
				named = append(named, r.RelativeOffset)
				if r.ErrorMessage == nil || !strings.Contains(*r.ErrorMessage, "without a key") {
					t.Errorf("%v, %s: record %d: %v", how, name, r.RelativeOffset, r.ErrorMessage)
				}
			}
			if want := w.keyless; w.code != 0 && w.version >= 8 && !slices.Equal(named, want) {
				t.Errorf("%v, %s: records %v are named, want %v", how, name, named, want)
			}
			if w.code != 0 && w.version >= 8 && (p.ErrorMessage == nil || !strings.Contains(*p.ErrorMessage, "compacted topic")) {
				t.Errorf("%v, %s: %v", how, name, p.ErrorMessage)
			}
		}
	}
	all := make([]int32, 5000)
	for i := range all {
		all[i] = int32(i)
	}
	if p := producePart(c, produceReq(9, -1, "orders", 0, someKeyless(t, batch.Zstd, len(all), all...))); len(p.ErrorRecords) != maxBadRecords {
		t.Errorf("%d records are named", len(p.ErrorRecords))
	}
}

// TestACompactedTopicTakesNoStrayOffsets: compaction goes by them.
func TestACompactedTopicTakesNoStrayOffsets(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 1, map[string]string{"cleanup.policy": "compact"})
	c := serve(t, f, nil).dial(t)
	b := someKeyless(t, batch.None, 3)
	payload := slices.Clone(b.Payload())
	at := slices.Index(payload, 2) // the offset delta of the second record, as it is encoded
	payload[at] = 40
	stray := batch.Assemble(nil, b.Fields(), payload)
	if err := stray.CheckCRC(); err != nil {
		t.Fatal(err)
	}
	for _, how := range []batch.Codec{batch.None, batch.LZ4} {
		again, err := codec.Recompress(stray, how, 0, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if p := producePart(c, produceReq(9, -1, "orders", 0, again)); p.ErrorCode != kerr.InvalidRecord.Code {
			t.Errorf("%v: code %d", how, p.ErrorCode)
		}
	}
}
