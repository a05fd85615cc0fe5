package codec

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/messages"
	"understudy/messages/batch"
)

var codecs = []batch.Codec{batch.None, batch.Gzip, batch.Snappy, batch.LZ4, batch.Zstd}

// text is n bytes that compress to about a third.
func text(n int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, `{"user":%d,"action":"click","page":"/item/%d"}`, random.IntN(1e6), random.IntN(1e4))
	}
	return b.Bytes()[:n]
}

func noise(n int) []byte {
	random := rand.New(rand.NewPCG(3, 4))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestRoundTrip(t *testing.T) {
	for _, c := range codecs {
		for _, level := range []int{DefaultLevel, -1, 1, 3, 9, 17, 100, -100} {
			for _, n := range []int{0, 1, 100, 32 << 10, 150_001} {
				for name, src := range map[string][]byte{"text": text(n), "noise": noise(n), "zeros": make([]byte, n)} {
					packed, err := Compress([]byte("before"), c, src, level)
					if err != nil || !bytes.HasPrefix(packed, []byte("before")) {
						t.Fatalf("%v level %d: %d bytes of %s: %v", c, level, n, name, err)
					}
					back, err := Decompress([]byte("head"), c, packed[6:], n)
					if err != nil || string(back[:4]) != "head" || !bytes.Equal(back[4:], src) {
						t.Fatalf("%v level %d: %d bytes of %s came back as %d: %v", c, level, n, name, len(back)-4, err)
					}
				}
			}
		}
	}
}

// TestOtherClients reads what other libraries and framings make, and lets
// franz-go, which has framings of its own, read ours.
func TestOtherClients(t *testing.T) {
	src := text(300_000)
	gz := func(w *bytes.Buffer) { z := gzip.NewWriter(w); z.Write(src); z.Close() }
	var members, snappyJava, lz4Large, lz4Checked, lz4Sized, zstdStream, zstdFrames bytes.Buffer
	gz(&members)
	gz(&members)
	for range 2 { // two xerial streams back to back, blocks of uneven size
		snappyJava.Write(xerialHeader)
		for rest := src; len(rest) > 0; {
			n := min(len(rest), 70_000)
			block := snappy.Encode(nil, rest[:n])
			snappyJava.Write(binary.BigEndian.AppendUint32(nil, uint32(len(block))))
			snappyJava.Write(block)
			rest = rest[n:]
		}
	}
	for w, options := range map[*bytes.Buffer][]lz4.Option{
		&lz4Large:   {lz4.BlockSizeOption(lz4.Block4Mb)},
		&lz4Checked: {lz4.BlockSizeOption(lz4.Block256Kb), lz4.BlockChecksumOption(true), lz4.ChecksumOption(true)},
		&lz4Sized:   {lz4.SizeOption(uint64(len(src)))},
	} {
		z := lz4.NewWriter(w)
		z.Apply(options...)
		z.Write(src)
		z.Close()
	}
	z := must(zstd.NewWriter(&zstdStream, zstd.WithWindowSize(8<<20)))
	for i := 0; i < len(src); i += 1000 { // a stream of small writes: no content size in the frame
		z.Write(src[i : i+1000])
		if i%50_000 == 0 {
			z.Flush()
		}
	}
	z.Close()
	one := z.EncodeAll(src, nil)
	zstdFrames.Write(one)
	zstdFrames.Write([]byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3}) // a skippable frame
	zstdFrames.Write(zstdStream.Bytes())
	twice := append(bytes.Clone(src), src...)
	for name, c := range map[string]struct {
		codec  batch.Codec
		packed []byte
		want   []byte
	}{
		"gzip of two members":            {batch.Gzip, members.Bytes(), twice},
		"snappy raw":                     {batch.Snappy, snappy.Encode(nil, src), src},
		"snappy xerial twice":            {batch.Snappy, snappyJava.Bytes(), twice},
		"lz4 blocks of 4 MiB":            {batch.LZ4, lz4Large.Bytes(), src},
		"lz4 with checksums":             {batch.LZ4, lz4Checked.Bytes(), src},
		"lz4 with content size":          {batch.LZ4, lz4Sized.Bytes(), src},
		"zstd stream, window 8 MiB":      {batch.Zstd, zstdStream.Bytes(), src},
		"zstd in one go":                 {batch.Zstd, one, src},
		"zstd frames, one to be skipped": {batch.Zstd, zstdFrames.Bytes(), twice},
	} {
		for _, limit := range []int{len(c.want), len(c.want) + 1, 100 << 20} {
			if got, err := Decompress(nil, c.codec, c.packed, limit); err != nil || !bytes.Equal(got, c.want) {
				t.Errorf("%s, limit %d: %d bytes, %v", name, limit, len(got), err)
			}
		}
		if _, err := Decompress(nil, c.codec, c.packed, len(c.want)-1); messages.KindOf(err) != messages.MessageTooLarge {
			t.Errorf("%s, one byte less: %v", name, err)
		}
	}
	other := kgo.DefaultDecompressor()
	for _, c := range codecs {
		packed := must(Compress(nil, c, src, DefaultLevel))
		if got, err := other.Decompress(packed, kgo.CompressionCodecType(c)); err != nil || !bytes.Equal(got, src) {
			t.Errorf("franz-go does not read our %v: %v", c, err)
		}
	}
	for c, codec := range map[batch.Codec]kgo.CompressionCodec{
		batch.Gzip: kgo.GzipCompression(), batch.Snappy: kgo.SnappyCompression(), batch.LZ4: kgo.Lz4Compression(), batch.Zstd: kgo.ZstdCompression(),
	} {
		packed, kind := must(kgo.DefaultCompressor(codec)).Compress(new(bytes.Buffer), src)
		if got, err := Decompress(nil, c, packed, len(src)); err != nil || batch.Codec(kind) != c || !bytes.Equal(got, src) {
			t.Errorf("we do not read franz-go's %v: %v", c, err)
		}
	}
}

