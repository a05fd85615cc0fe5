package log

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/producer"
	"understudy/persistence/compact"
	"understudy/persistence/segment"
)

// Compaction works on segments that nobody writes to any more, in a goroutine of
// its own, and needs the log's owner for three things alone: to say what is to be
// compacted (BeginClean), to let a new segment take the place of old ones (Swap),
// and to note how far it has come (EndClean). In between the log is used as
// always; what would take the segments away stops it first, or makes the next
// Swap fail.
//
// The swap is one rename: the new segment has the base offset, and so the file
// name, of the first of the old ones. Before it is done, nothing has changed;
// once it is durable, the other old ones are removed. Recovery finds them by what
// they are: segments that begin before the one before them ends.
//
//	00000000000000000000.log          0 to 99
//	00000000000000000100.log          100 to 199
//	00000000000000000200.log          200 to …, being written to
//	00000000000000000000.log.cleaned  what is left of 0 to 199  ── renamed ──▶ 00000000000000000000.log

// Filth says how much there is to compact.
type Filth struct {
	Clean, Dirty int64 // bytes that were compacted before, and that were not and may be
	Due          bool  // some have waited for max.compaction.lag.ms
}

// Ratio is how much of the bytes that may be compacted has not been yet: 0 to 1.
func (f Filth) Ratio() float64 {
	if f.Dirty == 0 {
		return 0
	}
	return float64(f.Dirty) / float64(f.Clean+f.Dirty)
}

// Cleaning is a compaction that is under way.
//
//	          BeginClean             Ended              EndClean
//	(none) ──────────────▶ under way ──────▶ let go of ─────────▶ (none)
//	                           │                ▲
//	                           └── Stopped ─────┘
type Cleaning struct {
	Job     compact.Job
	stopped chan struct{}
	ended   chan struct{}
}

// Stopped is closed when whoever carries the cleaning out must end it at once.
func (c *Cleaning) Stopped() <-chan struct{} { return c.stopped }

// IsStopped reports whether Stopped is closed.
func (c *Cleaning) IsStopped() bool {
	select {
	case <-c.stopped:
		return true
	default:
		return false
	}
}

// Ended says that the log's files are not used any more by who carried it out. It
// must be called exactly once.
func (c *Cleaning) Ended() { close(c.ended) }

// Filth tells how much of the log could be compacted: what is complete, durable,
// below the high watermark and older at nowMs than min.compaction.lag.ms. There
// is nothing if the topic is not compacted, or is being compacted.
func (l *Log) Filth(nowMs int64, hw messages.Offset) (Filth, error) {
	settings := l.current()
	if !settings.Compact || l.cleaning != nil || l.ready("compact") != nil {
		return Filth{}, nil
	}
	n, err := l.cleanable(nowMs, hw, settings)
	if err != nil {
		return Filth{}, err
	}
	var f Filth
	for i, s := range l.segs[:n] {
		if l.segmentEnd(i) <= l.cleaned {
			f.Clean += s.Size()
			continue
		}
		f.Dirty += s.Size()
		first := s.First()
		if first == messages.NoTimestamp { // not known before the indexes are loaded
			if _, err := s.Index(); err != nil {
				return Filth{}, l.explain("compact", s, err)
			}
			first = s.First()
		}
		f.Due = f.Due || first != messages.NoTimestamp && nowMs-first > settings.MaxCompactionLagMs
	}
	return f, nil
}

// cleanable is how many segments may be compacted. Those that lie before what is
// durable, and not at its end, since it is known by a position in its segment.
func (l *Log) cleanable(nowMs int64, hw messages.Offset, settings Settings) (n int, err error) {
	l.mu.Lock()
	durable := l.durable
	l.mu.Unlock()
	for n+1 < len(l.segs) && l.segs[n].Base() < durable.base && l.segmentEnd(n) <= min(hw, durable.offset) {
		if settings.MinCompactionLagMs > 0 {
			newest, err := l.segs[n].Max()
			if err != nil {
				return 0, l.explain("compact", l.segs[n], err)
			}
			if newest.Timestamp > nowMs-settings.MinCompactionLagMs {
				break
			}
		}
		n++
	}
	return n, nil
}

func (l *Log) explain(op string, s *segment.Segment, err error) error {
	return segment.Explain(op, s.Path(), err)
}

// BeginClean begins a compaction of all that Filth counts; nil if there is
// nothing. Tombstones whose time has come stay with keepTombstones. EndClean must
// follow.
func (l *Log) BeginClean(nowMs int64, hw messages.Offset, keepTombstones bool) (*Cleaning, error) {
	f, err := l.Filth(nowMs, hw)
	if err != nil || f.Dirty == 0 {
		return nil, err
	}
	if err := l.touch(); err != nil {
		return nil, err
	}
	settings := l.current()
	n, err := l.cleanable(nowMs, hw, settings)
	if err != nil {
		return nil, err
	}
	end, epochs := l.segmentEnd(n-1), l.epochs
	last, err := l.lastBatches(end)
	if err != nil {
		return nil, err
	}
	c := &Cleaning{stopped: make(chan struct{}), ended: make(chan struct{})}
	c.Job = compact.Job{
		Dir: l.dir, Segments: slices.Clone(l.segs[:n]),
		Dirty: min(max(l.cleaned, l.segs[0].Base()), end), End: end, Keep: l.end - 1,
		Last:    last,
		EpochOf: func(offset messages.Offset) messages.LeaderEpoch { return epochOf(epochs, offset) },
		Now:     nowMs, TombstonesFor: settings.DeleteRetentionMs, KeepTombstones: keepTombstones,
		Limit: settings.SegmentBytes, IndexInterval: int64(settings.IndexIntervalBytes),
		MaxUnpacked: l.o.MaxUnpacked,
	}
	l.cleaning = c
	return c, nil
}

