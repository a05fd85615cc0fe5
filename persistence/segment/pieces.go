package segment

import (
	"errors"
	"fmt"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/vfs"
)

// Pieces reads a range of a segment from its beginning to its end, a piece of
// whole batches at a time, each of which is checked: its CRC, that it follows the
// one before, and its leader epoch.
//
//	for {
//		batches, err := p.Next()
//		if err != nil || len(batches) == 0 { break }
//		...
//	}
type Pieces struct {
	f       vfs.File
	at, end int64           // what has not been read yet
	next    messages.Offset // of the batch at at
	epochOf func(messages.Offset) messages.LeaderEpoch
	buf     []byte
	batches []batch.Batch
}

// pieceAhead is how much Pieces reads at a time, in bytes.
const pieceAhead = 1 << 20

// NewPieces begins at a place with a batch and goes on to a boundary. f is what
// Pin gave; epochOf tells the epoch of a record, NoEpoch where it is not known, as
// below the log start; buf is memory to use again, or nil.
func NewPieces(f vfs.File, from Place, to int64, epochOf func(messages.Offset) messages.LeaderEpoch, buf []byte) *Pieces {
	return &Pieces{f: f, at: from.Position, end: to, next: from.Base, epochOf: epochOf, buf: buf}
}

// Buffer is the memory that was used, to be used again.
func (p *Pieces) Buffer() []byte { return p.buf }

// EndsAt makes sure that what was read ended before an offset; path names the file
// in the error.
func (p *Pieces) EndsAt(offset messages.Offset, path string) error {
	if p.next == offset {
		return nil
	}
	return Explain("read", path, p.damaged("log ends at offset %d and should end at %d", p.next, offset))
}

// Next reads the next batches; none at the end. They are valid until Next is
// called again. The error is a *Damage if one is not what was once appended.
func (p *Pieces) Next() ([]batch.Batch, error) {
	p.batches = p.batches[:0]
	for size := pieceAhead; p.at < p.end; {
		piece, err := p.read(size)
		if err != nil {
			return nil, err
		}
		if size, err = p.cut(piece); err != nil || len(p.batches) > 0 {
			return p.batches, err
		}
	}
	return nil, nil
}

// read reads up to size bytes from where Next stands.
func (p *Pieces) read(size int) ([]byte, error) {
	size = int(min(int64(size), p.end-p.at))
	if cap(p.buf) < size {
		p.buf = make([]byte, size)
	}
	piece := p.buf[:size]
	return piece, readFull(p.f, piece, p.at)
}

// cut takes the whole batches off a piece. If there is none, it tells the size of
// the first, which no piece has been large enough for.
func (p *Pieces) cut(piece []byte) (size int, err error) {
	for len(piece) > 0 {
		size, err = batch.SizeOf(piece)
		left := p.end - p.at
		switch {
		case left < batch.HeaderSize:
			return 0, p.damaged("%d bytes are no whole batch", left)
		case errors.Is(err, batch.ErrShort):
			return batch.HeaderSize, nil
		case err != nil:
			return 0, p.damaged("%v", err)
		case int64(size) > left:
			return 0, p.damaged("batch of %d bytes, of which %d are there", size, left)
		case size > len(piece):
			return size, nil
		}
		if err := p.check(batch.Batch(piece[:size:size])); err != nil {
			return 0, err
		}
		piece, p.at = piece[size:], p.at+int64(size)
	}
	return 0, nil
}

func (p *Pieces) check(b batch.Batch) error {
	switch {
	case b.BaseOffset() != p.next || b.LastOffsetDelta() < 0:
		return p.damaged("base offset is %d and should be %d, last offset delta is %d", b.BaseOffset(), p.next, b.LastOffsetDelta())
	}
	if epoch := p.epochOf(b.BaseOffset()); epoch != messages.NoEpoch && b.LeaderEpoch() != epoch {
		return p.damaged("leader epoch is %d and should be %d", b.LeaderEpoch(), epoch)
	}
	if err := b.CheckCRC(); err != nil {
		return p.damaged("%v", err)
	}
	p.next = b.NextOffset()
	p.batches = append(p.batches, b)
	return nil
}

func (p *Pieces) damaged(format string, args ...any) error {
	return &Damage{Position: p.at, Reason: fmt.Sprintf(format, args...)}
}
