package compact

import (
	"errors"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/segment"
)

// cleaning is the second pass over a job's segments.
type cleaning struct {
	w      *Worker
	j      *Job
	mapped messages.Offset // up to where the map knows all records
	opaque bool            // records were passed over without being looked at, which a tombstone may remove

	out     *segment.Segment
	ready   []batch.Batch // to be written to it
	spare   int64         // bytes that batches may grow by before the segment is too large
	unsaved int64         // bytes that were written and not synced
	changes bool          // something is different from what was there

	gap      bool // offsets are gone, and a gap for them is to be written:
	from, to messages.Offset
	epoch    messages.LeaderEpoch
}

// syncEvery is how many bytes are written before they are synced, so that the
// disk is not flooded at the end, and whoever wants the job to end need not wait.
const syncEvery = 32 << 20

// group writes a new segment for as many of the old ones as fit, from segment
// first on but before segment end, lets it take their place, and returns the next.
func (c *cleaning) group(first, end int, swap func(Replacement) error) (next int, err error) {
	c.out, err = segment.CreateCleaned(c.j.Dir, c.j.base(first))
	if err != nil {
		return 0, messages.E("compact", messages.StorageError, c.j.Dir.Path, err)
	}
	next, wanted, err := c.fill(first, end)
	if err == nil && wanted {
		err = c.finish()
	}
	if err != nil || !wanted {
		return next, errors.Join(err, c.out.Discard())
	}
	old := c.j.Segments[first:next]
	if len(old) > 1 && c.out.Size() == old[0].Size() {
		// A recovery could take it for the first of the old ones, which ends earlier.
		if err := c.out.Discard(); err != nil {
			return 0, err
		}
		return c.group(first, first+1, swap)
	}
	c.w.stats.Segments += len(old)
	c.w.stats.Made++
	if err = swap(Replacement{Old: old, New: c.out}); err != nil {
		err = errors.Join(err, c.out.Discard())
	}
	return next, err
}

// fill writes what stays of the old segments to the new one. It is not wanted if
// it would be the same again.
func (c *cleaning) fill(first, end int) (next int, wanted bool, err error) {
	c.changes, c.spare, c.unsaved, c.gap = false, segment.MaxRelative, 0, false
	for next = first; next < end && c.takes(first, next); next++ {
		c.spare -= c.j.Segments[next].Size()
		if err := c.w.read(c.j, next, messages.NoOffset, c.piece); err != nil {
			return 0, false, err
		}
	}
	c.w.making = c.w.making[:0]
	c.closeGap()
	return next, c.changes || next > first+1, c.flush()
}

// takes reports whether the new segment, begun for segment first, has room for
// another.
func (c *cleaning) takes(first, next int) bool {
	if next == first {
		return true
	}
	s := c.j.Segments[next]
	return s.Base() < c.mapped && c.out.Size()+s.Size() <= c.j.Limit &&
		c.j.base(next+1)-c.j.base(first) <= segment.MaxRelative
}

// piece takes the next batches of the old segments, and writes what stays of them.
func (c *cleaning) piece(batches []batch.Batch) (more bool, err error) {
	c.w.making = c.w.making[:0]
	for _, b := range batches {
		if err := c.batch(b); err != nil {
			return false, messages.E("compact", messages.StorageError, c.j.Dir.Path, err)
		}
	}
	return true, c.flush()
}

// batch takes the next batch.
func (c *cleaning) batch(b batch.Batch) error {
	what, p, payload := c.filter(b)
	if what == gone {
		c.leaveOut(b)
		return nil
	}
	c.closeGap()
	again := b
	switch what {
	case emptied:
		again = withoutRecords(c.room(), b)
	case changed:
		var err error
		if again, err = c.rebuild(c.room(), b, p, payload); err != nil {
			return err
		}
		if grown := int64(len(again) - len(b)); grown > c.spare {
			again, c.opaque = b, true // what could go must stay, or the segment would be too large
		} else if grown > 0 {
			c.spare -= grown
		}
	}
	c.changes = c.changes || &again[0] != &b[0]
	c.add(again)
	return nil
}

// leaveOut makes the offsets of a batch part of a gap. Gaps that are there already
// grow together.
func (c *cleaning) leaveOut(b batch.Batch) {
	if c.gap && (b.LeaderEpoch() != c.epoch || b.NextOffset()-c.from > batch.MaxGap) {
		c.closeGap()
	}
	c.changes = c.changes || !b.IsGap() || c.gap
	if !c.gap {
		c.gap, c.from, c.epoch = true, b.BaseOffset(), b.LeaderEpoch()
	}
	c.to = b.LastOffset()
}

// closeGap writes the gap that ends here, if there is one.
func (c *cleaning) closeGap() {
	if c.gap {
		c.gap = false
		c.add(batch.Gap(c.room(), c.from, c.to, c.epoch))
	}
}

// room is memory for a batch, which stays as it is until the next piece.
func (c *cleaning) room() []byte { return c.w.making[len(c.w.making):] }

// add has a batch written with the others of this piece.
func (c *cleaning) add(b batch.Batch) {
	if free := c.room(); cap(free) >= len(b) && &free[:1][0] == &b[0] {
		c.w.making = c.w.making[:len(c.w.making)+len(b)]
	}
	c.ready = append(c.ready, b)
}

// flush writes what has gathered.
func (c *cleaning) flush() error {
	size := 0
	for _, b := range c.ready {
		size += len(b)
	}
	if size == 0 {
		return nil
	}
	if err := c.out.Append(c.ready, segment.Writing{IndexInterval: c.j.IndexInterval}); err != nil {
		return segment.Explain("compact", c.out.Path(), err)
	}
	clear(c.ready)
	c.ready = c.ready[:0]
	c.w.stats.Written += int64(size)
	if c.unsaved += int64(size); c.unsaved >= syncEvery {
		if err := c.sync(); err != nil {
			return err
		}
	}
	return c.w.Pace(size)
}

func (c *cleaning) sync() error {
	c.unsaved = 0
	if err := c.out.Sync(); err != nil {
		return segment.Explain("compact", c.out.Path(), err)
	}
	return nil
}

// finish completes the new segment and makes it durable, but for its name.
func (c *cleaning) finish() error {
	if err := c.out.Seal(); err != nil {
		return segment.Explain("compact", c.out.Path(), err)
	}
	return c.sync()
}
