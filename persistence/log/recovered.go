package log

import (
	"errors"
	"path"
	"slices"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/producer"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// What a recovery does when it knows what there is.

// settle makes durable what was found, so that everything there is may count as that.
func (r *recovery) settle() error {
	l := r.l
	l.end = r.next
	if l.end < l.start { // what is below the start was deleted, whether it is there or not
		for _, s := range slices.Backward(l.segs) {
			if err := s.Delete(); err != nil {
				return r.broken(s.Path(), err)
			}
		}
		l.segs, l.end, r.scanned, r.renamed = nil, l.start, nil, true
		l.epochs = nil
	}
	for _, s := range l.segs {
		l.size += s.Size()
		l.endPos = s.Size()
	}
	l.durable = l.endMark()
	if err := r.syncScanned(); err != nil {
		return err
	}
	if r.exists {
		err := l.dropSnapshots(func(at messages.Offset) bool {
			gone := at > l.end || len(l.segs) == 0
			r.renamed = r.renamed || gone
			return gone
		})
		if err != nil {
			return r.broken(l.dir.Path, err)
		}
	}
	if err := r.keepProducers(); err != nil {
		return err
	}
	if err := r.keepEpochs(); err != nil {
		return err
	}
	if r.foreign && l.start > l.state.start { // it is this broker's from now on
		if err := l.writeState(state{start: l.start}); err != nil {
			return err
		}
	}
	if !r.renamed && !r.halfCut() && len(r.scanned) == 0 {
		unproven := r.unproven()
		l.pending.names, l.pending.parent = unproven, unproven
		return nil
	}
	if err := errors.Join(l.dir.FS.SyncDir(l.dir.Path), l.dir.FS.SyncDir(path.Dir(l.dir.Path))); err != nil {
		return r.broken(l.dir.Path, err)
	}
	if len(l.segs) == 0 {
		return nil
	}
	// Segments that are complete may be compacted from now on, after which an older claim
	// names the wrong position in one: so this one must not be lost, as after a roll.
	return l.writeMark(l.durable, len(l.segs) > 1)
}

// halfCut reports whether the last truncation may not have come to its end: then what is
// cut off and removed may still be there on the disk. One that has leaves a claim behind.
func (r *recovery) halfCut() bool { return r.claim.generation != r.l.state.generation() }

// unproven reports whether the last segment's name may be in memory alone. It is empty,
// and nothing in it was ever synced: whoever made it may have come to its end at once.
func (r *recovery) unproven() bool {
	s := r.l.active()
	return s != nil && s.Base() >= r.claim.offset
}

// keepProducers writes the snapshots anew that were taken where segments begin and that no
// flush has synced: the batches before them may be deleted or compacted from now on. What
// is damaged is told to who asks for the producers.
func (r *recovery) keepProducers() error {
	l := r.l
	for i, s := range l.segs {
		flushed := s.Base() < r.claim.offset || r.claim.exact && r.claim.base == s.Base()
		if i == 0 || flushed || r.foreign {
			continue
		}
		state := producer.New()
		_, path, err := l.readProducers(state, s.Base())
		var wrong *segment.Damage
		if errors.As(err, &wrong) {
			return nil
		}
		if err == nil {
			path = l.dir.Join(segment.Name(s.Base(), snapshotSuffix))
			content, _ := state.MarshalBinary() // the error is always nil
			err = vfs.ReplaceUnsynced(l.dir.FS, path, content)
		}
		if err != nil {
			return r.broken(path, err)
		}
		r.renamed = true
	}
	return nil
}

// keepEpochs writes down the epochs that were found, before the mark says that the
// batches they were found in need not be read again.
func (r *recovery) keepEpochs() error {
	l := r.l
	if !l.pending.epochs {
		return nil
	}
	if err := l.writeEpochs(l.epochs); err != nil {
		return r.broken(l.dir.Join(epochsName), err)
	}
	l.pending.epochs = false
	return nil
}

// syncScanned makes the segments durable that were above the claim. Their bytes are
// written anew: a sync may have failed before the log was closed, or the process ended,
// and the system takes what it was to write for written, though it is in memory alone.
func (r *recovery) syncScanned() error {
	l := r.l
	for i, s := range l.segs {
		if !slices.Contains(r.scanned, s) {
			continue
		}
		from, err := r.synced(i)
		if err != nil {
			return r.broken(s.Path(), err)
		}
		n, err := s.Rewrite(from)
		if err != nil {
			return r.broken(s.Path(), err)
		}
		l.report.Rewritten += n
		if err := s.Settle(); err != nil {
			return r.broken(s.Path(), err)
		}
	}
	return nil
}

// synced is up to where a segment's bytes are known to have been synced. Of what
// others have written beside this log's own files that is not for us to say.
func (r *recovery) synced(i int) (int64, error) {
	l, s := r.l, r.l.segs[i]
	switch {
	case r.foreign, i+1 < len(l.segs) && l.segs[i+1].Base() <= r.claim.offset:
		return s.Size(), nil
	case s.Base() >= r.claim.offset:
		return 0, nil
	case r.claim.exact && r.claim.base == s.Base():
		return min(r.claim.pos, s.Size()), nil
	}
	f, err := s.Pin()
	if err != nil {
		return 0, err
	}
	defer s.Unpin()
	p, err := s.Find(f, s.Peek(), r.claim.offset, s.Size())
	return p.Position, err
}

// findEpochs settles the leader epochs: by the batches that were scanned, and by
// the file for those before, or by all of them if there is no file that can be used.
func (r *recovery) findEpochs() error {
	l := r.l
	kept, unreadable := l.readEpochs()
	if len(l.segs) == 0 {
		l.pending.epochs = unreadable == nil && len(kept) > 0 // those of what was truncated
		return nil
	}
	known := slices.Clone(kept)
	if unreadable != nil && !r.all {
		var err error
		if known, err = r.walkEpochs(); err != nil {
			return err
		}
	}
	l.epochs = cutEpochs(known, r.next)
	if r.began != messages.NoOffset {
		l.epochs = cutEpochs(known, r.began)
	}
	for _, e := range r.epochs {
		l.epochs = addEpoch(l.epochs, e.Epoch, e.Start)
	}
	l.epochs = trimEpochs(l.epochs, l.start)
	if unreadable != nil && len(l.epochs) > 0 || unreadable == nil && !slices.Equal(kept, l.epochs) {
		l.pending.epochs = true
	}
	return nil
}

// walkEpochs reads the epochs off all batch headers.
func (r *recovery) walkEpochs() (epochs []replica.EpochStart, err error) {
	for _, s := range r.l.segs {
		if epochs, err = segmentEpochs(epochs, s); err != nil {
			return nil, segment.Explain("open log", s.Path(), err)
		}
	}
	return epochs, nil
}

func segmentEpochs(epochs []replica.EpochStart, s *segment.Segment) ([]replica.EpochStart, error) {
	var f vfs.File
	f, err := s.Pin()
	if err != nil {
		return nil, err
	}
	defer s.Unpin()
	w := segment.Scan(f, 0, s.Size())
	defer w.Close()
	for w.Next() {
		epochs = addEpoch(epochs, w.Header().LeaderEpoch(), w.Header().BaseOffset())
	}
	return epochs, w.Err()
}
