package wire

import (
	"encoding/binary"

	"understudy/messages"
)

// AppendInt8 appends one byte.
func AppendInt8(dst []byte, v int8) []byte { return append(dst, byte(v)) }

// AppendInt16 appends two bytes.
func AppendInt16(dst []byte, v int16) []byte { return binary.BigEndian.AppendUint16(dst, uint16(v)) }

// AppendInt32 appends four bytes.
func AppendInt32(dst []byte, v int32) []byte { return binary.BigEndian.AppendUint32(dst, uint32(v)) }

// AppendInt64 appends eight bytes.
func AppendInt64(dst []byte, v int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(v)) }

// AppendUvarint appends an unsigned number in groups of seven bits.
func AppendUvarint(dst []byte, v uint32) []byte { return binary.AppendUvarint(dst, uint64(v)) }

// AppendTopicID appends sixteen bytes.
func AppendTopicID(dst []byte, id messages.TopicID) []byte { return append(dst, id[:]...) }

// AppendString appends a string with its length, compact if the message is flexible.
func AppendString(dst []byte, flexible bool, s string) []byte {
	if flexible {
		dst = AppendUvarint(dst, uint32(len(s))+1)
	} else {
		dst = AppendInt16(dst, int16(len(s)))
	}
	return append(dst, s...)
}

// AppendNullableString appends s, or null when s is empty.
func AppendNullableString(dst []byte, flexible bool, s string) []byte {
	switch {
	case s != "":
		return AppendString(dst, flexible, s)
	case flexible:
		return AppendUvarint(dst, 0)
	default:
		return AppendInt16(dst, -1)
	}
}

// AppendArray appends the number of elements of an array.
func AppendArray(dst []byte, flexible bool, n int) []byte {
	if flexible {
		return AppendUvarint(dst, uint32(n)+1)
	}
	return AppendInt32(dst, int32(n))
}

// AppendBytesLen appends the length of bytes that are to follow.
func AppendBytesLen(dst []byte, flexible bool, n int) []byte { return AppendArray(dst, flexible, n) }

// AppendNoTags appends the end of a structure that has no tagged fields.
func AppendNoTags(dst []byte, flexible bool) []byte {
	if flexible {
		return append(dst, 0)
	}
	return dst
}
