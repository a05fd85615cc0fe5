package log

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// recovery is one opening of a log that was not closed in order.
type recovery struct {
	l     *Log
	c     *Checkpoint
	files []file // segments, by base offset
	claim claim
	all   bool // scan from the start

	next    messages.Offset      // what the next batch must begin with
	began   messages.Offset      // from where on all was scanned, NoOffset before
	epochs  []replica.EpochStart // of the batches since then
	scanned []*segment.Segment
	exists  bool // there is a directory
	marked  bool // and the mark's file is in it
	unknown bool // the state is lost
	foreign bool // nothing of what this package writes beside a log is there
	renamed bool // names in it have changed
}

// file is a segment's log as the directory shows it.
type file struct {
	base messages.Offset
	size int64
}

// claim is the largest offset below which everything is known to have been durable.
type claim struct {
	mark
	exact bool // the position is known
}

// recover finds out what the log holds.
func (l *Log) recover(c *Checkpoint) error {
	r := &recovery{l: l, c: c, began: messages.NoOffset}
	s, err := l.readState()
	if err != nil && !(l.o.AcceptLoss && messages.KindOf(err) == messages.CorruptMessage) {
		return err
	}
	l.state, r.unknown = s, err != nil
	if err := r.list(); err != nil {
		return err
	}
	if err := r.findClaim(); err != nil {
		return err
	}
	if err := r.findStart(); err != nil {
		return err
	}
	if err := r.readSegments(); err != nil {
		return err
	}
	if err := r.findEpochs(); err != nil {
		return err
	}
	if err := r.settle(); err != nil {
		return err
	}
	l.cleaned = r.cleaned()
	return nil
}

// cleaned is up to where the log is known to be compacted. That it was further is
// no loss: it is done again.
func (r *recovery) cleaned() messages.Offset {
	if r.c == nil {
		return r.l.start
	}
	cleaned := r.c.Cleaned
	if floor, cut := r.l.state.floor(r.c.Generation); cut {
		cleaned = min(cleaned, floor)
	}
	return min(max(cleaned, r.l.start), r.l.end)
}

// list reads the directory, and clears away what earlier deletions left: files that were
// given another name, and the indexes of a log that was, before they were.
func (r *recovery) list() error {
	l := r.l
	entries, err := l.dir.FS.ReadDir(l.dir.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return r.broken(l.dir.Path, err)
	}
	r.exists = true
	hasLog := map[messages.Offset]bool{}
	for _, e := range entries {
		if base, suffix, ok := segment.ParseName(e.Name); ok && suffix == segment.LogSuffix {
			hasLog[base] = true
		}
	}
	for _, e := range entries {
		base, suffix, ok := segment.ParseName(e.Name)
		index := ok && (suffix == segment.IndexSuffix || suffix == segment.TimeSuffix)
		switch {
		case isLeftover(e.Name) || index && !hasLog[base]:
			if err := l.dir.FS.Remove(l.dir.Join(e.Name)); err != nil {
				return r.broken(l.dir.Join(e.Name), err)
			}
			r.renamed = true
		case e.Name == markName:
			r.marked = true
		case ok && suffix == segment.LogSuffix && !e.Dir:
			r.files = append(r.files, file{base, e.Size})
		}
	}
	slices.SortFunc(r.files, func(a, b file) int { return int(min(max(a.base-b.base, -1), 1)) })
	return nil
}

// isLeftover reports whether a file is no part of the log, or not any more.
func isLeftover(name string) bool {
	return slices.ContainsFunc([]string{segment.DeletedSuffix, segment.CleanedSuffix, vfs.TemporarySuffix},
		func(suffix string) bool { return strings.HasSuffix(name, suffix) })
}

func (r *recovery) broken(path string, err error) error {
	return messages.E("open log", messages.StorageError, path, err)
}

// findClaim settles what must be there, by the checkpoint and by the mark.
func (r *recovery) findClaim() error {
	r.claim.offset = messages.NoOffset
	if r.c != nil {
		r.consider(mark{r.c.Generation, r.c.Recovery, r.c.Segment, r.c.Position})
	}
	m, ok, err := r.l.readMark()
	if err != nil {
		return r.broken(r.l.markFile.Path(), err)
	}
	if ok {
		r.consider(m)
	}
	r.foreign = r.c == nil && !r.marked && r.l.state.start == 0 && r.l.state.gen == 0
	r.all = r.c == nil || r.claim.offset == messages.NoOffset
	return nil
}

func (r *recovery) consider(m mark) {
	if r.unknown { // and with it how many truncations there were
		r.l.state.gen = max(r.l.state.gen, m.generation)
	}
	c := claim{m, true}
	if floor, cut := r.l.state.floor(m.generation); cut && floor < m.offset {
		c = claim{mark{offset: floor}, false}
	}
	if c.offset > r.claim.offset {
		r.claim = c
	}
}

