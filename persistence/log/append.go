package log

import (
	"fmt"
	"path"
	"slices"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/segment"
)

// Append writes batches that follow the log's end, each stamped with its offset
// and epoch. They can be read at once, and are durable after a Flush. The bytes
// are not kept. After an error of the disk the log has failed: how much of the
// batches is in the file is not known, none of it is ever read, and the log must
// be opened again.
func (l *Log) Append(batches []batch.Batch) error {
	if err := l.ready("append"); err != nil {
		return err
	}
	if err := l.checkOrder(batches); err != nil {
		return err
	}
	if err := l.touch(); err != nil {
		return err
	}
	if _, err := l.loadProducers(); err != nil {
		return err
	}
	settings := l.current()
	for len(batches) > 0 {
		s, n, err := l.room(batches, settings)
		if err != nil {
			return err
		}
		before := s.Size()
		w := segment.Writing{
			IndexInterval: int64(settings.IndexIntervalBytes),
			Preallocate:   settings.Preallocate,
			Limit:         settings.SegmentBytes,
		}
		if err := s.Append(batches[:n], w); err != nil {
			return l.fail("append", fmt.Sprintf("%s at %d", s.Path(), before), err)
		}
		l.appended(s, before, batches[:n])
		batches = batches[n:]
	}
	return nil
}

func (l *Log) current() Settings {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settings
}

// checkOrder refuses batches that do not continue the log, before any is written.
func (l *Log) checkOrder(batches []batch.Batch) error {
	next, epoch := l.end, l.lastEpoch()
	for _, b := range batches {
		if b.BaseOffset() != next || b.LeaderEpoch() < epoch || b.LastOffsetDelta() < 0 {
			return messages.E("append", messages.InvalidRecord, l.at(next),
				fmt.Errorf("batch has offset %d and epoch %d, after epoch %d", b.BaseOffset(), b.LeaderEpoch(), epoch))
		}
		next, epoch = b.NextOffset(), b.LeaderEpoch()
	}
	return nil
}

// room gives the segment that the next batches go to, and how many of them. It
// begins a new one if the first does not fit.
func (l *Log) room(batches []batch.Batch, settings Settings) (*segment.Segment, int, error) {
	s := l.active()
	if s == nil || !fits(s, s.Size(), s.First(), batches[0], settings) {
		if err := l.roll(batches[0].BaseOffset()); err != nil {
			return nil, 0, err
		}
		s = l.active()
	}
	size, first := s.Size(), s.First()
	if size == 0 {
		first = batches[0].MaxTimestamp()
	}
	for n, b := range batches {
		if n > 0 && !fits(s, size, first, b, settings) {
			return s, n, nil
		}
		size += int64(len(b))
	}
	return s, len(batches), nil
}

// fits reports whether a segment of a size takes a batch. An empty one takes any.
func fits(s *segment.Segment, size, first int64, b batch.Batch, settings Settings) bool {
	if size == 0 {
		return b.BaseOffset() == s.Base()
	}
	end := size + int64(len(b))
	return end <= settings.SegmentBytes && end <= segment.MaxRelative &&
		b.LastOffset()-s.Base() <= segment.MaxRelative &&
		!tooOld(first, b.MaxTimestamp(), settings.SegmentMs)
}

// tooOld reports whether a segment whose first batch has the timestamp first
// spans too much of time at now, both in ms.
func tooOld(first, now, limit int64) bool {
	return limit > 0 && first != messages.NoTimestamp && now-first > limit
}

