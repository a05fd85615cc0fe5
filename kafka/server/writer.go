package server

import (
	"encoding/binary"
	"errors"
	"io"
	"syscall"

	"understudy/kafka/wire"
)

// Slice is a range of records on its way to a client. It belongs to the answer
// that holds it and stays valid until the answer is released.
type Slice interface {
	// Len is how many bytes there are.
	Len() int
	// AppendTo appends the bytes to dst.
	AppendTo(dst []byte) ([]byte, error)
	// File tells where in which file the bytes lie, if they do.
	File() (fd uintptr, offset int64, ok bool)
}

// Writer gathers answers: B is the buffer that their bytes are appended to, and
// records are noted as cuts in it, since an answer begins with its length.
//
//	B     [len|corr|...fetch header...|...partition header...|...trailer]
//	cuts                          ▲ slice 0              ▲ slice 1
//
// A flush then sends all of it in order. Small ranges of records are read into a
// second buffer with the bytes around them, large ones go by sendfile.
type Writer struct {
	B []byte

	conn    *Conn
	buffer  *wire.Buffer // whose memory B is, unless B outgrew it
	cuts    []cut
	cutSize int          // bytes of all cuts
	out     *wire.Buffer // what is sent next; nil while there are no cuts
	err     error        // of reading records
}

// cut is something that goes out between the bytes of B before and from at.
type cut struct {
	at    int
	slice Slice  // or
	bytes []byte // memory of the answer
}

const (
	bufferSize = 64 << 10
	// smallRange is up to which size records are read into a buffer and go out with
	// what surrounds them in one write. Above it, sendfile saves more than its own
	// call and the extra write cost.
	smallRange = 32 << 10
	// flushSize is how much is gathered before it is written although more answers
	// are ready.
	flushSize = 128 << 10
)

var errEarlyEnd error = refusal("records ended early")

// answer appends one answer, with its length and header.
func (w *Writer) answer(r *Request) {
	w.Reserve(256)
	start, cutsBefore := len(w.B), w.cutSize
	w.B = wire.AppendInt32(w.B, 0)
	w.B = wire.AppendInt32(w.B, r.Correlation)
	w.B = wire.AppendNoTags(w.B, r.flexible)
	r.reply.AppendTo(w)
	size := len(w.B) - start - prefixSize + w.cutSize - cutsBefore
	binary.BigEndian.PutUint32(w.B[start:], uint32(size))
}

// Reserve makes room for n more bytes in B.
func (w *Writer) Reserve(n int) {
	if cap(w.B)-len(w.B) >= n {
		return
	}
	bigger := w.conn.server.pool.Force(max(bufferSize, len(w.B)+max(n, len(w.B))))
	bigger.B = append(bigger.B, w.B...)
	if w.buffer != nil {
		w.buffer.Release()
	}
	w.buffer, w.B = bigger, bigger.B
}

// Bytes puts memory of the answer, valid until its release, behind what is in B.
func (w *Writer) Bytes(b []byte) {
	if len(b) <= smallRange {
		w.Reserve(len(b))
		w.B = append(w.B, b...)
		return
	}
	w.cut(cut{at: len(w.B), bytes: b}, len(b))
}

// Records puts records behind what is in B.
func (w *Writer) Records(s Slice) { w.cut(cut{at: len(w.B), slice: s}, s.Len()) }

func (w *Writer) cut(c cut, size int) {
	w.cuts = append(w.cuts, c)
	w.cutSize += size
}

func (w *Writer) flushIfLarge() error {
	if len(w.B)+w.cutSize < flushSize {
		return nil
	}
	return w.flush()
}

// flush writes everything that was gathered. If records cannot be read, that is
// logged: the client only sees its connection end.
func (w *Writer) flush() error {
	err := w.flushCuts()
	if w.err != nil {
		w.conn.server.options.Log.Error().Err(w.err).Msg("records cannot be read; the fetching connection is closed")
		return w.err
	}
	clear(w.cuts)
	w.cuts, w.cutSize, w.B = w.cuts[:0], 0, w.B[:0]
	return err
}

func (w *Writer) flushCuts() error {
	if len(w.cuts) == 0 {
		if len(w.B) == 0 {
			return nil
		}
		return w.write(w.B)
	}
	if w.out == nil {
		w.out = w.conn.server.pool.Force(bufferSize)
	}
	at := 0
	for i := range w.cuts {
		c := &w.cuts[i]
		if err := w.put(w.B[at:c.at]); err != nil {
			return err
		}
		if err := w.putCut(c); err != nil {
			return err
		}
		at = c.at
	}
	if err := w.put(w.B[at:]); err != nil {
		return err
	}
	return w.room(bufferSize)
}

// room makes room for n more bytes, at most bufferSize, in out.
func (w *Writer) room(n int) error {
	if len(w.out.B) == 0 || len(w.out.B)+n <= bufferSize {
		return nil
	}
	err := w.write(w.out.B)
	w.out.B = w.out.B[:0]
	return err
}

// put sends bytes behind what is in out.
func (w *Writer) put(b []byte) error {
	if err := w.room(min(len(b), bufferSize)); err != nil {
		return err
	}
	if len(b) > bufferSize {
		return w.write(b)
	}
	w.out.B = append(w.out.B, b...)
	return nil
}

func (w *Writer) putCut(c *cut) error {
	switch {
	case c.bytes != nil:
		return w.put(c.bytes)
	case c.slice.Len() <= smallRange:
		if err := w.room(c.slice.Len()); err != nil {
			return err
		}
		return w.read(w.out, c.slice)
	case w.conn.file.can(c.slice):
		return w.sendFile(c.slice)
	}
	whole := w.conn.server.pool.Force(c.slice.Len())
	defer whole.Release()
	if err := w.read(whole, c.slice); err != nil {
		return err
	}
	return w.put(whole.B)
}

// read appends records to a buffer that has room for them.
func (w *Writer) read(into *wire.Buffer, s Slice) error {
	b, err := s.AppendTo(into.B)
	if err == nil && len(b)-len(into.B) != s.Len() {
		err = errEarlyEnd
	}
	if err != nil {
		w.err = err
		return err
	}
	into.B = b
	return nil
}

// sendFile sends what is in out and, in the same packet where it fits, records
// straight from their file.
func (w *Writer) sendFile(s Slice) error {
	if len(w.out.B) > 0 {
		err := w.count(w.conn.file.writeMore(w.out.B))
		w.out.B = w.out.B[:0]
		if err != nil {
			return err
		}
	}
	n, err := w.conn.file.send(s)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EIO) {
		w.err = err
	}
	return w.count(n, err)
}

// write sends bytes in parts, after each of which it shows that the client takes them.
func (w *Writer) write(b []byte) error {
	for len(b) > bufferSize {
		if err := w.count(w.conn.nc.Write(b[:bufferSize])); err != nil {
			return err
		}
		b = b[bufferSize:]
	}
	return w.count(w.conn.nc.Write(b))
}

// count notes that a write got on.
func (w *Writer) count(n int, err error) error {
	w.conn.writing.Store(w.conn.server.clock.Load() + 1)
	w.conn.server.options.Metrics.BytesOut.Add(float64(n))
	return err
}

// reset makes the writer ready for another connection.
func (w *Writer) reset() {
	if w.buffer != nil {
		w.buffer.Release()
	}
	if w.out != nil {
		w.out.Release()
	}
	clear(w.cuts)
	*w = Writer{cuts: w.cuts[:0]}
}
