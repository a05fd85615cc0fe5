package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"understudy/messages"
	"understudy/messages/batch"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crcStart is the first byte of a batch that its CRC covers.
const crcStart = 21

// Damage says that a log holds no valid batch where one should begin.
type Damage struct {
	Position int64 // of the batch in the file
	Reason   string
}

// Error is the reason alone: who wraps it names the file and the position.
func (d *Damage) Error() string { return d.Reason }

// Scanner walks over the batches of a log. It reads headers, and the records
// only where it is asked to.
//
//	s := Scan(f, from, to)
//	defer s.Close()
//	for s.Next() { use s.Header(), s.Position() }
//	if s.Err() != nil ...
type Scanner struct {
	f     io.ReaderAt
	pos   int64 // of the batch that Next found
	next  int64 // where the one after it begins
	end   int64 // nothing beyond is looked at
	err   error
	head  [batch.HeaderSize]byte
	ahead []byte // what was read ahead
	from  int64  // where in the file ahead begins
	buf   []byte // room for ahead
}

// Sizes of the scanners' read-ahead: a lookup reads little beyond the header it
// is after, a scan of everything reads in large pieces.
const (
	smallAhead = 4 << 10
	largeAhead = 256 << 10
)

var (
	smallScanners = sync.Pool{New: func() any { return &Scanner{buf: make([]byte, smallAhead)} }}
	largeScanners = sync.Pool{New: func() any { return &Scanner{buf: make([]byte, largeAhead)} }}
)

// reset begins a walk over the batches between two positions of f. Both must be
// boundaries of batches, or else the walk ends in an error.
func (s *Scanner) reset(f io.ReaderAt, from, to int64) {
	s.f, s.pos, s.next, s.end, s.err = f, from, from, to, nil
	s.ahead, s.from = nil, 0
}

// Next goes to the next batch. It is false at the end, and at an error: a
// *Damage when there is no whole batch, or what the file's ReadAt returned.
func (s *Scanner) Next() bool {
	if s.err != nil || s.next >= s.end {
		return false
	}
	s.pos = s.next
	if s.end-s.pos < batch.HeaderSize {
		return s.damaged("%d bytes are no whole batch", s.end-s.pos)
	}
	header, err := s.window(s.pos, batch.HeaderSize)
	if err != nil {
		s.err = err
		return false
	}
	copy(s.head[:], header)
	size, err := batch.SizeOf(s.head[:])
	h := s.Header()
	switch {
	case err != nil:
		return s.damaged("%v", err)
	case int64(size) > s.end-s.pos:
		return s.damaged("batch of %d bytes, of which %d are there", size, s.end-s.pos)
	case h.BaseOffset() < 0 || h.LastOffsetDelta() < 0:
		return s.damaged("base offset %d, last offset delta %d", h.BaseOffset(), h.LastOffsetDelta())
	}
	s.next = s.pos + int64(size)
	return true
}

// Err is why Next was false; nil at the end.
func (s *Scanner) Err() error { return s.err }

// Header is the batch's header, of which every field but the records may be
// read. It is valid until Next.
func (s *Scanner) Header() batch.Batch { return s.head[:] }

// Position is where in the file the batch begins.
func (s *Scanner) Position() int64 { return s.pos }

// End is where it ends.
func (s *Scanner) End() int64 { return s.next }

// Size is the size of the batch in bytes.
func (s *Scanner) Size() int64 { return s.next - s.pos }

// CheckCRC reads the batch and compares it with its checksum. If it is false,
// the walk is over and Err says why.
func (s *Scanner) CheckCRC() bool {
	crc := uint32(0)
	for at := s.pos + crcStart; at < s.next; {
		piece, err := s.window(at, 1)
		if err != nil {
			s.err = err
			return false
		}
		piece = piece[:min(int64(len(piece)), s.next-at)]
		crc = crc32.Update(crc, castagnoli, piece)
		at += int64(len(piece))
	}
	if claimed := s.Header().CRC(); crc != claimed {
		return s.damaged("CRC is %08x, the batch says %08x", crc, claimed)
	}
	return true
}

// Batch reads the whole batch, appending it to dst.
func (s *Scanner) Batch(dst []byte) (batch.Batch, error) {
	start := len(dst)
	dst = append(dst, make([]byte, s.Size())...)
	if err := readFull(s.f, dst[start:], s.pos); err != nil {
		return nil, err
	}
	return batch.Batch(dst[start:]), nil
}

// Fail ends the walk with a reason of the caller's own against this batch.
func (s *Scanner) Fail(format string, args ...any) { s.damaged(format, args...) }

// damaged ends the walk.
func (s *Scanner) damaged(format string, args ...any) bool {
	s.err = &Damage{Position: s.pos, Reason: fmt.Sprintf(format, args...)}
	return false
}

// window gives the bytes at a position, at least n of them and as many as are at hand.
func (s *Scanner) window(at int64, n int) ([]byte, error) {
	if at >= s.from && at+int64(n) <= s.from+int64(len(s.ahead)) {
		return s.ahead[at-s.from:], nil
	}
	s.from, s.ahead = at, s.buf[:min(int64(len(s.buf)), s.end-at)]
	if err := readFull(s.f, s.ahead, at); err != nil {
		s.ahead = nil
		return nil, err
	}
	return s.ahead, nil
}

// readFull fills p, or says that the file is shorter than it was.
func readFull(f io.ReaderAt, p []byte, at int64) error {
	n, err := f.ReadAt(p, at)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return fmt.Errorf("file ends at %d, %d bytes early: %w", at+int64(n), len(p)-n, io.ErrUnexpectedEOF)
	}
	return err
}

// Explain makes an error of what a walk over a file found: CorruptMessage for
// damage, naming file and position, otherwise StorageError.
func Explain(op, path string, err error) error {
	var damage *Damage
	if errors.As(err, &damage) {
		return messages.E(op, messages.CorruptMessage, fmt.Sprintf("%s at %d", path, damage.Position), err)
	}
	return messages.E(op, messages.StorageError, path, err)
}

// Scan begins a walk that reads in large pieces. Close must follow.
func Scan(f io.ReaderAt, from, to int64) *Scanner {
	s := largeScanners.Get().(*Scanner)
	s.reset(f, from, to)
	return s
}

// Close ends the walk.
func (s *Scanner) Close() {
	s.f = nil
	largeScanners.Put(s)
}