// appended makes the log know what was written to a segment at a position.
func (l *Log) appended(s *segment.Segment, at int64, batches []batch.Batch) {
	if l.recent == nil {
		l.recent = new(recentEnds)
	}
	epochs := l.epochs
	for _, b := range batches {
		at += int64(len(b))
		l.recent.add(b.NextOffset(), s, at)
		l.producers.Apply(b)
		epochs = addEpoch(epochs, b.LeaderEpoch(), b.BaseOffset())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending.epochs = l.pending.epochs || len(epochs) > len(l.epochs)
	l.size += at - l.endPos
	l.end, l.endPos, l.epochs = batches[len(batches)-1].NextOffset(), at, epochs
}

// recentEnds remembers where the last batches ended, so that the position of the
// high watermark is mostly known without a look at the disk.
type recentEnds struct {
	ring [recentCount]recentEnd
	n    int // ever added
}

type recentEnd struct {
	next messages.Offset
	seg  *segment.Segment
	pos  int64
}

// recentCount is how many are remembered: more than are in flight to followers
// in the normal case.
const recentCount = 128

func (r *recentEnds) add(next messages.Offset, s *segment.Segment, pos int64) {
	r.ring[r.n%recentCount] = recentEnd{next, s, pos}
	r.n++
}

// find gives the position in a segment where the batch before an offset ends.
func (r *recentEnds) find(s *segment.Segment, offset messages.Offset) (int64, bool) {
	if r == nil {
		return 0, false
	}
	for i := r.n - 1; i >= max(0, r.n-recentCount); i-- {
		e := &r.ring[i%recentCount]
		if e.next <= offset {
			return e.pos, e.next == offset && e.seg == s
		}
	}
	return 0, false
}

// roll completes the active segment and begins one at base.
func (l *Log) roll(base messages.Offset) error {
	if err := l.makeDir(); err != nil {
		return err
	}
	if len(l.segs) > 0 {
		if err := l.syncNames(); err != nil {
			return err
		}
	}
	if old := l.active(); old != nil {
		if err := old.Seal(); err != nil {
			return l.fail("roll", old.Path(), err)
		}
		if err := l.takeSnapshot(base); err != nil {
			return err
		}
	}
	s, err := segment.Create(l.dir, base)
	if err != nil {
		return l.fail("roll", l.dir.Join(segment.Name(base, segment.LogSuffix)), err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.active(); old != nil {
		l.pending.sealed = append(l.pending.sealed, old)
	}
	l.segs = append(slices.Clip(l.segs), s)
	l.endPos = 0
	l.pending.names = true
	return nil
}

// makeDir makes the log's directory before its first file. The mark comes first: without
// one a directory is another broker's, see recovery.foreign.
func (l *Log) makeDir() error {
	if len(l.segs) > 0 {
		return nil
	}
	if err := l.dir.FS.MkdirAll(l.dir.Path); err != nil {
		return l.fail("make directory", l.dir.Path, err)
	}
	if err := l.prepareMark(); err != nil {
		return l.fail("make directory", l.markFile.Path(), err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending.parent = true
	return nil
}

// syncNames makes the names of the log's files durable, if there are new ones. A
// segment's name is durable before the next segment is begun: or else a loss of
// power could leave a log without its beginning. Mostly a flush has done it.
func (l *Log) syncNames() error {
	l.mu.Lock()
	names, parent := l.pending.names, l.pending.parent
	l.mu.Unlock()
	if names {
		if err := l.dir.FS.SyncDir(l.dir.Path); err != nil {
			return l.fail("sync", l.dir.Path, err)
		}
	}
	if parent {
		if err := l.dir.FS.SyncDir(path.Dir(l.dir.Path)); err != nil {
			return l.fail("sync", l.dir.Path, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending.names, l.pending.parent = false, false
	return nil
}

// RollIfOld begins a new segment if the first record of the active one is older
// than the settings allow; nowMs is the time. Old segments can then be deleted. It
// is meant to be called now and then: a log to which nothing was appended since
// the last call gives back the memory that appending takes.
func (l *Log) RollIfOld(nowMs int64) error {
	if err := l.ready("roll"); err != nil {
		return err
	}
	s := l.active()
	if s != nil && l.recent != nil && l.restedAt == l.end {
		if err := s.Rest(); err != nil {
			return l.fail("roll", s.Path(), err)
		}
		l.recent = nil
	}
	l.restedAt = l.end
	if s == nil || s.Size() == 0 || !tooOld(s.First(), nowMs, l.current().SegmentMs) {
		return nil
	}
	return l.rollNow()
}

// rollNow begins a new segment at the log's end.
func (l *Log) rollNow() error {
	if err := l.touch(); err != nil {
		return err
	}
	if _, err := l.loadProducers(); err != nil {
		return err
	}
	return l.roll(l.end)
}
