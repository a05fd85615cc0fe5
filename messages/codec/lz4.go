package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/pierrec/lz4/v4"

	"understudy/messages/batch"
)

// lz4Magic begins an LZ4 frame. The library also reads skippable and legacy
// frames, which no Kafka client does.
const lz4Magic = 0x184D2204

// lz4Fast is the level that Kafka takes to mean the fast compressor; all others
// mean the high-compression one.
const lz4Fast = 9

// lz4Levels are the library's levels by Kafka's. Kafka has 17, the library 9.
var lz4Levels = [...]lz4.CompressionLevel{
	lz4.Fast, lz4.Level1, lz4.Level2, lz4.Level3, lz4.Level4, lz4.Level5, lz4.Level6, lz4.Level7, lz4.Level8,
	lz4Fast: lz4.Fast, 10: lz4.Level9,
}

type lz4Reader struct {
	src bytes.Reader
	lz  *lz4.Reader
}

type lz4Writer struct {
	out sink
	lz  *lz4.Writer
}

var (
	lz4Readers = sync.Pool{New: func() any { return &lz4Reader{lz: lz4.NewReader(nil)} }}
	lz4Writers [len(lz4Levels)]sync.Pool // of *lz4Writer, by index into lz4Levels
)

func unlz4(dst, src []byte, limit int) ([]byte, error) {
	if len(src) < 4 || binary.LittleEndian.Uint32(src) != lz4Magic {
		return dst, malformed(batch.LZ4, errors.New("no LZ4 frame"))
	}
	r := lz4Readers.Get().(*lz4Reader)
	defer func() {
		r.src.Reset(nil)
		r.lz.Reset(nil) // gives the block buffer back
		lz4Readers.Put(r)
	}()
	r.src.Reset(src)
	r.lz.Reset(&r.src)
	return readAll(dst, batch.LZ4, r.lz, 4*len(src), limit)
}

// lz4ed writes the frame that Java's client and librdkafka write: independent
// blocks of 64 KiB, no checksums (the batch has its own), no content size.
func lz4ed(dst, src []byte, level int) ([]byte, error) {
	level = min(max(level, 0), len(lz4Levels)-1)
	w, _ := lz4Writers[level].Get().(*lz4Writer)
	if w == nil {
		w = &lz4Writer{lz: lz4.NewWriter(nil)}
		err := w.lz.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false),
			lz4.CompressionLevelOption(lz4Levels[level]))
		if err != nil {
			return dst, err
		}
	}
	defer lz4Writers[level].Put(w)
	w.out.buf = dst
	w.lz.Reset(&w.out)
	_, err := w.lz.Write(src)
	if err == nil {
		err = w.lz.Close()
	}
	dst, w.out.buf = w.out.buf, nil
	return dst, err
}