// lastBatches are where the last batches before an offset begin that are remembered of each
// producer that is known: see producer.State.LastBatches. What follows does not count: it may
// not be committed, and whoever is sent this log, and then takes the rest back, has to know
// the producers all the same.
//
// So nobody is left out for having made room since. Of who had done so before nothing need
// be kept: a state that is read from what stays forgets them for the same producers again,
// whichever of their batches are still there.
func (l *Log) lastBatches(before messages.Offset) (map[messages.ProducerID]messages.Offset, error) {
	now, err := l.loadProducers()
	if err != nil {
		return nil, err
	}
	then := producer.New()
	if _, path, err := l.readProducers(then, before); err != nil {
		return nil, l.fail("compact", path, err)
	}
	last := maps.Collect(then.LastBatches())
	if !now.Full() { // then who is missing has expired
		maps.DeleteFunc(last, func(id messages.ProducerID, _ messages.Offset) bool { return !now.Has(id) })
	}
	return last, nil
}

// epochOf is the leader epoch of the record at an offset.
func epochOf(epochs []replica.EpochStart, offset messages.Offset) messages.LeaderEpoch {
	i, found := slices.BinarySearchFunc(epochs, offset, func(e replica.EpochStart, offset messages.Offset) int {
		return cmp.Compare(e.Start, offset)
	})
	switch {
	case found:
		return epochs[i].Epoch
	case i > 0:
		return epochs[i-1].Epoch
	}
	return messages.NoEpoch
}

// Swap puts a new segment in the place of old ones, durably. The error is
// compact.ErrStopped, and the new segment none of the log's, if those are not all
// there any more, or the cleaning was stopped, or the log has ended.
func (l *Log) Swap(c *Cleaning, r compact.Replacement) error {
	if err := l.ready("compact"); err != nil {
		return errors.Join(compact.ErrStopped, err)
	}
	at := slices.Index(l.segs, r.Old[0])
	if l.cleaning != c || at < 0 || at+len(r.Old) >= len(l.segs) || !slices.Equal(l.segs[at:at+len(r.Old)], r.Old) {
		return compact.ErrStopped
	}
	l.syncing.Lock()
	defer l.syncing.Unlock()
	// Readers are sent to the new segment, by its present name or the next, before
	// the old name becomes the name of something else.
	for _, s := range r.Old {
		s.ReplaceBy(r.New)
	}
	err := r.New.Adopt()
	if err == nil {
		err = l.dir.FS.SyncDir(l.dir.Path)
	}
	if err != nil {
		return l.fail("compact", r.New.Path(), err)
	}
	l.swapMemory(at, r)
	return l.removeReplaced(r)
}

// swapMemory makes the log know its new segment.
func (l *Log) swapMemory(at int, r compact.Replacement) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size += r.New.Size()
	for _, s := range r.Old {
		l.size -= s.Size()
	}
	l.segs = slices.Concat(l.segs[:at], []*segment.Segment{r.New}, l.segs[at+len(r.Old):])
	l.view = nil
	l.pending.names = true
}

// removeReplaced removes the files of segments that another has replaced, with
// the snapshots that were taken at their beginnings. If the power fails before
// that is durable, recovery does it.
func (l *Log) removeReplaced(r compact.Replacement) error {
	r.Old[0].Retire()
	if len(r.Old) == 1 {
		return nil
	}
	for _, s := range r.Old[1:] {
		if err := s.Delete(); err != nil {
			return l.fail("compact", s.Path(), err)
		}
	}
	first, last := r.Old[0].Base(), r.Old[len(r.Old)-1].Base()
	if err := l.dropSnapshots(func(at messages.Offset) bool { return first < at && at <= last }); err != nil {
		return l.fail("compact", l.dir.Path, err)
	}
	return nil
}

// EndClean notes that a cleaning has ended, and that the log is compacted up to an
// offset.
func (l *Log) EndClean(c *Cleaning, to messages.Offset) {
	if l.cleaning != c {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cleaning, l.cleaned = nil, max(l.cleaned, to)
}

// stopCleaning ends a cleaning that is under way, and returns when nobody works
// on the log's files any more.
func (l *Log) stopCleaning() {
	if l.cleaning == nil {
		return
	}
	close(l.cleaning.stopped)
	if l.o.Yield != nil {
		l.o.Yield()
	}
	<-l.cleaning.ended
	l.cleaning = nil
}

// uncleanFrom notes that what lies at or after an offset was not compacted. With
// l.mu held.
func (l *Log) uncleanFrom(offset messages.Offset) { l.cleaned = min(l.cleaned, offset) }

// String tells what a cleaning is about.
func (c *Cleaning) String() string {
	return fmt.Sprintf("%s up to %d, dirty from %d", c.Job.Dir.Path, c.Job.End, c.Job.Dirty)
}
