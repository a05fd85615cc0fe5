package segment

import (
	"errors"
	"io/fs"
	"strings"

	"understudy/messages"
	"understudy/persistence/vfs"
)

// CreateCleaned makes the files of a segment that compaction writes in the place
// of others. They are no part of the log, and are removed when it is next opened,
// until Adopt.
func CreateCleaned(dir *Dir, base messages.Offset) (*Segment, error) {
	return create(newSegment(dir, base, CleanedSuffix))
}

// Adopt gives a segment that compaction has written its place in the log, which
// another of the same base may have: that one's files are gone then. Everything
// must have been synced, and ReplaceBy called on those that it replaces. The
// change is not durable before the directory is synced. The indexes come first: a
// log without them would have to be read once more, and with those of the one
// before it is found out that they are not its own.
func (s *Segment) Adopt() error {
	for _, f := range [...]struct {
		handle *Handle
		suffix string
	}{{&s.index, IndexSuffix}, {&s.times, TimeSuffix}, {&s.log, LogSuffix}} {
		if err := f.handle.rename(Name(s.base, f.suffix)); err != nil {
			return err
		}
	}
	return nil
}

// Discard removes the files of a segment that compaction has written, unless it
// was adopted.
func (s *Segment) Discard() error {
	if !strings.HasSuffix(s.Path(), CleanedSuffix) {
		return nil
	}
	s.Close()
	var failed []error
	for _, h := range s.handles() {
		if err := s.dir.FS.Remove(h.Path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// ReplaceBy sends whoever comes to this segment from now on to another, which has
// all of its offsets. Readers at work go on with what they have open.
func (s *Segment) ReplaceBy(other *Segment) {
	s.replaced.Store(other)
	s.Close()
}

// Retire is Delete for a segment whose files another has replaced by its own.
func (s *Segment) Retire() { s.release() }

// Current is the segment that has taken this one's place, or this one.
func (s *Segment) Current() *Segment {
	for next := s.replaced.Load(); next != nil; next = s.replaced.Load() {
		s = next
	}
	return s
}

// Hollow reports whether there may be batches without records in what of the
// segment has been written or checked by this process. Only that may be read.
func (s *Segment) Hollow() bool { return s.hollow.Load() }

// Span is a range of positions in a segment's log, of whole batches.
type Span struct{ From, To int64 }

// Len is how many bytes there are.
func (s Span) Len() int64 { return s.To - s.From }

// Filled appends to dst the ranges of batches that have records, of those between
// two boundaries, as far as they add up to limit bytes, but at least one batch.
// next is the offset from which a search for more goes on.
func Filled(dst []Span, f vfs.File, from, to, limit int64) (spans []Span, next messages.Offset, err error) {
	w := smallScanners.Get().(*Scanner)
	defer smallScanners.Put(w)
	total := int64(0)
	for w.reset(f, from, to); w.Next(); next = w.Header().NextOffset() {
		if w.Header().IsEmpty() {
			continue
		}
		if total > 0 && total+w.Size() > limit {
			break
		}
		total += w.Size()
		if n := len(dst); n > 0 && dst[n-1].To == w.Position() {
			dst[n-1].To = w.End()
			continue
		}
		dst = append(dst, Span{w.Position(), w.End()})
	}
	return dst, next, w.Err()
}
