package log

import (
	"fmt"
	"slices"

	"understudy/messages"
	"understudy/persistence/segment"
)

// Retain removes the oldest segments as far as the settings allow: those whose
// newest record is older than retention.ms at nowMs, and those that the log has
// beyond retention.bytes. Nothing at or above the high watermark goes. It returns
// how many segments were removed; the log then begins at a later offset, durably.
//
// Records without timestamps do not grow old. A segment of which compaction has
// left no records goes with the one behind it.
func (l *Log) Retain(nowMs int64, hw messages.Offset) (removed int, err error) {
	if err := l.ready("retain"); err != nil {
		return 0, err
	}
	settings := l.current()
	size := l.size
	for i, s := range l.segs {
		if s.Size() == 0 || l.segmentEnd(i) > hw {
			break
		}
		goes, err := l.goes(s, i, size, nowMs, settings)
		if err != nil {
			return 0, l.fail("retain", s.Path(), err)
		}
		if goes {
			removed = i + 1
		} else if newest, err := s.Max(); err != nil || newest.Timestamp != messages.NoTimestamp || !s.Hollow() {
			break
		}
		size -= s.Size()
	}
	if removed == 0 {
		return 0, nil
	}
	if removed == len(l.segs) {
		if err := l.rollNow(); err != nil {
			return 0, err
		}
	}
	return removed, l.moveStart(l.segs[removed].Base())
}

// goes reports whether segment i may be removed from a log of a size.
func (l *Log) goes(s *segment.Segment, i int, size, nowMs int64, settings Settings) (bool, error) {
	if l.segmentEnd(i) <= l.start || settings.RetentionBytes >= 0 && size-s.Size() >= settings.RetentionBytes {
		return true, nil
	}
	if settings.RetentionMs < 0 {
		return false, nil
	}
	newest, err := s.Max()
	return newest.Timestamp != messages.NoTimestamp && nowMs-newest.Timestamp > settings.RetentionMs, err
}

// segmentEnd is the offset after the last record of segment i.
func (l *Log) segmentEnd(i int) messages.Offset {
	if i+1 < len(l.segs) {
		return l.segs[i+1].Base()
	}
	return l.end
}

// SetStart makes the log begin at an offset, durably (DeleteRecords): records
// below it are never read again. Segments that lie below as a whole are removed.
// A start that is not above the present one changes nothing.
func (l *Log) SetStart(start messages.Offset) error {
	if err := l.ready("set log start"); err != nil {
		return err
	}
	if start > l.end {
		return messages.E("set log start", messages.OffsetOutOfRange, l.at(start), fmt.Errorf("the log ends at %d", l.end))
	}
	if start <= l.start {
		return nil
	}
	return l.moveStart(start)
}

// moveStart writes the new start down before anything goes: names that vanish in
// any order are then no part of the log any more.
func (l *Log) moveStart(start messages.Offset) error {
	if err := l.touch(); err != nil {
		return err
	}
	// Or after a loss of power the log would end below its start, or the producers of
	// what goes would not be known from a snapshot that stays.
	if l.Durable() < start || len(l.pendingFiles()) > 0 {
		if err := l.sync(); err != nil {
			return err
		}
	}
	if start > l.start {
		s := l.state
		s.start = start
		if err := l.writeState(s); err != nil {
			return err
		}
	}
	l.mu.Lock()
	l.start = max(l.start, start)
	// An epoch is not given up for one of which no record is durable yet.
	if epochs := trimEpochs(l.epochs, min(l.start, l.durable.offset-1)); len(epochs) < len(l.epochs) {
		l.epochs, l.pending.epochs = epochs, true
	}
	l.view = nil
	l.mu.Unlock()
	return l.removeBelow(start)
}

// removeBelow removes the segments that end at or below an offset.
func (l *Log) removeBelow(start messages.Offset) error {
	n := 0
	for n+1 < len(l.segs) && l.segs[n+1].Base() <= start {
		n++
	}
	if n == 0 {
		return nil
	}
	base := l.segs[n].Base()
	l.syncing.Lock()
	defer l.syncing.Unlock()
	gone := l.segs[:n]
	for _, s := range gone {
		if err := s.Delete(); err != nil {
			return l.fail("remove segment", s.Path(), err)
		}
	}
	if err := l.dropSnapshots(func(at messages.Offset) bool { return at < base }); err != nil {
		return l.fail("remove segment", l.dir.Path, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range gone {
		l.size -= s.Size()
	}
	l.segs = slices.Clone(l.segs[n:])
	l.pending.names = true
	l.pending.sealed = slices.DeleteFunc(l.pending.sealed, func(s *segment.Segment) bool { return slices.Contains(gone, s) })
	return nil
}

func (l *Log) pendingFiles() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pending.files
}
