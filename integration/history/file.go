package history

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

const magic = "USH1"

// Bounds on what a file may claim, so that one that is damaged costs no memory.
const (
	maxName    = 1 << 12
	maxRecords = 1 << 20
)

// Writer writes a history. It is not safe for concurrent use; see Recorder.
type Writer struct {
	w   *bufio.Writer
	buf []byte
	err error
}

// NewWriter begins a history.
func NewWriter(w io.Writer) *Writer {
	out := &Writer{w: bufio.NewWriterSize(w, 1<<16)}
	_, out.err = out.w.WriteString(magic)
	return out
}

// Add writes an event. The first error is told by Flush.
func (w *Writer) Add(e Event) {
	if w.err == nil {
		w.buf = e.append(w.buf[:0])
		_, w.err = w.w.Write(w.buf)
	}
}

// Flush writes what is buffered.
func (w *Writer) Flush() error {
	if w.err == nil {
		w.err = w.w.Flush()
	}
	return w.err
}

func (e *Event) append(b []byte) []byte {
	b = append(b, byte(e.Type))
	if e.Type == Poll {
		b = e.appendPoll(b)
	}
	for _, f := range e.fields() {
		b = binary.AppendUvarint(b, f.get())
	}
	if e.named() {
		name := e.Name[:min(len(e.Name), maxName)]
		b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
	}
	return b
}

func (e *Event) appendPoll(b []byte) []byte {
	for _, v := range []uint64{uint64(e.Process), uint64(e.Partition), uint64(e.Txn), e.Flags, uint64(len(e.Records))} {
		b = binary.AppendUvarint(b, v)
	}
	last := int64(0)
	for _, r := range e.Records {
		b = binary.AppendVarint(b, r.Offset-last)
		b = binary.AppendUvarint(b, r.Value)
		last = r.Offset
	}
	return b
}

func (e *Event) named() bool { return e.Type == Process || e.Type == Partition || e.Type == Note }

// field is one number of an event: exactly one of them is set.
type field struct {
	u32 *uint32
	i32 *int32
	u64 *uint64
	i64 *int64
}

// fields are an event's numbers, in the order of the format.
func (e *Event) fields() []field {
	process, partition, txn, call := field{u32: &e.Process}, field{u32: &e.Partition}, field{u32: &e.Txn}, field{u32: &e.Call}
	flags, value, offset := field{u64: &e.Flags}, field{u64: &e.Value}, field{i64: &e.Offset}
	switch e.Type {
	case Process:
		return []field{process, flags}
	case Partition:
		return []field{partition, {i32: &e.Number}}
	case Send:
		return []field{process, partition, txn, call, value}
	case OK:
		return []field{value, offset}
	case Fail:
		return []field{value}
	case Place:
		return []field{process, partition}
	case Start, End:
		return []field{partition, offset}
	case Ending, Ended:
		return []field{txn, flags}
	case Commit:
		return []field{process, partition, offset, call}
	case Committed:
		return []field{call}
	case Fetching:
		return []field{process, partition, call}
	case Fetched:
		return []field{call, offset}
	}
	return nil
}

func (f field) get() uint64 {
	switch {
	case f.u32 != nil:
		return uint64(*f.u32)
	case f.i32 != nil:
		return uint64(max(*f.i32, 0))
	case f.u64 != nil:
		return *f.u64
	}
	return uint64(*f.i64)
}

func (f field) set(v uint64) error {
	switch {
	case f.u64 != nil:
		*f.u64 = v
	case f.i64 != nil:
		*f.i64 = int64(v)
	case f.u32 != nil && v <= math.MaxUint32:
		*f.u32 = uint32(v)
	case f.i32 != nil && v <= math.MaxInt32:
		*f.i32 = int32(v)
	default:
		return fmt.Errorf("the number %d is out of range", v)
	}
	return nil
}

// Reader reads a history.
type Reader struct {
	r    *bufio.Reader
	n    int64 // events read
	text []byte
}

// NewReader begins to read a history.
func NewReader(r io.Reader) (*Reader, error) {
	in := &Reader{r: bufio.NewReaderSize(r, 1<<16)}
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(in.r, head); err != nil || string(head) != magic {
		return nil, fmt.Errorf("this is no history: it does not begin with %q", magic)
	}
	return in, nil
}

// Next reads an event into e, whose Records it uses again; io.EOF at the end.
func (r *Reader) Next(e *Event) error {
	records := e.Records[:0]
	*e = Event{Records: records}
	kind, err := r.r.ReadByte()
	if err != nil {
		return err // io.EOF among them
	}
	e.Type = Type(kind)
	if e.Type == 0 || e.Type >= types {
		return fmt.Errorf("event %d has the unknown type %d", r.n, kind)
	}
	if err := r.body(e); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("event %d: %w", r.n, err)
	}
	r.n++
	return nil
}

func (r *Reader) body(e *Event) error {
	if e.Type == Poll {
		return r.poll(e)
	}
	for _, f := range e.fields() {
		v, err := binary.ReadUvarint(r.r)
		if err == nil {
			err = f.set(v)
		}
		if err != nil {
			return err
		}
	}
	if !e.named() {
		return nil
	}
	length, err := binary.ReadUvarint(r.r)
	if err != nil {
		return err
	}
	if length > maxName {
		return fmt.Errorf("a name of %d bytes", length)
	}
	r.text = append(r.text[:0], make([]byte, length)...)
	_, err = io.ReadFull(r.r, r.text)
	e.Name = string(r.text)
	return err
}

func (r *Reader) poll(e *Event) error {
	var n uint64
	for _, f := range []field{{u32: &e.Process}, {u32: &e.Partition}, {u32: &e.Txn}, {u64: &e.Flags}, {u64: &n}} {
		v, err := binary.ReadUvarint(r.r)
		if err == nil {
			err = f.set(v)
		}
		if err != nil {
			return err
		}
	}
	if n > maxRecords {
		return fmt.Errorf("a poll of %d records", n)
	}
	at := int64(0)
	for range n {
		step, err := binary.ReadVarint(r.r)
		if err != nil {
			return err
		}
		value, err := binary.ReadUvarint(r.r)
		if err != nil {
			return err
		}
		at += step
		e.Records = append(e.Records, Record{at, value})
	}
	return nil
}
