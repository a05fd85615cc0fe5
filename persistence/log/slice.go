package log

import (
	"fmt"
	"io"
	"slices"
	"sync"

	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// Slice is a range of a log's bytes. It keeps the file open, and a segment that
// is deleted meanwhile on disk, until Release. It must not be used after that.
type Slice struct {
	seg      *segment.Segment // nil once released
	file     vfs.File
	pos, end int64
	whole    bool
}

var spareSlices = sync.Pool{New: func() any { return new(Slice) }}

// Len is how many bytes there are.
func (s *Slice) Len() int { return int(s.end - s.pos) }

// FirstWhole reports whether the first batch is there as a whole.
func (s *Slice) FirstWhole() bool { return s.whole }

// Bytes appends the bytes to a buffer and returns that.
func (s *Slice) Bytes(buf []byte) ([]byte, error) {
	start := len(buf)
	buf = slices.Grow(buf, s.Len())[:start+s.Len()]
	n, err := s.file.ReadAt(buf[start:], s.pos)
	if n == s.Len() {
		return buf, nil
	}
	if err == nil || err == io.EOF {
		err = fmt.Errorf("file ends at %d: %w", s.pos+int64(n), io.ErrUnexpectedEOF)
	}
	return buf[:start], segment.Explain("read", s.seg.Path(), err)
}

// AppendTo is Bytes, under the name that the writer of responses knows.
func (s *Slice) AppendTo(dst []byte) ([]byte, error) { return s.Bytes(dst) }

// File tells where the bytes are, for sendfile. ok is false if they are in no
// file of the system.
func (s *Slice) File() (fd uintptr, offset int64, ok bool) {
	d, ok := s.file.(vfs.Descriptor)
	if !ok {
		return 0, 0, false
	}
	return d.Fd(), s.pos, true
}

// Release lets go of the file.
func (s *Slice) Release() {
	if s.seg == nil {
		return
	}
	s.seg.Unpin()
	*s = Slice{}
	spareSlices.Put(s)
}
