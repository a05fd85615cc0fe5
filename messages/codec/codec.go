// Package codec compresses and decompresses the records sections of batches,
// in the framings that Kafka's clients write and read.
//
// The broker passes batches on as they came. It comes here only where somebody
// asked for it: a topic with a compression.type of its own, a deep check of
// what a client sent, an internal topic that is read record by record.
//
// Everything that decompresses takes a bound on its output and holds no more
// memory than that bound and a fixed working set, whatever the input claims:
// sizes found in the input are trusted only as far as so many bytes could have
// produced them. All functions may be called from any goroutine.
package codec

import (
	"fmt"
	"io"

	"understudy/messages"
	"understudy/messages/batch"
)

// DefaultLevel asks for a codec's default compression level.
const DefaultLevel = 0

// Decompress appends what src unpacks to, at most limit bytes, to dst and
// returns the extended slice. Memory that dst points to beyond its length may
// be overwritten also when it fails.
//
// The error is of kind MessageTooLarge if there is more than limit,
// InvalidRecord if src is malformed, UnsupportedCompression if c is no codec.
func Decompress(dst []byte, c batch.Codec, src []byte, limit int) ([]byte, error) {
	switch c {
	case batch.None:
		if len(src) > limit {
			return dst, tooLarge(c, limit)
		}
		return append(dst, src...), nil
	case batch.Gzip:
		return gunzip(dst, src, limit)
	case batch.Snappy:
		return unsnappy(dst, src, limit)
	case batch.LZ4:
		return unlz4(dst, src, limit)
	case batch.Zstd:
		return unzstd(dst, src, limit)
	default:
		return dst, unsupported(c)
	}
}

// Compress appends src, packed, to dst and returns the extended slice. Levels
// are those of Kafka's compression.gzip.level (1 to 9), compression.lz4.level
// (1 to 17) and compression.zstd.level (-131072 to 22); snappy has none. A
// level outside its range counts as the nearest one inside.
func Compress(dst []byte, c batch.Codec, src []byte, level int) ([]byte, error) {
	switch c {
	case batch.None:
		return append(dst, src...), nil
	case batch.Gzip:
		return gzipped(dst, src, level)
	case batch.Snappy:
		return snappied(dst, src), nil
	case batch.LZ4:
		return lz4ed(dst, src, level)
	case batch.Zstd:
		return zstdEncoder(level).EncodeAll(src, dst), nil
	default:
		return dst, unsupported(c)
	}
}

func unsupported(c batch.Codec) error {
	return messages.E("compression", messages.UnsupportedCompression, c.String(), nil)
}

func tooLarge(c batch.Codec, limit int) error {
	return messages.E("decompress", messages.MessageTooLarge, c.String(), fmt.Errorf("more than %d bytes", limit))
}

func malformed(c batch.Codec, cause error) error {
	return messages.E("decompress", messages.InvalidRecord, c.String(), cause)
}

// minGrowth is the least by which an output buffer grows, in bytes.
const minGrowth = 4096

// readAll appends all that r has, at most limit bytes, to dst. hint is how many
// to expect; from there on the buffer doubles, up to the limit.
func readAll(dst []byte, c batch.Codec, r io.Reader, hint, limit int) ([]byte, error) {
	start := len(dst)
	end := start + limit + 1 // whoever gets this far has more than limit
	for len(dst) < end {
		if len(dst) == cap(dst) {
			dst = grow(dst, min(max(hint, len(dst)-start, minGrowth), end-len(dst)))
			hint = 0
		}
		n, err := r.Read(dst[len(dst):min(cap(dst), end)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst) == end:
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, malformed(c, err)
		}
	}
	return dst, tooLarge(c, limit)
}

// grow makes room for n bytes and, unlike append, no more.
func grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	larger := make([]byte, len(dst), len(dst)+n)
	copy(larger, dst)
	return larger
}

// sink is an io.Writer that appends to itself.
type sink struct{ buf []byte }

func (s *sink) Write(p []byte) (int, error) {
	s.buf = append(s.buf, p...)
	return len(p), nil
}
