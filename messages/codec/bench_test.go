package codec

import (
	"testing"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"

	"understudy/messages/batch"
)

const benchSize = 64 << 10

func BenchmarkCompress(b *testing.B) {
	src := text(benchSize)
	for _, c := range codecs[1:] {
		b.Run(c.String(), func(b *testing.B) {
			b.SetBytes(benchSize)
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst = must(Compress(dst[:0], c, src, DefaultLevel))
			}
			b.ReportMetric(float64(benchSize)/float64(len(dst)), "ratio")
		})
	}
}

func BenchmarkDecompress(b *testing.B) {
	src := text(benchSize)
	for _, c := range codecs[1:] {
		b.Run(c.String(), func(b *testing.B) {
			packed, dst := must(Compress(nil, c, src, DefaultLevel)), make([]byte, 0, 2*benchSize)
			b.SetBytes(benchSize)
			b.ReportAllocs()
			for b.Loop() {
				dst = must(Decompress(dst[:0], c, packed, 1<<20))
			}
		})
	}
}

// BenchmarkSnappyLibraries is why snappy is packed by s2 and unpacked by snappy.
func BenchmarkSnappyLibraries(b *testing.B) {
	src := text(benchSize)
	packed, dst := s2.EncodeSnappy(nil, src), make([]byte, 2*benchSize)
	run := func(name string, f func()) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(benchSize)
			for b.Loop() {
				f()
			}
		})
	}
	run("pack/s2", func() { s2.EncodeSnappy(dst, src) })
	run("pack/snappy", func() { snappy.Encode(dst, src) })
	run("unpack/s2", func() { must(s2.Decode(dst, packed)) })
	run("unpack/snappy", func() { must(snappy.Decode(dst, packed)) })
}

func BenchmarkRecompress(b *testing.B) {
	from := must(Build(nil, sample(500), batch.LZ4, DefaultLevel))
	b.SetBytes(int64(sample(500).Size()))
	b.ReportAllocs()
	for b.Loop() {
		must(Recompress(from, batch.Zstd, DefaultLevel, 1<<20))
	}
}