// findStart settles where the log begins, and leaves out the segments before.
func (r *recovery) findStart() error {
	l := r.l
	l.start = l.state.start
	if r.c != nil && r.c.Generation == l.state.generation() {
		l.start = max(l.start, r.c.Start)
	}
	if r.foreign && len(r.files) > 0 {
		l.start = r.files[0].base
	}
	below := 0
	for below+1 < len(r.files) && r.files[below+1].base <= l.start {
		below++
	}
	if err := r.remove(r.files[:below]); err != nil {
		return err
	}
	r.files = r.files[below:]
	if r.claim.offset <= l.start {
		r.claim = claim{mark{offset: messages.NoOffset}, false}
		r.all = true // what is there is above the claim
	}
	if len(r.files) > 0 && r.files[0].base <= l.start {
		return nil
	}
	if r.claim.offset != messages.NoOffset {
		return r.startMissing()
	}
	err := r.remove(r.files)
	r.files = nil
	return err
}

// startMissing deals with a log of which the beginning is not there.
func (r *recovery) startMissing() error {
	l := r.l
	name := l.dir.Join(segment.Name(l.start, segment.LogSuffix))
	lost := messages.E("open log", messages.StorageError, name,
		fmt.Errorf("no segment has offset %d, and records up to %d were durable", l.start, r.claim.offset))
	if !l.o.AcceptLoss {
		return lost
	}
	l.report.Lost = lost
	start := r.claim.offset
	if len(r.files) > 0 {
		start = r.files[0].base
	}
	l.start = start
	s := l.state.truncated(messages.NoOffset)
	s.start = start
	r.claim, r.all = claim{mark{offset: messages.NoOffset}, false}, true
	return l.writeState(s)
}

// remove takes segments away that are no part of the log.
func (r *recovery) remove(files []file) error {
	for _, f := range slices.Backward(files) {
		s := segment.Restore(r.l.dir, segment.Info{Base: f.base, Size: f.size})
		if err := s.Delete(); err != nil {
			return r.broken(s.Path(), err)
		}
		r.renamed = true
	}
	return nil
}

// readSegments goes through the segments until the log ends.
func (r *recovery) readSegments() error {
	l := r.l
	r.next = l.start
	if len(r.files) > 0 {
		r.next = r.files[0].base
	}
	for i := 0; i < len(r.files); i++ {
		end, damage, err := r.readSegment(i, r.files[i])
		if err == nil && damage == nil {
			err = r.dropReplaced(i)
		}
		if err != nil {
			return err
		}
		if damage == nil && i+1 < len(r.files) && r.files[i+1].base != r.next {
			damage = fmt.Errorf("segment ends at offset %d, and the next begins at %d", r.next, r.files[i+1].base)
		}
		if damage == nil && i+1 == len(r.files) && r.next < r.claim.offset {
			damage = fmt.Errorf("file ends at offset %d, and records up to %d were durable", r.next, r.claim.offset)
		}
		if damage != nil {
			return r.cut(i, end, damage)
		}
	}
	return nil
}

// dropReplaced removes the segments behind segment i whose offsets it has, up to
// where another begins: compaction has put it in their place.
func (r *recovery) dropReplaced(i int) error {
	next := i + 1
	for next < len(r.files) && r.files[next].base < r.next {
		next++
	}
	if next == i+1 || next == len(r.files) || r.files[next].base != r.next {
		return nil // or else it is damage
	}
	if err := r.remove(r.files[i+1 : next]); err != nil {
		return err
	}
	r.files = slices.Delete(r.files, i+1, next)
	return nil
}

// readSegment takes a segment into the log, scanning what of it has to be. It
// returns where its valid batches end, and what was wrong there.
func (r *recovery) readSegment(i int, f file) (end int64, damage, err error) {
	l := r.l
	info, known := r.info(i)
	s := segment.Restore(l.dir, info)
	l.segs = append(l.segs, s)
	from := int64(0)
	switch last := i+1 == len(r.files); {
	case r.all || f.base > r.claim.offset:
	case !last && r.files[i+1].base <= r.claim.offset:
		if !known {
			known, err = r.endsAt(s, r.files[i+1].base)
		}
		if known || err != nil {
			r.skip(r.files[i+1].base)
			return f.size, nil, err
		}
		r.next = f.base
	case r.claim.exact && r.claim.base == f.base:
		if last {
			if short := r.claim.pos - f.size; short > 0 {
				end, _, err := r.scan(s, 0, f.size)
				return end, fmt.Errorf("file has %d bytes, and %d were durable: %d are missing", f.size, r.claim.pos, short), err
			}
		} else if right, err := r.atClaim(s); err != nil || !right {
			return r.scanAll(s, err)
		}
		from = r.claim.pos
		r.skip(r.claim.offset)
	}
	return r.scan(s, from, f.size)
}

// skip goes on at an offset without reading what lies before. It was durable, and with it
// its epochs: of those, the file counts, and not what was scanned of some segment before.
func (r *recovery) skip(to messages.Offset) {
	r.next, r.began, r.epochs = to, messages.NoOffset, nil
}

