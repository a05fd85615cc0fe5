package batch

import (
	"encoding/binary"
	"errors"
	"fmt"

	"understudy/messages"
)

// ErrShort says that the bytes end before the batch does. Whether that is an
// error depends on whose bytes they are: a fetch response may end so, and the
// log of a broker that lost power; a produce request may not.
var ErrShort error = messages.E("batch", messages.CorruptMessage, "", errors.New("cut off"))

// minOldLength is the batch length of an empty message of the formats 0 and 1,
// which have their magic at the same place.
const minOldLength = 14

// SizeOf tells the size in bytes of the whole batch from its first 17 bytes.
// It fails with ErrShort if there are fewer, with UnsupportedForMessageFormat
// for the formats before v2, and with CorruptMessage if this cannot be a batch.
// The size is what the bytes claim: check it against a bound before allocating.
func SizeOf(header []byte) (int, error) {
	if len(header) <= atMagic {
		return 0, ErrShort
	}
	length := int32(binary.BigEndian.Uint32(header[atLength:]))
	switch magic := int8(header[atMagic]); {
	case magic == Magic && length >= HeaderSize-LengthPrefix:
		return int(length) + LengthPrefix, nil
	case magic == Magic:
		return 0, corrupt("batch length %d", length)
	case (magic == 0 || magic == 1) && length >= minOldLength:
		return 0, messages.E("batch", messages.UnsupportedForMessageFormat, "",
			fmt.Errorf("message format v%d; only v2 is stored", magic))
	default:
		return 0, corrupt("magic %d, batch length %d", magic, length)
	}
}

// Next splits the first batch off buf. The batch is a view of buf, with no
// capacity beyond its end. Only lengths and magic have been checked: enough for
// every method to be safe. The errors are those of SizeOf; at the end of buf
// it is ErrShort.
func Next(buf []byte) (b Batch, rest []byte, err error) {
	size, err := SizeOf(buf)
	if err != nil {
		return nil, buf, err
	}
	if size > len(buf) {
		return nil, buf, ErrShort
	}
	return Batch(buf[:size:size]), buf[size:], nil
}

// corrupt makes an error of kind CorruptMessage.
func corrupt(format string, args ...any) error {
	return messages.E("batch", messages.CorruptMessage, "", fmt.Errorf(format, args...))
}

// invalid makes an error of kind InvalidRecord: the bytes arrived as they were
// sent, but what they say breaks the format's rules.
func invalid(format string, args ...any) error {
	return messages.E("batch", messages.InvalidRecord, "", fmt.Errorf(format, args...))
}
