package wire

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"understudy/messages"
)

// ErrMalformed says that bytes are not the message they should be: something
// is cut off, or a length or a count says more than the bytes can hold.
var ErrMalformed = errors.New("malformed message")

// Reader takes a message apart. After the first error every call returns zero
// values and consumes nothing; ask Err at the end. It allocates nothing, and
// what it returns points into the message's own bytes.
type Reader struct {
	b        []byte
	flexible bool // compact lengths and tagged fields (KIP-482)
	bad      bool
}

// NewReader reads b.
func NewReader(b []byte, flexible bool) Reader { return Reader{b: b, flexible: flexible} }

// Err is ErrMalformed after any call found less than it needed.
func (r *Reader) Err() error {
	if r.bad {
		return ErrMalformed
	}
	return nil
}

// Len is how many bytes remain.
func (r *Reader) Len() int { return len(r.b) }

func (r *Reader) fail() {
	r.bad = true
	r.b = nil
}

// Take consumes n bytes and returns them.
func (r *Reader) Take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	taken := r.b[:n:n]
	r.b = r.b[n:]
	return taken
}

// Int8 reads one byte.
func (r *Reader) Int8() int8 {
	if b := r.Take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

// Bool reads one byte; anything but 0 is true.
func (r *Reader) Bool() bool { return r.Int8() != 0 }

// Int16 reads two bytes.
func (r *Reader) Int16() int16 {
	if b := r.Take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

// Int32 reads four bytes.
func (r *Reader) Int32() int32 {
	if b := r.Take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

// Int64 reads eight bytes.
func (r *Reader) Int64() int64 {
	if b := r.Take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// TopicID reads sixteen bytes.
func (r *Reader) TopicID() (id messages.TopicID) {
	copy(id[:], r.Take(len(id)))
	return id
}

// Uvarint reads an unsigned number of up to 32 bits in groups of seven.
func (r *Reader) Uvarint() uint32 {
	x, n := binary.Uvarint(r.b[:min(len(r.b), 5)])
	if n <= 0 || x > 1<<32-1 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return uint32(x)
}

// length reads the length of a string, bytes or array; -1 is null.
func (r *Reader) length(short bool) int {
	switch {
	case r.flexible:
		return int(r.Uvarint()) - 1
	case short:
		return int(r.Int16())
	default:
		return int(r.Int32())
	}
}

// String reads a string; null is an error. It shares the message's memory.
func (r *Reader) String() string {
	return view(r.Take(r.length(true)))
}

// NullableString reads a string; ok is false for null. It shares the message's memory.
func (r *Reader) NullableString() (s string, ok bool) {
	n := r.length(true)
	if n < 0 {
		return "", false
	}
	return view(r.Take(n)), !r.bad
}

// Bytes reads bytes, nil for null. They share the message's memory.
func (r *Reader) Bytes() []byte {
	n := r.length(false)
	if n < 0 {
		return nil
	}
	return r.Take(n)
}

// Array reads the number of elements of an array, each of which takes at least
// minSize bytes: a count that cannot fit in what remains is an error. Null is -1.
func (r *Reader) Array(minSize int) int {
	n := r.length(false)
	if n < 0 {
		return -1
	}
	if n > len(r.b)/max(minSize, 1) {
		r.fail()
		return -1
	}
	return n
}

// Tags reads the tagged fields that end every structure of a flexible message
// and hands each to field, which may be nil to skip all. In other messages there
// are none.
func (r *Reader) Tags(field func(tag uint32, value []byte)) {
	if !r.flexible {
		return
	}
	n := int(r.Uvarint())
	if n > len(r.b)/2 { // a tag takes two bytes at least: its number and its length
		r.fail()
		return
	}
	for range n {
		tag := r.Uvarint()
		value := r.Take(int(r.Uvarint()))
		if r.bad {
			return
		}
		if field != nil {
			field(tag, value)
		}
	}
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
