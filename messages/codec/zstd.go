package codec

import (
	"errors"
	"sync"

	"github.com/klauspost/compress/zstd"

	"understudy/messages/batch"
)

// maxZstdWindow is the largest window that is accepted, in bytes: that of
// zstd's highest level, which is also the most that Java's client reads.
const maxZstdWindow = 128 << 20

// maxZstdBlock is the most that a block may unpack to, in bytes.
const maxZstdBlock = 128 << 10

// zstdDecoder unpacks no more than the capacity of what it is given. It runs
// as many calls at once as there are processors; others wait their turn.
var zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
	if err != nil {
		panic("zstd decoder: " + err.Error()) // the options are constants
	}
	return d
})

// zstdEncoders are made when first used, one for each of the library's levels.
var zstdEncoders = [...]func() *zstd.Encoder{
	zstd.SpeedFastest:           newZstdEncoder(zstd.SpeedFastest),
	zstd.SpeedDefault:           newZstdEncoder(zstd.SpeedDefault),
	zstd.SpeedBetterCompression: newZstdEncoder(zstd.SpeedBetterCompression),
	zstd.SpeedBestCompression:   newZstdEncoder(zstd.SpeedBestCompression),
}

func newZstdEncoder(level zstd.EncoderLevel) func() *zstd.Encoder {
	return sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithLowerEncoderMem(true),
			zstd.WithWindowSize(1<<20), zstd.WithEncoderCRC(false))
		if err != nil {
			panic("zstd encoder: " + err.Error()) // the options are constants
		}
		return e
	})
}

func zstdEncoder(level int) *zstd.Encoder {
	if level == DefaultLevel {
		level = 3
	}
	return zstdEncoders[zstd.EncoderLevelFromZstd(level)]()
}

func unzstd(dst, src []byte, limit int) ([]byte, error) {
	least, most, err := zstdSize(src)
	switch {
	case err != nil:
		return dst, malformed(batch.Zstd, err)
	case least > limit:
		return dst, tooLarge(batch.Zstd, limit)
	case most == 0:
		return dst, nil
	}
	size := min(most, limit)
	dst = grow(dst, size)
	out, err := zstdDecoder().DecodeAll(src, dst[len(dst):len(dst):len(dst)+size])
	switch {
	case err != nil && most > limit && len(out)+maxZstdBlock > limit: // no room for another block
		return dst, tooLarge(batch.Zstd, limit)
	case err != nil:
		return dst, malformed(batch.Zstd, err)
	}
	return dst[:len(dst)+len(out)], nil
}

var errZstdCut = errors.New("frame is cut off")

// zstdSize walks the frames of src by the headers of their blocks, without
// unpacking anything, and tells between which sizes the output must lie. So
// memory is taken for what the blocks can hold, and not for what a frame claims.
func zstdSize(src []byte) (least, most int, err error) {
	for len(src) > 0 {
		var h zstd.Header
		if err := h.Decode(src); err != nil {
			return 0, 0, err
		}
		src = src[min(h.HeaderSize, len(src)):]
		if h.Skippable {
			if uint64(h.SkippableSize) > uint64(len(src)) {
				return 0, 0, errZstdCut
			}
			src = src[h.SkippableSize:]
			continue
		}
		exact, loose, rest, err := zstdBlocks(src)
		if err != nil {
			return 0, 0, err
		}
		if src = rest; h.HasCheckSum {
			src = src[min(4, len(src)):]
		}
		if h.HasFCS {
			if h.FrameContentSize > uint64(loose) {
				return 0, 0, errors.New("frame claims more than its blocks can hold")
			}
			exact, loose = int(h.FrameContentSize), int(h.FrameContentSize)
		}
		least, most = least+exact, most+loose
	}
	return least, most, nil
}

// zstdBlocks does the same for the blocks of one frame.
//
//	block header, 3 bytes little-endian:  last 1 bit | type 2 bits | size 21 bits
//	type: 0 raw, size bytes; 1 run, one byte size times; 2 compressed, size bytes
func zstdBlocks(src []byte) (least, most int, rest []byte, err error) {
	for {
		if len(src) < 3 {
			return 0, 0, nil, errZstdCut
		}
		head := int(src[0]) | int(src[1])<<8 | int(src[2])<<16
		size, stored := head>>3, head>>3
		switch head >> 1 & 3 {
		case 0:
			least, most = least+size, most+size
		case 1:
			least, most, stored = least+size, most+size, 1
		case 2:
			most += maxZstdBlock
		default:
			return 0, 0, nil, errors.New("reserved block type")
		}
		if src = src[3:]; stored > len(src) {
			return 0, 0, nil, errZstdCut
		}
		if src = src[stored:]; head&1 != 0 {
			return least, most, src, nil
		}
	}
}
