package codec

import (
	"bytes"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
)

// FuzzDecompress feeds every codec with anything: it may refuse, but neither
// panic nor give more than the limit, and what it gives must survive a round
// trip.
func FuzzDecompress(f *testing.F) {
	for _, c := range codecs {
		f.Add(byte(c), must(Compress(nil, c, text(300), DefaultLevel)))
		f.Add(byte(c), must(Compress(nil, c, make([]byte, 100_000), DefaultLevel)))
	}
	f.Add(byte(batch.Zstd), zstdRuns(3))
	f.Add(byte(batch.Snappy), append(bytes.Clone(xerialHeader), 0, 0, 0, 1, 0))
	f.Fuzz(func(t *testing.T, c byte, packed []byte) {
		const limit = 64 << 10
		out, err := Decompress([]byte("head"), batch.Codec(c), packed, limit)
		switch kind := messages.KindOf(err); {
		case err == nil:
		case kind == messages.InvalidRecord, kind == messages.MessageTooLarge, kind == messages.UnsupportedCompression:
			return
		default:
			t.Fatalf("error of another kind: %v", err)
		}
		if len(out) > limit+4 || string(out[:4]) != "head" {
			t.Fatalf("%d bytes", len(out))
		}
		again := must(Compress(nil, batch.Codec(c), out[4:], DefaultLevel))
		if back, err := Decompress(nil, batch.Codec(c), again, limit); err != nil || !bytes.Equal(back, out[4:]) {
			t.Fatalf("round trip: %v", err)
		}
	})
}
