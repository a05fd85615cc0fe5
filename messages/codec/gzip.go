package codec

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/klauspost/compress/gzip"

	"understudy/messages/batch"
)

// deflateRatio is more than deflate can make of a byte (1032).
const deflateRatio = 1040

type gzipReader struct {
	src bytes.Reader
	gz  gzip.Reader
}

type gzipWriter struct {
	out sink
	gz  *gzip.Writer
}

var (
	gzipReaders sync.Pool                           // of *gzipReader
	gzipWriters [gzip.BestCompression + 1]sync.Pool // of *gzipWriter, by level
)

func gunzip(dst, src []byte, limit int) ([]byte, error) {
	r, _ := gzipReaders.Get().(*gzipReader)
	if r == nil {
		r = &gzipReader{}
	}
	defer func() {
		r.src.Reset(nil)
		gzipReaders.Put(r)
	}()
	r.src.Reset(src)
	if err := r.gz.Reset(&r.src); err != nil {
		return dst, malformed(batch.Gzip, err)
	}
	return readAll(dst, batch.Gzip, &r.gz, gzipHint(src), limit)
}

// gzipHint is the size that the stream's last four bytes claim, as far as it
// can be true; and one byte, so that the end is found without growing.
func gzipHint(src []byte) int {
	if len(src) < 4 {
		return 0
	}
	return min(int(binary.LittleEndian.Uint32(src[len(src)-4:])), deflateRatio*len(src)) + 1
}

func gzipped(dst, src []byte, level int) ([]byte, error) {
	if level <= 0 {
		level = 6 // what zlib, and so Kafka, means by its default
	}
	level = min(level, gzip.BestCompression)
	w, _ := gzipWriters[level].Get().(*gzipWriter)
	if w == nil {
		gz, err := gzip.NewWriterLevel(nil, level)
		if err != nil {
			return dst, err
		}
		w = &gzipWriter{gz: gz}
	}
	defer gzipWriters[level].Put(w)
	w.out.buf = dst
	w.gz.Reset(&w.out)
	_, err := w.gz.Write(src)
	if err == nil {
		err = w.gz.Close()
	}
	dst, w.out.buf = w.out.buf, nil
	return dst, err
}