func TestLZ4FrameIsTheOneThatJavaReads(t *testing.T) {
	packed := must(Compress(nil, batch.LZ4, text(100_000), DefaultLevel))
	// Magic; version 1 with independent blocks and nothing else; blocks of 64 KiB.
	if want := []byte{0x04, 0x22, 0x4d, 0x18, 0x60, 0x40}; !bytes.HasPrefix(packed, want) {
		t.Errorf("the frame begins with %x, want %x", packed[:6], want)
	}
}

// allocated is how many bytes f allocates in all.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestBombsStayWithinTheLimit(t *testing.T) {
	const size, limit = 64 << 20, 1 << 20
	zeros := make([]byte, size)
	bombs := map[string]struct {
		codec  batch.Codec
		packed []byte
	}{
		"snappy raw": {batch.Snappy, snappy.Encode(nil, zeros)},
		"zstd runs":  {batch.Zstd, zstdRuns(size / maxZstdBlock)},
	}
	for _, c := range codecs[1:] {
		bombs[c.String()] = struct {
			codec  batch.Codec
			packed []byte
		}{c, must(Compress(nil, c, zeros, 1))}
	}
	zeros = nil
	for name, bomb := range bombs {
		// Once before, so that pools and tables are there.
		Decompress(nil, bomb.codec, must(Compress(nil, bomb.codec, text(1000), 1)), 2000)
		var err error
		bytes := allocated(func() { _, err = Decompress(nil, bomb.codec, bomb.packed, limit) })
		if messages.KindOf(err) != messages.MessageTooLarge {
			t.Errorf("%s: %v", name, err)
		}
		// Doubling up to the limit takes twice the limit in all; an LZ4 block is up to 4 MiB.
		if bytes > 2*limit+5<<20 {
			t.Errorf("%s of %d bytes: %d bytes were allocated under a limit of %d", name, len(bomb.packed), bytes, limit)
		}
	}
}

// zstdRuns is a frame of n blocks, each one byte 128 Ki times.
func zstdRuns(n int) []byte {
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3} // no content size; window of 8 MiB
	for i := range n {
		head := maxZstdBlock<<3 | 1<<1
		if i == n-1 {
			head |= 1
		}
		frame = append(frame, byte(head), byte(head>>8), byte(head>>16), 'x')
	}
	return frame
}

func TestClaimedSizesAreNotBelieved(t *testing.T) {
	const limit = 1 << 30
	gz := must(Compress(nil, batch.Gzip, []byte("hello"), 1))
	copy(gz[len(gz)-4:], []byte{255, 255, 255, 63})
	for name, c := range map[string]struct {
		codec  batch.Codec
		packed []byte
	}{
		"snappy":        {batch.Snappy, append(binary.AppendUvarint(nil, limit), 0, 'x')},
		"snappy xerial": {batch.Snappy, append(bytes.Clone(xerialHeader), 0x7f, 255, 255, 255, 0)},
		"gzip":          {batch.Gzip, gz},
		"zstd":          {batch.Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x3f, 1, 0, 0}},
		"lz4":           {batch.LZ4, []byte{0x04, 0x22, 0x4d, 0x18, 0x68, 0x70, 0, 0, 0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0}},
	} {
		Decompress(nil, c.codec, must(Compress(nil, c.codec, text(1000), 1)), 2000)
		var err error
		bytes := allocated(func() { _, err = Decompress(nil, c.codec, c.packed, limit) })
		if messages.KindOf(err) != messages.InvalidRecord {
			t.Errorf("%s: %v", name, err)
		}
		if bytes > 6<<20 {
			t.Errorf("%s: %d bytes of input made us allocate %d", name, len(c.packed), bytes)
		}
	}
}

func TestMalformedInput(t *testing.T) {
	src := text(50_000)
	for _, c := range codecs[1:] {
		packed := must(Compress(nil, c, src, DefaultLevel))
		for _, cut := range []int{1, 3, 7, 15, len(packed) / 2, len(packed) - 1} {
			got, err := Decompress(nil, c, packed[:cut], 1<<20)
			if messages.KindOf(err) != messages.InvalidRecord {
				t.Errorf("%v cut at %d of %d: %d bytes, %v", c, cut, len(packed), len(got), err)
			}
		}
		if _, err := Decompress(nil, c, []byte(strings.Repeat("nonsense", 9)), 1<<20); messages.KindOf(err) != messages.InvalidRecord {
			t.Errorf("%v of nonsense: %v", c, err)
		}
	}
	for _, c := range []batch.Codec{5, 7} {
		if _, err := Decompress(nil, c, src, 1<<20); messages.KindOf(err) != messages.UnsupportedCompression {
			t.Errorf("%v: %v", c, err)
		}
		if _, err := Compress(nil, c, src, 1); messages.KindOf(err) != messages.UnsupportedCompression {
			t.Errorf("%v: %v", c, err)
		}
	}
	if _, err := Decompress(nil, batch.None, src, 10); messages.KindOf(err) != messages.MessageTooLarge {
		t.Error(err)
	}
}

// TestPoolsKeepCallersApart would find a pooled buffer that two calls share.
func TestPoolsKeepCallersApart(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			src := text(20_000 + i*5_000)
			for j := range 40 {
				c := codecs[(i+j)%len(codecs)]
				packed, err := Compress(nil, c, src, j%4)
				if err != nil {
					t.Error(err)
				}
				if got, err := Decompress(nil, c, packed, len(src)); err != nil || !bytes.Equal(got, src) {
					t.Errorf("%v: %v", c, err)
				}
			}
		})
	}
	wg.Wait()
}