// atClaim reports whether a batch begins where the claim says that its offset is.
// If not, the segment may have been compacted since.
func (r *recovery) atClaim(s *segment.Segment) (bool, error) {
	f, err := s.Pin()
	if err != nil {
		return false, r.broken(s.Path(), err)
	}
	defer s.Unpin()
	w := segment.Scan(f, r.claim.pos, s.Size())
	defer w.Close()
	return w.Next() && w.Header().BaseOffset() == r.claim.offset, nil
}

// scanAll scans a segment from its beginning.
func (r *recovery) scanAll(s *segment.Segment, err error) (end int64, damage, _ error) {
	if err != nil {
		return 0, nil, err
	}
	r.next = s.Base()
	return r.scan(s, 0, s.Size())
}

// info is what is known of segment i. known tells that the checkpoint has it as a
// complete one of this size, with the same one after it.
func (r *recovery) info(i int) (info segment.Info, known bool) {
	f := r.files[i]
	if r.c != nil && r.c.Generation == r.l.state.generation() && i+1 < len(r.files) {
		all := r.c.Segments
		for j := range all {
			if all[j].Base == f.base && all[j].Size == f.size && j+1 < len(all) && all[j+1].Base == r.files[i+1].base {
				return all[j], true
			}
		}
	}
	return segment.Info{Base: f.base, Size: f.size, MaxTimestamp: messages.NoTimestamp, MaxOffset: messages.NoOffset, First: messages.NoTimestamp}, false
}

// endsAt reports whether the batches of a segment that was complete and durable
// end where the next one begins.
func (r *recovery) endsAt(s *segment.Segment, next messages.Offset) (bool, error) {
	end, err := s.EndOffset()
	var wrong *segment.Damage
	if err != nil && !errors.As(err, &wrong) {
		return false, r.broken(s.Path(), err)
	}
	return err == nil && end == next, nil
}

// scan reads batches and checks them.
func (r *recovery) scan(s *segment.Segment, from, to int64) (end int64, damage, err error) {
	f, err := s.Pin()
	if err != nil {
		return 0, nil, r.broken(s.Path(), err)
	}
	defer s.Unpin()
	w := segment.Scan(f, from, to)
	defer w.Close()
	if r.began == messages.NoOffset {
		r.began = r.next
	}
	epoch := messages.NoEpoch
	if n := len(r.epochs); n > 0 {
		epoch = r.epochs[n-1].Epoch
	}
	hollow := false
	for end = from; w.Next(); end = w.End() {
		h := w.Header()
		if h.BaseOffset() != r.next || h.LeaderEpoch() < epoch {
			w.Fail("batch has offset %d and epoch %d, and should have %d, after epoch %d", h.BaseOffset(), h.LeaderEpoch(), r.next, epoch)
			break
		}
		if !w.CheckCRC() {
			break
		}
		epoch = h.LeaderEpoch()
		r.epochs = addEpoch(r.epochs, epoch, r.next)
		r.next = h.NextOffset()
		hollow = hollow || h.IsEmpty()
	}
	r.l.report.Scanned += end - from
	s.SetChecked(from, end, hollow)
	if end > from || to > end || r.halfCut() {
		r.scanned = append(r.scanned, s)
	}
	var wrong *segment.Damage
	if err := w.Err(); errors.As(err, &wrong) {
		return end, wrong, nil
	} else if err != nil {
		return end, nil, r.broken(s.Path(), err)
	}
	return end, nil, nil
}

// cut ends the log in a segment, at a position. What is behind must not have
// been durable.
func (r *recovery) cut(i int, end int64, damage error) error {
	l, s := r.l, r.l.segs[i]
	if r.next < r.claim.offset {
		lost := r.lost(s, end, damage)
		if !l.o.AcceptLoss {
			return lost
		}
		l.report.Lost = lost
		if err := l.writeState(l.state.truncated(r.next)); err != nil {
			return err
		}
	}
	l.report.File, l.report.Position, l.report.Reason = s.Path(), end, damage.Error()
	l.report.Cut = r.files[i].size - end
	for _, f := range r.files[i+1:] {
		l.report.Cut += f.size
	}
	l.o.Log.Warn().Stringer("partition", l.o.TP).Str("file", s.Path()).Int64("position", end).
		Int64("bytes", l.report.Cut).Int64("offset", r.next).Err(damage).Msg("cut off what was not complete when the broker stopped")
	if err := r.remove(r.files[i+1:]); err != nil {
		return err
	}
	if r.files[i].size == end {
		return nil
	}
	// At once, and not with what else is synced: if this opening fails, the next one
	// finds nothing to be cut off.
	if err := errors.Join(s.Truncate(end), s.Settle()); err != nil {
		return r.broken(s.Path(), err)
	}
	return nil
}

// lost is the error for damage below what was durable.
func (r *recovery) lost(s *segment.Segment, end int64, damage error) error {
	kind, subject := messages.StorageError, fmt.Sprintf("%s at %d", s.Path(), end)
	var wrong *segment.Damage
	if errors.As(damage, &wrong) {
		kind, subject = messages.CorruptMessage, fmt.Sprintf("%s at %d", s.Path(), wrong.Position)
	}
	return messages.E("open log", kind, subject,
		fmt.Errorf("offsets %d to %d were durable: %w", r.next, r.claim.offset-1, damage))
}
