package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"understudy/messages"
	"understudy/persistence/vfs"
)

// Segment is one segment of a log. One goroutine at a time, its log's owner, may
// call what changes it (Append, Seal, Truncate, Delete, Close); Sync and everything
// that reads may be called from any.
//
//	         Create                Seal                  Delete
//	(none) ─────────▶ written to ────────▶ sealed ──────────────▶ gone: renamed, and removed
//	                    ▲    ▲               │ Append, after a     once the last reader
//	         Restore ───┘    └───────────────┘ truncation or a     has let go
//	                                           restart
//
//	CreateCleaned makes one that is no part of the log before Adopt; what it stands
//	for is then gone, and sends whoever comes to it (see ReplaceBy).
type Segment struct {
	dir  *Dir
	base messages.Offset

	log, index, times Handle

	size     atomic.Int64 // bytes of whole batches
	refs     atomic.Int32 // one for the log, one for each reader at work
	hollow   atomic.Bool  // batches without records were met among those written or checked
	deleted  atomic.Bool
	replaced atomic.Pointer[Segment]

	mu         sync.Mutex
	x          Index    // entries < 0: not loaded
	since      int64    // bytes since the last index entry's batch began
	lastTime   int64    // timestamp of the last time index entry
	first      int64    // timestamp of the first batch, NoTimestamp if not known
	file       vfs.File // the log, pinned while it has bytes that are not synced
	writing    bool     // an append is under way
	indexDirty bool     // the index files have entries that are not synced
	allocated  int64    // end of the disk blocks that were reserved ahead
	checked    []span   // whose CRCs this process has seen to be right
}

// Info is what a checkpoint keeps of a segment.
type Info struct {
	Base         messages.Offset `json:"base"`
	Size         int64           `json:"size"`          // bytes
	MaxTimestamp int64           `json:"max_timestamp"` // ms; NoTimestamp if empty
	MaxOffset    messages.Offset `json:"max_offset"`    // last offset of the first batch that has it
	First        int64           `json:"first"`         // ms: timestamp of the first batch
}

// newSegment makes a segment whose files' names end in a suffix beyond the usual.
func newSegment(dir *Dir, base messages.Offset, ending string) *Segment {
	s := &Segment{dir: dir, base: base, first: messages.NoTimestamp, lastTime: messages.NoTimestamp}
	s.log = Handle{dir: dir, name: Name(base, LogSuffix) + ending, check: s.checkSize}
	s.index = Handle{dir: dir, name: Name(base, IndexSuffix) + ending}
	s.times = Handle{dir: dir, name: Name(base, TimeSuffix) + ending}
	s.x.max = Stamp{messages.NoTimestamp, messages.NoOffset}
	s.refs.Store(1)
	return s
}

// Create makes the files of a new segment. Its name is not durable before the
// directory is synced.
func Create(dir *Dir, base messages.Offset) (*Segment, error) {
	return create(newSegment(dir, base, ""))
}

func create(s *Segment) (*Segment, error) {
	f, err := s.log.Create()
	if err != nil {
		return nil, err
	}
	s.file = f
	return s, nil
}

// Restore makes a segment of what is known of its files, without opening them.
func Restore(dir *Dir, info Info) *Segment {
	s := newSegment(dir, info.Base, "")
	s.size.Store(info.Size)
	s.allocated = info.Size
	s.x.entries = -1
	s.x.max = Stamp{info.MaxTimestamp, info.MaxOffset}
	s.first = info.First
	return s
}

// Base is the offset that the segment begins at.
func (s *Segment) Base() messages.Offset { return s.base }

// Size is the size of the log in bytes.
func (s *Segment) Size() int64 { return s.size.Load() }

// First is the timestamp of the first batch (ms), NoTimestamp if not known.
func (s *Segment) First() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

// Path is the log's path.
func (s *Segment) Path() string { return s.log.Path() }

// Info is what a checkpoint keeps.
func (s *Segment) Info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Info{Base: s.base, Size: s.size.Load(), MaxTimestamp: s.x.max.Timestamp, MaxOffset: s.x.max.Offset, First: s.first}
}

// checkSize runs whenever the log was opened: what a checkpoint or this process
// knows to be there must be there.
func (s *Segment) checkSize(f vfs.File) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	if known := s.size.Load(); size < known {
		return fmt.Errorf("file has %d bytes and should have %d: %d are missing", size, known, known-size)
	}
	return nil
}

// Pin keeps the segment and its log file from going away until Unpin. It fails
// with ErrGone once the segment was deleted.
func (s *Segment) Pin() (vfs.File, error) {
	for {
		n := s.refs.Load()
		if n == 0 {
			return nil, ErrGone
		}
		if s.refs.CompareAndSwap(n, n+1) {
			break
		}
	}
	f, err := s.log.Pin()
	if err != nil {
		s.release()
	}
	return f, err
}

// Unpin lets go of what Pin held.
func (s *Segment) Unpin() {
	s.log.Unpin()
	s.release()
}

// release gives a reference back. With the last one go the files of a segment
// that was deleted; those that cannot be removed are when the log is next opened.
func (s *Segment) release() {
	if s.refs.Add(-1) > 0 {
		return
	}
	if other := s.replaced.Load(); other != nil && other.base == s.base {
		return // the files of these names are another's
	}
	for _, h := range s.handles() {
		_ = s.dir.FS.Remove(h.Path() + DeletedSuffix)
	}
}

func (s *Segment) handles() [3]*Handle { return [3]*Handle{&s.log, &s.index, &s.times} }

// Delete takes the segment away: its files are renamed at once, so that they are
// no part of the log any more, and removed when no reader is at work on them. The
// change of names is not durable before the directory is synced.
func (s *Segment) Delete() error {
	s.deleted.Store(true)
	s.Close()
	var failed []error
	for _, h := range s.handles() {
		err := s.dir.FS.Rename(h.Path(), h.Path()+DeletedSuffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	s.release()
	return errors.Join(failed...)
}

// Deleted reports whether Delete was called, and not Close alone.
func (s *Segment) Deleted() bool { return s.deleted.Load() }

// Close ends the use of the files by everyone but the readers at work.
func (s *Segment) Close() {
	s.mu.Lock()
	if s.file != nil {
		s.file = nil
		s.log.Unpin()
	}
	s.mu.Unlock()
	for _, h := range s.handles() {
		h.Kill()
	}
}
