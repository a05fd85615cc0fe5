package codec

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"

	"understudy/messages/batch"
)

// Java frames snappy blocks in its own way ("xerial"); most other clients send
// one raw block. Both are read, Java's is written.
//
//	+---------------------+-----------+------------+--------+-----------+--------+---
//	| 82 'S' 'N' 'A' 'P'  | version 4 | readable   | size 4 | raw block | size 4 | ...
//	| 'P' 'Y' 00          | (1)       | since 4 (1)|        |           |        |
//	+---------------------+-----------+------------+--------+-----------+--------+---
//
// Integers are big-endian. Streams may follow one another, each with a header.
var xerialHeader = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}

const (
	xerialMagic = 8        // bytes of the header that identify it
	xerialBlock = 32 << 10 // bytes of input in a block, as Java's writer cuts it
	snappyRatio = 22       // more than snappy can make of a byte: 64 of 3
)

var errSnappy = errors.New("bad block")

func unsnappy(dst, src []byte, limit int) ([]byte, error) {
	if !bytes.HasPrefix(src, xerialHeader[:xerialMagic]) {
		return unsnappyBlock(dst, src, limit, limit)
	}
	start := len(dst)
	for len(src) > 0 {
		if bytes.HasPrefix(src, xerialHeader[:xerialMagic]) {
			if len(src) < len(xerialHeader) {
				return dst, malformed(batch.Snappy, errors.New("header is cut off"))
			}
			src = src[len(xerialHeader):]
			continue
		}
		if len(src) < 4 {
			return dst, malformed(batch.Snappy, errors.New("block size is cut off"))
		}
		size := int64(binary.BigEndian.Uint32(src))
		if src = src[4:]; size > int64(len(src)) {
			return dst, malformed(batch.Snappy, errors.New("block is cut off"))
		}
		var err error
		if dst, err = unsnappyBlock(dst, src[:size], limit-(len(dst)-start), limit); err != nil {
			return dst, err
		}
		src = src[size:]
	}
	return dst, nil
}

// unsnappyBlock unpacks one raw block into at most left bytes, of the limit
// that errors name.
func unsnappyBlock(dst, src []byte, left, limit int) ([]byte, error) {
	size, err := snappy.DecodedLen(src)
	switch {
	case err != nil:
		return dst, malformed(batch.Snappy, err)
	case size > snappyRatio*len(src):
		return dst, malformed(batch.Snappy, errSnappy)
	case size > left:
		return dst, tooLarge(batch.Snappy, limit)
	}
	if cap(dst)-len(dst) < size {
		dst = grow(dst, max(size, min(left, len(dst)))) // doubling: a stream has many blocks
	}
	if _, err := snappy.Decode(dst[len(dst):len(dst)+size], src); err != nil {
		return dst, malformed(batch.Snappy, err)
	}
	return dst[:len(dst)+size], nil
}

func snappied(dst, src []byte) []byte {
	blocks := (len(src) + xerialBlock - 1) / xerialBlock
	dst = grow(dst, len(xerialHeader)+blocks*(4+s2.MaxEncodedLen(xerialBlock)))
	dst = append(dst, xerialHeader...)
	for len(src) > 0 {
		block := src[:min(len(src), xerialBlock)]
		src = src[len(block):]
		packed := s2.EncodeSnappy(dst[len(dst)+4:cap(dst)], block)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(packed)))
		dst = dst[:len(dst)+len(packed)]
	}
	return dst
}
