package log

import (
	"fmt"
	"io"
	"slices"
	"sync"

	"understudy/messages"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// Slice is some of a log's bytes: mostly a range of a file, or several that are
// given out as one. It keeps the file open, and a segment that is deleted
// meanwhile on disk, until Release. It must not be used after that.
type Slice struct {
	seg   *segment.Segment // nil once released
	file  vfs.File
	spans []segment.Span
	size  int64
	whole bool
	more  bool
}

var spareSlices = sync.Pool{New: func() any { return new(Slice) }}

// add appends a range.
func (s *Slice) add(r segment.Span) {
	s.spans = append(s.spans, r)
	s.size += r.Len()
}

// addFilled appends the batches between two positions that have records, and tells
// where the search would go on.
func (s *Slice) addFilled(f vfs.File, from, to int64, want reading) (next messages.Offset, err error) {
	s.spans, next, err = segment.Filled(s.spans, f, from, to, int64(min(want.max, hollowMost)))
	for _, r := range s.spans {
		s.size += r.Len()
	}
	s.whole = true
	if !want.whole && s.size > int64(want.max) { // then it is one batch
		s.whole = false
		s.cut(want.max)
	}
	return next, err
}

// cut makes a slice of one range no larger than a number of bytes.
func (s *Slice) cut(most int) {
	r := &s.spans[0]
	r.To = min(r.To, r.From+int64(most))
	s.size = r.Len()
}

// Len is how many bytes there are.
func (s *Slice) Len() int { return int(s.size) }

// FirstWhole reports whether the first batch is there as a whole.
func (s *Slice) FirstWhole() bool { return s.whole }

// More reports whether there are more records behind these, up to the high watermark.
func (s *Slice) More() bool { return s.more }

// Bytes appends the bytes to a buffer and returns that.
func (s *Slice) Bytes(buf []byte) ([]byte, error) {
	start := len(buf)
	buf = slices.Grow(buf, s.Len())
	for _, r := range s.spans {
		at := len(buf)
		buf = buf[:at+int(r.Len())]
		n, err := s.file.ReadAt(buf[at:], r.From)
		if n == int(r.Len()) {
			continue
		}
		if err == nil || err == io.EOF {
			err = fmt.Errorf("file ends at %d: %w", r.From+int64(n), io.ErrUnexpectedEOF)
		}
		return buf[:start], segment.Explain("read", s.seg.Path(), err)
	}
	return buf, nil
}

// AppendTo is Bytes, under the name that the writer of responses knows.
func (s *Slice) AppendTo(dst []byte) ([]byte, error) { return s.Bytes(dst) }

// File tells where the bytes are, for sendfile. ok is false if they are in no
// file of the system, or not one range of it.
func (s *Slice) File() (fd uintptr, offset int64, ok bool) {
	d, ok := s.file.(vfs.Descriptor)
	if !ok || len(s.spans) != 1 {
		return 0, 0, false
	}
	return d.Fd(), s.spans[0].From, true
}

// Release lets go of the file.
func (s *Slice) Release() {
	if s.seg == nil {
		return
	}
	s.seg.Unpin()
	s.free()
}

func (s *Slice) free() {
	*s = Slice{spans: s.spans[:0]}
	spareSlices.Put(s)
}
